"""Identity: what a fit depends on and nothing else, and the words in which two of them differ."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from uadbench import methods, source
from uadbench.data.sizes import sizes
from uadbench.experiment.cohort import Cohort
from uadbench.experiment.config import ResolvedRun
from uadbench.experiment.record import RunRecord
from uadbench.preprocessing.prepare_scan import PREPARATION_VERSION
from uadbench.system.files import read_sealed, sha256_json
from uadbench.system.paths import Paths

SHOWN = 3  # things of a kind that a sentence names; of more it says how many
PEOPLE, REST_OF_DATA = ("train", "val"), ("preparation", "least_slice_area")


def fit_identity(resolved: ResolvedRun, cohort: Cohort) -> dict[str, Any]:
    """Everything that decides a fit, as it comes back from JSON."""
    facts = {
        "method": resolved.card.folder,
        "code": source.hash_method_files(resolved.card.folder),
        "options": methods.parameters(resolved.method, "fit"),
    }
    return _as_read(facts | _learned_from(resolved, cohort))


def stage_identity(resolved: ResolvedRun, cohort: Cohort, stage: methods.Shared) -> dict[str, Any]:
    """Everything that decides a training that several methods share."""
    own = {"stage": stage.name, "code": source.hash_files(stage.module), "options": dict(stage.options)}
    return _as_read(own | _learned_from(resolved, cohort))


def _learned_from(resolved: ResolvedRun, cohort: Cohort) -> dict[str, Any]:
    """The volumes that a method learns from, and what else decides a fit beside code and options."""
    trained = resolved.card.trained
    return {
        "grid": resolved.model_target.name,
        "precision": resolved.config.precision,
        "train_contrasts": list(resolved.train_contrasts),
        "train": [p.key for p in cohort.train] if trained else [],
        "val": [p.key for p in cohort.val] if trained else [],
        "least_slice_area": sizes(cohort.train[0].grid).least_slice_area if trained else None,
        "preparation": PREPARATION_VERSION,
        "seed": resolved.config.seed,
    }


def _as_read(facts: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(facts))
    return content


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two identities differ: `data`, `code` and `settings`, each with what of it."""
    rest = [key for key in now if key not in (*PEOPLE, *REST_OF_DATA, "code", "options")]
    code, options = then.get("code", {}), then.get("options", {})
    found = {
        "data": [*_people(then, now), *_changed(then, now, REST_OF_DATA)],
        "code": _changed(code, now["code"], {*code, *now["code"]}),
        "settings": [
            *_changed(options, now["options"], {*options, *now["options"]}),
            *_changed(then, now, rest),
        ],
    }
    return [f"{kind} ({_listed(what)})" for kind, what in found.items() if what]


def _changed(then: Mapping[str, Any], now: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """Keys whose values differ."""
    return [key for key in sorted(keys) if then.get(key) != now.get(key)]


def _people(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """How many volumes a partition has lost and gained."""
    for part in PEOPLE:
        before, after = set(then.get(part, ())), set(now[part])
        if before != after:
            yield f"{len(before - after)} of healthy-{part} gone, {len(after - before)} new"
        elif list(then.get(part, ())) != list(now[part]):
            yield f"healthy-{part} in another order"


def _listed(what: Sequence[str]) -> str:
    more = [f"{len(what) - SHOWN} more"] if len(what) > SHOWN else []
    return ", ".join([*what[:SHOWN], *more])


def _read_identity(folder: Path) -> dict[str, Any] | None:
    """The identity of a fit that is there."""
    made = (read_sealed(folder / "fit.json") or {}).get("identity")
    return made if isinstance(made, dict) else None


def nearest_fit(paths: Paths, asked: Mapping[str, Any]) -> str:
    """In what the most similar fit of the same method and seed differs, in words; "" where there is none."""
    found = []
    for file in paths.fit("").glob("*/fit.json"):
        made = _read_identity(file.parent)
        if made and all(made.get(key) == asked[key] for key in ("method", "seed")):
            found.append(" and ".join(differences(made, asked)))
    return min(found, key=lambda words: (words.count("("), words), default="")


def explain_difference(
    earlier: RunRecord, resolved: ResolvedRun, cohort: Cohort, paths: Paths
) -> Sequence[str]:
    """In what a record's run and the one that is asked for differ, in words."""
    asked = fit_identity(resolved, cohort)
    made = _read_identity(paths.fit(earlier.fit_hash))
    words = [] if made is None else differences(made, asked)
    if not any(word.startswith("data") for word in words):
        words = [*_tested(earlier, cohort), *words]
    now = methods.parameters(resolved.method)
    settings = [k for k, v in earlier.parameters.items() if sha256_json(v) != sha256_json(now.get(k))]
    if settings and not any(word.startswith("settings") for word in words):
        words.append(f"settings ({_listed(settings)})")
    if made is None and earlier.fit_hash != sha256_json(asked) and not words:
        commit = str(earlier.code.get("commit", ""))[:12]
        words.append(f"code (since {commit})" if commit else "code")
    return words or ["settings"]


def _tested(earlier: RunRecord, cohort: Cohort) -> Iterator[str]:
    """What has changed of the scans that take part, as far as a record tells."""
    if earlier.data_fingerprint == cohort.fingerprint():
        return
    then = {subject.id for subject in earlier.subjects}
    now = {item.session.id for members in cohort.evaluation.values() for item in members}
    if then != now:
        yield f"data ({len(then - now)} scans gone, {len(now - then)} new)"
    else:
        yield "data (the files of the same scans)"
