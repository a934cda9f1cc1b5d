"""Guests: maps that were made elsewhere, in tables of records that were made here."""

from collections.abc import Mapping
from typing import Any

from uadbench.experiment.record import RunRecord, Stored
from uadbench.report.evidence import SAME_TEST

MARK = "†"  # behind the name of a method whose maps were made elsewhere
NOTE = (
    f"{MARK} made elsewhere: the maps come from outside this benchmark, which measured them and knows "
    "nothing of their training but what their maker states."
)
MASKS_NOTE = "masks: Dice at the mask as it came; masks have no thresholds, no AP and no AUROC."
Key = tuple[Any, ...]  # what SAME_TEST names, and who was scored


def marked(name: str, elsewhere: bool) -> str:
    """The name of a method, with the mark of maps that were made elsewhere."""
    return f"{name} {MARK}" if elsewhere else name


def is_unstated(record: RunRecord) -> bool:
    """Whether maps were made elsewhere, and nobody says on what their method was trained."""
    return record.elsewhere is not None and not record.trained and not record.elsewhere.untrained


def seat_guests(groups: Mapping[Key, list[Stored]]) -> dict[Key, list[Stored]]:
    """The records of each table, with maps of which no training is stated beside ours of the same test.

    They are shown in the table of every training setting that there is, and ranked in none; where there is
    no record of ours, in a table of their own.
    """
    found: dict[Key, list[Stored]] = {}
    guests: dict[Key, list[Stored]] = {}
    for key, group in groups.items():
        for one in group:
            (guests if is_unstated(one.record) else found).setdefault(key, []).append(one)
    for key, group in guests.items():
        hosts = [host for host in found if _but_setting(host) == _but_setting(key)]
        for host in hosts or [key]:
            found[host] = [*found.get(host, ()), *group]
    return found


def _but_setting(key: Key) -> Key:
    """What two tables share whose training setting alone may differ."""
    place = SAME_TEST.index("regime")
    return (*key[:place], *key[place + 1 :])
