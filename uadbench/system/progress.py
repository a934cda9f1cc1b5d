"""Progress of long work: bars with an estimate of the time left, or silence."""

import time
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


PATIENCE_S = 0.5  # work that ends sooner shows no bar


class Bars:
    """Progress bars on the standard error stream."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Stage]:
        """A block with a bar of its own, that stays when it ends."""
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.description:<28}"),
            progress.BarColumn(20),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[note]}"),
        )
        bars = progress.Progress(*columns, console=Console(stderr=True))
        task = bars.add_task(title, total=total, note="")
        begun = time.monotonic()

        class Bar:
            def advance(self, steps: int = 1, note: str = "") -> None:
                bars.update(task, advance=steps, note=note)
                if time.monotonic() - begun > PATIENCE_S:
                    bars.start()

        try:
            yield Bar()
        finally:
            bars.stop()
