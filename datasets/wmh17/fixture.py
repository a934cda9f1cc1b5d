"""How a fixture of WMH 2017 looks: FLAIR, T1, `wmh.nii.gz` with label 2, five scanners, the user's masks."""

from collections.abc import Iterator, Sequence

from uadbench.testing import Lattice, Picture, Visit

KIND = "wmh"
LAYOUTS = ("training and test", "older", "orig")
REPEATS = ()
FOLDERS = (  # of a scanner, and how the adapter calls it
    ("Utrecht", "Utrecht"),
    ("Singapore", "Singapore"),
    ("Amsterdam/GE3T", "Amsterdam-GE3T"),
    ("Amsterdam/GE1T5", "Amsterdam-GE1T5"),
    ("Amsterdam/Philips_VU .PETMR_01.", "Amsterdam-Philips_VU_PETMR_01"),
)
FLAIR = Lattice("LAS", (4.0, 4.0, 5.0))
WHOLE = Lattice("PSR")  # the 3-D T1 before it was aligned


def files(visits: Sequence[Visit], layout: str) -> Iterator[Picture]:
    """FLAIR, T1 and lesions of each visit; in `orig` the T1 lies where the scanner put it."""
    for visit in visits:
        folder, site = FOLDERS[(visit.subject - 1) % len(FOLDERS)]
        if layout == "older":
            folder = folder.removeprefix("Amsterdam/")
        else:
            folder = f"{'training' if visit.subject % 2 else 'test'}/{folder}"
        folder, name = f"{folder}/{visit.subject}", f"{site}-{visit.subject}"
        scans = {"FLAIR": ("pre/FLAIR", FLAIR), "T1": ("pre/T1", FLAIR)}
        if layout == "orig":
            scans = {"FLAIR": ("orig/FLAIR", FLAIR), "T1": ("orig/3DT1", WHOLE)}
        for shows, (file, lattice) in scans.items():
            moved = (2.0, 3.0, -2.0) if lattice == WHOLE else (0.0, 0.0, 0.0)
            path = f"{folder}/{file}.nii.gz"
            yield Picture(visit=visit, path=path, shows=shows, lattice=lattice, moved_mm=moved)
            if shows == "FLAIR" or layout == "orig":
                mask = f"masks/{name}_{shows}.nii.gz"
                yield Picture(visit=visit, path=mask, shows="brain", lattice=lattice, moved_mm=moved)
        lesion = f"{folder}/wmh.nii.gz"
        yield Picture(visit=visit, path=lesion, shows="lesion", lattice=FLAIR, labels=(1,), beside=2)
