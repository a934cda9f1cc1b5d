"""Memory-augmented auto-encoder of axial slices (Gong et al. 2019). See card.toml."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning.autoencoder import decoder_layers, encoder_layers, padded
from uadbench.learning.reconstruction import LossMethod, NetworkReconstruction
from uadbench.learning.training import Batch
from uadbench.methods import fit_option
from uadbench.system.ranges import Count, Every, Rate, Share, Size, Steps, Weight, Width

EPSILON = 1e-12  # where a denominator or a logarithm could be that of 0


def shrink(weights: Tensor, threshold: float) -> Tensor:
    """Addresses (..., N) of which only what is above `threshold` remains, with sum 1 again.

    max(w - threshold, 0) w / (|w - threshold| + epsilon), divided by the sum if any is left (Gong, eq. 7).
    """
    excess = weights - threshold
    kept = excess.relu() * weights / (excess.abs() + EPSILON)
    return functional.normalize(kept, p=1, dim=-1, eps=EPSILON)


def address(queries: Tensor, items: Tensor, threshold: float) -> Tensor:
    """How much of each item (N, C) answers a query (..., C): (..., N), at least 0 and with sum 1.

    Softmax over items of the cosine between query and item (Gong 2019, eqs. 4 and 5), then hard shrinkage.
    """
    cosines = functional.normalize(queries, dim=-1) @ functional.normalize(items, dim=-1).T
    return shrink(cosines.softmax(-1), threshold)


def entropy(weights: Tensor) -> Tensor:
    """-sum of w log w over the items of addresses (..., N): (...), in nats (Gong 2019, eq. 9)."""
    return -(weights * (weights + EPSILON).log()).sum(-1)


class Memory(nn.Module):
    """Items that are learned; what leaves it is a mixture of few of them."""

    def __init__(self, items: int, channels: int, threshold: float) -> None:
        """`items` vectors of `channels` numbers."""
        super().__init__()
        self.threshold = threshold
        self.items = nn.Parameter(torch.empty(items, channels).uniform_(-1, 1) / channels**0.5)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Recalled features (B, C, r, a) of features (B, C, r, a), and addresses (B, r, a, N).

        Always in float32: most weights are near the threshold, where bf16 has steps of half a percent.
        """
        with torch.autocast(features.device.type, enabled=False):
            queries = features.float().movedim(1, -1)  # (B, r, a, C)
            weights = address(queries, self.items, self.threshold)
            return (weights @ self.items).movedim(-1, 1), weights


class MemoryAutoencoder(nn.Module):
    """An auto-encoder whose decoder sees what the memory recalls of the code, and never the code."""

    def __init__(self, width: int, channels: int, items: int, threshold: float) -> None:
        """With `channels` numbers in the query at each place of the narrowest map."""
        super().__init__()
        self.encoder = nn.Sequential(*encoder_layers(width)[:-1], nn.Conv2d(4 * width, channels, 1))
        self.memory = Memory(items, channels, threshold)
        self.decoder = nn.Sequential(nn.Conv2d(channels, 4 * width, 1), *decoder_layers(width)[1:])

    def recall(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructions (B, 1, R, A) of slices (B, 1, R, A), and addresses (B, R / 16, A / 16, N)."""
        rows, columns = image.shape[-2:]
        recalled, weights = self.memory(self.encoder(padded(image)))
        return self.decoder(recalled)[..., :rows, :columns].float(), weights

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructions (B, 1, R, A) of slices (B, 1, R, A)."""
        return self.recall(image)[0]


@dataclass
class MemAE(LossMethod, NetworkReconstruction):
    """Learns a memory of healthy codes; what cannot be restored from few items of it is anomalous."""

    grid: str = fit_option("g128", "model grid; this suite's choice: 128 x 128 slices")
    width: Width = fit_option(32, "filters of the first layer; then 2, 4 and 4 times as many (Baur 2021)")
    latent_dim: Size = fit_option(64, "channels of a query, one for each 16 x 16 pixels; this suite's choice")
    items: Size = fit_option(500, "items of the memory; this suite's choice; Gong 2019: 2,000 for videos")
    shrinkage: Share = fit_option(0.0025, "less is not recalled of an item; Gong 2019: 1 to 3 / `items`")
    entropy_weight: Weight = fit_option(2e-4, "weight of the entropy of the addresses; Gong 2019")
    steps: Steps = fit_option(20_000, "training steps; this suite's choice")
    batch: Size = fit_option(64, "slices per step; MedIAnomaly's configuration for brain MRI")
    learning_rate: Rate = fit_option(1e-3, "of Adam; MedIAnomaly's configuration for brain MRI")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    validate_every: Every = fit_option(500, "steps between validations; the best weights are kept")
    patience: Count = fit_option(0, "validations without a new best before training ends; 0: never")

    def build(self) -> MemoryAutoencoder:
        """The network with fresh weights."""
        return MemoryAutoencoder(self.width, self.latent_dim, self.items, self.shrinkage)

    def training_loss(self, network: MemoryAutoencoder, batch: Batch) -> Tensor:
        """Mean squared error + weight x mean entropy of an address (Gong 2019, eq. 10)."""
        decoded, weights = network.recall(batch.image)
        return functional.mse_loss(decoded, batch.image) + self.entropy_weight * entropy(weights).mean()


ENTRY = MemAE
