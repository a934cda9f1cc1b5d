"""How a fixture of Cam-CAN looks: BIDS names, T1 and T2 with the full head, the user's masks."""

from collections.abc import Iterator, Sequence

from uadbench.testing import Lattice, Picture, Table, Visit

KIND = None
LAYOUTS = ("archive", "subjects")
REPEATS = ()
FOLDERS = {"archive": "cc700/mri/pipeline/release004/BIDS_20190411/anat/", "subjects": ""}
LATTICE = Lattice("RAS", tilt_degrees=5)


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture | Table]:
    """Two contrasts and their masks for each visit, and the table."""
    above = FOLDERS[layout]
    for visit in visits:
        name = _name(visit)
        for contrast in ("T1", "T2"):
            file = f"{name}_{contrast}w"
            path = f"{above}{name}/anat/{file}.nii.gz"
            yield Picture(visit=visit, path=path, shows=contrast, lattice=LATTICE)
            yield Picture(visit=visit, path=f"masks/{file}_mask.nii.gz", shows="brain", lattice=LATTICE)
    rows = [{"participant_id": _name(v), "age": f"{v.age:.0f}", "sex": v.sex} for v in visits]
    yield Table(f"{above}participants.tsv", rows, "\t")


def _name(visit: Visit) -> str:
    return f"sub-CC{110000 + visit.subject}"
