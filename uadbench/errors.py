"""The two ways in which input can be wrong."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

# What moves the cursor, ends a line or turns the direction of writing: never printed as it came.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST_NAME = 60  # of a name that is repeated in a sentence


class UserError(Exception):
    """A mistake that the user can mend; the message is one sentence: expected, came, what to do.

    The command line prints it without a traceback and exits with 2.
    """


class SubjectError(Exception):
    """One subject cannot be used; it is recorded with this reason and the others go on."""


def visible(text: str) -> str:
    r"""A text on one line, its control characters written as `\x07`."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def unknown(what: str, name: object, there: Iterable[object], of: str = "") -> UserError:
    """There is no such thing: the nearest name that there is, if one is near, and all of them."""
    names = [str(one) for one in there]
    by_small = {one.lower(): one for one in reversed(names)}
    came = visible(str(name))[:LONGEST_NAME]
    near = get_close_matches(came.lower(), by_small, n=1)
    guess = f"; did you mean '{by_small[near[0]]}'?" if near else "."
    return UserError(
        f"There is no {what} '{came}'{f' of {of}' if of else ''}{guess} "
        f"There are: {', '.join(names) or 'none'}."
    )
