"""What every method promises, see `uadbench.testing.method_contract`."""

from collections.abc import Callable
from dataclasses import fields

import pytest

from uadbench import catalog, methods
from uadbench.cards import PRESETS, method_card
from uadbench.data.space import EVALUATION
from uadbench.data.volumes import Volume, Volumes
from uadbench.methods import Method
from uadbench.system.errors import UserError
from uadbench.testing.findings import Weakness, name_check
from uadbench.testing.method_contract import CHECKS
from uadbench.testing.trial import Trial, refuse_network

NAMES = methods.names()
# What a row cannot keep by its nature is no promise of it: its card says why, where users read it.
# One row that learns keeps its promises in `make test`, the others in `make thorough`.
PROMISES = [
    pytest.param(
        name,
        check,
        id=f"{name}-{name_check(check)}",
        marks=[] if method_card(name).family == "baseline" or name == "vae" else pytest.mark.thorough,
    )
    for name in NAMES
    for check in CHECKS
    if not method_card(name).exempt.get(name_check(check))
]
_trials: dict[str, Trial] = {}
_fits: dict[str, Method] = {}  # one fit serves all rows that share it


@pytest.fixture
def trial(name: str, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    if name not in _trials:
        _trials[name] = Trial(name, tmp_path_factory.mktemp(name), _fits)
    return _trials[name]


@pytest.mark.parametrize(("name", "check"), PROMISES)
def test_a_method_keeps_its_promises(trial: Trial, check: Callable[[Trial], None]) -> None:
    with refuse_network():
        try:
            check(trial)
        except Weakness as weakness:  # a method of the project has none, or gives the reason in its card
            if catalog.locate("methods", trial.card.folder).parent == catalog.home("methods"):
                raise
            pytest.xfail(str(weakness))


@pytest.mark.parametrize("name", NAMES)
def test_the_preset_paper_is_what_the_code_says(name: str) -> None:
    assert methods.build(name, "paper") == methods.load(name)(**method_card(name).set)


@pytest.mark.parametrize("name", methods.names())
def test_a_network_can_be_left_as_it_was_born(name: str) -> None:
    """What training buys is measured against that (benchmarks/claims.py); no setting asks for it."""
    usual = methods.parameters(methods.build(name, "demo"), "fit")
    born = methods.parameters(methods.build(name, "demo", untrained=True), "fit")
    steps = methods.training_steps(methods.load(name))
    assert born == usual | dict.fromkeys(steps, 0)
    assert {key for key in usual if key == "steps"} <= {*steps}
    for key in {*steps} & {"steps"}:
        with pytest.raises(UserError, match="expects a whole number from 1"):
            methods.build(name, "demo", {key: "0"})


@pytest.mark.parametrize("preset", PRESETS)
def test_the_baselines_of_every_table_run_on_the_evaluation_grid(preset: str) -> None:
    for baseline in ("random", "intensity", "atlas_z", "pca"):
        assert methods.build(baseline, preset).grid == EVALUATION


def test_no_label_reaches_a_method_by_type() -> None:
    assert {f.name for f in fields(Volume)} == {"image", "brain", "spacing_mm", "contrasts"}
    public = {key for key in dir(Volumes) if not key.startswith("_")}
    assert public <= {"slices", "read_slices", "read_codes", "read_whole_codes", "index", "count"}
