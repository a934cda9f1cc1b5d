"""Data sets: found by name, and asked for their sessions.

A data set is a folder `datasets/<name>/` with a `card.toml` (facts) and a `dataset.py` with the
function `sessions(root) -> Iterator[Session | LeftOut | Remark]`. One that makes its own files has
`generate(root, progress)` too. One that draws scans from what was downloaded has
`draw(root, folder, workers, progress)`, and `sessions` is given the folder they were drawn into; its
`survey(root, workers, progress)` answers the same without drawing anything.
"""

import ast
import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from uadbench import catalog
from uadbench.cards import DatasetCard, dataset_card
from uadbench.data import implanted, layout
from uadbench.data.session import LeftOut, Remark, Session
from uadbench.system import locks
from uadbench.system.errors import UserError
from uadbench.system.parsing import parse_file
from uadbench.system.paths import Paths
from uadbench.system.progress import Progress

# `datasets/x/dataset.py` is imported as `uadbench.datasets.x.dataset`; see uadbench/methods.py.
__path__ = [str(folder) for folder in catalog.folders("datasets")]


# Lies in a folder of made-up scans; a record of a run on them must not pass for one on patients.
FIXTURE_NOTE = "FIXTURE.txt"


@dataclass(frozen=True)
class Found:
    """What lies under a root: the sessions, sorted by id, what is left out, and what is worth knowing."""

    card: DatasetCard
    root: Path
    sessions: tuple[Session, ...]
    left_out: tuple[LeftOut, ...]
    remarks: tuple[Remark, ...] = ()

    def with_contrast(self, contrast: str) -> Sequence[Session]:
        """The sessions that have a contrast; a contrast that none has lists those there are."""
        chosen = [session for session in self.sessions if contrast in session.images]
        if not chosen:
            there = sorted({c for session in self.sessions for c in session.images})
            raise UserError(
                f"No subject of {self.card.name} has the contrast '{contrast}'; "
                f"available: {', '.join(there)}."
            )
        return chosen


def names() -> list[str]:
    """All data sets, sorted."""
    return catalog.names("datasets")


def load(name: str) -> ModuleType:
    """The module of a data set by its folder's name."""
    catalog.forget_changed("datasets", name)
    __path__[:] = [str(folder) for folder in catalog.folders("datasets")]
    return importlib.import_module(f"uadbench.datasets.{name}.dataset")


def can_generate(name: str) -> bool:
    """Whether a data set makes its own files, by its source: nothing is loaded."""
    return "generate" in _functions(name)


def can_draw(name: str) -> bool:
    """Whether a data set draws its scans from what was downloaded."""
    return "draw" in _functions(name)


def _functions(name: str) -> set[str]:
    """The functions that the module of a data set itself has."""
    tree = parse_file(catalog.locate("datasets", name) / "dataset.py")
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def find_or_make(name: str, paths: Paths, workers: int, progress: Progress) -> Found:
    """Everything a data set has; one that makes or draws its own files makes those that are missing."""
    root, drawn = paths.root(name), None
    if can_generate(name):
        with locks.held(paths.lock(f"generate-{name}")):
            load(name).generate(root, progress)
    elif can_draw(name) and root.is_dir():
        drawn = paths.drawn(name)
        with locks.held(paths.lock(f"draw-{name}")):
            load(name).draw(root, drawn, workers, progress)
    return find_sessions(name, root, drawn)


def find_sessions(name: str, root: Path, drawn: Path | None = None) -> Found:
    """Everything a data set has under `root`; an absent or empty root says where to apply.

    `drawn` is the folder into which a data set has drawn what it made of the root's files.
    """
    return _found(name, root, lambda: load(name).sessions(drawn or root))


def survey(name: str, root: Path, workers: int, progress: Progress) -> Found:
    """What `find_or_make` would answer once a data set had drawn its scans: no file is written."""
    return _found(name, root, lambda: load(name).survey(root, workers, progress))


def _found(name: str, root: Path, items: Callable[[], Iterable[Session | LeftOut | Remark]]) -> Found:
    """What an adapter says lies under a root, and what no adapter sees: content that is not here."""
    card = dataset_card(name)
    if not root.is_dir():
        raise UserError(f"The root of {name}, {root}, is not a folder; {_how_to_get(card)}")
    if (root / FIXTURE_NOTE).exists():
        card = replace(card, population="synthetic")
    table = implanted.read_table(root)
    sessions: list[Session] = []
    left_out: list[LeftOut] = []
    remarks: list[Remark] = []
    for item in (*items(), *layout.find_unseen(root)):
        if isinstance(item, LeftOut):
            left_out.append(item)
        elif isinstance(item, Remark):
            remarks.append(item)
        elif item.id in card.exclusions:
            left_out.append(LeftOut(item.id, card.exclusions[item.id]))
        else:
            axes = item.orientation or card.analyze_orientation
            known = implanted.find_implanted(table, root, item)
            sessions.append(replace(item, orientation=axes, implanted=known))
    if not sessions:
        raise UserError(_nobody(card, root, left_out))
    _check_sessions(name, root, sessions)
    return Found(card, root, tuple(sorted(sessions, key=lambda s: s.id)), tuple(left_out), tuple(remarks))


def _check_sessions(name: str, root: Path, sessions: Sequence[Session]) -> None:
    """Stop where an adapter names another cohort, or where there are several copies of a subject."""
    stray = sorted({session.cohort for session in sessions} - {name})
    if stray:
        raise UserError(f"dataset.py of {name} says cohort '{stray[0]}' of its subjects; expected '{name}'.")
    counts = Counter(session.id for session in sessions)
    repeated = sorted(name for name, count in counts.items() if count > 1)
    if repeated:
        raise UserError(f"{root} holds several copies of {', '.join(repeated[:5])}: keep one layout only.")


def _nobody(card: DatasetCard, root: Path, left_out: Sequence[LeftOut]) -> str:
    """Why there is no subject: none at all, or those that are there cannot be used."""
    unmasked = [item.id for item in left_out if item.reason.startswith(layout.NO_MASK)]
    reasons = by_reason(item for item in left_out if item.id not in unmasked)
    if unmasked:
        reasons.insert(0, f"{len(unmasked)} subjects, none with a lesion mask: {', '.join(unmasked[:5])}")
    packed = [path.name for path in layout.walk_tree(root).files if layout.ARCHIVE.search(path.name)]
    if packed:
        reasons.append(f"{layout.count_names(packed)} to be unpacked")
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return f"No subject of {card.name} that can be used was found under {root}{why}; {_how_to_get(card)}"


def by_reason(items: Iterable[LeftOut]) -> list[str]:
    """The reasons for which items are left out, each with how many and the first of them."""
    members: dict[str, list[str]] = {}
    for item in items:
        members.setdefault(item.reason, []).append(item.id)
    return [
        f"{ids[0] if len(ids) == 1 else layout.count_names(ids)}: {reason}" for reason, ids in members.items()
    ]


def _how_to_get(card: DatasetCard) -> str:
    return (
        f"get the data at {card.address} ({card.access}), then name the folder with "
        f"--root; expected: {card.layout}"
    )
