"""my_method: a network that restores healthy slices; what it cannot restore is anomalous. See card.toml."""

from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Self

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.methods import Context, Method, Score, State, fit_option
from uadbench.system.ranges import Rate, Size, Steps, Width


class Network(nn.Module):
    """Compresses a slice (B, 1, R, A) of any size to a code of 8 x 4 x 4 numbers and restores it."""

    def __init__(self, width: int) -> None:
        """With `width`, then 2 and 4 times as many filters."""
        super().__init__()
        filters = [1, width, 2 * width, 4 * width]
        halve = [(nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU()) for a, b in pairwise(filters)]
        double = [(nn.LeakyReLU(), nn.ConvTranspose2d(b, a, 4, 2, 1)) for a, b in pairwise(filters)]
        self.encoder = nn.Sequential(*chain(*halve), nn.AdaptiveAvgPool2d(4), nn.Conv2d(filters[-1], 8, 1))
        self.decoder = nn.Sequential(nn.Conv2d(8, filters[-1], 1), *chain(*reversed(double)))

    def forward(self, image: Tensor) -> Tensor:
        """Restored slices (B, 1, R, A)."""
        restored = self.decoder(self.encoder(image))  # (B, 1, 32, 32)
        return functional.interpolate(restored, image.shape[-2:], mode="bilinear")


@dataclass
class Restoration(Method):
    """Learns to compress and restore healthy slices."""

    # The fields are the options (`--set steps=500`), each with its range; what is learned ends in `_`.
    width: Width = fit_option(32, "filters of the first layer")
    steps: Steps = fit_option(20_000, "training steps")
    batch: Size = fit_option(32, "slices per step")
    learning_rate: Rate = fit_option(1e-3, "of Adam")

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Minimise the absolute error on healthy slices; the weights of the best validation are kept."""

        def loss(network: nn.Module, batch: training.Batch) -> Tensor:
            return functional.l1_loss(network(batch.image), batch.image)  # 0 outside the brain, in and out

        self.network_, self.device_ = Network(self.width), context.device
        schedule = training.Schedule(self.steps, self.batch, self.learning_rate, cosine=True)
        training.train(self.network_, loss, train, val, context, schedule)
        return self

    def score(self, volume: Volume) -> Score:
        """How far each voxel is from its restoration; called right after `fit`, or after `load_state`."""
        restored = training.reconstruct(self.network_, volume, self.device_)  # (1, R, A, S), 0 outside
        return Score(np.abs(volume.image - restored)[0], restored)

    def state(self) -> State:
        """What was learned, as arrays by name."""
        return training.weights(self.network_)

    def load_state(self, state: State, context: Context) -> Self:
        """Take up what an earlier `fit` learned."""
        self.network_, self.device_ = Network(self.width), context.device
        training.load_weights(self.network_, state, context.device)
        return self


ENTRY = Restoration
