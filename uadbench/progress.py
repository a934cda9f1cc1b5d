"""Progress of long work: bars with an estimate of the time left, or silence."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Stage(Protocol):
    """One piece of work under way."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say that `steps` more are done; `note` (for example the loss) stands beside the bar."""


class Progress(Protocol):
    """Where work reports how far it is."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Stage]:
        """A block of `total` steps."""


class _Nothing:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


class Silent:
    """Shows nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Stage]:
        """A block that reports to nobody."""
        yield _Nothing()


class Bars:
    """Progress bars on the standard error stream."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Stage]:
        """A block with a bar of its own, that stays when it ends."""
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.description:<34}"),
            progress.BarColumn(24),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[note]}"),
        )
        with progress.Progress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(title, total=total, note="")

            class Bar:
                def advance(self, steps: int = 1, note: str = "") -> None:
                    bars.update(task, advance=steps, note=note)

            yield Bar()
