"""Latent: the base of methods that learn in the latents of an auto-encoder what healthy slices look like.

There are two trainings, each with a checkpoint of its own. Methods with the same options of the auto-encoder
and the same seed share one auto-encoder, which is trained once, whatever is then learned in its latents.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import scores, training
from uadbench.learning.autoencoder_kl import (
    Autoencoder,
    LatentNetwork,
    autoencoder_loss,
    channels_of,
    latent_brain,
)
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, Score, Shared, State, fit_option, score_option
from uadbench.system.ranges import Count, Decay, Depth, Every, Multiples, Rate, Size, Steps, Weight, Width

OWN = "own"  # the score of a method's paper

Packed = training.Slices | Volumes  # validation volumes may be none at all


@dataclass
class LatentMethod(NetworkReconstruction):
    """A method that learns what healthy latents look like, and decodes what it makes of a slice's."""

    grid: str = fit_option("g192", "model grid; REFLECT and MAD-AD: 256 x 256 slices")
    autoencoder_width: Width = fit_option(
        128, "channels of the auto-encoder's first level; Rombach 2022's f8"
    )
    autoencoder_multiples: Multiples = fit_option(
        "1-2-4-4", "its channels by width, level by level, each after the first half as fine; Rombach 2022"
    )
    autoencoder_blocks: Depth = fit_option(2, "its residual blocks at each level; Rombach 2022")
    autoencoder_fold: Depth = fit_option(
        1, "make blocks of so many pixels squared its channels, for CPUs; 1: none, as published"
    )
    latent_channels: Size = fit_option(4, "numbers of a latent; Rombach 2022's f8")
    kl_weight: Weight = fit_option(1e-6, "of the latents' KL against L1, both summed; Rombach 2022")
    autoencoder_steps: Steps = fit_option(100_000, "training steps of the auto-encoder; this suite's choice")
    autoencoder_batch: Size = fit_option(16, "slices of each of these steps; this suite's choice")
    autoencoder_learning_rate: Rate = fit_option(1e-4, "of Adam in these steps; this suite's choice")
    width: Width = fit_option(192, "channels of the first level of the network in the latents; REFLECT")
    multiples: Multiples = fit_option("1-2-4", "channels of each of its levels by width; REFLECT and MAD-AD")
    res_blocks: Depth = fit_option(2, "residual blocks of each of its levels; REFLECT and MAD-AD")
    attention: Count = fit_option(
        3, "how many of its lowest levels have attention beside the bottom; REFLECT and MAD-AD: all"
    )
    head_channels: Size = fit_option(32, "channels of an attention head; this suite's choice")
    groups: Size = fit_option(32, "groups of group normalisation in both networks; MONAI's default")
    steps: Steps = fit_option(40_000, "training steps in the latents; this suite's choice")
    batch: Size = fit_option(96, "slices of each of these steps; REFLECT and MAD-AD")
    learning_rate: Rate = fit_option(1e-4, "of AdamW in these steps; REFLECT")
    weight_decay: Weight = fit_option(1e-4, "of AdamW in these steps; REFLECT and MAD-AD")
    cosine: bool = fit_option(
        True, "let the learning rates fall to 0 along half a cosine; this suite's choice"
    )
    ema: Decay = fit_option(0.0, "decay of the averaged weights in the latents; 0: none")
    validate_every: Every = fit_option(1000, "steps between validations; this suite's choice")
    score_kind: str = score_option(
        "own", "own: that of the paper; else a residual that all tables share", (OWN, *scores.KINDS)
    )
    score_batch: Size = score_option(16, "slices that pass a network at once")

    @abstractmethod
    def latent_loss(self, network: Any, latent: Tensor, brain: Tensor) -> Tensor:
        """What is minimised over healthy latents (B, C, r, a); `brain` (B, 1, r, a) says where they lie."""

    @abstractmethod
    def heal(self, latent: Tensor) -> Tensor:
        """The pseudo-healthy version of scaled latents (N, C, r, a)."""

    @abstractmethod
    def own_score(self, latent: Tensor, healed: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """The paper's score (N, 1, R, A) from latents (N, C, r, a) and healed ones, and both decoded.

        `before` and `after` are slices (N, 1, R, A) in [-1, 1].
        """

    def check(self) -> None:
        """Refuse groups of one channel: their normalisation takes out what tells the network the time."""
        super().check()
        if min(channels_of(self.width, self.multiples)) < 2 * self.groups:
            raise ValueError("width and multiples have to leave two channels or more for each of the groups")

    def outputs(self) -> int:
        """Channels of the answers of the network in the latents."""
        return self.latent_channels

    def build_autoencoder(self) -> Autoencoder:
        """The auto-encoder with fresh weights."""
        return Autoencoder(**self.autoencoder_options())

    def autoencoder_options(self) -> dict[str, Any]:
        """What decides the auto-encoder's shape."""
        return {
            "width": self.autoencoder_width,
            "multiples": self.autoencoder_multiples,
            "blocks": self.autoencoder_blocks,
            "latent_channels": self.latent_channels,
            "groups": self.groups,
            "fold": self.autoencoder_fold,
        }

    def autoencoder_schedule(self) -> training.Schedule:
        """How the auto-encoder is trained."""
        return training.Schedule.of(
            self,
            steps=self.autoencoder_steps,
            batch=self.autoencoder_batch,
            learning_rate=self.autoencoder_learning_rate,
            weight_decay=0.0,
            ema=0.0,
            warm_up=0,
        )

    def build_latent(self) -> LatentNetwork:
        """The network in the latents with fresh weights."""
        channels = channels_of(self.width, self.multiples)
        return LatentNetwork(
            self.latent_channels,
            self.outputs(),
            channels,
            num_res_blocks=self.res_blocks,
            attention_levels=[level >= len(channels) - self.attention for level in range(len(channels))],
            num_head_channels=self.head_channels,
            norm_num_groups=self.groups,
        )

    def build(self) -> nn.ModuleDict:
        """Both networks with fresh weights."""
        return nn.ModuleDict({"autoencoder": self.build_autoencoder(), "latent": self.build_latent()})

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Train the auto-encoder, then, with that frozen, the network in its latents."""
        self.device_ = context.device
        slices = training.Slices(train, context.device)
        healthy: Packed = training.Slices(val, context.device) if len(val) else val
        autoencoder = self.share_autoencoder(slices, healthy, context)
        self.network_ = nn.ModuleDict({"autoencoder": autoencoder, "latent": self.build_latent()})
        self.fit_latent(slices, healthy, context)
        self.network_.eval()
        return self

    def share_autoencoder(self, slices: training.Slices, healthy: Packed, context: Context) -> Autoencoder:
        """The auto-encoder, frozen, which every method with the same options has in common."""

        def load(learned: State) -> Autoencoder:
            autoencoder = self.build_autoencoder()
            training.load_weights(autoencoder, learned, context.device)
            return autoencoder

        options = self.autoencoder_options() | asdict(replace(self.autoencoder_schedule(), checkpoint_s=0))
        options["kl_weight"] = self.kl_weight
        stage = Shared("autoencoder", __name__, options, training.weights, load)
        autoencoder = context.share(stage, lambda inside: self.fit_autoencoder(slices, healthy, inside))
        return autoencoder.requires_grad_(False)  # type: ignore[no-any-return]

    def fit_autoencoder(self, slices: training.Slices, healthy: Packed, context: Context) -> Autoencoder:
        """The first training: the auto-encoder, with the scale of its latents."""

        def loss(network: Any, batch: training.Batch) -> Tensor:
            return autoencoder_loss(network, 2 * batch.image - 1, self.kl_weight)

        autoencoder, schedule = self.build_autoencoder(), self.autoencoder_schedule()
        training.train(autoencoder, loss, slices, healthy, context, schedule, "autoencoder")
        autoencoder.set_scale(slices, self.autoencoder_batch)
        return autoencoder

    def fit_latent(self, slices: training.Slices, healthy: Packed, context: Context) -> None:
        """The second training."""
        self.train_latent(self.latent_loss, slices, healthy, context, "latent")

    def train_latent(
        self,
        loss: Callable[[Any, Tensor, Tensor], Tensor],
        slices: training.Slices,
        healthy: Packed,
        context: Context,
        name: str,
        **changes: Any,
    ) -> None:
        """Minimise a loss of latents and brains; `changes` are of the schedule that the options say."""
        autoencoder = self.network_["autoencoder"]

        def of_batch(network: Any, batch: training.Batch) -> Tensor:
            with torch.no_grad():
                mean, deviation = autoencoder.posterior(2 * batch.image - 1)
                noise = torch.randn_like(mean) if network.training else torch.zeros_like(mean)
                latent = (mean + deviation * noise) * autoencoder.scale
            return loss(network, latent, latent_brain(batch.brain, autoencoder.factor))

        schedule = training.Schedule.of(self, **changes)
        training.train(self.network_["latent"], of_batch, slices, healthy, context, schedule, name)

    def ask(self, latent: Tensor, time: float) -> Tensor:
        """What the network says of latents (N, C, r, a) that are all at one time of 0 ... 999."""
        network = self.network_["latent"]
        return self.in_parts(lambda part: network(part, part.new_full((len(part),), time)), latent)

    def in_parts(self, network: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
        """A network's answers to values (N, ...), `score_batch` of them at a time."""
        return torch.cat([network(part) for part in torch.split(values, self.score_batch)])

    def encode(self, image: Tensor) -> Tensor:
        """Latents (N, C, r, a) of slices (N, 1, R, A) in [-1, 1]."""
        return self.in_parts(self.network_["autoencoder"].encode, image)

    def decode(self, latent: Tensor, rows: int, columns: int) -> Tensor:
        """Slices (N, 1, rows, columns) in [-1, 1] of latents."""
        decode = self.network_["autoencoder"].decode
        return self.in_parts(lambda part: decode(part, rows, columns), latent)

    def restore(self, image: Tensor) -> Tensor:
        """The pseudo-healthy version of slices (N, 1, R, A), both in [-1, 1]."""
        return self.decode(self.heal(self.encode(image)), *image.shape[-2:])

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """The restored axial slices (C, R, A, S) in [0, 1]; noise is drawn for all at once."""
        return training.reconstruct(
            lambda image: (self.restore(2 * image - 1) + 1) / 2, volume, self.device_, volume.brain.shape[-1]
        )

    def score(self, volume: Volume) -> Score:
        """The method's own score, or one of the residuals that all tables share."""
        if self.score_kind in scores.KINDS:
            return super().score(volume)

        def ask(pair: Tensor) -> Tensor:
            image = 2 * pair[:, :1] - 1
            latent = self.encode(image)
            healed = self.heal(latent)
            before, after = (self.decode(one, *image.shape[-2:]) for one in (latent, healed))
            return torch.cat([self.own_score(latent, healed, before, after), (after + 1) / 2], 1)

        twice = replace(volume, image=volume.image[[0, 0]])  # as many channels as the answer has
        found = training.reconstruct(ask, twice, self.device_, volume.brain.shape[-1])
        return Score(found[0], found[1:])
