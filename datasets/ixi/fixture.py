"""How a fixture of IXI looks: one file for each contrast, each where the scanner put it; the user's masks."""

from collections.abc import Iterator, Sequence

from uadbench.testing import Lattice, Picture, Table, Visit

KIND = None
LAYOUTS = ("IXI-T1", "one folder", "T1")
REPEATS = LAYOUTS
SITES = ("HH", "Guys", "IOP")
LATTICES = {  # of the real set: T1 sagittal (some files are PSR), T2 and PD axial
    "T1": Lattice("PSR", (4.8, 4.0, 4.0)),
    "T2": Lattice("LAS", (4.0, 4.0, 5.0), tilt_degrees=8),
    "PD": Lattice("LAS", (4.0, 4.0, 5.0), tilt_degrees=8),
}
FOLDERS = {"IXI-T1": "IXI-{}/", "one folder": "", "T1": "{}/"}


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture | Table]:
    """Three contrasts and their masks for each visit, and the table."""
    for visit in visits:
        site = SITES[visit.subject % len(SITES)]
        name = f"IXI{visit.subject:03d}-{site}-{800 + visit.number:04d}"
        for contrast, lattice in LATTICES.items():
            moved = (0.0, 0.0, 0.0) if contrast == "T1" else (1.5, -2.0, 1.0)
            path = f"{FOLDERS[layout].format(contrast)}{name}-{contrast}.nii.gz"
            yield Picture(visit=visit, path=path, shows=contrast, lattice=lattice, moved_mm=moved)
            mask = f"masks/{name}-{contrast}_brain.nii.gz"
            yield Picture(visit=visit, path=mask, shows="brain", lattice=lattice, moved_mm=moved)
    yield Table("IXI.csv", [_row(visit) for visit in visits])


def _row(visit: Visit) -> dict[str, str]:
    sex = {"M": "1", "F": "2"}[visit.sex]
    return {"IXI_ID": str(visit.subject), "SEX_ID (1=m, 2=f)": sex, "AGE": f"{visit.age:g}"}
