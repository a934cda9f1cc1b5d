"""Run all: many runs one after the other, each of them recorded whatever becomes of the others."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.run import Outcome, run_recording_failure
from uadbench.system.errors import UserError


@dataclass(frozen=True)
class Ended:
    """How a run ended: done, failed (and recorded as failed), or refused for a mistake in what was asked."""

    config: RunConfig
    kind: Literal["done", "failed", "refused"]
    outcome: Outcome | None = None  # of a run that is done
    reason: str = ""


def run_all(
    configs: Iterable[RunConfig],
    runtime: Runtime,
    on_done: Callable[[Ended], None] = lambda ended: None,
    force: bool = False,
    older_than: float = math.inf,
) -> list[Ended]:
    """Carry out runs; `on_done` hears of each as it ends. What is recorded already is not done again.

    `force` and `older_than` are those of `uadbench.experiment.run.run`.
    """
    every = []
    for config in configs:
        try:
            made = run_recording_failure(config, runtime, force, older_than)
        except UserError as error:
            ended = Ended(config, "refused", reason=str(error))
        else:
            if isinstance(made, str):
                ended = Ended(config, "failed", reason=made)
            else:
                ended = Ended(config, "done", made)
        every.append(ended)
        on_done(ended)
    return every
