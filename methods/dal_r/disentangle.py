"""Stages 0 and 1: learn anatomy and imaging code from healthy slices and from synthetic ones. See card.toml."""

from dataclasses import dataclass

import numpy as np
import torch
from monai.losses.ssim_loss import SSIMLoss
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning.training import Batch, Slices
from uadbench.methods.dal_r import synthesis
from uadbench.methods.dal_r.anatomy import AnatomyEncoder, one_hot, tissue_log_probability
from uadbench.methods.dal_r.decoder import Decoder
from uadbench.methods.dal_r.imaging import ImagingEncoder
from uadbench.methods.dal_r.prior import in_brain
from uadbench.volumes import Volumes

END_TEMPERATURE = 0.5  # of the one-hot operator, from 1 at the beginning of stage 1
END_PRIOR = 0.2  # weight of agreement with the prior, from 1 at the beginning of stage 1; never 0
# Weights of the terms of stage 1 (methods.md, 9.3).
RECONSTRUCTION, STRUCTURE, SYNTHETIC_RECONSTRUCTION, INVARIANCE, SWAP = 10.0, 1.0, 2.0, 1.0, 5.0
CODE_KL, CODE_CYCLE, VARIATION = 1e-4, 0.05, 0.01


class Partners:
    """Finds for slices of a training their partners: other slices of the scan, other contrasts of the person."""

    def __init__(self, volumes: Volumes, device: str) -> None:
        """Of all slices with enough brain."""
        self._slices = Slices(volumes, device)
        which = self._slices.which
        self._row = {(int(volume), int(position)): row for row, (volume, position) in enumerate(which)}
        self._rows = {int(volume): np.flatnonzero(which[:, 0] == volume) for volume in np.unique(which[:, 0])}
        self._others = [
            [i for i, group in enumerate(volumes.groups) if group == own and volumes.contrasts[i] != contrast]
            for own, contrast in zip(volumes.groups, volumes.contrasts, strict=True)
        ]
        self.paired = any(self._others)

    def same_scan(self, which: NDArray[np.int64]) -> Batch:
        """A random slice of the same scan for each (volume, slice)."""
        return self._slices.take(np.array([np.random.choice(self._rows[int(volume)]) for volume, _ in which]))

    def other_contrast(self, which: NDArray[np.int64]) -> tuple[Batch, NDArray[np.bool_]]:
        """The same slice in another contrast of the same person, and for which there is one."""
        rows = []
        for volume, position in which:
            there = [self._row[v, int(position)] for v in self._others[volume] if (v, int(position)) in self._row]
            rows.append(np.random.choice(there) if there else -1)
        chosen = np.array(rows)
        return self._slices.take(chosen.clip(min=0)), chosen >= 0


class Disentangler(nn.Module):
    """E_A, E_I and D."""

    step: Tensor

    def __init__(self, classes: int, width: int, decoder_width: int, with_prior: bool) -> None:
        """Fresh weights."""
        super().__init__()
        self.anatomy = AnatomyEncoder(classes, width, with_prior)
        self.imaging = ImagingEncoder(16)
        self.decoder = Decoder(classes, decoder_width)
        self.register_buffer("step", torch.zeros(()))  # how far the schedules of the losses are


def masked_mean(values: Tensor, brain: Tensor) -> Tensor:
    """Mean over the brain pixels (B, 1, R, A) of values (B, 1, R, A)."""
    return (values * brain).sum() / brain.sum().clamp(min=1)


def prior_loss(logits: Tensor, prior: Tensor, brain: Tensor) -> Tensor:
    """Cross entropy of the tissues for which the classes stand, against the prior (B, 4, R, A)."""
    return masked_mean(-(prior * tissue_log_probability(logits)).sum(1, keepdim=True), brain)


def label_loss(logits: Tensor, labels: Tensor, brain: Tensor) -> Tensor:
    """Cross entropy of classes against labels (B, R, A)."""
    return masked_mean(functional.cross_entropy(logits, labels, reduction="none")[:, None], brain)


def code_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) from N(0, 1), summed over the code, mean over slices."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()


def variation(maps: Tensor) -> Tensor:
    """Mean absolute difference of neighbours."""
    return maps.diff(dim=2).abs().mean() + maps.diff(dim=3).abs().mean()


@dataclass
class Losses:
    """The losses of stages 0 and 1, in the form that `training.train` takes."""

    prior: Tensor  # (S, 4, R, A) on the device
    spacing_mm: float
    classes: int
    one_hot: str
    with_prior: bool
    synthetic_share: float  # synthetic slices for each real one
    ssim_window: int  # 0: no structural term
    steps: int  # of stage 1
    train: Partners
    val: Partners | None

    def at(self, batch: Batch, shift: int = 0) -> Tensor:
        """The prior (B, 4, R, A) of the slices, or of those `shift` away."""
        position = torch.from_numpy(batch.which[:, 1] + shift).clamp(0, len(self.prior) - 1)
        return self.prior[position.to(self.prior.device)]

    def synthetic(self, batch: Batch) -> tuple[synthesis.Synthetic, Tensor]:
        """Synthetic slices near some of the batch's, and the prior as the encoder is to see it."""
        count = max(1, round(self.synthetic_share * len(batch.image)))
        reach = max(1, round(4 / self.spacing_mm))
        part = Batch(batch.image[:count], batch.brain[:count], batch.which[:count])
        drawn = synthesis.draw(
            self.at(part, int(np.random.randint(-reach, reach + 1))), self.classes, self.spacing_mm
        )
        return drawn, in_brain(self.at(part), drawn.brain)

    def warm_up(self, network: AnatomyEncoder, batch: Batch) -> Tensor:
        """Stage 0: 3 CE(l, P) + L_syn, so that classes mean tissues before any image is to be explained."""
        brain = batch.brain.float()
        prior = in_brain(self.at(batch), brain)
        drawn, seen = self.synthetic(batch)
        loss = label_loss(network(drawn.image, drawn.brain, seen), drawn.labels, drawn.brain)
        if self.with_prior:
            loss = loss + 3 * prior_loss(network(batch.image, brain, prior), prior, brain)
        return loss

    def disentangle(self, network: Disentangler, batch: Batch) -> Tensor:
        """Stage 1: anatomy that no contrast change moves, and codes that bring each contrast back."""
        done = float(network.step / max(1, self.steps)) if network.training else 1.0
        if network.training:
            network.step += 1
        temperature = 1 - (1 - END_TEMPERATURE) * done
        image, brain = batch.image, batch.brain.float()
        count = len(image)
        prior = in_brain(self.at(batch), brain)
        drawn, drawn_prior = self.synthetic(batch)
        changed = synthesis.other_contrast(image, brain, self.spacing_mm)
        partners = self.train if network.training or self.val is None else self.val
        images, brains, priors = [image, changed], [brain, brain], [prior, prior]
        pair, there = partners.other_contrast(batch.which) if partners.paired else (None, np.zeros(count, bool))
        kept = torch.from_numpy(np.flatnonzero(there)).to(image.device)
        if pair is not None and there.any():
            images.append(pair.image[kept])
            brains.append(brain[kept])
            priors.append(prior[kept])
        parts = [len(i) for i in images] + [len(drawn.image)]
        logits = network.anatomy(
            torch.cat([*images, drawn.image]), torch.cat([*brains, drawn.brain]), torch.cat([*priors, drawn_prior])
        )
        seen, moved, *paired, synthetic = logits.split(parts)
        loss = label_loss(synthetic, drawn.labels, drawn.brain)
        if self.with_prior:
            loss = loss + (1 - (1 - END_PRIOR) * done) * prior_loss(seen, prior, brain)
        stay = functional.softmax(seen, 1).detach()
        divergence = functional.kl_div(functional.log_softmax(moved, 1), stay, reduction="none")
        loss = loss + INVARIANCE * masked_mean(divergence.sum(1, keepdim=True), brain)
        loss = loss + VARIATION * variation(functional.softmax(seen / temperature, 1))

        anatomy = one_hot(seen, self.one_hot, temperature, network.training)
        drawn_anatomy = one_hot(synthetic, self.one_hot, temperature, network.training)
        # The code is the scan's, not the slice's: half of the time it is read from another slice.
        mate = partners.same_scan(batch.which)
        own = torch.rand(count, 1, 1, 1, device=image.device) < 0.5
        sources = torch.where(own, image, mate.image), torch.where(own, brain, mate.brain.float())
        mean, log_variance = network.imaging(
            torch.cat([sources[0], *images[1:], drawn.image]), torch.cat([sources[1], *brains[1:], drawn.brain])
        )
        loss = loss + CODE_KL * code_kl(mean, log_variance)
        noise = torch.randn_like(mean) if network.training else torch.zeros_like(mean)
        code = mean + (0.5 * log_variance).exp() * noise
        anatomies = [anatomy, anatomy, *[anatomy[kept] for _ in paired]]
        wanted, inside = torch.cat([*images, drawn.image]), torch.cat([*brains, drawn.brain])
        made = network.decoder(torch.cat([*anatomies, drawn_anatomy]), code, wanted, inside)
        weights = [RECONSTRUCTION, SWAP, *[SWAP for _ in paired], SYNTHETIC_RECONSTRUCTION]
        errors = zip(weights, made.split(parts), wanted.split(parts), inside.split(parts), strict=True)
        loss = loss + sum(w * masked_mean((x - y).abs(), m) for w, x, y, m in errors)
        if self.ssim_window:
            structure = SSIMLoss(2, data_range=1.0, win_size=self.ssim_window)
            loss = loss + STRUCTURE * structure(made[:count], image)
        for other in paired:
            loss = loss + label_loss(other, seen[kept].argmax(1), brain[kept])
        return loss + CODE_CYCLE * self._cycle(network, anatomy, code[:count].detach(), image, brain)

    def _cycle(
        self, network: Disentangler, anatomy: Tensor, code: Tensor, image: Tensor, brain: Tensor
    ) -> Tensor:
        """|theta(D(a, theta')) - theta'| for the codes of other scans in the batch."""
        swapped = code.roll(1, 0)
        made = network.decoder(anatomy.detach(), swapped, image, brain)
        return (network.imaging(made, brain)[0] - swapped).abs().mean()
