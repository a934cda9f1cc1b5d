"""What the collection of published values lacks: findings about the field."""

import pandas

from uadbench.report.field import words
from uadbench.report.field.collection import FIXED
from uadbench.report.field.words import shown


def findings(frame: pandas.DataFrame) -> list[str]:
    """In sentences, from the values alone."""
    dice = frame[frame["metric"].map(words.LEVELS) == "Dice"]
    status = frame["status"].value_counts()
    unstated = {name: int((frame[name] == "").sum()) for name in ("contrast", "train")}
    return [
        *_without_ap(frame),
        f"{int(dice['false_alarms'].notna().sum())} of {len(dice)} Dice values are printed with the share of "
        "lesion-free slices that raise a false alarm at the same threshold.",
        _untried(frame),
        _largest_comparison(frame),
        f"Not stated: the MR contrast of {unstated['contrast']} values, the training cohort of "
        f"{unstated['train']}, the threshold rule of {int((dice['threshold'] == '').sum())} of {len(dice)} "
        "Dice values.",
        f"{status.get('own', 0)} values are the authors' own, {status.get('re-run', 0)} were measured by "
        f"others, {status.get('second hand', 0)} are quoted by a third party.",
        *_moved(frame),
    ]


def summary(frame: pandas.DataFrame) -> str:
    """How many values of how many methods, test sets and sources."""
    tests = frame.loc[frame["test"].isin(list(words.TEST_SETS)), "test"].nunique()
    methods = _counted(frame["label"].nunique(), "method or variant", "methods and variants")
    return (
        f"{_counted(len(frame), 'published value')} of {methods} on {_counted(tests, 'test set')}, from "
        f"{_counted(frame['source'].nunique(), 'source')}, as printed. Families are our reading."
    )


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _without_ap(frame: pandas.DataFrame) -> list[str]:
    there = set(frame.loc[frame["metric"] == "AP", "kind"])
    missing = [f"for {kind}" for kind in words.LESIONS if kind not in there]
    together = " and ".join(filter(None, (", ".join(missing[:-1]), *missing[-1:])))
    return [f"No published AP {together}."] if missing else []


def _untried(frame: pandas.DataFrame) -> str:
    there = set(zip(frame["family"], frame["kind"], strict=True))
    families = [family for family in words.FAMILIES if family not in ("chance", "disentangled")]
    missing = [f"{f} on {kind}" for f in families for kind in words.LESIONS if (f, kind) not in there]
    pairs = len(families) * len(words.LESIONS)
    return f"{pairs - len(missing)} of {pairs} pairs of family and kind of lesion have a value" + (
        f"; none: {', '.join(missing)}." if missing else "."
    )


def _largest_comparison(frame: pandas.DataFrame) -> str:
    stated = frame[frame["level"] & (frame["apart"] == "")]
    groups = [group for _, group in stated.groupby([*FIXED])]
    widest = max(groups, key=lambda group: group["family"].nunique() * group["kind"].nunique())
    setting = widest.iloc[0]
    return (
        f"The widest comparison under one stated setting has {widest['family'].nunique()} families on "
        f"{widest['kind'].nunique()} kinds of lesion: {setting['quantity']}, {setting['contrast']}, "
        f"{words.SETTINGS[setting['regime']]}."
    )


def _moved(frame: pandas.DataFrame) -> list[str]:
    moved = frame[frame["moved"] & frame["version"].str.startswith("first")]
    if moved.empty:
        return []
    texts = [
        f"{facts['label']} on {words.test_set(str(facts['test']))} {shown(facts['value'])}, then "
        f"{shown(facts['other_version'])}"
        for facts in moved.to_dict("records")
    ]
    return [f"Moved between versions of one source: {'; '.join(texts)}."]
