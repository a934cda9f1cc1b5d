"""What lies in the folders `methods/` and `datasets/`, here and in folders that a user adds."""

import importlib
import os
import re
import sys
from pathlib import Path

from uadbench.system.errors import UserError, check_known
from uadbench.system.paths import Paths

PLUGINS_VARIABLE = "UADBENCH_PLUGINS"
KINDS = {"methods": "method", "datasets": "data set"}  # folder -> what one of it is called
_loaded: dict[str, tuple[tuple[str, int], ...]] = {}  # package of a plug-in: its files as they were then
NAME = re.compile(r"[A-Za-z0-9_-]+")  # of a plug-in: the folder is a part of a module's name


def home(folder: str) -> Path:
    """Where `methods` or `datasets` lies: in a wheel, else in a checkout."""
    package = Path(__file__).resolve().parent
    shipped = package / folder
    return shipped if shipped.is_dir() else package.parent / folder


def checkout() -> Path | None:
    """The folder of the project, with `methods/` beside the package; None where a wheel was installed."""
    package = Path(__file__).resolve().parent
    return None if (package / "methods").is_dir() else package.parent


def plugins() -> list[Path]:
    """The folders that a user has added."""
    named = os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)
    return [Path(os.path.expanduser(one)) for one in named if one.strip()]


def add_plugins(path: Path) -> None:
    """Let a folder outside the project, with `methods/` or `datasets/` in it, take part.

    The folder is kept in the environment, so that worker processes see it too.
    """
    if not ((path / "methods").is_dir() or (path / "datasets").is_dir()):
        raise UserError(
            f"--plugins expects a folder with methods/ or datasets/ in it, but {path} has neither."
        )
    os.environ[PLUGINS_VARIABLE] = os.pathsep.join(map(str, [*plugins(), path.resolve()]))


def folders(kind: str) -> list[Path]:
    """Every folder that holds plug-ins of a kind (`methods` or `datasets`), the project's first.

    The last is that of the data sets which are folders of somebody's own scans.
    """
    added = [*plugins(), Paths.default().own]
    return [home(kind), *[path / kind for path in added if (path / kind).is_dir()]]


def there(kind: str) -> dict[str, Path]:
    """The folder of every plug-in of a kind: those with a `card.toml`; of equal names the first counts."""
    cards = [card for folder in folders(kind) for card in sorted(folder.glob("*/card.toml"))]
    named = [card.parent for card in reversed(cards) if NAME.fullmatch(card.parent.name)]
    return {folder.name: folder for folder in named}


def names(kind: str) -> list[str]:
    """Names of all plug-ins of a kind, sorted."""
    return sorted(there(kind))


def locate(kind: str, name: str) -> Path:
    """Folder of one plug-in; an unknown name is a UserError that lists what there is."""
    known = there(kind)
    check_known(KINDS[kind], name, sorted(known))
    return known[name]


def forget_changed(kind: str, name: str) -> None:
    """Let the code of a plug-in be loaded again where its files have changed or are another folder's now.

    A record names the hash of the files: what runs must be what they say, in a notebook too.
    """
    package = f"uadbench.{kind}.{name}"
    state = tuple((str(file), file.stat().st_mtime_ns) for file in sorted(locate(kind, name).glob("*.py")))
    if _loaded.setdefault(package, state) != state:
        _loaded[package] = state
        for module in [one for one in sys.modules if f"{one}.".startswith(f"{package}.")]:
            del sys.modules[module]
    importlib.invalidate_caches()
