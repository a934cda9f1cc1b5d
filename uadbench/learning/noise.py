"""Noise: of the kinds that the diffusion methods add to slices."""

import torch
from torch import Tensor

from uadbench.learning import simplex
from uadbench.learning.device import send

NOISES = ("gaussian", "simplex", "simplex_unit")
BANK_SEED = 5


class Noise:
    """Noise of one kind for slices of one shape: a field of its own for every slice of every draw."""

    def __init__(
        self,
        kind: str,
        rows: int,
        columns: int,
        wavelength: float = 64.0,
        bank: int = 0,
        deviation: float | None = None,
    ) -> None:
        """Simplex noise has the given deviation, by default what its octaves add up to; `simplex_unit` has 1.

        With `bank`, it is cut from so many larger fields.
        """
        self._kind, self._shape, self._wavelength = kind, (rows, columns), wavelength
        self._deviation = 1.0 if kind == "simplex_unit" else deviation
        self._bank = None
        if bank and kind != "gaussian":
            with torch.random.fork_rng(devices=[]):  # always the same fields
                torch.manual_seed(BANK_SEED)
                self._bank = simplex.Bank(self._fields(bank, 2 * rows, 2 * columns, "cpu"))

    def _fields(self, count: int, rows: int, columns: int, device: str) -> Tensor:
        return simplex.fields(
            count, rows, columns, wavelength=self._wavelength, scale_to=self._deviation, device=device
        )

    def draw(self, count: int, device: str) -> Tensor:
        """Fields (count, 1, R, A), drawn with torch's global generators.

        Gaussian noise is drawn on the device: other numbers on a GPU than on a CPU, for the same seed. What
        simplex noise is made of is drawn on the CPU.
        """
        if self._kind == "gaussian":
            return torch.randn(count, 1, *self._shape, device=device)
        if self._bank is None:
            return self._fields(count, *self._shape, device)
        return send(self._bank.draw(count, *self._shape), device)
