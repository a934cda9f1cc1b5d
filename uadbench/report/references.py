"""References: names of methods as a paper prints them, what it cites, and the entries as BibTeX."""

import re
from collections.abc import Iterable, Mapping, Sequence

from uadbench import __version__
from uadbench.cards import DatasetCard, MethodCard, all_datasets, method_cards
from uadbench.report.leaderboard import Table
from uadbench.system.text import latex_text

_KEY = re.compile(r"@\w+\{([\w:.-]+),")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
_ADDRESS = re.compile(r"\b(?:github\.com/[\w.-]+/[\w.-]*\w|[\w-]+\.github\.io/[\w./-]*\w)")
OWN = "uadbench"  # the key of the benchmark itself
_OWN_ENTRY = f"""@misc{{{OWN},
  key = {{uadbench}},
  title = {{uadbench: a Benchmark of Unsupervised Anomaly Detection in Brain {{MRI}}}},
  howpublished = {{Software, version {__version__}}}
}}"""


def entries(card: MethodCard | DatasetCard | None) -> dict[str, str]:
    """The BibTeX entries of a card by key, one field a line; what has no key is left out."""
    lines = [re.sub(r", *(\w+ = \{)", r",\n  \1", text) for text in (card.bibtex if card else ())]
    return {found[1]: text for text in lines if (found := _KEY.match(text))}


def of_method(method: str) -> dict[str, str]:
    """The entries of a method's card."""
    return entries(method_cards().get(method))


def of_dataset(name: str) -> dict[str, str]:
    """The entries of a data set's card."""
    return entries(all_datasets()[0].get(name))


def of_tables(tables: Sequence[Table]) -> str:
    """What tables of the leaderboard cite, as a BibTeX file."""
    found = {OWN: _OWN_ENTRY}
    for table in tables:
        for name in dict.fromkeys([table.test, *[row.train for row in table.rows]]):
            found |= of_dataset(name)
        for row in table.rows:
            found |= of_method(row.method)
    return bibtex(found)


def of_sources(texts: Iterable[str]) -> dict[str, str]:
    """An entry for each source of values, by key: a paper that a card cites has the card's entry."""
    known = {
        number: own for name in method_cards() for own in of_method(name).items()
        for number in re.findall(r"eprint = \{(.*?)\}", own[1])
    }  # fmt: skip
    found: dict[str, str] = {}
    notes: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        arxiv = _ARXIV.search(text)
        if arxiv and arxiv[1] in known:
            key, entry = known[arxiv[1]]
            found[key] = entry
        else:
            notes.setdefault(source_key(text), []).append(text)
    return found | {key: _source_entry(key, own) for key, own in notes.items()}


def source_key(text: str) -> str:
    """The key of a source: its arXiv number or address, else its first words."""
    arxiv, address = _ARXIV.search(text), _ADDRESS.search(text)
    if arxiv:
        return f"arxiv-{arxiv[1]}"
    if address:
        return re.sub(r"[/.]", "-", address[0].removeprefix("github.com/").lower())
    return "-".join(re.findall(r"[a-z0-9]+", text.lower())[:6])


def _source_entry(key: str, texts: list[str]) -> str:
    """A source of which no more is known than its description; several readings of it share the entry."""
    arxiv, address = (pattern.search(" ".join(texts)) for pattern in (_ARXIV, _ADDRESS))
    fields: Mapping[str, str] = {
        "key": latex_text(texts[0]),
        "title": f"{{{latex_text('; '.join(texts))}}}",
        "howpublished": rf"\url{{https://{address[0]}}}" if address else "",
        "eprint": arxiv[1] if arxiv else "",
        "archiveprefix": "arXiv" if arxiv else "",
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return ",\n".join([f"@misc{{{key}", *lines]) + "\n}"


def bibtex(found: Mapping[str, str]) -> str:
    """The entries as a file, in the order of their keys."""
    return "\n".join(found[key] for key in sorted(found)) + "\n"
