"""The benchmark on real scans: which folders it recognises, and that a failed row stops no other."""

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from uadbench.experiment.config import RunConfig, Runtime
from uadbench.system.errors import UserError

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "real.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="only a checkout has the benchmarks")


@pytest.fixture
def real() -> Any:
    spec = importlib.util.spec_from_file_location("real", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_folders_are_recognised_by_their_names(real: Any, tmp_path: Path) -> None:
    for name in ("ixi_hh_2mm", "MSLUB", "BraTS2013", "brats2021", "training_label_maps", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "lgg").touch()  # no folder
    found = {name: folder.name for name, folder in real.found(tmp_path).items()}
    assert found == {
        "ixi": "ixi_hh_2mm",
        "mslub": "MSLUB",
        "brats13": "BraTS2013",
        "labelmaps": "training_label_maps",
    }


def test_every_row_runs_on_every_pair_that_is_there(
    real: Any, tmp_path: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mslub", "labelmaps"):
        (tmp_path / name).mkdir()
    configs: list[RunConfig] = []

    def pretended(config: RunConfig, runtime: Runtime) -> str | None:
        configs.append(config)
        if config.method == "ae":
            raise UserError("no such thing")
        return "broken" if config.method == "pca" else None

    monkeypatch.setattr(real, "run_recording_failure", pretended)
    options = argparse.Namespace(
        data=tmp_path, protocol="uad-1-2mm", method=["ae", "pca", "vae"], preset="demo"
    )
    said = real.run_all(runtime, options)
    assert [(c.method, c.train, c.dataset, c.contrast) for c in configs] == [
        (method, "labelmaps", "mslub", contrast)
        for contrast in ("FLAIR", "T2")
        for method in ("ae", "pca", "vae")
    ]
    assert said == [
        "ixi to mslub T1: no ixi there",
        "ixi to brats13 T1ce: no brats13 and no ixi there",
        "lgg to lgg FLAIR: no lgg there",
        "ae, labelmaps to mslub FLAIR: no such thing",
        "pca, labelmaps to mslub FLAIR failed: broken",
        "ae, labelmaps to mslub T2: no such thing",
        "pca, labelmaps to mslub T2 failed: broken",
        "labelmaps to brats13 FLAIR: no brats13 there",
    ]
