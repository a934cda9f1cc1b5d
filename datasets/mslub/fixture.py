"""How a fixture of MSLUB looks: the official folders, and three kinds of copies of the public re-pack."""

import shutil
from collections.abc import Iterator, Sequence

from uadbench.testing import Corruption, Lattice, Picture, Scene, Visit

KIND = "ms"
LAYOUTS = ("official", "coregistered", "coregistered_resampled", "MNI", "raw")
REPEATS = ()
OFFICIAL = {
    "FLAIR": "FLAIR",
    "T1": "T1W",
    "T1c": "T1WKS",
    "T2": "T2W",
    "lesion": "consensus_gt",
    "brain": "brainmask",
}
ENDING = "_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI"
MNI = {
    "FLAIR": f"FLAIR{ENDING}",
    "T1": f"T1{ENDING}",
    "T1c": f"T1POST{ENDING}",
    "T2": f"T2{ENDING}",
    "lesion": "GOLD_STANDARD_N4_noneck_reduced_winsor_regtoFLAIR_regtoMNI",
}


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture]:
    """Four contrasts, lesion and brain mask of each visit."""
    for visit in visits:
        patient = f"patient{visit.subject:02d}"
        folder = f"{patient}/{patient}_" if layout == "official" else f"cross_sectional/{layout}/{patient}/"
        for shows, file in (MNI if layout == "MNI" else OFFICIAL).items():
            yield Picture(
                visit=visit,
                path=f"{folder}{file}.nii.gz",
                shows=shows,
                # Turned to MNI, but of the brain's own size, as the opened files are.
                space="Talairach" if layout == "MNI" else "co-registered",
                lattice=Lattice("LPS" if layout == "MNI" else "RAS"),
                stripped=layout == "MNI",
            )


def _longitudinal(scene: Scene) -> None:
    """A later study of the target, whose `gt` is the change of lesions."""
    folder = scene.root / "longitudinal" / "coregistered" / "patient01"
    folder.mkdir(parents=True)
    shutil.copy(scene.images()[0], folder / "study2_FLAIR.nii.gz")
    shutil.copy(scene.mask("lesion"), folder / "gt.nii.gz")


CORRUPTIONS = {"longitudinal": Corruption(_longitudinal, "lesion")}
