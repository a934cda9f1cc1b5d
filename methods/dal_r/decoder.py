"""Decoder: anatomy and imaging code make an image again; weak on purpose. See card.toml."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.methods.dal_r.imaging import CODE

CELLS = 4  # the bias field has 4 x 4 numbers: cells of at least 48 mm cannot paint a lesion
TEXTURE = 0.3  # most that the convolutions may add to the class's intensity
FIELD = 0.2  # most that the logarithm of the bias field may be
OFFSET = 0.05  # keeps the logarithms of dark pixels finite


class Decoder(nn.Module):
    """D: a table of class intensities by code, a little texture, and a smooth bias field."""

    def __init__(self, classes: int, width: int) -> None:
        """`width` filters in each of the three layers of texture."""
        super().__init__()
        self.table = nn.Sequential(nn.Linear(CODE, 32), nn.LeakyReLU(0.2), nn.Linear(32, classes))
        inputs = [classes + 1, width, width]
        self.layers = nn.ModuleList(nn.Conv2d(channels, width, 3, padding=1) for channels in inputs)
        self.modulation = nn.Linear(CODE, 3 * 2 * width)  # FiLM: scale and shift of each layer
        self.texture = nn.Conv2d(width, 1, 1)
        self.field = nn.Linear(CELLS**2, CELLS**2)
        nn.init.zeros_(self.texture.weight)  # starts as the table alone
        nn.init.zeros_(self.texture.bias)  # type: ignore[arg-type]
        nn.init.eye_(self.field.weight)  # starts as the measured field
        nn.init.zeros_(self.field.bias)

    def intensities(self, code: Tensor) -> Tensor:
        """Intensity of each class (B, K), in (0, 1), for codes (B, 16)."""
        return torch.sigmoid(self.table(code).float())

    def forward(self, anatomy: Tensor, code: Tensor, image: Tensor, brain: Tensor) -> Tensor:
        """Images (B, 1, R, A) of anatomies (B, K, R, A); `image` lends its bias field and nothing else."""
        base = (self.intensities(code)[:, :, None, None] * anatomy).sum(1, keepdim=True)
        features = torch.cat([anatomy, base], 1)
        films = self.modulation(code)[:, :, None, None].chunk(2 * len(self.layers), 1)
        for layer, scale, shift in zip(self.layers, films[::2], films[1::2], strict=True):
            normalised = functional.instance_norm(layer(features))
            features = functional.leaky_relu(normalised * (1 + scale) + shift, 0.2)
        texture = TEXTURE * torch.tanh(self.texture(features))
        return brain * self.bias_field(image, base, brain) * (base + texture).float()

    def bias_field(self, image: Tensor, base: Tensor, brain: Tensor) -> Tensor:
        """exp of a smooth field in [-.2, .2], (B, 1, R, A): image less class intensities in 4 x 4 cells."""
        ratio = ((image + OFFSET).log() - (base + OFFSET).log()) * brain
        inside = functional.adaptive_avg_pool2d(brain.float(), CELLS)
        cells = functional.adaptive_avg_pool2d(ratio, CELLS) / inside.clamp(min=0.02)
        coarse = self.field(cells.flatten(1)).view(-1, 1, CELLS, CELLS).float() / FIELD
        smooth = functional.interpolate(coarse, image.shape[-2:], mode="bicubic", align_corners=False)
        return (FIELD * torch.tanh(smooth)).exp()
