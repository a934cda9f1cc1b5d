"""How a fixture of BraTS looks: four stripped contrasts in SRI24, and the names and labels of three years."""

from collections.abc import Iterator, Sequence

from uadbench.testing import Corruption, Lattice, Picture, Scene, Visit

KIND = "glioma"
LAYOUTS = ("2021", "2020", "2023")
REPEATS = ("2023",)
CONTRASTS = ("T1", "T1c", "T2", "FLAIR")
NAMES = {"2021": ("t1", "t1ce", "t2", "flair"), "2023": ("t1n", "t1c", "t2w", "t2f")}
LABELS = {"2021": (2, 4, 1), "2020": (2, 4, 1), "2023": (2, 3, 1)}  # oedema, enhancing, core: rim to core
LATTICE = Lattice("LPS")
FIRST = 12  # patient: with it the first six fill the partitions of every layout


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture]:
    """Four contrasts and the segmentation of each visit."""
    joint, ending = ("-", ".nii.gz") if layout == "2023" else ("_", ".nii" if layout == "2020" else ".nii.gz")
    for visit in visits:
        number = FIRST + visit.subject - 1
        name = {
            "2021": f"BraTS2021_{number:05d}",
            "2020": f"BraTS20_Training_{number:03d}",
            "2023": f"BraTS-GLI-{number:05d}-{visit.label - 1:03d}",
        }[layout]
        shown = dict(zip(CONTRASTS, NAMES.get(layout, NAMES["2021"]), strict=True)) | {"lesion": "seg"}
        for shows, short in shown.items():
            yield Picture(
                visit=visit,
                path=f"{name}/{name}{joint}{short}{ending}",
                shows=shows,
                space="SRI24",
                lattice=LATTICE,
                stripped=True,
                labels=LABELS[layout],
            )


def _irregular_name(scene: Scene) -> None:
    """The segmentation of one patient of a mirror is named otherwise."""
    seg = scene.mask("lesion")
    seg.rename(seg.with_name("W00_0000_Segm" + "".join(seg.suffixes)))


def _two_releases(scene: Scene) -> None:
    """A patient of another release beside this one."""
    release = "BraTS20_Training_099" if "BraTS20_" not in scene.images()[0].name else "BraTS2021_00099"
    folder = scene.root / release
    folder.mkdir()
    for path in scene.images():
        (folder / path.name).write_bytes(path.read_bytes())


CORRUPTIONS = {
    "irregular_name": Corruption(_irregular_name, "lesion"),
    "two_releases": Corruption(_two_releases, "image"),
}
