"""The two ways in which input can be wrong."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can mend; the message is one sentence: expected, came, what to do.

    The command line prints it without a traceback and exits with 2.
    """


class SubjectError(Exception):
    """One subject cannot be used; it is recorded with this reason and the others go on."""


def unknown(what: str, name: str, there: Iterable[str]) -> UserError:
    """The error for a name that is not among those that are there: what was meant, perhaps, and all of them.

    Control characters of the name are shown as escapes.
    """
    options = sorted(there)
    lower = {option.lower(): option for option in options}
    near = [lower[found] for found in get_close_matches(name.lower(), lower, n=1)]
    meant = f"did you mean {near[0]}? " if near else ""
    shown = name if name.isprintable() else ascii(name)[1:-1]
    return UserError(f"There is no {what} '{shown}'; {meant}there are: {', '.join(options)}.")
