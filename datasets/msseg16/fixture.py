"""How a fixture of MSSEG 2016 looks: five stripped contrasts (DP is PD, GADO is T1 post), the consensus."""

from collections.abc import Iterator, Sequence

from uadbench.testing import Corruption, Lattice, Picture, Scene, Visit

KIND = "ms"
LAYOUTS = ("Training and Testing", "centres", "patients")
REPEATS = ()
NAMES = {"FLAIR": "FLAIR", "T1": "T1", "T1c": "GADO", "T2": "T2", "PD": "DP"}
CENTRES = {"Training": ("01", "07", "08"), "Testing": ("01", "03", "07", "08")}
LATTICE = Lattice("LAS", tilt_degrees=6)


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture]:
    """Five contrasts and the consensus of each visit; a brain mask is not in the documented layout."""
    for visit in visits:
        part = "Training" if visit.subject % 2 else "Testing"
        centre = f"Center_{CENTRES[part][visit.subject % len(CENTRES[part])]}"
        above = {"Training and Testing": f"{part}/{centre}/", "centres": f"{centre}/", "patients": ""}[layout]
        folder = f"{above}Patient_{visit.subject:02d}"
        paths = {c: f"{folder}/Preprocessed_Data/{n}_preprocessed.nii.gz" for c, n in NAMES.items()}
        for shows, path in (paths | {"lesion": f"{folder}/Masks/Consensus.nii.gz"}).items():
            yield Picture(
                visit=visit, path=path, shows=shows, space="co-registered", lattice=LATTICE, stripped=True
            )


def _raw_only(scene: Scene) -> None:
    """The target has raw scans only."""
    scans = scene.images()[0].parent
    scans.rename(scans.with_name("Raw_Data"))
    for path in sorted(scans.with_name("Raw_Data").iterdir()):
        path.rename(path.with_name(path.name.replace("_preprocessed", "")))


CORRUPTIONS = {"raw_only": Corruption(_raw_only, "image")}
