"""The code that a fit depends on: what changes its hash and what does not."""

import ast
import shutil
from pathlib import Path

import pytest

from uadbench import source
from uadbench.cards import method_card, method_names
from uadbench.catalog import PLUGINS_VARIABLE
from uadbench.source import source_hash

PLAIN = """
from uadbench.learning import training
from .helper import double

class Blur:
    width: int = 3

    def fit(self, train):
        if not train:
            raise ValueError("nobody came")
        return double(self.width)
"""
SAME = '''
"""Blurs."""
# a remark
from uadbench.learning import training
from .helper import (
    double,
)

class Blur:
    """It blurs."""

    width: int = 0x3
    "of the window"

    def fit(self, train):
        """Learn."""
        if not train:
            raise ValueError("there is nobody to learn from: " + "add some")
        pass
        return double(
            self.width,
        )
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A method of a user's own, with a module beside it that it imports and one that it does not."""
    home = tmp_path / "mine/methods/blurring"
    home.mkdir(parents=True)
    (home / "card.toml").write_text("")
    (home / "method.py").write_text(PLAIN)
    (home / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    (home / "other.py").write_text("A = 1\n")
    monkeypatch.setenv(PLUGINS_VARIABLE, str(tmp_path / "mine"))
    return home


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's shared code, to be changed."""
    place = tmp_path / "copy/uadbench"
    shutil.copytree(source.PACKAGE, place, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source, "PACKAGE", place)
    return place


def test_a_comment_a_docstring_and_the_layout_change_nothing(folder: Path) -> None:
    before = source.hash_method_files("blurring")
    (folder / "method.py").write_text(SAME)
    assert source.hash_method_files("blurring") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= 3", "= 3.0"),
        ("= 3", "= 4"),
        ("if not train", "if train"),
        ("double(self.width)", "double(self.width) + 1"),
        ("ValueError", "TypeError"),
        ("width: int", "widths: int"),
        ("return double(self.width)", "double(self.width)"),
    ],
)
def test_a_real_change_changes_the_file_that_has_it(folder: Path, old: str, new: str) -> None:
    before = source.hash_method_files("blurring")
    (folder / "method.py").write_text(PLAIN.replace(old, new))
    after = source.hash_method_files("blurring")
    assert [place for place in after if after[place] != before[place]] == ["methods/blurring/method.py"]


def test_imports_are_followed_and_nothing_else(folder: Path) -> None:
    found = source.hash_method_files("blurring")
    assert {"methods/blurring/helper.py", "uadbench/learning/training.py", "uadbench/data/volumes.py"} <= set(
        found
    )
    assert "methods/blurring/other.py" not in found
    assert not {"uadbench/cards.py", "uadbench/protocol.py", "uadbench/learning/simplex.py"} & set(found)
    (folder / "helper.py").write_text("def double(x):\n    return x + x\n")
    changed = source.hash_method_files("blurring")
    assert [place for place in changed if changed[place] != found[place]] == ["methods/blurring/helper.py"]


def test_a_comment_in_shared_code_changes_no_method(copy: Path) -> None:
    before = {name: source_hash(method_card(name).folder) for name in method_names()}
    for file in (copy / "learning").glob("*.py"):
        file.write_text('"""Something else."""\n# a remark\n' + file.read_text())
    assert {name: source_hash(method_card(name).folder) for name in method_names()} == before


def test_a_change_in_shared_code_changes_exactly_the_methods_that_import_it(copy: Path) -> None:
    before = {name: source.hash_method_files(method_card(name).folder) for name in method_names()}
    file = copy / "learning/diffusion.py"
    file.write_text(file.read_text() + "\nMORE = 1\n")
    changed = {
        name for name, files in before.items() if source.hash_method_files(method_card(name).folder) != files
    }
    assert changed == {name for name, files in before.items() if "uadbench/learning/diffusion.py" in files}
    assert "ddpm" in changed
    assert not changed & {"random", "vae", "pca"}


def test_what_is_for_types_only_is_not_followed(folder: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from uadbench.learning import simplex\n"
    (folder / "method.py").write_text(text + PLAIN)
    assert "uadbench/learning/simplex.py" not in source.hash_method_files("blurring")


def test_a_tree_reads_the_same_in_every_version_of_python() -> None:
    """The fields that came with Python 3.12 and 3.13 are empty where the code does not use them."""
    tree = ast.parse("def f(x, *, y=1):\n    'doc'\n    return f'{x!r:>{y}}', -1, [i for i in x if i]\n")
    (function,) = source.canonical(tree)[1][0][1]
    assert function[0] == "FunctionDef"
    assert [name for name, _ in function[1]] == ["name", "args", "body"]
    assert function[1][1][1][1][2] == ["kw_defaults", [["Constant", "int", "1"]]]
    assert "type_params" not in str(function)
    assert source.canonical(ast.parse("x = True")) != source.canonical(ast.parse("x = 1"))
    assert source.canonical(ast.parse("x = 1.0")) != source.canonical(ast.parse("x = 1"))
    assert source.canonical(ast.parse("x = None")) != source.canonical(ast.parse("x"))
