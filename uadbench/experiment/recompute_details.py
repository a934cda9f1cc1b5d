"""Do the details of a record's pieces agree with its counts and its histograms?"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.evaluation.components import FOUND, LESIONS, is_found
from uadbench.evaluation.details import CALLED, FALSES, HITS, OVERLAP
from uadbench.experiment.pieces_file import PiecesRead
from uadbench.experiment.record import RunRecord

ROUNDING = 1e-6


def wrong_details(made: RunRecord, read: PiecesRead) -> Iterator[str]:
    """What of the details cannot be, each named by the first subject that it is of."""
    if read.details is None:
        return
    kept, ill = read.details.arrays, np.array([s.partition == "lesion-test" for s in made.subjects])
    tested = ill | np.array([s.partition == "healthy-test" for s in made.subjects])
    counted = read.lesions[made.headline].sum(2)  # over sizes: (subjects, points, kinds of counts)
    known = [made.thresholds[made.headline][point] is not None for point in made.points]
    false_voxels = read.voxels[made.headline][..., 1]
    located = kept["regions"].sum(2, dtype=np.int64)
    amiss = {
        "lesions": ((counted[..., LESIONS] != kept["lesions"][:, None])[:, known]).any(1),
        "lesions found": tested & (_found(read) != counted[..., FOUND])[:, known].any(1),
        "regions of false positives": tested & ((located > 0) & (located != false_voxels)).any(1),
        "slices with an alarm": (kept["alarms"] > kept["lesion_free"][:, None]).any(1),
        "surface Dice": _no_share(kept["surface"]),
        "AP by size of lesion": _no_share(kept["size_ap"]),
        "thresholds of FROC": ill & _impossible(kept["sweep"], kept["lesions"], _called(made, read)),
    }
    for what, wrong in amiss.items():
        if wrong.any():
            yield f"the {what} of {made.subjects[int(np.argmax(wrong))].id} are not those of its pieces"


def _found(read: PiecesRead) -> NDArray[np.float64]:
    """How many of the listed lesions of each subject are found at each point, (subjects, points)."""
    assert read.details is not None
    kept, owners = read.details.arrays, read.details.owners
    found = is_found(kept["covered"], kept["lesion_voxels"][:, None])
    counts = np.zeros((len(kept["lesions"]), kept["covered"].shape[1]))
    np.add.at(counts, owners, found)
    return counts


def _no_share(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(((values < 0) | (values > 1 + ROUNDING)).any(1))


def _called(made: RunRecord, read: PiecesRead) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of each subject at each threshold: how many non-lesion voxels reach it at least, and at most."""
    assert read.details is not None
    pieces = read.pieces[made.headline]
    above = np.pad(pieces.negatives[:, ::-1].cumsum(1, dtype=np.int64)[:, ::-1], [(0, 0), (0, 1)])
    place = np.searchsorted(pieces.edges, read.details.arrays["thresholds"], "left")
    return above[:, place], above[:, np.maximum(place - 1, 0)]


def _impossible(
    sweep: NDArray[np.float64], lesions: NDArray[np.integer], called: tuple[NDArray[Any], NDArray[Any]]
) -> NDArray[np.bool_]:
    """Whose sweep falls where it cannot, or is of other voxels than the histograms."""
    wrong = (sweep[..., CALLED] < called[0]) | (sweep[..., CALLED] > called[1])
    wrong |= np.diff(sweep[..., OVERLAP], axis=1, prepend=0.0) < -ROUNDING
    wrong |= sweep[..., OVERLAP] > lesions[:, None] + ROUNDING
    wrong |= (sweep[..., HITS] > lesions[:, None]) | (sweep[..., FALSES] < 0)
    return np.asarray(wrong.any(1))
