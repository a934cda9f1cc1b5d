"""How a fixture of ATLAS R2.0 looks: T1 of the full head in MNI152, lesion masks, the user's brain masks."""

import shutil
from collections.abc import Iterator, Sequence

from uadbench.testing import Corruption, Lattice, Picture, Scene, Visit

KIND = "stroke"
LAYOUTS = ("R001", "no site folders")
REPEATS = LAYOUTS
LATTICE = Lattice("RAS")


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture]:
    """T1, lesion and brain mask of each visit."""
    for visit in visits:
        site = f"{1 + visit.subject % 3:03d}"
        subject = f"sub-r{site}s{visit.subject:03d}"
        folder = f"{subject}/ses-{visit.label}/anat/"
        folder = f"ATLAS_2/Training/R{site}/{folder}" if layout == "R001" else f"Training/{folder}"
        name = f"{subject}_ses-{visit.label}_space-MNI152NLin2009aSym"
        paths = {
            "T1": f"{folder}{name}_T1w.nii.gz",
            "lesion": f"{folder}{name}_label-L_desc-T1lesion_mask.nii.gz",
            "brain": f"masks/{name}_T1w_brain.nii.gz",
        }
        for shows, path in paths.items():
            yield Picture(visit=visit, path=path, shows=shows, space="MNI152", lattice=LATTICE)


def _testing(scene: Scene) -> None:
    """The target belongs to the part Testing, which has no masks."""
    scene.mask("lesion").unlink()
    (image,) = scene.images()
    part = next(folder for folder in image.parents if folder.name == "Training")
    target = part.parent / "Testing" / image.relative_to(part)
    target.parent.mkdir(parents=True)
    shutil.move(image, target)


CORRUPTIONS = {"testing": Corruption(_testing, "lesion")}
