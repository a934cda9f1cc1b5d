"""The field's comparison on a terminal and in files: sheets, then the sources once, then what is missing."""

from collections.abc import Sequence

from uadbench.report import sheets
from uadbench.report.field.collection import in_order
from uadbench.report.screen import print_heading, print_note, print_sheets
from uadbench.report.sheets import Sheet


def print_comparison(found: Sequence[Sheet], lead: str, findings: Sequence[str]) -> None:
    """On a terminal."""
    print_note(lead, style="")
    print_sheets(found)
    print_heading("Sources")
    for key, text in cited(found).items():
        print_note(f"[{key}] {text}", style="")
    if findings:
        print_heading("What is missing")
        for text in findings:
            print_note(f"- {text}", style="")


def cited(found: Sequence[Sheet]) -> dict[str, str]:
    """The sources of all sheets, each once."""
    return in_order({key: text for sheet in found for key, text in sheet.sources.items()})


def markdown(found: Sequence[Sheet], lead: str, findings: Sequence[str]) -> str:
    """In Markdown."""
    parts = ["# Published comparison", "", lead, "", sheets.markdown(found)]
    parts += ["## Sources", "", *[f"- [{key}] {text}" for key, text in cited(found).items()], ""]
    if findings:
        parts += ["## What is missing", "", *[f"- {text}" for text in findings], ""]
    return "\n".join(parts)
