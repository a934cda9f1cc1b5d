"""The two ways in which input can be wrong."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from uadbench.system.text import visible

LONGEST_NAME = 60  # of a name that is repeated in a sentence


class UserError(Exception):
    """A mistake that the user can mend; the message is one sentence: expected, came, what to do.

    The command line prints it without a traceback and exits with 2.
    """


class SubjectError(Exception):
    """One subject cannot be used; it is recorded with this reason and the others go on."""


def check_choice(option: str, value: str, there: Collection[str]) -> None:
    """UserError where an option has none of its few values."""
    if value not in there:
        raise UserError(f"{option} expects one of {', '.join(there)}, got '{value}'.")


def check_known(what: str, name: object, there: Collection[object], of: str = "") -> None:
    """UserError where there is no such thing."""
    if name not in there:
        raise unknown(what, name, there, of)


def unknown(what: str, name: object, there: Iterable[object], of: str = "") -> UserError:
    """There is no such thing: the nearest name that there is, if one is near, and all of them."""
    names = [str(one) for one in there]
    by_small = {one.lower(): one for one in reversed(names)}
    came = visible(str(name))[:LONGEST_NAME]
    near = get_close_matches(came.lower(), by_small, n=1)
    guess = f"; did you mean '{by_small[near[0]]}'?" if near else "."
    return UserError(
        f"There is no {what} '{came}'{f' of {of}' if of else ''}{guess} "
        f"Available: {', '.join(names) or 'none'}."
    )
