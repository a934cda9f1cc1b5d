"""Toys: small heads drawn from ellipsoids, prepared as a method gets them, to try it out in seconds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.data import prepared
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import GRIDS, Grid, make_frame

NOISE = 0.03  # deviation, in intensities from 0 to 1


def draw_ellipsoid(
    grid: Grid, centre_mm: tuple[float, float, float], radii_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Voxels (R, A, S) inside an ellipsoid."""
    axes = [o + grid.spacing_mm * np.arange(n) for o, n in zip(grid.origin_mm, grid.shape, strict=True)]
    mesh = np.meshgrid(*axes, indexing="ij")
    return np.asarray(sum(((m - c) / r) ** 2 for m, c, r in zip(mesh, centre_mm, radii_mm, strict=True)) <= 1)


def make_toy(
    folder: Path, number: int, healthy: bool, grid: Grid = GRIDS["g48"], contrast: str = "T1"
) -> Prepared:
    """A prepared head: bright shell, mid grey inside, dark middle, and a bright ball as the lesion."""
    random = np.random.default_rng(number)
    right, front, top = random.normal(0, 3, 3)
    brain = draw_ellipsoid(grid, (right, -18 + front, 8 + top), (66, 82, 62))
    image = np.where(draw_ellipsoid(grid, (right, -18 + front, 8 + top), (52, 66, 48)), 0.7, 0.45) * brain
    image[draw_ellipsoid(grid, (right, -18 + front, 12), (12, 26, 14))] = 0.15
    lesion = draw_ellipsoid(grid, (28, -30 + 4 * (number % 5), 18), (13, 13, 13)) & brain
    if not healthy:
        image[lesion] = 0.98
    image = np.clip(image + random.normal(0, NOISE, image.shape), 0, 1).astype(np.float32) * brain
    name = f"toy-{number:02d}"
    session = Session(
        id=name, cohort="toy", subject=name, images={contrast: folder / f"{number}.nii"}, healthy=healthy,
        lesion_kind=None if healthy else "ball", site="here", age=40.0 + number, sex="F",
    )  # fmt: skip
    area = brain.sum((0, 1)) * grid.spacing_mm**2
    facts = {"slice_area_mm2": area.tolist(), "fingerprint": f"{number:064d}", "subject": name}
    path = folder / grid.name / f"{number:064d}.safetensors"
    labels = None if healthy else lesion.astype(np.uint8)
    prepared.write_codes(path, prepared.encode(image, brain), labels, facts)
    return Prepared(session, contrast, grid, path)


def cut_stack(scan: Prepared, slices: int) -> Prepared:
    """The middle slices of a toy, without geometry, as those of lgg are."""
    first = (len(scan.codes) - slices) // 2
    codes = np.asarray(scan.codes[first : first + slices])
    grid = make_frame(scan.grid).stack(scan.grid.shape[:2], slices)
    path = scan.path.with_name(f"stack-{scan.path.name}")
    pixels = [1e4 * float(one.any()) for one in codes]
    prepared.write_codes(path, codes, None, {**scan.facts, "slice_area_pixels": pixels})
    return Prepared(scan.session, scan.contrast, grid, path)
