"""Tortoise: learns a little, waits where a file tells it to, and meets the end that an option names.

Where the variable UADBENCH_TEST_HOLD names a folder that has a file `<place> <seed>`, whoever comes there
makes `<place> <seed>.reached` and waits until the file is gone. Nothing of that changes a number.
"""

import os
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.training import Batch, Schedule
from uadbench.methods import Context, Method, Score, State, fit_option, score_option


def pass_by(place: str) -> None:
    """Wait at a place as long as a file asks for it."""
    folder = os.environ.get("UADBENCH_TEST_HOLD")
    if not folder or not (Path(folder) / place).exists():
        return
    (Path(folder) / f"{place}.reached").write_text(str(os.getpid()))
    while (Path(folder) / place).exists():
        time.sleep(0.05)


@dataclass
class Tortoise(Method):
    """A convolution that learns to blur."""

    steps: int = fit_option(8, "steps of training")
    fate: str = score_option("", "what happens when it scores: error, nan, segfault, exit, or nothing")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Train, with a checkpoint after each step."""
        with open(context.folder / "fits.txt", "a", encoding="utf-8") as told:
            told.write(f"{os.getpid()}\n")
        self.network_ = nn.Conv2d(1, 1, 3, padding=1)

        calls = count()

        def loss(network: nn.Module, batch: Batch) -> Tensor:
            if network.training:
                pass_by(f"fit-{next(calls)} {context.seed}")
            value: Tensor = functional.mse_loss(network(batch.image), batch.image)
            return value

        schedule = Schedule(self.steps, batch=4, learning_rate=1e-2, validate_every=4, checkpoint_s=0)
        training.train(self.network_, loss, train, val, context, schedule)
        return self

    def score(self, volume: Volume) -> Score:
        """What the convolution changes."""
        pass_by(f"score {self.seed_}")
        meet(self.fate)
        with torch.inference_mode():
            image = torch.from_numpy(np.ascontiguousarray(volume.image.transpose(3, 0, 1, 2)))
            answer = self.network_(image).numpy()[:, 0].transpose(1, 2, 0)
        result = np.abs(answer - volume.image[0]) * volume.brain
        return Score(result.astype(np.float32) * (np.float32(np.nan) if self.fate == "nan" else 1))

    def state(self) -> State:
        """The weights."""
        return training.weights(self.network_)

    def load_state(self, state: State, context: Context) -> Self:
        """The weights again."""
        self.seed_ = context.seed
        self.network_ = nn.Conv2d(1, 1, 3, padding=1)
        training.load_weights(self.network_, state, context.device)
        return self


def meet(fate: str) -> None:
    """What an option asks for."""
    if fate == "error":
        raise OSError("no")
    if fate == "segfault":
        os.abort()
    if fate == "exit":
        os._exit(3)


ENTRY = Tortoise
