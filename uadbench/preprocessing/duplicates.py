"""Duplicates: the same voxels under two sessions, by the hashes of what was prepared."""

from collections.abc import Mapping, Sequence

import numpy as np

from uadbench.data import splits
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.preprocessing.prepare import Failure
from uadbench.system.errors import UserError

EXCLUDE_ONE = "exclude one of them in the data set's card"


def describe_copy(contrast: str, other: Session, other_contrast: str) -> str:
    """What is said of an image whose voxels another session has too."""
    return f"{contrast} is the same image voxel by voxel as {other.id} {other_contrast}"


def check_voxels(parts: Mapping[str, Sequence[Prepared]]) -> None:
    """Stop where the same voxels are in two partitions, or belong to two subjects."""
    seen: dict[str, tuple[str, Session]] = {}
    for part, members in parts.items():
        for item in members:
            for digest in item.fingerprints:
                first_part, first = seen.setdefault(digest, (part, item.session))
                other_subject = (first.cohort, first.subject) != (item.session.cohort, item.session.subject)
                if other_subject or not splits.may_share(first_part, first, part, item.session):
                    what = "share a slice" if "slice_sha256" in item.facts else "are the same image"
                    raise UserError(
                        f"{first.id} of {first.cohort} ({first_part}) and {item.session.id} of "
                        f"{item.session.cohort} ({part}) {what} voxel by voxel; a subject may be in "
                        "one partition only: remove one of them, or exclude it in the data set's card."
                    )


def find_copies(parts: Mapping[str, Sequence[Prepared]]) -> dict[str, list[Failure]]:
    """By partition, the scans of a data set that show the voxels of another of its sessions.

    The first by id stays, and where the two contradict each other, one healthy and the other not, or with
    other lesions, neither.
    """
    found: dict[str, dict[str, Failure]] = {}
    seen: dict[tuple[str, str], tuple[str, Prepared]] = {}
    members = [(part, item) for part, items in parts.items() for item in items]
    for part, item in sorted(members, key=lambda member: member[1].session.id):
        for digest in item.fingerprints:
            first_part, first = seen.setdefault((item.session.cohort, digest), (part, item))
            if _is_one_scan(first.session, item.session):
                continue
            pairs = [(part, item, first)]
            if not _agree(first, item):
                pairs.append((first_part, first, item))
            for home, one, other in pairs:
                reason = describe_copy(one.contrast, other.session, other.contrast)
                failure = Failure(one.session.id, one.contrast, f"{reason}: {EXCLUDE_ONE}")
                found.setdefault(home, {}).setdefault(one.session.id, failure)
    return {part: list(failures.values()) for part, failures in found.items()}


def _is_one_scan(one: Session, other: Session) -> bool:
    """Whether two sessions are one scan: the same, or a stack and its lesion-free slices."""
    same = (one.subject, one.label) == (other.subject, other.label)
    return one.id == other.id or (same and one.slices != other.slices)


def _agree(one: Prepared, other: Prepared) -> bool:
    """Whether two scans with the same voxels are said to have the same lesions."""
    if one.session.healthy != other.session.healthy:
        return False
    return one.grid != other.grid or np.array_equal(one.lesion(), other.lesion())
