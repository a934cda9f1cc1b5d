"""Evaluate maps that were made elsewhere: the record of a run whose maps are not ours, and its listings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uadbench.data.prepared import Prepared
from uadbench.data.sizes import sizes
from uadbench.evaluation import maps
from uadbench.evaluation.evaluate import Evaluation, evaluate
from uadbench.evaluation.scan_facts import extent
from uadbench.evaluation.summary import summarise
from uadbench.experiment import figures, pieces_file
from uadbench.experiment.config import Runtime
from uadbench.experiment.elsewhere.asked import REFUSED, MapsConfig
from uadbench.experiment.elsewhere.held import Held, hold_own
from uadbench.experiment.elsewhere.listings import write_listings
from uadbench.experiment.elsewhere.ours import hold_ours
from uadbench.experiment.record import ELSEWHERE, NOBODY, make_record, place_record, read_record, write_record
from uadbench.experiment.run import Outcome
from uadbench.methods import Score
from uadbench.protocol import PROFILES
from uadbench.system import environment
from uadbench.system.environment import Cost, measured
from uadbench.system.errors import UserError
from uadbench.system.files import scratch_folder, sha256_json

PLACE = ("protocol", "train", "test", "contrast", "method", "variant", "seed")  # what names a record's file


def evaluate_maps(asked: MapsConfig, runtime: Runtime, force: bool = False) -> Outcome:
    """Measure maps or masks that were made elsewhere, and record what was measured.

    Nothing is written unless all of it could be measured. A record of other maps under the same name is only
    replaced with `force`.

    Raises:
        UserError: files that do not belong together, a scan that cannot be measured, nothing to measure.
    """
    asked.check()
    runtime.paths.check_writable()
    scratch = runtime.paths.runs / "scratch"
    with scratch_folder(scratch) as folder:
        held = (hold_ours if asked.dataset else hold_own)(asked, folder, runtime)
        check_measurable([case.prepared for case in held.cases if case.partition == "lesion-test"])
        if held.masks:
            _make_masks(held)
        facts = _facts(asked, held)
        path = runtime.paths.results / place_record(**{name: facts[name] for name in PLACE})
        _check_earlier(path, facts, force)
        with measured() as cost:
            evaluation = evaluate(
                held.cases, PROFILES, scratch, runtime.workers, runtime.progress, held.headline, held.masks
            )
        facts |= _figures(held, evaluation, cost)
        pieces = path.with_suffix(".npz")
        facts["pieces"] = {"file": pieces.name, "sha256": pieces_file.write_pieces(pieces, evaluation)}
        made = make_record(facts)
        write_listings(evaluation, held.cases, held.headline, path)
        pictures = runtime.paths.runs / "pictures" / made.place.with_suffix("")
        drawn = figures.draw_pictures(made, evaluation, held.cases, pictures)
    written = read_record(write_record(made, runtime.paths.results))
    source = asked.maps if isinstance(asked.maps, Path) else path.parent
    return Outcome(written, path, source, path.with_suffix(".logs"), tuple(drawn), False)


def check_measurable(tested: list[Prepared]) -> None:
    """Stop where no scan has both what is to be found and what is not: no figure would be defined."""
    counts = [
        (int(lesion.sum()), lesion.size)
        for item in tested
        for lesion in [item.lesion()[extent(item) & ~item.ignored()]]
    ]
    ill, whole = (sum(part) for part in zip(*counts, strict=True))
    if not ill or ill == whole:
        what = "no measured voxel is lesion" if not ill else "every measured voxel is lesion"
        raise UserError(
            f"Nothing can be measured: in the {len(tested)} scans with lesion masks {what}; look at the "
            "masks (values above 0 are lesion) and at the brain masks."
        )


def _make_masks(held: Held) -> None:
    """Give what masks call the value 1, whatever it was."""
    for case in held.cases:
        called = maps.read_map(case.map_file).score_map > 0
        maps.write_map(case.map_file, Score(called.astype(np.float32)), 0.0, 0.0)


def _facts(asked: MapsConfig, held: Held) -> dict[str, Any]:
    """What a record states before anything is measured."""
    train = None if asked.train in (None, NOBODY) else asked.train
    identity = sha256_json(["maps made elsewhere", held.maps_sha256])
    variant = [ELSEWHERE, *(["masks"] if held.masks else [])]
    variant += [f"nan={asked.nan}"] if asked.nan != REFUSED else []
    return {
        **held.facts,
        "train": train,
        "trained": train is not None,
        "train_contrasts": [],
        "method": asked.name,
        "variant": ",".join(variant),
        "preset": ELSEWHERE,
        "seed": asked.seed,
        "limit": None,
        "precision": "float32",
        "parameters": {},
        "n_parameters": 0,
        "fit_hash": identity,  # of the maps: nothing is known of a fit
        "score_hash": identity,
        "code": environment.commit(),
        "packages": environment.packages(),
        "hardware": {},  # that on which the maps were made is not known
        "elsewhere": {
            "kind": "masks" if held.masks else "maps",
            "own_truth": asked.dataset is None,
            "untrained": asked.train == NOBODY,
            "maps_sha256": held.maps_sha256,
            "remarks": list(held.remarks),
        },
    }


def _figures(held: Held, evaluation: Evaluation, cost: Cost) -> dict[str, Any]:
    """What was measured."""
    grid = held.cases[0].prepared.grid
    return {
        "subjects": evaluation.subjects,
        "thresholds": evaluation.thresholds,
        "summary": summarise(evaluation, grid.voxel_size, sizes(grid)),
        "timing": {"evaluate": {"seconds": cost.seconds, "peak_memory_mb": cost.peak_memory_mb}},
    }


def _check_earlier(path: Path, facts: Mapping[str, Any], force: bool) -> None:
    """Stop before the record of other maps is lost."""
    if force or not path.exists():
        return
    try:
        earlier = read_record(path)
    except UserError:
        return  # damaged: made again
    same = ("score_hash", "data_fingerprint")
    if any(getattr(earlier, name) != facts[name] for name in same):
        raise UserError(
            f"{path} is there from other maps of {facts['method']}; --force replaces it, --name or --seed "
            "keep both."
        )
