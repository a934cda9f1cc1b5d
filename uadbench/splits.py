"""Splits: which partition a person belongs to (protocol, rule 1).

The partition is a hash of a fixed salt and the person's id, held against the card's fractions, so
that a partial copy of a release gives a subset of the whole release's split.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from uadbench.cards import DatasetCard
from uadbench.errors import UserError
from uadbench.files import sha256_json
from uadbench.subject import Subject

SALT = "uadbench split 1"
# Why a lesion subject is in no partition (regime `within`).
LEARNED_FROM = "its person is in healthy-train: only the lesion-free slices take part"
PARTITIONS = ("healthy-train", "healthy-val", "healthy-test", "lesion-val", "lesion-test")


def position(cohort: str, person: str) -> float:
    """A number in [0, 1) that belongs to a person for good."""
    digest = hashlib.sha256(f"{SALT}:{cohort}:{person}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def partition(subject: Subject, card: DatasetCard) -> str | None:
    """The partition of a subject: that of its person; None for a patient who is learned from (`within`)."""
    place = position(subject.cohort, subject.person)
    group = "healthy" if subject.healthy else "lesion"
    fractions: Mapping[str, float] = (
        card.healthy_split if subject.healthy or card.within else card.lesion_split
    )
    for name in ("train", "val"):
        place -= fractions.get(name, 0.0)
        if place < 0:
            found = f"{group}-{name}"
            return found if found in PARTITIONS else None
    return f"{group}-test"


def split(
    subjects: Iterable[Subject], card: DatasetCard, limit: int | None = None
) -> dict[str, list[Subject]]:
    """Subjects by partition, sorted by id; `limit` keeps that many persons of each partition.

    The kept persons are those with the lowest position, so that a lower limit gives a subset.
    """
    parts: dict[str, list[Subject]] = {name: [] for name in PARTITIONS}
    for subject in sorted(subjects, key=lambda s: s.id):
        place = partition(subject, card)
        if place is not None:
            parts[place].append(subject)
    for name, members in parts.items():
        persons = sorted({s.person for s in members}, key=lambda p: position(card.name, p))[:limit]
        parts[name] = [s for s in members if s.person in persons]
    return parts


def split_hash(subjects: Sequence[Subject]) -> str:
    """Hash of who is in a partition."""
    return sha256_json(sorted([s.cohort, s.person, s.session, s.id] for s in subjects))


def check_persons(parts: Mapping[str, Sequence[Subject]]) -> None:
    """Stop where one person is in two partitions, for example as a healthy and as a lesion subject."""
    seen: dict[tuple[str, str], tuple[str, Subject]] = {}
    for name, members in parts.items():
        for subject in members:
            first_name, first = seen.setdefault((subject.cohort, subject.person), (name, subject))
            if not may_share(first_name, first, name, subject):
                raise UserError(
                    f"Person {subject.person} of {subject.cohort} is in {first_name} and in {name}: "
                    "a person may be in one partition only; correct the adapter or the table of persons."
                )


def may_share(part: str, subject: Subject, other_part: str, other: Subject) -> bool:
    """Whether one person's subjects may be where they are: in one partition, or two of one stage.

    Of a patient of val or test the lesion-free slices are healthy-val or healthy-test, the whole stack
    lesion-val or lesion-test (protocol, rule 2).
    """
    stages = {name.rpartition("-")[2] for name in (part, other_part)}
    whole = {subject.slices, other.slices} == {"lesion-free", "all"}
    return part == other_part or (whole and len(stages) == 1)


def balance(parts: Mapping[str, Sequence[Subject]]) -> dict[str, dict[str, object]]:
    """Counts, sites, sexes and mean age by partition."""
    report: dict[str, dict[str, object]] = {}
    for name, members in parts.items():
        ages = [s.age for s in members if s.age is not None]
        report[name] = {
            "subjects": len(members),
            "persons": len({(s.cohort, s.person) for s in members}),
            "site": _counts(s.site for s in members),
            "sex": _counts(s.sex for s in members),
            "lesion_kind": _counts(s.lesion_kind for s in members if not s.healthy),
            "mean_age": round(sum(ages) / len(ages), 1) if ages else None,
        }
    return report


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value or "unknown"] = counts.get(value or "unknown", 0) + 1
    return dict(sorted(counts.items()))
