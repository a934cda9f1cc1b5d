"""IXI: healthy volunteers; the person is the IXI number, the site is part of the file name."""

from collections.abc import Iterator
from pathlib import Path

from uadbench import layout
from uadbench.subject import LeftOut, Subject

NAME = r"(IXI\d{3})-(HH|Guys|IOP)-(\d{4})-(T1|T2|PD)\.nii(?:\.gz)?"
SITES = {"HH": "HH", "GUYS": "Guys", "IOP": "IOP"}
TABLES = {r"IXI\.csv": "IXI_ID", r"IXI\.xls": "IXI_ID", r"participants\.csv": "MRID"}


def subjects(root: Path) -> Iterator[Subject | LeftOut]:
    """One subject for each IXI number, and what cannot be told apart or has no image."""
    sessions, surplus = layout.by_session(root, NAME, {"t1": "T1", "t2": "T2", "pd": "PD"})
    yield from surplus
    table, people = _people(root)
    masks = layout.own_masks(root)
    parcellations = list(layout.files(root, r"(IXI\d{3}-\w+-\d{4})_T1_DLMUSE\.nii(?:\.gz)?"))
    brains = {name[1].upper(): path for path, name in parcellations}  # of the T1: above 0 is brain
    for (person, site, number), images in sessions.items():
        age, sex = people.pop(person, (None, None))
        brain = brains.get(f"{person}-{site}-{number}")
        yield Subject(
            id=f"{person}-{SITES[site]}-{number}",
            cohort="ixi",
            person=person,
            images=images,
            healthy=True,
            contrast_masks=({"T1": brain} if brain and "T1" in images else {})
            | layout.own_masks_of(masks, images),
            site=SITES[site],
            age=age,
            sex=sex,
        )
    if table and sessions:
        yield from layout.without_image(table, people)


def _people(root: Path) -> tuple[Path | None, dict[str, tuple[float | None, str | None]]]:
    """The table, and age and sex by IXI number; rows that contradict each other say nothing."""
    people: dict[str, tuple[float | None, str | None]] = {}
    path, id_column = next(
        ((p, column) for pattern, column in TABLES.items() for p, _ in layout.files(root, pattern)),
        (None, ""),
    )
    for name, rows in (layout.table(path, id_column) if path else {}).items():
        number = name[:6].upper() if name.upper().startswith("IXI") else f"IXI{int(float(name)):03d}"
        ages = {layout.number(row.get("AGE", row.get("Age"))) for row in rows} - {None}
        codes = {row.get("SEX_ID (1=m, 2=f)", row.get("Sex", "")) for row in rows}
        sexes = {{"1": "M", "2": "F", "M": "M", "F": "F"}.get(code) for code in codes} - {None}
        people[number] = (
            ages.pop() if len(ages) == 1 else None,
            sexes.pop() if len(sexes) == 1 else None,
        )
    return path, people
