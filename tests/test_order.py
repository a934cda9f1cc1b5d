"""From method to leaderboard scores count by their order alone, at every magnitude and spacing."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.evaluation import maps
from uadbench.evaluation.metrics import AP_BOUND
from uadbench.evaluation.scan_facts import extent
from uadbench.experiment.cohort import prepare_cohort
from uadbench.experiment.collect import collect_records
from uadbench.experiment.config import RunConfig, Runtime, resolve_run
from uadbench.experiment.facts import OperatingPoint
from uadbench.experiment.record import plain
from uadbench.experiment.run import run
from uadbench.report import leaderboard

IMAGES = {
    "image": "image",
    "thousand": "np.float32(1000) + np.float32(0.05) * image",
    "subnormal": "np.float32(1e-42) * image",
    "huge": "np.float32(3e38) * image",
    "below_zero": "np.float32(-1e-3) + np.float32(1e-7) * image",
}
METHOD = """
from dataclasses import dataclass

import numpy as np

from uadbench.methods import Method, Score


@dataclass
class Changed(Method):
    def fit(self, train, val, context):
        return self

    def score(self, volume):
        image = volume.image[0]
        return Score(({expression}).astype(np.float32))


ENTRY = Changed
"""


@pytest.fixture
def with_images(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The plug-ins of the tests and a method for each image."""
    plugins = Path(__file__).parent / "plugins"
    card = (plugins / "methods" / "brightness" / "card.toml").read_text()
    shutil.copytree(plugins / "datasets", tmp_path / "plugins" / "datasets")
    for name, expression in IMAGES.items():
        folder = tmp_path / "plugins" / "methods" / name
        folder.mkdir(parents=True)
        (folder / "card.toml").write_text(card)
        (folder / "method.py").write_text(METHOD.format(expression=expression))
    monkeypatch.setenv(PLUGINS_VARIABLE, str(tmp_path / "plugins"))
    return runtime


def pooled(
    runtime: Runtime, config: RunConfig, folder: Path
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """All scores and labels that the raw profile measures, from the maps as stored."""
    cohort = prepare_cohort(resolve_run(config, runtime), runtime)
    scores, labels = [], []
    for item in cohort.evaluation["lesion-test"]:
        inside = extent(item) & ~item.ignored()
        score_map = maps.read_map(folder / f"{item.key}.safetensors").score_map
        scores.append(np.where(item.brain(), score_map, np.finfo(np.float32).min)[inside])
        labels.append(item.lesion()[inside])
    return np.concatenate(scores).astype(np.float32), np.concatenate(labels)


def counted(point: OperatingPoint) -> dict[str, Any]:
    """What was counted at an operating point."""
    return {name: value for name, value in plain(point).items() if name != "threshold"}


def test_an_increasing_image_of_a_map_is_measured_as_scikit_learn_measures_it(
    with_images: Runtime,
) -> None:
    """Of 1000 + .05 * image AP was .50 where .004 is true, and the row came first."""
    made = {}
    for name in IMAGES:
        config = RunConfig(method=name, dataset="balls", preset="ci")
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # overflow, division
            outcome = run(config, with_images)
        scores, labels = pooled(with_images, config, outcome.maps)
        raw = outcome.record.summary.profiles["raw"]
        precision, recall, _ = precision_recall_curve(labels, scores)
        dices = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        assert raw.ap == pytest.approx(average_precision_score(labels, scores), abs=AP_BOUND)
        assert raw.auroc == pytest.approx(roc_auc_score(labels, scores), abs=AP_BOUND)
        assert raw.points["oracle"].dsc == pytest.approx(dices.max(), abs=AP_BOUND)
        for profile in outcome.record.summary.profiles.values():
            assert (profile.ap_error or 0) <= AP_BOUND
        made[name] = outcome.record

    # Between these two no neighbours merge.
    first, second = (made[name].summary.profiles for name in ("image", "huge"))
    for name in first:
        for figure in ("ap", "auroc"):
            expected = getattr(first[name], figure)
            assert getattr(second[name], figure) == pytest.approx(expected, abs=AP_BOUND)
        for point in ("oracle", "val", "fpr1", "fpr5"):
            assert counted(first[name].points[point]) == counted(second[name].points[point])
    assert made["image"].summary.scan == made["huge"].summary.scan

    results = with_images.paths.results
    (table,) = leaderboard.tables(collect_records(results).records)
    aps = {row.method: row.numbers["ap"] or 0.0 for row in table.rows}
    assert aps["huge"] == pytest.approx(aps["image"], abs=AP_BOUND)
    assert max(aps.values()) - min(aps.values()) < 0.05  # merged neighbours change a little
