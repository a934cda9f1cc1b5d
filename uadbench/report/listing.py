"""Listing: a table of text with a title and notes, written as Markdown, CSV, JSON or LaTeX."""

import csv as writer
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from uadbench.system.text import csv_cell, latex_text, markdown_cell, visible


@dataclass(frozen=True)
class Listing:
    """Lines of text under headers."""

    title: str
    headers: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    cautions: Sequence[str] = ()  # notes without which a line must not be read: each line of a CSV has them

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes and cautions."""
        return (*self.notes, *self.cautions)

    def facts(self) -> list[dict[str, str]]:
        """One dictionary per line, with the title and the cautions."""
        return [
            {
                "listing": self.title,
                **dict(zip(self.headers, line, strict=True)),
                "caution": " ".join(self.cautions),
            }
            for line in self.lines
        ]


def markdown(found: Sequence[Listing]) -> str:
    """All listings in Markdown."""
    parts: list[str] = []
    for listing in found:
        parts += [f"## {visible(listing.title)}", ""]
        parts += [line for note in listing.remarks for line in (visible(note), "")]
        lines = [listing.headers, ("---",) * len(listing.headers), *listing.lines]
        parts += ["| " + " | ".join(map(markdown_cell, line)) + " |" for line in lines]
        parts.append("")
    return "\n".join(parts)


def csv(found: Sequence[Listing]) -> str:
    """All lines as comma-separated values, under the headers of all."""
    facts = [{key: csv_cell(value) for key, value in line.items()} for line in _facts(found)]
    stream = io.StringIO()
    out = writer.DictWriter(stream, list(dict.fromkeys(key for line in facts for key in line)), restval="")
    out.writeheader()
    out.writerows(facts)
    return stream.getvalue().replace("\r\n", "\n")


def as_json(found: Sequence[Listing]) -> str:
    """All lines as a JSON list."""
    return json.dumps(_facts(found), indent=1, ensure_ascii=False) + "\n"


def _facts(found: Sequence[Listing]) -> list[dict[str, str]]:
    return [line for listing in found for line in listing.facts()]


def latex(found: Sequence[Listing]) -> str:
    """All listings for LaTeX; needs the package booktabs."""
    parts: list[str] = []
    for listing in found:
        head, *body = [
            " & ".join(map(latex_text, line)) + r" \\" for line in (listing.headers, *listing.lines)
        ]
        parts += [
            r"\begin{table}",
            rf"\caption{{{latex_text('. '.join([listing.title, *listing.remarks]))}}}",
            rf"\begin{{tabular}}{{{'l' * len(listing.headers)}}}",
            *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
            *(r"\end{tabular}", r"\end{table}", ""),
        ]
    return "\n".join(parts)


FORMATS = {"table": markdown, "markdown": markdown, "csv": csv, "json": as_json, "latex": latex}
