"""Where things lie, and what may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from uadbench import catalog, methods

HOMES = [catalog.home(kind) for kind in ("methods", "datasets")]
FOLDERS = {*catalog.names("methods"), *catalog.names("datasets")}
CODE = sorted(path for home in HOMES for path in home.glob("*/**/*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports; a relative import is spelled with its dots."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            separator = "" if module.endswith(".") else "."
            found |= {f"{module}{separator}{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("home", HOMES, ids=lambda home: str(home.name))
def test_plug_in_folders_are_no_packages(home: Path) -> None:
    """An `__init__.py` in `datasets/` would hide Hugging Face's `datasets` from code run in the checkout."""
    assert not list(home.rglob("__init__.py"))


@pytest.mark.parametrize("path", CODE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_plug_ins_never_import_each_other(path: Path) -> None:
    own = path.parent.name
    for name in imported(path):
        kind, _, rest = name.removeprefix("uadbench.").partition(".")
        if kind in ("methods", "datasets") and rest:
            assert name.startswith("uadbench."), f"{name}: named by its place in the package"
            folder = rest.split(".")[0]
            assert folder == own or folder not in FOLDERS, name
        assert not name.startswith(".."), f"{name}: relative imports end in the own folder"


def test_a_method_is_a_module_of_the_package() -> None:
    assert methods.load("random").__module__ == "uadbench.methods.random.method"


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    """Also for a list of all methods with their cards: no plug-in code is loaded for that."""
    program = (
        "import sys, uadbench.cli\n"
        "from uadbench import cards, methods\n"
        "[cards.method_card(name) for name in methods.names()]\n"
        "print(sorted({'torch', 'monai', 'sklearn', 'skimage'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
