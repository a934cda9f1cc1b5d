"""Every fault that was found in metric version 1 has a test that would find it again."""

import ast
import csv
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROWS = list(csv.DictReader((TESTS / "faults.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_fault_names_tests_that_exist(row: dict[str, str]) -> None:
    named = row["tests"].split()
    assert named, f"fault {row['id']} has no test: {row['fault']}"
    for name in named:
        file, _, function = name.partition("::")
        assert function in _functions(TESTS / file), f"{name} is not there"


def _functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
