"""DAL-R: anatomy and imaging apart, the anatomy restored from its edges (our re-implementation of DAL).

x -> a = E_A(x, P), theta = E_I(x); edges of a -> R -> restored a -> x' = D(restored a, theta). See card.toml.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Self

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.sizes import MIN_SLICE_AREA_MM2
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import scores, training
from uadbench.learning.device import send
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.learning.tissues import in_brain, tissue_prior
from uadbench.methods import Context, Score, fit_option, score_option
from uadbench.methods.dal_r import anatomy, disentangle, restorer
from uadbench.methods.dal_r.imaging import robust_code
from uadbench.system.ranges import Decay, Depth, Rate, Share, Size, Steps, Weight, Width

BATCH = 32  # slices at once when scoring


@dataclass(frozen=True)
class Findings:
    """What is seen in the N slices of a volume that have brain; all maps on the device."""

    slices: NDArray[np.intp]
    image: Tensor  # (N, 1, R, A)
    brain: Tensor  # (N, 1, R, A)
    anatomy: Tensor  # (N, K, R, A): a
    restored: Tensor  # (N, K, R, A): probabilities of R's answer
    disagreement: Tensor  # (N, 1, R, A): d = 1 - sum_k a_k p_k, 0 outside the brain
    codes: Tensor  # (N, 16), of each slice
    code: Tensor  # (16,), of the volume


@dataclass
class DalR(NetworkReconstruction):
    """Explains a slice as healthy anatomy in this scan's contrast; what it cannot explain is anomalous."""

    score_kind: str = score_option(
        "zres", "residual; zres, because K classes leave a residual in healthy tissue too", scores.KINDS
    )
    grid: str = fit_option("g192", "model grid; 1 mm, where a boundary of one pixel does not fill the cortex")
    classes: Depth = fit_option(
        4, "anatomical classes K: background, CSF, GM, WM; 6: two free ones more", (4, 6)
    )
    width: Width = fit_option(32, "first width of the U-Nets E_A and R (MONAI BasicUNet's own)")
    decoder_width: Width = fit_option(32, "filters of D's texture layers; our choice")
    one_hot: str = fit_option(
        "straight_through", "differentiable one-hot operator, of which the abstract speaks", anatomy.ONE_HOT
    )
    prior: bool = fit_option(True, "ICBM152 tissue maps as input of E_A and R and as a loss")
    restorer_prior: bool = fit_option(True, "R sees the tissue maps too")
    restorer_input: str = fit_option("edges", "what R sees: `edges` of a, or a itself", ("edges", "anatomy"))
    edges: str = fit_option("laplace", "edge operator; all but per_class hide the class", anatomy.EDGES)
    corruption: bool = fit_option(True, "train R on spoilt anatomies; makes it synthetic")
    synthetic_share: Weight = fit_option(0.5, "synthetic slices for each real one in training; our choice")
    ssim_window: Annotated[int, Meta(ge=0, le=31)] = fit_option(
        11, "window of the SSIM term of stage 1; 0: no such term"
    )
    steps: Steps = fit_option(82_000, "training steps of all stages: 2,000 + 40,000 + 40,000; our choice")
    warmup_share: Share = fit_option(0.0244, "share of the steps that is stage 0; our choice")
    restore_share: Share = fit_option(0.4878, "share of the steps that is stage 2; our choice")
    batch: Size = fit_option(16, "slices per step; our choice")
    learning_rate: Rate = fit_option(2e-4, "of Adam, falling to 0 along half a cosine; our choice")
    restore_learning_rate: Rate = fit_option(2e-4, "the same in stage 2; our choice")
    ema: Decay = fit_option(0.999, "decay of the averaged weights that are kept; 0: none; our choice")
    validate_every: Steps = fit_option(2000, "steps between validations")
    restore: bool = score_option(True, "restore the anatomy; without, x' = D(a, theta)")
    expected: bool = score_option(True, "paint R's class probabilities, not its likeliest class")
    theta: str = score_option("robust", "imaging code: the volume's or each slice's", ("robust", "per_slice"))
    disagreement: Weight = score_option(0.0, "weight of d beside the residual; .5 did harm")

    # ---- networks --------------------------------------------------------------------------------

    def build(self) -> nn.ModuleDict:
        """The networks with fresh weights."""
        channels = anatomy.edge_channels(self.edges, self.classes)
        if self.restorer_input == "anatomy":
            channels = self.classes
        apart = disentangle.Disentangler(self.classes, self.width, self.decoder_width, self.prior)
        with_prior = self.prior and self.restorer_prior
        healer = restorer.Restorer(channels, self.classes, self.width, with_prior)
        return nn.ModuleDict({"disentangler": apart, "restorer": healer})

    def check(self) -> None:
        """Stages 0 and 2 leave steps for stage 1."""
        super().check()
        if self.warmup_share + self.restore_share > 1:
            raise ValueError("warmup_share and restore_share are more than 1 together")

    # ---- training --------------------------------------------------------------------------------

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Stage 0: classes get their meaning; stage 1: disentangle; stage 2: restore. Each resumes."""
        self.network_, self.device_ = self.build().to(context.device), context.device
        apart, first, second, third = self.disentangler, *self.stage_steps()
        learned = training.Slices(train, context.device)  # packed once for all stages
        healthy = training.Slices(val, context.device) if len(val) else None
        losses = self._losses(learned, healthy, context, second)
        stage = partial(training.train, train=learned, val=healthy or val, context=context)
        schedule = partial(training.Schedule.of, self, cosine=True)
        # Classes have to mean tissues before any image is to be explained by them.
        stage(apart.anatomy, losses.warm_up, schedule=schedule(steps=first), name="warm-up")
        stage(apart, losses.disentangle, schedule=schedule(steps=second), name="disentangle")
        # What R learns to restore stands still, and is not made easier to restore.
        apart.requires_grad_(False).eval()
        last = schedule(steps=third, learning_rate=self.restore_learning_rate)
        stage(self.restorer, self._restore_loss, schedule=last, name="restore")
        return self

    def stage_steps(self) -> tuple[int, int, int]:
        """Steps of stages 0, 1 and 2."""
        first, last = round(self.steps * self.warmup_share), round(self.steps * self.restore_share)
        return first, self.steps - first - last, last

    def _losses(
        self, train: training.Slices, val: training.Slices | None, context: Context, steps: int
    ) -> disentangle.Losses:
        return disentangle.Losses(
            prior=tissue_prior(self.grid, context.device),
            spacing_mm=space.find_grid(self.grid).spacing_mm,
            classes=self.classes,
            one_hot=self.one_hot,
            with_prior=self.prior,
            synthetic_share=self.synthetic_share,
            ssim_window=self.ssim_window,
            steps=steps,
            train=disentangle.Partners(train),
            val=disentangle.Partners(val) if val else None,
        )

    def _restore_loss(self, network: restorer.Restorer, batch: training.Batch) -> Tensor:
        """Stage 2: CE + Dice of the restored anatomy, 5 |D(restored, theta) - x|; E_A, E_I, D frozen."""
        image, brain = batch.image, batch.brain.float()
        prior = self._prior(batch.which[:, 1], brain)
        with torch.no_grad():
            logits, code = (
                self.disentangler.anatomy(image, brain, prior),
                self.disentangler.imaging(image, brain)[0],
            )
            labels = logits.argmax(1)  # (B, R, A): what is to be restored, whatever R is shown
            seen = self._spoil(self._one_hot(logits), labels, brain)
        restored = anatomy.only_in_brain(network(seen, brain, prior), brain)
        # The gradient passes through D: a wrong class counts by how wrong it looks in this contrast, too.
        shown = anatomy.one_hot(restored, "straight_through", 1.0, network.training)
        made = self.disentangler.decoder(shown, code, image, brain)
        error = disentangle.masked_mean((made - image).abs(), brain)
        loss = disentangle.label_loss(restored, labels, brain) + restorer.dice_loss(restored, labels)
        total: Tensor = loss + 5 * error
        return total

    def _spoil(self, seen: Tensor, labels: Tensor, brain: Tensor) -> Tensor:
        """What R is shown in training: with wrong regions, and edges that got lost."""
        if not self.corruption:
            return self._edges(seen)
        spacing = space.find_grid(self.grid).spacing_mm
        spoilt = restorer.spoil_labels(labels, brain, self.classes, spacing)
        wrong = functional.one_hot(spoilt, self.classes).movedim(-1, 1).to(seen.dtype)
        # Where nothing was spoilt `seen` stays as it is: it may be soft.
        seen = self._edges(torch.where((spoilt != labels)[:, None], wrong, seen))
        return restorer.drop_edges(seen, brain, spacing) if self.restorer_input == "edges" else seen

    # ---- what is seen ----------------------------------------------------------------------------

    def _one_hot(self, logits: Tensor) -> Tensor:
        """a (B, K, R, A) as it is after training."""
        maps: Tensor = anatomy.one_hot(logits, self.one_hot, disentangle.END_TEMPERATURE, training=False)
        return maps

    def _edges(self, seen: Tensor) -> Tensor:
        """What the restorer is shown of an anatomy."""
        return seen if self.restorer_input == "anatomy" else anatomy.edges(seen, self.edges)

    def _prior(self, positions: NDArray[np.integer], brain: Tensor) -> Tensor:
        """The prior (B, 4, R, A) of slices at these positions, for their masks."""
        maps = tissue_prior(self.grid, str(brain.device))[send(torch.from_numpy(positions), brain.device)]
        known: Tensor = in_brain(maps, brain)
        return known

    @torch.inference_mode()
    def findings(self, volume: Volume) -> Findings:
        """Anatomy, restored anatomy and codes of a volume of one contrast."""
        slices = np.flatnonzero(volume.brain.any((0, 1)))
        image, brain = (
            torch.from_numpy(part[..., slices].transpose(2, 0, 1)[:, None].astype(np.float32, order="C"))
            for part in (volume.image[0], volume.brain)
        )
        image, brain = image.to(self.device_), brain.to(self.device_)
        with training.repeatable(tf32=False):
            parts = []
            for start in range(0, len(slices), BATCH):
                here = slice(start, start + BATCH)
                parts.append(self._slices(image[here], brain[here], self._prior(slices[here], brain[here])))
        seen, restored, disagreement, codes = (torch.cat(column) for column in zip(*parts, strict=True))
        area = brain.sum((1, 2, 3))
        mean = disagreement.sum((1, 2, 3)) / area
        counted = area * volume.spacing_mm**2 >= MIN_SLICE_AREA_MM2
        code = robust_code(codes, mean, counted)
        return Findings(slices, image, brain, seen, restored, disagreement, codes, code)

    def _slices(self, image: Tensor, brain: Tensor, prior: Tensor) -> Sequence[Tensor]:
        """a, restored a, d and codes of some slices."""
        seen = self._one_hot(self.disentangler.anatomy(image, brain, prior))
        codes = self.disentangler.imaging(image, brain)[0]
        answer = anatomy.only_in_brain(self.restorer(self._edges(seen), brain, prior), brain)
        restored = functional.softmax(answer, 1)
        agreement = (seen * restored).sum(1, keepdim=True)
        return seen, restored, (1 - agreement) * brain, codes

    # ---- scoring ---------------------------------------------------------------------------------

    def score(self, volume: Volume) -> Score:
        """Residual, and if asked for the disagreement of seen and restored anatomy."""
        answer = super().score(volume)
        if not self.disagreement:
            return answer
        found = self.findings(volume)
        extra = np.zeros_like(answer.score_map)
        extra[..., found.slices] = found.disagreement[:, 0].permute(1, 2, 0).cpu().numpy()
        return Score(answer.score_map + np.float32(self.disagreement) * extra, answer.pseudo_healthy)

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """D(restored anatomy, code), its intensities matched to the volume's where the anatomies agree."""
        result = np.zeros_like(volume.image)
        for channel, image in enumerate(volume.image if volume.brain.any() else ()):
            contrast = volume.contrasts[channel : channel + 1]
            found = self.findings(Volume(image[None], volume.brain, volume.spacing_mm, contrast))
            result[channel][..., found.slices] = self._image(found)
        return result * volume.brain

    def _image(self, found: Findings) -> NDArray[np.float32]:
        """Pseudo-healthy slices (R, A, N)."""
        shown = found.restored if self.restore else found.anatomy
        agree = found.brain.bool() & (found.anatomy.argmax(1) == shown.argmax(1))[:, None]
        if self.restore and not self.expected:
            shown = anatomy.hard(shown)
        slices = self.paint(shown, found.codes if self.theta == "per_slice" else found.code, found)
        matched = match_intensities(slices.cpu().numpy(), found.image.cpu().numpy(), agree.cpu().numpy())
        return matched[:, 0].transpose(1, 2, 0)

    @torch.inference_mode()
    def paint(self, shown: Tensor, code: Tensor, found: Findings) -> Tensor:
        """D(anatomy (N, K, R, A), code (16,) or (N, 16)); `found` lends masks and bias fields."""
        codes = code.expand(len(shown), -1)
        parts = zip(*(torch.split(p, BATCH) for p in (shown, codes, found.image, found.brain)), strict=True)
        with training.repeatable(tf32=False):
            return torch.cat([self.disentangler.decoder(*part) for part in parts])

    @property
    def disentangler(self) -> disentangle.Disentangler:
        """E_A, E_I and D."""
        return self.network_["disentangler"]

    @property
    def restorer(self) -> restorer.Restorer:
        """R."""
        return self.network_["restorer"]


def match_intensities(
    made: NDArray[np.float32], image: NDArray[np.float32], where: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """`made` * slope + offset as close to the image as Huber's loss has it where the anatomies agree.

    The two numbers are of the whole volume and found by reweighted least squares, which a lesion does not
    bend.
    """
    x, y = made[where].astype(np.float64), image[where].astype(np.float64)
    slope, offset = 1.0, 0.0
    if x.size < 100 or x.std() < 1e-3:
        return made
    for _ in range(10):
        error = np.abs(slope * x + offset - y)
        limit = max(1.345 * 1.4826 * float(np.median(error)), 1e-4)
        weight = np.minimum(1, limit / np.maximum(error, 1e-9))
        weight /= weight.sum()
        mean_x, mean_y = weight @ x, weight @ y
        slope = float((weight @ ((x - mean_x) * (y - mean_y))) / (weight @ (x - mean_x) ** 2))
        offset = float(mean_y - slope * mean_x)
    matched: NDArray[np.float32] = (made * np.clip(slope, 0.5, 2) + offset).astype(np.float32)
    return matched.clip(0, 1)


ENTRY = DalR
