"""Hooks of MkDocs: what the program knows itself is put into the pages when the site is built.

`<!-- made: commands -->` in a page is replaced by what `MADE` gives under that name; a page that is read
without being built says there how to print it.
"""

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from uadbench.cards import OWN, DatasetCard, MethodCard, all_datasets, all_methods
from uadbench.cli import app
from uadbench.report.field import findings, formats, views
from uadbench.report.field.collection import collection
from uadbench.report.sheets import Sheet
from uadbench.report.sheets import markdown as sheets_markdown
from uadbench.system.text import markdown_cell

KINDS = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "path": "PATH"}
KEYS = re.compile(r"\[(\d+[a-z]?(?:, \d+[a-z]?)*)\]")  # of sources
MARK = re.compile(r"<!-- made: (\w+) -->\n.*?<!-- /made -->", re.DOTALL)


# ---- commands ----------------------------------------------------------------------------------


def walk(command: Any = None, name: str = "uadbench") -> Iterator[tuple[str, Any]]:
    """Every command that is shown, with its full name."""
    command = command or typer.main.get_command(app)
    if isinstance(command, TyperGroup):
        for part, inner in command.commands.items():
            if not inner.hidden:
                yield from walk(inner, f"{name} {part}")
    else:
        yield name, command


def commands() -> str:
    """Every command with its arguments and options."""
    return "\n".join(line for name, command in walk() for line in _command(name, command))


def _command(name: str, command: Any) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (f"## `{name}`", "", command.help or "", "", f"Usage: `{name} {usage}`", "")
    rows = [row for one in command.get_params(context) if (row := _parameter(one, context))]
    if rows:
        yield from ("| argument or option | what it is |", "| --- | --- |", *rows, "")


def _parameter(parameter: Any, context: Any) -> str:
    record = parameter.get_help_record(context)
    if record is None or "--help" in record[0]:
        return ""
    # What typer calls `<list[str]>` is a text, and that it may be repeated is said beside it.
    name = re.sub(r"<(?:list\[)?(\w+)(?: range)?\]?>", lambda kind: KINDS[kind[1].lower()], record[0])
    return f"| `{name}` | {markdown_cell(record[1])} |".replace("\n", " ")


# ---- methods and data sets -----------------------------------------------------------------------


def methods() -> str:
    """Every method: a table, then a section for each."""
    cards = list(all_methods()[0].values())
    rows = [
        (_to(card), card.title, card.family, "yes" if card.trained else "no", str(card.year))
        for card in cards
    ]
    table = _table(("method", "title", "family", "trained", "year"), rows)
    return "\n".join([*table, *(line for card in cards for line in _method(card))])


def _method(card: MethodCard) -> Iterator[str]:
    paper = f"{card.paper} ({card.year}), {_link(card.link)}"
    yield from ("", f"## {card.title} {{#{card.name}}}", "", f"`{card.name}`. {card.summary}", "")
    yield from (f"- Paper: {paper}", f"- Published code: {card.reference_licence}")
    yield f"- Input of the published method: {card.input}"
    if card.differences:
        yield from ("", "Differences from the paper:", "", *(f"- {line}" for line in card.differences))


def _link(text: str) -> str:
    """A text with its addresses, DOIs and arXiv numbers as links."""
    text = re.sub(r"https?://\S+", r"<\g<0>>", text)
    text = re.sub(r"arXiv:([\d.]+\d)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
    return re.sub(r"doi:([^\s,]+)", r"[doi:\1](https://doi.org/\1)", text)


def datasets() -> str:
    """Every data set: a table, then a section for each."""
    cards = [card for card in all_datasets()[0].values() if card.access != OWN]
    rows = [
        (_to(c), c.title.split(":")[0], c.role, ", ".join(c.contrasts), c.access.split(":")[0]) for c in cards
    ]
    table = _table(("data set", "title", "role", "MR contrasts (modalities)", "access"), rows)
    return "\n".join([*table, *(line for card in cards for line in _dataset(card))])


def _dataset(card: DatasetCard) -> Iterator[str]:
    yield from ("", f"## {card.title} {{#{card.name}}}", "", f"`{card.name}`. {card.summary}", "")
    expected = ", ".join(f"{contrast} {count}" for contrast, count in card.expected.items())
    partners = "; ".join(f"{contrast}: {', '.join(names)}" for contrast, names in card.partners.items())
    facts = {
        "Licence": card.licence + (f"; forbids {card.forbids}" if card.forbids else ""),
        "Subjects expected": expected or "not stated",
        "Labels": card.label_meaning or "none",
        "Headline post-processing": f"`{card.headline}`",
        "Healthy data to train on": partners or "none with its MR contrasts is public",
        "Layout": card.layout,
        "Citation": card.citation,
    }
    yield f"- Get it from: {_link(card.address)} ({card.access})"
    yield from (f"- {name}: {_safe(fact)}" for name, fact in facts.items() if fact)


def _safe(text: str) -> str:
    """A text whose `<part>` is no element of HTML, and whose braces and stars are no mark-up."""
    return re.sub(r"([<>*_])", r"\\\1", " ".join(text.split()))


def _to(card: MethodCard | DatasetCard) -> str:
    """A link to its section."""
    return f"[`{card.name}`](#{card.name})"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    rule = tuple("---" for _ in head)
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]


# ---- the published comparison ----------------------------------------------------------------------


def published() -> str:
    """By family and kind of lesion, then what is missing."""
    whole = collection()
    found = [views.overview(whole), *views.by_family(whole)]
    return _lowered(formats.markdown(found, findings.summary(whole), findings.findings(whole)))


def published_values() -> str:
    """Every value by test set."""
    found: list[Sheet] = views.by_test(collection())
    return _lowered(formats.markdown(found, "", []) if found else sheets_markdown(found))


def _lowered(text: str) -> str:
    """Without the title, which the page has; the keys in the tables are links to their sources."""
    lines = re.sub(r"^# .*\n", "", text).splitlines()
    return "\n".join(KEYS.sub(_linked, line) if line.startswith("|") else _named(line) for line in lines)


def _linked(keys: re.Match[str]) -> str:
    return f"[{', '.join(f'[{key}](#source-{key})' for key in keys[1].split(', '))}]"


def _named(line: str) -> str:
    return re.sub(r"^- \[(\d+[a-z]?)\]", r'- <a id="source-\1"></a>[\1]', line)


MADE = {
    "commands": commands,
    "methods": methods,
    "datasets": datasets,
    "published": published,
    "published_values": published_values,
}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """MkDocs: a page before it is rendered."""
    if page.file.src_uri == "protocol.md":  # so that pages can point at a rule
        markdown = re.sub(r"^(\d+)\. ", r'\1. <a id="rule-\1"></a>', markdown, flags=re.MULTILINE)
    return MARK.sub(lambda found: f"\n{MADE[found[1]]()}\n", markdown)
