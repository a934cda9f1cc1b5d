"""How a fixture of label maps looks: segmentations of simulated subjects, named as in SynthSeg's release."""

from collections.abc import Iterator, Sequence

from uadbench.testing import Corruption, Lattice, Picture, Scene, Visit, heads

KIND = None
LAYOUTS = ("training_seg",)
REPEATS = ()
LATTICE = Lattice("LIA", (4.0, 4.0, 4.0), (216.0, 256.0, 180.0))  # the release's axes
UNKNOWN_NUMBER = 1035  # of a parcellation of the cortex, not of the whole brain


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture]:
    """A segmentation of each visit; some of the release's files are float32."""
    for visit in visits:
        path = f"training_seg_{visit.subject:02d}.nii.gz"
        stored = "float32" if visit.subject % 5 == 1 else "int32"
        yield Picture(visit=visit, path=path, shows="segmentation", lattice=LATTICE, stored=stored)


def _unknown_number(scene: Scene) -> None:
    """The target has a label number that is not of the whole brain."""
    path = scene.images()[0]
    stored = heads.read_scan(path)
    stored.array[stored.array == 3] = UNKNOWN_NUMBER
    heads.write_scan(path, stored)


CORRUPTIONS = {
    "unknown_number": Corruption(_unknown_number, "image"),
}
