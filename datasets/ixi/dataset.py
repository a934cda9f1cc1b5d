"""IXI: healthy volunteers; the person is the IXI number, the site is part of the file name."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from uadbench import layout
from uadbench.subject import LeftOut, Subject

NAME = r"(IXI\d{3})-(HH|Guys|IOP)-(\d{4})-(T1|T2|PD)\.nii(\.gz)?"
SITES = {"hh": "HH", "guys": "Guys", "iop": "IOP"}
TABLES = {r"IXI\.csv": "IXI_ID", r"IXI\.xls": "IXI_ID", r"participants\.csv": "MRID"}


def subjects(root: Path) -> Iterator[Subject | LeftOut]:
    """One subject for each IXI number, and what cannot be told apart or has no image."""
    images: dict[tuple[str, str, str], dict[str, Path]] = {}
    for path, name in layout.files(root, NAME):
        if path.parent.name.lower() == "masks":
            continue
        contrasts = images.setdefault((name[1].upper(), SITES[name[2].lower()], name[3]), {})
        first = contrasts.setdefault(name[4].upper(), path)
        if first != path:
            yield LeftOut(str(path.relative_to(root)), f"a second copy beside {first.relative_to(root)}")
    table, people = _people(root)
    masks = {path.name.lower(): path for path, _ in layout.files(root, r"IXI\d{3}.*\.nii(\.gz)?")}
    for (person, site, number), contrasts in images.items():
        age, sex = people.pop(person, (None, None))
        yield Subject(
            id=f"{person}-{site}-{number}",
            cohort="ixi",
            person=person,
            images=contrasts,
            healthy=True,
            contrast_masks=_masks(masks, contrasts),
            site=site,
            age=age,
            sex=sex,
        )
    if people:
        yield LeftOut(table, f"rows without an image: {len(people)}, {', '.join(sorted(people)[:5])} ...")


def _masks(files: Mapping[str, Path], images: Mapping[str, Path]) -> dict[str, Path]:
    """The user's own brain masks: masks/<file stem>*, else the parcellation of the T1."""
    masks = {}
    for contrast, image in images.items():
        stem = image.name.split(".")[0].lower()
        parcellation = f"{stem.removesuffix('-t1')}_t1_dlmuse"
        for name, path in files.items():
            own = path.parent.name.lower() == "masks" and name.startswith(stem)
            if own or (contrast == "T1" and contrast not in masks and name.startswith(parcellation)):
                masks[contrast] = path
    return masks


def _people(root: Path) -> tuple[str, dict[str, tuple[float | None, str | None]]]:
    """Name of the table, and age and sex by IXI number; rows that contradict each other say nothing."""
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
    return (path.name if path else "", people)
