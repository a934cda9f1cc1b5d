"""How a fixture of LGG kaggle_3m looks: a folder of pictures for each patient, and a table."""

import re
import shutil
from collections.abc import Iterator, Sequence

from uadbench.testing import Corruption, Scene, SliceFolder, Table, Visit
from uadbench.testing.slices import SLICE_CORRUPTIONS

KIND = "glioma"
LAYOUTS = ("kaggle_3m", "nested")
REPEATS = ()


def files(visits: Sequence[Visit], layout: str) -> Iterator[SliceFolder | Table]:
    """The slices of each visit, and the table of all."""
    root = "lgg-mri-segmentation/kaggle_3m" if layout == "nested" else "kaggle_3m"
    rows = []
    for visit in visits:
        patient = f"TCGA_ZZ_{7000 + visit.subject:04d}"
        path = f"{root}/{patient}_19990101/{patient}_19990101_{{}}"
        yield SliceFolder(
            visit=visit, image=f"{path}.tif", mask=f"{path}_mask.tif", channels=("T1", "FLAIR", "T1c")
        )
        gender = "1" if visit.sex == "F" else "2"
        rows.append({"Patient": patient, "gender": gender, "age_at_initial_pathologic": f"{visit.age:.0f}"})
    yield Table(f"{root}/data.csv", rows, separator=";")


def _downloaded_twice(scene: Scene) -> None:
    shutil.copytree(scene.root / "kaggle_3m", scene.root / "lgg-mri-segmentation" / "kaggle_3m")


def _commas(scene: Scene) -> None:
    """As in another copy of the set: commas, and whole numbers with a point."""
    for table in scene.tables:
        header, *rows = table.read_text(encoding="utf-8").replace(";", ",").splitlines()
        lines = [header, *(re.sub(r",(\d+)", r",\1.0", row) for row in rows)]
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")


CORRUPTIONS = SLICE_CORRUPTIONS | {
    "downloaded_twice": Corruption(_downloaded_twice),
    "commas": Corruption(_commas),
}
