"""Ranges: what values the options of methods may have, stated as their annotations.

    steps: Steps = fit_option(1000, "training steps")

Every number has a lower and an upper end: beyond them nothing is trained, or no computer suffices. An
option's own range is `Annotated[float, Meta(ge=..., le=...)]`.
"""

from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import Meta

TRAINING = "steps of training"  # the title by which these options are known; equal ranges are equal types
Steps = Annotated[int, Meta(ge=1, le=100_000_000, title=TRAINING)]
MoreSteps = Annotated[int, Meta(ge=0, le=100_000_000, title=TRAINING)]  # of a training that 0 leaves out
Every = Annotated[int, Meta(ge=1, le=100_000_000)]  # after so many steps again
Size = Annotated[int, Meta(ge=1, le=16_384)]  # of a batch, a code, a patch, a bank
Count = Annotated[int, Meta(ge=0, le=1_000_000)]  # where 0 stands for none
Draws = Annotated[int, Meta(ge=1, le=1000)]  # of a score's noise
Width = Annotated[int, Meta(ge=2, le=4096)]  # filters of the narrowest layer
Depth = Annotated[int, Meta(ge=1, le=16)]  # blocks or levels of a network
Level = Annotated[int, Meta(ge=0, le=999)]  # of diffusion's noise
Rate = Annotated[float, Meta(gt=0, le=1)]  # of learning, or the length of another step
Share = Annotated[float, Meta(ge=0, le=1)]
Decay = Annotated[float, Meta(ge=0, lt=1)]  # of a moving average; also a share that may not be all: dropout
Smoothing = Annotated[float, Meta(ge=0, le=100)]  # deviation of a Gaussian in pixels or mm; 0: none
Percentile = Annotated[float, Meta(ge=0, le=100)]
Weight = Annotated[float, Meta(ge=0, le=1_000_000)]  # of a term of a loss or a score
Length = Annotated[float, Meta(gt=0, le=1000)]  # in pixels or mm
Multiples = Annotated[
    str, Meta(pattern=r"\A[1-9]\d?(-[1-9]\d?){0,7}\Z", description="numbers joined by -, such as 1-2-2")
]

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
ENDS = {
    "ge": "from {}",
    "gt": "above {}",
    "le": "up to {}",
    "lt": "below {}",
    "multiple_of": "a multiple of {}",
}


def bounds(kind: Any) -> dict[str, float]:
    """What an annotation says of a number: `ge`, `gt`, `le`, `lt`, where stated."""
    metas = [meta for meta in get_args(kind)[1:] if isinstance(meta, Meta)]
    return {end: getattr(meta, end) for meta in metas for end in ENDS if getattr(meta, end) is not None}


def expected(kind: Any) -> str:
    """The values of an annotated type in words."""
    base, *metas = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    for meta in metas:
        if isinstance(meta, Meta) and meta.description:
            return meta.description
    word = WORDS.get(base, getattr(base, "__name__", str(base)))
    return " ".join([word, *(ENDS[end].format(f"{value:,}") for end, value in bounds(kind).items())])


def fits(value: Any, kind: Any) -> Any:
    """A value as an annotated type has it (a list as a tuple, 1 as 1.0); ValueError where it is none."""
    converted = msgspec.convert(value, kind)
    if isinstance(converted, float) and not abs(converted) < float("inf"):
        raise ValueError(f"{value} is not finite")
    return converted
