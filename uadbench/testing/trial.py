"""Trial: one row of a method, and toys for it to learn from and to score, for the checks of its contract."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from safetensors.numpy import load, save

from uadbench import methods
from uadbench.cards import method_card
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volume, Volumes
from uadbench.experiment import score
from uadbench.methods import Context, Method, Score
from uadbench.system.environment import seed_everything
from uadbench.system.errors import check_known
from uadbench.testing.findings import demand
from uadbench.testing.toys import make_toy

SEED = 3
BRIEF = 8  # steps of a training that shows that it runs, or runs alike twice; nothing is learned in them


class Trial:
    """One row of a method, and toys in `folder` to learn from and to score; fitted when first asked for."""

    def __init__(self, name: str, folder: Path, fits: dict[str, Method] | None = None) -> None:
        """`fits` may be given to the trials of several rows: those that share a fit are fitted once."""
        self.name, self.card, self.kind, self._folder = name, method_card(name), methods.load(name), folder
        self._fits = {} if fits is None else fits
        ours = set(self.card.smoke) - set(self.card.set)
        self.settings = self.card.smoke if ours else self.card.preset.get("ci", {})
        for table, keys in (("smoke", self.settings), ("source", self.card.source)):
            for key in keys:
                check_known("option", key, methods.options(self.kind), of=f"{name} ([{table}] of its card)")
        self.grid = GRIDS[self.make().grid]
        patients = self.toys(range(20, 23), healthy=False)
        self.patients, self.lesions = Volumes(patients, self.grid), [toy.lesion() for toy in patients]
        self.train, self.val = (Volumes(self.toys(n), self.grid) for n in (range(8), range(10, 13)))

    def make(self, **settings: Any) -> Method:
        """The method with the settings of these checks, not fitted."""
        return self.kind(**dict(self.settings) | settings)

    def toys(self, numbers: Iterable[int], healthy: bool = True) -> list[Prepared]:
        """Prepared toys on the method's grid."""
        return [make_toy(self._folder, number, healthy, self.grid) for number in numbers]

    def fit(
        self, time: str, on: tuple[Volumes, Volumes] | None = None, seed: int = SEED, **settings: Any
    ) -> Method:
        """The method as it was fitted at a `time`, else fitted now as the harness does it, seeds first."""
        wanted, (train, val) = self.make(**settings), on or (self.train, self.val)
        key = f"{time} {seed} {self.card.folder} {methods.parameters(wanted, 'fit')}"
        if key not in self._fits:
            seed_everything(seed)
            folder = self._folder / f"{time}-{seed}"
            self._fits[key] = wanted.fit(train, val, Context(seed=seed, folder=folder))
            demand(self._fits[key] is wanted, "`fit` has to return self.")
        fitted = self._fits[key]
        if methods.parameters(fitted) != methods.parameters(wanted):
            fitted = wanted.load_state(fitted.state(), Context())
        return fitted.calibrate(val, Context())

    def fit_briefly(self, time: str, on: tuple[Volumes, Volumes] | None = None) -> Method:
        """The method after a few steps of each of its trainings; whole, where it trains no network."""
        return self.fit(time, on, **dict.fromkeys(methods.training_steps(self.kind), BRIEF))

    @property
    def method(self) -> Method:
        """The fitted method that is looked at."""
        return self.fit("first")

    def reload(self) -> Method:
        """A fresh method with what the fitted one has learned and found, by way of safetensors' bytes."""
        learned, found = (load(save(one)) for one in (self.method.state(), self.method.calibration_state()))
        demand(found or not self.method.calibrated, "`calibration_state` says nothing of what was found.")
        return self.make().load_state(learned, Context()).load_calibration(found)

    def score(self, method: Method, volume: Volume, seed: int = SEED) -> Score:
        """A method's answer as the harness gets it, which sees to its shape, type and finiteness."""
        return score.score_volume(method, volume, seed, self.name).score


@contextmanager
def refuse_network() -> Iterator[None]:
    """Whoever reaches for the network meanwhile gets an AssertionError."""
    refused = mock.Mock(side_effect=AssertionError("A method may not reach for the network."))
    # The class stays: libraries derive from it on import.
    with mock.patch.multiple(socket.socket, connect=refused, connect_ex=refused, sendto=refused):
        yield
