"""Predict: a trained method on a scan of one's own, with the maps in the scan's own space."""

import gzip
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.sizes import sizes, template_scale, voxel_size
from uadbench.data.space import Grid, Target, resample
from uadbench.data.suffixes import files_of
from uadbench.evaluation import postprocess
from uadbench.evaluation.scan_facts import scan_score
from uadbench.experiment import record
from uadbench.experiment.cohort import prepare_cohort
from uadbench.experiment.config import ResolvedRun, RunConfig, Runtime, resolve_run
from uadbench.experiment.figures import draw_sheet, save_figure
from uadbench.experiment.fit import load_fit
from uadbench.experiment.record import RunRecord
from uadbench.experiment.score import calibrate_method, score_volume
from uadbench.methods import Score
from uadbench.preprocessing import brains, resampling
from uadbench.preprocessing import scan as scans
from uadbench.preprocessing.nifti import Header, read_header
from uadbench.preprocessing.prepare import prepare
from uadbench.system.errors import SubjectError, UserError
from uadbench.system.files import replacing, sha256_file, write_json

POINTS = ("fpr1", "fpr5", "val")  # thresholds that looked at no test label


@dataclass(frozen=True)
class Prediction:
    """What a method says about a scan; volumes are files beside the JSON, in the scan's own voxels.

    Without a threshold there is no mask: the last three of the figures are None then.
    """

    scan: str
    method: str
    variant: str
    trained_on: str | None  # None for a method that learns nothing
    contrast: str
    profile: str  # of post-processing: that by which the run is ranked
    operating_point: str | None  # "given" for a threshold that was asked for as a number
    threshold: float | None
    suspicious_ml: float | None  # of the mask on the evaluation grid, in the patient's own millilitres
    scan_score: float
    healthy_percentile: float | None  # share of the run's healthy test scans with a lower score, percent
    warnings: tuple[str, ...]
    note: str = "A research tool: it marks what is unusual, which is neither a finding nor a diagnosis."


def predict_scan(
    run: Path,
    scan: Path,
    out: Path,
    runtime: Runtime,
    brain_mask: Path | None = None,
    stripped: bool = False,
    point: str | None = None,
) -> Prediction:
    """Score a scan with the fit of a record, and write maps, mask, picture and JSON into `out`.

    The scan is prepared as the run's protocol says: brain extraction unless it is stripped or comes with a
    mask, registration, scaling. Files: `score_map`, `mask` where there is a threshold and, where the method
    makes one, `pseudo_healthy`, each `.nii.gz` with the shape and affine of the scan and 0 outside its
    brain; `picture.png`; `prediction.json`. `point` is one of POINTS or a number, a threshold of one's own;
    default: the first of POINTS that the record has.
    """
    made = record.read_record(run)
    resolved = resolve_run(RunConfig.of(made), runtime)
    targets = resolved.protocol.grid, resolved.model_target
    if not all(isinstance(target, Grid) for target in targets):
        raise UserError(f"{run} is of slices without geometry; predict needs a run on volumes.")
    name, threshold = _threshold(made, point, run)
    try:
        original = read_header(scan)
    except SubjectError as error:
        raise UserError(str(error)) from error
    session = Session(
        id=scan.name.split(".")[0],
        cohort="own",
        subject=scan.name,
        images={made.contrast: scan},
        healthy=True,
        brain_mask=brain_mask,
        skull_stripped=stripped,
    )
    evaluation, model = (_prepare(session, made.contrast, on, resolved, runtime) for on in targets)
    answer = _score(resolved, made, model, runtime)
    score_map = resample(answer.score_map, model.grid, evaluation.grid)
    brain = evaluation.brain()
    value = scan_score(score_map[brain])
    mask = None if threshold is None else _mask(score_map, evaluation, made.headline, threshold)
    prediction = Prediction(
        scan=str(scan),
        method=made.method,
        variant=made.variant,
        trained_on=made.train if resolved.card.trained else None,
        contrast=made.contrast,
        profile=made.headline,
        operating_point=name,
        threshold=threshold,
        suspicious_ml=None if mask is None else _volume(mask, evaluation),
        scan_score=value,
        healthy_percentile=_percentile(made, value),
        warnings=tuple(_warnings(made, evaluation, model, answer, value)),
    )
    volumes = {"score_map": score_map * brain} | _restored(answer, model, evaluation)
    own = _in_scan(volumes, mask, evaluation, original, _own_brain(session, resolved, runtime, original))
    _write_volumes(out, original, own)
    outlined = mask is not None and bool(mask.any())
    columns = [
        ("scan", evaluation.image(), "gray", False),
        ("score map", volumes["score_map"], "magma", False),
        (name or "no threshold", evaluation.image(), "gray", outlined),
    ]
    title = f"{made.method} {made.variant}: {scan.name}"
    shown = mask if mask is not None and outlined else brain
    save_figure(draw_sheet(title, columns, brain, shown, sides=True), out / "picture.png")
    write_json(out / "prediction.json", asdict(prediction))
    return prediction


def _threshold(made: RunRecord, point: str | None, run: Path) -> tuple[str | None, float | None]:
    """The operating point and its threshold; None where nothing was asked for and the record has none."""
    known = made.thresholds[made.headline]
    there = [name for name in POINTS if known.get(name) is not None]
    if point is None:
        return (there[0], known[there[0]]) if there else (None, None)
    if point in POINTS:
        if point not in there:
            raise UserError(
                f"{run} has no threshold {point}; it has {', '.join(there) or 'none'}: use --point with "
                f"{'one of them or ' if there else ''}a number, or leave it out."
            )
        return point, known[point]
    try:
        value = float(point)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UserError(f"--point expects one of {', '.join(POINTS)} or a number, got '{point}'.")
    return "given", value


def _prepare(
    session: Session, contrast: str, on: Target, resolved: ResolvedRun, runtime: Runtime
) -> Prepared:
    """The scan on a grid, from the same code as every cohort."""
    cohort = prepare(
        [session], contrast, on, resolved.test.card, runtime.paths.cache, 1, runtime.progress,
        resolved.config.preparation,
    )  # fmt: skip
    if cohort.failures:
        raise UserError(f"The scan could not be prepared: {cohort.failures[0].reason}")
    return cohort.prepared[0]


def _score(resolved: ResolvedRun, made: RunRecord, model: Prepared, runtime: Runtime) -> Score:
    """The method's answer, from the stored fit of the record, as `run` would make it."""
    method, context = load_fit(resolved, made.fit_hash, runtime)
    if method.calibrated:
        calibrate_method(method, prepare_cohort(resolved, runtime).val, resolved.volumes, context)
    return score_volume(method, resolved.volumes([model])[0], made.seed, made.method).score


def _mask(
    score_map: NDArray[np.float32], evaluation: Prepared, headline: str, threshold: float
) -> NDArray[np.bool_]:
    """Post-processed, thresholded, small components dropped: as in the evaluation (protocol, rule 9)."""
    profile, grid, brain = postprocess.PROFILES[headline], evaluation.grid, evaluation.brain()
    counted = brain & sizes(grid).counted_slices(evaluation.facts)
    above = postprocess.filtered(score_map, brain, profile, grid) >= np.float32(threshold)
    scale = template_scale(evaluation.facts)
    return postprocess.drop_components(above & counted, profile, grid, scale)


def _volume(mask: NDArray[np.bool_], evaluation: Prepared) -> float:
    """Volume of a mask on the evaluation grid in the patient's own millilitres."""
    return float(mask.sum() * voxel_size(evaluation.grid, evaluation.facts))


def _restored(answer: Score, model: Prepared, evaluation: Prepared) -> dict[str, NDArray[np.float32]]:
    """The pseudo-healthy volume on the evaluation grid in the scan's own units; empty without one."""
    if answer.pseudo_healthy is None:
        return {}
    low, high = evaluation.facts["p1"], evaluation.facts["p99"]
    healthy = resample(answer.pseudo_healthy[0], model.grid, evaluation.grid)
    restored = (low + healthy * (high - low)) * evaluation.brain()
    return {"pseudo_healthy": restored.astype(np.float32)}


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
                "that it was trained on"
            )
    if made.regime == "phantom":
        found.append("the method was trained on a phantom: on a real scan its answer means nothing")
    return found


def _own_brain(
    session: Session, resolved: ResolvedRun, runtime: Runtime, original: Header
) -> NDArray[np.bool_]:
    """The brain mask from which the scan was prepared, in the voxels of the scan's file."""
    (contrast,) = session.images
    files = [session.images[contrast], session.mask_of(contrast)]
    digests = {str(p): sha256_file(p) for file in files if file is not None for p in files_of(file)}
    kept = brains.Kept(runtime.paths.cache, resolved.config.preparation.extractor, digests)
    image = scans.read_image(session.images[contrast], session.orientation)
    brain, _ = brains.find_brain(session, contrast, image, kept)
    to_image = np.linalg.inv(image.affine) @ original.affine
    return resampling.sample_nearest(brain.astype(np.uint8), to_image, original.shape) > 0


def _in_scan(
    volumes: dict[str, NDArray[np.float32]],
    mask: NDArray[np.bool_] | None,
    evaluation: Prepared,
    original: Header,
    brain: NDArray[np.bool_],
) -> dict[str, NDArray[Any]]:
    """Volumes and mask of the evaluation grid in the voxels of the scan's file, 0 outside its brain."""
    to_grid = (
        np.linalg.inv(evaluation.grid.affine) @ np.array(evaluation.facts["transform"]) @ original.affine
    )
    shape = original.shape
    own: dict[str, NDArray[Any]] = {
        name: resampling.sample_linear(volume, to_grid, shape) * brain for name, volume in volumes.items()
    }
    if mask is not None:
        own["mask"] = resampling.sample_nearest(mask.astype(np.uint8), to_grid, shape) * brain
    return own


def _write_volumes(out: Path, original: Header, volumes: dict[str, NDArray[Any]]) -> None:
    """The volumes as files beside each other."""
    for name, volume in volumes.items():
        image = nibabel.Nifti1Image(volume, original.affine)
        image.header.set_xyzt_units("mm")
        with replacing(out / f"{name}.nii.gz") as partial:
            partial.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
