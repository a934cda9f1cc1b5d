"""Stages 0 and 1: learn anatomy and imaging code, from healthy and synthetic slices. See card.toml."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning.autoencoder import draw_code, kl_divergence
from uadbench.learning.device import send
from uadbench.learning.similarity import ssim
from uadbench.learning.tissues import in_brain
from uadbench.learning.training import Batch, Slices
from uadbench.methods.dal_r.anatomy import AnatomyEncoder, one_hot, tissue_log_probability
from uadbench.methods.dal_r.decoder import Decoder
from uadbench.methods.dal_r.imaging import ImagingEncoder
from uadbench.methods.dal_r.synthesis import Synthetic, draw_slices, other_contrast

END_TEMPERATURE = 0.5  # of the one-hot operator, from 1 at the beginning of stage 1
FIRST_PRIOR, LAST_PRIOR = 0.25, 0.05  # weight of agreement with the prior; falls in stage 1, never to 0
# Weights of the terms of stage 1, our choice; the first are those of the reconstructions of the four views.
WEIGHTS = (10.0, 5.0, 5.0, 2.0)
STRUCTURE, INVARIANCE, PAIRED, CODE_KL, CODE_CYCLE, VARIATION = 1.0, 1.0, 1.0, 1e-4, 0.05, 0.01


class Partners:
    """Finds the partners of slices: other slices of the scan, other contrasts of the subject."""

    def __init__(self, slices: Slices) -> None:
        """Of all slices with enough brain."""
        self._slices, which, volumes = slices, slices.which, slices.volumes
        self._rows = {int(volume): np.flatnonzero(which[:, 0] == volume) for volume in np.unique(which[:, 0])}
        self._others = [
            [i for i, group in enumerate(volumes.groups) if group == own and volumes.contrasts[i] != contrast]
            for own, contrast in zip(volumes.groups, volumes.contrasts, strict=True)
        ]

    def same_scan(self, which: NDArray[np.int64]) -> Batch:
        """A random slice of the same scan for each (volume, slice)."""
        return self._slices.take(np.array([np.random.choice(self._rows[int(volume)]) for volume, _ in which]))

    def other_contrast(self, which: NDArray[np.int64]) -> tuple[Batch, NDArray[np.bool_]]:
        """The same slice in another contrast of the same subject, and for which there is one."""
        rows = []
        for volume, position in which:
            there = [row for row in self._slices.row[self._others[volume], position] if row >= 0]
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


def variation(maps: Tensor) -> Tensor:
    """Mean absolute difference of neighbours."""
    return maps.diff(dim=2).abs().mean() + maps.diff(dim=3).abs().mean()


@dataclass(frozen=True)
class Views:
    """What one step looks at, one part after the other (N = sum of `parts`).

    The slices; the same in a made-up contrast; in another real contrast, of those slices `rows` for which
    there is one; and synthetic slices.
    """

    image: Tensor  # (N, 1, R, A)
    brain: Tensor  # (N, 1, R, A)
    prior: Tensor  # (N, 4, R, A)
    source: Tensor  # (N, 1, R, A): images from which the codes are read
    source_brain: Tensor  # (N, 1, R, A)
    parts: tuple[int, int, int, int]
    rows: Tensor  # (parts[2],)
    labels: Tensor  # (parts[3], R, A): of the synthetic slices

    def split(self, maps: Tensor) -> tuple[Tensor, ...]:
        """The four parts of something that has N rows."""
        return torch.split(maps, list(self.parts))


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
        return self.prior[send(position, self.prior.device)]

    def synthetic(self, batch: Batch) -> tuple[Synthetic, Tensor]:
        """Synthetic slices near some of the batch's, and the prior as the encoder is to see it."""
        count = max(1, round(self.synthetic_share * len(batch.image)))
        reach = max(1, round(4 / self.spacing_mm))
        part = Batch(batch.image[:count], batch.brain[:count], batch.which[:count])
        drawn = draw_slices(
            self.at(part, int(np.random.randint(-reach, reach + 1))), self.classes, self.spacing_mm
        )
        return drawn, in_brain(self.at(part), drawn.brain)

    def warm_up(self, network: AnatomyEncoder, batch: Batch) -> Tensor:
        """Stage 0: CE(l, P) and L_syn, so that classes mean tissues before any image is to be explained."""
        brain = batch.brain.float()
        prior = in_brain(self.at(batch), brain)
        drawn, seen = self.synthetic(batch)
        loss = label_loss(network(drawn.image, drawn.brain, seen), drawn.labels, drawn.brain)
        if self.with_prior:
            loss = loss + FIRST_PRIOR * prior_loss(network(batch.image, brain, prior), prior, brain)
        return loss

    def disentangle(self, network: Disentangler, batch: Batch) -> Tensor:
        """Stage 1: anatomy that no contrast change moves, and codes that bring each contrast back."""
        done = network.step / max(1, self.steps) if network.training else 1.0
        if network.training:
            network.step += 1
        views = self.views(batch, self.train if network.training or self.val is None else self.val)
        logits = network.anatomy(views.image, views.brain, views.prior)
        temperature = 1 - (1 - END_TEMPERATURE) * done
        anatomy = one_hot(logits, self.one_hot, temperature, network.training)
        loss = self.anatomy_loss(logits, views, temperature, FIRST_PRIOR + (LAST_PRIOR - FIRST_PRIOR) * done)
        return loss + self.imaging_loss(network, anatomy, views)

    def views(self, batch: Batch, partners: Partners) -> Views:
        """The batch and all that is compared with it."""
        image, brain = batch.image, batch.brain.float()
        prior = in_brain(self.at(batch), brain)
        drawn, drawn_prior = self.synthetic(batch)
        images, brains = [image, other_contrast(image, brain, self.spacing_mm)], [brain, brain]
        pair, there = partners.other_contrast(batch.which)
        rows = send(torch.from_numpy(np.flatnonzero(there)), image.device)
        images.append(pair.image[rows])
        brains.append((batch.brain & pair.brain)[rows].float())
        priors = [prior, prior, prior[rows]]
        # The code is the scan's, not the slice's: half of the time it is read from another slice.
        mate = partners.same_scan(batch.which)
        own = torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5
        first = torch.where(own, image, mate.image), torch.where(own, brain, mate.brain.float())
        return Views(
            torch.cat([*images, drawn.image]),
            torch.cat([*brains, drawn.brain]),
            torch.cat([*priors, drawn_prior]),
            torch.cat([first[0], *images[1:], drawn.image]),
            torch.cat([first[1], *brains[1:], drawn.brain]),
            (len(image), len(image), len(rows), len(drawn.image)),
            rows,
            drawn.labels,
        )

    def anatomy_loss(
        self, logits: Tensor, views: Views, temperature: Tensor | float, prior_weight: Tensor | float
    ) -> Tensor:
        """Labels of the synthetic slices; prior, smoothness and invariance of the real ones."""
        brain, _, pair_brain, drawn_brain = views.split(views.brain)
        seen, moved, paired, drawn = views.split(logits)
        loss = label_loss(drawn, views.labels, drawn_brain)
        if self.with_prior:
            loss = loss + prior_weight * prior_loss(seen, views.split(views.prior)[0], brain)
        stay = functional.softmax(seen, 1).detach()
        divergence = functional.kl_div(functional.log_softmax(moved, 1), stay, reduction="none")
        loss = loss + INVARIANCE * masked_mean(divergence.sum(1, keepdim=True), brain)
        loss = loss + VARIATION * variation(functional.softmax(seen / temperature, 1))
        return loss + PAIRED * label_loss(paired, seen[views.rows].argmax(1), pair_brain)

    def imaging_loss(self, network: Disentangler, anatomy: Tensor, views: Views) -> Tensor:
        """Reconstruction of every view; those of a subject from one and the same anatomy."""
        mean, log_variance = network.imaging(views.source, views.source_brain)
        code = draw_code(mean, log_variance, network.training)
        own, _, _, drawn = views.split(anatomy)
        shown = torch.cat([own, own, own[views.rows], drawn])
        made = network.decoder(shown, code, views.image, views.brain)
        loss: Tensor = CODE_KL * kl_divergence(mean, log_variance).mean()
        error = (made - views.image).abs()
        for weight, part, inside in zip(WEIGHTS, views.split(error), views.split(views.brain), strict=True):
            loss = loss + weight * masked_mean(part, inside)
        (image, *_), (brain, *_), (first, *_) = (views.split(x) for x in (views.image, views.brain, made))
        if self.ssim_window:
            loss = loss + STRUCTURE * (1 - ssim(first, image, self.ssim_window).mean())
        # A code from another scan must be found again in what it makes of this anatomy.
        swapped = code[: len(own)].detach().roll(1, 0)
        again = network.imaging(network.decoder(own.detach(), swapped, image, brain), brain)[0]
        cycle: Tensor = CODE_CYCLE * (again - swapped).abs().mean()
        return loss + cycle
