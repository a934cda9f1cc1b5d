"""Fixture of my_dataset: `uadbench fixture my_dataset` writes simulated subjects in this layout."""

from collections.abc import Iterator, Sequence

from uadbench.testing import Lattice, Picture, Visit

KIND = "glioma"  # or "ms", "wmh", "stroke"; None: healthy subjects
LAYOUTS = ("folders",)  # names of the known variants of the layout, the usual one first
REPEATS = ()  # those in which a subject may be scanned twice
FILES = {"FLAIR": "flair", "brain": "brain", "lesion": "tumour"}  # what a file shows -> its name


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture]:
    """The files of each visit; stored axes and voxels as the scanner leaves them."""
    for visit in visits:
        for shows, name in FILES.items():
            path = f"patient{visit.subject:02d}/{name}.nii.gz"
            yield Picture(visit=visit, path=path, shows=shows, lattice=Lattice("LPS"))
