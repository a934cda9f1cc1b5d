"""DICOM: what scanners write, which is not read here, recognised so that it can be said."""

import re
from collections.abc import Sequence
from pathlib import Path

from uadbench.data.layout import count_names
from uadbench.system.files import open_file

NAME = re.compile(r"\.(dcm|ima|dicom)$|^DICOMDIR$", re.IGNORECASE)
MOST_OPENED = 200  # files whose first bytes are looked at


def explain_dicom(files: Sequence[Path]) -> str | None:
    """What to do with the DICOM files among some files, as the end of a sentence; None: there are none."""
    found = find_dicom(files)
    return (
        None
        if not found
        else (
            f"DICOM files ({count_names(found)}): convert them to NIfTI with dcm2niix "
            "(https://github.com/rordenlab/dcm2niix), then name the folder of the result."
        )
    )


def find_dicom(files: Sequence[Path]) -> list[str]:
    """The names of DICOM files, by their suffix or by their first bytes."""
    named = [path.name for path in files if NAME.search(path.name)]
    return named or [path.name for path in files[:MOST_OPENED] if _begins_as_dicom(path)]


def _begins_as_dicom(path: Path) -> bool:
    try:
        with open_file(path) as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False
