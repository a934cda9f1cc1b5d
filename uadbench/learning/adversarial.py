"""Adversarial: what methods with a generator and a critic share: networks, and the game they play.

Networks see slices in [-1, 1], padded to a multiple of 16. The game is Gulrajani et al. 2017: Improved
Training of Wasserstein GANs (arXiv:1704.00028).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volumes
from uadbench.learning import training
from uadbench.learning.device import drop_not_finite
from uadbench.learning.history import History
from uadbench.methods import Context

HALVINGS = 4  # 128 x 128 slices become 8 x 8, as in the auto-encoders of Baur 2021


def lowest(rows: int, columns: int, width: int) -> tuple[int, int, int]:
    """Channels, rows and columns at the lowest resolution, of slices padded to a multiple of 16."""
    return 4 * width, -(-rows // 2**HALVINGS), -(-columns // 2**HALVINGS)


def up(channels: int, filters: int) -> nn.Sequential:
    """Twice the resolution, normalised over the batch; by nearest neighbours, as Schlegl 2019's generator.

    The next layer's convolution smooths the enlarged; to convolve before enlarging costs a quarter.
    """
    convolution = nn.Conv2d(channels, filters, 3, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2))


def down(channels: int, filters: int) -> nn.Sequential:
    """Half the resolution, normalised slice by slice: one group of all channels is layer normalisation.

    The penalty holds the gradient of each slice's own value; batch normalisation would make a value
    depend on the other slices (Gulrajani 2017, section 4). The first layer is not normalised, so that
    the slice's own intensities come through.
    """
    convolution = nn.Conv2d(channels, filters, 5, stride=2, padding=2)
    norm = nn.Identity() if channels == 1 else nn.GroupNorm(1, filters)
    return nn.Sequential(convolution, norm, nn.LeakyReLU(0.2))


class Generator(nn.Module):
    """Padded slices in [-1, 1] of codes: the encoder's layers the other way round."""

    def __init__(self, rows: int, columns: int, width: int, latent_dim: int) -> None:
        """For slices of rows x columns."""
        super().__init__()
        filters = [4 * width, 4 * width, 4 * width, 2 * width, width]
        low = lowest(rows, columns, width)
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, math.prod(low)),
            nn.Unflatten(1, low),
            nn.BatchNorm2d(low[0]),
            nn.LeakyReLU(0.2),
            *(up(a, b) for a, b in pairwise(filters)),
            nn.Conv2d(width, 1, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, code: Tensor) -> Tensor:
        """Slices (B, 1, R', A') of codes (B, Z)."""
        return self.layers(code).float()  # type: ignore[no-any-return]


class Critic(nn.Module):
    """The generator mirrored: `outputs` numbers of a padded slice, made from its features."""

    def __init__(self, rows: int, columns: int, width: int, outputs: int) -> None:
        """For slices of rows x columns; the encoder has as many outputs as the code is long."""
        super().__init__()
        filters = [1, width, 2 * width, 4 * width, 4 * width]
        self.features = nn.Sequential(*(down(a, b) for a, b in pairwise(filters)), nn.Flatten())
        self.value = nn.Linear(math.prod(lowest(rows, columns, width)), outputs)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, R', A') in [-1, 1] to (B, outputs)."""
        return self.value(self.features(image)).float()  # type: ignore[no-any-return]


def to_range(image: Tensor) -> Tensor:
    """[0, 1] to the [-1, 1] in which all networks work; padded with background, which is -1 there."""
    rows, columns = image.shape[-2:]
    return 2 * functional.pad(image, (0, -columns % 2**HALVINGS, 0, -rows % 2**HALVINGS)) - 1


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Mean of (|gradient of the critic| - 1)^2 between real and made slices (Gulrajani 2017, eq. 3).

    The norm is over all axes but the batch's. All is float32: bf16 rounds off what is to be punished.
    """
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (share * real + (1 - share) * fake).requires_grad_()
    with torch.autocast(real.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm = gradient.flatten(1).norm(dim=1)  # (B, 1, R', A') -> (B,)
    penalty: Tensor = ((norm - 1) ** 2).mean()
    return penalty


def wasserstein_distance(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The critic's estimate of the distance between real and made slices (B, 1, R', A'): a scalar."""
    values: Tensor = critic(torch.cat([real, fake]))
    return values[: len(real)].mean() - values[len(real) :].mean()


def critic_loss(critic: nn.Module, real: Tensor, fake: Tensor, penalty: float) -> Tensor:
    """The critic maximises the distance, with gradients of norm 1 (Gulrajani 2017, algorithm 1)."""
    return penalty * gradient_penalty(critic, real, fake) - wasserstein_distance(critic, real, fake)


def minimise(loss: Tensor, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """One step of the parameters of one module; the other's keep no gradient."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward(inputs=list(module.parameters()))  # type: ignore[no-untyped-call]
    drop_not_finite(module.parameters())
    optimiser.step()


@dataclass(frozen=True)
class Player:
    """A module of a game, how it steps, and what it minimises on healthy slices."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    loss: Callable[[training.Batch, int], Tensor]  # of a batch, in the step of this number


def play(
    players: Mapping[str, Player],
    kept: nn.Module,
    validation_loss: Callable[[Any, training.Batch], Tensor],
    train: Volumes,
    val: Volumes,
    context: Context,
    schedule: training.Schedule,
    name: str,
) -> History:
    """In each step every player in turn takes one step of its own, all on the same random slices.

    `kept` has the modules that will score, on the context's device; it ends in evaluation mode, with the
    weights that `schedule` says by the mean of `validation_loss(kept, batch)`. The loss in the log is
    that of the first player.
    """

    def update(batch: training.Batch, step: int) -> Tensor:
        losses = []
        for player in players.values():
            player.optimiser.param_groups[0]["lr"] = schedule.rate(step)
            with training.autocast(context):
                loss = player.loss(batch, step)
            minimise(loss, player.module, player.optimiser)
            losses.append(loss.detach())
        return losses[0] + 0 * torch.stack(losses).sum()  # not finite where one of them is not

    for player in players.values():
        player.module.train()
    slices = training.Slices(val, context.device) if len(val) else None
    validate = partial(training.mean_loss, validation_loss, kept, slices, context, schedule.batch)
    parts = {key: player.module for key, player in players.items()}
    optimisers = {f"{key}'s optimiser": player.optimiser for key, player in players.items()}
    healthy = training.Slices(train, context.device)
    history = training.loop(update, parts | optimisers, kept, validate, healthy, context, schedule, name)
    kept.eval()
    return history
