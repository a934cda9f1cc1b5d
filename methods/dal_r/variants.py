"""Variants: what the model is not, each by one option of the method, to see what its parts are worth.

The abstract's edges and one-hot operator are here: see card.toml for what they were worth.
"""

import torch
from torch import Tensor
from torch.nn import functional

from uadbench.methods.dal_r.model import TISSUES, Findings, paint

SHOWN = {"anatomy": TISSUES, "edges": 1, "nothing": 0}  # what R sees of the anatomy, and in how many maps
PAINTED = (
    "restored",
    "doubtful",
    "seen",
    "atlas",
)  # `doubtful`: restored only where it differs from the seen
DOUBT = (0.3, 0.5)  # disagreement from which on restoring begins, and is complete


def shown(anatomy: Tensor, kind: str) -> Tensor:
    """What R sees of an anatomy (B, 3, R, A): one of `SHOWN`, (B, maps, R, A)."""
    if kind == "edges":
        return edges(anatomy)
    return anatomy if kind == "anatomy" else anatomy[:, :0]


def edges(anatomy: Tensor) -> Tensor:
    """|4-neighbour Laplacian| / 4 of an anatomy, summed over the tissues (B, 1, R, A); borders repeated.

    It says where tissues meet, and not which of them is inside.
    """
    around = functional.pad(anatomy, (1, 1, 1, 1), mode="replicate")
    sides = around[..., 1:-1, 2:] + around[..., 1:-1, :-2] + around[..., 2:, 1:-1] + around[..., :-2, 1:-1]
    return (sides / 4 - anatomy).abs().sum(1, keepdim=True)


def one_hot(anatomy: Tensor) -> Tensor:
    """The likeliest tissue for certain; the gradient is that of the probabilities (straight through)."""
    chosen = functional.one_hot(anatomy.argmax(1), TISSUES).movedim(-1, 1).to(anatomy.dtype)
    hard: Tensor = (chosen + anatomy - anatomy.detach()) * (anatomy.sum(1, keepdim=True) > 0)
    return hard


def painted(found: Findings, kind: str) -> Tensor:
    """What is painted (N, 3, R, A), by its name in `PAINTED`."""
    maps: dict[str, Tensor] = {"restored": found.restored, "seen": found.seen, "atlas": found.prior}
    return where_in_doubt(found) if kind == "doubtful" else maps[kind]


def where_in_doubt(found: Findings) -> Tensor:
    """The seen anatomy, and the restored one where the two disagree (N, 3, R, A)."""
    low, high = DOUBT
    share = ((found.disagreement - low) / (high - low)).clamp(0, 1)
    mixed: Tensor = found.seen + share * (found.restored - found.seen)
    return mixed


def likelihood_ratio(found: Findings) -> Tensor:
    """log p(x given the seen anatomy) - log p(x given the restored one), (N, 1, R, A); 0 outside."""
    deviation = found.code[:, 1, :, None, None]
    log_likelihood = -0.5 * ((found.image - found.means) / deviation) ** 2 - deviation.log()
    seen, restored = (
        torch.logsumexp(log_likelihood + (anatomy + 1e-3).log(), 1, keepdim=True)
        for anatomy in (found.seen, found.restored)
    )
    ratio: Tensor = (seen - restored) * found.brain
    return ratio


UNSIGNED = 0.25  # of the absolute residual, beside what goes towards water; as in `gmm_atlas`


def towards_water(found: Findings) -> Tensor:
    """What is brighter or darker than healthy in the direction of free water (N, 1, R, A).

    That is fluid's, or brighter where fluid is suppressed: darker than both tissues, and grey matter
    brighter than white.
    """
    fluid, grey, white = found.code[0, 0]
    suppressed = (fluid < torch.minimum(grey, white)) & (grey > white)
    sign = torch.where(suppressed | (fluid > white), 1.0, -1.0)
    residual = (found.image - paint(found.restored, found.means)) * found.brain
    score: Tensor = (sign * residual).clamp(min=0) + UNSIGNED * residual.abs()
    return score


SCORES = {"ratio": likelihood_ratio, "water": towards_water}
