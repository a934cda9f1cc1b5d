"""How a fixture of ISLES 2022 looks: DWI and ADC on one lattice, a FLAIR that has moved on another."""

from collections.abc import Iterator, Sequence

from uadbench.testing import Lattice, Picture, Visit

KIND = "stroke"
LAYOUTS = ("rawdata", "anat and dwi")
REPEATS = LAYOUTS
DIFFUSION = Lattice("LAS")
FLAIR = Lattice("LPS", (3.0, 3.0, 6.0), tilt_degrees=10)
MOVED_MM = (3.0, -4.0, 2.0)


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture]:
    """Three contrasts, the lesion on the voxels of the DWI, and the user's brain masks."""
    for visit in visits:
        subject, label = f"sub-strokecase{visit.subject:04d}", f"ses-{visit.label:04d}"
        name = f"{subject}_{label}"
        for shows in ("DWI", "ADC", "FLAIR"):
            file, folder = f"{name}_{shows.lower()}", f"rawdata/{subject}/{label}"
            if layout == "anat and dwi":
                folder = f"{subject}/{label}/{'anat' if shows == 'FLAIR' else 'dwi'}"
                file = file.replace("flair", "FLAIR")
            path = f"{folder}/{file}.nii.gz"
            lattice, moved = (FLAIR, MOVED_MM) if shows == "FLAIR" else (DIFFUSION, (0.0, 0.0, 0.0))
            yield Picture(visit=visit, path=path, shows=shows, lattice=lattice, moved_mm=moved)
            if shows != "ADC":  # the mask of the DWI holds for it
                mask = f"masks/{file}_brain.nii.gz"
                yield Picture(visit=visit, path=mask, shows="brain", lattice=lattice, moved_mm=moved)
        mask = f"derivatives/{subject}/{label}/{name}_msk.nii.gz"
        yield Picture(visit=visit, path=mask, shows="lesion", lattice=DIFFUSION)
