"""Scaffold: a folder for a method or a data set of one's own, which works before its first change.

What is written is a copy of a plug-in in `uadbench/templates`, itself a plug-in folder, under another name.
"""

import keyword
import os
import re
import shlex
from pathlib import Path

from uadbench import cards, catalog
from uadbench.experiment.config import Runtime
from uadbench.experiment.own_facts import find_facts
from uadbench.system.errors import UserError
from uadbench.system.files import write_text

TEMPLATES = Path(__file__).resolve().parent / "templates"
PLACEHOLDERS = {"methods": "my_method", "datasets": "my_dataset"}  # kind -> the template's name
NEXT = {
    "methods": """\
uadbench methods {name}                                         # what its card says
uadbench check-method {name}                                    # the requirements of every method
uadbench run --method {name} --dataset phantom --preset ci      # it learns, scores and has a record
""",
    "scans": """\
uadbench datasets {name}                           # what its card says: change what is not so
uadbench check-dataset {name}                      # the requirements of every data set
uadbench verify {name}                             # every file of it
uadbench run --method intensity --dataset {name} --train none --preset ci
""",
    "datasets": """\
uadbench check-dataset {name}                      # the requirements of every data set
uadbench fixture {name} --out {name}-fixture       # simulated subjects in its layout
uadbench verify {name} --root {name}-fixture       # later: --root of the real files
uadbench run --method intensity --dataset {name} --preset ci --protocol uad-1-4mm
""",
}


def write_template(kind: str, name: str, folder: Path | None = None) -> Path:
    """Write `<folder>/<kind>/<name>/` and return its path; `kind` is `methods` or `datasets`.

    Without a `folder` it is written among the plug-ins that the environment names, else into the checkout,
    else into the current folder. A name that is taken or cannot be a module's is a UserError.
    """
    target = _new_target(kind, name, folder)
    source = TEMPLATES / kind / PLACEHOLDERS[kind]
    for file in sorted(source.iterdir(), key=lambda path: path.suffix == ".toml"):  # the card makes it known
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            write_text(target / file.name, text.replace(PLACEHOLDERS[kind], name))
    return target


def write_dataset_of(
    scans: Path, name: str, runtime: Runtime, contrast: str | None = None, folder: Path | None = None
) -> tuple[Path, str]:
    """Write the data set that somebody's scans are, to be changed: its folder, and what was found in a line.

    It is what the program writes for itself where the folder of scans is named as a data set.
    """
    target = _new_target("datasets", name, folder)
    if not scans.is_dir():
        raise UserError(f"--from expects a folder of scans, but there is none at {scans}.")
    found = find_facts(name, scans.resolve(), runtime, contrast)
    found.write(target)
    runtime.paths.remember_root(name, scans)
    return target, found.said


def _new_target(kind: str, name: str, folder: Path | None) -> Path:
    """Where a new plug-in is written, which must not be there yet."""
    _check_name(kind, name)
    target = (folder or find_folder()) / kind / name
    if target.exists():
        raise UserError(f"{target} is there already: choose another name, or --folder.")
    return target


def find_folder() -> Path:
    """The last plug-in folder that the environment names, else the checkout, else the current folder."""
    return [catalog.checkout() or Path(), *catalog.plugins()][-1]


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UserError(
            f"A name becomes a Python module: it needs lower-case letters, digits and _, a letter first, "
            f"and no Python keyword, got '{name}'."
        )
    if name in (cards.method_names() if kind == "methods" else catalog.names("datasets")):
        raise UserError(f"There is a {kind[:-1]} '{name}' already: choose another name.")


def list_next_steps(kind: str, target: Path) -> str:
    """What to type after a plug-in was written, as lines of a shell; of a `kind` in NEXT."""
    steps = NEXT[kind].format(name=target.name)
    folder = target.parent.parent.resolve()
    if folder in [*(path.resolve() for path in catalog.plugins()), catalog.checkout()]:
        return steps
    known = [*map(str, catalog.plugins()), str(folder)]
    return f"export {catalog.PLUGINS_VARIABLE}={shlex.quote(os.pathsep.join(known))}\n{steps}"
