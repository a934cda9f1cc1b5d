"""Cohort: the simulated subjects, and their scans written as files of a BIDS-like data set."""

import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import nibabel
import numpy as np
from numpy.typing import NDArray

from uadbench.data.space import GRIDS, Grid
from uadbench.phantom.anatomy import Subject, crop_box, make_anatomy
from uadbench.phantom.contrast import CONTRASTS, SITES, Site, make_scan
from uadbench.phantom.fields import Map
from uadbench.phantom.lesions import KINDS, make_lesion
from uadbench.system import pool
from uadbench.system.files import replacing, update_text
from uadbench.system.progress import Progress

Value = TypeVar("Value", bound=np.generic)

VERSION = 1  # to be raised with every change that changes a voxel: older files are then made again
SEED = 2024
SEED_VARIABLE = "UADBENCH_PHANTOM_SEED"  # asks for other people: for a test on whom nothing was chosen
HEALTHY = 48
HEALTHY_VARIABLE = "UADBENCH_PHANTOM_HEALTHY"  # asks for another number; more only adds members
LESIONS_PER_KIND = 6
# The partition of a member is a hash of its name (uadbench.data.splits). With these first numbers the
# parts are in proportion for the whole cohort and for its beginnings: the first 8 healthy members
# are 5 train, 1 val, 2 test, the first 5 kinds of lesion 2 val, 3 test.
FIRST_HEALTHY, FIRST_LESION = 101, 1901
FIRST_MEMBER = 5000  # of those in fixtures, so that no member of the built-in phantom appears there
FILE_NAMES = {"T1": "T1w", "T2": "T2w", "FLAIR": "FLAIR", "PD": "PDw"}  # BIDS suffixes
AGES = {"glioma": (30, 78), "ms": (20, 58), "wmh": (55, 88), "stroke": (45, 86), "mimic": (20, 80)}
HEALTHY_AGES = (20, 86)


@dataclass(frozen=True)
class Member:
    """One row of the table of participants."""

    number: int
    subject: Subject
    site: Site
    kind: str | None  # of lesion; None is healthy

    @property
    def id(self) -> str:
        """BIDS name of the participant; of another seed than the usual one it names that, too.

        So nobody of one cohort is taken for somebody of another.
        """
        seed = self.subject.key[0]
        return f"sub-{self.number:04d}" if seed == SEED else f"sub-{seed}x{self.number:04d}"

    def row(self) -> dict[str, str]:
        """The participant's line in `participants.tsv`."""
        return {
            "participant_id": self.id,
            "age": f"{self.subject.age:g}",
            "sex": self.subject.sex,
            "site": self.site.name,
            "group": "lesion" if self.kind else "healthy",
            "lesion_kind": self.kind or "n/a",
        }


@dataclass(frozen=True)
class Scans:
    """All there is of one member, each (R, A, S) on the same grid; `lesion` is None for the healthy."""

    images: Mapping[str, Map]  # by contrast; scanner units, 0 outside the brain
    brain: NDArray[np.bool_]
    lesion: NDArray[np.bool_] | None


def make_member(number: int, kind: str | None = None, seed: int = SEED) -> Member:
    """The member with a number; the seed and the number decide everything about it."""
    random = np.random.default_rng([seed, number, 0])
    low, high = AGES[kind] if kind else HEALTHY_AGES
    age = round(float(random.uniform(low, high)), 1)
    sex = "FM"[int(random.integers(2))]
    site = SITES[int(random.choice(len(SITES), p=[0.5, 0.3, 0.2]))]
    return Member(number, Subject((seed, number), age, sex), site, kind)


def make_members(
    healthy: int = HEALTHY, lesions_per_kind: int = LESIONS_PER_KIND, seed: int = SEED
) -> list[Member]:
    """The healthy, then the kinds of lesion by turns, so that a larger cohort only adds members."""
    kinds = list(KINDS)
    lesions = [
        make_member(FIRST_LESION + i, kinds[i % len(kinds)], seed)
        for i in range(lesions_per_kind * len(kinds))
    ]
    return [make_member(FIRST_HEALTHY + i, None, seed) for i in range(healthy)] + lesions


def _whole(part: NDArray[Value], grid: Grid, where: tuple[slice, ...]) -> NDArray[Value]:
    """A map of the brain's box, on the whole grid, 0 elsewhere."""
    whole = np.zeros(grid.shape, part.dtype)
    whole[where] = part
    return whole


def make_scans(member: Member, grid: Grid = GRIDS["g96"]) -> Scans:
    """The scans of a member on a grid."""
    around, where = crop_box(grid)
    anatomy = make_anatomy(member.subject, around)
    parts: Mapping[str, Map] = {}
    mask = None
    if member.kind:
        lesion = make_lesion(member.subject, member.kind, anatomy)
        anatomy, parts, mask = lesion.anatomy, lesion.parts, _whole(lesion.mask, grid, where)
    images = {
        contrast: _whole(
            member.site.scale * make_scan(member.subject, member.site, contrast, anatomy, parts), grid, where
        )
        for contrast in CONTRASTS
    }
    return Scans(images, _whole(anatomy.brain, grid, where), mask)


def list_files(root: Path, member_id: str, lesion: bool) -> dict[str, Path]:
    """Where the files of a member lie: its contrasts, "brain" and, with a lesion, "lesion"."""
    folder = root / member_id / "anat"
    named = {contrast: folder / f"{member_id}_{name}.nii.gz" for contrast, name in FILE_NAMES.items()}
    named["brain"] = folder / f"{member_id}_desc-brain_mask.nii.gz"
    if lesion:
        named["lesion"] = folder / f"{member_id}_desc-lesion_mask.nii.gz"
    return named


def write_volume(path: Path, volume: NDArray[np.generic], grid: Grid, code: str = "mni") -> None:
    """One NIfTI file, compressed lightly: speed matters more here than size. Same volume, same bytes.

    By zlib: what isal's faster compressor writes now and then differs between runs (seen in 1 of 420 files).
    """
    image = nibabel.Nifti1Image(volume, grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, code=code)
    image.set_qform(grid.affine, code=code)
    with replacing(path) as partial:
        partial.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))


def write_member(root: Path, grid: Grid, member: Member) -> None:
    """Write a member's files."""
    files, scans = list_files(root, member.id, member.kind is not None), make_scans(member, grid)
    for contrast, image in scans.images.items():
        write_volume(files[contrast], np.rint(image).clip(0, 32767).astype(np.int16), grid)
    write_volume(files["brain"], scans.brain.astype(np.uint8), grid)
    if scans.lesion is not None:
        write_volume(files["lesion"], scans.lesion.astype(np.uint8), grid)


def write_cohort(root: Path, cohort: list[Member], progress: Progress, grid: Grid = GRIDS["g96"]) -> None:
    """Write a data set under `root` with one process per core; what is there already stays.

    What another version or on another grid has written is made again.
    """
    description = root / "dataset_description.json"
    if description.exists() and description.read_text(encoding="utf-8") != _description(grid):
        for member in cohort:
            for path in list_files(root, member.id, lesion=True).values():
                path.unlink(missing_ok=True)
    update_text(description, _description(grid))
    lines = [list(cohort[0].row()), *(list(member.row().values()) for member in cohort)]
    update_text(root / "participants.tsv", "".join("\t".join(line) + "\n" for line in lines))
    todo = [
        m for m in cohort if not all(p.exists() for p in list_files(root, m.id, m.kind is not None).values())
    ]
    workers = min(len(os.sched_getaffinity(0)), len(todo))
    with progress.stage("phantoms", len(todo)) as stage:
        for position, died in pool.results(partial(write_member, root, grid), todo, workers):
            if isinstance(died, pool.Died):
                raise RuntimeError(f"{todo[position].id} cannot be drawn: {died.reason}")
            stage.advance(note=todo[position].id)


def _description(grid: Grid) -> str:
    """The content of `dataset_description.json`."""
    facts = {
        "Name": "uadbench phantom",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "uadbench.phantom",
                "Version": str(VERSION),
                "Description": f"Synthetic brain MRI on grid {grid.name}; nobody was scanned.",
            }
        ],
        "License": "Made from the ICBM152 2009a template, Copyright (C) 1993-2009 Louis Collins, "
        "McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University",
    }
    return json.dumps(facts, indent=1) + "\n"
