"""A real Slurm on this machine: a controller and two node daemons of one core each, in a scratch folder.

python tests/sweep/slurm_cluster.py start FOLDER   # then: export SLURM_CONF=FOLDER/slurm.conf
python tests/sweep/slurm_cluster.py stop FOLDER

Needs root (a node daemon starts jobs as their owner) and the Debian packages slurm-wlm and munge. Everything
it writes lies in the folder, which `stop` removes with all that was started.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun")
NODES = ("n1", "n2")
APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
# Requeued jobs wait for as long as an old credential is good, hence cred_expire. Two partitions, of which
# `urgent` takes the nodes from jobs of `normal` and puts these back into the queue.
CONFIGURATION = """
ClusterName=uadbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,bf_interval=2,sched_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
KillWait=3
MinJobAge=60
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=normal Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


class CannotRunError(Exception):
    """Why Slurm cannot run here, in words."""


class Cluster:
    """A Slurm of this machine alone."""

    def __init__(self, folder: Path, apart: bool = False) -> None:
        """In a folder that is there or can be made.

        With `apart` each node, with all its jobs, has a name space of processes of its own, as real nodes do.
        """
        self.folder = folder.resolve()
        self.configuration = self.folder / "slurm.conf"
        self._apart = apart
        self._nodes: list[subprocess.Popen[bytes]] = []

    def check(self) -> None:
        """Raise CannotRunError where it cannot run."""
        missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
        if missing:
            raise CannotRunError(f"{', '.join(missing)} not found: apt-get install slurm-wlm munge, as root")
        if self._apart and subprocess.run([*APART, "true"], capture_output=True).returncode:
            raise CannotRunError("name spaces of processes cannot be made here")
        if os.getuid() != 0:
            raise CannotRunError("only root can start Slurm's node daemons, which start jobs as their owners")

    def start(self) -> None:
        """Start all daemons and wait until both nodes are idle."""
        self.check()
        for name in ("munge", "state", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        ports = _free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} CPUs=1 "
            "RealMemory=8000 State=UNKNOWN"
            for name, port in zip(NODES, ports[1:], strict=True)
        )
        facts = {"host": socket.gethostname(), "folder": self.folder, "controller_port": ports[0]}
        self.configuration.write_text(CONFIGURATION.format(nodes=nodes, **facts))
        self.start_munge()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.wait_for_nodes()

    def start_munge(self) -> None:
        """Start the daemon that signs messages, with a key of its own."""
        home = self.folder / "munge"
        (home / "key").write_bytes(os.urandom(128))
        (home / "key").chmod(0o400)
        options = ("key-file", "socket", "pid-file", "log-file", "seed-file")
        files = [f"--{option}={home / option.removesuffix('-file')}" for option in options]
        _run("munged", "--force", *files)

    def start_controller(self) -> None:
        """Start the controller, which takes up what an earlier one has saved."""
        _run("slurmctld", "-f", str(self.configuration))

    def start_node(self, node: str) -> None:
        """Start a node daemon."""
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        command = ["slurmd", "-N", node, "-f", str(self.configuration)]
        if self._apart:
            environment = os.environ | {"PATH": _path()}
            self._nodes.append(subprocess.Popen([*APART, *command, "-D"], env=environment))
        else:
            _run(*command)

    def wait_for_nodes(self) -> None:
        """Until every node can be given jobs."""
        _wait(lambda: self.ask("sinfo", "--noheader", "--Node", "--format=%T").count("idle") >= len(NODES))

    def logs(self, lines: int = 80) -> str:
        """The queue, and the last lines of what each daemon has written."""
        parts = [f"== {log.name}\n{log.read_text(errors='replace')}" for log in self.folder.glob("*.log")]
        with suppress(subprocess.SubprocessError):
            parts.insert(0, self.ask("scontrol", "show", "job"))
        return "\n".join("\n".join(part.splitlines()[-lines:]) for part in parts)

    def stop(self) -> None:
        """End everything that was started, and remove the folder."""
        with suppress(subprocess.SubprocessError, FileNotFoundError):
            self.ask("scancel", "--user=root", "--state=PENDING")
            self.ask("scancel", "--user=root")
        time.sleep(1)
        for node in self._nodes:  # ends all processes of its name space
            node.kill()
            node.wait()
        # The numbers that nodes apart have written mean other processes here.
        names = "slurmctld.pid" if self._apart else "slurm*.pid"
        for pid_file in [*self.folder.glob(names), self.folder / "munge" / "pid"]:
            self.kill(pid_file, signal.SIGTERM)
        for step in self._steps():
            with suppress(psutil.NoSuchProcess):
                step.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self, pid_file: Path, number: int = signal.SIGKILL) -> None:
        """End a daemon by its pid file, and wait until it is gone."""
        with suppress(OSError, ValueError):
            pid = int(pid_file.read_text())
            os.kill(pid, number)
            with suppress(AssertionError):
                _wait(lambda: not psutil.pid_exists(pid), 20)

    def kill_controller(self, number: str) -> None:
        """As a crash would, once the controller has saved what it knows of a job: it saves after seconds."""
        self.ask("scontrol", "update", f"JobId={number}", "Comment=known")
        _wait(lambda: b"known" in (self.folder / "state" / "job_state").read_bytes())
        self.kill(self.folder / "slurmctld.pid")

    def kill_node(self, node: str, jobs_too: bool) -> None:
        """As a crash of the daemon would; with its jobs, as a power cut of the node would."""
        self.kill(self.folder / f"slurmd-{node}.pid")
        if jobs_too:
            for step in self._steps(node):
                for process in [*step.children(recursive=True), step]:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()

    def _steps(self, node: str | None = None) -> list[psutil.Process]:
        """The processes that look after jobs here; those of one node, or all of this cluster."""
        found = []
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.info["name"] == "slurmstepd":
                    files = " ".join([*process.cmdline(), *(f.path for f in process.open_files())])
                    files += process.cwd() + str(process.environ().get("SLURM_CONF"))
                    if str(self.folder) in files and (node is None or self._node_of(process) == node):
                        found.append(process)
        return found

    def _node_of(self, step: psutil.Process) -> str:
        """On which node a step runs, from the environment of what it has started."""
        for child in step.children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                name = child.environ().get("SLURMD_NODENAME")
                if name:
                    return str(name)
        return ""

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints."""
        environment = os.environ | {"SLURM_CONF": str(self.configuration)}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _run(*command: str) -> None:
    done = subprocess.run(command, env=os.environ | {"PATH": _path()}, capture_output=True, text=True)
    if done.returncode:
        raise CannotRunError(f"{command[0]} does not start: {done.stderr.strip()}")


def _wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        with suppress(subprocess.SubprocessError, FileNotFoundError):
            if condition():
                return
        assert time.monotonic() < end, "Slurm did not come to that state"
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def main() -> None:
    """Start or stop a cluster."""
    verb, folder = sys.argv[1:] if len(sys.argv) == 3 else ("", "")
    if verb not in ("start", "stop"):
        sys.exit(__doc__)
    cluster = Cluster(Path(folder))
    try:
        cluster.start() if verb == "start" else cluster.stop()
    except CannotRunError as error:
        sys.exit(f"Slurm cannot run here: {error}")
    if verb == "start":
        print(f"export SLURM_CONF={cluster.configuration}")


if __name__ == "__main__":
    main()
