"""Augment: random changes of healthy slices while a network is trained on them.

Kinds, probabilities and ranges are those of the training of DISYRE (Naval Marimont et al. 2024, public
code, preprocessing/preprocessing.py), but for the elastic deformation, which is this suite's own.
"""

import torch
from torch import Tensor
from torch.nn import functional

GEOMETRIC = 0.1  # the chance of each: elastic, turned, scaled
PHOTOMETRIC = 0.15  # the chance of each: brightness, gamma, gamma of the negative, noise, blur
TURN_DEGREES = 15.0
SCALES = (0.75, 1.25)
BRIGHTNESS = (0.9, 1.1)
GAMMAS = (0.5, 2.0)
NODES = 6  # of an elastic deformation, along each axis; our choice, as is the next
BEND = 0.06  # deviation of a node, of half the slice's edge
NOISE = (0.0, 0.05)  # deviation, of the range of intensities
BLUR_PIXELS = (0.5, 1.5)  # deviation of the Gaussian


def uniform(low: float, high: float, like: Tensor) -> Tensor:
    """One number for each slice of a batch, (B, 1, 1, 1)."""
    return low + (high - low) * torch.rand(len(like), 1, 1, 1, device=like.device)


def chosen(chance: float, like: Tensor) -> Tensor:
    """Which slices of a batch are changed, (B, 1, 1, 1) bool."""
    return uniform(0, 1, like) < chance


def augment(image: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
    """Slices (B, 1, R, A) in [0, 1] and their brains (bool), some of them changed; 0 outside the brain."""
    image, brain = deform(*mirror(image, brain))
    image = torch.where(chosen(PHOTOMETRIC, image), image * uniform(*BRIGHTNESS, image), image).clamp(0, 1)
    image = torch.where(chosen(PHOTOMETRIC, image), image ** uniform(*GAMMAS, image), image)
    image = torch.where(chosen(PHOTOMETRIC, image), 1 - (1 - image) ** uniform(*GAMMAS, image), image)
    noisy = image + uniform(*NOISE, image) * torch.randn_like(image)
    image = torch.where(chosen(PHOTOMETRIC, image), noisy, image)
    image = torch.where(chosen(PHOTOMETRIC, image), blurred(image), image)
    return image.clamp(0, 1) * brain, brain


def mirror(image: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the slices with left and right, and half with front and back exchanged."""
    for axis in (2, 3):
        flip = chosen(0.5, image)
        image = torch.where(flip, image.flip(axis), image)
        brain = torch.where(flip, brain.flip(axis), brain)
    return image, brain


def deform(image: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
    """Some of the slices bent, turned or scaled; the others as they are, to the bit."""
    bend, turn, scale = (chosen(GEOMETRIC, image) for _ in range(3))
    rows, columns = image.shape[-2:]
    angle = torch.where(turn, uniform(-1, 1, image) * torch.pi * TURN_DEGREES / 180, 0.0).flatten()
    size = torch.where(scale, uniform(*SCALES, image), 1.0).flatten()
    # Places run from -1 to 1 along both axes, whose edges need not have as many pixels.
    sine, cosine, ratio = angle.sin() / size, angle.cos() / size, rows / columns
    zero = torch.zeros_like(angle)
    first = torch.stack([cosine, -sine * ratio, zero], -1)
    second = torch.stack([sine / ratio, cosine, zero], -1)
    places = functional.affine_grid(torch.stack([first, second], 1), list(image.shape), align_corners=False)
    nodes = BEND * torch.randn(len(image), 2, NODES, NODES, device=image.device)
    bent = functional.interpolate(nodes, size=(rows, columns), mode="bicubic", align_corners=True)
    places = places + torch.where(bend, bent, 0.0).movedim(1, -1)
    moved = bend | turn | scale
    sampled = functional.grid_sample(image, places, align_corners=False)
    covered = functional.grid_sample(brain.float(), places, mode="nearest", align_corners=False) > 0.5
    return torch.where(moved, sampled, image), torch.where(moved, covered, brain)


def blurred(image: Tensor) -> Tensor:
    """Slices smoothed by Gaussians, of another width for each."""
    reach = torch.arange(-4, 5, device=image.device, dtype=image.dtype)
    kernel = (-0.5 * (reach / uniform(*BLUR_PIXELS, image)) ** 2).exp()
    kernel = kernel / kernel.sum(-1, keepdim=True)  # (B, 1, 1, 9)
    stack = image.movedim(1, 0)  # (1, B, R, A): a kernel for each
    along = functional.conv2d(stack, kernel, padding=(0, 4), groups=len(image))
    return functional.conv2d(along, kernel.mT, padding=(4, 0), groups=len(image)).movedim(0, 1)


def extent(brain: Tensor, across: int) -> tuple[Tensor, Tensor]:
    """Where brains (B, 1, R, A) begin and how long they are, seen along an axis: (B, 1, 1, 1) twice."""
    seen = brain.any(across).flatten(1).int()  # (B, R) or (B, A)
    first = seen.argmax(1)
    return first.view(-1, 1, 1, 1), (seen.shape[1] - seen.flip(1).argmax(1) - first).view(-1, 1, 1, 1)
