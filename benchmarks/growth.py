"""How time and memory grow with subjects and with records: two tables.

python benchmarks/growth.py [--subjects 10 40 160 640] [--records 100 1000 10000]

Subjects are the balls of the tests, 4 mm wide voxels, half of them with a lesion; records are one of them
under other names with other scores, five seeds of twenty methods on as many cohorts as it takes. Each figure
is of a process of its own: seconds of CPU time, and the most memory beyond what the libraries take.
"""

import argparse
import io
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.experiment.collect import Collection, collect_records
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.run import evaluate_again, run
from uadbench.report import leaderboard, page
from uadbench.report.evidence import resamples_for
from uadbench.system.environment import peak_memory_mb, reset_peak_memory
from uadbench.system.files import sha256
from uadbench.system.paths import Paths
from uadbench.system.progress import Silent

PLUGINS = Path(__file__).resolve().parent.parent / "tests" / "plugins"
COUNT = "UADBENCH_TEST_BALLS"  # subjects of each kind
METHODS, SEEDS = 20, 5
RECORD = Path("uad-1-4mm/balls-to-balls/T1/random/ci/seed-0.json")
Cost = tuple[float, float]  # CPU seconds, MB


def places(home: Path) -> Paths:
    return Paths(home / "data", home / "runs", home / "results", home / "runs" / "cache")


def cost(work: Callable[[], Any]) -> tuple[Any, Cost]:
    """What some work answers, and what it takes beyond what is there."""
    reset_peak_memory()
    before, start = peak_memory_mb(), time.process_time()
    answer = work()
    return answer, (time.process_time() - start, peak_memory_mb() - before)


# ---- subjects ----------------------------------------------------------------------------------


def make_run(home: Path, subjects: int) -> None:
    """Draw subjects, and run `random` on them."""
    os.environ |= {COUNT: str(subjects // 2), PLUGINS_VARIABLE: str(PLUGINS)}
    run(RunConfig(method="random", dataset="balls", preset="ci"), Runtime(places(home), Silent()))


def evaluate(home: Path, subjects: int) -> Cost:
    """Evaluate the maps of the run again."""
    os.environ |= {COUNT: str(subjects // 2), PLUGINS_VARIABLE: str(PLUGINS)}
    runtime = Runtime(places(home), Silent())
    return cost(lambda: evaluate_again(runtime.paths.results / RECORD, runtime))[1]


# ---- records -----------------------------------------------------------------------------------


def copy_records(home: Path, source: Path, count: int) -> None:
    """Records like that of a file, each with scores of its own: all of them multiplied by a number."""
    facts = json.loads(source.read_text())
    with np.load(source.with_suffix(".npz")) as opened:
        pieces = dict(opened)
    for number, factor in zip(range(count), _factors(pieces), strict=False):
        method, seed, cohort = number % METHODS, number // METHODS % SEEDS, number // METHODS // SEEDS
        names = {"method": f"method_{method:02d}", "seed": seed, "test": f"cohort{cohort:03d}"}
        own = {**_scaled(facts, factor), **names, "preset": "demo", "variant": "demo"}
        path = home / "results" / RECORD.parts[0] / f"balls-to-{own['test']}" / "T1" / own["method"] / "demo"
        path = path / f"seed-{seed}.json"
        packed = io.BytesIO()  # by deflate: LZMA would take longer than all that is measured
        said = [subject["scan_score"] for subject in own["subjects"]]
        multiplied = {k: _of_scores(k, v, factor) for k, v in pieces.items()}
        np.savez_compressed(packed, **multiplied | {"image-scores/scores": np.array(said)})
        content = packed.getvalue()
        own |= {key: sha256(f"{key} {number}") for key in ("fit_hash", "score_hash")}
        own["pieces"] = {"file": f"seed-{seed}.npz", "sha256": sha256(content)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(own))
        path.with_suffix(".npz").write_bytes(content)


def _factors(pieces: Mapping[str, Any]) -> Iterator[np.float32]:
    """Numbers that leave the edges apart: neighbours among floats may be rounded to one."""
    edges = [values for name, values in pieces.items() if name.endswith("/edges")]
    for number in itertools.count():
        factor = np.float32(1 + number / 2**20)
        with np.errstate(over="ignore"):  # the last edge may be the largest number that there is
            apart = all((own[1:] * factor > own[:-1] * factor).all() for own in edges)
        if apart:
            yield factor


def _scaled(facts: Any, factor: np.float32, key: str = "") -> Any:
    """Facts whose thresholds and scan scores are multiplied."""
    if isinstance(facts, dict):
        known = key in ("thresholds", "scan_score", "threshold")
        return {k: _scaled(v, factor, key if known else k) for k, v in facts.items()}
    if isinstance(facts, list):
        return [_scaled(one, factor, key) for one in facts]
    if facts is None or isinstance(facts, str) or key not in ("thresholds", "scan_score", "threshold"):
        return facts
    return float(f"{facts * float(factor) if key == 'scan_score' else float(np.float32(facts) * factor):.9g}")


def _of_scores(name: str, values: Any, factor: np.float32) -> Any:
    """An array of the pieces; multiplied where it holds scores."""
    if name.endswith(("/edges", "/thresholds")):
        with np.errstate(over="ignore"):  # the last edge is the largest number that there is
            return values * factor
    return values


def show(home: Path) -> Mapping[str, Cost]:
    """Read the records of a folder, rank them, and write the page."""
    os.environ[PLUGINS_VARIABLE] = str(PLUGINS)
    paths = places(home)
    found, reading = cost(lambda: collect_records(paths.results, lambda made: True))
    assert isinstance(found, Collection)
    assert not found.left_out, found.left_out[:3]
    drawn = resamples_for(len(found.records))
    tables, ranking = cost(lambda: leaderboard.tables(found.records, resamples=drawn))
    _, writing = cost(lambda: page.write_page(tables, [], paths, drawn))
    return {"read": reading, "rank": ranking, "page": writing}


# ---- all of it ---------------------------------------------------------------------------------


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a function answers in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def line(count: int, costs: Mapping[str, Cost]) -> None:
    cells = [
        f"{name} {s:8.1f} s {1000 * s / count:8.1f} ms each {mb:7.0f} MB" for name, (s, mb) in costs.items()
    ]
    print(f"{count:>7}  " + "   ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subjects", type=int, nargs="*", default=[10, 40, 160, 640])
    parser.add_argument("--records", type=int, nargs="*", default=[100, 1000, 10_000])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        print("subjects")
        for count in asked.subjects:
            own = home / f"subjects-{count}"
            apart(make_run, own, count)
            line(count, {"evaluate": apart(evaluate, own, count), **apart(show, own)})
        print("records")
        apart(make_run, home / "few", 20)
        for count in asked.records:
            own = home / f"records-{count}"
            copy_records(own, home / "few" / "results" / RECORD, count)
            line(count, apart(show, own))


if __name__ == "__main__":
    main()
