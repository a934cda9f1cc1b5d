"""Whether dal_r's anatomy and imaging are really apart: the numbers of methods/dal_r/checks.py, as a table.

python benchmarks/dal_r.py [--preset demo] [--limit 8] [--set one_hot=soft] [--dataset phantom]

Fits what is not fitted yet; `--set` makes the table of a variant of methods/dal_r/sweep.toml.
"""

import argparse
import os

from uadbench.cli.options import settings_from
from uadbench.experiment.config import RunConfig, Runtime
from uadbench.experiment.run import fit_run
from uadbench.methods.dal_r.checks import checks
from uadbench.system.environment import resolve_device
from uadbench.system.paths import Paths
from uadbench.system.progress import Bars

TRAINED, TESTED = ("T1", "T2"), ("T1", "T2", "FLAIR", "PD")


def measure(config: RunConfig, runtime: Runtime, contrasts: tuple[str, ...] = TESTED) -> dict[str, float]:
    """The checks of one fit, on the healthy and the lesion test scans of all contrasts."""
    both = [fit_run(RunConfig(**{**vars(config), "contrast": contrast}), runtime) for contrast in contrasts]
    plan, cohorts = both[-1][0], [cohort for _, cohort in both]
    parts = ("healthy-val", "healthy-test")
    healthy = [scan for cohort in cohorts for part in parts for scan in cohort.model[part]]
    patients = [scan for cohort in cohorts for scan in cohort.model["lesion-test"]]
    lesions = [scan.lesion() for scan in patients]
    found: dict[str, float] = checks(
        plan.method, plan.volumes(healthy), plan.volumes(patients), lesions, TRAINED
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="phantom")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    asked = parser.parse_args()
    config = RunConfig(
        method="dal_r", dataset=asked.dataset, preset=asked.preset, seed=asked.seed, limit=asked.limit,
        train_contrasts=TRAINED, settings=settings_from(asked.set),
    )  # fmt: skip
    runtime = Runtime(Paths.default(), Bars(), resolve_device(asked.device), os.cpu_count() or 1)
    print("| check | value |\n| --- | ---: |")
    for name, value in measure(config, runtime).items():
        print(f"| {name} | {value:.3f} |")


if __name__ == "__main__":
    main()
