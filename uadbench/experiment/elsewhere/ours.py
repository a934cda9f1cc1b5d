"""Ours: maps from elsewhere of the scans of a data set of the benchmark.

Truth, brain masks and split are the data set's own, prepared as for every run. A map is on the evaluation
grid already, or on the voxels of the scan's file, from where the transform of the preparation brings it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.space import OWN_VOXELS
from uadbench.evaluation import maps
from uadbench.evaluation.maps import Case
from uadbench.experiment.assemble import describe_taking_part
from uadbench.experiment.cohort import EVALUATED, Cohort, prepare_cohort
from uadbench.experiment.config import ResolvedRun, RunConfig, Runtime, resolve_run
from uadbench.experiment.elsewhere.asked import Arrays, Entry, MapsConfig, Source
from uadbench.experiment.elsewhere.cases import Cases, Made, bring_scores, make_each
from uadbench.experiment.elsewhere.held import Held, describe_fault, describe_parts, named_few
from uadbench.experiment.elsewhere.pairing import key_of, volumes_by_key
from uadbench.experiment.elsewhere.volumes import checked_scores, named, read_source, remarks_of
from uadbench.experiment.record import NOBODY
from uadbench.experiment.work import Work
from uadbench.methods import Score
from uadbench.preprocessing import resampling, scan
from uadbench.preprocessing.scan import Scan
from uadbench.protocol import METRIC_VERSION, regime
from uadbench.system.errors import SubjectError, UserError
from uadbench.system.files import sha256, sha256_json

# It learns nothing and works on the evaluation grid: what is prepared for it is what any method is tested on.
STAND_IN = "random"


def hold_ours(asked: MapsConfig, folder: Path, runtime: Runtime) -> Held:
    """Maps of the scans of a data set of the benchmark, each brought to the evaluation grid."""
    if asked.grid == "native":
        raise UserError(
            f"{asked.dataset} is measured on the grid of its protocol; for native voxels give the lesion "
            "masks with --truth instead of --dataset."
        )
    if isinstance(asked.maps, Path) and not asked.maps.is_dir():
        raise UserError(f"{asked.maps} is not a folder; with --dataset the maps are the files of a folder.")
    resolved = _resolve(asked, runtime)
    given = _given(asked)
    cohort = prepare_cohort(resolved, runtime)
    wanted, unmatched = _match(resolved, cohort, given)
    jobs = [(entry, partial(_bring, entry, item, asked, folder)) for entry, item in wanted]
    found = make_each(jobs, asked, runtime)
    if not any(one.entry.partition == "lesion-test" for one in found.made):
        raise UserError(f"No lesion-test scan of {asked.dataset} has a map that can be measured.")
    return Held(
        cases=[one.case for one in found.made],
        masks=found.masks,
        headline=resolved.test.card.headline,
        facts=_facts(resolved, cohort, runtime, found),
        maps_sha256=sha256_json([[one.entry.id, one.map_digest] for one in found.made]),
        remarks=[
            *_remarks(wanted, unmatched, asked),
            *remarks_of({one.entry.id: one.found for one in found.made}, found.masks),
        ],
    )


def _resolve(asked: MapsConfig, runtime: Runtime) -> ResolvedRun:
    config = RunConfig(
        method=STAND_IN, dataset=str(asked.dataset), train=asked.train or NOBODY, contrast=asked.contrast,
        split=asked.split, protocol=asked.protocol,
    )  # fmt: skip
    resolved = resolve_run(config, runtime)
    if resolved.protocol.flat:
        raise UserError(f"{asked.dataset} has slices without geometry; maps are volumes.")
    return resolved


def _given(asked: MapsConfig) -> Mapping[str, Source]:
    """The maps of all folders by key; of a folder with one for each partition, these are meant."""
    whole = asked.maps if isinstance(asked.maps, Path) else Path()
    parts = [whole / name for name in EVALUATED if isinstance(asked.maps, Path) and (whole / name).is_dir()]
    found: dict[str, Source] = {}
    folders: list[Path | Arrays] = [*parts] or [asked.maps]
    for given, option in (
        *[(one, "MAPS") for one in folders],
        (asked.healthy, "--healthy"),
        (asked.val, "--val"),
    ):
        for key, source in volumes_by_key(given, option).items():
            if key in found:
                raise UserError(f"{key} is in several folders of maps: every scan has one map.")
            found[key] = source
    return found


Wanted = list[tuple[Entry, Prepared]]


def _match(
    resolved: ResolvedRun, cohort: Cohort, given: Mapping[str, Source]
) -> tuple[Wanted, Sequence[str]]:
    """Every scan that is tested with its map, and the maps that belong to none of them.

    Of lesion-val and the healthy partitions all scans need a map, or none has one and they take no part.
    """
    wanted: Wanted = []
    used: set[str] = set()
    for partition in EVALUATED:
        keys = {item.session.id: _key_in(given, item.session) for item in cohort.evaluation[partition]}
        if partition != "lesion-test" and not any(keys.values()):
            continue
        for item in cohort.evaluation[partition]:
            who, key = item.session, keys[item.session.id]
            source = given[key] if key else None
            entry = Entry(id=who.id, map=source, partition=partition, subject=who.subject, session=who.label)
            wanted.append((entry, item))
            used |= {key} if key else set()
    return wanted, [key for key in given if key not in used]


def _key_in(given: Mapping[str, Source], session: Session) -> str | None:
    """The key under which a scan's map was found."""
    own = key_of(Path(f"{session.id}.nii"), Path())
    candidates = (session.id, own, f"sub-{session.id}", f"sub-{session.subject}_ses-{session.label}")
    return next((key for key in candidates if key in given), None)


def _bring(entry: Entry, item: Prepared, asked: MapsConfig, folder: Path) -> Made:
    """One map on the evaluation grid."""
    grid, source = item.grid, entry.map
    if source is None:
        raise SubjectError(f"{entry.id} has no map: a method may not pass over a scan of the test.")
    where = named(source, f"the map of {entry.id}")
    sides = None if isinstance(source, Path) else grid.sides_mm
    read = read_source(source, sides, where)
    found = read if isinstance(source, Path) else Scan(read.array, grid.affine)
    to_map, native = _to_map(found, item, where)
    region = (item.brain() | item.lesion()) & ~item.ignored()
    if native:
        to_grid: NDArray[Any] = np.linalg.inv(to_map)
        region = resampling.sample_nearest(region.astype(np.uint8), to_grid, found.array.shape) > 0
    scores, facts = checked_scores(found.array, region, asked.nan, where)
    on_grid = bring_scores(scores, to_map, grid) if native else scores
    map_file = folder / entry.partition / f"map-{item.key}-{sha256(entry.id)[:16]}.safetensors"
    maps.write_map(map_file, Score(on_grid), 0.0, 0.0)
    digest = sha256(np.ascontiguousarray(on_grid).tobytes())
    return Made(entry, Case(entry.partition, item, map_file, grid), facts, digest, native)


def _to_map(found: Scan, item: Prepared, where: str) -> tuple[NDArray[np.float64], bool]:
    """Voxels of the evaluation grid to those of a map (4, 4), and whether the map is on the scan's own."""
    grid, session = item.grid, item.session
    if Scan(np.broadcast_to(np.uint8(0), grid.shape), grid.affine).same_lattice(found):
        return np.eye(4), False
    own = scan.read_lattice(session.images[item.contrast], session.orientation)
    if not own.same_lattice(found):
        shapes = [" x ".join(map(str, one)) for one in (found.array.shape, own.array.shape, grid.shape)]
        raise SubjectError(
            f"{where} has {shapes[0]} voxels (R x A x S) and lies neither on those of its scan ({shapes[1]}) "
            f"nor on the grid {grid.name} ({shapes[2]}): save it with shape and affine of the scan's file."
        )
    transform = np.array(item.facts["transform"], np.float64)
    return np.linalg.inv(transform @ found.affine) @ grid.affine, True


def _facts(resolved: ResolvedRun, cohort: Cohort, runtime: Runtime, found: Cases) -> dict[str, Any]:
    """What a record states of the test, as that of a run does."""
    brought, faults = found.made, found.faults
    there = {one.entry.partition for one in brought} | {entry.partition for entry, _ in faults}
    cards = resolved.train.card if resolved.train else None, resolved.test.card
    taking_part = describe_taking_part(Work(resolved, cohort, runtime, "", ""))
    left_out = [
        describe_fault(entry, reason, resolved.card_of(entry.partition).name) for entry, reason in faults
    ]
    parts = {name: members for name, members in resolved.parts.items() if name in there}
    return taking_part | {
        "protocol": resolved.protocol.id,
        "metric_version": METRIC_VERSION,
        "card_version": resolved.test.card.version,
        "regime": regime(*cards),
        "test": resolved.test.card.name,
        "contrast": resolved.contrast,
        "model_grid": OWN_VOXELS if any(one.native for one in brought) else resolved.model_target.name,
        "headline": resolved.test.card.headline,
        "splits": describe_parts(parts),
        "excluded": [
            *[one for one in taking_part["excluded"] if one["partition"] not in {*EVALUATED} - there],
            *left_out,
        ],
        "data_fingerprint": sha256_json(sorted(one.case.prepared.key for one in brought)),
    }


def _remarks(wanted: Wanted, unmatched: Sequence[str], asked: MapsConfig) -> list[str]:
    said = []
    if unmatched:
        hint = "" if asked.train else " (--train names the data set of healthy scans)"
        said.append(f"not measured, maps of no scan that is tested{hint}: {named_few(unmatched)}.")
    there = {entry.partition for entry, _ in wanted}
    if asked.train not in (None, NOBODY) and "healthy-val" not in there:
        said.append(f"no healthy-val scan of {asked.train} has a map: there is no threshold at 1 % or 5 %.")
    return said
