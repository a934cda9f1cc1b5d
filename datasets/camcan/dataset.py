"""Cam-CAN: healthy adults over the whole adult life span, BIDS names, full heads."""

from collections.abc import Iterator
from pathlib import Path

from uadbench import layout
from uadbench.subject import LeftOut, Subject

NAME = r"sub-(CC\d+)_(T1w|T2w)\.nii(?:\.gz)?"


def subjects(root: Path) -> Iterator[Subject | LeftOut]:
    """One subject for each person."""
    sessions, surplus = layout.by_session(root, NAME, {"t1w": "T1", "t2w": "T2"})
    yield from surplus
    table = next((path for path, _ in layout.files(root, r"participants\.tsv")), None)
    rows = layout.table(table, "participant_id") if table else {}
    people = {name.upper().removeprefix("SUB-"): found[0] for name, found in rows.items()}
    masks = layout.own_masks(root)
    for (person,), images in sessions.items():
        age, sex = layout.age_and_sex(people.pop(person, {}))
        yield Subject(
            id=f"sub-{person}",
            cohort="camcan",
            person=person,
            images=images,
            healthy=True,
            contrast_masks=layout.own_masks_of(masks, images),
            site="Cambridge",
            age=age,
            sex=sex,
        )
    if table and sessions:
        yield from layout.without_image(table, people)
