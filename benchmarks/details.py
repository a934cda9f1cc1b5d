"""What the details of one scan at 1 mm cost: `python benchmarks/details.py`, on one core."""

import time

import numpy as np
from scipy import ndimage

from uadbench.data.space import GRIDS
from uadbench.evaluation.details import FROC_RATES, RATES, Sweep, detail_of, surface_dice, swept
from uadbench.evaluation.postprocess import PROFILES
from uadbench.evaluation.regions import regions_of
from uadbench.evaluation.view import View
from uadbench.protocol import OPERATING_POINTS
from uadbench.testing.toys import draw_ellipsoid


def main() -> None:
    grid = GRIDS["g192"]
    brain = draw_ellipsoid(grid, (0, -18, 8), (66, 82, 62))
    lesion = draw_ellipsoid(grid, (30, -10, 20), (18, 14, 16)) | draw_ellipsoid(grid, (-30, 0, 20), (4, 4, 4))
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(grid.shape), 1.0)
    scores = np.where(brain, noise / noise.std() + lesion, -9.0).astype(np.float32)
    view = View(
        grid, PROFILES["baur5"], 1.0, grid.voxel_ml, brain, lesion, np.zeros(grid.shape, bool), scores,
        (slice(None),) * 3,
    )  # fmt: skip
    negatives = scores[brain & ~lesion]
    thresholds = np.quantile(negatives, 1 - np.array(RATES)).astype(np.float32)
    sweep = Sweep(thresholds, len(FROC_RATES))
    points = dict.fromkeys(OPERATING_POINTS, float(np.quantile(negatives, 0.99)))
    regions = regions_of(grid, brain)  # made once for all scans
    for name, work in (
        ("sweep", lambda: swept(view, sweep)),
        ("surface Dice at one point", lambda: surface_dice(view.called(points["fpr1"]), lesion, (1.0,) * 3)),
        ("all", lambda: detail_of(view, regions, points, sweep)),
    ):
        start = time.process_time()
        work()
        print(f"{name}: {time.process_time() - start:.1f} s")


if __name__ == "__main__":
    main()
