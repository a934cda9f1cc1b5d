"""Training: SSIM beside MONAI's in a step of `ae_ssim`, and threads that sleep beside threads that spin.

python benchmarks/training.py [--presets demo small paper] [--rounds 15]

MONAI's SSIM is what the row was trained with before, and what a user would pick. Steps of both take turns in
one process, from the same weights on the same made slices; losses and gradients of the first step are
compared too. Threads that wait spin by default; a command of this project lets them sleep, which changes no
weight. Times are of CPU where nothing else is said.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from monai.losses.ssim_loss import SSIMLoss
from torch import Tensor, nn

from uadbench import methods
from uadbench.learning.similarity import ssim
from uadbench.system import environment
from uadbench.system.files import sha256

WINDOW = 11
Loss = Callable[[Tensor, Tensor], Tensor]


def by_matrices(restored: Tensor, image: Tensor) -> Tensor:
    return 1 - ssim(restored, image, WINDOW).mean()


def by_convolutions(restored: Tensor, image: Tensor) -> Tensor:
    loss: Tensor = SSIMLoss(spatial_dims=2, data_range=1.0, win_size=WINDOW)(restored, image)
    return loss


class Trainee:
    """A network in training, with one of the losses."""

    def __init__(self, preset: str, loss: Loss, row: str = "ae_ssim") -> None:
        """The same weights for every loss."""
        torch.manual_seed(0)
        method = methods.build(row, preset)
        self.network: nn.Module = method.build()  # type: ignore[attr-defined]
        self.shape = (method.batch, 1, *method.slice_shape())  # type: ignore[attr-defined]
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=1e-4)
        self.loss = loss
        self.took: list[float] = []

    def step(self, image: Tensor) -> float:
        """One training step; its loss."""
        start = time.process_time()
        self.optimiser.zero_grad(set_to_none=True)
        value = self.loss(self.network(image), image)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.took.append(time.process_time() - start)
        return value.item()

    @property
    def gradient(self) -> Tensor:
        """Of all weights in the last step."""
        return torch.cat([p.grad.flatten() for p in self.network.parameters() if p.grad is not None])


def compare(preset: str, rounds: int) -> None:
    ours, theirs = Trainee(preset, by_matrices), Trainee(preset, by_convolutions)
    torch.manual_seed(1)
    images = torch.rand(rounds + 1, *ours.shape)
    images[..., : images.shape[-1] // 4] = 0  # background, where variances are 0
    apart = abs(ours.step(images[0]) - theirs.step(images[0]))
    steeper = (ours.gradient - theirs.gradient).norm() / theirs.gradient.norm()
    for image in images[1:]:
        for trainee in (ours, theirs):
            trainee.step(image)
    times = [1000 * statistics.median(trainee.took[1:]) for trainee in (theirs, ours)]
    ratio = statistics.median(b / a for a, b in zip(ours.took[1:], theirs.took[1:], strict=True))
    print(
        f"  {preset:<6} {tuple(ours.shape)!s:<20} {times[0]:8.1f} ms {times[1]:8.1f} ms {ratio:6.2f} times; "
        f"losses differ by {apart:.0e}, gradients by {steeper:.0e} of their length"
    )


THREADS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two threads, as torch has it": {"OMP_NUM_THREADS": "2"},
    "two threads that sleep": {"OMP_NUM_THREADS": "2", **environment.ASLEEP},
}


def take_steps(rounds: int) -> None:
    """Print the times of steps in this process, and a hash of the weights that come of them."""
    trainee = Trainee("demo", nn.functional.l1_loss, "ae")
    torch.manual_seed(1)
    begun = time.perf_counter()
    for image in torch.rand(rounds + 1, *trainee.shape):
        trainee.step(image)
    wall = (time.perf_counter() - begun) / (rounds + 1)
    weights = b"".join(p.detach().contiguous().numpy().tobytes() for p in trainee.network.parameters())
    cpu = statistics.median(trainee.took[1:])
    print(f"{1000 * cpu:7.1f} ms of CPU, {1000 * wall:7.1f} ms of wall time, weights {sha256(weights)[:8]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=["demo", "small", "paper"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps-alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.steps_alone:
        take_steps(asked.rounds)
        return
    torch.set_num_threads(1)
    print("CPU time of a training step of ae_ssim, median: MONAI's SSIM, ours, and the median of the ratios")
    for preset in asked.presets:
        compare(preset, asked.rounds)
    print("a training step of ae, preset demo; the load of the machine is", f"{os.getloadavg()[0]:.1f}")
    for name, variables in THREADS.items():
        command = [sys.executable, __file__, "--steps-alone", "--rounds", str(asked.rounds)]
        done = subprocess.run(command, env=os.environ | variables, check=True, capture_output=True, text=True)
        print(f"  {name:<28} {done.stdout.strip()}")


if __name__ == "__main__":
    main()
