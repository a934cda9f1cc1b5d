"""Identity: what a fit depends on and nothing else, its hash, and the words in which two of them differ."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from uadbench import methods, source
from uadbench.data.sizes import sizes
from uadbench.experiment.cohort import Cohort
from uadbench.experiment.plan import ResolvedRun
from uadbench.experiment.record import RunRecord
from uadbench.preprocessing.prepare_scan import PREPARATION_VERSION
from uadbench.system.files import read_sealed, sha256_json
from uadbench.system.paths import Paths

SHOWN = 3  # things of a kind that a sentence names; of more it says how many
PEOPLE, REST_OF_DATA = ("train", "val"), ("preparation", "least_slice_area")


def fit_identity(plan: ResolvedRun, cohort: Cohort) -> dict[str, Any]:
    """Everything that decides a fit, as it comes back from JSON."""
    trained = plan.card.trained
    facts = {
        "method": plan.card.folder,
        "code": source.of_method(plan.card.folder),
        "options": methods.parameters(plan.method, "fit"),
        "grid": plan.model_target.name,
        "precision": plan.config.precision,
        "train_contrasts": list(plan.train_contrasts),
        "train": [p.key for p in cohort.train] if trained else [],
        "val": [p.key for p in cohort.val] if trained else [],
        "least_slice_area": sizes(cohort.train[0].grid).least_slice_area if trained else None,
        "preparation": PREPARATION_VERSION,
        "seed": plan.config.seed,
    }
    content: dict[str, Any] = json.loads(json.dumps(facts))
    return content


def fit_hash(identity: Mapping[str, Any]) -> str:
    """The name of a fit."""
    return sha256_json(identity)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two identities differ: `data`, `code` and `settings`, each with what of it."""
    found = {
        "data": [*_people(then, now), *_changed(then, now, REST_OF_DATA)],
        "code": _changed(then.get("code", {}), now["code"]),
        "settings": [
            *_changed(then.get("options", {}), now["options"]),
            *_changed(then, now, [k for k in now if k not in (*PEOPLE, *REST_OF_DATA, "code", "options")]),
        ],
    }
    return [f"{kind} ({_listed(what)})" for kind, what in found.items() if what]


def _changed(then: Mapping[str, Any], now: Mapping[str, Any], keys: Sequence[str] | None = None) -> list[str]:
    """Keys whose values differ."""
    return [k for k in sorted({*then, *now}) if (keys is None or k in keys) and then.get(k) != now.get(k)]


def _people(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """How many volumes a partition has lost and gained."""
    for part in PEOPLE:
        before, after = set(then.get(part, ())), set(now[part])
        if before != after:
            yield f"{len(before - after)} of healthy-{part} gone, {len(after - before)} new"
        elif list(then.get(part, ())) != list(now[part]):
            yield f"healthy-{part} in another order"


def _listed(what: list[str]) -> str:
    more = [f"{len(what) - SHOWN} more"] if len(what) > SHOWN else []
    return ", ".join([*what[:SHOWN], *more])


def of_fit(folder: Path) -> dict[str, Any] | None:
    """The identity of a fit that is there."""
    made = (read_sealed(folder / "fit.json") or {}).get("identity")
    return made if isinstance(made, dict) else None


def nearest_fit(paths: Paths, asked: Mapping[str, Any]) -> str:
    """In what the most similar fit of the same method and seed differs, in words; "" where there is none."""
    found = []
    for file in paths.fit("").glob("*/fit.json"):
        made = of_fit(file.parent)
        if made and all(made.get(key) == asked[key] for key in ("method", "seed")):
            found.append(" and ".join(differences(made, asked)))
    return min(found, key=lambda words: (words.count("("), words), default="")


def since(earlier: RunRecord, plan: ResolvedRun, cohort: Cohort, paths: Paths) -> list[str]:
    """In what a record's run and the one that is asked for differ, in words."""
    asked = fit_identity(plan, cohort)
    made = of_fit(paths.fit(earlier.fit_hash))
    words = [] if made is None else differences(made, asked)
    if not any(word.startswith("data") for word in words):
        words = [*_tested(earlier, cohort), *words]
    now = methods.parameters(plan.method)
    settings = [k for k, v in earlier.parameters.items() if sha256_json(v) != sha256_json(now.get(k))]
    if settings and not any(word.startswith("settings") for word in words):
        words.append(f"settings ({_listed(settings)})")
    if made is None and earlier.fit_hash != fit_hash(asked) and not words:
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
