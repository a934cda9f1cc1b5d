"""Export of maps: a run's score maps as NIfTI, in each scan's own space or on the evaluation grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.data.space import resample
from uadbench.evaluation import maps
from uadbench.evaluation.maps import Case
from uadbench.experiment.cohort import EVALUATED
from uadbench.experiment.config import Runtime
from uadbench.experiment.native import OwnSpace, restore_units, write_volumes
from uadbench.experiment.run import find_work
from uadbench.system.errors import SubjectError, UserError, check_known

RESTORED, BRAINS = "pseudo_healthy", "brain"  # folders beside those of the score maps


@dataclass(frozen=True)
class Exported:
    """Score maps that were written: how many by partition, and the scans that failed with the reason."""

    folder: Path
    counts: dict[str, int]
    failures: dict[str, str]


def export_maps(
    run: Path, out: Path, runtime: Runtime, partitions: Sequence[str] = (), on_grid: bool = False
) -> Exported:
    """Write a run's score maps as NIfTI: `PARTITION/ID.nii.gz`, in each scan's own voxels or `on_grid`.

    Beside them are the brain masks, `brain/PARTITION/ID.nii.gz`, and, where the method makes them, the
    pseudo-healthy volumes, `pseudo_healthy/...`, in the scan's units. Maps are 0 outside the brain; a voxel
    of the scan has the score of the nearest voxel of the grid. A scan whose files cannot be read is named
    and the others are written.
    """
    for name in partitions:
        check_known("partition", name, EVALUATED)
    work = find_work(run, runtime)
    if work.resolved.protocol.flat:
        raise UserError(f"{run} is of slices without geometry, which have no space of their own.")
    cases = [case for case in work.cases if case.partition in (partitions or EVALUATED)]
    counts, failures = dict.fromkeys(partitions or EVALUATED, 0), dict[str, str]()
    extractor = work.resolved.config.preparation.extractor
    with runtime.progress.stage("export maps", len(cases)) as stage:
        for case in cases:
            try:
                _export_case(case, out, None if on_grid else extractor, runtime)
                counts[case.partition] += 1
            except SubjectError as error:
                failures[case.prepared.session.id] = str(error)
            stage.advance(1, case.prepared.session.id)
    return Exported(out, counts, failures)


def _export_case(case: Case, out: Path, extractor: str | None, runtime: Runtime) -> None:
    """Write the volumes of one scan: on the evaluation grid where no extractor is given, else in its own."""
    prepared, stored = case.prepared, maps.read_map(case.map_file)
    grid, brain = prepared.grid, prepared.brain()
    volumes = {"": resample(stored.score_map, case.map_grid, grid) * brain}
    if stored.pseudo_healthy is not None:
        restored = resample(stored.pseudo_healthy[0], case.map_grid, grid)
        volumes[RESTORED] = restore_units(restored, prepared)
    affine, mask = grid.affine, brain.astype(np.uint8)
    if extractor is not None:
        own = OwnSpace.of(prepared.session, prepared, extractor, runtime.paths.cache)
        volumes = {
            name: own.carry_image(volume) if name == RESTORED else own.carry_values(volume)
            for name, volume in volumes.items()
        }
        affine, mask = own.header.affine, own.brain.astype(np.uint8)
    written: dict[str, NDArray[np.float32] | NDArray[np.uint8]] = {BRAINS: mask, **volumes}
    for name, volume in written.items():
        file = prepared.session.id.replace("/", "_").replace("\\", "_")
        write_volumes(out / name / case.partition, {file: volume}, affine)
