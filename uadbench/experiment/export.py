"""Export: the model of a run as one file that travels."""

from pathlib import Path

from uadbench.experiment import model_file
from uadbench.experiment.config import Runtime
from uadbench.experiment.model import Model, load_model
from uadbench.experiment.model_file import CALIBRATION
from uadbench.system.errors import UserError


def export_model(run: Path, out: Path, runtime: Runtime) -> Model:
    """Write the model of a record to a file with which `predict` works anywhere; equal runs, equal bytes.

    It holds what was learned, what scores are calibrated by, thresholds, facts, and no code and no name of a
    subject. What cannot be taken up again is a UserError, and nothing is written.
    """
    if model_file.is_model_file(run):
        raise UserError(f"{run} is a model file already; export expects a record (results/.../seed-0.json).")
    if out.suffix.lower() != ".zip":
        raise UserError(f"A model is exported to a file that ends in .zip, got {out}.")
    model = load_model(run, runtime)
    if model.method.calibrated and CALIBRATION not in model.arrays:
        raise UserError(
            f"{model.facts.method} measures scans against healthy ones and does not hand on what it found of "
            "them: its method needs `calibration_state` and `load_calibration`, or another score."
        )
    model_file.write_model(out, model.facts, model.arrays)
    return model
