"""Implanted: the table of lesions that were put into healthy scans, one line for each lesion.

`uadbench inject` writes it beside the scans; what a line says of the size and the contrast-to-noise that were
asked for is carried to the record of a run, and reaches neither fit nor score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from uadbench.data import tables
from uadbench.data.session import Implanted, Session
from uadbench.system.errors import UserError
from uadbench.system.files import write_text
from uadbench.system.text import csv_text

TABLE = "implanted.csv"


@dataclass(frozen=True)
class ImplantedLesion:
    """One lesion. Contrast-to-noise is defined in `uadbench.implant.lesion` and docs/protocol.md, rule 18."""

    image: str  # path below the folder, with "/"
    subject: str
    kind: str
    shape: str  # "drawn", or the file of a real mask
    asked_ml: float
    ml: float  # of the mask, in the voxels of the scan
    asked_contrast: float | None  # None: the level of grey matter
    contrast: float  # as measured in the file that was written
    offset: float  # that was added to the core, in the units of the scan
    noise: float  # standard deviation around it, in the same units
    edge_mm: float
    right_mm: float  # the middle of the mask in the world of the file
    front_mm: float
    up_mm: float
    source: str  # id of the healthy scan
    source_sha256: str
    transform: str  # of the healthy scan: rows of the (3, 4) matrix scan mm -> MNI152 mm, spaces between


def write_table(path: Path, lesions: Sequence[ImplantedLesion]) -> None:
    """Write the table; what is not known is an empty cell."""
    lines = [
        [f"{cell:.6g}" if isinstance(cell, float) else cell for cell in astuple(lesion)] for lesion in lesions
    ]
    write_text(path, csv_text([[one.name for one in fields(ImplantedLesion)], *lines]))


def read_table(root: Path) -> Mapping[str, Implanted]:
    """What was asked of every image that the table right in a folder names; empty without a table."""
    if not (root / TABLE).is_file():
        return {}
    needs = ("asked_ml", "asked_contrast")
    form = tables.Form("image", lambda cell: cell, needs=needs)
    found = tables.read_participants(root, {TABLE.replace(".", r"\."): form})
    return {image: _read_row(root / TABLE, image, one) for image, one in found.by_id.items()}


def _read_row(path: Path, image: str, lines: tables.Participant) -> Implanted:
    """What the lines of one image agree on."""
    names = ("asked_ml", "asked_contrast", "transform")
    (ml, contrast, placed), *others = {tuple(row.get(name, "") for name in names) for row in lines.rows}
    size, ratio = tables.parse_number(ml), tables.parse_number(contrast)
    matrix = tuple(tables.parse_number(cell) for cell in placed.split())
    known = tuple(cell for cell in matrix if cell is not None)
    placed_well = matrix == known and len(known) in (0, 12)
    if others or size is None or size <= 0 or (contrast and not ratio) or not placed_well:
        raise UserError(
            f"{path} does not say one size above 0, one contrast-to-noise other than 0 and one matrix of 12 "
            f"numbers or none of {image}: make the folder again with `uadbench inject`."
        )
    return Implanted(size, ratio, known or None)


def find_implanted(table: Mapping[str, Implanted], root: Path, session: Session) -> Implanted | None:
    """What a table says of a session, by any of its images."""
    if not table:
        return None
    names = (path.relative_to(root).as_posix() for path in session.images.values())
    return next((table[name] for name in names if name in table), None)
