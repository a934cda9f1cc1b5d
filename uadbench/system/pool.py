"""Work on several processes, where the death of one process costs one piece of work only."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import TypeVar

from uadbench.system.errors import UserError
from uadbench.system.progress import Progress

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Died:
    """Stands for the result of a job whose process was killed, twice."""

    reason: str


def mapped(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Results in the order of the jobs; one worker: in this thread. For work that is reading."""
    if workers <= 1:
        yield from map(work, jobs)
        return
    with ThreadPoolExecutor(workers) as threads:
        yield from threads.map(work, jobs)


def in_threads(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, progress: Progress, title: str
) -> list[Result]:
    """Results in the order of the jobs; threads, for work that is numpy's."""
    with progress.stage(title, len(jobs)) as stage:
        answers = []
        for answer in mapped(work, jobs, workers):
            answers.append(answer)
            stage.advance()
        return answers


def in_processes(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    progress: Progress,
    title: str,
    name: Callable[[Job], str],
) -> list[Result | Died]:
    """Results in the order of the jobs, as `results` makes them; a job's name stands beside the bar."""
    answers: dict[int, Result | Died] = {}
    with progress.stage(title, len(jobs)) as stage:
        for position, answer in results(work, jobs, workers):
            answers[position] = answer
            stage.advance(1, name(jobs[position]))
    return [answers[position] for position in range(len(jobs))]


def results(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[int, Result | Died]]:
    """(position, result) of every job, in the order in which they end; one worker: in this process.

    An exception of `work` comes out here. `work` and the jobs have to be picklable by name. A UserError
    where processes end before they can begin to work.
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
        codes: list[int] = []
        alone = dict(_until_one_dies(work, jobs, [position], 1, codes))
        yield position, alone.get(position, Died(_how(codes)))


def _how(codes: Sequence[int]) -> str:
    """Why a worker has ended, from its exit codes."""
    code = next(iter(codes), None)
    if code == -signal.SIGKILL:
        return (
            "the process that worked on it was killed, probably out of memory: use fewer --workers, or "
            "a coarser grid"
        )
    if code is not None and code < 0:
        return f"the process that worked on it crashed with {signal.Signals(-code).name}"
    return f"the process that worked on it ended with exit code {code}"


_CANNOT_BEGIN = 1  # Python's exit code where the main module of the parent cannot be read again


def _until_one_dies(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    positions: Sequence[int],
    workers: int,
    codes: list[int] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Results of the jobs at some positions; ends early, without an error, when a process dies.

    `codes` takes the exit codes of those that ended by themselves.
    """
    before = set(active_children())
    # "spawn": a forked process would share the locks of whatever threads run here (torch, SimpleITK).
    count = min(workers, len(positions))
    executor = ProcessPoolExecutor(count, get_context("spawn"), initializer=end_with_the_parent)
    try:
        futures: dict[Future[Result], int] = {executor.submit(work, jobs[p]): p for p in positions}
        started = set(active_children()) - before
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        executor.shutdown(cancel_futures=True)
        ended = _exit_codes(started)
        if _CANNOT_BEGIN in ended:
            raise UserError(
                "The processes that share the work cannot begin: it needs a script file, not standard input, "
                'that begins its work under `if __name__ == "__main__":`; or ask for one worker.'
            ) from error
        if codes is not None:
            codes += ended
    finally:
        executor.shutdown(cancel_futures=True)


def _exit_codes(workers: set[BaseProcess]) -> list[int]:
    """Of those that were not ended because another one had died."""
    codes = (worker.exitcode for worker in workers)
    return [code for code in codes if code not in (None, 0, -signal.SIGTERM)]


def end_with_the_parent() -> None:
    """Let this worker end when its parent is killed: it would wait for work for good otherwise.

    Ctrl-C, which a terminal sends to every process, ends it without a word: its parent says what happened.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()
