"""Checkpoint: a training under way, in a file from which it goes on as if it had not been interrupted."""

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from uadbench.files import replacing
from uadbench.methods import Context

FORMAT = 2
logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """What a checkpoint can hold: a module, an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Go on from there."""


class Checkpoint:
    """The file `<name>.checkpoint` in the context's folder."""

    def __init__(
        self,
        context: Context,
        of: Mapping[str, Any],
        parts: Mapping[str, Stateful],
        generator: torch.Generator,
        every_s: float,
        name: str,
    ) -> None:
        """For a training described by `of` and the context; there is no file yet, or one to resume from."""
        self._path = context.folder / f"{name}.checkpoint"
        self._device, self._parts, self._generator = context.device, parts, generator
        self._every_s, self._saved = every_s, time.monotonic()
        self._of = dict(of) | {
            "format": FORMAT,
            "torch": str(torch.__version__),  # another version may give other numbers
            "seed": context.seed,
            "device": context.device.split(":")[0],
            "precision": context.precision,
        }

    def resume(self) -> dict[str, Any] | None:
        """Put parts and generators back and return `history` and `best` as they were saved.

        None where there is no file, or one that is damaged or of another training or version: what cannot
        be taken up is begun afresh, and the log says why.
        """
        if not self._path.exists():
            return None
        try:
            content: dict[str, Any] = torch.load(self._path, map_location=self._device, weights_only=True)
            other = sorted(k for k in {*content["of"], *self._of} if content["of"].get(k) != self._of.get(k))
        except Exception as error:  # of many types, by where the damage lies
            logger.warning("%s is damaged (%s): training begins afresh", self._path, type(error).__name__)
            return None
        if other:
            logger.warning(
                "%s is of another training or version (%s): training begins afresh",
                self._path, ", ".join(other),
            )  # fmt: skip
            return None
        for name, part in self._parts.items():
            part.load_state_dict(content["parts"][name])
        self._generator.set_state(content["generator"].cpu())
        set_random_states(content["random"], self._device)
        logger.warning("%s: training goes on after step %s", self._path.name, content["history"].get("step"))
        return content

    def due(self) -> bool:
        """Whether the last save is long enough ago."""
        return time.monotonic() - self._saved >= self._every_s

    def save(self, history: Mapping[str, Any], best: Mapping[str, Tensor]) -> None:
        """Write the file atomically; plain types and tensors only, so that no code is in it.

        A file that cannot be written (a full disk) is no end of the training: the one before stays.
        """
        content = {
            "of": self._of,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "generator": self._generator.get_state(),
            "random": random_states(self._device),
            "history": dict(history),
            "best": dict(best),
        }
        try:
            with replacing(self._path) as partial:
                torch.save(content, partial)
        except (OSError, RuntimeError) as error:  # RuntimeError: torch's own writer
            logger.warning("%s cannot be written, training goes on without: %s", self._path.name, error)
        self._saved = time.monotonic()


def random_states(device: str) -> dict[str, Any]:
    """States of the global generators, as types that `torch.load(weights_only=True)` reads."""
    numpy_state: Any = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    states = {"torch": torch.get_rng_state(), "numpy": numpy_state}
    if device.startswith("cuda"):
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, Any], device: str) -> None:
    """Put the global generators back to `random_states`."""
    torch.set_rng_state(states["torch"].cpu())
    inner = states["numpy"]["state"]
    key = inner["key"].cpu().numpy().astype(np.uint32)
    np.random.set_state(states["numpy"] | {"state": inner | {"key": key}})
    if device.startswith("cuda"):
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
