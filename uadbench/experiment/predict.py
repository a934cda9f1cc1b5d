"""Predict: a trained method on scans of one's own, with the maps in each scan's own space."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uadbench.cards import DatasetCard
from uadbench.data.prepared import Prepared
from uadbench.data.session import Session
from uadbench.data.sizes import sizes, template_scale, voxel_size
from uadbench.data.space import resample
from uadbench.evaluation import postprocess
from uadbench.evaluation.scan_facts import scan_score
from uadbench.experiment.config import Runtime
from uadbench.experiment.figures import draw_sheet, save_figure
from uadbench.experiment.model import Model, load_model
from uadbench.experiment.native import OwnSpace, restore_units, write_volumes
from uadbench.experiment.prediction import (
    JSON,
    SPACES,
    Asked,
    Prediction,
    find_earlier,
    find_key,
    find_threshold,
)
from uadbench.methods import Score
from uadbench.preprocessing import extract
from uadbench.preprocessing.nifti import read_header
from uadbench.preprocessing.prepare import prepare
from uadbench.system.errors import SubjectError, UserError, check_known
from uadbench.system.files import sha256_file, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = "picture.png"
SCORE, MASK, HEALTHY = "score_map", "mask", "pseudo_healthy"  # volumes, and their files without suffix
# What preparation asks of a data set, for scans that belong to none.
OWN = DatasetCard(
    name="own", title="Scans of one's own", role="both", population="patients", summary="", address="",
    access="", licence="", forbids="", citation="", layout="", layout_confidence="V", contrasts=("T1",),
    space="native", skull_stripped=False,
)  # fmt: skip


@dataclass(frozen=True)
class Ready:
    """A scan that is prepared on both grids of a model."""

    session: Session
    evaluation: Prepared
    model: Prepared


def predict_scan(run: Path, scan: Path, out: Path, runtime: Runtime, asked: Asked) -> Prediction:
    """Score a scan with the model of a record or a model file, and write what it says into `out`.

    The scan is prepared as the run's protocol says: brain extraction unless it is stripped or comes with a
    mask, registration unless it is in MNI152, scaling. Files: `score_map`, `mask` where there is a threshold
    and, where the method makes one, `pseudo_healthy`, each `.nii.gz` with the shape and affine of the scan
    and 0 outside its brain; `picture.png`; `prediction.json`, last. What is there already, whole and of the
    same scan, model and threshold, is not made again.
    """
    model = load_model(run, runtime)
    check_asked(model, asked)
    session = make_session(scan.name.split(".")[0], scan, model, asked)
    key = find_key(session, model, asked)
    earlier = find_earlier(out, key)
    if earlier is not None:
        return earlier
    ready, reasons = prepare_scans([session], model, runtime)
    for reason in reasons.values():
        raise UserError(f"The scan could not be prepared: {reason}")
    try:
        return predict_ready(ready[session.id], model, asked, out, runtime)
    except SubjectError as error:  # a file that has changed meanwhile
        raise UserError(str(error)) from error


def check_asked(model: Model, asked: Asked) -> None:
    """Stop, before any scan is read, where what is asked for is not there."""
    find_threshold(model, asked.point)
    check_known("space", asked.space, SPACES)
    extract.check_extractor(model.options.extractor)


def make_session(name: str, scan: Path, model: Model, asked: Asked) -> Session:
    """A scan as a session; UserError where its file says that it cannot be used."""
    try:
        for path in (scan, asked.brain_mask, asked.t1):
            if path is not None:
                read_header(path)
    except SubjectError as error:
        raise UserError(str(error)) from error
    if asked.t1 is not None and model.facts.contrast == "T1":
        raise UserError("--t1 is for models of other contrasts, and this one's is T1: leave it out.")
    return Session(
        id=name,
        cohort=OWN.name,
        subject=name,
        images={model.facts.contrast: scan} | ({} if asked.t1 is None else {"T1": asked.t1}),
        healthy=True,
        brain_mask=asked.brain_mask,
        skull_stripped=asked.stripped,
        space=asked.space,
    )


def prepare_scans(
    sessions: Sequence[Session], model: Model, runtime: Runtime
) -> tuple[dict[str, Ready], dict[str, str]]:
    """The scans on both grids, from the same code as every cohort, or the reasons why not, by session id."""
    contrast, made, reasons = model.facts.contrast, [], dict[str, str]()
    for grid in (model.grid, model.model_grid):
        cohort = prepare(
            sessions, contrast, grid, OWN, runtime.paths.cache, runtime.workers, runtime.progress,
            model.options,
        )  # fmt: skip
        made.append({one.session.id: one for one in cohort.prepared})
        reasons |= {failure.subject_id: failure.reason for failure in cohort.failures}
    evaluation, on_model = made
    both = [one for one in sessions if one.id not in reasons]
    return {one.id: Ready(one, evaluation[one.id], on_model[one.id]) for one in both}, reasons


def predict_ready(ready: Ready, model: Model, asked: Asked, out: Path, runtime: Runtime) -> Prediction:
    """Score a prepared scan and write what the method says of it; the JSON last."""
    point, threshold = find_threshold(model, asked.point)
    evaluation, grid, facts = ready.evaluation, ready.evaluation.grid, model.facts
    answer = model.score(ready.model)
    score_map = resample(answer.score_map, model.model_grid, grid)
    mask = None if threshold is None else make_mask(score_map, evaluation, facts.headline, threshold)
    brain = evaluation.brain()
    value, healthy = scan_score(score_map[brain]), np.array(facts.healthy_scores)
    volumes = {SCORE: score_map * brain}
    if answer.pseudo_healthy is not None:
        volumes[HEALTHY] = resample(answer.pseudo_healthy[0], model.model_grid, grid) * brain
    own = OwnSpace.of(ready.session, evaluation, model.options.extractor, runtime.paths.cache)
    names = _write(ready, volumes, mask, out, own)
    title = f"{facts.method} {facts.variant}: {ready.session.id}"
    save_figure(_draw(ready, title, volumes, mask, point), out / PICTURE)
    prediction = Prediction(
        scan=str(ready.session.images[facts.contrast]),
        method=facts.method,
        variant=facts.variant,
        trained_on=facts.train,
        contrast=facts.contrast,
        profile=facts.headline,
        operating_point=point,
        threshold=threshold,
        suspicious_ml=None if mask is None else float(mask.sum() * voxel_size(grid, evaluation.facts)),
        scan_score=value,
        healthy_percentile=float(np.mean(healthy < value) * 100) if healthy.size else None,
        warnings=(*_warnings(model, ready, answer, value), *model.caveats),
        key=find_key(ready.session, model, asked),
        files={name: sha256_file(out / name) for name in (*names, PICTURE)},
    )
    write_json(out / JSON, asdict(prediction))
    return prediction


def _write(
    ready: Ready,
    volumes: Mapping[str, NDArray[np.float32]],
    mask: NDArray[np.bool_] | None,
    out: Path,
    own: OwnSpace,
) -> list[str]:
    """Write volumes (R, A, S) of the evaluation grid in the scan's own space; the names of their files.

    Files that an earlier prediction has left and this one does not have are removed.
    """
    written: dict[str, NDArray[Any]] = {SCORE: own.carry_values(volumes[SCORE])}
    if HEALTHY in volumes:
        written[HEALTHY] = own.carry_image(restore_units(volumes[HEALTHY], ready.evaluation))
    if mask is not None:
        written[MASK] = own.carry_values(mask.astype(np.uint8))
    for name in {SCORE, HEALTHY, MASK} - written.keys():
        (out / f"{name}.nii.gz").unlink(missing_ok=True)
    write_volumes(out, written, own.header.affine)
    return [f"{name}.nii.gz" for name in written]


# ---- parts of an answer ------------------------------------------------------------------------


def make_mask(
    score_map: NDArray[np.float32], evaluation: Prepared, headline: str, threshold: float
) -> NDArray[np.bool_]:
    """Post-processed, thresholded, small components dropped: as in the evaluation (protocol, rule 9)."""
    profile, grid, brain = postprocess.PROFILES[headline], evaluation.grid, evaluation.brain()
    counted = brain & sizes(grid).counted_slices(evaluation.facts)
    above = postprocess.filtered(score_map, brain, profile, grid) >= np.float32(threshold)
    scale = template_scale(evaluation.facts)
    return postprocess.drop_components(above & counted, profile, grid, scale)


def _warnings(model: Model, ready: Ready, answer: Score, value: float) -> Iterator[str]:
    """Why the answer may mean nothing: the scan is not like those the method has seen."""
    facts = model.facts
    yield from ready.evaluation.facts["quality"]["flags"]
    if facts.highest_score is not None and value > facts.highest_score:
        yield (
            f"the scan score {value:.3g} is above that of every scan of the run ({facts.highest_score:.3g}), "
            "with and without lesions: the scan is unlike them all"
        )
    if answer.pseudo_healthy is not None and facts.highest_error is not None:
        brain = ready.model.brain()
        error = float(np.abs(ready.model.image() - answer.pseudo_healthy[0])[brain].mean())
        if error > facts.highest_error:
            yield (
                f"the method restores it with a mean error of {error:.3f}, the scans of the run with at "
                f"most {facts.highest_error:.3f}: it may be another contrast or sequence than the "
                f"{facts.contrast} that it was trained on"
            )
    if facts.regime == "phantom":
        yield "the method was trained on a phantom: on a real scan its answer means nothing"


def _draw(
    ready: Ready,
    title: str,
    volumes: Mapping[str, NDArray[np.float32]],
    mask: NDArray[np.bool_] | None,
    point: str | None,
) -> "Figure":
    """Slices through the mask, or through the brain where there is none, of scan and volumes.

    `volumes` are on the evaluation grid: the score map and, where there is one, the pseudo-healthy volume.
    """
    image, brain = ready.evaluation.image(), ready.evaluation.brain()
    outlined = mask is not None and bool(mask.any())
    columns = [
        ("scan", image, "gray", False),
        *[("pseudo-healthy", volumes[name], "gray", False) for name in volumes if name == HEALTHY],
        ("score map", volumes[SCORE], "magma", False),
        (f"mask ({point})" if point else "no threshold", image, "gray", outlined),
    ]
    shown = mask if mask is not None and outlined else brain
    return draw_sheet(title, columns, brain, shown, ready.evaluation.grid)
