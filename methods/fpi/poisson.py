"""Poisson: a patch whose gradients are a mixture of two, and whose border is that of one."""

import math

import torch
from torch import Tensor


def sines(count: int, device: torch.device) -> Tensor:
    """The discrete sine transform (type I), orthogonal and symmetric: (count, count)."""
    index = torch.arange(1, count + 1, device=device, dtype=torch.float32)
    return math.sqrt(2 / (count + 1)) * (torch.pi / (count + 1) * index[:, None] * index).sin()


def solve_poisson(divergence: Tensor) -> Tensor:
    """u (r, a) whose Laplacian by five points is `divergence` (r, a), with u = 0 around it.

    On a rectangle the sines are the Laplacian's eigenvectors: the solution is exact.
    """
    (rows, columns), device = divergence.shape, divergence.device
    down, across = sines(rows, device), sines(columns, device)
    index = [torch.arange(1, edge + 1, device=device) * (torch.pi / (edge + 1)) for edge in (rows, columns)]
    eigenvalues = (2 * index[0].cos() - 2)[:, None] + (2 * index[1].cos() - 2)
    solution: Tensor = down @ ((down @ divergence @ across) / eigenvalues) @ across
    return solution


def interpolate_gradients(
    image: Tensor, foreign: Tensor, where: tuple[slice, slice], factor: float
) -> Tensor:
    """x (R, A) with the gradients of the rectangle interpolated with those of y (R, A) (Tan 2021).

    Between two neighbours the gradient is (1 - a) dx or a dy, whichever is larger (the mixed gradients of
    Perez, Gangnet and Blake, ACM TOG 22:313-318, 2003); pixels around the rectangle, which must lie in the
    slice, stay as they are. The change, which is 0 there, solves Poisson's equation.
    """
    rows, columns = where
    around = slice(rows.start - 1, rows.stop + 1), slice(columns.start - 1, columns.stop + 1)
    own, other = image[around].float(), foreign[around].float()
    divergence = torch.zeros_like(own[1:-1, 1:-1])
    for axis, inner in ((0, (slice(None), slice(1, -1))), (1, (slice(1, -1), slice(None)))):
        gradient = own.diff(dim=axis)
        kept, borrowed = (1 - factor) * gradient, factor * other.diff(dim=axis)
        mixed = torch.where(kept.abs() > borrowed.abs(), kept, borrowed)
        divergence += (mixed - gradient).diff(dim=axis)[inner]
    changed = image.clone()
    changed[where] = image[where] + solve_poisson(divergence)
    return changed
