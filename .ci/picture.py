"""Draw docs/overview.png: a simulated glioma, what a denoising auto-encoder makes of it, and its outline."""

from pathlib import Path
from typing import Any

import numpy as np

import uadbench
from uadbench.api import find_paths
from uadbench.data.space import resample
from uadbench.evaluation import maps
from uadbench.experiment.figures import draw_sheet

PICTURE = Path(__file__).resolve().parent.parent / "docs/overview.png"
KIND, DOTS = "glioma", 90  # dots per inch: the file stays under 100 kB


def main() -> None:
    """Run the method, or find its run, and draw the patient whose lesion is the median in size."""
    outcome = uadbench.run("dae", "phantom", preset="demo", settings={"steps": 500})
    made = outcome.record
    patients = [s for s in made.subjects if s.partition == "lesion-test" and s.lesion_kind == KIND]
    chosen = sorted(patients, key=lambda s: s.lesion_size)[len(patients) // 2]
    cases = maps.read_scans(outcome.maps, made.data_fingerprint, find_paths().cache)
    figure = _drawn(cases[chosen.id])
    figure.savefig(PICTURE, dpi=DOTS, pil_kwargs={"optimize": True}, metadata={"Software": None})


def _drawn(case: maps.Case) -> Any:
    """The slice with the largest part of the lesion."""
    stored, grid = maps.read_map(case.map_file), case.prepared.grid
    brain, image, lesion = case.prepared.brain(), case.prepared.image(), case.prepared.lesion()
    assert stored.pseudo_healthy is not None
    restored = resample(stored.pseudo_healthy[0], case.map_grid, grid) * brain
    score_map = resample(stored.score_map, case.map_grid, grid) * brain
    columns = [
        ("scan", image, "gray", False),
        ("pseudo-healthy volume", restored, "gray", False),
        ("score map", score_map, "magma", False),
        ("lesion outline", image, "gray", True),
    ]
    largest = np.zeros_like(lesion)
    place = int(lesion.sum((0, 1)).argmax())
    largest[..., place] = lesion[..., place]
    return draw_sheet("", columns, brain, largest, grid)


if __name__ == "__main__":
    main()
