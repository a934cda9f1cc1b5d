"""Device: precision, transfers and optimisers that keep a GPU at work, and results that can be repeated.

Whoever reads a value from a GPU waits for all that was asked of it before, and so does a plain copy to it.
`look` is the only function of a training that reads one, and `send` copies without waiting.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from uadbench.methods import PRECISIONS, Context
from uadbench.system.errors import UserError

INNER_PRECISIONS = ("float32", "tf32", "bf16")  # of a chain's evaluations


def look(values: Sequence[Tensor]) -> list[float]:
    """Single numbers on the device, read all at once."""
    found: list[float] = torch.stack([value.detach().reshape(()) for value in values]).tolist()
    return found


def send(values: Tensor, device: str | torch.device) -> Tensor:
    """Values from the CPU on the device; a GPU takes them while Python goes on (MPS is not known to)."""
    return values.to(device, non_blocking=torch.device(device).type != "mps")


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


def inner(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """One of `INNER_PRECISIONS` for a network whose answer is noised again; float32 but on CUDA."""
    if device.type != "cuda" or precision == "float32":
        return nullcontext()
    return repeatable(tf32=True) if precision == "tf32" else torch.autocast("cuda", dtype=torch.bfloat16)


def fused(make: Callable[..., torch.optim.Optimizer], device: str) -> Callable[..., torch.optim.Optimizer]:
    """An optimiser that steps all weights in one kernel, on CUDA and where torch has one for it."""
    can = device.startswith("cuda") and "fused" in signature(make).parameters
    return partial(make, fused=True) if can else make


def drop_not_finite(parameters: Iterable[nn.Parameter]) -> None:
    """0 for what is not finite in gradients: a step then spoils no weight, and no device is waited for."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
