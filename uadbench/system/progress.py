"""Progress of long work with an estimate of the time left: bars on a terminal, lines in a log, or silence."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from threading import Timer
from typing import Protocol

from uadbench.system.text import escape


class Stage(Protocol):
    """One piece of work under way."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say that `steps` more are done; `note` (for example the loss) stands beside the bar."""


class Progress(Protocol):
    """Where work reports how far it is."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Stage]:
        """A block of `total` steps."""


Show = Callable[[int, str], None]  # shows how many steps are done, with a note
_about: ContextVar[tuple[str, str]] = ContextVar("about", default=("", ""))


@contextmanager
def about(what: str, training: str) -> Iterator[None]:
    """Within the block every stage is said to be of `what`, such as `vae on lgg`.

    The stage that bears the name `training` (a method calls its training after itself) is called so.
    """
    token = _about.set((what, training))
    try:
        yield
    finally:
        _about.reset(token)


class Silent:
    """Shows nothing; an interruption (Ctrl-C) leaves a stage with the step at which it happened."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Stage]:
        """A block whose steps are counted."""
        what, training = _about.get()
        named = f"{what}: {'training' if title == training else title}" if what else title
        done = 0

        class Counted:
            def advance(self, steps: int = 1, note: str = "") -> None:
                nonlocal done
                done += steps
                show(done, note)

        with self._shown(named, total) as show:
            try:
                yield Counted()
            except KeyboardInterrupt as stop:
                stop.args = stop.args or (f"at step {done} of {total} ({named})",)
                raise

    @contextmanager
    def _shown(self, title: str, total: int) -> Iterator[Show]:
        yield lambda done, note: None


PATIENCE_S = 0.5  # work that ends sooner shows no bar


class Bars(Silent):
    """Progress bars on the standard error stream, one for each stage, that stay when it ends."""

    @contextmanager
    def _shown(self, title: str, total: int) -> Iterator[Show]:
        from rich import progress
        from rich.console import Console
        from rich.table import Column

        def text(what: str) -> progress.TextColumn:
            return progress.TextColumn(what, table_column=Column(no_wrap=True, overflow="ellipsis"))

        bars = progress.Progress(
            text("{task.description}"),
            progress.BarColumn(None, table_column=Column(min_width=4, max_width=20, ratio=1)),
            progress.MofNCompleteColumn(table_column=Column(no_wrap=True)),
            text("{task.fields[left]}"),
            text("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        task = bars.add_task(escape(title), total=total, note="", left="")
        clock = Clock(total)
        begin = Timer(PATIENCE_S, bars.start)
        begin.start()
        try:
            yield lambda done, note: bars.update(task, completed=done, note=note, left=clock.left(done))
        finally:
            begin.cancel()
            begin.join()
            if bars.live.is_started:
                bars.stop()


FIRST_S, EVERY_S = 5.0, 30.0  # before the first line, and between two


class Lines(Silent):
    """Lines on the standard error stream, for a file or a log: one in 30 s at most."""

    def __init__(self) -> None:
        """Say the first word in a few seconds."""
        self._next = time.monotonic() + FIRST_S

    @contextmanager
    def _shown(self, title: str, total: int) -> Iterator[Show]:
        clock = Clock(total)

        def show(done: int, note: str) -> None:
            left = clock.left(done)
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + EVERY_S
                share = f"{title} {done}/{total} ({100 * done // max(total, 1)} %)"
                print(
                    time.strftime("%H:%M:%S"), ", ".join(filter(None, (share, note, left))), file=sys.stderr
                )

        yield show


class Clock:
    """The time that is left of a stage, by how long its steps have taken."""

    def __init__(self, total: int) -> None:
        """Of so many steps."""
        self._total, self._begin = total, (0, time.monotonic())
        self._begun = False

    def left(self, done: int) -> str:
        """In words; "" at the end, and where nothing is known yet."""
        if not self._begun:  # the first word may be about steps of an earlier process
            self._begin, self._begun = (done, time.monotonic()), True
        before, since = self._begin
        if not before < done < self._total:
            return ""
        return f"about {duration((time.monotonic() - since) * (self._total - done) / (done - before))} left"


def duration(seconds: float) -> str:
    """Seconds in words: "40 s", "6 min", "3.5 h" or "2.1 days"."""
    if seconds < 59.5:
        return f"{math.ceil(seconds)} s"
    minutes = seconds / 60
    if minutes < 60:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"
