"""What the parts of dal_r are worth: the rows of its pre-registration on the phantom, with paired intervals.

    python benchmarks/dal_r.py choices --output results/ablations/dal_r/choices.md
    python benchmarks/dal_r.py answer --people 2033 --seeds 3 --output results/ablations/dal_r/answer.md

On the model grid of the preset demo, learned from T1 and T2 of the built-in phantom's healthy members, tested
on all four contrasts of everybody with a lesion, or of other people. What was measured is kept under runs and
not measured again. The questions are in methods/dal_r/PREREGISTRATION.md.
"""

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uadbench import methods, phantom
from uadbench.data import splits
from uadbench.data.prepared import Prepared
from uadbench.data.space import find_grid, resample
from uadbench.data.volumes import Volumes
from uadbench.evaluation.pieces import Pieces
from uadbench.evaluation.postprocess import PROFILES, filtered
from uadbench.evaluation.scan_facts import extent
from uadbench.evaluation.uncertainty import (
    Interval,
    Sampled,
    difference,
    draw_resamples,
    interval,
    over_seeds,
    pooled,
)  # fmt: skip
from uadbench.experiment.cohort import Cohort, prepare_cohort
from uadbench.experiment.config import RunConfig, Runtime, resolve_run
from uadbench.experiment.record import NOBODY
from uadbench.methods import Context, Method
from uadbench.system.environment import seed_everything
from uadbench.system.files import sha256_json
from uadbench.system.paths import Paths
from uadbench.system.progress import Silent

CONTRASTS, LEARNED = ("T1", "T2", "FLAIR", "PD"), ("T1", "T2")
GRID, PROFILE = "g48", PROFILES["baur5"]
Maps = Sequence[NDArray[np.float32]]


@dataclass(frozen=True, eq=False)  # a row is itself: its settings cannot be hashed
class Row:
    """A method with options, or the sum of the scores of two other rows."""

    method: str = "dal_r"
    settings: Mapping[str, str] = field(default_factory=dict)
    sum_of: tuple[str, ...] = ()
    seeded: bool = True  # whether a seed changes anything
    moved: bool = False  # the atlas is moved to each scan


DESIGN = "dal_r"
NOTHING = "R sees nothing of the anatomy"
EDGES = "R sees edges"
CONTROLS = {
    DESIGN: Row(),
    "gmm_atlas (prior)": Row("gmm_atlas", seeded=False),
    "gmm_atlas (posterior)": Row("gmm_atlas", {"paint": "posterior"}, seeded=False),
    "intensity": Row("intensity", seeded=False),
    NOTHING: Row(settings={"shown": "nothing"}),
    "dae": Row("dae"),
    "atlas_z": Row("atlas_z", seeded=False),
    EDGES: Row(settings={"shown": "edges"}),
    "dae_rc": Row("dae", {"curves": "0.7"}),
}
CHOICES = {
    **CONTROLS,
    "one-hot": Row(settings={"one_hot": "true"}),
    "R without atlas": Row(settings={"prior": "false"}),
    "spoilt by noise": Row(settings={"spoilt": "noise"}),
    "spoilt by both": Row(settings={"spoilt": "both"}),
    "not spoilt": Row(settings={"spoilt": "nothing"}),
    "restored where in doubt": Row(settings={"painted": "doubtful"}),
    "seen anatomy painted": Row(settings={"painted": "seen"}),
    "atlas painted": Row(settings={"painted": "atlas"}),
    "likelihood ratio": Row(settings={"score_kind": "ratio"}),
    "atlas moved to the scan": Row(moved=True),
    "towards water": Row(settings={"score_kind": "water"}),
    "dae, zres": Row("dae", {"score_kind": "zres"}),
    "dal_r + dae": Row(sum_of=(DESIGN, "dae, zres")),
}


def _prepare(paths: Paths, contrast: str, method: str, **changes: Any) -> Cohort:
    settings = {"grid": GRID} if method == "intensity" else {}
    config = RunConfig(
        method=method, dataset="phantom", contrast=contrast, settings=settings,
        train_contrasts=CONTRASTS if method == "dal_r" else (), **changes,
    )  # fmt: skip
    runtime = Runtime(paths, Silent())
    return prepare_cohort(resolve_run(config, runtime), runtime)


def _patients(paths: Paths, contrast: str, people: int) -> Cohort:
    """Everybody with a lesion who is drawn from a seed, as lesion-test."""
    if people != phantom.SEED:
        os.environ |= {phantom.SEED_VARIABLE: str(people), phantom.HEALTHY_VARIABLE: "0"}
        paths = replace(paths, data=paths.runs / f"phantom-{people}")
    return _prepare(paths, contrast, "intensity", train=NOBODY, split=splits.ALL_TEST)


class Scans:
    """Scans on the model grid, by contrast: the healthy of the built-in phantom, and the ill of any seed."""

    def __init__(self, paths: Paths, people: int, every: int) -> None:
        """Make and prepare what is missing; so many of the ill of the seed `people` are tested."""
        usual = {contrast: _prepare(paths, contrast, "dal_r", train="phantom") for contrast in CONTRASTS}
        first = usual[CONTRASTS[0]]
        self.learned = {"T1+T2": self._volumes(first.train, LEARNED)}
        self.learned |= {contrast: self._volumes(first.train, (contrast,)) for contrast in CONTRASTS}
        self.calibration = self._volumes(first.val, LEARNED)
        self.healthy = {c: self._volumes(cohort.model["healthy-test"]) for c, cohort in usual.items()}
        self.ill, self.measured = {}, {}
        for contrast in CONTRASTS:
            cohort = _patients(paths, contrast, people)
            self.measured[contrast] = cohort.evaluation["lesion-test"][::every]
            self.ill[contrast] = self._volumes(cohort.model["lesion-test"][::every])

    @staticmethod
    def _volumes(scans: Sequence[Prepared], contrasts: Sequence[str] = CONTRASTS) -> Volumes:
        return Volumes([scan for scan in scans if scan.contrast in contrasts], find_grid(GRID))

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Of those who are ill; every contrast has the same."""
        names = {tuple(scan.session.id for scan in scans) for scans in self.measured.values()}
        if len(names) != 1:
            raise ValueError("the contrasts have different subjects, and cannot be compared")
        return names.pop()

    def pieces(self, contrast: str, maps: Maps) -> Pieces:
        """What AP and its interval are made of, as in a record: evaluation grid, post-processing, extent."""
        voxels = []
        for scan, score_map in zip(self.measured[contrast], maps, strict=True):
            fine = resample(score_map, find_grid(GRID), scan.grid)
            inside = extent(scan)
            scores = filtered(fine, scan.brain(), PROFILE, scan.grid)
            voxels.append((scores[inside], scan.lesion()[inside]))
        return Pieces.of_voxels(self.subjects, voxels)


@dataclass(eq=False)
class Laboratory:
    """Measures rows once, and keeps what it has measured in a folder."""

    scans: Scans
    rows: Mapping[str, Row]
    folder: Path
    preset: str = "demo"

    def ap(self, name: str, contrast: str, seeds: int) -> Sampled:
        """Pooled AP of a row, the mean over its seeds."""
        count = seeds if self._seeded(name) else 1
        weights = draw_resamples(self.scans.subjects, ["ill"] * len(self.scans.subjects))
        return over_seeds(
            [
                pooled(Pieces.from_arrays(self._measured(name, seed)[contrast]), weights).ap
                for seed in range(count)
            ]
        )

    def residual(self, name: str, contrast: str, seeds: int) -> float:
        """Mean absolute residual in the brains of healthy scans; NaN where nothing is reconstructed."""
        count = seeds if self._seeded(name) else 1
        return float(np.mean([self._measured(name, seed)[contrast]["residual"] for seed in range(count)]))

    def _seeded(self, name: str) -> bool:
        row = self.rows[name]
        return any(self._seeded(part) for part in row.sum_of) if row.sum_of else row.seeded

    def _measured(self, name: str, seed: int) -> dict[str, Any]:
        """Pieces and healthy residual of a row by contrast."""
        about = name, repr(self.rows[name]), self.preset, seed, self.scans.subjects
        files = {c: self.folder / f"{sha256_json([*about, c])[:16]}.npz" for c in CONTRASTS}
        for contrast in [c for c, file in files.items() if not file.exists()]:
            maps, residual = self._maps(name, seed, contrast)
            pieces: dict[str, Any] = self.scans.pieces(contrast, maps).arrays()
            np.savez(files[contrast], residual=residual, **pieces)
        return {contrast: dict(np.load(file)) for contrast, file in files.items()}

    def _maps(self, name: str, seed: int, contrast: str) -> tuple[Maps, float]:
        """Score maps of the ill scans of a contrast, and the residual of the healthy ones (NaN: none)."""
        row = self.rows[name]
        if row.sum_of:
            parts = [self._maps(part, seed, contrast)[0] for part in row.sum_of]
            return [np.sum(maps, axis=0) for maps in zip(*parts, strict=True)], np.nan
        # One whose atlas is of a single contrast is given the tested one; the others learn T1 and T2.
        learned = contrast if row.method == "atlas_z" else "T1+T2"
        method = self._method(row, seed, learned)
        maps = [method.score(volume).score_map for volume in self.scans.ill[contrast]]
        if contrast not in LEARNED or not hasattr(method, "reconstruct"):
            return maps, np.nan
        healthy = self.scans.healthy[contrast]
        return maps, float(
            np.mean([np.abs(v.image - method.reconstruct(v))[:, v.brain].mean() for v in healthy])
        )

    @lru_cache(maxsize=2)  # noqa: B019  # one laboratory for the whole program
    def _method(self, row: Row, seed: int, learned: str) -> Method:
        """A method that is ready to score; where it is another only in its score, nothing is learned."""
        method: Method = methods.build(row.method, self.preset, {**row.settings, "grid": GRID})
        if row.moved:
            from deformed import Deformed  # type: ignore[import-not-found]

            method = Deformed(**methods.parameters(method))
        fit = [row.method, methods.parameters(method, "fit"), seed, learned]
        folder = self.folder / "fits" / sha256_json(fit)[:16]
        context, state = Context(seed=seed, folder=folder), folder / "state.npz"
        seed_everything(seed)
        if not state.exists():
            folder.mkdir(parents=True, exist_ok=True)
            method.fit(self.scans.learned[learned], self.scans.calibration, context)
            found: dict[str, Any] = method.state()
            np.savez(state, **found)
        method.load_state(dict(np.load(state)), context)
        return method.calibrate(self.scans.calibration, context)


def table(lab: Laboratory, names: Iterable[str], seeds: int) -> str:
    """AP of these rows with its interval, and the healthy residual on T1 and T2."""
    lines = ["| row | " + " | ".join(CONTRASTS) + " | mean | healthy L1 T1 | T2 |", "|---|" + "---:|" * 7]
    for name in names:
        print(f"measuring {name}", flush=True)
        found = [lab.ap(name, contrast, seeds) for contrast in CONTRASTS]
        cells = [_shown(interval(ap)) for ap in found] + [f"{np.mean([ap.value for ap in found]):.3f}"]
        cells += [f"{lab.residual(name, contrast, seeds):.3f}" for contrast in LEARNED]
        lines.append(f"| {name} | " + " | ".join(cells).replace("nan", "") + " |")
    return "\n".join(lines)


def contrasts_between(lab: Laboratory, pairs: Sequence[tuple[str, str]], seeds: int) -> str:
    """Paired differences in AP, first less second; how many contrasts' intervals lie above 0."""
    lines = ["| first | second | " + " | ".join(CONTRASTS) + " | above 0 |", "|---|---|" + "---:|" * 5]
    for first, second in pairs:
        found = [
            difference(lab.ap(first, contrast, seeds), lab.ap(second, contrast, seeds))[0]
            for contrast in CONTRASTS
        ]
        above = sum(one.low > 0 for one in found)
        lines.append(f"| {first} | {second} | " + " | ".join(map(_signed, found)) + f" | {above} of 4 |")
    return "\n".join(lines)


def _shown(found: Interval | None) -> str:
    return "" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _signed(found: Interval) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", choices=("choices", "answer"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--people", type=int, default=phantom.SEED)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", action="append", help="a row beside the design; repeatable")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    paths = Paths.default()
    every = CHOICES if asked.rows == "choices" else CONTROLS
    rows = {name: every[name] for name in (DESIGN, *asked.only)} if asked.only else every
    scans = Scans(paths, asked.people, asked.every)
    lab = Laboratory(scans, every, paths.runs / "dal_r", asked.preset)
    pairs = [(DESIGN, name) for name in rows if name != DESIGN]
    pairs += [(EDGES, name) for name in (NOTHING, DESIGN) if EDGES in rows]
    text = f"{table(lab, rows, asked.seeds)}\n\n{contrasts_between(lab, pairs, asked.seeds)}\n"
    print(text)
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
