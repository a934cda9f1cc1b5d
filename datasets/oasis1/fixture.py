"""How a fixture of OASIS-1 looks: Analyze pairs in Talairach space, stripped, and the table with CDR."""

from collections.abc import Iterator, Sequence

from uadbench.testing import Corruption, Lattice, Picture, Scene, Table, Visit

KIND = None
LAYOUTS = ("discs", "sessions", "one folder")
REPEATS = LAYOUTS
AXES = "LAS"  # as the card has it
FIRST = 14  # subject: with it the first six fill every partition
OLD = 60  # years; the CDR of younger people is blank


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture | Table]:
    """One averaged T1 for each visit, and the table."""
    for visit in visits:
        name = _name(visit)
        folder = "" if layout == "one folder" else f"{name}/PROCESSED/MPRAGE/T88_111/"
        folder = f"disc{1 + visit.number % 12}/{folder}" if layout == "discs" else folder
        averaged = 3 + visit.number % 2  # scans
        yield Picture(
            visit=visit,
            path=f"{folder}{name}_mpr_n{averaged}_anon_111_t88_masked_gfc.hdr",
            shows="T1",
            space="Talairach",
            lattice=Lattice(AXES),
            stripped=True,
        )
    yield Table("oasis_cross-sectional.csv", [_row(visit) for visit in visits])


def _name(visit: Visit) -> str:
    return f"OAS1_{FIRST + visit.subject - 1:04d}_MR{visit.label}"


def _row(visit: Visit) -> dict[str, str]:
    cdr = "0" if visit.age >= OLD and visit.label == 1 else ""
    return {"ID": _name(visit), "M/F": visit.sex, "Hand": "R", "Age": f"{visit.age:.0f}", "CDR": cdr}


def _dementia(scene: Scene) -> None:
    """The target's CDR is 0.5."""
    (table,) = scene.tables
    lines = table.read_text(encoding="utf-8").splitlines()
    lines[scene.target] = lines[scene.target].rpartition(",")[0] + ",0.5"
    table.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _no_voxels(scene: Scene) -> None:
    """The .img of the target's pair is missing."""
    scene.images()[0].with_suffix(".img").unlink()


CORRUPTIONS = {
    "dementia": Corruption(_dementia, "table"),
    "no_voxels": Corruption(_no_voxels, "image"),
}
