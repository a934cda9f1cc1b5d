"""Auto-encoders: the architecture of Baur 2021, its spatial variant, and the one trained by SSIM."""

import importlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from uadbench import methods
from uadbench.data.space import GRIDS
from uadbench.learning import scores
from uadbench.learning.training import Batch

module: Any = importlib.import_module(methods.load("ae").__module__)


def parameters(rows: int, columns: int, width: int, latent: int) -> int:
    """Number of weights by hand: 5 x 5 kernels and their biases, two numbers a filter for batch norm."""
    filters = [width, 2 * width, 4 * width, 4 * width]
    narrow = filters[3] // 8
    features = narrow * -(-rows // 16) * -(-columns // 16)
    down = sum(25 * a * b + 3 * b for a, b in zip([1, *filters], filters, strict=False))
    widths = [filters[3], filters[3], filters[1], filters[0], filters[0]]  # Baur 2021's code: 128, 64, 32, 32
    up = sum(25 * a * b + 3 * b for a, b in pairwise(widths))
    narrowing = filters[3] * narrow + narrow + narrow * filters[3] + 3 * filters[3]
    dense = features * latent + latent + latent * features + features
    return down + up + narrowing + dense + width + 1


@pytest.mark.parametrize(("width", "latent"), [(32, 128), (8, 16)])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_number_of_weights_is_that_of_the_published_layers(grid: str, width: int, latent: int) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = module.Autoencoder(rows, columns, width, latent, 0.1)
    assert sum(p.numel() for p in network.parameters()) == parameters(rows, columns, width, latent)


def test_at_128_pixels_the_bottleneck_is_8_by_8_by_16_and_then_128_numbers() -> None:
    network = module.Autoencoder(128, 128, 32, 128, 0.1).eval()
    features = network.encoder[:4](torch.zeros(2, 1, 128, 128))
    assert features.shape == (2, 128, 8, 8)
    assert network.encoder[4](features).shape == (2, 16, 8, 8)
    assert network.encoder(torch.zeros(2, 1, 128, 128)).shape == (2, 128)
    assert [layer[0].out_channels for layer in network.encoder[:4]] == [32, 64, 128, 128]
    doublings = [layer for layer in network.decoder if isinstance(layer, torch.nn.Sequential)]
    assert [layer[0].out_channels for layer in doublings] == [128, 64, 32, 32]
    slopes = {part.negative_slope for part in network.modules() if isinstance(part, torch.nn.LeakyReLU)}
    assert slopes == {0.3}


@pytest.mark.parametrize(
    ("name", "share", "places"), [("ae", 0.2, 2), ("ae_spatial", 0.2, 1), ("vae", 0.1, 3)]
)
def test_dropout_is_where_the_published_code_has_it(name: str, share: float, places: int) -> None:
    parts = [part for part in row(name).modules() if isinstance(part, torch.nn.Dropout)]
    assert [part.p for part in parts] == [share] * places  # the VAE's: mean, log variance, after the code


@pytest.mark.parametrize("grid", GRIDS)
def test_slices_of_every_grid_come_back_in_their_shape(grid: str) -> None:
    rows, columns, _ = GRIDS[grid].shape
    network = module.Autoencoder(rows, columns, 8, 4, 0.1).eval()
    assert network(torch.zeros(1, 1, rows, columns)).shape == (1, 1, rows, columns)


def test_the_output_is_linear() -> None:
    network = module.Autoencoder(16, 16, 8, 4, 0.0).eval()
    torch.nn.init.constant_(network.decoder[-1].bias, -3.0)
    torch.nn.init.zeros_(network.decoder[-1].weight)
    assert (network(torch.rand(1, 1, 16, 16)) == -3).all()


def test_the_loss_is_the_mean_absolute_error_over_the_whole_slice() -> None:
    image = torch.zeros(2, 1, 4, 4)
    image[0, 0, 0, 0] = 0.8
    batch = Batch(image, image > 0, np.zeros((2, 2), np.int64))
    assert module.l1_loss(torch.zeros_like, batch).item() == pytest.approx(0.8 / 32)


def row(name: str) -> Any:
    """The network of a row with the settings of its paper, for slices of 128 x 128 pixels."""
    torch.manual_seed(0)
    return methods.build(name, "paper").build().eval()  # type: ignore[attr-defined]


def batch_of(image: torch.Tensor) -> Batch:
    return Batch(image, image > 0, np.zeros((len(image), 2), np.int64))


def test_the_rows_differ_from_the_dense_auto_encoder_in_what_their_cards_set() -> None:
    dense = methods.parameters(methods.build("ae", "paper"))
    rows: dict[str, dict[str, Any]] = {
        "ae_spatial": {"bottleneck": "spatial"},
        "ae_ssim": {"loss": "ssim", "kernel": 3, "norm": "instance", "score_kind": "ssim"},
    }
    for name, settings in rows.items():
        assert methods.parameters(methods.build(name, "paper")) == dense | settings


def test_the_spatial_code_is_8_by_8_by_16_and_nothing_is_dense() -> None:
    network = row("ae_spatial")
    assert network.encoder(torch.zeros(2, 1, 128, 128)).shape == (2, 16, 8, 8)
    assert not [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    without = parameters(128, 128, 32, 128) - (1024 * 128 + 128 + 128 * 1024 + 1024)
    assert sum(p.numel() for p in network.parameters()) == without


def test_what_lies_far_apart_meets_in_a_dense_code_only() -> None:
    """A spatial code keeps places apart, so it can carry a lesion through: Baur 2021's row that fails."""
    image = torch.rand(1, 1, 128, 128)
    touched = image.clone()
    touched[..., :8, :8] = 1
    with torch.no_grad():
        for name, reached in (("ae", True), ("ae_spatial", False)):
            network = row(name)
            corner = (network(touched) - network(image))[..., -8:, -8:]
            assert bool(corner.abs().max() > 0) is reached, name


def test_ae_ssim_has_3_by_3_convolutions_of_stride_2_and_instance_normalisation() -> None:
    network = row("ae_ssim")
    halves = ((network.encoder[:4], torch.nn.Conv2d), (network.decoder[6:10], torch.nn.ConvTranspose2d))
    for blocks, kind in halves:
        for convolution, norm, activation in blocks:
            assert isinstance(convolution, kind)
            assert convolution.kernel_size == (3, 3)
            assert convolution.stride == (2, 2)
            assert isinstance(norm, torch.nn.InstanceNorm2d)
            assert isinstance(activation, torch.nn.LeakyReLU)
    assert network.encoder(torch.zeros(2, 1, 128, 128)).shape == (2, 128)  # a dense code, linear
    assert network(torch.zeros(2, 1, 128, 128)).shape == (2, 1, 128, 128)


def test_instance_normalisation_hides_the_brightness_of_a_slice() -> None:
    """What the card says of this row; with batch normalisation the network sees it."""
    image = torch.zeros(1, 1, 128, 128)
    image[..., 30:90, 20:100] = 0.5 + 0.5 * torch.rand(60, 80, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, seen in (("ae", True), ("ae_ssim", False)):
            first = row(name).encoder[0]
            change = (first(image) - first(0.5 * image)).abs().max() / first(image).abs().max()
            assert bool(change > 0.01) is seen, name


def test_the_ssim_loss_is_one_less_the_mean_similarity_of_the_windows_inside() -> None:
    image, answer = torch.rand(2, 2, 1, 24, 20, generator=torch.Generator().manual_seed(1))
    maps = [
        scores.ssim(x[0, :, :, None].numpy(), y[0, :, :, None].numpy())[5:-5, 5:-5]
        for x, y in zip(image, answer, strict=True)
    ]
    loss = module.ssim_loss(lambda _: answer, batch_of(image))
    assert loss.item() == pytest.approx(np.mean(maps), abs=1e-4)


def test_the_ssim_of_two_grey_slices_by_hand() -> None:
    """Without variance only the luminance is left: (2 x y + C1) / (x^2 + y^2 + C1), C1 = .01^2."""
    image = torch.full((1, 1, 16, 16), 0.4)
    loss = module.ssim_loss(lambda x: x / 2, batch_of(image))
    assert loss.item() == pytest.approx(1 - (2 * 0.4 * 0.2 + 1e-4) / (0.16 + 0.04 + 1e-4), abs=1e-5)
    assert module.ssim_loss(lambda x: x, batch_of(image)).item() == pytest.approx(0, abs=1e-6)


def test_mixed_precision_leaves_the_ssim_loss_exact() -> None:
    image, noise = torch.rand(2, 1, 1, 24, 24, generator=torch.Generator().manual_seed(2))
    batch = batch_of(0.9 + 0.02 * image)
    exact = module.ssim_loss(lambda x: x + 0.01 * noise, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module.ssim_loss(lambda x: x + 0.01 * noise, batch).item() == exact.item()
