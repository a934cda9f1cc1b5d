"""Evaluation: from score maps and lesion masks to the figures of a record."""
