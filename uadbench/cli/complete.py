"""Complete: what a shell may fill in for the values of arguments and options.

The functions answer from cards alone, and never with an error: whoever types has not finished yet.
"""

from collections.abc import Callable, Iterable

import typer

from uadbench import catalog
from uadbench.system.errors import UserError

Completion = Callable[[str], list[str]]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.lower().startswith(incomplete.lower())]


def one_of(*names: str) -> Completion:
    """Completion of an option with a few fixed values."""
    return lambda incomplete: _beginning(names, incomplete)


def methods(incomplete: str) -> list[str]:
    """Rows of all method folders."""
    from uadbench import cards

    return _beginning(cards.method_names(), incomplete)


def datasets(incomplete: str) -> list[str]:
    """All data sets."""
    return _beginning(catalog.names("datasets"), incomplete)


def datasets_and_folders(incomplete: str) -> list[str]:
    """All data sets, and the folders whose path begins like that."""
    from pathlib import Path

    begun = Path(incomplete).expanduser()
    parent = begun if incomplete.endswith("/") else begun.parent
    try:
        folders = [f"{path}/" for path in sorted(parent.iterdir()) if path.is_dir() and path.name[:1] != "."]
    except OSError:
        folders = []
    return datasets(incomplete) + _beginning(folders, incomplete)


def contrasts(ctx: typer.Context, incomplete: str) -> list[str]:
    """MR contrasts of the data set that is named already, else of all."""
    from uadbench import cards

    named = ctx.params.get("dataset") or ()
    chosen = [named] if isinstance(named, str) else list(named)
    there = cards.all_datasets()[0]
    found = {c: None for name, card in there.items() if name in chosen or not chosen for c in card.contrasts}
    return _beginning(found, incomplete)


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """`option=` for each option of the methods that are named already."""
    from uadbench import cards
    from uadbench.report.option_table import read_options

    found: dict[str, None] = {}
    for name in ctx.params.get("method") or ():
        try:
            found |= dict.fromkeys(read_options(cards.method_card(name)))
        except UserError:
            continue
    return _beginning([f"{name}=" for name in found], incomplete)


presets = one_of("ci", "demo", "cpu", "small", "paper")
