"""How long the page takes to write from many made-up records, and whether a browser opens and sorts it.

    python benchmarks/page.py [methods] [cohorts] [seeds]

The records are made up: log-normal lesions and binormal scores of 40 subjects; nothing was scanned.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.browser import UnavailableError, chromium
from uadbench import catalog
from uadbench.cards import FAMILIES
from uadbench.data.sizes import SIZE_BANDS
from uadbench.experiment import record
from uadbench.experiment.record import RunRecord, Stored
from uadbench.protocol import METRIC_VERSION, OPERATING_POINTS, PROFILES
from uadbench.report import leaderboard, page
from uadbench.system.files import sha256, write_text
from uadbench.system.paths import Paths

PIECES = b"no pieces"
ILL, HEALTHY, VAL = 24, 10, 14
KINDS = ("glioma", "ms", "stroke", "wmh")
REGIMES = (("ixi", "cross"), ("labelmaps", "synthetic"), (None, "none"))

CARD = """\
title = "Made-up method {name}"
family = "{family}"
summary = "Nothing was trained."
paper = "none"
year = 2026
link = "none"
reference_licence = "none"
input = "nothing"
differences = ["It was made up for a benchmark."]
"""


def method_names(count: int) -> list[str]:
    return [f"method_{number:02d}" for number in range(count)]


def write_cards(folder: Path, methods: int) -> None:
    """Cards of the made-up methods, in the layout of a folder of plug-ins."""
    for number, name in enumerate(method_names(methods)):
        family = FAMILIES[number % len(FAMILIES)]
        write_text(folder / "methods" / name / "card.toml", CARD.format(name=name, family=family))


def made_up(methods: int, cohorts: int, seeds: int) -> Iterator[RunRecord]:
    """Records of every method on every cohort with every seed."""
    for cohort in range(cohorts):
        train, regime = REGIMES[cohort % len(REGIMES)]
        for number, method in enumerate(method_names(methods)):
            for seed in range(seeds):
                yield _record(method, number / methods, f"cohort{cohort:02d}", train, regime, seed, cohort)


def _record(
    method: str, skill: float, test: str, train: str | None, regime: str, seed: int, cohort: int
) -> RunRecord:
    random = np.random.default_rng([cohort, seed, int(1000 * skill)])
    subjects = _subjects(random, cohort, skill)
    profiles = {profile: _profile(random, skill) for profile in PROFILES}
    thresholds: dict[str, dict[str, float | None]] = {
        profile: dict.fromkeys(OPERATING_POINTS, 0.5) for profile in profiles
    }
    parts = {"healthy-test": HEALTHY, "healthy-val": VAL // 2, "lesion-val": VAL // 2, "lesion-test": ILL}
    digest = sha256(test)
    facts: dict[str, Any] = {
        "protocol": "uad-1",
        "metric_version": METRIC_VERSION,
        "card_version": 1,
        "trained": True,
        "model_grid": "g192",
        "headline": "baur5",
        "split": {"asked": "hash"},
        "preparation": {},
        "regime": regime,
        "train": train,
        "test": test,
        "contrast": ("T1", "T2", "FLAIR")[cohort % 3],
        "train_contrasts": ["T1"],
        "method": method,
        "variant": "paper",
        "preset": "paper",
        "seed": seed,
        "limit": None,
        "precision": "float32",
        "parameters": {"width": 16, "steps": 1000, "learning_rate": 0.001},
        "n_parameters": int(1e5 + 1e7 * skill),
        "splits": {name: {"subjects": n, "persons": n, "hash": digest} for name, n in parts.items()},
        "excluded": [],
        "data_fingerprint": digest,
        "fit_hash": sha256(f"{method}{seed}"),
        "score_hash": sha256(f"{method}{test}{seed}"),
        "code": {"commit": "0" * 40, "changed": False},
        "packages": {"numpy": np.__version__},
        "hardware": {"cores": 2, "device": "cpu", "processor": "made up", "system": "none", "threads": 2},
        "timing": {
            stage: {"seconds": float(random.lognormal(3, 1)), "peak_memory_mb": 900.0}
            for stage in ("prepare", "fit", "score", "evaluate")
        },
        "subjects": subjects,
        "thresholds": thresholds,
        "summary": {
            "subjects": parts,
            "empty_masks": 0,
            "scan": {"auroc": float(random.uniform(0.5, 0.9)), "rule": "mean of the top 1 %"},
            "restoration": {},
            "profiles": profiles,
        },
        "pieces": {"file": f"seed-{seed}.npz", "sha256": sha256(PIECES)},
    }
    return record.make_record(facts)


def _subjects(random: np.random.Generator, cohort: int, skill: float) -> list[dict[str, Any]]:
    parts = ["healthy-test"] * HEALTHY + ["healthy-val"] * (VAL // 2)
    parts += ["lesion-val"] * (VAL // 2) + ["lesion-test"] * ILL
    made = []
    for number, part in enumerate(parts):
        ill = part.startswith("lesion")
        points = {point: float(random.uniform(0, skill)) if ill else None for point in OPERATING_POINTS}
        made.append(
            {
                "id": f"sub-{number:03d}",
                "person": f"sub-{number:03d}",
                "session": "1",
                "cohort": f"cohort{cohort:02d}",
                "partition": part,
                "site": f"site {number % 3}",
                "sex": "FM"[number % 2],
                "age": float(round(20 + 60 * random.random(), 1)),
                "lesion_kind": KINDS[number % len(KINDS)] if ill else None,
                "lesion_ml": float(random.lognormal(1, 1.5)) if ill else 0.0,
                "voxels": 1_500_000,
                "scan_score": float(random.normal(skill * ill)),
                "intensity": random.normal(size=10).tolist(),
                "ap": dict.fromkeys(PROFILES, 0.2) if ill else {},
                "auroc": dict.fromkeys(PROFILES, 0.8) if ill else {},
                "dsc": dict.fromkeys(PROFILES, points),
                "restoration_l1": 0.1,
                "restoration_ssim": 0.5,
            }
        )
    return made


def _profile(random: np.random.Generator, skill: float) -> dict[str, Any]:
    ap = float(np.clip(skill * 0.6 + random.normal(0, 0.03), 0.005, 1))
    sizes = {band: {"lesions": 40, "recall": ap, "false_components": 3.0} for band in SIZE_BANDS}
    point = {
        "threshold": 0.5, "dsc": ap, "dsc_mean": ap, "recall": ap, "fpr_healthy_test": 0.01,
        "fpr_lesion_test": 0.01, "healthy_false_ml": 20.0, "false_components": 9.0, "ceiling": 0.7,
        "by_size": sizes,
    }  # fmt: skip
    kind = {"subjects": 6, "ap": ap, "ap_error": 1e-5, "auroc": 0.8, "auroc_error": 1e-5, "prevalence": 0.01}
    return {
        "ap": ap,
        "ap_error": 1e-5,
        "auroc": (1 + ap) / 2,
        "auroc_error": 1e-5,
        "prevalence": 0.01,
        "ap_mean": ap * 0.8,
        "kinds": {name: dict(kind) for name in KINDS},
        "points": {name: dict(point) for name in OPERATING_POINTS},
    }


def write_records(results: Path, methods: int, cohorts: int, seeds: int) -> int:
    """Write made-up records with an empty pieces file each; returns how many."""
    count = 0
    for made in made_up(methods, cohorts, seeds):
        path = results / made.place
        path.parent.mkdir(parents=True, exist_ok=True)  # plainly: nothing here need outlive a crash
        path.write_bytes(msgspec.json.encode(made))
        path.with_suffix(".npz").write_bytes(PIECES)
        count += 1
    return count


def main() -> None:
    given = [int(text) for text in sys.argv[1:4]]
    methods, cohorts, seeds = given + [50, 20, 3][len(given) :]
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        write_cards(here, methods)
        catalog.add_plugins(here)
        paths = Paths(here, here / "runs", here / "results", here / "cache")
        count = write_records(paths.results, methods, cohorts, seeds)
        start, cpu = time.perf_counter(), time.process_time()
        records = [Stored(record.read_record(path), path) for path in record.paths_of_records(paths.results)]
        read = time.perf_counter()
        tables = leaderboard.tables(records)  # no pieces are made up: of so many there are no intervals
        ranked = time.perf_counter()
        text = page.write_page(tables, [], paths, 0)
        end, cpu = time.perf_counter(), time.process_time() - cpu
        out = Path("runs/benchmark-page.html")
        write_text(out, text)
    print(f"{count} records ({methods} methods, {cohorts} cohorts, {seeds} seeds), without intervals")
    for name, seconds in (("read", read - start), ("rank", ranked - read), ("page", end - ranked)):
        print(f"  {name:<6}{seconds:6.2f} s")
    print(f"  all   {end - start:6.2f} s ({cpu:.2f} s of processor time), {len(text) / 1e6:.1f} MB: {out}")
    browse(out)


SORT = """
const started = performance.now();
document.querySelectorAll('#results thead th button')[3].click();
document.body.offsetHeight;
return performance.now() - started;"""
FILTER = """
const started = performance.now();
const family = document.getElementById('filter-family');
family.value = arguments[0];
family.dispatchEvent(new Event('change'));
document.body.offsetHeight;
return performance.now() - started;"""


def browse(page_file: Path) -> None:
    """How long Chromium takes to open the page, to sort a table and to filter all of them."""
    try:
        with chromium() as browser:
            started = time.perf_counter()
            browser.get(page_file.resolve().as_uri())
            opened = time.perf_counter() - started
            sorting, filtering = browser.execute_script(SORT), browser.execute_script(FILTER, "AE")
            status = browser.find_element("id", "status").text
            errors = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    except UnavailableError as reason:
        print(f"  not opened in a browser: {reason}")
        return
    print(f"  Chromium: opens in {opened:.2f} s, sorts in {sorting:.0f} ms, filters in {filtering:.0f} ms")
    print(f"  {status} {len(errors)} errors in its console.")


if __name__ == "__main__":
    main()
