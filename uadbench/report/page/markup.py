"""Markup: elements of text that cannot be read as markup, written by the standard library."""

import re
from collections.abc import Callable, Iterable, Mapping
from xml.etree import ElementTree

from uadbench.report.sheets import Line, Sheet

Node = ElementTree.Element
NOTHING = "-"  # in a cell without a value
_ADDRESS = re.compile(r"https://[^\s\"'<>]+")
_SCHEMES = {"arXiv:": "https://arxiv.org/abs/", "doi:": "https://doi.org/"}
_SOURCE = re.compile(r"\[(\d+[a-z]?(?:, \d+[a-z]?)*)\]$")


def el(tag: str, attributes: Mapping[str, object] | None = None, *content: object) -> Node:
    """An element. None and False leave an attribute or a child out; a list of children is laid out flat."""
    node = Node(tag)
    for name, value in (attributes or {}).items():
        if value is not None and value is not False:
            node.set(name, "" if value is True else _plain(value))
    return fill(node, content)


def fill(node: Node, content: Iterable[object]) -> Node:
    """The element with more children."""
    for child in content:
        if isinstance(child, Node):
            node.append(child)
        elif isinstance(child, str | int | float):
            _write(node, str(child))
        elif child:
            fill(node, child)  # type: ignore[arg-type]  # a list of children
    return node


def _plain(value: object) -> str:
    """An attribute as text; numbers with six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _write(node: Node, text: str) -> None:
    if len(node):
        node[-1].tail = (node[-1].tail or "") + text
    else:
        node.text = (node.text or "") + text


def render(nodes: Iterable[Node]) -> str:
    """The elements as HTML."""
    return "".join(ElementTree.tostring(node, encoding="unicode", method="html") for node in nodes)


# ---- text --------------------------------------------------------------------------------------


def prose(text: str) -> list[object]:
    """Text with `code` in it."""
    parts = text.split("`")
    return [el("code", None, part) if place % 2 else part for place, part in enumerate(parts)]


def quiet(*content: object) -> Node:
    """A paragraph in small grey letters; a single text may hold `code`."""
    return el("p", {"class": "quiet"}, *(prose(one) if isinstance(one, str) else one for one in content))


def bullets(lines: Iterable[object]) -> Node | None:
    """A list; None without lines."""
    items = [el("li", None, prose(line) if isinstance(line, str) else line) for line in lines]
    return el("ul", None, items) if items else None


def facts(pairs: Iterable[tuple[str, object]]) -> Node:
    """Names and what they stand for, where that is not empty."""
    return el("dl", None, [[el("dt", None, n), el("dd", None, v)] for n, v in pairs if v not in ("", None)])


def link(text: str) -> Node | str:
    """A link where the text is an address, an arXiv number or a DOI; else the text."""
    first = text.split(",")[0].split(" ")[0]
    for scheme, start in _SCHEMES.items():
        if first.startswith(scheme):
            first = start + first.removeprefix(scheme)
    if not _ADDRESS.fullmatch(first):
        return text
    return el("a", {"href": first, "rel": "noopener noreferrer"}, text)


def folded(title: object, /, *content: object, **attributes: object) -> Node:
    """Content that opens when it is asked for."""
    return el("details", attributes, el("summary", None, title), *content)


# ---- tables ------------------------------------------------------------------------------------


def table(caption: str, headers: Iterable[Node | None], rows: Iterable[Node], kind: str = "") -> Node:
    """A table in a frame of its own, which scrolls sideways and takes the focus."""
    return el(
        "div",
        {"class": f"scroll {kind}".strip(), "tabindex": 0, "role": "group", "aria-label": caption},
        el(
            "table",
            None,
            el("caption", {"class": "unseen"}, caption),
            el("thead", None, el("tr", None, list(headers))),
            el("tbody", None, list(rows)),
        ),
    )


def head(title: object, /, **attributes: object) -> Node:
    """The head of a column."""
    return el("th", {"scope": "col", **attributes}, title)


def sheet(shown: Sheet, marks: Callable[[Line], Mapping[str, object]] = lambda _: {}) -> list[Node]:
    """A sheet of text: its table, its notes; keys of sources lead to the list of sources.

    `marks`: what the filters of the page look at in a line.
    """
    rows = []
    for place, line in enumerate(shown.lines):
        if place in shown.headings:
            title = el("th", {"colspan": len(line), "scope": "colgroup"}, shown.headings[place])
            rows.append(el("tr", {"class": "heading"}, title))
        rows.append(el("tr", {"data-row": True, **marks(line)}, _cells(shown, line)))
    headers = [
        head(title, **({"class": "num"} if shown.is_number(place) else {}))
        for place, title in enumerate(shown.headers)
    ]
    return [table(shown.title, headers, rows), *map(quiet, shown.remarks)]


def _cells(shown: Sheet, line: Iterable[str]) -> list[Node]:
    made = []
    for place, text in enumerate(line):
        kind = "num" if shown.is_number(place) else "wrap" if len(text) > 40 else None
        found = _SOURCE.search(text)
        content: list[object] = [text]
        if found:
            keys = found[1].split(", ")
            links = [el("a", {"href": f"#source-{key}"}, key) for key in keys]
            content = [text[: found.start()], "[", *_between(links), "]"]
        made.append(
            el("th" if place == 0 else "td", {"class": kind, "scope": None if place else "row"}, content)
        )
    return made


def _between(nodes: list[Node]) -> list[object]:
    parts: list[object] = [part for node in nodes for part in (", ", node)]
    return parts[1:]
