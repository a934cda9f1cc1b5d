"""OASIS-1: skull-stripped T1 in Talairach space; people with dementia (CDR above 0) are left out."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from uadbench.data import layout, suffixes, tables
from uadbench.data.session import LeftOut, Remark, Session
from uadbench.system.errors import UserError

# The number after `n` counts the scans that were averaged, and differs.
NAME = r"(OAS1_\d{4})_(MR\d)_(mpr)_n\w+_anon_111_t88_masked_gfc"
OTHERS = {
    "OASIS-2": (r"OAS2_\d+_MR\d+", "another release, of repeated visits with and without dementia"),
    "OASIS-3 or 4": (r"(sub-)?OAS[34]\d{4}(_.*)?", "another release, in native space"),
}
HIGHEST_CDR = 3.0


def sessions(root: Path) -> Iterator[Session | LeftOut | Remark]:
    """One session for each visit of a subject without dementia."""
    sessions, surplus = layout.group_by_session(root, NAME, {"mpr": "T1"})
    yield from [*surplus, *layout.find_foreign(root, OTHERS)]
    if not sessions:
        return
    participants = tables.read_participants(root, {r"oasis_cross-sectional.*\.(csv|xlsx?)": TABLE})
    if not participants.tables:
        raise UserError(
            f"{root} has no oasis_cross-sectional.csv: without its column CDR nobody can be told from "
            "people with dementia; fetch the table from the data set's pages."
        )
    cells: dict[str, list[str | None]] = {}
    for name, row in participants.by_id.items():
        cells.setdefault(name.split("_MR")[0], []).extend(one.get("cdr") for one in row.rows)
    for (subject, label), images in sessions.items():
        name, header = f"{subject}_{label}", images["T1"]
        lost = [part.suffix for part in suffixes.pair_of(header) or () if not layout.is_here(part)]
        if lost:
            yield LeftOut(name, f"{header.name} is there without its {lost[0]}")
        elif reason := _dementia(cells.get(subject, [])):
            yield LeftOut(name, reason)
        else:
            yield Session(
                id=name,
                cohort="oasis1",
                subject=subject,
                label=label.removeprefix("MR"),
                images=images,
                healthy=True,
                age=participants[name].age,
                sex=participants[name].sex,
                space="Talairach",
                skull_stripped=True,
            )
    yield from participants.beside(f"{subject}_{label}" for subject, label in sessions)


def _dementia(cells: Sequence[str | None]) -> str:
    """Why a subject is not taken for healthy, by the CDR in all of its rows; "" for one who is.

    It is blank for the young, who are healthy, and for repeat scans.
    """
    if not cells:
        return "has no row in the table: its CDR is unknown"
    if None in cells:
        return "its row in the table is broken: its CDR is unknown"
    ratings = {text: tables.parse_number(text) for text in cells if text}
    for text, rating in ratings.items():
        if rating is None or not 0 <= rating <= HIGHEST_CDR:
            return f"CDR {tables.quote_cell(text)} is no rating: whether it is dementia is unknown"
    highest = max([rating for rating in ratings.values() if rating is not None], default=0.0)
    return f"CDR {highest:g}: dementia" if highest > 0 else ""


def _session(cell: str) -> str | None:
    name = re.fullmatch(r"OAS1_\d{4}_MR\d", cell, re.ASCII | re.IGNORECASE)
    return name[0].upper() if name else None


TABLE = tables.Form("ID", _session, needs=("CDR",))
