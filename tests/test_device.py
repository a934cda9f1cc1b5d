"""The device path without a GPU: every row is trained and scores on torch's `meta` device.

There a tensor has a shape, a type and a place, and no value: whoever reads one, which on a GPU waits for all
that was asked of it before, fails here, and so does whoever mixes it with a tensor of the CPU.
"""

import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.evaluation import maps
from uadbench.experiment.config import RunConfig
from uadbench.experiment.full import told_when_full
from uadbench.learning import device, training
from uadbench.learning.checkpoint import Checkpoint
from uadbench.learning.history import History
from uadbench.learning.slices import Packed, Slices
from uadbench.methods import Context, Method, Score
from uadbench.system.environment import Cost, measured, seed_everything
from uadbench.system.errors import UserError

Toy = Callable[..., list[Prepared]]
SCHEDULE = training.Schedule(steps=2, batch=2, learning_rate=1e-2)
# Two steps of each training: the first one makes the optimiser's state, the second finds it there.
FEW = {
    "steps": 2, "encoder_steps": 2, "autoencoder_steps": 2, "reflow_steps": 2, "validate_every": 2,
    "warm_up": 0, "slices": 16, "tv_weight": 1.0,
}  # fmt: skip
# What is read for good reason, once in a fit or a few times for a scan: the row's folder, what reads it, what
# is put in its place here, and the reason.
READ: list[tuple[str, str, Callable[..., Any], str]] = [
    ("vae", "VAE._choose_tv_weight", lambda *_: 0.0, "the best of twenty weights, chosen after training"),
    ("patchcore", "greedy_centres", lambda points, _: iter(range(len(points))), "a centre decides the next"),
    ("itermask2", "IterMask2.find_threshold", lambda *_: 0.1, "a percentile of errors, found after training"),
    ("itermask2", "those", lambda which, _: which, "a round says which slices go on"),
]  # fmt: skip
ANSWERS_LEARNED = (
    "padim",
    "patchcore",
    "uniad",
)  # learn from what a frozen network answers, which leaves the device


# What CUDA adds up in an order of its own (torch.use_deterministic_algorithms says so), as aten calls it.
UNORDERED = {
    "_adaptive_avg_pool2d_backward", "cumsum", "grid_sampler_2d_backward", "index_add", "index_put",
    "nll_loss2d_forward", "nll_loss_forward", "reflection_pad2d_backward", "replication_pad2d_backward",
    "scatter_add", "upsample_bicubic2d_backward", "upsample_bilinear2d_backward",
    "_adaptive_avg_pool3d_backward", "avg_pool3d_backward", "grid_sampler_3d_backward",
    "max_pool3d_with_indices_backward", "reflection_pad3d_backward", "replication_pad3d_backward",
    "upsample_trilinear3d_backward",
}  # fmt: skip


class Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses copies from the CPU that wait for the device, and notes the operations that were asked for."""

    def __init__(self, seen: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = seen

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, function.overloadpacket.__name__
        order_matters = any(one is True for one in (*args, kwargs.get("accumulate")))
        if "index_put" not in name or order_matters:
            self.seen.add(name.replace("index_put_", "index_put"))
        source = {"_to_copy": 0, "copy_": 1}.get(name)
        answer = function(*args, **kwargs)
        if source is not None and args[source].device.type != answer.device.type:
            waits = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
            assert not waits, f"a copy from {args[source].device} to {answer.device} waits for the device"
        return answer


PRODUCTS = {
    torch.conv2d, torch.conv_transpose2d, torch.conv3d, torch.conv_transpose3d, nn.functional.linear,
    torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, torch.baddbmm, torch.einsum,
    nn.functional.scaled_dot_product_attention,
}  # fmt: skip
PRECISE = {nn.functional.group_norm, nn.functional.layer_norm, nn.functional.softmax, Tensor.softmax}


class Autocast(TorchFunctionMode):
    """CUDA's autocast for `meta`, which has none: products in bfloat16, normalisations in float32."""

    on = False

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled

    def __enter__(self) -> Any:
        self.before, Autocast.on = Autocast.on, self.enabled
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        Autocast.on = self.before
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kinds = {**dict.fromkeys(PRODUCTS, torch.bfloat16), **dict.fromkeys(PRECISE, torch.float32)}
        if Autocast.on and function in kinds:
            args, kwargs = tree_map(lambda one: self.cast(one, kinds[function]), (args, kwargs or {}))
        return function(*args, **(kwargs or {}))

    @staticmethod
    def cast(one: Any, kind: torch.dtype) -> Any:
        return (
            one.to(kind) if isinstance(one, Tensor) and one.dtype in (torch.float32, torch.bfloat16) else one
        )


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The operations of all training steps of a test, none of which may wait; each loss is said to be 1."""
    seen: set[str] = set()
    loop, draw = training.loop, Packed.draw

    def watched(update: Callable[..., Tensor], *rest: Any, **more: Any) -> History:
        def step(*batch: Any) -> Tensor:
            with Watched(seen):
                return update(*batch)

        return loop(step, *rest, **more)

    def drawn(parts: Packed, *how: Any) -> training.Batch:
        with Watched(seen):
            return draw(parts, *how)

    monkeypatch.setattr(training, "loop", watched)
    monkeypatch.setattr(Packed, "draw", drawn)
    monkeypatch.setattr(training, "look", lambda values: [float(value.numel()) for value in values])
    monkeypatch.setattr(training, "VALIDATION_SLICES", 4)
    monkeypatch.setattr(torch, "autocast", Autocast)
    return seen


@pytest.fixture
def volumes(toy: Toy) -> Callable[[Method], list[Volumes]]:
    """Healthy ones to learn from, others, and a patient, on a method's grid."""

    def make(method: Method) -> list[Volumes]:
        parts = ((range(3), True), (range(4, 6), True), ([7], False))
        return [Volumes(toy(n, healthy, method.grid), GRIDS[method.grid]) for n, healthy in parts]

    return make


def make(name: str, monkeypatch: pytest.MonkeyPatch) -> Method:
    """A row, its networks tiny and its training short."""
    card, kind = method_card(name), methods.load(name)
    settings = {**card.smoke, **card.set, **FEW}
    for folder, where, put, _ in READ:
        if folder == card.folder:
            monkeypatch.setattr(f"{kind.__module__}.{where}", put)
    return kind(**{key: value for key, value in settings.items() if key in methods.options(kind)})


def zeros(one: Tensor) -> Tensor:
    """What is read of a tensor on `meta`, where a method's answer is to leave the device."""
    return torch.zeros(one.shape, dtype=one.dtype)


def repeated_in_part() -> set[str]:
    """The rows whose training a GPU does not repeat to the bit, as docs/explanation/limits.md names them."""
    text = (Path(__file__).parents[1] / "docs/explanation/limits.md").read_text()
    (named,) = re.findall(r"own order:(.*?)\.", text, re.DOTALL)
    return set(re.findall("`(.+?)`", named))


ROWS = methods.names()
# Rows that share what is learned differ in scoring alone.
FITS = {
    (card.folder, str(methods.parameters(methods.load(card)(**card.set), "fit"))): card.name
    for card in map(method_card, ROWS[::-1])
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", ROWS)
def test_no_step_of_a_training_and_no_score_waits_for_the_device(
    name: str, steps: set[str], volumes: Callable[[Method], list[Volumes]], tmp_path: Path, monkeypatch: Any
) -> None:
    method, card = make(name, monkeypatch), method_card(name)
    learned, healthy, patients = volumes(method)
    seed_everything(0)
    with monkeypatch.context() as patch:
        if card.folder in ANSWERS_LEARNED:
            patch.setattr(Tensor, "cpu", zeros)
        method.fit(learned, healthy, Context("meta", folder=tmp_path))
    assert bool(steps & UNORDERED) == (card.folder in repeated_in_part()), steps & UNORDERED
    monkeypatch.setattr(Tensor, "cpu", zeros)
    method.calibrate(healthy, Context("meta"))
    with Watched(set()):
        answer = method.score(patients[0])
    assert answer.score_map.shape == patients[0].brain.shape


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(FITS.values()))
def test_no_step_in_bf16_waits_for_the_device_or_mixes_types(
    name: str, steps: set[str], volumes: Callable[[Method], list[Volumes]], tmp_path: Path, monkeypatch: Any
) -> None:
    method = make(name, monkeypatch)
    if method_card(name).folder in ANSWERS_LEARNED:
        monkeypatch.setattr(Tensor, "cpu", zeros)
    learned, healthy, _ = volumes(method)
    method.fit(learned, healthy, Context("meta", "bf16", folder=tmp_path))
    assert bool(steps) == hasattr(method, "network_"), "what has a network is trained"


def test_what_waits_or_mixes_devices_is_found(steps: set[str], toy: Toy, tmp_path: Path) -> None:
    """As the test of the rows would find it."""
    train = Volumes(toy(range(2), True), GRIDS["g48"])
    faults: dict[str, Callable[[Tensor], Any]] = {
        "item": lambda image: float(image.mean()),
        "waits for the device": lambda image: torch.ones(2).to(image.device).sum(),
        "device": lambda image: image + torch.ones(image.shape),
        "nonzero": lambda image: image[image > 0].sum(),
    }
    for said, fault in faults.items():

        def loss(network: nn.Module, batch: training.Batch, fault: Any = fault) -> Tensor:
            faulty: Tensor = (network(batch.image) * fault(batch.image)).mean()
            return faulty

        with pytest.raises((AssertionError, RuntimeError), match=said):
            training.train(
                nn.Conv2d(1, 1, 1), loss, train, train, Context("meta", folder=tmp_path / said), SCHEDULE
            )


# ---- resumption, losses, precision ---------------------------------------------------------------


def test_a_resumed_optimiser_keeps_its_counts_of_steps_where_they_are_not_waited_for(tmp_path: Path) -> None:
    def parts(on: str) -> tuple[nn.Module, torch.optim.Optimizer]:
        network = nn.Linear(3, 2).to(on)
        optimiser = torch.optim.AdamW(network.parameters())
        network(torch.ones(1, 3, device=on)).sum().backward()
        return network, optimiser

    def checkpoint(optimiser: torch.optim.Optimizer) -> Checkpoint:
        named = {"optimiser": optimiser}
        return Checkpoint(Context("meta", folder=tmp_path), {}, named, torch.Generator(), 0, "training")

    network, optimiser = parts("cpu")
    optimiser.step()
    checkpoint(optimiser).save(History(step=1), {})

    network, optimiser = parts("meta")
    assert checkpoint(optimiser).resume(network) is not None
    assert {one["step"].device.type for one in optimiser.state.values()} == {"cpu"}
    assert {one["exp_avg"].device.type for one in optimiser.state.values()} == {"meta"}
    optimiser.step()  # which reads the counts


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_step_that_is_not_finite_is_named_and_spoils_no_weight(
    bad: float, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "LOOK_EVERY", 8)
    train, network, done = Volumes(toy(range(2), True), GRIDS["g48"]), nn.Conv2d(1, 1, 3), 0

    def loss(network: nn.Module, batch: training.Batch) -> Tensor:
        nonlocal done
        done += 1
        value: Tensor = network(batch.image).square().mean() * (bad if done == 3 else 1)
        return value

    schedule = replace(SCHEDULE, steps=100, validate_every=100)
    with pytest.raises(RuntimeError, match="at step 3 of 100"):
        training.train(network, loss, train, train, Context(folder=tmp_path), schedule)
    assert done == 8, "losses are looked at every eighth step"
    assert all(weight.isfinite().all() for weight in network.parameters())


def test_losses_are_those_of_looking_at_every_step(toy: Toy, tmp_path: Path, monkeypatch: Any) -> None:
    train = Volumes(toy(range(2), True), GRIDS["g48"])

    def run(every: int) -> tuple[History, Any]:
        monkeypatch.setattr(training, "LOOK_EVERY", every)
        torch.manual_seed(0)
        network, schedule = nn.Conv2d(1, 1, 3), replace(SCHEDULE, steps=25, validate_every=7)
        folder = tmp_path / str(every)

        def loss(network: nn.Module, batch: training.Batch) -> Tensor:
            value: Tensor = network(batch.image).square().mean()
            return value

        history = training.train(network, loss, train, train, Context(folder=folder), schedule)
        return history, training.weights(network)

    (often, weights), (seldom, same) = run(1), run(10)
    assert often == seldom
    np.testing.assert_equal(weights, same)


def test_an_average_of_weights_begins_as_they_are_and_moves_by_its_decay() -> None:
    network, average = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    for step, weight in enumerate((2.0, 4.0, 0.0)):
        now = {"weight": torch.tensor([weight]), "running_mean": torch.tensor([10 * weight])}
        network.load_state_dict(network.state_dict() | now)
        training.move_average(average, network, 0.75 if step else 0.0)
        moved = average.state_dict()
        assert moved["weight"].item() == (2.0, 2.5, 1.875)[step]  # .75 * 2 + .25 * 4; .75 * 2.5 + 0
        assert moved["running_mean"].item() == 10 * weight


def test_only_on_cuda_are_evaluations_of_a_chain_less_precise(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def autocast(*how: Any, **more: Any) -> Any:
        asked.append((how, more))
        return nullcontext()

    monkeypatch.setattr(torch, "autocast", autocast)
    flags = torch.backends.cudnn
    with training.repeatable(tf32=False):
        for precision, tf32 in (("float32", False), ("tf32", True), ("bf16", False)):
            with device.inner(precision, torch.device("cpu")):
                assert not flags.allow_tf32
            with device.inner(precision, torch.device("cuda:0")):
                assert flags.allow_tf32 == tf32
    assert asked == [(("cuda",), {"dtype": torch.bfloat16})]


def test_an_optimiser_is_fused_on_cuda_where_there_is_such_a_kernel() -> None:
    weights = [nn.Parameter(torch.zeros(1))]
    adam = partial(torch.optim.Adam, amsgrad=True)
    assert device.fused(adam, "cuda:0")(weights).defaults["fused"] is True
    assert not device.fused(adam, "cpu")(weights).defaults["fused"]
    assert device.fused(torch.optim.Rprop, "cuda") is torch.optim.Rprop


# ---- slices --------------------------------------------------------------------------------------


def test_slices_of_a_cohort_on_disk_are_drawn_as_those_in_memory_and_read_ahead(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Volumes(toy(range(3), True), GRIDS["g48"])
    packed = Slices(train, "cpu")
    monkeypatch.setattr("uadbench.learning.slices.MEMORY_LIMIT", 0)
    on_disk, read = Slices(train, "cpu"), list[int]()
    reads = on_disk._read

    def count(which: Any) -> Tensor:
        read.append(len(which))
        return reads(which)

    monkeypatch.setattr(on_disk, "_read", count)
    here, there = (torch.Generator().manual_seed(1) for _ in range(2))
    for _ in range(4):
        one, other = packed.draw(5, here), on_disk.draw(5, there)
        np.testing.assert_array_equal(one.which, other.which)
        assert torch.equal(one.image, other.image)
        assert torch.equal(here.get_state(), there.get_state()), "what a checkpoint keeps"
    assert on_disk._ahead is not None
    on_disk._ahead[1].result()
    assert read == [5] * 5, "the first draw, and one for each that follows"
    on_disk.draw(2, there)  # another size than was expected
    assert read[-2] == 2 or read[-1] == 2


def test_any_slice_is_found_packed_or_not(toy: Toy) -> None:
    train = Volumes(toy(range(2), True), GRIDS["g48"])
    slices = Slices(train, "cpu")
    which = np.array([[0, 20], [1, 0], [1, 47], [1, 25]])  # the lowest and the highest have no brain
    assert [slices.row[tuple(pair)] >= 0 for pair in which] == [True, False, False, True]
    images, brains = train.read_slices(which)
    found = slices.find(which)
    np.testing.assert_array_equal(found.image.numpy(), images)
    np.testing.assert_array_equal(found.brain[:, 0].numpy(), brains)
    assert Slices.of(slices, "cpu") is slices


# ---- memory --------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were a GPU of 16 GiB, of which 12 were in use at the peak."""
    stand_ins = {
        "reset_peak_memory_stats": lambda _: None,
        "synchronize": lambda _: None,
        "max_memory_allocated": lambda _: 12 * 2**30,
        "mem_get_info": lambda _: (2**30, 16 * 2**30),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)


@pytest.mark.usefixtures("gpu")
def test_the_peak_of_a_gpus_memory_is_measured_and_stays_with_a_map(tmp_path: Path) -> None:
    with measured("cuda:0") as cost:
        pass
    assert cost.peak_device_mb == 12 * 1024
    with measured("cpu") as cost:
        pass
    assert cost.peak_device_mb is None
    score = Score(np.zeros((2, 2, 2), np.float32))
    for peak in (None, 3.5):
        maps.write_map(tmp_path / "map", score, 1.0, 2.0, peak_device_mb=peak)
        assert maps.read_cost(tmp_path / "map") == Cost(1.0, 2.0, peak)


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_is_too_small_is_told_with_the_numbers_and_what_to_do() -> None:
    config = RunConfig(method="ddpm", dataset="phantom", preset="paper")
    method = methods.build("ddpm", "paper")
    resolved: Any = SimpleNamespace(card=method_card("ddpm"), config=config, method=method)
    expected = (
        "The fit of ddpm with the preset paper needs more memory than cuda:0 has: 12.0 of 16.0 GiB held its "
        "tensors when there was no room for more; try --set batch=16 or --preset small."
    )
    with (
        pytest.raises(UserError, match=f"^{re.escape(expected)}$"),
        told_when_full(resolved, "fit", "cuda:0"),
    ):
        raise torch.OutOfMemoryError
    with pytest.raises(UserError, match="score_batch=16"), told_when_full(resolved, "score", "cuda:0"):
        raise torch.OutOfMemoryError
    with pytest.raises(RuntimeError, match="another"), told_when_full(resolved, "score", "cuda:0"):
        raise RuntimeError("another")
