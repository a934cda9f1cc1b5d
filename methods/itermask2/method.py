"""IterMask2: the mask of what may be anomalous shrinks around it (Liang et al. 2024). See card.toml."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.reconstruction import NetworkMethod
from uadbench.methods import Context, Score, State, Stochastic, fit_option, score_option
from uadbench.methods.itermask2.masks import draw_masks, high_frequencies, worst
from uadbench.methods.itermask2.network import Predictor
from uadbench.system.errors import UserError
from uadbench.system.ranges import (
    Count,
    Decay,
    Depth,
    Every,
    Length,
    Multiples,
    Percentile,
    Rate,
    Share,
    Size,
    Steps,
    Width,
)

RANGE = 3.0  # intensities are from -3 to 3 within this module (Liang 2024)


@dataclass
class IterMask2(Stochastic, NetworkMethod):
    """Restores what is masked from its surroundings and its edges, and unmasks what it restores well."""

    grid: str = fit_option("g128", "model grid; Liang 2024: 128 x 128 slices")
    radius: Length = fit_option(
        15.0, "periods across the slice below which amplitudes are hidden; Liang 2024"
    )
    block: Size = fit_option(4, "side of the smallest masked blocks in pixels; Liang 2024")
    width: Width = fit_option(32, "filters of the U-Nets at full resolution; Liang 2024")
    multiples: Multiples = fit_option("1-1-2-3-4", "filters of each level by width; Liang 2024")
    blocks: Depth = fit_option(2, "residual blocks at each level; Liang 2024")
    attention: Count = fit_option(
        3, "how many of the lowest levels have attention; Liang 2024: at 32, 16 and 8 pixels"
    )
    steps: Steps = fit_option(
        90_000,
        "training steps of each of two networks; Liang 2024 trains 150,000 and tests at 90,000",
    )
    batch: Size = fit_option(32, "slices per step; Liang 2024")
    learning_rate: Rate = fit_option(1e-4, "of AdamW; Liang 2024")
    cosine: bool = fit_option(False, "let the learning rate fall to 0 along half a cosine; not in the paper")
    ema: Decay = fit_option(0.9999, "decay of the averaged weights; Liang 2024; 0: none")
    validate_every: Every = fit_option(1000, "steps between validations; the best weights are kept")
    first_share: Share = fit_option(0.6, "part of the brain in the first mask; Liang 2024")
    percentile: Percentile = fit_option(
        80.0,
        "of the errors in the first masks of healthy validation slices: where pixels are unmasked; Liang "
        "2024's code",
    )
    least: Share = score_option(
        0.01, "a mask that loses less of its pixels is the last one; Liang 2024; UAD-IMAG: .1"
    )
    rounds: Size = score_option(100, "masks of a slice at most; this suite's choice")

    def build(self) -> nn.ModuleDict:
        """Both networks with fresh weights: `first` sees high frequencies, `inpaint` the masked slice too."""
        size = (self.width, self.multiples, self.blocks, self.attention)
        return nn.ModuleDict({"first": Predictor(1, *size), "inpaint": Predictor(2, *size)})

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Train both networks one after the other, then find the threshold of unmasking."""
        if not len(val.slices()):
            raise UserError("IterMask2 finds its threshold on healthy validation volumes: it needs some.")
        self.network_, self.device_ = self.build(), context.device
        schedule = training.Schedule.of(self)
        for part, loss in (("first", self.first_loss), ("inpaint", self.inpaint_loss)):
            training.train(self.network_[part], loss, train, val, context, schedule, f"itermask2-{part}")
        self.network_.to(context.device).eval()
        self.threshold_ = self.find_threshold(training.Slices(val, context.device))
        return self

    def first_loss(self, network: Any, batch: training.Batch) -> Tensor:
        """Mean squared error of slices made from their high frequencies."""
        image = scaled(batch.image)
        return functional.mse_loss(network(high_frequencies(image, self.radius)), image)

    def inpaint_loss(self, network: Any, batch: training.Batch) -> Tensor:
        """Mean squared error of whole slices made from what random masks leave of them."""
        image, mask = scaled(batch.image), draw_masks(batch.brain, self.block)
        return functional.mse_loss(network(self.hide(image, mask)), image)

    def hide(self, image: Tensor, mask: Tensor) -> Tensor:
        """What `inpaint` sees (B, 2, R, A): the slice, N(0, 1) in the mask; its high frequencies."""
        noise = torch.randn_like(image)
        return torch.cat([torch.where(mask, noise, image), high_frequencies(image, self.radius)], 1)

    def first_mask(self, image: Tensor, brain: Tensor) -> Tensor:
        """The pixels that the first network makes worst, (B, 1, R, A) bool."""
        error = (self.network_["first"](high_frequencies(image, self.radius)) - image) ** 2
        mask: Tensor = worst(error, brain, self.first_share)
        return mask

    def find_threshold(self, slices: training.Slices) -> float:
        """The percentile of squared errors in the first masks of a spread of healthy slices."""
        rows, errors = slices.spread(training.VALIDATION_SLICES), []
        with torch.no_grad(), training.repeatable(tf32=False):
            for part in np.array_split(rows, -(-len(rows) // self.batch)):
                batch = slices.take(part)
                image = scaled(batch.image)
                mask = self.first_mask(image, batch.brain)
                error = (self.network_["inpaint"](self.hide(image, mask)) - image) ** 2
                errors.append(error[mask].cpu().numpy())
        return float(np.percentile(np.concatenate(errors), self.percentile))

    def shrink(self, image: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
        """Squared errors in the last masks, 0 elsewhere, and the restored slices: (B, 1, R, A) twice."""
        mask = self.first_mask(image, brain)
        error, restored = torch.zeros_like(image), image.clone()
        # Slices whose masks still shrink.
        active = those(torch.arange(len(mask), device=mask.device), mask.flatten(1).any(1))
        for _ in range(self.rounds):
            if not len(active):
                break
            before = mask[active]
            restored[active] = self.network_["inpaint"](self.hide(image[active], before))
            error[active] = (restored[active] - image[active]) ** 2
            after = before & (error[active] > self.threshold_)
            mask[active] = after
            sizes = [one.flatten(1).sum(1) for one in (before, after)]
            goes_on = (sizes[0] - sizes[1] >= self.least * sizes[0]) & (sizes[1] > 0)
            active = those(active, goes_on)
        return error * mask, restored

    def score(self, volume: Volume) -> Score:
        """Squared error in the last mask, 0 outside it, and what the network made of the slices."""

        def ask(pair: Tensor) -> Tensor:
            error, restored = self.shrink(scaled(pair[:, :1]), pair[:, 1:] > 0)
            return torch.cat([error, (restored / RANGE + 1) / 2], 1)

        shown = np.stack([volume.image[0], volume.brain.astype(np.float32)])
        found = training.reconstruct(ask, replace(volume, image=shown), self.device_)
        return Score(found[0], found[1:])

    def state(self) -> State:
        """Weights of both networks, and the threshold of unmasking."""
        return super().state() | {"threshold": np.array([self.threshold_])}

    def load_state(self, state: State, context: Context) -> Self:
        """Build the networks and give them their weights; take up the threshold."""
        self.threshold_ = float(state["threshold"][0])
        rest = {name: value for name, value in state.items() if name != "threshold"}
        return super().load_state(rest, context)


def those(which: Tensor, wanted: Tensor) -> Tensor:
    """The wanted (bool) ones of some numbers, both (n,): how many there are is read from the device."""
    return which[wanted]


def scaled(image: Tensor) -> Tensor:
    """Intensities of [0, 1] in [-3, 3]."""
    return RANGE * (2 * image - 1)


ENTRY = IterMask2
