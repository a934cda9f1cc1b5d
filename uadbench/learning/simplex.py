"""Simplex noise: smooth random fields with structure at several scales.

Gradient noise on a lattice of simplices (Perlin 2001; the sum over corners as Gustavson, "Simplex noise
demystified", 2005, describes it): planes of a noise in three dimensions, so that no lattice point, where
such noise is 0, need lie in the plane. Octaves add up as in AnoDDPM (Wyatt et al., CVPRW 2022): each halves
the wavelength and has `persistence` times the amplitude of the one before.
"""

import math

import torch
from torch import Tensor

from uadbench.learning.device import send

# Lattice edges of sqrt(2) wavelengths, as in the OpenSimplex noise of AnoDDPM; Gustavson's are sqrt(3 / 4).
STRETCH = (8 / 3) ** 0.5
# Gives an octave a deviation of .361 and so the default fields .58, which was measured of Behrendt's (2023).
AMPLITUDE = 27.2
DEVIATION = 0.361
REACH = 0.6  # squared distance at which a corner's influence ends (Gustavson 2005)
CELLS = 64.0  # an octave's origin lies within so many cells of the lattice's

# From the centre of a cube to the middles of its edges (Perlin 2001): (12, 3).
GRADIENTS = torch.tensor(
    [[x, y, 0] for x in (1, -1) for y in (1, -1)]
    + [[x, 0, z] for x in (1, -1) for z in (1, -1)]
    + [[0, y, z] for y in (1, -1) for z in (1, -1)],
    dtype=torch.float32,
)


def fields(
    count: int,
    rows: int,
    columns: int,
    octaves: int = 6,
    persistence: float = 0.8,
    wavelength: float = 64.0,
    scale_to: float | None = None,
    device: str = "cpu",
) -> Tensor:
    """Independent fields (count, 1, rows, columns) of mean 0; nothing is shared between two of them.

    `wavelength` of the first octave in pixels ("frequency 64" in AnoDDPM's code). The deviation is
    `scale_to`; without it the variance is 0.13 * sum(persistence^2i): 0.58^2 by default. Draws from torch's
    global generator on the CPU.
    """
    origin = CELLS * torch.rand(octaves, 3, count, 1, 1)
    seed = torch.randint(2**31, (octaves, count, 1, 1), dtype=torch.int32)
    origin, seed = send(origin, device), send(seed, device)
    row = torch.arange(rows, device=device, dtype=torch.float32)[:, None]
    column = torch.arange(columns, device=device, dtype=torch.float32)
    total = torch.zeros(count, rows, columns, device=device)
    for octave in range(octaves):
        cells = 2**octave / (wavelength * STRETCH)  # per pixel
        x, y, z = origin[octave]  # (count, 1, 1)
        x, y, z = x + (cells * row).expand(rows, columns), y + cells * column, z.expand(-1, rows, columns)
        total += persistence**octave * basis(x, y.expand_as(x), z, seed[octave])
    factor = 1.0 if scale_to is None else scale_to / deviation(octaves, persistence)
    return (total * factor)[:, None]


def deviation(octaves: int, persistence: float) -> float:
    """Standard deviation of a field over all its possible values."""
    variance: float = DEVIATION**2 * sum(persistence ** (2 * octave) for octave in range(octaves))
    return math.sqrt(variance)


def basis(x: Tensor, y: Tensor, z: Tensor, seed: Tensor) -> Tensor:
    """One octave of noise at points of three dimensions; equal seeds (int32) share a noise."""
    skew = (x + y + z) / 3  # to the lattice in which simplices are thirds of half cubes
    i, j, k = (x + skew).floor(), (y + skew).floor(), (z + skew).floor()
    back = (i + j + k) / 6
    x, y, z = x - i + back, y - j + back, z - k + back  # from the cell's first corner
    i, j, k = i.int(), j.int(), k.int()
    # The way through the simplex goes along the axis of the largest coordinate first.
    xy, yz, xz = x >= y, y >= z, x >= z
    ranks = xy.int() + xz.int(), (~xy).int() + yz.int(), (~xz).int() + (~yz).int()
    gradients = send(GRADIENTS, x.device)
    total = torch.zeros_like(x)
    for corner in range(4):
        a, b, c = ((rank >= 3 - corner).int() for rank in ranks)
        which = (_hash(i + a, j + b, k + c, seed) % len(gradients)).long()
        dx, dy, dz = x - a + corner / 6, y - b + corner / 6, z - c + corner / 6
        slope = gradients[:, 0][which] * dx + gradients[:, 1][which] * dy + gradients[:, 2][which] * dz
        total += (REACH - dx**2 - dy**2 - dz**2).clamp_(min=0) ** 4 * slope
    return AMPLITUDE * total


def _hash(i: Tensor, j: Tensor, k: Tensor, seed: Tensor) -> Tensor:
    """A scrambled number in [0, 2^31) of a lattice point; int32 arithmetic that wraps around."""
    code = seed + i * 0x27D4EB2F + j * 0x165667B1 + k * 0x5BD1E995
    code = (code ^ (code >> 16)) * 0x7FEB352D
    code = (code ^ (code >> 15)) * 0x2C1B3C6D
    return (code ^ (code >> 16)) & 0x7FFFFFFF


class Bank:
    """Fields made once, from which many are cut: several times cheaper than `fields` on a CPU.

    Each draw is a window at a random place of a random field, randomly mirrored and negated. It is not
    rolled: the fields do not repeat, and a roll would leave a seam.
    """

    def __init__(self, whole: Tensor) -> None:
        """Cut from fields (N, 1, R, A), larger than what will be drawn."""
        self._whole = whole

    def draw(self, count: int, rows: int, columns: int) -> Tensor:
        """Fields (count, 1, rows, columns), drawn with torch's global generator on the CPU."""
        total, _, height, width = self._whole.shape
        which = torch.randint(total, (count,)).tolist()
        top = torch.randint(height - rows + 1, (count,)).tolist()
        left = torch.randint(width - columns + 1, (count,)).tolist()
        mirrored = torch.randint(2, (count, 2)).bool().tolist()
        sign = 1.0 - 2.0 * torch.randint(2, (count, 1, 1, 1))
        windows = [
            self._whole[n, :, r : r + rows, c : c + columns].flip([d + 1 for d in (0, 1) if flips[d]])
            for n, r, c, flips in zip(which, top, left, mirrored, strict=True)
        ]
        return torch.stack(windows) * sign.to(self._whole.device)
