"""Own facts: what a folder of somebody's scans is, as a card says it of other data sets."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from uadbench.cards import OWN, Contrast, DatasetCard, spelled
from uadbench.data import bids, own, plain
from uadbench.data.dicom import explain_dicom
from uadbench.data.layout import count_names, walk_tree
from uadbench.data.own import IMAGE, Volume
from uadbench.data.session import LeftOut, Session
from uadbench.data.suffixes import volume_stem
from uadbench.datasets import by_reason
from uadbench.experiment.config import Runtime
from uadbench.experiment.look import look
from uadbench.system import toml
from uadbench.system.errors import UserError, unknown
from uadbench.system.files import read_sealed, sha256_json, update_text, write_sealed
from uadbench.system.text import visible

CARD = "card.toml"  # in the folder itself: what it says counts, whatever is found
LOOK_VERSION = 3  # raised where other facts would be found in the same files
CONTRASTS: tuple[str, ...] = get_args(Contrast)
SHARES = {"train": 0.6, "val": 0.2}  # of the healthy subjects
LAYOUT = (
    "healthy/ and lesion/ with scans (right there, or in a folder for each subject), masks/ with lesion "
    "masks named like the scans, and where there are some brains/ with brain masks and participants.tsv; "
    "or a BIDS data set"
)
ADAPTER = '''\
"""{title}: written by uadbench from what it found in a folder. See card.toml."""

from collections.abc import Iterator
from pathlib import Path

from uadbench.cards import dataset_card
from uadbench.data import own, {reader}
from uadbench.data.session import LeftOut, Remark, Session


def sessions(root: Path) -> Iterator[Session | LeftOut | Remark]:
    """One session for each subject and visit, and what cannot be used."""
    return own.make_sessions(root, {reader}.read_volumes(root), dataset_card("{name}"))
'''


@dataclass(frozen=True)
class Facts:
    """What a folder of scans is: the content of its card, which module reads it, and a line for the user."""

    card: Mapping[str, Any]
    reader: str
    said: str

    def write(self, home: Path) -> None:
        """Write `dataset.py` and `card.toml` into a folder, whose name is the data set's."""
        adapter = ADAPTER.format(title=self.card["title"], reader=self.reader, name=home.name)
        update_text(home / "dataset.py", adapter)
        update_text(home / CARD, write_toml(self.card))  # last: it makes the data set known


def find_facts(
    name: str, folder: Path, runtime: Runtime, contrast: str | None = None, home: Path | None = None
) -> Facts:
    """Look at a folder: at names every time, at the files themselves only where one has changed.

    What was seen is kept in `home`, if there is one. What the folder's own `card.toml` says goes before what
    is found.
    """
    reader = find_reader(folder)
    items = list(reader.read_volumes(folder))
    stated = toml.parse(folder / CARD) if (folder / CARD).is_file() else {}
    images = [item for item in items if isinstance(item, Volume) and item.shows == IMAGE]
    if not images:
        raise _nobody(folder, items)
    usual = stated.get("contrasts") or _earlier_contrasts(home)
    contrasts = find_contrasts(folder, images, contrast, usual)
    draft = _usual_card(folder) | {"contrasts": contrasts} | stated | {"name": name}
    card = toml.typed(DatasetCard, draft, str(folder / CARD))
    made = list(own.make_sessions(folder, items, card))
    sessions = [item for item in made if isinstance(item, Session)]
    left_out = [item for item in made if isinstance(item, LeftOut)]
    if not sessions:
        raise _nobody(folder, left_out)
    looked = _look(folder, home, sessions, card.contrasts, runtime, stated.get("skull_stripped"))
    facts = draft | _find_role(name, sessions, card) | looked | stated
    del facts["name"]
    toml.typed(DatasetCard, facts | {"name": name}, str(folder / CARD))
    return Facts(facts, reader.__name__.rpartition(".")[2], _say(name, facts, sessions, left_out))


def find_reader(folder: Path) -> ModuleType:
    """The module that reads a folder's names; a UserError where there is nothing that any could read."""
    tree = walk_tree(folder)
    volumes = [path.name for path in tree.files if volume_stem(path)]
    if volumes and plain.is_plain(folder) and not (folder / bids.DESCRIPTION).exists():
        return plain
    if volumes and bids.is_bids(folder):
        return bids
    if volumes:
        found = f"{count_names(volumes)}, in neither healthy/ nor lesion/"
    elif dicom := explain_dicom(tree.files):
        raise UserError(f"{folder} holds {dicom}")
    else:
        found = "no scan" if tree.files else "nothing"
    raise UserError(f"{folder} holds {found}; expected: {LAYOUT}.")


def _nobody(folder: Path, items: Sequence[Any]) -> UserError:
    """There is no subject, for some reasons."""
    reasons = by_reason(item for item in items if isinstance(item, LeftOut))
    why = "; ".join(reasons) or "there are masks alone"
    return UserError(f"{folder} holds no subject that can be used ({why}); expected: {LAYOUT}.")


def find_contrasts(
    folder: Path, images: Sequence[Volume], asked: str | None, stated: Sequence[str]
) -> list[str]:
    """The contrasts that the names of images say, the most frequent first.

    Where none does it is the one asked for, else those `stated` by the folder's own card or an earlier one.
    """
    told = Counter(image.contrast for image in images if image.contrast)
    ill = Counter(image.contrast for image in images if image.contrast and not image.healthy)
    if told:
        return sorted(told, key=lambda one: (-ill[one], -told[one], CONTRASTS.index(one)))
    if asked is not None:
        known = spelled(asked, CONTRASTS)
        if known is None:
            raise unknown("contrast", asked, CONTRASTS)
        return [known]
    if stated:
        return list(stated)
    raise UserError(
        f"The names of the scans in {folder}, such as {images[0].path.name}, do not say which contrast they "
        f"show: add --contrast (one "
        f'of {", ".join(CONTRASTS)}), or a {CARD} with the line contrasts = ["FLAIR"] in the folder.'
    )


def _earlier_contrasts(home: Path | None) -> Sequence[str]:
    """Those of the card that an earlier look has written."""
    if home is None or not (home / CARD).is_file():
        return ()
    return tuple(toml.parse(home / CARD)["contrasts"])


def _look(
    folder: Path,
    home: Path | None,
    sessions: Sequence[Session],
    contrasts: Sequence[str],
    runtime: Runtime,
    stripped: bool | None,
) -> dict[str, Any]:
    """What the files show, kept as long as no file changes; `stripped` if the card states it."""
    if home is None:
        return look(sessions, runtime.workers, runtime.progress, stripped)
    files = [(path, path.stat()) for path in walk_tree(folder).files]
    listing = [[str(path.relative_to(folder)), one.st_size, one.st_mtime_ns] for path, one in files]
    key = sha256_json([LOOK_VERSION, listing, list(contrasts), sorted(s.id for s in sessions), stripped])
    kept = read_sealed(home / "seen.json")
    if kept is None or kept.get("key") != key:
        kept = {"key": key, "facts": look(sessions, runtime.workers, runtime.progress, stripped)}
        write_sealed(home / "seen.json", kept)
    facts: dict[str, Any] = kept["facts"]
    return facts


def _usual_card(folder: Path) -> dict[str, Any]:
    """What a card says before anything was looked at."""
    return {
        "title": visible(f"{folder.name}: scans in a folder")[:300],
        "role": "lesion",
        "population": "patients",
        "summary": "Somebody's own scans; what this card says was found in the files.",
        "address": "a folder of your own",
        "access": OWN,
        "licence": "not stated",
        "forbids": "",
        "citation": "none",
        "layout": LAYOUT,
        "layout_confidence": "V",
        "space": "native",
        "skull_stripped": False,
    }


def _find_role(name: str, sessions: Sequence[Session], card: DatasetCard) -> dict[str, Any]:
    """Who is in the folder, how they are split, and that the healthy are trained on, where there are some."""
    healthy = [session for session in sessions if session.healthy]
    patients = len(healthy) < len(sessions)
    shown = {contrast for session in healthy for contrast in session.images}
    return {
        "role": ("both" if patients else "healthy") if healthy else "lesion",
        "population": "patients" if patients else "volunteers",
        "healthy_split": SHARES if healthy else {},
        "partners": {contrast: [name] for contrast in card.contrasts if contrast in shown},
    }


def _say(
    name: str, facts: Mapping[str, Any], sessions: Sequence[Session], left_out: Sequence[LeftOut]
) -> str:
    """What is in a folder, in one line."""
    masked = sum(bool(session.brain_mask or session.contrast_masks) for session in sessions)
    healthy = len({session.subject for session in sessions if session.healthy})
    ill = len({session.subject for session in sessions if not session.healthy})
    rest = "the brain alone is shown" if facts["skull_stripped"] else "brains are extracted"
    brains = f"{masked} of {len(sessions)} scans with brain masks, " if 0 < masked < len(sessions) else ""
    labels = ", ".join(map(str, facts["lesion_labels"]))
    parts = [
        f"{name}: {ill} subjects with lesions, {healthy} healthy",
        " ".join(facts["contrasts"]),
        "with brain masks" if masked == len(sessions) else f"{brains}{'else ' if brains else ''}{rest}",
        f"{facts['space']} space",
        *([f"lesion labels {labels}"] if ill and labels != "1" else []),
        *([f"{len(left_out)} left out (`uadbench verify {name}` says why)"] if left_out else []),
    ]
    return "; ".join(parts)


def write_toml(content: Mapping[str, Any]) -> str:
    """TOML of values, lists and tables of them; JSON's way of writing them is TOML's too."""

    def line(key: str, value: Any) -> str:
        name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
        return f"{name} = {json.dumps(value, ensure_ascii=False)}\n"

    tables = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    text = "".join(line(key, value) for key, value in content.items() if key not in tables)
    for key, table in tables.items():
        text += f"\n[{key}]\n" + "".join(line(name, value) for name, value in table.items())
    return text
