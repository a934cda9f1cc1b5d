"""Training: the loop shared by the methods that have a network, and what stands around it.

`train` is enough for a network with one loss. A method with several optimisers (a GAN) hands its own
`update` to `loop` and gets the same draws, validation, early stop, checkpoints and resumption.
Losses may draw from torch's and numpy's global generators: their states are kept in the checkpoint.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from uadbench.data.prepared import STEPS
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning.checkpoint import Checkpoint, random_states, set_random_states
from uadbench.learning.history import History, write_log
from uadbench.learning.layout import any_layout, while_any_layout
from uadbench.methods import PRECISIONS, Context, Method, State
from uadbench.system.errors import UserError

MEMORY_LIMIT = 8 * 2**30  # bytes of packed slices kept in memory; a larger cohort is read as it is drawn
VALIDATION_SLICES = 256  # spread evenly over the healthy validation volumes


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    batch: int
    learning_rate: float
    patience: int = 0  # validations without a new best before training ends; 0: never ends early
    validate_every: int = 100  # steps
    keep_best: bool = True  # end with the weights of the best validation, else with the last ones
    cosine: bool = False  # learning rate falls to 0 along half a cosine, else it is constant
    warm_up: int = 0  # steps at the beginning in which the learning rate rises along a line
    weight_decay: float = 0.0
    ema: float = 0.0  # decay of the moving average of the weights that is validated and kept; 0: none
    clip: float = 1.0  # largest gradient norm
    checkpoint_s: float = 60.0  # seconds between checkpoints

    @classmethod
    def of(cls, method: Method, **changes: Any) -> Self:
        """What a method's options of these names say; `changes` go before them."""
        names = [field.name for field in fields(cls) if hasattr(method, field.name)]
        return cls(**{name: getattr(method, name) for name in names} | changes)

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        if not self.cosine:
            return self.learning_rate
        share = (step - self.warm_up) / (self.steps - self.warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class Batch:
    """Axial slices on the device: `image` (B, 1, R, A) in [0, 1], `brain` (B, 1, R, A) bool."""

    image: Tensor
    brain: Tensor
    which: NDArray[np.int64]  # (B, 2): volume and slice


class Slices:
    """Every axial slice of some volumes, packed in memory on the device where they fit."""

    def __init__(self, volumes: Volumes, device: str) -> None:
        """Read the slices; a cohort beyond `MEMORY_LIMIT` stays on disk."""
        self.which = volumes.slices()
        if not len(self.which):
            raise UserError("Training needs volumes with at least one slice of 2,000 mm2 of brain, got none.")
        self._volumes, self._device = volumes, device
        rows, columns, _ = volumes.grid.shape
        fits = len(self.which) * rows * columns * 2 <= MEMORY_LIMIT
        self._codes = self._read(self.which).to(device) if fits else None
        # Slices stand volume by volume: first slice and number of slices of each volume that has any.
        _, self._first, self._count = np.unique(self.which[:, 0], return_index=True, return_counts=True)

    def _read(self, which: NDArray[np.int64]) -> Tensor:
        # torch cannot index uint16: the same bits as int16.
        return torch.from_numpy(self._volumes.read_codes(which).view(np.int16))  # (B, R, A)

    def take(self, index: NDArray[np.int64]) -> Batch:
        """The slices of these rows of `which`."""
        if self._codes is None:
            codes = self._read(self.which[index]).to(self._device)
        else:
            codes = self._codes[torch.from_numpy(index).to(self._device)]
        unsigned = (codes.to(torch.int32) & 0xFFFF)[:, None]  # (B, R, A) -> (B, 1, R, A)
        image = unsigned.sub(1).clamp_(min=0).to(torch.float32) * np.float32(1 / STEPS).item()
        return Batch(image.contiguous(memory_format=torch.channels_last), unsigned > 0, self.which[index])

    def draw(self, batch: int, generator: torch.Generator) -> Batch:
        """Random slices: a volume, then one of its slices, both uniformly, with replacement."""
        volume = torch.randint(len(self._first), (batch,), generator=generator).numpy()
        part = torch.rand(batch, generator=generator, dtype=torch.float64).numpy()
        return self.take(self._first[volume] + (part * self._count[volume]).astype(np.int64))

    def spread(self, count: int) -> NDArray[np.int64]:
        """Rows of at most `count` slices, evenly spaced."""
        return np.unique(np.linspace(0, len(self.which) - 1, count).astype(np.int64))


def train(
    network: nn.Module,
    loss: Callable[[Any, Batch], Tensor],
    train: Volumes,
    val: Volumes,
    context: Context,
    schedule: Schedule,
    name: str = "training",
    make_optimiser: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> History:
    """Minimise the mean `loss` over random healthy slices with Adam; leaves the network ready to score.

    `name` tells the trainings of one fit apart. Without validation volumes the last weights are kept.
    """
    network.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(network.parameters(), weight_decay=schedule.weight_decay)
    parts: dict[str, Any] = {"network": network, "optimiser": optimiser}
    kept: nn.Module = network
    average = None
    if schedule.ema:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(schedule.ema))  # type: ignore[no-untyped-call]
        parts["average"], kept = average, average.module

    def update(batch: Batch, step: int) -> Tensor:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        optimiser.zero_grad(set_to_none=True)
        with autocast(context):
            value = loss(network, batch)
        value.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(network.parameters(), schedule.clip)
        if not torch.isfinite(value.detach() + norm):
            return value.detach() + norm  # the loop stops here, before the weights are spoilt
        optimiser.step()
        if average is not None:
            average.update_parameters(network)
        return value.detach()

    network.train()
    slices = Slices(val, context.device) if len(val) else None
    validate = partial(mean_loss, loss, kept, slices, context, schedule.batch)
    history = loop(update, parts, kept, validate, Slices(train, context.device), context, schedule, name)
    network.load_state_dict(kept.state_dict())
    network.eval()
    return history


def loop(
    update: Callable[[Batch, int], Tensor],
    parts: Mapping[str, Any],
    kept: nn.Module,
    validate: Callable[[], float],
    slices: Slices,
    context: Context,
    schedule: Schedule,
    name: str = "training",
) -> History:
    """Draw batches and call `update(batch, step)`, which steps its optimisers and returns the loss.

    `parts` are all modules and optimisers, `kept` the module whose best validated weights are restored
    at the end. A checkpoint `<name>.checkpoint` in the context's folder is taken up where it was made
    with the same schedule, seed, device and number of slices; else training starts afresh.
    """
    generator = torch.Generator().manual_seed(context.seed)
    of = asdict(replace(schedule, checkpoint_s=0)) | {"slices": len(slices.which)}
    checkpoint = Checkpoint(context, of, parts, generator, schedule.checkpoint_s, name)
    fresh = History(finished=schedule.steps == 0)  # no step: the network as it was initialised
    history, best = checkpoint.resume(kept) or (fresh, {})
    with (
        context.progress.stage(name, schedule.steps) as stage,
        repeatable(tf32=True),
        while_any_layout() as settle,
        write_log(context.folder / "logs" / name) as write,
    ):
        reported = 0
        while not history.finished:
            loss = float(update(slices.draw(schedule.batch, generator), history.step))
            if not math.isfinite(loss):
                raise RuntimeError(
                    f"The loss of {name} or its gradient is {loss} at step {history.step + 1} of "
                    f"{schedule.steps}; try a lower learning rate or float32."
                )
            history.add_step(loss)
            last = history.step == schedule.steps
            if history.step % schedule.validate_every == 0 or last:
                better = history.add_validation(validate())
                settle()
                write(history, schedule.rate(history.step - 1))
                if better and schedule.keep_best:
                    best = {key: value.detach().clone() for key, value in kept.state_dict().items()}
            history.finished = last or 0 < schedule.patience <= history.misses
            if history.finished or history.step - reported >= 10:
                stage.advance(history.step - reported, str(history))
                reported = history.step
            if checkpoint.due():
                checkpoint.save(history, best)
    if best:
        kept.load_state_dict(best)
    checkpoint.save(history, {})
    return history


def mean_loss(
    loss: Callable[[Any, Batch], Tensor],
    network: nn.Module,
    slices: Slices | None,
    context: Context,
    batch: int,
) -> float:
    """Mean over a fixed spread of slices in evaluation mode, with the same draws each time; NaN without."""
    if slices is None:
        return math.nan
    before, training = random_states(context.device), network.training
    torch.manual_seed(0)
    np.random.seed(0)
    network.eval()
    rows, total = slices.spread(VALIDATION_SLICES), 0.0
    with torch.no_grad(), autocast(context):
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            total += float(loss(network, slices.take(part))) * len(part)
    network.train(training)
    set_random_states(before, context.device)
    return total / len(rows)


def autocast(context: Context) -> AbstractContextManager[Any]:
    """Mixed precision as the context asks for; weights stay float32, and so do the scores (`predict`)."""
    if context.precision not in PRECISIONS:
        raise UserError(f"Precision is one of {', '.join(PRECISIONS)}, got '{context.precision}'.")
    if context.precision == "float32":
        return nullcontext()
    return torch.autocast(context.device.split(":")[0], dtype=torch.bfloat16)


@contextmanager
def repeatable(tf32: bool) -> Iterator[None]:
    """cuDNN's convolutions give the same numbers each time; with `tf32` in 10 bits of mantissa."""
    flags = torch.backends.cudnn.flags
    with flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
        yield


def predict(
    network: Callable[[Tensor], Tensor], images: NDArray[np.float32], device: str, batch: int = 32
) -> NDArray[np.float32]:
    """The network's answers (N, C, R, A) to slices (N, C, R, A), in batches made from these slices alone.

    Always float32 (no bf16, no TF32): a residual of two bf16 numbers near 1 moves in steps of 2^-8.
    """

    def ask(part: Tensor) -> Tensor:
        return network(part.to(device).contiguous(memory_format=torch.channels_last)).float().cpu()

    def answer() -> Tensor:
        return torch.cat([ask(part) for part in torch.split(torch.from_numpy(images), batch)]).contiguous()

    with torch.inference_mode(), repeatable(tf32=False):
        return any_layout(answer).numpy()


def reconstruct(
    network: Callable[[Tensor], Tensor], volume: Volume, device: str, batch: int = 32
) -> NDArray[np.float32]:
    """The network's version of a volume (C, R, A, S), slice by slice; 0 outside the brain."""
    result = np.zeros_like(volume.image)
    with_brain = np.flatnonzero(volume.brain.any((0, 1)))
    if len(with_brain):
        slices = np.ascontiguousarray(volume.image[..., with_brain].transpose(3, 0, 1, 2))  # (N, C, R, A)
        result[..., with_brain] = predict(network, slices, device, batch).transpose(1, 2, 3, 0)
    return result * volume.brain


def weights(network: nn.Module) -> State:
    """Parameters and buffers of a network as arrays by name."""
    return {
        name: value.detach().cpu().contiguous().numpy().copy() for name, value in network.state_dict().items()
    }


def load_weights(network: nn.Module, state: State, device: str) -> None:
    """Give a network the arrays that `weights` made, and make it ready to score."""
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval()
