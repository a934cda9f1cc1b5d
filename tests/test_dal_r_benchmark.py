"""The benchmark of dal_r's parts: rows are measured once, and compared on the same subjects."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from uadbench.evaluation.pieces import Pieces
from uadbench.learning.tissues import tissue_prior

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "dal_r.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="only a checkout has the benchmarks")
SUBJECTS = tuple(f"sub-{number}" for number in range(8))


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("benchmark_dal_r", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


class Measured(SimpleNamespace):
    """Scans of 100 voxels, the first ten a lesion, of which a map is taken as it is; counts its questions."""

    subjects = SUBJECTS

    def pieces(self, contrast: str, maps: Any) -> Pieces:
        lesion = np.arange(100) < 10
        return Pieces.of_voxels(SUBJECTS, [(scores.ravel(), lesion) for scores in maps])


@pytest.fixture
def laboratory(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A row that finds the lesion, one that is its opposite, and their sum, which knows nothing."""
    rising = -np.arange(100, dtype=np.float32).reshape(10, 10, 1)
    rows = {
        "finds": script.Row("finds", seeded=False),
        "misses": script.Row("misses"),
        "both": script.Row(sum_of=("finds", "misses")),
    }
    asked: list[str] = []

    class Method:
        def __init__(self, name: str) -> None:
            self.sign = 1 if name == "finds" else -1

        def score(self, volume: Any) -> Any:
            return SimpleNamespace(score_map=self.sign * rising)

    def method(self: Any, row: Any, seed: int, learned: str) -> Method:
        assert learned == "T1+T2"
        asked.append(f"{row.method} {seed}")
        return Method(row.method)

    monkeypatch.setattr(script.Laboratory, "_method", method)
    scans = Measured(ill={contrast: range(8) for contrast in script.CONTRASTS})
    lab = script.Laboratory(scans, rows, tmp_path)
    lab.asked = asked
    return lab


def test_a_row_is_measured_once_for_each_seed_that_changes_anything(laboratory: Any) -> None:
    assert laboratory.ap("finds", "T1", 2).value == pytest.approx(1, abs=1e-3)
    laboratory.ap("finds", "PD", 2)
    assert laboratory.asked == ["finds 0"] * 4  # once for each contrast
    laboratory.ap("misses", "T2", 2)
    assert sorted(set(laboratory.asked[4:])) == ["misses 0", "misses 1"]


def test_differences_are_of_the_same_subjects_and_say_how_many_contrasts_pass(
    laboratory: Any, script: Any
) -> None:
    text = script.contrasts_between(laboratory, [("finds", "misses"), ("misses", "finds")], 1)
    better, worse = text.splitlines()[2:]
    assert better.endswith("| 4 of 4 |")
    assert worse.endswith("| 0 of 4 |")
    assert "| finds | 1.000 [1.000, 1.000] |" in script.table(laboratory, laboratory.rows, 1)


def test_the_sum_of_two_rows_is_that_of_their_scores(laboratory: Any) -> None:
    """One that finds everything and its opposite add up to a constant, whose AP is the prevalence."""
    assert laboratory.ap("both", "T1", 1).value == pytest.approx(0.1, abs=1e-3)


def test_an_atlas_that_is_moved_to_a_scan_fits_it_better() -> None:
    """The scan is the atlas itself, wider and shifted by two voxels."""
    spec = importlib.util.spec_from_file_location("benchmark_deformed", SCRIPT.with_name("deformed.py"))
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    atlas = tissue_prior("g48")
    maps = atlas.movedim(1, 0)[None]
    way = torch.eye(3, 4)[None].clone()
    way[0, 0, 3], way[0, 1, 1] = 0.08, 1.05
    grid = functional.affine_grid(way, [1, 1, *maps.shape[2:]], align_corners=True)
    true = functional.grid_sample(maps, grid, align_corners=True)[0]
    brain, code = true[0] < 0.5, torch.tensor([[0.2, 0.5, 0.8], [0.05, 0.05, 0.05]])
    image = (true[1:] * code[0][:, None, None, None]).sum(0)

    def apart(one: torch.Tensor) -> float:
        return float((one.movedim(1, 0)[1:] - true[1:])[:, brain].abs().mean())

    assert apart(module.moved(atlas, image, brain, code, 4.0)) < apart(atlas) / 2
