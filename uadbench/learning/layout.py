"""Layout: networks that ask for another layout of memory than training and scoring give them.

Tensors are channels-last here, which makes convolutions faster. `Tensor.view` refuses what does not lie in
the order of its indices then, and torch's message does not say why. What `view` cannot do is done by
`reshape`, which copies: the same numbers, a little slower, and said once in the log.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

REFUSED = "view size is not compatible"  # torch's words

Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)


def channels_last(dimensions: int) -> torch.memory_format:
    """The layout of images (B, C, R, A) of two dimensions or (B, C, R, A, S) of three."""
    return torch.channels_last_3d if dimensions == 3 else torch.channels_last


def place(network: nn.Module, device: str) -> None:
    """Bring a network, of convolutions in two dimensions or in three, to the device in this layout."""
    dimensions = 3 if any(weight.dim() == 5 for weight in network.parameters()) else 2
    network.to(device, memory_format=channels_last(dimensions))  # type: ignore[call-overload]


class _Lenient(TorchFunctionMode):
    """While it is on, `view` copies where it would refuse."""

    used = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return function(*args, **(kwargs or {}))
        except RuntimeError as error:
            if function not in _INSTEAD or REFUSED not in str(error):
                raise
        _say()
        self.used = True
        return _INSTEAD[function](*args, **(kwargs or {}))


_INSTEAD: dict[Any, Callable[..., Any]] = {Tensor.view: Tensor.reshape, Tensor.view_as: Tensor.reshape_as}


@cache
def _say() -> None:
    logger.warning(
        "the network calls Tensor.view on channels-last tensors: it is given reshape, which copies; "
        "write reshape in its code"
    )


@contextmanager
def while_any_layout() -> Iterator[Callable[[], None]]:
    """Let any network take the steps of the block.

    What it gives is called when each kind of step was taken once: to intercept every call of torch costs
    time, and goes on only where it was needed.
    """
    with ExitStack() as stack:
        mode = stack.enter_context(_Lenient())

        def settle() -> None:
            if not mode.used:
                stack.close()

        yield settle


def any_layout(answer: Callable[[], Answer]) -> Answer:
    """What a function that can be called again answers, whatever layout its network asks for."""
    try:
        return answer()
    except RuntimeError as error:
        if REFUSED not in str(error):
            raise
    with _Lenient():
        return answer()
