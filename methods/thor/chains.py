"""Chains: ways back from noised slices that are led to the slices themselves, of THOR and of AutoDDPM.

Slices are (N, 1, R, A) in [-1, 1]. The levels of a chain fall to -1, the clean image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from uadbench.learning import diffusion
from uadbench.methods.thor import heatmaps


@dataclass(frozen=True)
class Chain:
    """What a chain needs: what the network sees, the schedule, and noise for the slices."""

    see: Callable[[Tensor, int], Tensor]  # the images in noised slices of one level, in [-1, 1]
    alpha_bar: Tensor
    eta: float
    draw: Callable[[], Tensor]

    def share(self, level: int) -> float:
        """alpha_bar of a level."""
        return float(self.alpha_bar[level]) if level >= 0 else 1.0

    def noised(self, image: Tensor, level: int) -> Tensor:
        """Slices with fresh noise."""
        return diffusion.noised(image, self.draw(), self.share(level))

    def run(self, noisy: Tensor, through: Sequence[int]) -> Tensor:
        """Noised slices by way of levels to the last of them."""
        return diffusion.run_chain(self.see, noisy, self.alpha_bar, through, self.eta, self.draw)

    def step(self, noisy: Tensor, level: int, following: int) -> Tensor:
        """Noised slices from a level to a lower one."""
        share, after = self.share(level), self.share(following)
        return diffusion.step_back(noisy, self.see(noisy, level), share, after, self.eta, self.draw())


def harmonise(
    chain: Chain,
    image: Tensor,
    through: Sequence[int],
    at: Sequence[int],
    heatmap: Callable[[Tensor], Tensor],
    reach: int,
) -> tuple[Tensor, list[Tensor]]:
    """THOR: the restored slices, and the heatmaps at the levels `at` (falling) and of the restored slices.

    At each of these levels a place becomes what the network sees, as far as that differs, and else what the
    slice has; the chain goes on from the noised mixture. `heatmap` says how what is seen differs.
    """
    through = sorted({*through, *at}, reverse=True)
    noisy, maps = chain.noised(image, through[0]), []
    for first, last in pairwise([through[0], *at, -1]):
        noisy = chain.run(noisy, [level for level in through if last <= level <= first])
        if last >= 0:
            seen = chain.see(noisy, last)
            maps.append(heatmap(seen))
            replaced = heatmaps.widened(heatmaps.normalised(maps[-1], image), reach)
            noisy = chain.noised(replaced * seen + (1 - replaced) * image, last)
    return noisy, [*maps, heatmap(noisy)]


def stitch(
    chain: Chain, image: Tensor, first: Tensor, mask: Tensor, through: Sequence[int], resamplings: int
) -> Tensor:
    """AutoDDPM: a first restoration, restored again inside a mask to fit the slices outside of it.

    Each step is taken `resamplings` times: outside the mask the slice is put back, as noised as what is
    inside, and in between noise is added again (Lugmayr et al. 2022, RePaint, algorithm 1).
    """
    noisy = chain.noised(first, through[0])
    for level, following in pairwise(through):
        for more in reversed(range(resamplings)):
            inside, outside = chain.step(noisy, level, following), chain.noised(image, following)
            noisy = torch.where(mask, inside, outside)
            if more:
                noisy = diffusion.noised(noisy, chain.draw(), chain.share(level) / chain.share(following))
    return noisy
