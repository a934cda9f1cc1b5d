"""What lies in the folders `methods/` and `datasets/`, here and in folders that a user adds."""

import os
import re
from pathlib import Path

from uadbench.errors import UserError, unknown

PLUGINS_VARIABLE = "UADBENCH_PLUGINS"
KINDS = {"methods": "method", "datasets": "data set"}  # folder -> what one of it is called
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
    return [Path(p) for p in os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep) if p]


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
    """Every folder that holds plug-ins of a kind (`methods` or `datasets`), the project's first."""
    return [home(kind), *[path / kind for path in plugins() if (path / kind).is_dir()]]


def names(kind: str) -> list[str]:
    """Names of all plug-ins of a kind, sorted: every folder with a `card.toml`."""
    found = {card.parent.name for folder in folders(kind) for card in folder.glob("*/card.toml")}
    return sorted(name for name in found if NAME.fullmatch(name))


def locate(kind: str, name: str) -> Path:
    """Folder of one plug-in; what is no name of one, a path for example, lists those there are."""
    for folder in folders(kind):
        if NAME.fullmatch(name) and (folder / name / "card.toml").is_file():
            return folder / name
    raise unknown(KINDS[kind], name, names(kind))
