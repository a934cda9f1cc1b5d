"""Full: a GPU that has too little memory for a method is told in a sentence with the numbers."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from uadbench import methods
from uadbench.experiment.config import ResolvedRun
from uadbench.system.errors import UserError


@contextmanager
def told_when_full(resolved: ResolvedRun, stage: str, device: str) -> Iterator[None]:
    """A UserError where `fit` or `score` runs out of a GPU's memory: how much was in use, and what to do."""
    try:
        yield
    except RuntimeError as error:
        torch = sys.modules.get("torch")  # not loaded for methods that need no network
        if torch is None or not isinstance(error, torch.OutOfMemoryError):
            raise
        in_use, (_, total) = torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)
        raise UserError(
            f"The {stage} of {resolved.card.name} with the preset {resolved.config.preset} needs more memory "
            f"than {device} has: {in_use / 2**30:.1f} of {total / 2**30:.1f} GiB held its tensors when there "
            f"was no room for more; {_advice(resolved, stage)}."
        ) from error


def _advice(resolved: ResolvedRun, stage: str) -> str:
    there = methods.options(resolved.method)
    smaller = [
        f"--set {name}={getattr(resolved.method, name) // 2}"
        for name in ("batch", "score_batch")
        if name in there and there[name].metadata["stage"] == stage and getattr(resolved.method, name) > 1
    ]
    if resolved.config.preset != "small":
        smaller.append("--preset small")
    return f"try {' or '.join(smaller)}" if smaller else "choose a GPU with more memory"
