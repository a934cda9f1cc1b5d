"""ICBM152: the maps of the average brain that nilearn ships, read without loading nilearn.

ICBM152 2009a, Fonov et al., NeuroImage 54 (2011). `nilearn.datasets` would bring scikit-learn, SciPy's
statistics and pandas into every process that reads three files; what is read is the same to the bit, and a
test holds that.
"""

from pathlib import Path

import nibabel
import nilearn
import numpy as np
from numpy.typing import NDArray

FILE = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"  # in nilearn's folder
BRAIN = 0.2  # of the T1 map: what is above it is brain, as in `nilearn.datasets.load_mni152_brain_mask`


def path_of(name: str) -> Path:
    """The file of one of the maps: "t1" (skull-stripped), "gm" or "wm"."""
    return Path(nilearn.__file__).parent / FILE.format(name)


def read_map(name: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A map (R, A, S) of 1 mm, its maximum being 1, and the centre of its first voxel in mm (MNI152)."""
    image = nibabel.load(path_of(name))
    values = np.asarray(image.dataobj).astype(np.float32)
    return values / values.max(), np.asarray(image.affine[:3, 3])
