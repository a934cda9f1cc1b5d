"""Work on several processes, where the death of one process costs one piece of work only."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Died:
    """Stands for the result of a job whose process was killed, twice."""

    reason: str


def results(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[int, Result | Died]]:
    """(position, result) of every job, in the order in which they end; one worker: in this process.

    An exception of `work` comes out here. `work` and the jobs have to be picklable by name.
    """
    if workers <= 1 or len(jobs) <= 1:
        for position, job in enumerate(jobs):
            yield position, work(job)
        return
    unfinished = set(range(len(jobs)))
    for position, result in _until_one_dies(work, jobs, range(len(jobs)), workers):
        unfinished.discard(position)
        yield position, result
    # Whoever was under way when a process died is a suspect: each is tried again on its own.
    for position in sorted(unfinished):
        alone = dict(_until_one_dies(work, jobs, [position], 1))
        yield position, alone.get(position, _DIED)


_DIED = Died(
    "the process that prepared it was killed, probably for want of memory: use fewer --workers, or a "
    "coarser grid"
)


def _until_one_dies(
    work: Callable[[Job], Result], jobs: Sequence[Job], positions: Sequence[int], workers: int
) -> Iterator[tuple[int, Result]]:
    """Results of the jobs at some positions; ends early, without an error, when a process dies."""
    # "spawn": a forked process would share the locks of whatever threads run here (torch, SimpleITK).
    count = min(workers, len(positions))
    executor = ProcessPoolExecutor(count, get_context("spawn"), initializer=end_with_the_parent)
    try:
        futures: dict[Future[Result], int] = {executor.submit(work, jobs[p]): p for p in positions}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        return
    finally:
        executor.shutdown(cancel_futures=True)


def end_with_the_parent() -> None:
    """Let this worker end when its parent is killed: it would wait for work for good otherwise."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()
