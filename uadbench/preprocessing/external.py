"""External extractors: programs for brain extraction that are used where the user has installed them.

They are found on the PATH and never fetched. Their results depend on their version, which is part of the
cache's keys and of the record as far as it can be told, and on their weights, which are not known here.
"""

import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from uadbench.preprocessing import scan
from uadbench.preprocessing.extract import EXTRACTION_VERSION
from uadbench.preprocessing.scan import Scan
from uadbench.system.errors import SubjectError, UserError, unknown

PROGRAMS = {"hd-bet": "hd-bet", "synthstrip": "mri_synthstrip"}  # extractor -> program
DEFAULT = "atlas"  # built in, see `extract`
# Arguments of each program, in the order in which they are tried: HD-BET 2, then HD-BET 1.
ARGUMENTS = {
    "hd-bet": (
        ("-i", "{image}", "-o", "{stripped}", "-device", "cpu", "--save_bet_mask"),
        ("-i", "{image}", "-o", "{stripped}", "-device", "cpu", "-mode", "fast", "-tta", "0"),
    ),
    "synthstrip": (("-i", "{image}", "-o", "{stripped}", "-m", "{mask}"),),
}
MASK_NAMES = ("*mask.nii.gz", "*_bet.nii.gz")  # HD-BET 2 ends its mask's name with _bet


def check_extractor(extractor: str) -> None:
    """Stop where an extractor is unknown or not installed."""
    known = [DEFAULT, *PROGRAMS]
    if extractor not in known:
        raise unknown("extractor", extractor, known)
    if extractor in PROGRAMS and shutil.which(PROGRAMS[extractor]) is None:
        raise UserError(
            f"The extractor {extractor} needs the program `{PROGRAMS[extractor]}`, which is not on the PATH: "
            f"install it, or use the built-in extractor '{DEFAULT}'."
        )


def find_version(extractor: str) -> str:
    """The version of an extractor; "unknown" where the program's surroundings do not tell it."""
    if extractor == DEFAULT:
        return EXTRACTION_VERSION
    program = shutil.which(PROGRAMS[extractor])
    return _version(extractor, Path(program).resolve().parent.parent) if program else "unknown"


@lru_cache
def _version(extractor: str, home: Path) -> str:
    """The version of a program in the folder `bin` of its home."""
    if extractor == "hd-bet":  # a Python package
        found = sorted(p.name for p in home.glob("lib/python*/site-packages/*.dist-info"))
        names = [name.lower().replace("-", "_") for name in found]
        return next((n[7:].removesuffix(".dist_info") for n in names if n.startswith("hd_bet_")), "unknown")
    stamps = [Path(os.environ.get("FREESURFER_HOME", home)) / "build-stamp.txt", home / "build-stamp.txt"]
    return next((stamp.read_text().strip() for stamp in stamps if stamp.is_file()), "unknown")


def run_extractor(image: Scan, extractor: str, name: str) -> NDArray[np.bool_]:
    """The brain (R, A, S) on the voxels of a full head, by an external program."""
    with tempfile.TemporaryDirectory(prefix="uadbench-") as folder:
        paths = {key: str(Path(folder) / f"{key}.nii.gz") for key in ("image", "stripped", "mask")}
        nibabel.save(nibabel.Nifti1Image(image.array, image.affine), paths["image"])
        said = ""
        for arguments in ARGUMENTS[extractor]:
            command = [PROGRAMS[extractor], *(argument.format(**paths) for argument in arguments)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = [path for pattern in MASK_NAMES for path in sorted(Path(folder).glob(pattern))]
            if done.returncode == 0 and found:
                return np.asarray(image.sample_mask(scan.read_scan(found[0])) > 0.5)
            said = (done.stderr or done.stdout).strip()[-300:]
    raise SubjectError(
        f"{extractor} made no brain mask of {name} ({said}): supply one, or leave the scan out."
    )
