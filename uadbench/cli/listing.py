"""Commands that tell what there is: methods, datasets, doctor."""

from typing import Annotated

import typer

from uadbench.api import find_paths
from uadbench.cli import complete
from uadbench.cli.options import Plugins


def methods(
    name: Annotated[
        str | None, typer.Argument(help="Show all about one method.", autocompletion=complete.methods)
    ] = None,
    plugins: Plugins = None,
) -> None:
    """List the methods, or show one.

    Of one: its source, the differences from its paper, options and presets.
    """
    from uadbench.cards import all_methods, method_card
    from uadbench.report import show_cards

    if name is None:
        cards, wrong = all_methods()
        show_cards.show_methods(list(cards.values()), find_paths(None).results)
        _name(wrong)
    else:
        show_cards.show_method(method_card(name))


def datasets(
    name: Annotated[
        str | None, typer.Argument(help="Show all about one data set.", autocompletion=complete.datasets)
    ] = None,
    plugins: Plugins = None,
) -> None:
    """List the data sets, or show one.

    Of one: where to apply, licence, layout and labels.
    """
    from uadbench.cards import all_datasets, dataset_card
    from uadbench.report import show_cards

    places = find_paths(None)
    if name is None:
        cards, wrong = all_datasets()
        show_cards.show_datasets(list(cards.values()), places)
        _name(wrong)
    else:
        show_cards.show_dataset(dataset_card(name), places)


def doctor(plugins: Plugins = None) -> None:
    """Print an environment report.

    Versions, device, memory, caches and the data found: to attach to a question.
    """
    from uadbench.report import show_cards

    show_cards.show_doctor(find_paths(None))


def _name(wrong: list[str]) -> None:
    """Name the cards that could not be shown; exit code 1 where there are any."""
    for reason in wrong:
        typer.echo(f"uadbench: {reason}", err=True)
    if wrong:
        raise typer.Exit(1)
