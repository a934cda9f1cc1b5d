"""Page: the leaderboard as one self-contained HTML file, made from records, score histograms and stored maps.

Everything that is shown is data in one JSON block; the scripts build the page from it with `textContent`
alone, so that no text of a card or a file name is ever read as markup. Nothing is loaded from a network.
"""

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from uadbench.report import leaderboard as board
from uadbench.report.page import content
from uadbench.system.paths import Paths

SCRIPTS = (  # in the order in which they are read: each knows those before it
    "elements", "sorting", "filters", "details", "tables", "families", "charts", "cost", "curves", "closer",
    "gallery", "published", "reading",
)  # fmt: skip


def write_page(
    found: Sequence[board.Table],
    failed: Sequence[tuple[str, str]],
    paths: Paths,
    resamples: int,
) -> str:
    """The page of the tables; without resamples it has no intervals, strata and curves.

    `failed`: runs that failed, and records that do not count, with the reason.
    """
    return render_page(content.gather_content(found, failed, paths, resamples))


def render_page(shown: Mapping[str, Any]) -> str:
    """The page that shows this content: one file, nothing is loaded from elsewhere."""
    here = files(__package__)
    scripts = [(here / "script" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    parts = {
        "STYLE": (here / "page.css").read_text(encoding="utf-8"),
        "DATA": embedded(shown),
        "SCRIPT": "\n".join(scripts),
    }
    page = (here / "page.html").read_text(encoding="utf-8")
    return re.sub(r"/\*(STYLE|DATA|SCRIPT)\*/", lambda mark: parts[mark[1]], page)


def embedded(shown: object) -> str:
    """JSON that no text can end early: `<`, `>` and `&` are written as escapes."""
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
