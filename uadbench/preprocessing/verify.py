"""Verify: compare a download with what its card expects, file by file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadbench import __version__
from uadbench.data import layout, splits
from uadbench.data.session import LeftOut, Session, Slice
from uadbench.datasets import Found
from uadbench.preprocessing import labels, masks, plausibility, scan, stacks
from uadbench.preprocessing.labels import Labels
from uadbench.preprocessing.prepare import EXCLUDE_ONE, same_image
from uadbench.preprocessing.prepare_scan import position_of
from uadbench.preprocessing.scan import Scan
from uadbench.system import pool
from uadbench.system.errors import SubjectError
from uadbench.system.progress import Progress


class Count(NamedTuple):
    """How many subjects have a contrast, against the whole release."""

    contrast: str
    expected: int | None  # None: the card does not know
    found: int
    missing: int
    surplus: int


@dataclass(frozen=True)
class Finding:
    """Something about one subject: which file, and what is the matter."""

    subject_id: str
    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject_id}: {self.reason}"


@dataclass(frozen=True)
class Report:
    """What verify found. Missing subjects are no problem: a part of a release is a part of its splits."""

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
            wrong = sorted({finding.subject_id for finding in self.problems})
            return f"something is wrong with {layout.listed(wrong)}, who are not scored like this{absent}"
        if missing or self.left_out:
            left = f" ({len(self.left_out)} left out, see above)" if self.left_out else ""
            return f"what is used is in order{left}{absent}"
        unknown = any(row.expected is None for row in self.counts)
        whole = "how many the whole release has is not known" if unknown else "the release is complete"
        return f"nothing is wrong; {whole}"

    @property
    def ok(self) -> bool:
        """Whether every file that is there can be used."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        counts = [count._asdict() for count in self.counts]
        left_out = [item.as_dict() for item in self.left_out]
        about = {"version": __version__, "ok": self.ok, "counts": counts, "left_out": left_out}
        return asdict(self) | about


@dataclass(frozen=True)
class _Job:
    session: Session
    labels: Labels


@dataclass(frozen=True)
class _Checked:
    """What one subject's files showed."""

    problems: tuple[Finding, ...]
    remarks: tuple[Finding, ...]
    voxels: dict[str, str]  # contrast -> voxel hash


def verify(found: Found, workers: int, progress: Progress, opening: bool = True) -> Report:
    """Open every file of every subject and compare; nothing is changed.

    Without `opening` only what was found is counted: where the scans are yet to be drawn.
    """
    card = found.card
    # The lesion-free slices of a subject are files of the whole stack, which is checked.
    sessions = [session for session in found.sessions if opening and session.slices == "all"]
    jobs = [_Job(session, Labels.of(card)) for session in sessions]
    checked: dict[int, _Checked] = {}
    with progress.stage(f"verify {card.name}", len(jobs)) as stage:
        for position, result in pool.results(_check, jobs, workers):
            checked[position] = _died(jobs[position], result) if isinstance(result, pool.Died) else result
            stage.advance(1, jobs[position].session.id)
    in_order = [checked[position] for position in range(len(jobs))]
    parts = splits.split(found.sessions, card)
    problems, remarks = _duplicates(sessions, in_order, parts)
    return Report(
        dataset=card.name,
        root=str(found.root),
        sessions=len(found.sessions),
        subjects=len({session.subject for session in found.sessions}),
        healthy=sum(session.healthy for session in found.sessions),
        counts=tuple(_counts(found)),
        left_out=found.left_out,
        problems=(*(f for c in in_order for f in c.problems), *problems, *_torn(parts)),
        remarks=(
            *(Finding(remark.id, "", remark.reason) for remark in found.remarks),
            *(f for c in in_order for f in c.remarks),
            *remarks,
        ),
        partitions=splits.balance(parts),
    )


def _counts(found: Found) -> Iterator[Count]:
    there = {contrast for session in found.sessions for contrast in session.images}
    known = dict.fromkeys([*found.card.contrasts, *sorted(there)])
    for contrast in known:
        expected = found.card.expected.get(contrast)
        count = sum(contrast in s.images and s.slices == "all" for s in found.sessions)
        missing, surplus = (max(0, expected - count), max(0, count - expected)) if expected else (0, 0)
        yield Count(contrast, expected, count, missing, surplus)


def _died(job: _Job, died: pool.Died) -> _Checked:
    return _Checked((Finding(job.session.id, "", died.reason),), (), {})


def _torn(parts: Mapping[str, Sequence[Session]]) -> Iterator[Finding]:
    """Subjects who are in two partitions: a run stops at them."""
    homes: dict[str, tuple[str, Session]] = {}
    for part, members in parts.items():
        for session in members:
            first, other = homes.setdefault(session.subject, (part, session))
            if not splits.may_share(first, other, part, session):
                reason = (
                    f"subject {session.subject} is in {first} and in {part}: correct the table or the adapter"
                )
                yield Finding(session.id, "", reason)


def _duplicates(
    sessions: Sequence[Session], checked: Sequence[_Checked], parts: Mapping[str, Sequence[Session]]
) -> tuple[list[Finding], list[Finding]]:
    """Problems: the same voxels under two subjects; remarks: under two contrasts of one subject."""
    home = {session.id: part for part, members in parts.items() for session in members}
    seen: dict[str, tuple[Session, str]] = {}
    problems, remarks = [], []
    for session, result in zip(sessions, checked, strict=True):
        for contrast, digest in result.voxels.items():
            first, other = seen.setdefault(digest, (session, contrast))
            if (first.id, other) == (session.id, contrast):
                continue
            file = str(session.images[contrast])
            same = same_image(contrast, first, other)
            if first.id == session.id:
                remarks.append(Finding(session.id, file, same))
                continue
            places = [home.get(one.id, "no partition") for one in (first, session)]
            across = "" if places[0] == places[1] else f" ({places[0]} and {places[1]})"
            reason = f"{same}{across}: {EXCLUDE_ONE}"
            problems.append(Finding(session.id, file, reason))
            if first.healthy != session.healthy:  # so one of them is said to be what it is not
                counterpart = same_image(other, session, contrast)
                problems.append(
                    Finding(first.id, str(first.images[other]), f"{counterpart}{across}: {EXCLUDE_ONE}")
                )
    return problems, remarks


def _check(job: _Job) -> _Checked:
    """Open every file of one subject."""
    notes = _Notes(job.session.id, job.session.orientation)
    if job.session.stack:
        voxels = _check_stack(notes, job)
        return _Checked(tuple(notes.problems), tuple(notes.remarks), voxels)
    images = {c: notes.opened(path, scan.read_image) for c, path in sorted(job.session.images.items())}
    there = {contrast: image for contrast, image in images.items() if image is not None}
    if not job.session.images:
        notes.problem("", "has masks but no image: fetch the image, or leave the subject out")
    brains = {
        contrast: _check_brain(notes, job.session, contrast, image) for contrast, image in there.items()
    }
    _check_labels(notes, job, there, brains)
    voxels = {contrast: scan.voxel_hash(image.array) for contrast, image in there.items()}
    return _Checked(tuple(dict.fromkeys(notes.problems)), tuple(dict.fromkeys(notes.remarks)), voxels)


def _check_stack(notes: "_Notes", job: _Job) -> dict[str, str]:
    """Open every picture of a stack; the voxel hash of each contrast that can be used."""
    session, there = job.session, {}
    for one in session.stack:
        for path, read in ((one.image, stacks.read_images), (one.mask, _masks(job.labels))):
            try:
                read([one])
            except SubjectError as error:
                notes.problem(path, str(error))
    try:
        images = stacks.read_images(session.stack)
        stacks.read_masks(session.stack, job.labels)
        binary = job.labels.binary(stacks.label_values(session.stack))
    except SubjectError as error:
        if not notes.problems:
            notes.problem(session.stack[0].image.parent, str(error))
        return {}
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
        there[contrast] = scan.voxel_hash(images[channel])
        for position in np.flatnonzero(stacks.repeated(images, channel, session.channels["FLAIR"])):
            picture = session.stack[position].image.name
            notes.remark(file, f"{contrast} of {picture} is a copy of FLAIR: the slice is left out")
    return there


def _masks(labels: Labels) -> Callable[[Sequence[Slice]], object]:
    return lambda stack: stacks.read_masks(stack, labels)


class _Notes:
    """Findings about one subject as they come up."""

    def __init__(self, subject_id: str, orientation: str | None) -> None:
        self.subject_id = subject_id
        self.orientation = orientation
        self.problems: list[Finding] = []
        self.remarks: list[Finding] = []

    def problem(self, file: object, reason: str) -> None:
        self.problems.append(Finding(self.subject_id, str(file), reason))

    def remark(self, file: object, reason: str) -> None:
        self.remarks.append(Finding(self.subject_id, str(file), reason))

    def opened(self, path: Path, read: Callable[[Path, str | None], Scan]) -> Scan | None:
        """The scan, or None and a problem."""
        try:
            return read(path, self.orientation)
        except SubjectError as error:
            self.problem(path, str(error))
            return None

    def other_shape(self, path: Path, mask: Scan, contrast: str, image: Scan) -> None:
        """A mask may lie on another lattice; it is worth knowing."""
        if mask.array.shape != image.array.shape:
            self.remark(
                path,
                f"{path.name} has the shape {mask.array.shape}, {contrast} has {image.array.shape}: "
                "it is brought over through world coordinates",
            )


def _check_brain(notes: _Notes, session: Session, contrast: str, image: Scan) -> NDArray[np.bool_] | None:
    """The brain of an image, where it needs no extraction and can be one."""
    path = session.mask_of(contrast)
    if path is None and not session.skull_stripped:
        notes.remark("", f"{contrast} shows a full head and has no brain mask: prepare will extract one")
        return None
    try:
        name = f"{session.id} {contrast}"
        brain = masks.brain_mask(image, path, session.skull_stripped, name, session.orientation)
        if path is not None:
            notes.other_shape(path, scan.read_lattice(path, session.orientation), contrast, image)
        return brain
    except SubjectError as error:
        notes.problem(path or session.images[contrast], str(error))
        return None


def _check_labels(
    notes: _Notes, job: _Job, images: Mapping[str, Scan], brains: Mapping[str, NDArray[np.bool_] | None]
) -> None:
    """The lesion and the ignored voxels, against every image and brain that they belong to."""
    session, known = job.session, job.labels.of_subject(job.session)
    if not session.healthy and session.lesion_mask is None:
        notes.problem("", "is a lesion subject without a lesion mask: it cannot be tested on; fetch the mask")
    for path in dict.fromkeys(p for p in (session.lesion_mask, session.ignore_mask) if p is not None):
        try:
            mask, binary = labels.read(path, known, session.orientation)
        except SubjectError as error:
            notes.problem(path, str(error))
            continue
        if binary is not None:
            notes.remark(path, f"{path.name} has the values 0 and {binary}: {binary} is taken for lesion")
        if path == session.lesion_mask and not np.any(mask.array):
            notes.remark(path, f"{path.name} is empty: the subject counts for false positives only")
        lesion = labels.marked(mask, known.lesion) if path == session.lesion_mask else None
        for contrast, image in images.items():
            _check_place(notes, session, path, (mask, lesion), contrast, image, brains[contrast])


def _check_place(
    notes: _Notes,
    session: Session,
    path: Path,
    drawn: tuple[Scan, Scan | None],
    contrast: str,
    image: Scan,
    brain: NDArray[np.bool_] | None,
) -> None:
    """Whether a mask, and the lesion in it, can lie where they do, as seen from one contrast."""
    mask, lesion = drawn
    notes.other_shape(path, mask, contrast, image)
    try:
        if position_of(session, contrast) is not None:
            return  # it was drawn on another contrast, against which this one may have moved
        plausibility.check_lattice(mask, image, path, contrast)
        if lesion is not None and brain is not None:
            plausibility.check_lesion(lesion, brain, image, path)
    except SubjectError as error:
        notes.problem(path, str(error))
