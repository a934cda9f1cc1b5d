"""What the demonstration claims: training helps, and chance is chance."""

from collections.abc import Callable

import numpy as np
import pytest

from uadbench.evaluation import uncertainty
from uadbench.evaluation.pieces import Pieces
from uadbench.experiment import pieces_file
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.record import Stored
from uadbench.experiment.run import run

pytestmark = pytest.mark.slow

Scans = tuple[Pieces, list[str]]
Runner = Callable[..., Scans]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Runs a method at the preset `demo` and gives the pieces of its scans with lesions and their persons."""
    from uadbench.system.paths import Paths
    from uadbench.system.progress import Silent

    folder = tmp_path_factory.mktemp("demo")
    paths = Paths(folder / "data", folder / "runs", folder / "results", folder / "cache")
    runtime = Runtime(paths, Silent(), "cpu", workers=2)

    def go(method: str, profile: str = "baur5", untrained: bool = False) -> Scans:
        made = run(RunConfig(method=method, dataset="phantom", untrained=untrained), runtime).record
        chosen = made.rows("lesion-test")
        pieces = (
            pieces_file.read_pieces(Stored(made, paths.results / made.place)).pieces[profile].only(chosen)
        )
        return pieces, [made.subjects[row].person for row in chosen]

    return go


@pytest.mark.parametrize("method", ["ae", "vae"])
def test_a_trained_method_beats_chance_and_its_untrained_self(demo: Runner, method: str) -> None:
    trained, persons = demo(method)

    for other in (demo("random"), demo(method, untrained=True)):
        interval = uncertainty.difference_in_ap(trained, other[0], persons)
        print(f"{method}: AP {trained.curve().ap:.4f} against {other[0].curve().ap:.4f}, {interval}")
        assert interval.low > 0


def test_the_ap_of_random_scores_is_the_prevalence(demo: Runner) -> None:
    pieces, persons = demo("random", profile="raw")
    weights = uncertainty.draw_resamples(persons, ["lesion-test"] * len(persons))
    prevalence = weights @ pieces.positives.sum(1) / (weights @ (pieces.positives + pieces.negatives).sum(1))

    low, high = np.quantile(uncertainty.pooled(pieces, weights).ap.values - prevalence, [0.025, 0.975])
    print(f"random: AP less prevalence [{low:.6f}, {high:.6f}]")
    assert low <= 1e-4  # what the pieces leave open
    assert high >= -1e-4
