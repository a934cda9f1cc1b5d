"""Native space: volumes of the evaluation grid in the voxels of a scan's own file, 0 outside its brain."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.preprocessing import brains, resampling
from uadbench.preprocessing import scan as scans
from uadbench.preprocessing.filememory import FileMemory
from uadbench.preprocessing.nifti import Header, read_header
from uadbench.preprocessing.prepare import find_sources
from uadbench.system.files import replacing


@dataclass(frozen=True)
class OwnSpace:
    """Where the voxels of a scan's file are, which of them are brain, and how they come to the grid."""

    header: Header
    brain: NDArray[np.bool_]  # in storage order
    to_grid: NDArray[np.float64]  # (4, 4) storage indices -> indices of the evaluation grid

    @classmethod
    def of(cls, session: Session, on_grid: Prepared, extractor: str, cache: Path) -> "OwnSpace":
        """Of a scan that was prepared on the evaluation grid; its brain is the one it was prepared with."""
        contrast = on_grid.contrast
        header = read_header(session.images[contrast], session.orientation)
        memory = FileMemory(cache / "files.json")
        digests = {str(path): memory.hash(path) for path in find_sources(session, contrast).values()}
        image = scans.read_image(session.images[contrast], session.orientation)
        brain, _ = brains.find_brain(session, contrast, image, brains.Kept(cache, extractor, digests))
        to_image = np.linalg.inv(image.affine) @ header.affine
        own = resampling.sample_nearest(brain.astype(np.uint8), to_image, header.shape) > 0
        transform = np.array(on_grid.facts["transform"])  # scan mm -> MNI152 mm
        return cls(header, own, np.linalg.inv(on_grid.grid.affine) @ transform @ header.affine)

    def carry_values(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Scores or a mask (R, A, S) of the grid on the voxels of the file: each gets those of the nearest.

        Interpolated scores would be smoother than those that are measured: on scans with small lesions the
        average precision of `intensity` rose from .31 to .37.
        """
        own = resampling.sample_nearest(volume, self.to_grid, self.header.shape)
        own[~self.brain] = 0
        return own

    def carry_image(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """An image (R, A, S) of the grid on the voxels of the file, trilinearly."""
        own = resampling.sample_linear(volume, self.to_grid, self.header.shape)
        masked: NDArray[np.float32] = np.where(self.brain, own, np.float32(0))
        return masked


def restore_units(healthy: NDArray[np.float32], on_grid: Prepared) -> NDArray[np.float32]:
    """A pseudo-healthy volume (R, A, S) on the evaluation grid in the scan's units, 0 outside its brain."""
    low, high = on_grid.facts["p1"], on_grid.facts["p99"]
    own: NDArray[np.float32] = ((low + healthy * (high - low)) * on_grid.brain()).astype(np.float32)
    return own


def write_volumes(folder: Path, volumes: Mapping[str, NDArray[Any]], affine: NDArray[np.float64]) -> None:
    """Write volumes as `NAME.nii.gz`, each atomically; equal content gives equal bytes."""
    for name, volume in volumes.items():
        image = nibabel.Nifti1Image(volume, affine)
        image.header.set_xyzt_units("mm")
        with replacing(folder / f"{name}.nii.gz") as partial:
            partial.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))  # scores hardly shrink further
