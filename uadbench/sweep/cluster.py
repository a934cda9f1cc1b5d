"""Cluster: the cells of a sweep as job arrays of Slurm, through submitit.

submitit because it is what the field uses, writes the batch files, makes arrays, and puts a job that is
preempted or out of time back into the queue; it needs no service and no root. Only its submission is used:
how cells stand is read from their folders and from `squeue`, because `sacct` needs a data base that small
clusters do not have.

A job carries out one cell with the code of `local`: the same process, threads and records. Of cells that
share a fit one is submitted first and the others wait for it in the queue, so that none holds a GPU while
another trains.
"""

import getpass
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadbench.sweep import estimate, local
from uadbench.sweep.description import Slurm
from uadbench.sweep.estimate import Estimate
from uadbench.sweep.local import Result
from uadbench.sweep.tasks import Task
from uadbench.sweep.worker import Orders
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


@dataclass(frozen=True)
class Job:
    """What runs in a Slurm job: one cell, on a device that is looked for where the job runs."""

    task: Task
    orders: Orders
    device: str
    timeout_s: float

    def __call__(self) -> str:
        """Carry out the cell; how it ended."""
        devices = [resolve_device(self.device)]
        ended = local.carry_out([self.task], self.orders, devices, {}, _tell, self.timeout_s)[-1]
        if ended.kind == "interrupted":
            # No result: Slurm ends this job now, and puts it back into the queue unless it was cancelled.
            raise SystemExit(f"interrupted by {ended.note}")
        return ended.kind

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


def request(task: Task, needs: Estimate, asked: Slurm, threads: int, fits: bool, timeout_s: float) -> Request:
    """What one cell is asked for: what the description says, else the estimate with slack."""
    # With a timeout the cell ends itself then.
    needed = SLACK * needs.seconds(fits) / 60 if timeout_s == math.inf else timeout_s / 60 + LEAST_MINUTES
    minutes = asked.minutes or math.ceil(max(LEAST_MINUTES, needed))
    memory = asked.memory_gb or max(LEAST_GB, round(SLACK * needs.memory_mb / 1024))
    gpus = estimate.gpus(task) if asked.gpus is None else asked.gpus
    return Request(minutes, float(memory), threads, gpus)


# ---- submitting --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Submission:
    """How cells are submitted."""

    orders: Orders
    device: str
    asked: Slurm
    estimates: Mapping[Path, Estimate]
    at_once: int | None  # jobs of an array at a time
    timeout_s: float  # of a cell

    def submit(self, tasks: Sequence[Task]) -> dict[str, str]:
        """Submit cells, those with one fit after the first of them; the Slurm job of each by its label."""
        groups: dict[str, list[Task]] = {}
        for task in tasks:
            groups.setdefault(task.fit_group, []).append(task)
        jobs = self._submit_arrays([group[0] for group in groups.values()], fits=True, after="")
        for leader, *others in groups.values():
            # After it whether or not it succeeds: what did not fit then tries it itself.
            jobs |= self._submit_arrays(others, fits=False, after=f"afterany:{jobs[leader.label]}")
        return jobs

    def _submit_arrays(self, tasks: Sequence[Task], fits: bool, after: str) -> dict[str, str]:
        """One array for each request."""
        arrays: dict[Request, list[Task]] = {}
        for task in tasks:
            needs = self.estimates[task.path]
            wanted = request(task, needs, self.asked, self.orders.threads, fits, self.timeout_s)
            arrays.setdefault(wanted, []).append(task)
        jobs: dict[str, str] = {}
        for wanted, members in arrays.items():
            executor = _executor(wanted, self.asked, self.orders, self.at_once, after)
            made = executor.submit_array([Job(t, self.orders, self.device, self.timeout_s) for t in members])
            for task, job in zip(members, made, strict=True):
                jobs[task.label] = str(job.job_id)
                facts = {"job": jobs[task.label], "submitted": time.time(), "asked": vars(wanted)}
                task.say("job.json", facts)
        return jobs


def _executor(wanted: Request, asked: Slurm, orders: Orders, at_once: int | None, after: str) -> Any:
    """submitit's executor for one request."""
    try:
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError as error:
        raise UserError("--on slurm needs submitit: pip install 'uadbench[slurm]'.") from error
    folder = orders.runtime.paths.runs / "sweep" / "slurm"
    for path in (folder, sys.executable):
        if HIDDEN.search(str(path)):
            raise UserError(f"Slurm cannot take {str(path)!a}: expected a path without control characters.")
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
