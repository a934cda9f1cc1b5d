"""Commands that tell what there is: methods, datasets, doctor."""

from typing import Annotated

import typer

from uadbench import catalog
from uadbench.cli.options import Plugins, places_for


def methods(
    name: Annotated[str | None, typer.Argument(help="Show all about one method.")] = None,
    plugins: Plugins = None,
) -> None:
    """List the methods, or show one: source, differences from its paper, options, presets."""
    from uadbench.cards import method_card, method_names
    from uadbench.report import show

    if name is None:
        show.methods([method_card(known) for known in method_names()])
    else:
        show.method(method_card(name))


def datasets(
    name: Annotated[str | None, typer.Argument(help="Show all about one data set.")] = None,
    plugins: Plugins = None,
) -> None:
    """List the data sets, or show one: where to apply, licence, layout, labels."""
    from uadbench.cards import dataset_card
    from uadbench.report import show

    places = places_for(None)
    if name is None:
        show.datasets([dataset_card(known) for known in catalog.names("datasets")], places)
    else:
        show.dataset(dataset_card(name), places)


def doctor(plugins: Plugins = None) -> None:
    """Versions, device, memory, caches and the data found: what to send with a question."""
    from uadbench.report import show

    show.doctor(places_for(None))
