"""Every rule of the protocol that the code cites stands in docs/protocol.md."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "docs/protocol.md"
CITED = re.compile(r"\brules? (\d+)((?:,? (?:and )?\d+)*)", re.IGNORECASE)

pytestmark = pytest.mark.skipif(not RULES.exists(), reason="docs/ is in the repository, not in the wheel")


def test_every_cited_rule_exists() -> None:
    there = {
        int(number) for number in re.findall(r"^(\d+)\. ", RULES.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert there == set(range(1, 19))
    missing = [
        f"{path.relative_to(ROOT)}: rule {number}"
        for folder in ("uadbench", "methods", "datasets", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number in _cited(path)
        if number not in there
    ]
    assert not missing


def _cited(path: Path) -> set[int]:
    text = path.read_text(encoding="utf-8")
    return {int(number) for match in CITED.finditer(text) for number in re.findall(r"\d+", match.group())}
