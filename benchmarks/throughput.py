"""How fast every method trains and scores, and what share that is of what the device can do.

python benchmarks/throughput.py [--device auto] [--preset demo] [--methods ae vae] [--seconds 1]
                                [--compile ae] [--output results/throughput] [--force]

Everything is measured in one run on made volumes: slices per second of each training of a fit, volumes
per second of scoring, both again with bf16, without channels-last and at other batch sizes; the device's
matrix rate and copy bandwidth beside each row; the loader alone; and the trainer against a plain loop.
A row is written when it is measured: a run that was stopped goes on with the next row.

The floor of a training step, or of scoring a volume, is the larger of two times: its operations (counted by
torch) at the matrix rate, and its bytes (each operation reads its inputs and writes its outputs once) at the
copy bandwidth. A row's share is its floor over its time.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from uadbench import methods
from uadbench.cards import PRESETS, method_card
from uadbench.data import prepared
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import EVALUATION, GRIDS, Grid
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.history import History
from uadbench.methods import Context, Method
from uadbench.system import environment
from uadbench.system.files import sha256_json, write_json, write_text

WARM_UP = 3  # training steps before the clock starts
NO_COMPILE = (
    "not compiled: the first call of a compiled network takes 6 to 70 s a variant, and on two CPU cores a "
    "compiled network was no faster than an eager one in channels-last (--compile NAMES measures it)"
)


# ---- the device --------------------------------------------------------------------------------


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], Any], device: str, rounds: int = 3) -> float:
    """Seconds of the fastest round, after one that does not count."""
    found = []
    for _ in range(rounds + 1):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        found.append(time.perf_counter() - start)
    return min(found[1:])


def has_bf16(device: str) -> bool:
    """Whether the device computes in bf16 natively; elsewhere it is emulated, and slow."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


@contextmanager
def tensor_float(wanted: bool) -> Iterator[None]:
    """Matrix products of float32 with 10 bits of mantissa, as cuDNN's convolutions in training."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = wanted
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def device_rates(device: str) -> dict[str, float]:
    """Matrix rates in FLOP/s by precision, and the copy bandwidth in bytes/s (read and written)."""
    size = 8192 if device.startswith("cuda") else 1536
    rates = {}
    for name, dtype in (("float32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        if (name == "tf32" and not device.startswith("cuda")) or (name == "bf16" and not has_bf16(device)):
            continue
        a, b = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
        with tensor_float(name == "tf32"):
            rates[name] = 2 * size**3 / seconds_of(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
    source = torch.zeros(2**28 if device.startswith("cuda") else 2**25, device=device)
    target = torch.ones_like(source)
    rates["copy"] = 2 * source.nbytes / seconds_of(lambda: target.copy_(source), device)
    return rates


# ---- what a step costs -------------------------------------------------------------------------


@dataclass
class Work:
    """Operations and bytes of a piece of work."""

    flops: float = 0.0
    bytes: float = 0.0

    def floor_s(self, rates: Mapping[str, float], precision: str) -> float:
        """Seconds that it takes at the least."""
        return max(self.flops / rates[precision], self.bytes / rates["copy"])


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base has no types
    """Floating-point operations, and bytes of the inputs and outputs of what is no mere view.

    torch's own `FlopCounterMode` hooks every module's backward pass, which a gradient of a gradient breaks.
    """

    def __init__(self) -> None:
        """None yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = Work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        flops_of = flop_registry.get(func._overloadpacket)
        if flops_of is None:
            with self:
                parts = func.decompose(*args, **kwargs)  # an operation made of others: those count
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if flops_of is not None:
            self.work.flops += flops_of(*args, **kwargs, out_val=result)
        aliases = [a.alias_info for a in func._schema.arguments if a.alias_info is not None]
        if all(alias.is_write for alias in aliases):
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.work.bytes += sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in tensors)
        return result


def counted(work: Callable[[], Any]) -> tuple[Any, Work]:
    """The result of some work, and what it cost."""
    with Counter() as counter:
        result = work()
    return result, counter.work


# ---- training ----------------------------------------------------------------------------------


class Enough(Exception):  # noqa: N818  # no error: the clock has run out
    """A training has run for long enough."""


@dataclass
class Rate:
    """One training of a fit: `slices` drawn a step, `step_s` seconds a step, `steps` in the preset."""

    name: str
    slices: int
    step_s: float
    steps: int
    work: Work


class Clocked:
    """Slices that tell when each step begins, and end the training after some seconds."""

    def __init__(self, slices: training.Slices, seconds: float) -> None:
        """The clock starts after `WARM_UP` steps."""
        self.which = slices.which
        self._slices, self._seconds = slices, seconds
        self._begun: list[float] = []

    def draw(self, batch: int, generator: torch.Generator) -> training.Batch:
        """A batch; each draw is the beginning of a step."""
        self._begun.append(time.perf_counter())
        if len(self._begun) > WARM_UP + 1 and self._begun[-1] - self._begun[WARM_UP] >= self._seconds:
            raise Enough
        return self._slices.draw(batch, generator)

    @property
    def step_s(self) -> float:
        """Median seconds of a step: what else runs on the machine disturbs some of them."""
        return statistics.median(b - a for a, b in pairwise(self._begun[WARM_UP:]))


@contextmanager
def clocked(seconds: float, count: bool) -> Iterator[list[Rate]]:
    """Every training of a fit ends after some seconds, and its rate is put down here."""
    rates: list[Rate] = []
    original = training.loop

    def loop(
        update: Callable[[training.Batch, int], Tensor], parts: Any, kept: nn.Module, validate: Any,
        slices: training.Slices, context: Context, schedule: training.Schedule, name: str = "training",
    ) -> History:  # fmt: skip
        works: list[Work] = []

        def first_counted(batch: training.Batch, step: int) -> Tensor:
            if works or not count:
                return update(batch, step)
            loss, work = counted(lambda: update(batch, step))
            works.append(work)
            return loss  # type: ignore[no-any-return]

        timed = Clocked(slices, seconds)
        endless = replace(schedule, steps=10**9, validate_every=10**9, patience=0, checkpoint_s=1e9)
        try:
            original(first_counted, parts, kept, None, timed, context, endless, name)  # type: ignore[arg-type]
        except Enough:
            rates.append(Rate(name, schedule.batch, timed.step_s, schedule.steps, *works or [Work()]))
        return History(step=schedule.steps, finished=True)

    with mock.patch.object(training, "loop", loop):
        yield rates


def fitted(
    method: Method, volumes: tuple[Volumes, Volumes], context: Context, seconds: float, count: bool = True
) -> list[Rate]:
    """Fit a method for some seconds a training; the rates of its trainings, none where it has none."""
    environment.seed_everything(0)
    with tempfile.TemporaryDirectory() as folder, clocked(seconds, count) as rates:
        method.fit(*volumes, replace(context, folder=Path(folder)))
    synchronise(context.device)
    return rates


def contiguous() -> AbstractContextManager[Any]:
    """Networks and batches in torch's usual layout, whatever asks for channels-last."""
    usual = torch.contiguous_format
    return mock.patch.multiple(torch, channels_last=usual, channels_last_3d=usual)


def compiled(method: Method) -> Method:
    """The method with the parts of its network compiled."""
    build = method.build  # type: ignore[attr-defined]

    def compiling() -> nn.Module:
        network: nn.Module = build()
        for part in network.children():
            part.compile()
        return network

    method.build = compiling  # type: ignore[attr-defined]
    return method


# ---- scoring -----------------------------------------------------------------------------------


@contextmanager
def predicting(size: int | None = None, bf16: bool = False) -> Iterator[list[int]]:
    """`training.predict` with another batch size or in bf16; its calls are put down here."""
    calls: list[int] = []
    original = training.predict

    def predict(
        network: Callable[[Tensor], Tensor], images: NDArray[np.float32], device: str, batch: int = 32
    ) -> NDArray[np.float32]:
        calls.append(len(images))

        def mixed(part: Tensor) -> Tensor:
            with torch.autocast(device.split(":")[0], torch.bfloat16):
                return network(part)

        return original(mixed if bf16 else network, images, device, size or batch)

    with mock.patch.object(training, "predict", predict):
        yield calls


def scoring_s(method: Method, volume: Volume, seconds: float) -> float:
    """Median seconds of scoring a volume, after one scoring that does not count unless it is long."""
    found: list[float] = []
    while sum(found) < seconds or len(found) < 2:
        environment.seed_everything(0)
        start = time.perf_counter()
        method.score(volume)
        found.append(time.perf_counter() - start)
        if found[0] > seconds:
            return found[0]
    return statistics.median(found[1:])


# ---- made volumes ------------------------------------------------------------------------------


def made_volumes(grid: Grid, count: int, folder: Path) -> Volumes:
    """Heads of about the size of a brain: grey, with a dark middle and noise."""
    items = []
    axes = [o + grid.spacing_mm * np.arange(n) for o, n in zip(grid.origin_mm, grid.shape, strict=True)]
    r, a, s = np.meshgrid(*axes, indexing="ij")
    for number in range(count):
        random = np.random.default_rng([number, count])
        x, y, z = random.normal((0, -18, 8), 3)
        depth = ((r - x) / 66) ** 2 + ((a - y) / 82) ** 2 + ((s - z) / 62) ** 2
        brain = depth <= 1
        values = np.where(depth < 0.65, 0.7, 0.45) - 0.5 * (depth < 0.05) + random.normal(0, 0.03, grid.shape)
        image = (values.clip(0, 1) * brain).astype(np.float32)
        name = sha256_json([number, count])
        area = (brain.sum((0, 1)) * grid.spacing_mm**2).tolist()
        facts = {"slice_area_mm2": area, "fingerprint": name, "subject": str(number)}
        path = folder / grid.name / f"{name}.safetensors"
        prepared.write_codes(path, prepared.encode(image, brain), None, facts)
        subject = Session(
            id=str(number), cohort="made", subject=str(number), images={"T1": path}, healthy=True
        )
        items.append(Prepared(subject, "T1", grid, path))
    return Volumes(items, grid)


# ---- one row -----------------------------------------------------------------------------------


@dataclass
class Bench:
    """What all measurements share."""

    device: str
    preset: str
    seconds: float
    compile: tuple[str, ...]
    folder: Path

    def __post_init__(self) -> None:
        self._volumes: dict[str, tuple[Volumes, Volumes]] = {}
        self._fits: dict[str, tuple[str, methods.State]] = {}  # by what is learned: the row, and its state
        self.context = Context(device=self.device)

    def grid(self, name: str) -> Grid:
        """A model grid by name; for the evaluation grid, that of phantom or of patients."""
        full = "g192" if self.preset in ("small", "paper") else "g96"
        return GRIDS[full if name == EVALUATION else name]

    def volumes(self, grid: str) -> tuple[Volumes, Volumes]:
        """Volumes to learn from and to validate on."""
        if grid not in self._volumes:
            made = (made_volumes(self.grid(grid), n, self.folder) for n in (6, 2))
            train, val = made
            self._volumes[grid] = train, val
        return self._volumes[grid]

    def row(self, name: str) -> dict[str, Any]:
        """Everything about one row of the leaderboard; "error" where it fails."""
        method = methods.build(name, self.preset)
        rates = device_rates(self.device)
        found: dict[str, Any] = {"grid": self.grid(method.grid).name, "device": rates}
        learned = f"{method_card(name).folder} {methods.parameters(method, 'fit')}"
        if learned in self._fits:
            other, state = self._fits[learned]
            method.load_state(state, self.context)
            found |= {"training": [], "fit_of": other}
        else:
            usual = fitted(method, self.volumes(method.grid), self.context, self.seconds)
            self._fits[learned] = name, method.state()
            precision = "tf32" if self.device.startswith("cuda") else "float32"
            found["training"] = [self._training(rate, rates, precision) for rate in usual]
            for label, variant in self._variants(name).items() if usual else ():
                self._add(found["training"], label, variant)
        found["scoring"] = self._scoring(method, name, rates)
        return found

    def _training(self, rate: Rate, rates: Mapping[str, float], precision: str) -> dict[str, Any]:
        return {
            "name": rate.name,
            "slices_per_step": rate.slices,
            "steps": rate.steps,
            "slices_per_s": rate.slices / rate.step_s,
            "fit_s": rate.steps * rate.step_s,
            "gflop_per_slice": rate.work.flops / rate.slices / 1e9,
            "megabytes_per_slice": rate.work.bytes / rate.slices / 1e6,
            "share_of_floor": rate.work.floor_s(rates, precision) / rate.step_s,
        }

    def _variants(self, name: str) -> dict[str, Callable[[], list[Rate]]]:
        """Fits that differ in one thing each from the usual: float32, channels-last, the preset's batch."""
        volumes = self.volumes(methods.build(name, self.preset).grid)

        def fit(context: Context = self.context, **settings: Any) -> list[Rate]:
            method = replace(methods.build(name, self.preset), **settings)
            return fitted(method, volumes, context, self.seconds, count=False)

        def without_channels_last() -> list[Rate]:
            with contiguous():
                return fit()

        variants: dict[str, Callable[[], list[Rate]]] = {"contiguous": without_channels_last}
        if has_bf16(self.device):
            variants["bf16"] = lambda: fit(replace(self.context, precision="bf16"))
        method = methods.build(name, self.preset)
        if isinstance(batch := getattr(method, "batch", None), int):
            variants["batch x 4"] = lambda: fit(batch=4 * batch)
        if name in self.compile and hasattr(method, "build"):
            variants["compiled"] = lambda: fitted(
                compiled(methods.build(name, self.preset)), volumes, self.context, self.seconds, count=False
            )
        return variants

    def _add(self, trainings: list[dict[str, Any]], label: str, variant: Callable[[], list[Rate]]) -> None:
        """Put a variant's slices per second beside the usual ones."""
        try:
            rates = variant()
        except Exception as error:  # a variant that a method cannot do is a fact about the method
            for entry in trainings:
                entry[f"{label}: error"] = f"{type(error).__name__}: {error}"[:300]
            return
        for entry, rate in zip(trainings, rates, strict=True):
            entry[label] = rate.slices / rate.step_s

    def _scoring(self, method: Method, name: str, rates: Mapping[str, float]) -> dict[str, Any]:
        train, val = self.volumes(method.grid)
        volume = val[0]
        method.calibrate(train, self.context)
        with predicting() as calls:
            usual = scoring_s(method, volume, self.seconds)
        _, work = counted(lambda: method.score(volume))
        least = volume.image.nbytes + volume.brain.nbytes + volume.brain.size * 4  # read, and the map written
        work.bytes = max(work.bytes, least)
        found = {
            "volumes_per_s": 1 / usual,
            "gflop_per_volume": work.flops / 1e9,
            "megabytes_per_volume": work.bytes / 1e6,
            "share_of_floor": work.floor_s(rates, "float32") / usual,
        }
        if not calls:
            return found
        with predicting(size=1):
            found["batch 1"] = 1 / scoring_s(method, volume, self.seconds)
        if has_bf16(self.device):
            with predicting(bf16=True):
                found["bf16"] = 1 / scoring_s(method, volume, self.seconds)
        with contiguous():
            found["contiguous"] = 1 / self._scored_anew(methods.build(name, self.preset), method)
        if name in self.compile and hasattr(method, "build"):
            found["compiled"] = 1 / self._scored_anew(compiled(methods.build(name, self.preset)), method)
        return found

    def _scored_anew(self, other: Method, method: Method) -> float:
        """Seconds of scoring a volume, by another method that takes up what this one learned."""
        train, val = self.volumes(method.grid)
        other.load_state(method.state(), self.context).calibrate(train, self.context)
        return scoring_s(other, val[0], self.seconds)

    def loader(self, grid: str, batch: int) -> float:
        """Slices per second that the loader alone draws."""
        slices, generator = training.Slices(self.volumes(grid)[0], self.device), torch.Generator()
        draws, start = 0, time.perf_counter()
        while draws < WARM_UP or time.perf_counter() - start < self.seconds:
            draws += 1
            slices.draw(batch, generator)
            if draws == WARM_UP:
                synchronise(self.device)
                start = time.perf_counter()
        synchronise(self.device)
        return (draws - WARM_UP) * batch / (time.perf_counter() - start)

    def trainer(self, rounds: int = 5) -> dict[str, float]:
        """The shared trainer against a plain PyTorch loop over the same slices, taking turns: `ae`."""
        turns = []
        for _ in range(rounds):
            method = methods.build("ae", self.preset)
            volumes = self.volumes(method.grid)
            (rate,) = fitted(method, volumes, self.context, self.seconds, count=False)
            turns.append((self._plain(method, volumes[0]), rate.slices / rate.step_s))
        turns.sort(key=lambda turn: turn[0] / turn[1])
        (fewest, plain, most) = (turns[0], turns[rounds // 2], turns[-1])
        return {
            "plain loop": plain[0],
            "trainer": plain[1],
            "overhead": plain[0] / plain[1] - 1,
            "least": fewest[0] / fewest[1] - 1,
            "most": most[0] / most[1] - 1,
        }

    def _plain(self, method: Any, volumes: Volumes) -> float:
        """Slices per second of what one would write without the trainer."""
        network = method.build().to(self.device, memory_format=torch.channels_last).train()
        optimiser = torch.optim.AdamW(network.parameters(), method.learning_rate)
        images = torch.from_numpy(volumes.read_slices(volumes.slices())[0]).to(self.device)
        begun: list[float] = []
        with training.repeatable(tf32=True):
            while len(begun) <= WARM_UP + 1 or begun[-1] - begun[WARM_UP] < self.seconds:
                begun.append(time.perf_counter())
                picks = torch.randint(len(images), (method.batch,), device=self.device)
                batch = images[picks].contiguous(memory_format=torch.channels_last)
                optimiser.zero_grad()
                loss = functional.l1_loss(network(batch), batch)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                loss.item()  # who trains looks at the loss
        return float(method.batch) / statistics.median(b - a for a, b in pairwise(begun[WARM_UP:]))


# ---- the table ---------------------------------------------------------------------------------


def slices_per_s(content: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Row, grid and rate of every training."""
    for name, row in content["methods"].items():
        for entry in row.get("training", []):
            yield name, row["grid"], entry["slices_per_s"]


def number(value: Any, suffix: str = "") -> str:
    """Three significant digits, without an exponent; "-" for nothing."""
    if not isinstance(value, int | float):
        return "-"
    digits = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{value:,.{min(digits, 3)}f}{suffix}"


def ratio(entry: Mapping[str, Any], label: str, usual: str) -> str:
    """A variant's rate over the usual one."""
    return number(entry[label] / entry[usual], " x") if label in entry else "-"


def lines(header: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    """A Markdown table, its first two columns words and the others numbers."""
    rule = ["---", "---", *["---:"] * (len(header) - 2)]
    return ["| " + " | ".join(cells) + " |" for cells in [list(header), rule, *rows]]


FASTER = ("bf16", "contiguous", "batch x 4", "compiled")  # other ways to train
OTHER = ("bf16", "contiguous", "batch 1", "compiled")  # other ways to score
TRAINING = ("row", "training", "grid", "slices/s", "share of floor", *FASTER)
SCORING = ("row", "grid", "volumes/s", "share of floor", "GFLOP", *OTHER)


def markdown(content: Mapping[str, Any]) -> str:
    """The tables, for people."""
    facts, rates = content["facts"], content["device"]
    hardware = facts["hardware"]
    text = [
        f"# Throughput on {hardware['device'] if hardware['device'] != 'cpu' else hardware['processor']}",
        "",
    ]
    text += [
        f"Preset `{facts['preset']}`; {hardware['threads']} thread(s) of {hardware['processor']} "
        f"({hardware['cores']} cores), {hardware['system']}, torch {facts['packages']['torch']}; "
        f"at least {facts['seconds']:g} s a measurement. Made by `benchmarks/throughput.py`, which says what "
        "a share of the floor is. `slices/s` and `volumes/s` are those of the preset as it is (float32, on a "
        "GPU with TF32 convolutions in training, channels-last); the last columns are multiples of them.",
        "",
        "Device: " + ", ".join(
            f"{name} {number(value / 1e9)} {'GB/s' if name == 'copy' else 'GFLOP/s'}"
            for name, value in sorted(rates.items())
        ) + " (median over the rows; each row's share is of what was measured beside it).",
        "",
    ]  # fmt: skip
    training_rows, scoring_rows, failures = [], [], []
    for name, row in sorted(content["methods"].items()):
        if "error" in row:
            failures.append(f"- {name}: {row['error']}")
            continue
        for entry in row["training"]:
            failures += [
                f"- {name}: {key} {value}" for key, value in entry.items() if key.endswith(": error")
            ]
            training_rows.append(
                [name, f"{entry['name']}, {entry['slices_per_step']} slices a step", row["grid"],
                 number(entry["slices_per_s"]), number(100 * entry["share_of_floor"], " %"),
                 *(ratio(entry, label, "slices_per_s") for label in FASTER)]
            )  # fmt: skip
        entry = row["scoring"]
        scoring_rows.append(
            [name, row["grid"], number(entry["volumes_per_s"]), number(100 * entry["share_of_floor"], " %"),
             number(entry["gflop_per_volume"]), *(ratio(entry, label, "volumes_per_s") for label in OTHER)]
        )  # fmt: skip
    text += ["## Training", "", *lines(TRAINING, training_rows), ""]
    text += ["## Scoring, one volume at a time", "", *lines(SCORING, scoring_rows), ""]
    shared = [
        f"{name} ({row['fit_of']})" for name, row in sorted(content["methods"].items()) if "fit_of" in row
    ]
    text += ["## Beside the rows", ""]
    text += [f"- Rows that share the fit of another: {', '.join(shared)}."] * bool(shared)
    text += [f"- {note}" for note in content["notes"]]
    text += ["", "## Failures", "", *failures] if failures else []
    return "\n".join(text) + "\n"


def conclusions(content: dict[str, Any], bench: Bench) -> None:
    """Measure what concerns all rows: the loader, the trainer; write down what it means."""
    notes = []
    found = list(slices_per_s(content))
    content["loader"] = {}
    for grid in sorted({grid for _, grid, _ in found}):
        name, _, fastest = max((f for f in found if f[1] == grid), key=lambda f: f[2])
        rate = bench.loader(grid, content["methods"][name]["training"][0]["slices_per_step"])
        content["loader"][grid] = {"slices_per_s": rate, "fastest": name, "times_fastest": rate / fastest}
        verdict = "" if rate >= 2 * fastest else ": SHORT of the goal of 2"
        notes.append(
            f"The loader alone draws {number(rate)} slices/s on {grid}: {number(rate / fastest)} times the "
            f"fastest training there ({name}){verdict}."
        )
    if "ae" in content["methods"]:
        trainer = bench.trainer()
        content["trainer"] = trainer
        notes.append(
            f"The trainer takes {100 * trainer['overhead']:.1f} % more time a step than a plain PyTorch loop "
            f"(`ae`: {number(trainer['trainer'])} and {number(trainer['plain loop'])} slices/s; median of "
            f"five rounds, from {100 * trainer['least']:.1f} to {100 * trainer['most']:.1f} %; goal: 5 %)."
        )
    slow = [
        f"{name} {ratio(row['scoring'], 'volumes_per_s', 'batch 1')}"
        for name, row in sorted(content["methods"].items())
        if method_card(name).family == "diffusion" and "batch 1" in row.get("scoring", {})
    ]
    notes += [f"Scoring in batches against one slice at a time, diffusion: {', '.join(slow)}."] * bool(slow)
    notes += [
        "Scores are always computed in float32: a residual of two bf16 numbers near 1 moves in steps of 2^-8."
    ]
    notes += [] if bench.compile else [NO_COMPILE[0].upper() + NO_COMPILE[1:] + "."]
    notes += [] if has_bf16(bench.device) else ["The device has no native bf16: not measured."]
    content["notes"] = notes
    kinds = {kind for row in content["methods"].values() for kind in row.get("device", {})}
    content["device"] = {
        kind: statistics.median(r["device"][kind] for r in content["methods"].values() if "device" in r)
        for kind in kinds
    }


def device_slug(hardware: Mapping[str, Any]) -> str:
    """The device's name as a file name."""
    name = hardware["processor"] if hardware["device"] == "cpu" else hardware["device"]
    return "-".join("".join(c if c.isalnum() else " " for c in str(name).lower()).split())


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preset", default="demo", choices=PRESETS)
    parser.add_argument("--methods", nargs="*", default=None, help="rows; default: all")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement, at the least")
    parser.add_argument(
        "--compile", nargs="*", default=None, metavar="NAME", help="rows; default: ae on a GPU"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("results/throughput"),
        help="a .md file, or a folder in which it is named after the device; the .json stands beside it",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="measure rows again that the file has")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure every row that is not in the output yet, then what concerns them all."""
    given = options(sys.argv[1:] if arguments is None else arguments)
    device = environment.resolve_device(given.device)
    hardware = environment.hardware(device)
    facts = {
        "hardware": hardware, "packages": environment.packages(), "code": environment.commit(),
        "preset": given.preset, "seconds": given.seconds,
    }  # fmt: skip
    output: Path = given.output
    if output.suffix != ".md":
        output = output / f"{device_slug(hardware)}.md"
    compile = given.compile if given.compile is not None else ["ae"] if device.startswith("cuda") else []
    content: dict[str, Any] = {"facts": facts, "methods": {}}
    if output.with_suffix(".json").exists():
        earlier = json.loads(output.with_suffix(".json").read_text())
        content["methods"] = earlier["methods"] if earlier["facts"] == facts else {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(device, given.preset, given.seconds, tuple(compile), Path(folder))
        for name in given.methods or methods.names():
            if given.force or "error" in content["methods"].get(name, {"error": ""}):
                start = time.perf_counter()
                try:
                    row = bench.row(name)
                except Exception as error:  # one row that fails leaves the others their numbers
                    row = {"error": f"{type(error).__name__}: {error}"[:300]}
                content["methods"][name] = row
                write_json(output.with_suffix(".json"), content)
                print(f"{name}: measured in {time.perf_counter() - start:.0f} s", flush=True)
        conclusions(content, bench)
    write_json(output.with_suffix(".json"), content)
    write_text(output, markdown(content))
    print(f"written: {output}")


if __name__ == "__main__":
    main()
