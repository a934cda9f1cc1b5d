"""Numbers in text, with as many digits as their interval allows."""

import math


def rounded(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A share with the digits that its interval allows: two where it is wider than .02, else three."""
    if value is None or not math.isfinite(value):
        return ""
    digits = 2 if low is not None and high is not None and high - low > 0.02 else 3
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def round_number(value: float) -> str:
    """The number at a tick of an axis."""
    text = f"{value:.3g}"
    return text.removeprefix("0") if "." in text else text


def between(low: float, high: float) -> str:
    """An interval of a share, with the digits it allows."""
    return f"[{rounded(low, low, high)}-{rounded(high, low, high)}]"
