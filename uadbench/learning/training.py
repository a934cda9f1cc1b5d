"""Training: the loop shared by the methods that have a network, and what stands around it.

`train` is enough for a network with one loss. A method with several optimisers (a GAN) hands its own
`update` to `loop` and gets the same draws, validation, early stop, checkpoints and resumption.
Losses may draw from torch's and numpy's global generators: their states are kept in the checkpoint.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning.checkpoint import Checkpoint, random_states, set_random_states
from uadbench.learning.device import autocast as autocast  # methods find here all that a training takes
from uadbench.learning.device import drop_not_finite, fused, send
from uadbench.learning.device import look as look
from uadbench.learning.device import repeatable as repeatable
from uadbench.learning.history import History, write_log
from uadbench.learning.layout import any_layout, channels_last, place, while_any_layout
from uadbench.learning.slices import Batch as Batch
from uadbench.learning.slices import Packed
from uadbench.learning.slices import Slices as Slices
from uadbench.methods import Context, Method, Spent, State

LOOK_EVERY = 10  # steps between looks at the losses, for each of which a GPU is waited for
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


def train(
    network: nn.Module,
    loss: Callable[[Any, Batch], Tensor],
    train: Volumes | Packed,
    val: Volumes | Packed,
    context: Context,
    schedule: Schedule,
    name: str = "training",
    make_optimiser: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> History:
    """Minimise the mean `loss` over random healthy slices with Adam; leaves the network ready to score.

    `name` tells the trainings of one fit apart. Without validation volumes the last weights are kept.
    A method whose loss needs other slices too hands over the `Slices` it takes them from, packed once; one
    that learns from whole volumes hands over these (`uadbench.learning.whole`).
    """
    place(network, context.device)
    optimiser = fused(make_optimiser, context.device)(
        network.parameters(), weight_decay=schedule.weight_decay
    )
    parts: dict[str, Any] = {"network": network, "optimiser": optimiser}
    kept = network
    if schedule.ema:
        parts["average"] = kept = deepcopy(network)

    def update(batch: Batch, step: int) -> Tensor:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        optimiser.zero_grad(set_to_none=True)
        with autocast(context):
            value = loss(network, batch)
        value.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(network.parameters(), schedule.clip)
        drop_not_finite(network.parameters())
        optimiser.step()
        if kept is not network:
            move_average(kept, network, 0.0 if step == 0 else schedule.ema)
        return value.detach() + 0 * norm  # not finite where the gradient was not

    network.train()
    healthy = Slices.of(val, context.device) if len(val) else None
    validate = partial(mean_loss, loss, kept, healthy, context, schedule.batch)
    slices = Slices.of(train, context.device)
    history = loop(update, parts, kept, validate, slices, context, schedule, name)
    network.load_state_dict(kept.state_dict())
    network.eval()
    return history


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move an average of a network's weights one step on; its buffers are the network's.

    torch's `AveragedModel` does the same, and asks the device at every step whether it is the first.
    """
    for own, new in zip(average.buffers(), network.buffers(), strict=True):
        own.copy_(new)
    move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    move(list(average.parameters()), list(network.parameters()), None)


def loop(
    update: Callable[[Batch, int], Tensor],
    parts: Mapping[str, Any],
    kept: nn.Module,
    validate: Callable[[], float],
    slices: Packed,
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
    earlier, began = history.seconds, time.monotonic()
    with (
        context.progress.stage(name, schedule.steps) as stage,
        repeatable(tf32=True),
        while_any_layout() as settle,
        write_log(context.folder / "logs" / name) as write,
    ):
        losses: list[Tensor] = []  # of the steps since the last look
        while not history.finished:
            step = history.step + len(losses)
            losses.append(update(slices.draw(schedule.batch, generator), step).detach())
            last, due = step + 1 == schedule.steps, checkpoint.due()
            validated = (step + 1) % schedule.validate_every == 0 or last
            if not (validated or due or len(losses) == LOOK_EVERY):
                continue
            count_steps(history, losses, name, schedule.steps)
            if validated:
                better = history.add_validation(validate())
                settle()
                write(history, schedule.rate(step))
                if better and schedule.keep_best:
                    best = {key: value.detach().clone() for key, value in kept.state_dict().items()}
            history.seconds = earlier + time.monotonic() - began
            history.finished = last or 0 < schedule.patience <= history.misses
            stage.advance(len(losses), str(history))
            losses = []
            if due:
                checkpoint.save(history, best)
    if best:
        kept.load_state_dict(best)
    checkpoint.save(history, {})
    context.spent[name] = Spent(history.seconds, earlier)
    return history


def count_steps(history: History, losses: Sequence[Tensor], name: str, steps: int) -> None:
    """Look at the losses of the last steps; an error names the first that is not finite."""
    for loss in look(losses):
        if not math.isfinite(loss):
            raise RuntimeError(
                f"The loss of {name} or its gradient is {loss} at step {history.step + 1} of "
                f"{steps}; try a lower learning rate or float32."
            )
        history.add_step(loss)


def mean_loss(
    loss: Callable[[Any, Batch], Tensor],
    network: nn.Module,
    slices: Packed | None,
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
    rows = slices.spread(VALIDATION_SLICES)
    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    with torch.no_grad(), autocast(context):
        losses = look([loss(network, slices.take(part)) for part in parts])
    network.train(training)
    set_random_states(before, context.device)
    return sum(loss * len(part) for loss, part in zip(losses, parts, strict=True)) / len(rows)


def predict(
    network: Callable[[Tensor], Tensor], images: NDArray[np.float32], device: str, batch: int = 32
) -> NDArray[np.float32]:
    """The network's answers (N, C, R, A) to slices (N, C, R, A), in batches made from these slices alone.

    Or to whole volumes (N, C, R, A, S).

    Always float32 (no bf16, no TF32): a residual of two bf16 numbers near 1 moves in steps of 2^-8.
    """

    layout = channels_last(images.ndim - 2)

    def ask(part: Tensor) -> Tensor:
        return network(send(part, device).contiguous(memory_format=layout)).float().cpu()

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
    place(network, device)
    network.eval()
