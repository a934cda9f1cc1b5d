"""How a fixture of BraTS 2013 looks: standardised contrasts, a brain mask and labels stored as float32."""

from collections.abc import Iterator, Sequence

from uadbench.testing import Lattice, Picture, Visit

KIND = "glioma"
LAYOUTS = ("brats_2013",)
REPEATS = LAYOUTS
NAMES = {
    "FLAIR": "Flair_subtrMeanDivStd",
    "T1c": "T1c_subtrMeanDivStd",
    "brain": "brainmask",
    "lesion": "OTMultiClass",
}


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture]:
    """Two contrasts, brain mask and labels of each visit."""
    for visit in visits:
        folder = f"{layout}_pat{visit.subject:04d}_{visit.label}"
        for shows, name in NAMES.items():
            yield Picture(
                visit=visit,
                path=f"{folder}/{name}.nii.gz",
                shows=shows,
                space="SRI24",
                lattice=Lattice("LPS"),
                stripped=True,
                standardised=True,
                labels=(2, 3, 4, 1),
                stored="float32",
            )
