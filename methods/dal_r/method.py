"""DAL-R: anatomy and imaging apart, the anatomy restored and painted again. Read model.py; see card.toml."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadbench.data import space
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import scores, training
from uadbench.learning.device import send
from uadbench.learning.reconstruction import NetworkReconstruction
from uadbench.learning.tissues import in_brain, tissue_prior
from uadbench.methods import Context, Score, fit_option, score_option
from uadbench.methods.dal_r import model, variants
from uadbench.methods.dal_r.fields import SPOILT, spoil
from uadbench.system.ranges import Decay, Every, Length, Rate, Size, Steps, Width

BATCH = 32  # slices at once when scoring


@dataclass
class DalR(NetworkReconstruction):
    """Explains a scan as healthy anatomy in this scan's own contrast; what it cannot explain is anomalous."""

    score_kind: str = score_option(
        "zres",
        "residual; zres, because three tissues leave one in healthy brains too; `ratio`: how much better the "
        "seen anatomy explains the scan than the restored one; `water`: what goes towards free water",
        (*scores.KINDS, *variants.SCORES),
    )
    grid: str = fit_option("g192", "model grid")
    width: Width = fit_option(32, "first width of R, a U-Net (MONAI BasicUNet's own)")
    shown: str = fit_option("anatomy", "what R sees of the anatomy", tuple(variants.SHOWN))
    one_hot: bool = fit_option(False, "R sees and learns the likeliest tissue, not its probabilities")
    prior: bool = fit_option(True, "R sees the atlas")
    spoilt: str = fit_option(
        "regions",
        "how scans are spoilt in training: regions of wrong intensity, coarse noise, or both",
        SPOILT,
    )
    steps: Steps = fit_option(40_000, "training steps; our choice")
    batch: Size = fit_option(16, "slices per step; our choice")
    learning_rate: Rate = fit_option(1e-3, "of Adam, falling to 0 along half a cosine; our choice")
    ema: Decay = fit_option(0.999, "decay of the averaged weights that are kept; 0: none; our choice")
    validate_every: Every = fit_option(2000, "steps between validations")
    neighbourhood_mm: Length = score_option(
        20.0, "how far around a pixel the intensities of its tissues are read again, mm; our choice"
    )
    painted: str = score_option("restored", "which anatomy is painted", variants.PAINTED)

    # ---- training --------------------------------------------------------------------------------

    def build(self) -> model.Restorer:
        """R with fresh weights."""
        return model.Restorer(variants.SHOWN[self.shown], self.width, self.prior)

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Find the imaging code of every scan, once; then learn to restore anatomies that were spoilt."""
        self.network_, self.device_ = self.build(), context.device
        codes = {True: self._codes(train, context), False: self._codes(val, context)}
        schedule = training.Schedule.of(self, cosine=True)
        training.train(self.network_, partial(self._loss, codes), train, val, context, schedule, "restore")
        return self

    def _codes(self, volumes: Volumes, context: Context) -> Tensor:
        """Imaging codes (volumes, 2, 3) on the device."""
        with context.progress.stage("imaging codes", len(volumes)) as stage:
            found = []
            for volume in volumes:
                found.append(self._code(volume.image[0], volume.brain))
                stage.advance()
        return send(torch.from_numpy(np.array(found, np.float32).reshape(-1, 2, model.TISSUES)), self.device_)

    def _code(self, image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Imaging code (2, 3) of a scan (R, A, S)."""
        mask = torch.from_numpy(_slices(brain))
        prior = np.moveaxis(in_brain(tissue_prior(self.grid), mask)[:, 1:].numpy(), 0, -1)
        code: NDArray[np.float32] = model.imaging_code(image[brain], prior[:, brain])
        return code

    def _loss(self, codes: Mapping[bool, Tensor], network: model.Restorer, batch: training.Batch) -> Tensor:
        """What R makes of spoilt anatomies, against the healthy ones."""
        image, brain = batch.image, batch.brain.float()
        prior = self._prior(batch.which[:, 1], brain)
        code = codes[network.training][send(torch.from_numpy(batch.which[:, 0]), image.device)]
        means = model.over_pixels(code[:, 0])
        healthy = model.seen_anatomy(image, means, code, prior)
        wrong = spoil(image, brain, self.spoilt, self._spacing_mm)
        spoilt = model.seen_anatomy(wrong, means, code, prior)
        wanted = variants.one_hot(healthy) if self.one_hot else healthy
        loss: Tensor = model.restoration_loss(network(self._shown(spoilt), brain, prior), wanted)
        return loss

    @property
    def _spacing_mm(self) -> float:
        return space.find_grid(self.grid).spacing_mm

    def _prior(self, positions: NDArray[np.integer], brain: Tensor) -> Tensor:
        """The atlas (B, 3, R, A) at slices of these positions, in their brains."""
        maps = tissue_prior(self.grid, str(brain.device))[send(torch.from_numpy(positions), brain.device)]
        known: Tensor = in_brain(maps, brain)[:, 1:]
        return known

    def _shown(self, anatomy: Tensor) -> Tensor:
        """What R sees of an anatomy."""
        maps: Tensor = variants.shown(variants.one_hot(anatomy) if self.one_hot else anatomy, self.shown)
        return maps

    # ---- scoring ---------------------------------------------------------------------------------

    @torch.inference_mode()
    def findings(self, volume: Volume) -> model.Findings:
        """All that the model says of a volume of one contrast."""
        slices = np.flatnonzero(volume.brain.any((0, 1)))
        image, brain = (
            send(
                torch.from_numpy(part[..., slices].transpose(2, 0, 1)[:, None].astype(np.float32)),
                self.device_,
            )
            for part in (volume.image[0], volume.brain)
        )
        prior = self._prior(slices, brain)
        code = send(torch.from_numpy(self._code(volume.image[0], volume.brain)[None]), self.device_)
        seen = model.seen_anatomy(image, model.over_pixels(code[:, 0]), code, prior)
        parts = zip(*(torch.split(part, BATCH) for part in (self._shown(seen), brain, prior)), strict=True)
        with training.repeatable(tf32=False):
            restored = torch.cat([self.network_(*part).exp() for part in parts]) * brain
            pixels = self.neighbourhood_mm / self._spacing_mm
            means = model.local_means(image, seen, restored, code, pixels)
        return model.Findings(slices, image, brain, prior, code, seen, restored, means)

    def reconstruct(self, volume: Volume) -> NDArray[np.float32]:
        """The restored anatomy in this scan's contrast."""
        result = np.zeros_like(volume.image)
        for channel, found in self._channels(volume):
            painted = model.paint(variants.painted(found, self.painted), found.means)
            result[channel][..., found.slices] = _volume(painted)
        return result

    def score(self, volume: Volume) -> Score:
        """One of the shared residuals, or a score of this method's own."""
        if self.score_kind not in variants.SCORES:
            return super().score(volume)
        maps = np.zeros_like(volume.image)
        for channel, found in self._channels(volume):
            maps[channel][..., found.slices] = _volume(variants.SCORES[self.score_kind](found))
        return Score(maps.mean(0), self.reconstruct(volume))

    def _channels(self, volume: Volume) -> Iterator[tuple[int, model.Findings]]:
        """What is found in each channel of a volume; nothing where it has no brain."""
        for channel, image in enumerate(volume.image if volume.brain.any() else ()):
            contrast = volume.contrasts[channel : channel + 1]
            yield channel, self.findings(Volume(image[None], volume.brain, volume.spacing_mm, contrast))


def _slices(volume: NDArray[np.generic]) -> NDArray[np.float32]:
    """A volume (R, A, N) as slices (N, 1, R, A)."""
    return volume.transpose(2, 0, 1)[:, None].astype(np.float32, order="C")


def _volume(slices: Tensor) -> NDArray[np.float32]:
    """Slices (N, 1, R, A) as a volume (R, A, N)."""
    return slices[:, 0].permute(1, 2, 0).cpu().numpy()


ENTRY = DalR
