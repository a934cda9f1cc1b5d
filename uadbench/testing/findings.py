"""Findings: what the checks of a contract find, told in one line each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from uadbench.system.text import visible

Checked = TypeVar("Checked")


class Weakness(UserWarning):
    """All is in order, and weaker than one would hope: a warning and no fault."""


@dataclass(frozen=True)
class Finding:
    """What one check found; a sentence says what is wrong, or why the check is left out."""

    check: str
    outcome: Literal["passed", "failed", "warned", "excused"]
    sentence: str = ""

    def __str__(self) -> str:
        said = f"{self.outcome}: {self.check.replace('_', ' ')}"
        return f"{said}: {visible(self.sentence)}" if self.sentence else said


def demand(kept: object, sentence: str) -> None:
    """Raise an AssertionError with the sentence where something is not so."""
    if not kept:
        raise AssertionError(sentence)


def run_check(check: Callable[[Checked], None], of: Checked, excused: Mapping[str, str] = {}) -> Finding:
    """Run one check of a method or a data set; whatever it raises is a finding."""
    name = name_check(check)
    if name in excused:
        return Finding(name, "excused", excused[name])
    try:
        check(of)
    except Weakness as weakness:
        return Finding(name, "warned", str(weakness))
    except Exception as error:  # whatever the code of a plug-in does
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        return Finding(name, "failed", kind + " ".join(str(error).split()))
    return Finding(name, "passed")


def name_check(check: Callable[..., object]) -> str:
    """The name of a check, as it is printed and as a card's `[exempt]` calls it."""
    return check.__name__.removeprefix("check_")
