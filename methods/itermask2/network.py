"""Network: a U-Net from images of a slice to the slice (Liang et al. 2024)."""

import math

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn
from torch.nn import functional


class Predictor(nn.Module):
    """A U-Net from one or more images of a slice to the slice."""

    def __init__(self, inputs: int, width: int, multiples: str, blocks: int, attention: int) -> None:
        """For `inputs` images as channels; attention at so many of the lowest levels.

        MONAI's net also has attention at its very bottom.
        """
        super().__init__()
        filters = [width * int(multiple) for multiple in multiples.split("-")]
        self.multiple = 2 ** (len(filters) - 1)
        self.unet = DiffusionModelUNet(
            2,
            inputs,
            1,
            blocks,
            filters,
            [level >= len(filters) - attention for level in range(len(filters))],
            norm_num_groups=math.gcd(32, width // 2),
            num_head_channels=filters[0],
            resblock_updown=True,
        )

    def forward(self, shown: Tensor) -> Tensor:
        """Slices (B, 1, R, A) of images (B, inputs, R, A); the U-Net's step of diffusion is always 0."""
        rows, columns = shown.shape[-2:]
        pad = (0, -columns % self.multiple, 0, -rows % self.multiple)
        padded = functional.pad(shown, pad, mode="replicate")
        step = torch.zeros(len(shown), device=shown.device)
        answer: Tensor = self.unet(padded, step)
        return answer[..., :rows, :columns].float()
