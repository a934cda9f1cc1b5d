"""Splits: which partition a subject belongs to (protocol, rule 1).

Where a release was published in parts, and its card says which partition each of them is, that is followed.
Else the partition is a hash of a fixed salt and the subject's id, held against the card's fractions, so
that a partial copy of a release gives a subset of the whole release's split.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from uadbench.cards import DatasetCard, dataset_card
from uadbench.data.session import LeftOut, Session
from uadbench.system.errors import UserError, check_known
from uadbench.system.files import as_json, sha256, sha256_json, update_text
from uadbench.system.text import csv_text

SALT = "uadbench split 1"
ALL_TEST = "all-test"
# The published parts where there are any; the hash for everyone; every patient into lesion-test.
RULES = ("published", "hash", ALL_TEST)
PARTITIONS = ("healthy-train", "healthy-val", "healthy-test", "lesion-val", "lesion-test")


def hash_position(cohort: str, subject: str) -> float:
    """A number in [0, 1) that belongs to a subject for good."""
    digest = hashlib.sha256(f"{SALT}:{cohort}:{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def find_partition(session: Session, card: DatasetCard) -> str | None:
    """The partition of a session: that of its part of the release, else that of its subject.

    None for a patient who is learned from (`within`).
    """
    if session.part is not None and session.part in card.published_split:
        published = card.published_split[session.part]
        check_known("partition", published, PARTITIONS, of=f"the published_split of {card.name}'s card")
        return published
    place = hash_position(session.cohort, session.subject)
    group = "healthy" if session.healthy else "lesion"
    fractions: Mapping[str, float] = (
        card.healthy_split if session.healthy or card.within else card.lesion_split
    )
    for name in ("train", "val"):
        place -= fractions.get(name, 0.0)
        if place < 0:
            found = f"{group}-{name}"
            return found if found in PARTITIONS else None
    return f"{group}-test"


def apply_rule(card: DatasetCard, asked: str) -> DatasetCard:
    """The card as it splits under one of the RULES; healthy subjects go where they always go."""
    if asked == "hash":
        return replace(card, published_split={})
    if asked == ALL_TEST:
        healthy = {part: name for part, name in card.published_split.items() if name.startswith("healthy")}
        return replace(card, published_split=healthy, lesion_split={}, within=False)
    return card


def split_sessions(
    sessions: Iterable[Session], card: DatasetCard, limit: int | None = None
) -> dict[str, list[Session]]:
    """Sessions by partition, sorted by id; `limit` keeps that many subjects of each partition.

    The kept subjects are those with the lowest position, so that a lower limit gives a subset.
    """
    parts: dict[str, list[Session]] = {name: [] for name in PARTITIONS}
    for session in sorted(sessions, key=lambda s: s.id):
        place = find_partition(session, card)
        if place is not None:
            parts[place].append(session)
    for name, members in parts.items():
        subjects = sorted({s.subject for s in members}, key=lambda p: hash_position(card.name, p))[:limit]
        parts[name] = [s for s in members if s.subject in subjects]
    return parts


def split_hash(sessions: Sequence[Session]) -> str:
    """Hash of who is in a partition."""
    return sha256_json(sorted([s.cohort, s.subject, s.label, s.id] for s in sessions))


def find_torn(parts: Mapping[str, Sequence[Session]]) -> Iterator[tuple[Session, str, str]]:
    """Sessions whose subject is in another partition already, with their own and the other partition."""
    seen: dict[tuple[str, str], tuple[str, Session]] = {}
    for name, members in parts.items():
        for session in members:
            first_name, first = seen.setdefault((session.cohort, session.subject), (name, session))
            if not may_share(first_name, first, name, session):
                yield session, name, first_name


def check_subjects(parts: Mapping[str, Sequence[Session]]) -> None:
    """Stop where one subject is in two partitions, for example as healthy and with a lesion."""
    for session, name, first_name in find_torn(parts):
        raise UserError(
            f"Subject {session.subject} of {session.cohort} is in {first_name} and in {name}: "
            "a subject may be in one partition only; correct the adapter or the table of subjects."
        )


def may_share(part: str, session: Session, other_part: str, other: Session) -> bool:
    """Whether one subject's sessions may be where they are: in one partition, or two of one stage.

    Of a patient of val or test the lesion-free slices are healthy-val or healthy-test, the whole stack
    lesion-val or lesion-test (protocol, rule 2).
    """
    stages = {name.rpartition("-")[2] for name in (part, other_part)}
    whole = {session.slices, other.slices} == {"lesion-free", "all"}
    return part == other_part or (whole and len(stages) == 1)


def count_balance(parts: Mapping[str, Sequence[Session]]) -> dict[str, dict[str, object]]:
    """Counts, sites, sexes, kinds of lesion and ages by partition."""
    report: dict[str, dict[str, object]] = {}
    for name, members in parts.items():
        ages = [s.age for s in members if s.age is not None]
        report[name] = {
            "subjects": len(members),
            "persons": len({(s.cohort, s.subject) for s in members}),
            "site": _counts(s.site for s in members),
            "sex": _counts(s.sex for s in members),
            "lesion_kind": _counts(s.lesion_kind for s in members if not s.healthy),
            "mean_age": round(sum(ages) / len(ages), 1) if ages else None,
            "age_range": [min(ages), max(ages)] if ages else None,
            "age_unknown": len(members) - len(ages),
        }
    return report


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value or "unknown" for value in values).items()))


# ---- the list that anybody can check ----

COLUMNS = ("partition", "person", "subject", "session", "part", "site", "sex", "age", "contrasts")


def write_list(
    sessions: Sequence[Session], left_out: Sequence[LeftOut], card: DatasetCard, folder: Path
) -> dict[str, str]:
    """Write who of a data set is in which partition (CSV), and beside it the rule, hashes and balance (JSON).

    Not a part of the results: what they say about subjects may not be passed on everywhere. Answers the rule
    and the SHA-256 of the CSV. The hash of a partition in a record is that of `hashes` for the tested
    contrast (lesion) or for "all" (healthy), unless the run was limited to some subjects.
    """
    parts, path = split_sessions(sessions, card), list_path(card, folder)
    lines = [
        (name, s.subject, s.id, s.label, s.part, s.site, s.sex, s.age, " ".join(sorted(s.images)))
        for name, members in parts.items()
        for s in members
    ]
    text = csv_text([COLUMNS, *lines])
    update_text(path, text)
    facts = {"rule": find_rule(card), "sha256": sha256(text)}
    about = {
        "dataset": card.name,
        "list": path.name,
        **facts,
        "salt": SALT,
        "fractions": {"healthy": dict(card.healthy_split), "lesion": dict(card.lesion_split)},
        "published": dict(card.published_split),
        "partitions": _described(parts),
        "left_out": [item.as_dict() for item in left_out],
    }
    update_text(path.with_suffix(".json"), as_json(about))
    return facts


def list_path(card: DatasetCard, folder: Path) -> Path:
    """Where the list of a data set is written; one that does not follow the published parts is another."""
    usual = find_rule(card) in ("published", find_rule(dataset_card(card.name)))
    return folder / f"{card.name}{'' if usual else f'-{find_rule(card)}'}.csv"


def find_rule(card: DatasetCard) -> str:
    """By which of the RULES a data set is split."""
    if _tests_all(card) and not _tests_all(dataset_card(card.name)):
        return ALL_TEST
    return "published" if card.published_split else "hash"


def _tests_all(card: DatasetCard) -> bool:
    """Whether every patient falls into lesion-test."""
    elsewhere = [name for name in card.published_split.values() if name.startswith("lesion")]
    return not (card.within or elsewhere or any(card.lesion_split.values()))


def _described(parts: Mapping[str, Sequence[Session]]) -> dict[str, dict[str, Any]]:
    """Balance and hashes of the partitions that have subjects."""
    described = {}
    for name, facts in count_balance({name: members for name, members in parts.items() if members}).items():
        hashes = {"all": split_hash(parts[name])}
        for contrast in sorted({contrast for s in parts[name] for contrast in s.images}):
            hashes[contrast] = split_hash([s for s in parts[name] if contrast in s.images])
        described[name] = facts | {"hashes": hashes}
    return described
