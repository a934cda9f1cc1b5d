"""Verify: compare a download with what its card expects, file by file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench import __version__
from uadbench.data import layout, splits
from uadbench.data.session import LeftOut, Session
from uadbench.datasets import Found
from uadbench.preprocessing import brains, labels, plausibility, scan, stacks
from uadbench.preprocessing.duplicates import EXCLUDE_ONE, describe_copy
from uadbench.preprocessing.labels import Labels
from uadbench.preprocessing.prepare_scan import position_of
from uadbench.preprocessing.scan import Scan
from uadbench.system import pool
from uadbench.system.errors import SubjectError
from uadbench.system.progress import Progress


class Count(NamedTuple):
    """How many sessions have a contrast, against the whole release."""

    contrast: str
    expected: int | None  # None: the card does not know
    found: int
    missing: int
    surplus: int


@dataclass(frozen=True)
class Finding:
    """Something about one session: which file, and what is the matter."""

    subject_id: str
    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject_id}: {self.reason}"


@dataclass(frozen=True)
class Report:
    """What verify found. Missing sessions are no problem: a part of a release is a part of its splits."""

    dataset: str
    root: str
    sessions: int
    subjects: int
    healthy: int
    counts: tuple[Count, ...]
    left_out: tuple[LeftOut, ...]
    problems: tuple[Finding, ...]  # a file cannot be used, or not as it is
    remarks: tuple[Finding, ...]  # legal, and worth knowing
    partitions: dict[str, dict[str, object]]  # balance of the split

    @property
    def verdict(self) -> str:
        """In one sentence: what is in order, what is wrong, and what of the release is not here."""
        missing = [f"{row.missing} of {row.expected} {row.contrast}" for row in self.counts if row.missing]
        absent = f"; of the whole release are missing: {', '.join(missing)}" if missing else ""
        if self.problems:
            wrong = layout.count_names(sorted({finding.subject_id for finding in self.problems}))
            return f"something is wrong with {wrong}, who are not scored like this{absent}"
        if missing or self.left_out:
            left = f" ({len(self.left_out)} left out, see above)" if self.left_out else ""
            return f"what is used is in order{left}{absent}"
        unknown = any(row.expected is None for row in self.counts)
        whole = "the size of the whole release is unknown" if unknown else "the release is complete"
        return f"nothing is wrong; {whole}"

    @property
    def ok(self) -> bool:
        """Whether every file that is there can be used."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, in whose words a session is a subject and a subject a person."""
        content = asdict(self)
        content |= {"persons": content.pop("subjects"), "subjects": content.pop("sessions")}
        counts = [count._asdict() for count in self.counts]
        left_out = [item.as_dict() for item in self.left_out]
        return content | {"version": __version__, "ok": self.ok, "counts": counts, "left_out": left_out}


@dataclass
class _Checked:
    """What the files of one session showed."""

    id: str
    problems: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    voxels: dict[str, str] = field(default_factory=dict)  # contrast -> voxel hash

    def problem(self, file: object, reason: object) -> None:
        self.problems.append(Finding(self.id, str(file), str(reason)))

    def remark(self, file: object, reason: object) -> None:
        self.remarks.append(Finding(self.id, str(file), str(reason)))

    @contextmanager
    def trying(self, file: object) -> Iterator[None]:
        """What is wrong with a file becomes a problem."""
        try:
            yield
        except SubjectError as error:
            self.problem(file, error)


def verify(found: Found, workers: int, progress: Progress, opening: bool = True) -> Report:
    """Open every file of every session and compare; nothing is changed.

    Without `opening` only what was found is counted: where the scans are yet to be drawn.
    """
    card = found.card
    # The lesion-free slices of a session are files of the whole stack, which is checked.
    sessions = [session for session in found.sessions if opening and session.slices == "all"]
    checked: dict[int, _Checked] = {}
    with progress.stage(f"verify {card.name}", len(sessions)) as stage:
        for position, result in pool.results(partial(_check, Labels.of(card)), sessions, workers):
            session = sessions[position]
            if isinstance(result, pool.Died):
                result = _Checked(session.id, [Finding(session.id, "", result.reason)])
            checked[position] = result
            stage.advance(1, session.id)
    in_order = [checked[position] for position in range(len(sessions))]
    parts = splits.split_sessions(found.sessions, card)
    problems, remarks = _duplicates(sessions, in_order, parts)
    for session, part, first in splits.find_torn(parts):
        reason = f"subject {session.subject} is in {first} and in {part}: correct the table or the adapter"
        problems.append(Finding(session.id, "", reason))
    return Report(
        dataset=card.name,
        root=str(found.root),
        sessions=len(found.sessions),
        subjects=len({session.subject for session in found.sessions}),
        healthy=sum(session.healthy for session in found.sessions),
        counts=tuple(_counts(found)),
        left_out=found.left_out,
        problems=(*(f for c in in_order for f in dict.fromkeys(c.problems)), *problems),
        remarks=(
            *(Finding(remark.id, "", remark.reason) for remark in found.remarks),
            *(f for c in in_order for f in dict.fromkeys(c.remarks)),
            *remarks,
        ),
        partitions=splits.count_balance(parts),
    )


def _counts(found: Found) -> Iterator[Count]:
    there = {contrast for session in found.sessions for contrast in session.images}
    for contrast in dict.fromkeys([*found.card.contrasts, *sorted(there)]):
        expected = found.card.expected.get(contrast)
        count = sum(contrast in s.images and s.slices == "all" for s in found.sessions)
        missing, surplus = (max(0, expected - count), max(0, count - expected)) if expected else (0, 0)
        yield Count(contrast, expected, count, missing, surplus)


def _duplicates(
    sessions: Sequence[Session], checked: Sequence[_Checked], parts: Mapping[str, Sequence[Session]]
) -> tuple[list[Finding], list[Finding]]:
    """Problems: the same voxels under two sessions; remarks: under two contrasts of one session."""
    home = {session.id: part for part, members in parts.items() for session in members}
    seen: dict[str, tuple[Session, str]] = {}
    problems, remarks = [], []
    for session, result in zip(sessions, checked, strict=True):
        for contrast, digest in result.voxels.items():
            first, other = seen.setdefault(digest, (session, contrast))
            same = describe_copy(contrast, first, other)
            if first.id == session.id:
                if other != contrast:
                    remarks.append(Finding(session.id, str(session.images[contrast]), same))
                continue
            places = [home.get(one.id, "no partition") for one in (first, session)]
            across = "" if places[0] == places[1] else f" ({places[0]} and {places[1]})"
            end = f"{across}: {EXCLUDE_ONE}"
            problems.append(Finding(session.id, str(session.images[contrast]), same + end))
            if first.healthy != session.healthy:  # so one of them is said to be what it is not
                counterpart = describe_copy(other, session, contrast)
                problems.append(Finding(first.id, str(first.images[other]), counterpart + end))
    return problems, remarks


def _check(known: Labels, session: Session) -> _Checked:
    """Open every file of one session."""
    notes = _Checked(session.id)
    if session.stack:
        _check_stack(notes, session, known)
        return notes
    if not session.images:
        notes.problem("", "has masks but no image: fetch the image, or leave the session out")
    images: dict[str, Scan] = {}
    for contrast, path in sorted(session.images.items()):
        with notes.trying(path):
            images[contrast] = scan.read_image(path, session.orientation)
    masks = {contrast: _check_brain(notes, session, contrast, image) for contrast, image in images.items()}
    _check_labels(notes, session, known.of_session(session), images, masks)
    notes.voxels = {contrast: scan.fingerprint(image.array) for contrast, image in images.items()}
    return notes


def _check_stack(notes: _Checked, session: Session, known: Labels) -> None:
    """Open every picture of a stack."""
    for one in session.stack:
        with notes.trying(one.image):
            stacks.read_images([one])
        with notes.trying(one.mask):
            stacks.read_masks([one], known)
    try:
        images = stacks.read_images(session.stack)
        _, binary = stacks.read_masks(session.stack, known)
    except SubjectError as error:
        if not notes.problems:
            notes.problem(session.stack[0].image.parent, error)
        return
    if binary is not None:
        notes.remark(
            session.stack[0].mask.parent,
            f"masks have the values 0 and {binary}: {binary} is taken for lesion",
        )
    for contrast, channel in sorted(session.channels.items()):
        file = session.images[contrast]
        if channel >= len(images) or images[channel].min() == images[channel].max():
            notes.problem(file, f"{contrast} has one value in all pixels: it shows nothing; leave it out")
            continue
        notes.voxels[contrast] = scan.voxel_hash(images[channel])
        for position in np.flatnonzero(stacks.find_repeated(images, channel, session.channels["FLAIR"])):
            picture = session.stack[position].image.name
            notes.remark(file, f"{contrast} of {picture} is a copy of FLAIR: the slice is left out")


def _remark_shape(notes: _Checked, path: Path, mask: Scan, contrast: str, image: Scan) -> None:
    """A mask may lie on another lattice; it is worth knowing."""
    if mask.array.shape != image.array.shape:
        notes.remark(
            path,
            f"{path.name} has the shape {mask.array.shape}, {contrast} has {image.array.shape}: "
            "it is brought over through world coordinates",
        )


def _check_brain(notes: _Checked, session: Session, contrast: str, image: Scan) -> NDArray[np.bool_] | None:
    """The brain of an image, where it needs no extraction and can be one."""
    path = session.mask_of(contrast)
    if path is None and not session.skull_stripped:
        notes.remark("", f"{contrast} shows a full head and has no brain mask: prepare will extract one")
        return None
    with notes.trying(path or session.images[contrast]):
        brain = brains.read_brain(image, path, session, f"{session.id} {contrast}")
        if path is not None:
            _remark_shape(notes, path, scan.read_lattice(path, session.orientation), contrast, image)
        return brain
    return None


def _check_labels(
    notes: _Checked,
    session: Session,
    known: Labels,
    images: Mapping[str, Scan],
    masks: Mapping[str, NDArray[np.bool_] | None],
) -> None:
    """The lesion and the ignored voxels, against every image and brain that they belong to."""
    if not session.healthy and session.lesion_mask is None:
        notes.problem("", "is a lesion session without a lesion mask: it cannot be tested on; fetch the mask")
    for path in dict.fromkeys(p for p in (session.lesion_mask, session.ignore_mask) if p is not None):
        with notes.trying(path):
            drawn, binary = labels.read_label_file(path, known, session.orientation)
            if binary is not None:
                notes.remark(path, f"{path.name} has the values 0 and {binary}: {binary} is taken for lesion")
            is_lesion = path == session.lesion_mask
            if is_lesion and not np.any(drawn.array):
                notes.remark(path, f"{path.name} is empty: the subject counts for false positives only")
            lesion = labels.mark_values(drawn, known.lesion) if is_lesion else None
            for contrast, image in images.items():
                _remark_shape(notes, path, drawn, contrast, image)
                with notes.trying(path):
                    if position_of(session, contrast) is not None:
                        continue  # it was drawn on another contrast, against which this one may have moved
                    plausibility.check_lattice(drawn, image, path, contrast)
                    if lesion is not None and (brain := masks[contrast]) is not None:
                        plausibility.check_lesion(lesion, brain, image, path)
