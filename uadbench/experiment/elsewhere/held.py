"""Held: maps beside what they are held against, with all that a record states of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadbench.cards import dataset_card
from uadbench.data import splits
from uadbench.data.session import Session
from uadbench.data.space import OWN_VOXELS, Grid
from uadbench.evaluation.maps import Case
from uadbench.experiment.config import Runtime
from uadbench.experiment.elsewhere.asked import Entry, MapsConfig
from uadbench.experiment.elsewhere.cases import Made, make_cases, session_of
from uadbench.experiment.elsewhere.pairing import Paired, pair_files
from uadbench.experiment.elsewhere.table import read_table
from uadbench.experiment.elsewhere.volumes import remarks_of
from uadbench.experiment.record import NOBODY
from uadbench.protocol import METRIC_VERSION, protocol
from uadbench.system.errors import UserError
from uadbench.system.files import sha256_json

NATIVE, IN_MNI152 = "uad-1-native", "uad-1"
UNSTATED = "unstated"  # contrast of scans of one's own
NAMED = 5  # files that a remark names


@dataclass(frozen=True)
class Held:
    """The scans that are measured, and what a record says of test set, partitions and preparation."""

    cases: Sequence[Case]
    masks: bool
    headline: str
    facts: Mapping[str, Any]
    maps_sha256: str
    remarks: Sequence[str]


def hold_own(asked: MapsConfig, folder: Path, runtime: Runtime) -> Held:
    """Maps and lesion masks of one's own; prepared files go into a folder for a while."""
    table = isinstance(asked.maps, Path) and not asked.maps.is_dir()
    paired = read_table(asked.maps) if table and isinstance(asked.maps, Path) else pair_files(asked)
    rules = protocol(_protocol_of(asked))
    if not isinstance(rules.grid, Grid):
        raise UserError(f"Protocol {rules.id} is for slices without geometry; maps are volumes.")
    found = make_cases(paired.entries, asked, rules.grid, folder, runtime)
    made, parts = found.made, {one.entry.partition for one in found.made}
    if "lesion-test" not in parts:
        raise UserError("No scan with a lesion mask is left to be measured.")
    sessions: dict[str, list[Session]] = {}
    for entry in [*[one.entry for one in made], *[entry for entry, _ in found.faults]]:
        sessions.setdefault(entry.partition, []).append(session_of(entry, asked.cohort))
    test = f"{asked.cohort}-{_digest_of(made, ('lesion-test',))[:8]}"
    excluded = [describe_fault(entry, reason, asked.cohort) for entry, reason in found.faults]
    facts = {
        "protocol": rules.id,
        "metric_version": METRIC_VERSION,
        "card_version": 0,  # there is no card
        "regime": regime_of_own(asked),
        "test": test,
        "contrast": asked.contrast or UNSTATED,
        "model_grid": OWN_VOXELS if rules.native else rules.grid.name,
        "headline": "raw",  # there is no card that names another: ranked is the map as it is
        "splits": describe_parts(sessions),
        "split": {"asked": splits.ALL_TEST},
        "preparation": {"brains": {part: _brains(made, part) for part in sorted(parts)}},
        "excluded": excluded,
        "data_fingerprint": _digest_of(made, splits.PARTITIONS),
    }
    return Held(
        cases=[one.case for one in made],
        masks=found.masks,
        headline="raw",
        facts=facts,
        maps_sha256=sha256_json([[one.entry.id, one.map_digest] for one in made]),
        remarks=[
            *_unmatched(paired),
            *remarks_of({one.entry.id: one.found for one in made}, found.masks),
            *_of_regions(made),
        ],
    )


def _protocol_of(asked: MapsConfig) -> str:
    if asked.grid in (None, "native"):
        if asked.protocol not in (None, NATIVE):
            raise UserError(
                f"--protocol {asked.protocol} has a grid of its own: say --grid protocol with it."
            )
        return NATIVE
    return asked.protocol or IN_MNI152


def regime_of_own(asked: MapsConfig) -> str:
    """The training setting of maps on scans of one's own, as far as it was stated."""
    if asked.train in (None, NOBODY):
        return "none"
    card = dataset_card(str(asked.train))
    return "synthetic" if card.population == "synthetic" else "cross"


def describe_fault(entry: Entry, reason: str, cohort: str) -> dict[str, str]:
    """A scan that was left out, as a record states it."""
    return {
        "partition": entry.partition,
        "id": entry.id,
        "reason": f"left out as asked: {reason}",
        "cohort": cohort,
        "person": entry.person,
        "session": entry.session,
    }


def describe_parts(parts: Mapping[str, Sequence[Session]]) -> dict[str, Any]:
    """Partitions as a record states them: how many scans and subjects, and who."""
    return {
        name: {
            "subjects": len(members),
            "persons": len({session.subject for session in members}),
            "hash": splits.split_hash(members),
        }
        for name, members in parts.items()
    }


def _brains(made: Sequence[Made], partition: str) -> dict[str, int]:
    own = [one.entry.brain is not None for one in made if one.entry.partition == partition]
    counts = {"own mask": sum(own), "whole volume": len(own) - sum(own)}
    return {way: count for way, count in counts.items() if count}


def _digest_of(made: Sequence[Made], partitions: Sequence[str]) -> str:
    """Hash of who is measured on which voxels, and which of these are lesion."""
    there = [one for one in made if one.entry.partition in partitions]
    return sha256_json(sorted([one.entry.id, one.entry.partition, one.case.prepared.key] for one in there))


def named_few(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _unmatched(paired: Paired) -> list[str]:
    said = []
    for words in dict.fromkeys(words for _, words in paired.unmatched):
        there = [name for name, own in paired.unmatched if own == words]
        said.append(f"not measured, {words}: {named_few(there)}.")
    return said


def _of_regions(made: Sequence[Made]) -> list[str]:
    """What a reader must know of the voxels that are measured."""
    ill = [one for one in made if one.entry.partition == "lesion-test"]
    whole = [one.entry.id for one in made if one.entry.brain is None]
    empty = [one.entry.id for one in ill if not one.case.prepared.lesion().any()]
    said = {
        "no brain masks were given: every voxel of the volumes is measured, the air too, which raises AUROC "
        "and lowers false-positive rates.": whole,
        f"the lesion mask of {named_few(empty)} is empty: Dice is undefined there, and what is called counts "
        "as false.": empty,
    }
    return [text for text, holds in said.items() if holds]
