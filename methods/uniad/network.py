"""Network: a transformer that restores features at each place from those far from it (You et al. 2022)."""

import torch
from torch import Tensor, nn

FEED_FORWARD = 4  # times the width


def neighbours(rows: int, columns: int, window: int) -> Tensor:
    """Which places of a map lie in the window around each place, itself included: (r * a, r * a) bool.

    A place may not look at these: from them its features could be copied (You 2022, section 3.2).
    """
    row, column = torch.arange(rows), torch.arange(columns)
    near = [(axis[:, None] - axis).abs() <= window // 2 for axis in (row, column)]
    both = near[0][:, None, :, None] & near[1][None, :, None, :]  # (r, a, r, a)
    return both.reshape(rows * columns, rows * columns)


def jitter(features: Tensor, scale: float) -> Tensor:
    """Features (B, C, r, a) with noise N(0, (scale |f| / C)^2) at each place, |f| the length of its vector.

    You 2022, section 3.2: what is asked for are the features without it.
    """
    length = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    jittered: Tensor = features + scale * length / features.shape[1] * torch.randn_like(features)
    return jittered


class Attention(nn.Module):
    """Attention of places to places outside their neighbourhoods, added to what asks, and normalised."""

    def __init__(self, width: int, heads: int) -> None:
        """Of vectors of `width` numbers."""
        super().__init__()
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, query: Tensor, memory: Tensor, position: Tensor, hidden: Tensor) -> Tensor:
        """Tokens (B, T, width) from queries and memory of that shape; `hidden` (T, T) is not looked at."""
        found, _ = self.attend(
            query + position, memory + position, memory, attn_mask=hidden, need_weights=False
        )
        normalised: Tensor = self.norm(query + found)
        return normalised


class FeedForward(nn.Module):
    """Two layers for each token, added to it, and normalised."""

    def __init__(self, width: int) -> None:
        """Of tokens of `width` numbers."""
        super().__init__()
        wide = FEED_FORWARD * width
        self.body = nn.Sequential(nn.Linear(width, wide), nn.ReLU(), nn.Linear(wide, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, width)."""
        normalised: Tensor = self.norm(tokens + self.body(tokens))
        return normalised


class Transformer(nn.Module):
    """Restores feature maps (B, C, r, a): an encoder, and a decoder with learned queries in every layer."""

    def __init__(
        self, channels: int, places: tuple[int, int], window: int, width: int, layers: int, heads: int
    ) -> None:
        """For maps of `places` rows and columns; as many layers in the encoder as in the decoder."""
        super().__init__()
        self.places = places
        count = places[0] * places[1]
        self.register_buffer("hidden", neighbours(*places, window), persistent=False)
        # Of healthy features, see `standardise`: layers that begin at the scale of 1 reach them soon.
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, channels, 1, 1))
        self.project, self.restore = nn.Linear(channels, width), nn.Linear(width, channels)
        self.position = nn.Parameter(0.02 * torch.randn(count, width))
        self.queries = nn.Parameter(torch.randn(layers, count, width))
        self.encode, self.fuse, self.integrate = (
            nn.ModuleList(Attention(width, heads) for _ in range(layers)) for _ in range(3)
        )
        self.encoded, self.decoded = (
            nn.ModuleList(FeedForward(width) for _ in range(layers)) for _ in range(2)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Restored features."""
        tokens = self.project(((features - self.mean) / self.deviation).flatten(2).mT)
        for attend, feed in zip(self.encode, self.encoded, strict=True):
            tokens = feed(attend(tokens, tokens, self.position, self.hidden))
        answer = None  # of the decoder's layer before
        layers = zip(self.queries, self.fuse, self.integrate, self.decoded, strict=True)
        for query, fuse, integrate, feed in layers:
            fused = fuse(query.expand_as(tokens), tokens, self.position, self.hidden)
            memory = fused if answer is None else answer
            answer = feed(integrate(fused, memory, self.position, self.hidden))
        restored: Tensor = self.restore(answer).mT.unflatten(2, self.places).float()
        return restored * self.deviation + self.mean

    def standardise(self, features: Tensor) -> None:
        """Take mean and deviation of each channel from those of features (B, C, r, a)."""
        deviation, mean = torch.std_mean(features, (0, 2, 3), keepdim=True)
        self.mean, self.deviation = mean, deviation + 1e-6
