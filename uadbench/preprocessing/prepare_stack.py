"""One stack's preparation: as a scan's, but each slice stays where it is, and no template comes into it.

The brain is found on FLAIR, for all contrasts of the stack. Brain and percentiles are those of the whole
stack, so that a slice looks the same among all slices and among the lesion-free ones.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data import prepared
from uadbench.data.prepared import LESION
from uadbench.data.sizes import PIXELS
from uadbench.data.space import Frame, Stack
from uadbench.preprocessing import brains, intensities, resampling, scan, slice_brains, stacks
from uadbench.preprocessing.prepare_scan import Job
from uadbench.system.errors import SubjectError
from uadbench.system.files import sha256_json

STACK_VERSION = "2"
BRAIN_ON = "FLAIR"

# A flag asks for a look at the sheet, no more. A brain's pixels depend on how far it was magnified.
LARGEST_PIXELS = (12_000, 45_000)  # brain in the slice that has most of it; 14,600 to 41,000 in 110 patients
ONE_SIDED = 0.5  # difference of the sides of a slice over their sum: the other side was missed
MOST_ONE_SIDED = 1  # slices: the last one at an end often is
LEAST_SLICES = 8  # that are evaluated
LESION_OUTSIDE = 0.05  # of the lesion, outside the brain


def write_stack(job: Job) -> None:
    """Prepare one contrast of a stack and write it: every step; what is in the way is a SubjectError."""
    session, name = job.session, f"{job.session.id} {job.contrast}"
    images = stacks.read_images(session.stack)
    lesion, _ = stacks.read_masks(session.stack, job.order.labels)
    for contrast in (job.contrast, BRAIN_ON):
        if session.channels[contrast] >= len(images):
            raise SubjectError(
                f"{session.id} has pictures of {len(images)} channels: there is no {contrast}."
            )
    channel, brain_channel = session.channels[job.contrast], session.channels[BRAIN_ON]
    brain = _brain(job, images[brain_channel])
    copies = stacks.find_repeated(images, channel, brain_channel)
    # A subject's slices with lesion never reach training; copies of FLAIR are no slices of another contrast.
    kept = np.flatnonzero(~copies & ~(lesion.any((0, 1)) & (session.slices == "lesion-free")))
    if not len(kept):
        raise SubjectError(f"{name} has no slice that can be used: all hold lesion, or repeat {BRAIN_ON}.")
    image = images[channel]
    low, high = intensities.find_scale(image[..., ~copies][brain[..., ~copies]], name)
    frame = job.order.grid
    assert isinstance(frame, Frame)
    stored = (image.shape[0], image.shape[1])
    grid = frame.stack(stored, len(kept))
    scaled = np.clip((image[..., kept].astype(np.float32) - low) / (high - low), 0, 1) * brain[..., kept]
    picture, on_grid, flags = _on_grid(scaled.astype(np.float32), brain[..., kept], lesion[..., kept], grid)
    codes = prepared.encode(picture, on_grid)
    area = np.count_nonzero(on_grid, (0, 1)) * grid.voxel_size
    facts = {
        PIXELS.slice_area: [float(one) for one in area],
        "stored_pixels": stored,
        "slices": [int(position) + 1 for position in kept],  # in the stack, from 1
        "lesion_pixels": float(np.count_nonzero(flags) * grid.voxel_size),
        "p1": low,
        "p99": high,
        "brain": {"by": "slice_brains", "on": BRAIN_ON},
        "registration": None,
        # Flags decide what is learned from, and no lesion may.
        "quality": _quality(brain, lesion & (not session.healthy)),
        "voxel_sha256": scan.voxel_hash(np.ascontiguousarray(image[..., kept])),
        # Of the slices that count: one patient's pictures under two names share them, whatever the masks.
        "slice_sha256": [
            scan.voxel_hash(np.ascontiguousarray(image[..., [position]]))
            for position, counts in zip(kept, area >= PIXELS.least_slice_area, strict=True)
            if counts
        ],
        "sources": dict(job.sources),
        "preparation_version": STACK_VERSION,
    }
    prepared.write_codes(job.path, codes, None if session.healthy else flags, facts)


def _brain(job: Job, flair: NDArray[Any]) -> NDArray[np.bool_]:
    """The brain of the whole stack, kept by the content of its pictures."""
    pictures = [digest for part, digest in sorted(job.sources.items()) if part.startswith("image")]
    key = sha256_json([slice_brains.SLICE_BRAINS_VERSION, job.session.channels[BRAIN_ON], pictures])
    path = job.order.cache / "brains" / f"{key}.mask"
    return brains.remember_mask(path, flair.shape, lambda: slice_brains.find_brains(flair, job.session.id))


def _on_grid(
    scaled: NDArray[np.float32], brain: NDArray[np.bool_], lesion: NDArray[np.bool_], grid: Stack
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.uint8]]:
    """Image, brain and lesion flags of the kept slices, each slice resampled in its plane."""
    to_stored = grid.affine
    on_grid = resampling.sample_nearest(brain.astype(np.uint8), to_stored, grid.shape) > 0
    flags = resampling.sample_nearest(lesion.astype(np.uint8) * np.uint8(LESION), to_stored, grid.shape)
    picture = resampling.sample_linear(np.asfortranarray(scaled), to_stored, grid.shape) * on_grid
    return np.clip(picture, 0, 1), on_grid, flags


def _quality(brain: NDArray[np.bool_], lesion: NDArray[np.bool_]) -> dict[str, Any]:
    """In-plane figures of the whole stack, and what is remarkable about them in words."""
    area = brain.sum((0, 1))
    largest, counted = int(area.max()), int((area >= PIXELS.least_slice_area).sum())
    outside = float((lesion & ~brain).sum() / max(lesion.sum(), 1))
    one_sided = int((_sidedness(brain)[area >= PIXELS.least_slice_area] > ONE_SIDED).sum())
    flags, (low, high) = [], LARGEST_PIXELS
    if not low <= largest <= high:
        flags.append(f"{largest} pixels of brain in the largest slice, expected {low} to {high}")
    if counted < LEAST_SLICES:
        flags.append(f"{counted} slices with enough brain, expected {LEAST_SLICES} or more")
    if one_sided > MOST_ONE_SIDED:
        flags.append(f"{one_sided} slices whose brain is on one side, expected {MOST_ONE_SIDED} or fewer")
    if outside > LESION_OUTSIDE:
        flags.append(f"{outside:.0%} of the lesion outside the brain, expected {LESION_OUTSIDE:.0%} or less")
    return {
        "largest_pixels": largest,
        "counted_slices": counted,
        "one_sided_slices": one_sided,
        "lesion_outside": round(outside, 4),
        "flags": flags,
    }


def _sidedness(brain: NDArray[np.bool_]) -> NDArray[np.float64]:
    """By slice (S,), how much the sides of the brain differ in area: 0 not at all, 1 there is but one."""
    columns = brain.sum(1)
    middle = round(float(np.average(np.arange(len(brain)), weights=columns.sum(1) + 1e-9)))
    left, right = columns[:middle].sum(0), columns[middle:].sum(0)
    return np.asarray(np.abs(left - right) / np.maximum(left + right, 1))
