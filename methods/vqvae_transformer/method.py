"""Vector-quantised auto-encoder and transformers over its codes (Pinaya et al. 2022). See card.toml."""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import scores, training
from uadbench.learning.autoencoder_kl import smoothed
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.methods import Context, Score, fit_option, score_option
from uadbench.methods.vqvae_transformer.networks import Codes, CodeTransformer, codes_shape
from uadbench.system.errors import UserError
from uadbench.system.ranges import Decay, Depth, Every, Percentile, Rate, Size, Smoothing, Steps, Width

OWN = "own"  # the score of the paper


@dataclass
class VQVAETransformer(NetworkReconstruction):
    """Learns which code follows which in healthy slices; codes that are not expected are replaced."""

    grid: str = fit_option("g128", "model grid; Pinaya 2022 on other slices; this suite's choice")
    width: Width = fit_option(256, "channels of the auto-encoder; GenAI_UAD")
    halvings: Depth = fit_option(2, "of the resolution by the auto-encoder; GenAI_UAD")
    res_layers: Depth = fit_option(2, "residual layers after each of them; this suite's choice")
    codes: Size = fit_option(16, "in the codebook; GenAI_UAD")
    code_length: Size = fit_option(64, "numbers of a code; GenAI_UAD")
    decay: Decay = fit_option(0.99, "of the averages that the codes are; van den Oord 2017")
    autoencoder_steps: Steps = fit_option(50_000, "training steps of the auto-encoder; this suite's choice")
    autoencoder_learning_rate: Rate = fit_option(1e-4, "of Adam in these steps; GenAI_UAD")
    orders: Size = fit_option(8, "transformers, each of which reads a slice in an order of its own, 1 to 8")
    attention_width: Width = fit_option(128, "features of a transformer; GenAI_UAD")
    layers: Depth = fit_option(16, "of a transformer; GenAI_UAD")
    heads: Depth = fit_option(16, "of its attention; GenAI_UAD")
    steps: Steps = fit_option(50_000, "training steps of each transformer; this suite's choice")
    learning_rate: Rate = fit_option(5e-4, "of Adam in these steps; GenAI_UAD")
    batch: Size = fit_option(16, "slices per step; GenAI_UAD")
    cosine: bool = fit_option(True, "let the learning rates fall to 0 along half a cosine")
    validate_every: Every = fit_option(1000, "steps between validations; this suite's choice")
    percentile: Percentile = fit_option(
        3.0, "of the log likelihoods of healthy validation codes: what is below is replaced; GenAI_UAD"
    )
    rounds: Size = score_option(3, "of replacing unlikely codes; this suite's choice")
    blur: Smoothing = score_option(1.0, "deviation in codes of the mask's Gaussian; this suite's choice")
    score_kind: str = score_option(
        "own", "own: residual times mask; else a residual that all tables share", (OWN, *scores.KINDS)
    )
    score_batch: Size = score_option(16, "slices that pass a network at once")

    def check(self) -> None:
        """Refuse more orders than there are."""
        if self.orders > 8:
            raise ValueError("a slice can be read in 8 orders: flipped along both axes, and transposed")
        super().check()

    def build(self) -> nn.ModuleDict:
        """All networks with fresh weights, and the threshold of the likelihood."""
        return nn.ModuleDict({"codes": self.build_codes(), "transformers": self.build_transformers()})

    def build_codes(self) -> Codes:
        """The auto-encoder with fresh weights."""
        size = (self.width, self.halvings, self.res_layers)
        return Codes(*size, self.codes, self.code_length, self.decay)

    def build_transformers(self) -> nn.ModuleList:
        """The transformers with fresh weights."""
        rows, columns = codes_shape(*space.find_grid(self.grid).shape[:2], self.halvings)
        size = (self.attention_width, self.layers, self.heads)
        return nn.ModuleList(
            CodeTransformer(rows, columns, order, self.codes, *size) for order in range(self.orders)
        )

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Train the auto-encoder, then each transformer on its codes, then find the threshold."""
        if not len(val):
            raise UserError("vqvae_transformer finds its threshold on healthy validation volumes.")
        self.device_ = context.device
        slices, healthy = (training.Slices(one, context.device) for one in (train, val))
        self.network_ = self.build()
        schedule = training.Schedule.of(self)
        first = replace(schedule, steps=self.autoencoder_steps, learning_rate=self.autoencoder_learning_rate)
        codes = self.network_["codes"].to(context.device)
        codes.start(slices.take(slices.spread(self.batch)))
        training.train(codes, Codes.loss, slices, healthy, context, first, "codes")
        codes.requires_grad_(False)

        def loss(network: Any, batch: training.Batch) -> Tensor:
            wanted: Tensor = network.loss(codes.read(batch.image))
            return wanted

        for order, transformer in enumerate(self.network_["transformers"]):
            training.train(transformer, loss, slices, healthy, context, schedule, f"transformer-{order}")
        self.network_.eval()
        codes.threshold.copy_(self.find_threshold(healthy))
        return self

    @torch.no_grad()
    def find_threshold(self, healthy: training.Slices) -> Tensor:
        """The percentile of the log likelihoods of the codes of a spread of healthy slices."""
        rows, found = healthy.spread(training.VALIDATION_SLICES), []
        with training.repeatable(tf32=False):
            for start in range(0, len(rows), self.score_batch):
                codes = self.network_["codes"].read(
                    healthy.take(rows[start : start + self.score_batch]).image
                )
                found.append(likelihood(self.log_probabilities(codes), codes).flatten())
        return torch.cat(found).quantile(self.percentile / 100)

    def log_probabilities(self, codes: Tensor) -> Tensor:
        """What the transformers expect at each place of codes (N, r, a), on average: (N, K, r, a)."""
        expected: Any = sum(one.log_probabilities(codes) for one in self.network_["transformers"])
        average: Tensor = expected / self.orders
        return average

    def heal(self, codes: Tensor) -> Tensor:
        """Codes (N, r, a) of which those below the threshold were replaced by the likeliest, in rounds."""
        for _ in range(self.rounds):
            expected = self.log_probabilities(codes)
            unlikely = likelihood(expected, codes) < self.network_["codes"].threshold
            codes = torch.where(unlikely, expected.argmax(1), codes)
        return codes

    def restore(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Pseudo-healthy slices of slices (N, 1, R, A), both in [0, 1], and where codes were replaced."""
        network, healed, masks = self.network_["codes"], [], []
        for part in torch.split(image, self.score_batch):
            codes = network.read(part)
            other = self.heal(codes)
            changed = smoothed((other != codes)[:, None].float(), self.blur)
            mask = functional.interpolate(changed, scale_factor=2**self.halvings, mode="bilinear")
            healed.append(network.write(other, *part.shape[-2:]))
            masks.append(mask[..., : part.shape[-2], : part.shape[-1]])
        return torch.cat(healed), torch.cat(masks)

    def reconstruct(self, volume: Volume) -> Any:
        """The restored axial slices (C, R, A, S) in [0, 1]."""
        return training.reconstruct(lambda image: self.restore(image)[0], volume, self.device_)

    def score(self, volume: Volume) -> Score:
        """Absolute residual where codes were replaced, with soft edges; or one that all tables share."""
        if self.score_kind != OWN:
            return super().score(volume)

        def ask(pair: Tensor) -> Tensor:
            healed, mask = self.restore(pair[:, :1])
            return torch.cat([(pair[:, :1] - healed).abs() * mask, healed], 1)

        found = training.reconstruct(ask, replace(volume, image=volume.image[[0, 0]]), self.device_)
        return Score(found[0], found[1:])


def likelihood(expected: Tensor, codes: Tensor) -> Tensor:
    """Log likelihood (N, r, a) of codes, by log probabilities (N, K, r, a)."""
    return expected.gather(1, codes[:, None])[:, 0]


ENTRY = VQVAETransformer
