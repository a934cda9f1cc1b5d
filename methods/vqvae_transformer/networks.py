"""Networks: an auto-encoder whose latents are codes of a book, and a transformer that foresees codes."""

from typing import Any

import torch
from monai.networks.nets import VQVAE, DecoderOnlyTransformer
from torch import Tensor, nn
from torch.nn import functional

from uadbench.learning.autoencoder_kl import latent_brain
from uadbench.learning.training import Batch


def codes_shape(rows: int, columns: int, halvings: int) -> tuple[int, int]:
    """Rows and columns of the codes of slices, which are padded where they do not divide."""
    return -(-rows // 2**halvings), -(-columns // 2**halvings)


class Codes(nn.Module):
    """MONAI's `VQVAE` for slices of any shape (van den Oord et al. 2017); it keeps a threshold."""

    threshold: Tensor

    def __init__(
        self, width: int, halvings: int, res_layers: int, codes: int, code_length: int, decay: float
    ) -> None:
        """`codes` of so many numbers, each an average with that decay of the latents nearest to it."""
        super().__init__()
        self.multiple = 2**halvings
        self.network = VQVAE(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=[width] * halvings,
            num_res_layers=res_layers,
            num_res_channels=[width] * halvings,
            downsample_parameters=[(2, 4, 1, 1)] * halvings,
            upsample_parameters=[(2, 4, 1, 1, 0)] * halvings,
            num_embeddings=codes,
            embedding_dim=code_length,
            decay=decay,
        )
        self.register_buffer("threshold", torch.zeros(()))

    @torch.no_grad()
    def start(self, batch: Batch) -> None:
        """Let codes begin as latents of random places in brains: of far ones only one is ever learned."""
        quantiser: Any = self.network.quantizer.quantizer
        places = latent_brain(batch.brain, self.multiple).flatten()
        drawn = torch.rand(len(quantiser.ema_w), len(places), device=places.device) * places
        latent = self.encode(batch.image).movedim(1, -1).flatten(0, 2)[drawn.argmax(1)]
        quantiser.embedding.weight.copy_(latent)
        quantiser.ema_w.copy_(latent)
        quantiser.ema_cluster_size.fill_(1)

    def encode(self, image: Tensor) -> Tensor:
        """Latents (B, L, r, a) of slices (B, 1, R, A) in [0, 1], with 0 around them."""
        rows, columns = image.shape[-2:]
        pad = (0, -columns % self.multiple, 0, -rows % self.multiple)
        latent: Tensor = self.network.encode(functional.pad(image, pad))
        return latent

    def loss(self, batch: Batch) -> Tensor:
        """L1, and the squared distance of latents to their codes times .25 (van den Oord 2017, eq. 3)."""
        # MONAI's wrapper around the quantiser also counts codes, which is not needed here.
        quantised, commitment, _ = self.network.quantizer.quantizer(self.encode(batch.image))
        rows, columns = batch.image.shape[-2:]
        answer = self.network.decode(quantised)[..., :rows, :columns]
        total: Tensor = functional.l1_loss(answer, batch.image) + commitment
        return total

    @torch.no_grad()
    def read(self, image: Tensor) -> Tensor:
        """The nearest code's number at each place of slices (B, 1, R, A): (B, r, a), int64."""
        indices: Tensor = self.network.quantizer.quantizer.quantize(self.encode(image))[2]
        return indices

    def write(self, codes: Tensor, rows: int, columns: int) -> Tensor:
        """Slices (B, 1, rows, columns) of codes (B, r, a)."""
        latent = self.network.quantizer.embed(codes)
        image: Tensor = self.network.decode(latent)[..., :rows, :columns].float()
        return image


class CodeTransformer(nn.Module):
    """Foresees each code from those before it, in one of eight orders (MONAI's `DecoderOnlyTransformer`)."""

    order: Tensor
    place: Tensor

    def __init__(
        self, rows: int, columns: int, order: int, codes: int, width: int, layers: int, heads: int
    ) -> None:
        """The bits of `order` say whether rows and columns run backwards, and whether columns come first."""
        super().__init__()
        self.codes = codes
        places = torch.arange(rows * columns).view(rows, columns)
        backwards = [axis for axis in (0, 1) if order >> axis & 1]
        places = places.flip(backwards)
        self.register_buffer("order", (places.T if order >> 2 & 1 else places).flatten(), persistent=False)
        self.register_buffer("place", torch.argsort(self.order), persistent=False)
        self.network = DecoderOnlyTransformer(codes + 1, rows * columns, width, layers, heads)

    def foresee(self, in_order: Tensor) -> Tensor:
        """Log probabilities (B, P, K) of each of P codes (B, P), given those before it."""
        before = functional.pad(in_order[:, :-1], (1, 0), value=self.codes)  # a code that says: the beginning
        answers: Tensor = self.network(before)[..., : self.codes]
        return answers.float().log_softmax(-1)

    def log_probabilities(self, codes: Tensor) -> Tensor:
        """Of each code at each place of codes (B, r, a), given those before it: (B, K, r, a)."""
        back = self.foresee(codes.flatten(1)[:, self.order])[:, self.place].movedim(-1, 1)
        return back.reshape(len(codes), self.codes, *codes.shape[1:])

    def loss(self, codes: Tensor) -> Tensor:
        """Cross entropy of codes (B, r, a) given those before each."""
        in_order = codes.flatten(1)[:, self.order]
        # By a product: a GPU adds up the gradient of a look-up in an order of its own.
        wanted = functional.one_hot(in_order, self.codes)
        return -(self.foresee(in_order) * wanted).sum(-1).mean()
