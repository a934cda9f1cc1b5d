"""One scan's preparation: every step of it, from the files to the packed volume."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data import prepared
from uadbench.data.prepared import LESION
from uadbench.data.session import Session
from uadbench.data.space import Grid, Target
from uadbench.preprocessing import brains, extract, intensities, labels, plausibility, quality, scan
from uadbench.preprocessing.brains import Kept
from uadbench.preprocessing.intensities import Brain
from uadbench.preprocessing.labels import Labels
from uadbench.preprocessing.register import register_brain
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError

PREPARATION_VERSION = "3"
REFERENCES = ("T1", "T1c", "T2", "FLAIR")  # whose transform a session's contrasts share


@dataclass(frozen=True)
class Options:
    """What a user may choose about preparation; other than these defaults it must stand in the record."""

    extractor: str = extract.DEFAULT  # of brains that come without a mask: see `extract`
    n4: bool = False  # remove the bias field

    @property
    def label(self) -> str:
        """What differs from the defaults, in a few words for names of rows and files; empty for nothing."""
        extractor = [] if self.extractor == extract.DEFAULT else [f"extractor={self.extractor}"]
        return ",".join([*extractor, *(["n4"] if self.n4 else [])])


DEFAULTS = Options()


@dataclass(frozen=True)
class Order:
    """What is wanted of every scan of a cohort."""

    grid: Target  # a frame for stacks of slices, else a grid
    labels: Labels
    cache: Path
    options: Options


@dataclass(frozen=True)
class Job:
    """One scan or stack to prepare; everything a worker process needs."""

    session: Session
    contrast: str
    order: Order
    sources: Mapping[str, str]  # what is read, by its part -> SHA-256 of the file
    digests: Mapping[str, str]  # the same by path
    path: Path
    reference: str | None  # contrast that decides the transform; None: it is known
    transform_path: Path

    @property
    def kept(self) -> Kept:
        """Where brain masks and motions are kept."""
        return Kept(self.order.cache, self.order.options.extractor, self.digests)


def reference_of(session: Session, contrast: str) -> str | None:
    """The contrast whose transform to MNI152 a contrast shares; None where the transform is known."""
    if session.transform is not None or contrast not in session.images:
        return None
    if session.space == "native":
        return contrast
    return next((c for c in REFERENCES if c in session.images), min(session.images))


def position_of(session: Session, contrast: str) -> str | None:
    """The contrast against which another has to be registered before the lesion mask is used on it."""
    labelled = session.lesion_mask is not None or session.ignore_mask is not None
    if session.space != "native" or not labelled or session.mask_contrast in (None, contrast):
        return None
    if session.mask_contrast not in session.images:
        raise SubjectError(
            f"{session.id} has a lesion mask that was drawn on {session.mask_contrast}, which is not there: "
            f"fetch it, so that {contrast} can be registered to it."
        )
    return session.mask_contrast


def write_scan(job: Job) -> None:
    """Prepare one scan and write it: every step; what is in the way is a SubjectError."""
    name, grid = f"{job.session.id} {job.contrast}", job.order.grid
    assert isinstance(grid, Grid), "slices without geometry have a preparation of their own"
    image = scan.read_image(job.session.images[job.contrast], job.session.orientation)
    mask, found_by = brains.find_brain(job.session, job.contrast, image, job.kept)
    transform, registered = _transform(job, image, mask)
    lesion, ignored = _labels(job, image, mask)
    brain = Brain.of(intensities.correct_bias(image, mask) if job.order.options.n4 else image, mask)
    low, high = intensities.find_scale(brain.inside, name)
    picture, on_grid = intensities.put_on_grid(brain, low, high, transform, grid, name)
    flags = labels.put_on_grid(lesion, ignored, transform, grid)
    lesion_voxels = 0 if flags is None else int(np.count_nonzero(flags & LESION))
    if lesion is not None:
        plausibility.check_lesion_on_grid(lesion, lesion_voxels, transform, grid, name)
    codes = prepared.encode(picture, on_grid)
    area_mm2 = np.array([np.count_nonzero(one) for one in on_grid.T]) * grid.spacing_mm**2
    facts = {
        "slice_area_mm2": [float(area) for area in area_mm2],
        "brain_ml": float(area_mm2.sum() * grid.spacing_mm / 1000),
        "lesion_ml": float(lesion_voxels * grid.voxel_ml),
        "lesion_own_ml": labels.measure_ml(lesion),
        "p1": low,
        "p99": high,
        "above_healthy_p99": intensities.above_healthy(brain, high, lesion),
        "transform": transform.tolist(),
        "registration": registered,
        "brain": found_by,
        "n4": job.order.options.n4,
        "quality": quality.assess_quality(picture, on_grid, grid, transform, job.contrast),
        "fingerprint": scan.fingerprint(image.array),
        "sources": dict(job.sources),
        "preparation_version": PREPARATION_VERSION,
    }
    prepared.write_codes(job.path, codes, flags, facts)


def _labels(job: Job, image: Scan, mask: NDArray[np.bool_]) -> tuple[Scan | None, Scan | None]:
    """The lesion and the ignored voxels in the world of the scan, wherever they were drawn."""
    session = job.session
    position = position_of(session, job.contrast)
    marked = labels.read_lesion(session, job.order.labels)
    drawn_on, matrix = image, np.eye(4)
    if position is not None:
        drawn_on = scan.read_image(session.images[position], session.orientation)
        matrix = brains.find_motion(session, job.contrast, image, mask, position, drawn_on, job.kept)
    for one, path in zip(marked, (session.lesion_mask, session.ignore_mask), strict=True):
        if one is not None and path is not None:
            plausibility.check_lattice(one, drawn_on, path, position or job.contrast)
    back = np.linalg.inv(matrix)
    lesion, ignored = (None if one is None else Scan(one.array, back @ one.affine) for one in marked)
    if lesion is not None:
        plausibility.check_lesion(lesion, mask, image, session.lesion_mask)
    return lesion, ignored


def _transform(
    job: Job, image: Scan, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], dict[str, Any] | None]:
    """Scan mm -> MNI152 mm (4, 4) and the figures of the registration, from the cache if they are there."""
    known = job.session.transform
    if known is not None:
        return np.vstack([np.reshape(known, (3, 4)), (0, 0, 0, 1)]), None
    assert job.reference is not None, "what has no reference is where it is known to be"
    reference = job.reference
    kept = brains.remember_json(job.transform_path, lambda: _register(job, reference, image, mask))
    return np.array(kept["matrix"]), kept["quality"]


def _register(job: Job, reference: str, image: Scan, mask: NDArray[np.bool_]) -> dict[str, Any]:
    if reference != job.contrast:
        image = scan.read_image(job.session.images[reference], job.session.orientation)
        mask, _ = brains.find_brain(job.session, reference, image, job.kept)
    found = register_brain(image, mask, f"{job.session.id} {reference}")
    figures = {name: getattr(found, name) for name in ("dice", "correlation", "determinant")}
    return {"matrix": found.matrix.tolist(), "quality": figures | {"reference": reference}}
