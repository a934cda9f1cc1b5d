"""Partner: the healthy cohort of a run, which learns from it or takes its thresholds from it."""

from uadbench import datasets
from uadbench.cards import OWN, DatasetCard, MethodCard, dataset_card
from uadbench.experiment.record import NOBODY
from uadbench.system.errors import UserError
from uadbench.system.paths import Paths


def choose_partner(
    asked: str | None, method: MethodCard, test: DatasetCard, contrast: str
) -> DatasetCard | None:
    """The cohort that was asked for, else the first partner on the card of the test set.

    Drawn scans are no healthy cohort of a contrast: what learns nothing takes none of them unless asked to
    (protocol, rule 2). What lies on the disk has no say, so that one command has one meaning everywhere.
    """
    partners = test.partners.get(contrast, ())
    usual = (name for name in partners if method.trained or name == test.name or not _is_drawn(name))
    name = asked or next(usual, NOBODY)
    if name != NOBODY:
        card = dataset_card(name)
        if card.role == "lesion":
            raise UserError(f"--train {name} holds no healthy subjects; name a healthy data set.")
        return card
    if not method.trained:
        return None
    if asked == NOBODY:
        raise UserError(f"{method.name} must be trained: name a healthy data set with --train.")
    raise UserError(
        f"{method.name} must be trained, and {_lack(test, contrast)}: name another healthy set with --train "
        "and its contrasts with --train-contrast."
    )


def _lack(test: DatasetCard, contrast: str) -> str:
    if test.access == OWN:
        return f"there is no healthy {contrast} scan in the folder of {test.name}"
    return f"no public data set has healthy {contrast} volumes for {test.name}"


def _is_drawn(name: str) -> bool:
    return dataset_card(name).population == "synthetic"


def check_partner(
    chosen: DatasetCard, asked: str | None, method: MethodCard, test: DatasetCard, contrast: str, paths: Paths
) -> None:
    """Refuse a cohort that is not on this machine, and say what may be asked for instead."""
    name, root = chosen.name, paths.root(chosen.name)
    if datasets.can_generate(name) or root.is_dir():
        return
    others = [other for other in test.partners.get(contrast, ()) if other != name]
    ways = [f"name another with --train ({', '.join(others)})"] if others else []
    if method.trained:
        needs = "must be trained on healthy scans"
    else:
        needs = "takes its thresholds from healthy scans"
        ways.append(f"say --train {NOBODY} to do without")
    which = name if asked else f"{name}, the first partner of {test.name},"
    raise UserError(
        f"{method.name} {needs}, and {which} is not under {root}: `uadbench datasets {name}` says how to get "
        f"it{''.join(f', or {way}' for way in ways)}."
    )
