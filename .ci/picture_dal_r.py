"""Draw what dal_r sees, restores and paints, and where it fails: docs/dal_r.png, of simulated patients.

python .ci/picture_dal_r.py [dal_r_real.png]
"""

import io
import sys
from dataclasses import dataclass
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

DOCS = Path(__file__).resolve().parent.parent / "docs"
DOTS, COLOURS = 64, 160  # per inch, and of the picture: the file stays small
TITLES = (
    "scan, lesion", "seen anatomy", "edges of it", "restored anatomy", "imaging code:\nwhite matter here",
    "pseudo-healthy", "residual", "score",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line of a picture: of the scans of a kind of lesion, or a word in their names, the median one."""

    title: str
    contrast: str
    kind: str
    dataset: str = "phantom"
    train: str | None = None
    learned: tuple[str, ...] = ("T1", "T2")

    def drawn(self, line: Any) -> None:
        """Fit once, and draw."""
        asked = RunConfig(
            method="dal_r", dataset=self.dataset, train=self.train, contrast=self.contrast,
            train_contrasts=self.learned, preset="demo", protocol="uad-1-2mm",
        )  # fmt: skip
        resolved, cohort = fit_run(asked, Runtime(find_paths(), Silent()))
        scans = [
            scan
            for scan in cohort.model["lesion-test"]
            if self.kind in (scan.session.lesion_kind, "") or self.kind in scan.session.id
        ]
        chosen = sorted(scans, key=lambda scan: scan.lesion().sum())[len(scans) // 2]
        _draw(line, resolved.method, chosen)
        line[0].set_ylabel(self.title)


PICTURES = {
    "dal_r.png": [
        Line("T1, glioma", "T1", "glioma"),
        Line("FLAIR, ms", "FLAIR", "ms"),
        Line("PD, stroke", "PD", "stroke"),
        Line("FLAIR, mimic", "FLAIR", "mimic"),
        Line("T2, wmh", "T2", "wmh"),
    ],
    # Needs the sets of results/sweeps/ixi-implanted.toml, and mslub.
    "dal_r_real.png": [
        Line("IXI T1, 8 ml, dark", "T1", "8ml-cnr-3", "own_ixi_implanted", "ixi", ("T1",)),
        Line("IXI T1, 8 ml, bright", "T1", "8ml-cnr3", "own_ixi_implanted", "ixi", ("T1",)),
        Line("IXI T1, .5 ml, dark", "T1", "0.5ml-cnr-3", "own_ixi_implanted", "ixi", ("T1",)),
        Line("MSLUB FLAIR", "FLAIR", "", "mslub", "ixi", ("T1",)),
        Line("MSLUB T2", "T2", "", "mslub", "ixi", ("T1",)),
    ],
}


def main() -> None:
    """Draw the pictures that are named, by default that of simulated patients."""
    for name in sys.argv[1:] or ["dal_r.png"]:
        lines = PICTURES[name]
        figure = Figure((1.75 * len(TITLES), 2.05 * len(lines)))
        axes = figure.subplots(len(lines), len(TITLES))
        for line, asked in zip(axes, lines, strict=True):
            asked.drawn(line)
        for axis, title in zip(axes[0], TITLES, strict=True):
            axis.set_title(title, fontsize=9)
        figure.tight_layout(pad=0.4)
        save(figure, DOCS / name)


def save(figure: Figure, picture: Path) -> None:
    """As a picture of few colours, which is a quarter of the size."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DOTS)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(picture, optimize=True)


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
