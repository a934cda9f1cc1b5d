"""OASIS-1: skull-stripped T1 in Talairach space; people with dementia (CDR above 0) are left out."""

import re
from collections.abc import Iterator
from pathlib import Path

from uadbench import layout
from uadbench.errors import UserError
from uadbench.subject import LeftOut, Subject

# The number after `n` counts the scans that were averaged, and differs.
NAME = r"(OAS1_\d{4})_(MR\d)_(mpr)_n\w+_anon_111_t88_masked_gfc\.hdr"


def subjects(root: Path) -> Iterator[Subject | LeftOut]:
    """One subject for each session of a person without dementia."""
    sessions, surplus = layout.by_session(root, NAME, {"mpr": "T1"})
    yield from surplus
    if not sessions:
        return
    table = next((path for path, _ in layout.files(root, r"oasis_cross-sectional.*\.csv")), None)
    if table is None:
        raise UserError(
            f"{root} has no oasis_cross-sectional.csv: without its column CDR nobody can be told from "
            "people with dementia; fetch the table from the data set's pages."
        )
    rows = {name.upper(): rows[0] for name, rows in layout.table(table, "ID").items()}
    dementia = _dementia(rows)
    for (person, session), images in sessions.items():
        name = f"{person}_{session}"
        header = images["T1"]
        if layout.one(header.parent, re.escape(header.stem) + r"\.img") is None:
            yield LeftOut(name, f"{header.name} is there without its .img")
        elif person not in dementia:
            yield LeftOut(name, f"has no row in {table.name}: its CDR is unknown")
        elif dementia[person] > 0:
            yield LeftOut(name, f"CDR {dementia[person]:g}: dementia")
        else:
            age, sex = layout.age_and_sex(rows.get(name, {}))
            yield Subject(
                id=name,
                cohort="oasis1",
                person=person,
                session=session.removeprefix("MR"),
                images=images,
                healthy=True,
                age=age,
                sex=sex,
                space="Talairach",
                skull_stripped=True,
            )
    yield from layout.without_image(table, rows.keys() - {f"{p}_{s}" for p, s in sessions})


def _dementia(rows: dict[str, layout.Row]) -> dict[str, float]:
    """The highest CDR of each person; it is blank for the young, who are healthy, and for repeat scans."""
    highest: dict[str, float] = {}
    for name, row in rows.items():
        person = name.split("_MR")[0]
        if "CDR" not in row:
            raise UserError("oasis_cross-sectional.csv lacks the column CDR: use the table as published.")
        highest[person] = max(highest.get(person, 0.0), layout.number(row["CDR"]) or 0.0)
    return highest
