"""Inject: a folder of scans with lesions of known size and contrast-to-noise, made of healthy-test scans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from uadbench.cards import DatasetCard, contrast_of
from uadbench.data import splits
from uadbench.data.implanted import TABLE, ImplantedLesion, write_table
from uadbench.data.session import LeftOut, Session
from uadbench.datasets import Found
from uadbench.experiment.config import Runtime, find_dataset
from uadbench.experiment.own_facts import CARD, write_toml
from uadbench.implant.host import Job, inject_scan, name_folder
from uadbench.implant.order import Order, check_order
from uadbench.implant.shapes import RealShape, read_shapes
from uadbench.system import pool
from uadbench.system.errors import UserError
from uadbench.system.files import scratch_folder, write_text
from uadbench.system.text import csv_text


@dataclass(frozen=True)
class Injection:
    """What was made: the folder, every lesion, and the subjects that were left out, with reasons."""

    folder: Path
    lesions: tuple[ImplantedLesion, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def scans(self) -> int:
        """How many scans there are."""
        return len({lesion.image for lesion in self.lesions})


def inject(dataset: str, out: Path, order: Order, runtime: Runtime) -> Injection:
    """Put lesions into the healthy-test scans of a data set, and write them as a folder in plain layout.

    The folder holds `lesion/`, `masks/` and `brains/` (NIfTI in the voxels of the source scan), with
    `participants.csv`, `implanted.csv` and `card.toml`. Subjects for whom one of the scans cannot be made are
    left out of all of them, so that every size and contrast has the same scans. The same seed gives the same
    voxels, whatever the number of workers.

    Raises:
        UserError: what is asked for cannot be, or no subject is left; nothing is written then.
    """
    check_order(order)
    shapes = read_shapes(Path(order.shapes).expanduser()) if order.shapes else []
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out expects a new or empty folder, but {out} is there and is not empty.")
    found = find_dataset(dataset, runtime)
    contrast, chosen = choose_scans(found, order)
    with scratch_folder(out.resolve().parent) as folder:
        job = Job(contrast, order, shapes, folder, runtime.paths.cache)
        lesions, left_out = inject_all(job, chosen, runtime)
        if not lesions:
            first = left_out[0]
            raise UserError(
                f"No lesion could be put into the {len(chosen)} healthy-test scans of {found.card.name}; "
                f"{first.id}: {first.reason}"
            )
        write_table(folder / TABLE, lesions)
        there = {lesion.source for lesion in lesions}
        columns = ("subject", "age", "sex", "site", "lesion_kind")
        lines = [(name_folder(s), s.age, s.sex, s.site, order.kind) for s in chosen if s.id in there]
        write_text(folder / "participants.csv", csv_text([columns, *lines]))
        write_text(folder / CARD, describe(found.card, contrast, order, shapes))
        target = out.resolve()
        if target.is_dir():
            target.rmdir()
        folder.rename(target)
    return Injection(out, lesions, left_out)


def inject_all(
    job: Job, chosen: Sequence[Session], runtime: Runtime
) -> tuple[tuple[ImplantedLesion, ...], tuple[LeftOut, ...]]:
    """The lesions of all scans in the order of the scans, and who is left out."""
    lesions, left_out = list[ImplantedLesion](), list[LeftOut]()
    work, title = partial(inject_scan, job), f"inject {job.order.kind}"
    made = pool.in_processes(work, chosen, runtime.workers, runtime.progress, title, attrgetter("id"))
    for session, one in zip(chosen, made, strict=True):
        if isinstance(one, pool.Died | LeftOut):
            left_out.append(LeftOut(session.id, one.reason))
        else:
            lesions += one
    return tuple(lesions), tuple(left_out)


def choose_scans(found: Found, order: Order) -> tuple[str, list[Session]]:
    """The contrast and the healthy-test scans that lesions are put into, one of each subject."""
    card = found.card
    if card.space == "pixels":
        raise UserError(f"{card.name} has slices without geometry: a size in ml needs volumes.")
    contrast = contrast_of(card, order.mr) if order.mr else card.contrasts[0]
    healthy = [s for s in found.with_contrast(contrast) if s.healthy]
    tested = splits.split_sessions(healthy, card, order.limit)["healthy-test"]
    by_subject = {session.subject: session for session in reversed(tested)}
    chosen = sorted(by_subject.values(), key=lambda session: session.id)
    if not chosen:
        split = f"the split by subjects puts none of its {len(healthy)} healthy scans there"
        why = split if healthy else "nobody is healthy"
        raise UserError(
            f"{card.name} has no healthy-test scan with {contrast}: {why}; "
            "add scans, or inject into another data set."
        )
    return contrast, chosen


def describe(card: DatasetCard, contrast: str, order: Order, shapes: Sequence[RealShape]) -> str:
    """The folder's `card.toml`: facts that count instead of what is found in it."""
    sizes = ", ".join(f"{ml:g}" for ml in order.sizes)
    levels = ", ".join(f"{one:g}" for one in order.contrasts) or "that of grey matter"
    drawn = f"{len(shapes)} real masks" if shapes else "drawn"
    facts: Mapping[str, Any] = {
        "title": f"Implanted lesions ({order.kind}) in {card.title.split(':')[0]}",
        "population": "synthetic" if card.population == "synthetic" else "implanted",
        "summary": f"Lesions of {sizes} ml and contrast-to-noise {levels} in healthy-test {contrast} scans "
        f"of {card.name}; {order.per_scan} a scan, shapes {drawn}, seed {order.seed}.",
        "licence": card.licence,
        "forbids": card.forbids,
        "citation": card.citation,
        "contrasts": [contrast],
        "space": card.space if card.space in ("MNI152", "SRI24", "Talairach") else "native",
        "skull_stripped": card.skull_stripped,
        "headline": "raw",
        "protocol": card.protocol,
        "lesion_split": {"val": 0.0},
        "partners": {contrast: [card.name]},
    }
    return write_toml(facts)
