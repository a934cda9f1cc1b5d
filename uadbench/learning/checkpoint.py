"""Checkpoint: a training under way, in a file from which it goes on as if it had not been interrupted."""

import logging
import time
import zipfile
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from uadbench.learning.history import History
from uadbench.methods import Context
from uadbench.system.files import replacing

FORMAT = 3
logger = logging.getLogger(__name__)


class Checkpoint:
    """The file `<name>.checkpoint` in the context's folder."""

    def __init__(
        self,
        context: Context,
        of: Mapping[str, Any],
        parts: Mapping[str, Any],
        generator: torch.Generator,
        every_s: float,
        name: str,
    ) -> None:
        """For a training described by `of` and the context; `parts` are its modules and optimisers."""
        self._path: Path = context.folder / f"{name}.checkpoint"
        self._device, self._parts, self._generator = context.device, parts, generator
        self._every_s, self._saved = every_s, time.monotonic()
        self._of = dict(of) | {
            "format": FORMAT,
            "torch": str(torch.__version__),  # another version may give other numbers
            "seed": context.seed,
            "device": context.device.split(":")[0],
            "precision": context.precision,
        }

    def resume(self, kept: nn.Module) -> tuple[History, dict[str, Tensor]] | None:
        """Put parts and generators back; the history and the best weights of `kept` as they were saved.

        None where there is no file, or one that is damaged or of another training or version: what cannot
        be taken up is begun afresh, with everything as it was, and the log says why.
        """
        if not self._path.exists():
            return None
        before = {name: deepcopy(part.state_dict()) for name, part in self._parts.items()}
        generator, random = self._generator.get_state(), random_states(self._device)
        try:
            content = self._read()
            other = sorted(k for k in {*content["of"], *self._of} if content["of"].get(k) != self._of.get(k))
            history = msgspec.convert(content["history"], History)
            if not other:
                self._take_up(content, kept)
        except Exception as error:  # of many types, by where the damage lies
            for name, part in self._parts.items():
                part.load_state_dict(before[name])
            self._generator.set_state(generator)
            set_random_states(random, self._device)
            why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no more is said'}"
            logger.warning("%s is damaged (%s): training starts from the beginning", self._path, why)
            return None
        if other:
            logger.warning(
                "%s is of another training or version (%s): training starts from the beginning",
                self._path, ", ".join(other),
            )  # fmt: skip
            return None
        logger.warning("%s: training resumes after step %s", self._path.name, history.step)
        return history, content["best"]

    def _read(self) -> dict[str, Any]:
        """The content of the file, whose every byte is checked: torch does not do that itself."""
        with zipfile.ZipFile(self._path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} is not as it was written")
        # On the CPU: `load_state_dict` moves what belongs on the device. Adam's counts of steps do not, and
        # a count that lies there is waited for at every step, once or twice for each weight.
        content: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        return content

    def _take_up(self, content: Mapping[str, Any], kept: nn.Module) -> None:
        """Give parts and generators their states; an error where these are of another structure."""
        if content["parts"].keys() != self._parts.keys():
            raise ValueError(f"it holds {', '.join(content['parts'])}, not {', '.join(self._parts)}")
        for name, part in self._parts.items():
            part.load_state_dict(content["parts"][name])
            if isinstance(part, torch.optim.Optimizer):
                _check_optimiser(part, name)
        expected = {name: value.shape for name, value in kept.state_dict().items()}
        if content["best"] and {name: value.shape for name, value in content["best"].items()} != expected:
            raise ValueError("its best weights are those of another network")
        self._generator.set_state(content["generator"])
        set_random_states(content["random"], self._device)

    def due(self) -> bool:
        """Whether the last save is long enough ago."""
        return time.monotonic() - self._saved >= self._every_s

    def save(self, history: History, best: Mapping[str, Tensor]) -> None:
        """Write the file atomically; plain types and tensors only, so that no code is in it.

        A file that cannot be written (a full disk) is no end of the training: the one before stays.
        """
        content = {
            "of": self._of,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "generator": self._generator.get_state(),
            "random": random_states(self._device),
            "history": asdict(history),
            "best": dict(best),
        }
        try:
            with replacing(self._path) as partial:
                torch.save(content, partial)
        except (OSError, RuntimeError) as error:  # RuntimeError: torch's own writer
            logger.warning("%s cannot be written, training continues without it: %s", self._path.name, error)
        self._saved = time.monotonic()


def _check_optimiser(optimiser: torch.optim.Optimizer, name: str) -> None:
    """An error where an optimiser, which looks at no shape itself, was given the moments of other weights."""
    for weight, moments in optimiser.state.items():
        for what, value in moments.items():
            if isinstance(value, Tensor) and value.shape not in (weight.shape, torch.Size(())):
                raise ValueError(f"{what} of {name} has the shape {tuple(value.shape)}")


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
    torch.set_rng_state(states["torch"])
    inner = states["numpy"]["state"]
    key = inner["key"].numpy().astype(np.uint32)
    np.random.set_state(states["numpy"] | {"state": inner | {"key": key}})
    if device.startswith("cuda"):
        torch.cuda.set_rng_state(states["cuda"], device)
