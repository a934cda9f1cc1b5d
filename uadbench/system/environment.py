"""Environment: seeds, device, versions, commit and hardware: what a record says about where it was made."""

import os
import platform
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from uadbench.system.errors import check_known
from uadbench.system.files import sha256

# Those that can change a number.
PACKAGES = ["uadbench", "torch", "monai", "numpy", "scipy", "scikit-learn", "scikit-image"]
PACKAGES += ["nibabel", "nilearn", "SimpleITK"]
# By which threads of OpenMP sleep while they wait for the others; read when torch is loaded. They spin
# otherwise, which takes the time of whoever works on the core: up to seven times as much CPU for the same
# training on two busy cores, and the same numbers.
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}


def stage_seed(seed: int, stage: str) -> int:
    """A 32-bit seed for one stage of a run, so that a stage redone alone draws the same numbers."""
    return int(sha256(f"{seed}:{stage}")[:8], 16)


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and (where it is loaded) torch's global generators."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda`, `mps` or `cpu`; a device that is not there is an error."""
    if device == "cpu":
        return device
    import torch

    there = ["cpu"]
    if torch.cuda.is_available():
        there.insert(0, "cuda")
    elif torch.backends.mps.is_available():
        there.insert(0, "mps")
    if device == "auto":
        return there[0]
    there += [f"cuda:{number}" for number in range(torch.cuda.device_count() if "cuda" in there else 0)]
    check_known("device", device, ["auto", *there])
    return device


def packages() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    there = {"python": platform.python_version()}
    for name in PACKAGES:
        there[name] = "not installed"
        with suppress(metadata.PackageNotFoundError):
            there[name] = metadata.version(name)
    return there


def commit() -> dict[str, str | bool]:
    """Commit of the checkout this code runs from, and whether it was changed; empty for a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}
    asked = ["git", "status", "--porcelain=v2", "--branch", "--", "uadbench", "methods", "datasets"]
    try:
        said = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return {}
    head = next((line.split()[2] for line in said if line.startswith("# branch.oid ")), "")
    return {"commit": head, "changed": any(not line.startswith("# ") for line in said)}


def processor() -> str:
    """Name of the processor's model; where the system hides that, maker, family and model by number."""
    facts: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    model = facts.get("model name", "unknown")
    maker = facts.get("vendor_id") if model in ("", "unknown") else model
    numbers = [f"{name} {facts[name]}" for name in ("cpu family", "model", "stepping") if name in facts]
    words = ", ".join([*([maker] if maker is not None else []), *numbers])
    return words or platform.processor() or platform.machine()


def hardware(device: str) -> dict[str, str | int]:
    """What the run ran on."""
    facts: dict[str, str | int] = {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
    }
    if "torch" in sys.modules:
        import torch

        facts["threads"] = torch.get_num_threads()
        facts["capability"] = torch.backends.cpu.get_cpu_capability()  # which of its kernels were chosen
        if device.startswith("cuda"):
            facts["device"] = torch.cuda.get_device_name(device)
    return facts


def reset_peak_memory() -> None:
    """Start a new count of the largest resident memory, where the system allows it (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """Largest resident memory of this process since the last reset, in MB."""
    try:
        status = Path("/proc/self/status").read_text()
        kilobytes = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kilobytes = peak // 1024 if sys.platform == "darwin" else peak
    return round(kilobytes / 1024, 1)


@dataclass
class Cost:
    """Seconds and largest memory of a block: resident memory, and what torch's tensors took of a GPU's."""

    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    peak_device_mb: float | None = None  # only of CUDA is it known


@contextmanager
def measured(device: str = "cpu") -> Iterator[Cost]:
    """Measure a block that works on a device."""
    cost = Cost()
    reset_peak_memory()
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    yield cost
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)  # the last of the work may be under way
        cost.peak_device_mb = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    cost.seconds = time.perf_counter() - start
    cost.peak_memory_mb = peak_memory_mb()
