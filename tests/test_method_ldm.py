"""Latent diffusion: the divergence of a step back, the threshold, inpainting, and the score."""

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from uadbench import methods
from uadbench.data.prepared import Prepared
from uadbench.data.space import GRIDS
from uadbench.data.volumes import Volumes
from uadbench.learning import training
from uadbench.methods import Context
from uadbench.system.errors import UserError

module: Any = importlib.import_module(methods.load("ldm").__module__)
Toy = Callable[..., list[Prepared]]


def prepared(answer: Callable[[Tensor, Tensor], Tensor], threshold: float = 0.0, **options: Any) -> Any:
    """A method with a known network in the latents, which are the slices, and a threshold."""

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("threshold", torch.tensor(threshold))

        def forward(self, latent: Tensor, time: Tensor) -> Tensor:
            return answer(latent, time)

    method = module.LDM(**options)
    same = SimpleNamespace(encode=lambda image: image, decode=lambda latent, *_: latent, factor=1)
    method.network_ = {"autoencoder": same, "latent": Network()}
    method.device_ = "cpu"
    return method


def noise_of(latent: Tensor, shares: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A network that knows what the latents are, and hence the noise in them."""

    def answer(noisy: Tensor, time: Tensor) -> Tensor:
        share = shares[time.long()].view(-1, 1, 1, 1)
        return (noisy - share.sqrt() * latent) / (1 - share).sqrt()

    return answer


# ---- what is unlikely --------------------------------------------------------------------------------


def test_the_divergence_is_that_of_two_gaussians_by_hand() -> None:
    """Shares .8 and .6: alpha .75, beta .25, variance beta .2 / .4 = .125; KL = (mean - mean')^2 / .25."""
    shares = torch.tensor([0.8, 0.6])
    latent, noise, found = (torch.randn(2, 3, 4, 5) for _ in range(3))
    noisy = 0.6**0.5 * latent + 0.4**0.5 * noise

    def mean(noise: Tensor) -> Tensor:
        found: Tensor = (noisy - 0.25 / 0.4**0.5 * noise) / 0.75**0.5  # Ho et al. 2020, eq. 11
        return found

    expected = ((mean(noise) - mean(found)) ** 2 / (2 * 0.125)).mean(1, keepdim=True)
    torch.testing.assert_close(module.divergence(noise, found, shares, 1), expected, rtol=1e-4, atol=1e-5)
    # The mean of the true step is that of q(z_0.8 | z_0.6, z): eq. 7.
    true = 0.8**0.5 * 0.25 / 0.4 * latent + 0.75**0.5 * 0.2 / 0.4 * noisy
    torch.testing.assert_close(mean(noise), true, rtol=1e-4, atol=1e-5)


def test_latents_that_the_network_knows_have_no_divergence_and_levels_are_spread() -> None:
    torch.manual_seed(0)
    known, times = torch.randn(2, 4, 3, 3), list[float]()
    answer = noise_of(known, module.LDM.alpha_bar)

    def watched(noisy: Tensor, time: Tensor) -> Tensor:
        times.append(float(time[0]))
        return answer(noisy, time)

    method = prepared(watched, levels=3)
    seen = known.clone()
    seen[0, :, 1, 2] += 1  # one latent that is another
    found = method.divergence(seen)
    assert times == [750, 500, 250]
    assert found.shape == (2, 1, 3, 3)
    assert float(found[0, 0, 1, 2]) > 100 * float(found[1].max())


def test_the_threshold_is_the_percentile_in_healthy_brains(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = training.Slices(Volumes(toy(range(2), True), GRIDS["g48"]), "cpu")
    method = prepared(lambda noisy, time: noisy, percentile=90.0, batch=5)
    monkeypatch.setattr(method, "divergence", lambda latent: latent + 1)  # from 0 to 2
    batch = slices.take(slices.spread(training.VALIDATION_SLICES))
    expected = np.percentile(2 * batch.image[batch.brain].numpy(), 90)
    assert float(method.find_threshold(slices)) == pytest.approx(float(expected), rel=1e-5)


def test_without_healthy_validation_volumes_there_is_no_threshold(toy: Toy, tmp_path: Any) -> None:
    train = Volumes(toy(range(2), True), GRIDS["g48"])
    tiny = module.LDM(
        grid="g48", autoencoder_width=8, autoencoder_multiples="1", autoencoder_blocks=1, autoencoder_fold=4,
        autoencoder_steps=1, autoencoder_batch=1, width=8, multiples="1", res_blocks=1, attention=0,
        head_channels=8, groups=4, steps=1, batch=1,
    )  # fmt: skip
    with pytest.raises(UserError, match="healthy validation volumes"):
        tiny.fit(train, Volumes([], GRIDS["g48"]), Context(folder=tmp_path))


# ---- resampled --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "evaluations"), [(999, 20), (400, 7)])
def test_latents_in_the_mask_become_what_the_network_holds_for_healthy(start: int, evaluations: int) -> None:
    torch.manual_seed(0)
    healthy, mask = torch.randn(2, 4, 3, 3), torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    mask[0, 0, 1, 1] = True
    seen = healthy + 5
    method = prepared(noise_of(healthy, module.LDM.alpha_bar), start=start, evaluations=evaluations)
    found = torch.where(mask, method.inpaint(seen, mask), seen)
    torch.testing.assert_close(found[0, :, 1, 1], healthy[0, :, 1, 1], atol=2e-2, rtol=0)
    assert torch.equal(found[1], seen[1])


def test_at_each_level_the_network_sees_the_true_surroundings_noised() -> None:
    torch.manual_seed(0)
    latent = torch.full((1, 1, 60, 60), 9.0)
    mask = torch.zeros(1, 1, 60, 60, dtype=torch.bool)
    shares, deviations = module.LDM.alpha_bar, list[tuple[float, float, float]]()

    def answer(noisy: Tensor, time: Tensor) -> Tensor:
        share = float(shares[int(time[0])])
        deviations.append((float(noisy.mean()) - share**0.5 * 9, float(noisy.std()), (1 - share) ** 0.5))
        return torch.zeros_like(noisy)

    prepared(answer, evaluations=4, latent_channels=1).inpaint(latent, mask)
    assert len(deviations) == 4
    for off, deviation, expected in deviations:
        assert abs(off) < 0.06
        assert deviation == pytest.approx(expected, rel=0.05)


def test_only_latents_above_the_threshold_are_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    method = prepared(lambda noisy, time: noisy, threshold=0.5)
    latent = torch.zeros(1, 2, 1, 3)
    monkeypatch.setattr(method, "divergence", lambda _: torch.tensor([0.4, 0.5, 0.6]).view(1, 1, 1, 3))
    monkeypatch.setattr(method, "inpaint", lambda latent, mask: latent + 1)
    assert method.heal(latent)[0, 0, 0].tolist() == [0, 0, 1]


def test_the_score_is_the_residual_where_latents_were_resampled() -> None:
    method = prepared(lambda noisy, time: noisy)
    latent = torch.zeros(1, 2, 2, 2)
    healed = latent.clone()
    healed[0, 1, 0, 1] = 1.0
    before, after = torch.zeros(1, 1, 2, 2), torch.tensor([[0.5, -0.25], [1.0, 2.0]]).view(1, 1, 2, 2)
    found = method.own_score(latent, healed, before, after)
    assert found[0, 0].tolist() == [[0, 0.25], [0, 0]]
