"""The field's own comparison: every published value with its source, without any record of ours.

Two views: by test set and contrast, and by family of methods and kind of lesion. Values are only put side by
side where training setting, contrast, metric, averaging and threshold rule are the same.
"""
