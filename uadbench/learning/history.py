"""History: what happened in a training, and its log."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class History:
    """What happened in a training."""

    step: int = 0  # how many are done
    loss: float = math.nan  # running mean of the training loss
    best: float = math.inf  # lowest validation loss
    misses: int = 0  # validations since then
    rows: list[tuple[int, float, float]] = field(default_factory=list)  # step, training, validation loss
    finished: bool = False
    seconds: float = field(default=0.0, compare=False)  # spent on it, in all processes

    def __str__(self) -> str:
        """Losses for a progress bar."""
        validated = f", val {self.best:.4g}" if math.isfinite(self.best) else ""
        return f"loss {self.loss:.4g}{validated}"

    def add_step(self, loss: float) -> None:
        """Count one more step."""
        self.step += 1
        self.loss = loss if self.step == 1 else 0.95 * self.loss + 0.05 * loss

    def add_validation(self, loss: float) -> bool:
        """Write down a validation (not a number: there is nothing to validate on); whether it is the best."""
        self.rows.append((self.step, self.loss, loss))
        better = loss < self.best
        if better:
            self.best = loss
        if not math.isnan(loss):
            self.misses = 0 if better else self.misses + 1
        return better


@contextmanager
def write_log(folder: Path) -> Iterator[Callable[[History, float], None]]:
    """A function that adds the last validation and a learning rate to a TensorBoard log in `folder`."""
    from tensorboardX import SummaryWriter

    def write(history: History, rate: float) -> None:
        step, training_loss, validation_loss = history.rows[-1]
        values = {"loss/training": training_loss, "loss/validation": validation_loss, "learning_rate": rate}
        for name, value in values.items():
            if not math.isnan(value):  # there are no validation volumes
                writer.add_scalar(name, value, step)

    with SummaryWriter(str(folder)) as writer:
        yield write
