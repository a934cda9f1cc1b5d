"""Average precision of records once more, by scikit-learn and from the score maps alone.

python benchmarks/recompute.py results/.../seed-0.json ...

Needs the runs folder in which the maps of these records were made. Of the package's evaluation nothing is
used: the maps are put on the grid of the prepared scans, and scikit-learn sees every voxel of the slices that
count.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from uadbench.api import make_runtime
from uadbench.data.sizes import sizes
from uadbench.data.space import resample
from uadbench.evaluation import maps
from uadbench.experiment.record import read_record
from uadbench.experiment.run import find_work

ALLOWED = 1e-3  # the largest difference


def recomputed(record: Path, all_slices: bool) -> tuple[float, int]:
    """AP over all voxels of the lesion-test scans as the method emits its map, and the number of voxels."""
    scores, lesions = [], []
    for case in find_work(record, make_runtime("cpu", 1, True)).cases:
        if case.partition == "lesion-test":
            prepared = case.prepared
            score_map = resample(maps.read_map(case.map_file).score_map, case.map_grid, prepared.grid)
            brain, lesion = prepared.brain(), prepared.lesion()
            counted = (brain | lesion) & ~prepared.ignored()
            if not all_slices:
                counted &= sizes(prepared.grid).counted_slices(prepared.facts)  # protocol, rule 7
            scores.append(np.where(brain, score_map, score_map[brain].min())[counted])
            lesions.append(lesion[counted])
    truth = np.concatenate(lesions)
    return float(average_precision_score(truth, np.concatenate(scores))), len(truth)


def main() -> None:
    """Print both figures of each record, and end with 1 where they differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("records", nargs="+", type=Path)
    parser.add_argument("--all-slices", action="store_true", help="those with little brain too")
    asked, worst = parser.parse_args(), 0.0
    for path in asked.records:
        record = read_record(path)
        theirs, voxels = recomputed(path, asked.all_slices)
        ours = record.summary.profiles["raw"].ap or 0.0
        worst = max(worst, abs(ours - theirs))
        print(
            f"{record.method} on {record.test} {record.contrast}: record {ours:.6f}, "
            f"scikit-learn {theirs:.6f} ({voxels:,} voxels)"
        )
    raise SystemExit(int(worst > ALLOWED))


if __name__ == "__main__":
    main()
