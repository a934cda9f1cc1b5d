"""Draw docs/dal_r.png: what dal_r sees, restores and paints in simulated patients, and where it fails."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from uadbench.api import find_paths
from uadbench.data.prepared import Prepared
from uadbench.data.volumes import Volumes
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.run import fit_run
from uadbench.methods.dal_r import model, variants
from uadbench.system.progress import Silent

PICTURE = Path(__file__).resolve().parent.parent / "docs/dal_r.png"
DOTS, COLOURS = 64, 96  # per inch, and of the picture: the file stays small
LEARNED = ("T1", "T2")
# A contrast and a kind of lesion for each line.
SHOWN = (("T1", "glioma"), ("FLAIR", "ms"), ("PD", "stroke"), ("FLAIR", "mimic"), ("T2", "wmh"))
TITLES = (
    "scan, lesion", "seen anatomy", "edges of it", "restored anatomy", "imaging code:\nwhite matter here",
    "pseudo-healthy", "residual", "score",
)  # fmt: skip


def main() -> None:
    """Fit once, and draw for each line the patient whose lesion is the median in size of its kind."""
    figure = Figure((1.75 * len(TITLES), 2.05 * len(SHOWN)))
    axes = figure.subplots(len(SHOWN), len(TITLES))
    for line, (contrast, kind) in zip(axes, SHOWN, strict=True):
        config = RunConfig(
            method="dal_r", dataset="phantom", contrast=contrast, train_contrasts=LEARNED, preset="demo"
        )
        resolved, cohort = fit_run(config, Runtime(find_paths(), Silent()))
        scans = [s for s in cohort.model["lesion-test"] if s.session.lesion_kind == kind]
        chosen = sorted(scans, key=lambda scan: scan.lesion().sum())[len(scans) // 2]
        _draw(line, resolved.method, chosen)
        line[0].set_ylabel(f"{contrast}, {kind}")
    for axis, title in zip(axes[0], TITLES, strict=True):
        axis.set_title(title, fontsize=9)
    figure.tight_layout(pad=0.4)
    save(figure)


def save(figure: Figure) -> None:
    """As a picture of few colours, which is a quarter of the size."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DOTS)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)


def _draw(line: Any, method: Any, scan: Prepared) -> None:
    """The slice with the largest part of the lesion, front upwards."""
    (volume,) = Volumes([scan], scan.grid)
    found, lesion = method.findings(volume), scan.lesion()
    place = int(lesion.sum((0, 1)).argmax())
    row = int(np.flatnonzero(found.slices == place)[0])
    painted = model.paint(found.restored, found.means)
    score = method.score(volume).score_map[..., place]
    image = found.image[row, 0].numpy()
    white = found.means[row, 2].numpy() * found.brain[row, 0].numpy()
    healthy, edges = painted[row, 0].numpy(), variants.edges(found.seen)[row, 0].numpy()
    maps = (
        image, _colours(found.seen[row]), edges, _colours(found.restored[row]), white, healthy,
        np.abs(image - healthy), score,
    )  # fmt: skip
    for axis, shown, most in zip(line, maps, (1, 1, 1.5, 1, 1, 1, 0.5, 8), strict=True):
        upright = np.moveaxis(shown, 0, 1)[::-1]
        axis.imshow(upright, cmap="magma" if axis in line[-2:] else "gray", vmin=0, vmax=most)
        axis.set_xticks([])
        axis.set_yticks([])
    line[0].contour(lesion[..., place].T[::-1], [0.5], colors="red", linewidths=0.8)


def _colours(anatomy: Any) -> NDArray[np.float32]:
    """Fluid blue, grey matter green, white matter red (R, A, 3)."""
    return np.ascontiguousarray(anatomy.numpy()[::-1].transpose(1, 2, 0))


if __name__ == "__main__":
    main()
