"""Own: a folder of somebody's scans becomes a data set like any other.

What the folder holds is looked at, and a plug-in is written into `<runs>/own`: a card with what was found,
and an adapter of a few lines. From then on the data set has a name, which every command knows.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from uadbench import catalog
from uadbench.experiment.config import Runtime
from uadbench.experiment.own_facts import find_facts
from uadbench.experiment.record import NOBODY
from uadbench.system import locks
from uadbench.system.errors import UserError
from uadbench.system.files import sha256

LONGEST_SLUG = 60


def name_dataset(
    text: str, runtime: Runtime, contrast: str | None = None, tell: Callable[[str], None] = lambda line: None
) -> str:
    """The name of a data set, of which either the name or the folder of scans is given.

    Args:
        text: a name, which goes first, or the path of a folder.
        runtime: its paths say where the data set that is made of a folder is kept.
        contrast: that of the images, where nothing in the folder says one.
        tell: is given what was found in a folder, as one line.

    Raises:
        UserError: there is no such folder, or nothing in it that can be used.
    """
    folder = Path(text).expanduser()
    if not text.strip() or text == NOBODY or text in catalog.names("datasets"):
        return text
    if folder.is_file():
        raise UserError(f"A data set is a name or a folder of scans, but {text} is a file: name its folder.")
    if not folder.is_dir():
        if os.sep in text:
            raise UserError(
                f"There is no folder {text}: name that of your scans, or a data set of `uadbench datasets`."
            )
        return text  # whoever looks for the name says which there are
    with locks.held(runtime.paths.lock("own")):
        name = choose_name(folder.resolve(), runtime)
        tell(write_dataset(name, folder.resolve(), runtime, contrast))
        runtime.paths.remember_root(name, folder)
    return name


def choose_name(folder: Path, runtime: Runtime) -> str:
    """`own_` and the folder's name; where another folder has that name, with a hash of the path."""
    slug = re.sub(r"[^a-z0-9]+", "_", folder.name.lower()).strip("_")[:LONGEST_SLUG]
    digest = sha256(str(folder))[:8]
    name = f"own_{slug or digest}"
    taken = name in catalog.names("datasets") and runtime.paths.root(name) != folder
    return f"{name}_{digest}" if taken else name


def write_dataset(name: str, folder: Path, runtime: Runtime, contrast: str | None = None) -> str:
    """Write card and adapter of a folder's data set among the program's own, and say what is in it."""
    home = runtime.paths.own / "datasets" / name
    found = find_facts(name, folder, runtime, contrast, home)
    found.write(home)
    if home.parent not in catalog.folders("datasets"):
        catalog.add_plugins(runtime.paths.own)
    return found.said
