"""my_dataset: one folder for each patient. See card.toml."""

from collections.abc import Iterator
from pathlib import Path

from uadbench.data import layout
from uadbench.data.session import LeftOut, Session


def sessions(root: Path) -> Iterator[Session | LeftOut]:
    """One subject for each patient whose tumour was outlined."""
    for image, _ in layout.find_volumes(root, "flair"):
        patient = image.parent
        tumour = layout.find_volume(patient, "tumour")
        if tumour is None:
            yield LeftOut(patient.name, f"{layout.NO_MASK} (tumour.nii.gz)")
            continue
        yield Session(
            id=patient.name,
            cohort="my_dataset",
            subject=patient.name,
            images={"FLAIR": image},
            healthy=False,
            brain_mask=layout.find_volume(patient, "brain"),
            lesion_mask=tumour,
            lesion_kind="tumour",
        )
