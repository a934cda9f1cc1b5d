"""Cluster: the cells of a grid as job arrays of Slurm, through submitit.

submitit because it is what the field uses, writes the batch files, makes arrays, and puts a job that is
preempted or out of time back into the queue; it needs no service and no root. Only its submission is used:
how cells stand is read from their folders and from `squeue`, because `sacct` needs a data base that small
clusters do not have.

A job carries out one cell with the code of `local`: the same process, threads and records. Of cells that
share a fit one is submitted first and the others wait for it in the queue, so that none holds a GPU while
another trains.
"""

import getpass
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uadbench.sweep import estimate, local
from uadbench.sweep.description import Slurm
from uadbench.sweep.estimate import Estimate
from uadbench.sweep.local import Result
from uadbench.sweep.tasks import Task
from uadbench.sweep.worker import Orders
from uadbench.system import owners
from uadbench.system.environment import resolve_device
from uadbench.system.errors import UserError
from uadbench.system.text import HIDDEN

SLACK = 2.0  # what a job is given, in multiples of what it is estimated to need
LEAST_MINUTES, LEAST_GB = 10, 2.0


@dataclass(frozen=True)
class Request:
    """What Slurm is asked for: cells with equal requests make one array."""

    minutes: int
    memory_gb: float
    cpus: int
    gpus: int


class Job:
    """What runs in a Slurm job: one cell."""

    def __init__(self, task: Task, orders: Orders, device: str, timeout_s: float | None) -> None:
        """Of a cell, on a device that is looked for where the job runs."""
        self._task, self._orders, self._device, self._timeout_s = task, orders, device, timeout_s

    def __call__(self) -> str:
        """Carry out the cell; how it ended."""
        orders = replace(self._orders, job=owners.slurm_job())
        devices = [resolve_device(self._device)]
        ended: list[Result] = local.carry_out([self._task], orders, devices, {}, self._timeout_s, _tell)
        if ended[-1].kind == "interrupted":
            # No result: Slurm ends this job now, and puts it back into the queue unless it was cancelled.
            raise SystemExit(f"interrupted by {ended[-1].note}")
        return ended[-1].kind

    def checkpoint(self) -> Any:
        """The job that goes on after preemption or at the end of the time: the same, all else is in files."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _tell(result: Result) -> None:
    print(f"{result.task.label}: {result.kind} {result.note}", flush=True)


# ---- asking Slurm ------------------------------------------------------------------------------


def queue() -> dict[str, str]:
    """State of every job of this user that waits or runs, by its number (`array_task`)."""
    if shutil.which("squeue") is None:
        raise UserError("There is no squeue here: --on slurm must be called on a machine of the cluster.")
    command = ["squeue", "--noheader", "--array", "--format=%i %T", f"--user={getpass.getuser()}"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise UserError(f"Slurm does not answer: {asked.stderr.strip()}; is its controller up?")
    return dict(line.split(maxsplit=1) for line in asked.stdout.splitlines())


def queue_if_any() -> dict[str, str] | None:
    """The queue where there is one that answers; else None."""
    try:
        return queue()
    except UserError:
        return None


def request(
    task: Task, needs: Estimate, asked: Slurm, threads: int, fits: bool, minutes: float | None
) -> Request:
    """What one cell is asked for: what the description says, else the estimate with slack."""
    named = minutes + LEAST_MINUTES if minutes else None  # the cell itself ends at its timeout
    time_min = asked.minutes or named or max(LEAST_MINUTES, SLACK * needs.seconds(fits) / 60)
    memory = asked.memory_gb or max(LEAST_GB, round(SLACK * needs.memory_mb / 1024))
    gpus = estimate.gpus(task) if asked.gpus is None else asked.gpus
    return Request(-(-int(time_min * 60) // 60), float(memory), threads, gpus)


# ---- submitting --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Submission:
    """How cells are submitted."""

    orders: Orders
    device: str
    asked: Slurm
    estimates: Mapping[Path, Estimate]
    at_once: int | None  # jobs of an array at a time
    minutes: float | None  # the longest that a cell may take

    def submit(self, tasks: Sequence[Task]) -> dict[str, str]:
        """Submit cells, those with one fit after the first of them; the Slurm job of each by its label."""
        first: dict[str, Task] = {}
        for task in tasks:
            first.setdefault(task.fit_group, task)
        leaders = [task for task in tasks if first[task.fit_group] is task]
        jobs = self._submit_arrays(leaders, fits=True, after="")
        for leader in leaders:
            others = [t for t in tasks if t.fit_group == leader.fit_group and t is not leader]
            # After it whether or not it succeeds: what did not fit then tries it itself.
            jobs |= self._submit_arrays(others, fits=False, after=f"afterany:{jobs[leader.label]}")
        return jobs

    def _submit_arrays(self, tasks: Sequence[Task], fits: bool, after: str) -> dict[str, str]:
        """One array for each request."""
        arrays: dict[Request, list[Task]] = {}
        for task in tasks:
            needs = self.estimates[task.path]
            wanted = request(task, needs, self.asked, self.orders.threads, fits, self.minutes)
            arrays.setdefault(wanted, []).append(task)
        jobs: dict[str, str] = {}
        timeout_s = None if self.minutes is None else 60 * self.minutes
        for wanted, members in arrays.items():
            executor = _executor(wanted, self.asked, self.orders, self.at_once, after)
            made = executor.submit_array([Job(task, self.orders, self.device, timeout_s) for task in members])
            for task, job in zip(members, made, strict=True):
                number = str(job.job_id)
                jobs[task.label] = number
                task.say("job.json", {"job": number, "submitted": time.time(), "asked": vars(wanted)})
        return jobs


def _executor(wanted: Request, asked: Slurm, orders: Orders, at_once: int | None, after: str) -> Any:
    """submitit's executor for one request."""
    try:
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError as error:
        raise UserError("--on slurm needs submitit: pip install 'uadbench[slurm]'.") from error
    folder = orders.runtime.paths.runs / "grid" / "slurm"
    for path in (folder, sys.executable):
        if HIDDEN.search(str(path)):
            raise UserError(
                f"Slurm cannot take {str(path)!a}: expected is a path without control characters."
            )
    python = shlex.quote(sys.executable)  # submitit quotes all else
    executor = SlurmExecutor(folder=folder, max_num_timeout=asked.requeues, python=python)
    extra = {key: value for key, value in asked.extra.items() if value is not False}
    options = {
        "job_name": "uadbench",
        "time": wanted.minutes,
        "mem": f"{int(1024 * wanted.memory_gb)}MB",
        "cpus_per_task": wanted.cpus,
        "gpus_per_node": wanted.gpus or None,
        "partition": asked.partition or None,
        "account": asked.account or None,
        "qos": asked.qos or None,
        "setup": asked.setup or None,
        "signal_delay_s": asked.signal_s,
        "array_parallelism": at_once or 256,
        "dependency": after or None,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **extra},
    }
    executor.update_parameters(**{key: value for key, value in options.items() if value is not None})
    os.environ.setdefault("SLURM_EXPORT_ENV", "ALL")  # PYTHONPATH, plug-ins and threads reach the job
    return executor
