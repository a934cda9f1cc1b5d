"""The training loop: repeatable, resumable, ends where it should."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning import layout, training
from uadbench.learning.history import History
from uadbench.learning.training import Batch, Schedule
from uadbench.methods import Context
from uadbench.system.errors import UserError

Toy = Callable[..., list[Prepared]]
Weights = dict[str, np.ndarray]
SCHEDULE = Schedule(steps=12, batch=4, learning_rate=1e-2, validate_every=4, checkpoint_s=0)


class Blur(nn.Sequential):
    """A network with a buffer (batch norm) and random draws (dropout)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.Conv2d(4, 1, 1)
        )


def loss(network: nn.Module, batch: Batch) -> Tensor:
    """Restores slices from noisy ones: torch's and numpy's generators both take part."""
    noisy = batch.image + 0.1 * torch.randn_like(batch.image) + 0.01 * float(np.random.normal())
    error: Tensor = (network(noisy) - batch.image) ** 2
    return error.mean()


@pytest.fixture
def volumes(toy: Toy) -> tuple[Volumes, Volumes]:
    grid = GRIDS["g48"]
    return Volumes(toy(range(4), True), grid), Volumes(toy(range(10, 12), True), grid)


def run(
    volumes: tuple[Volumes, Volumes],
    folder: Path,
    schedule: Schedule = SCHEDULE,
    seed: int = 0,
    loss: Callable[[nn.Module, Batch], Tensor] = loss,
    precision: str = "float32",
) -> tuple[Weights, History]:
    """Weights after a training, as the harness would start it: generators seeded."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    network = Blur()
    context = Context(precision=precision, seed=seed, folder=folder)
    history = training.train(network, loss, *volumes, context, schedule)
    assert not network.training
    return training.weights(network), history


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    volumes: tuple[Volumes, Volumes], tmp_path: Path
) -> None:
    first, _ = run(volumes, tmp_path / "first")
    np.testing.assert_equal(run(volumes, tmp_path / "second")[0], first)
    assert not np.array_equal(run(volumes, tmp_path / "third", seed=1)[0]["0.weight"], first["0.weight"])


@pytest.mark.parametrize("stop", [1, 4, 7, 11])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_interrupted_training_ends_with_the_weights_of_an_unbroken_one(
    volumes: tuple[Volumes, Volumes], tmp_path: Path, stop: int, ema: float
) -> None:
    schedule = replace(SCHEDULE, ema=ema, cosine=True)
    unbroken, history = run(volumes, tmp_path / "unbroken", schedule)
    done = 0

    def interrupted(network: nn.Module, batch: Batch) -> Tensor:
        nonlocal done
        if network.training:
            done += 1
            if done > stop:
                raise KeyboardInterrupt
        return loss(network, batch)

    with pytest.raises(KeyboardInterrupt):
        run(volumes, tmp_path / "broken", schedule, loss=interrupted)
    resumed, same_history = run(volumes, tmp_path / "broken", schedule)
    np.testing.assert_equal(resumed, unbroken)
    assert same_history == history


def test_a_resumed_training_states_the_time_of_the_process_before(
    volumes: tuple[Volumes, Volumes], tmp_path: Path
) -> None:
    done = 0

    def slow(network: nn.Module, batch: Batch) -> Tensor:
        nonlocal done
        done += network.training
        if done > 3:
            raise KeyboardInterrupt
        time.sleep(0.05)
        return loss(network, batch)

    with pytest.raises(KeyboardInterrupt):
        run(volumes, tmp_path, loss=slow)
    context = Context(folder=tmp_path)
    training.train(Blur(), loss, *volumes, context, SCHEDULE)
    assert context.spent["training"].seconds > context.spent["training"].earlier >= 0.1


def test_a_finished_training_is_not_done_again(volumes: tuple[Volumes, Volumes], tmp_path: Path) -> None:
    finished, _ = run(volumes, tmp_path)

    def never(network: nn.Module, batch: Batch) -> Tensor:
        raise AssertionError("trains again")

    np.testing.assert_equal(run(volumes, tmp_path, loss=never)[0], finished)


def test_a_checkpoint_of_another_seed_or_schedule_is_not_taken_up(
    volumes: tuple[Volumes, Volumes], tmp_path: Path
) -> None:
    run(volumes, tmp_path)
    for schedule, seed in ((SCHEDULE, 1), (replace(SCHEDULE, learning_rate=1e-3), 0)):
        np.testing.assert_equal(
            run(volumes, tmp_path, schedule, seed)[0], run(volumes, tmp_path / "new", schedule, seed)[0]
        )


def test_training_ends_early_and_keeps_the_best_weights(
    volumes: tuple[Volumes, Volumes], tmp_path: Path
) -> None:
    validations = iter([3.0, 1.0, 2.0, 4.0, 0.0])
    parameter = nn.Linear(1, 1)

    def update(batch: Batch, step: int) -> Tensor:
        nn.init.constant_(parameter.weight, step)
        return torch.tensor(0.0)

    history = training.loop(
        update,
        {"network": parameter},
        parameter,
        lambda: next(validations),
        training.Slices(volumes[0], "cpu"),
        Context(folder=tmp_path),
        Schedule(steps=100, batch=1, learning_rate=0.0, validate_every=10, patience=2),
    )
    assert (history.step, history.best, history.misses) == (40, 1.0, 2)
    assert parameter.weight.item() == 19  # the 20th step, of the second validation


def test_a_loss_that_is_not_a_number_stops_the_training_and_names_the_step(
    volumes: tuple[Volumes, Volumes], tmp_path: Path
) -> None:
    done = 0

    def spoilt(network: nn.Module, batch: Batch) -> Tensor:
        nonlocal done
        done += network.training
        return loss(network, batch) * (math.nan if done == 6 else 1)

    with pytest.raises(RuntimeError, match="nan at step 6 of 12"):
        run(volumes, tmp_path, loss=spoilt)


def test_without_validation_volumes_the_last_weights_are_kept(
    volumes: tuple[Volumes, Volumes], tmp_path: Path
) -> None:
    nobody = Volumes([], volumes[0].grid)
    _, history = run((volumes[0], nobody), tmp_path, replace(SCHEDULE, patience=1))
    assert history.step == SCHEDULE.steps
    assert history.best == math.inf


def test_training_without_slices_is_refused(volumes: tuple[Volumes, Volumes], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one slice"):
        run((Volumes([], volumes[0].grid), volumes[1]), tmp_path)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UserError, match="float32, bf16"):
        training.autocast(Context(precision="half"))


def test_bf16_trains_close_to_float32_and_leaves_float32_weights(
    volumes: tuple[Volumes, Volumes], tmp_path: Path
) -> None:
    schedule = replace(SCHEDULE, steps=40)
    weights, mixed = run(volumes, tmp_path / "mixed", schedule, precision="bf16")
    _, full = run(volumes, tmp_path / "full", schedule)
    assert weights["0.weight"].dtype == np.float32
    assert mixed.best != full.best
    assert mixed.best == pytest.approx(full.best, rel=0.2)


def test_validation_draws_the_same_noise_each_time_and_leaves_the_generators_alone(
    volumes: tuple[Volumes, Volumes],
) -> None:
    network, slices, context = Blur(), training.Slices(volumes[1], "cpu"), Context()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    values = {training.mean_loss(loss, network, slices, context, batch=7) for _ in range(3)}
    assert len(values) == 1
    assert torch.equal(torch.rand(3), expected)
    assert network.training


def test_slices_are_those_of_the_volumes_in_memory_and_from_disk(
    volumes: tuple[Volumes, Volumes], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = volumes[0]
    in_memory = training.Slices(train, "cpu")
    monkeypatch.setattr("uadbench.learning.slices.MEMORY_LIMIT", 0)
    on_disk = training.Slices(train, "cpu")
    index = np.array([5, 0, len(in_memory.which) - 1, 5])
    image, brain = train.read_slices(in_memory.which[index])
    for slices in (in_memory, on_disk):
        batch = slices.take(index)
        np.testing.assert_array_equal(batch.image.numpy(), image)
        np.testing.assert_array_equal(batch.brain[:, 0].numpy(), brain)
        np.testing.assert_array_equal(batch.which, train.slices()[index])


def test_draws_are_uniform_over_volumes_and_over_the_slices_of_a_volume(
    volumes: tuple[Volumes, Volumes],
) -> None:
    slices = training.Slices(volumes[0], "cpu")
    which = slices.draw(20_000, torch.Generator().manual_seed(0)).which
    shares = np.bincount(which[:, 0]) / len(which)
    assert shares == pytest.approx(np.full(4, 0.25), abs=0.015)
    own = slices.which[slices.which[:, 0] == 2][:, 1]
    counts = np.bincount(which[which[:, 0] == 2][:, 1])[own]
    assert counts.min() > 0.6 * counts.mean()
    assert counts.max() < 1.4 * counts.mean()


def test_prediction_puts_slices_back_in_their_place(volumes: tuple[Volumes, Volumes]) -> None:
    volume = volumes[0][0]
    copied = training.reconstruct(nn.Identity(), volume, "cpu", batch=5)
    np.testing.assert_array_equal(copied, volume.image)
    filled = training.reconstruct(torch.ones_like, volume, "cpu")
    np.testing.assert_array_equal(filled[0], volume.brain)


def test_weights_come_back() -> None:
    first, second = Blur(), Blur()
    training.load_weights(second, training.weights(first), "cpu")
    np.testing.assert_equal(training.weights(second), training.weights(first))
    assert not second.training


def test_a_schedule_takes_what_a_methods_options_say() -> None:
    method = methods.build("ae", "paper", {"cosine": "true"})
    schedule = Schedule.of(method, batch=3, clip=math.inf)
    assert (schedule.steps, schedule.batch, schedule.patience) == (500_000, 3, 5)
    assert (schedule.cosine, schedule.ema, schedule.clip) == (True, 0.0, math.inf)


def test_the_learning_rate_falls_along_half_a_cosine() -> None:
    schedule = Schedule(steps=100, batch=1, learning_rate=2.0, cosine=True)
    assert [schedule.rate(step) for step in (0, 50, 100)] == pytest.approx([2.0, 1.0, 0.0])
    assert replace(schedule, cosine=False).rate(77) == 2.0


def test_the_log_shows_every_validation(volumes: tuple[Volumes, Volumes], tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    _, history = run(volumes, tmp_path)
    (file,) = (tmp_path / "logs" / "training").iterdir()
    content, events, at = file.read_bytes(), [], 0
    while at < len(content):  # length (8 bytes), its checksum (4), an event, its checksum (4)
        length = int.from_bytes(content[at : at + 8], "little")
        events.append(Event.FromString(content[at + 12 : at + 12 + length]))
        at += length + 16
    seen = {(e.step, v.tag): v.simple_value for e in events for v in e.summary.value}
    for step, training_loss, validation_loss in history.rows:
        assert seen[step, "loss/training"] == pytest.approx(training_loss)
        assert seen[step, "loss/validation"] == pytest.approx(validation_loss)


# ---- what plug-ins may do, and what may lie in a folder of a fit ----------------------------------


class Flattening(nn.Sequential):
    """A network that calls `view` after convolutions, as many published ones do."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        middle = self[1](self[0](x).to(memory_format=torch.channels_last))
        flat = middle.view(len(x), -1)
        answer: Tensor = self[2](flat.view_as(middle))
        return answer


def test_a_network_that_calls_view_learns_and_answers_and_it_is_said(
    volumes: tuple[Volumes, Volumes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layout._say.cache_clear()
    torch.manual_seed(0)
    network, same = Flattening(), Flattening()
    same.load_state_dict(network.state_dict())
    schedule = replace(SCHEDULE, steps=3, validate_every=1)
    training.train(network, loss, *volumes, Context(folder=tmp_path), schedule)
    training.predict(network, np.zeros((3, 1, 48, 56), np.float32), "cpu")

    assert caplog.text.count("is given reshape") == 1


def test_an_error_of_another_kind_in_a_network_comes_out(volumes: tuple[Volumes, Volumes]) -> None:
    def wrong(x: Tensor) -> Tensor:
        return x.view(7, 11)

    with pytest.raises(RuntimeError, match="shape '\\[7, 11\\]' is invalid"):
        training.predict(wrong, np.zeros((3, 1, 48, 56), np.float32), "cpu")


def test_training_without_validation_volumes_says_nothing_of_it(
    volumes: tuple[Volumes, Volumes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run((volumes[0], Volumes([], volumes[0].grid)), tmp_path, replace(SCHEDULE, steps=2, validate_every=1))
    assert not caplog.text


def test_a_checkpoint_of_another_structure_is_begun_afresh_as_if_there_were_none(
    volumes: tuple[Volumes, Volumes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = replace(SCHEDULE, steps=3)
    fresh, _ = run(volumes, tmp_path / "fresh", schedule)
    file = tmp_path / "fresh/training.checkpoint"
    content = torch.load(file, weights_only=True)
    moments = content["parts"]["optimiser"]["state"][0]
    changes: list[dict[str, object]] = [
        {"parts": {}},
        {"parts": content["parts"] | {"more": {}}},
        {"parts": content["parts"] | {"network": dict(list(content["parts"]["network"].items())[:2])}},
        {"parts": content["parts"] | {"optimiser": {}}},
        {"history": {}, "parts": 3},
        {"history": content["history"] | {"step": "three"}},
        {"best": {"0.weight": torch.zeros(1)}},
        {"random": {}},
        {"generator": torch.zeros(3)},
    ]
    for change in changes:
        caplog.clear()
        torch.save(content | change, file)
        np.testing.assert_equal(run(volumes, tmp_path / "fresh", schedule)[0], fresh)
        assert "is damaged" in caplog.text, change
        assert "training starts from the beginning" in caplog.text
    moments["exp_avg"] = torch.zeros(1, 2)
    torch.save(content, file)
    np.testing.assert_equal(run(volumes, tmp_path / "fresh", schedule)[0], fresh)


def test_a_byte_that_changed_in_a_checkpoint_is_found(
    volumes: tuple[Volumes, Volumes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = replace(SCHEDULE, steps=3)
    fresh, _ = run(volumes, tmp_path, schedule)
    file = tmp_path / "training.checkpoint"
    content = torch.load(file, weights_only=True)
    needle = content["parts"]["network"]["0.weight"].numpy().tobytes()[:16]
    whole = bytearray(file.read_bytes())
    whole[whole.index(needle) + 2] ^= 1
    file.write_bytes(whole)

    np.testing.assert_equal(run(volumes, tmp_path, schedule)[0], fresh)
    assert "not as it was written" in caplog.text
