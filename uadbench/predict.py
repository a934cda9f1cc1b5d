"""Predict: a trained method on a scan of one's own, with the maps in the scan's own space."""

import gzip
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from uadbench import environment, record
from uadbench.cards import dataset_card
from uadbench.cohort import prepare_cohort
from uadbench.errors import UserError
from uadbench.evaluation import postprocess
from uadbench.evaluation.evaluate import scan_score
from uadbench.files import replacing, write_json
from uadbench.grids import Grid, resample
from uadbench.methods import Context, Score
from uadbench.plan import Cell, Machine, Plan, make_plan
from uadbench.preparation import resampling
from uadbench.preparation.prepare import prepare
from uadbench.prepared import Prepared
from uadbench.protocol import PROFILES
from uadbench.record import RunRecord
from uadbench.run import checked, fitted_state
from uadbench.subject import Subject
from uadbench.volumes import Volumes

POINTS = ("fpr1", "fpr5", "val")  # thresholds that looked at no test label
HEADLINE = PROFILES[-1]


@dataclass(frozen=True)
class Prediction:
    """What a method says about a scan; volumes are files beside the JSON, in the scan's own voxels."""

    scan: str
    method: str
    variant: str
    trained_on: str | None
    contrast: str
    operating_point: str
    threshold: float
    suspicious_ml: float  # of the thresholded mask
    scan_score: float
    healthy_percentile: float | None  # share of the run's healthy test scans with a lower score, percent
    warnings: tuple[str, ...]
    note: str = "A research tool: it marks what is unusual, which is neither a finding nor a diagnosis."


def predict(
    run: Path,
    scan: Path,
    out: Path,
    machine: Machine,
    brain_mask: Path | None = None,
    stripped: bool = False,
    point: str = "fpr1",
) -> Prediction:
    """Score a scan with the fit of a record, and write maps, mask, picture and JSON into `out`.

    The scan is prepared as the run's protocol says: brain extraction unless it is stripped or comes with a
    mask, registration, scaling. Files: `score_map`, `mask` and, where the method makes one,
    `pseudo_healthy`, each `.nii.gz` with the shape and affine of the scan; `picture.png`; `prediction.json`.
    """
    made = record.read(run)
    plan = make_plan(Cell.of(made), machine)
    if plan.protocol.flat:
        raise UserError(f"{run} is of slices without geometry; predict needs a run on volumes.")
    threshold = _threshold(made, point, run)
    original = _opened(scan)
    subject = Subject(
        id=scan.name.split(".")[0],
        cohort="own",
        person=scan.name,
        images={made.contrast: scan},
        healthy=True,
        brain_mask=brain_mask,
        skull_stripped=stripped,
    )
    evaluation, model = (
        _prepared(subject, made.contrast, on, plan, machine)
        for on in (_grid(plan.protocol.grid), plan.model_grid)
    )
    answer = _score(plan, made, model, machine)
    score_map = resample(answer.score_map, plan.model_grid, evaluation.grid)
    brain = evaluation.brain()
    mask = _mask(score_map, brain, threshold, evaluation.grid)
    prediction = Prediction(
        scan=str(scan),
        method=made.method,
        variant=made.variant,
        trained_on=made.train,
        contrast=made.contrast,
        operating_point=point,
        threshold=threshold,
        suspicious_ml=float(mask.sum() * evaluation.grid.voxel_ml / abs(_volume_change(evaluation))),
        scan_score=scan_score(score_map[brain]),
        healthy_percentile=_percentile(made, scan_score(score_map[brain])),
        warnings=tuple(_warnings(made, evaluation, model, answer, scan_score(score_map[brain]))),
    )
    _write(out, original, evaluation, score_map * brain, mask, _restored(answer, model, evaluation))
    _picture(out / "picture.png", evaluation.image(), score_map * brain, mask, prediction)
    write_json(out / "prediction.json", asdict(prediction))
    return prediction


def _threshold(made: RunRecord, point: str, run: Path) -> float:
    if point not in POINTS:
        raise UserError(f"--point expects one of {', '.join(POINTS)}, but '{point}' came.")
    threshold = made.thresholds[HEADLINE].get(point) if HEADLINE in made.thresholds else None
    if threshold is None:
        there = [p for p in POINTS if made.thresholds.get(HEADLINE, {}).get(p) is not None]
        raise UserError(f"{run} has no threshold {point}; it has {', '.join(there) or 'none'}: use --point.")
    return threshold


def _opened(scan: Path) -> Any:
    try:
        return nibabel.load(scan)
    except (ImageFileError, OSError) as error:
        raise UserError(f"{scan} is no NIfTI file that can be read: {error}.") from error


def _grid(target: Any) -> Grid:
    assert isinstance(target, Grid), "slices were refused"
    return target


def _prepared(subject: Subject, contrast: str, on: Grid, plan: Plan, machine: Machine) -> Prepared:
    """The scan on a grid, from the same code as every cohort."""
    card = dataset_card(plan.test.card.name)
    cohort = prepare([subject], contrast, on, card, machine.places.cache, 1, machine.progress)
    if cohort.failures:
        raise UserError(f"The scan could not be prepared: {cohort.failures[0].reason}")
    return cohort.prepared[0]


def _score(plan: Plan, made: RunRecord, model: Prepared, machine: Machine) -> Score:
    """The method's answer, from the stored fit of the record."""
    context = Context(machine.device, made.precision, made.seed, machine.places.runs, machine.progress)
    method = plan.method.load_state(fitted_state(machine, made.fit_hash), context)
    if getattr(method, "score_kind", "") == "zres":
        cohort = prepare_cohort(plan, machine)
        method.calibrate(Volumes(cohort.train, plan.model_grid), context)
    environment.seed_everything(environment.stage_seed(made.seed, "score"))
    volume = Volumes([model], plan.model_grid)[0]
    return checked(method.score(volume), volume, made.method)


def _mask(
    score_map: NDArray[np.float32], brain: NDArray[np.bool_], threshold: float, grid: Grid
) -> NDArray[np.bool_]:
    """Post-processed, thresholded, small components dropped: as in the evaluation (protocol, rule 9)."""
    profile = postprocess.PROFILES[HEADLINE]
    above = postprocess.filtered(score_map, brain, profile, grid) >= np.float32(threshold)
    return postprocess.drop_components(above & brain, profile, grid)


def _restored(answer: Score, model: Prepared, evaluation: Prepared) -> NDArray[np.float32] | None:
    """The pseudo-healthy volume on the evaluation grid, in the scan's own units."""
    if answer.pseudo_healthy is None:
        return None
    low, high = evaluation.facts["p1"], evaluation.facts["p99"]
    healthy = resample(answer.pseudo_healthy[0], model.grid, evaluation.grid)
    restored: NDArray[np.float32] = ((low + healthy * (high - low)) * evaluation.brain()).astype(np.float32)
    return restored


def _volume_change(prepared: Prepared) -> float:
    return float(np.linalg.det(np.array(prepared.facts["transform"])[:3, :3]))


def _percentile(made: RunRecord, value: float) -> float | None:
    healthy = [s.scan_score for s in made.subjects if s.partition == "healthy-test"]
    return float(np.mean(np.array(healthy) < value) * 100) if healthy else None


def _warnings(
    made: RunRecord, evaluation: Prepared, model: Prepared, answer: Score, value: float
) -> list[str]:
    """Why the answer may mean nothing: the scan is not like those the method has seen."""
    found = list(evaluation.facts["quality"]["flags"])
    tested = [s.scan_score for s in made.subjects if s.scan_score is not None]
    if tested and value > max(tested):
        found.append(
            f"the scan score {value:.3g} is above that of every scan of the run ({max(tested):.3g}), "
            "with and without lesions: the scan is unlike them all"
        )
    errors = [s.restoration_l1 for s in made.subjects if s.restoration_l1 is not None]
    if answer.pseudo_healthy is not None and errors:
        brain = model.brain()
        error = float(np.abs(model.image() - answer.pseudo_healthy[0])[brain].mean())
        if error > max(errors):
            found.append(
                f"the method restores it with a mean error of {error:.3f}, the scans of the run with at "
                f"most {max(errors):.3f}: it may be another contrast or sequence than the {made.contrast} "
                "that was learned"
            )
    if made.regime == "phantom":
        found.append("the method was trained on a phantom: on a real scan its answer means nothing")
    return found


# ---- writing -----------------------------------------------------------------------------------


def _write(
    out: Path,
    original: Any,
    evaluation: Prepared,
    score_map: NDArray[np.float32],
    mask: NDArray[np.bool_],
    restored: NDArray[np.float32] | None,
) -> None:
    """The volumes in the voxels of the scan's file."""
    to_grid = (
        np.linalg.inv(evaluation.grid.affine) @ np.array(evaluation.facts["transform"]) @ original.affine
    )
    shape = original.shape[:3]
    volumes: dict[str, NDArray[Any]] = {
        "score_map": resampling.linear(score_map, to_grid, shape),
        "mask": resampling.nearest(mask.astype(np.uint8), to_grid, shape),
    }
    if restored is not None:
        volumes["pseudo_healthy"] = resampling.linear(restored, to_grid, shape)
    for name, volume in volumes.items():
        image = nibabel.Nifti1Image(volume, original.affine)
        image.header.set_xyzt_units("mm")
        with replacing(out / f"{name}.nii.gz") as partial:
            partial.write_bytes(gzip.compress(image.to_bytes(), mtime=0))


def _picture(
    path: Path,
    image: NDArray[np.float32],
    score_map: NDArray[np.float32],
    mask: NDArray[np.bool_],
    prediction: Prediction,
) -> None:
    """Three axial slices: the scan, its score map, the outline of the mask."""
    from matplotlib.figure import Figure

    area = mask.sum((0, 1)) if mask.any() else (image > 0).sum((0, 1))
    low, high = np.flatnonzero(area)[[0, -1]]
    slices = sorted({int(area.argmax()), int(low + (high - low) / 4), int(low + 3 * (high - low) / 4)})
    figure = Figure(figsize=(9, 3 * len(slices)), layout="constrained")
    grid = figure.subplots(len(slices), 3, squeeze=False)
    for row, position in zip(grid, slices, strict=True):
        for axes, picture, colours in zip(
            row, (image, score_map, image), ("gray", "inferno", "gray"), strict=True
        ):
            axes.imshow(picture[:, :, position].T, cmap=colours, origin="lower")
            axes.set_axis_off()
        if mask[:, :, position].any():
            row[2].contour(mask[:, :, position].T, [0.5], colors="#ffd54a", linewidths=1)
    for axes, title in zip(grid[0], ("scan", "score map", prediction.operating_point), strict=True):
        axes.set_title(title)
    figure.suptitle(f"{prediction.method} {prediction.variant}: {Path(prediction.scan).name}")
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
