"""The engine gives other people's figures: the example cases of the BraTS 2026 metrics.

Their four pairs and reference values are in github.com/BraTS/BraTS_evaluation (commit 791134c): `pred/`,
`ref/` and `sample_mets_metrics.json` of its folder `example`, in `$UADBENCH_TEST_DATA/brats2026`.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

import uadbench
from uadbench.api import make_runtime

CASES = (
    ("00132-000", "BraTS-MET-00132-000-seg"),
    ("SEG-00217-000", "BraTS-MET-00217-000-seg"),
    ("BraTS-MET-00630-001", "BraTS-MET-00630-001-seg"),
    ("BraTS-MET_01325-000", "BraTS-MET-01325-000-seg"),
)
REGIONS = {"et": (3,), "tc": (1, 3), "wt": (1, 2, 3)}
MARGIN = 4


def read(path: Path) -> tuple[NDArray[Any], list[float]]:
    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj), [float(side) for side in image.header.get_zooms()]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)))
def test_every_region_has_the_published_figures(
    number: int,
    real_scans: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = real_scans("brats2026")
    for name in ("data", "runs", "results"):
        monkeypatch.setenv(f"UADBENCH_{name.upper()}", str(tmp_path / name))
    called, sides = read(folder / "pred" / f"{CASES[number][0]}.nii.gz")
    truth, _ = read(folder / "ref" / f"{CASES[number][1]}.nii.gz")
    published = json.loads((folder / "sample_mets_metrics.json").read_text())["metrics"][number]
    there = np.argwhere((called > 0) | (truth > 0))  # the air around takes time and changes nothing
    low, high = (there.min(0) - MARGIN).clip(0), there.max(0) + MARGIN + 1
    box = tuple(slice(first, last) for first, last in zip(low, high, strict=True))

    # Their distances take the voxel sides in reverse order, which shows where a voxel is no cube; nothing
    # else of these figures depends on the sides.
    done = uadbench.evaluate_maps(
        {name: np.isin(called[box], labels) for name, labels in REGIONS.items()},
        {name: np.isin(truth[box], labels) for name, labels in REGIONS.items()},
        spacing_mm=sides[::-1],
        name="example",
        runtime=make_runtime("cpu", 1),
    )

    rows = {row["id"]: row for row in listed(done.path, "subjects") if row["profile"] == "raw"}
    lesions = listed(done.path, "lesions")
    for name in REGIONS:
        expected, found = published[name], rows[name]
        assert float(found["dice_given"]) == pytest.approx(expected["global_bin_dsc"], abs=1e-6)
        assert int(found["lesions_given"]) == expected["n_ref_instances"]
        assert int(found["components_given"]) == expected["n_pred_instances"]
        assert int(found["matched_given"]) == expected["tp"]
        assert float(found["matched_f1_given"]) == pytest.approx(expected["rq"], abs=1e-6)
        paired = [row for row in lesions if row["id"] == name and row["matched_dice_given"]]
        for ours, theirs in (("dice", "sq_dsc"), ("hd95_mm", "sq_hd95"), ("nsd", "sq_nsd")):
            values = np.array([float(row[f"matched_{ours}_given"]) for row in paired])
            assert values.mean() == pytest.approx(expected[theirs], abs=1e-5)
            assert values.std() == pytest.approx(expected[f"{theirs}_std"], abs=1e-5)


def listed(path: Path, name: str) -> list[dict[str, str]]:
    with open(path.with_suffix(f".{name}.csv"), encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))
