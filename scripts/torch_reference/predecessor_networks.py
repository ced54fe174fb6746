"""The published predecessors as PyTorch modules, under the names of their weights.

Written anew from the papers and from the public definitions whose weights they take:
IQA-Conformer (Conde et al. 2022, arXiv:2204.12819; burchim/IQA-Conformer-BNS) and IQT
(Cheon et al. 2021, arXiv:2104.14730; anse3832/IQT).
"""

import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from torch_reference.predecessor_trunk import Trunk


class Attention(nn.Module):
    """Multi-head attention over the cells of maps: queries from one, keys from one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_layer = nn.Linear(width, width)
        self.key_layer = nn.Linear(width, width)
        self.value_layer = nn.Linear(width, width)
        self.output_layer = nn.Linear(width, width)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        q = split_heads(self.query_layer(query.flatten(1, -2)), self.heads)
        k = split_heads(self.key_layer(keys.flatten(1, -2)), self.heads)
        v = split_heads(self.value_layer(keys.flatten(1, -2)), self.heads)
        return self.output_layer(attend(q, k, v)).reshape(query.shape)


class AttentionPart(nn.Module):
    """A norm on the queries alone, then attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        x = self.norm(x)
        return self.attention(x, x if keys is None else keys)


class FeedForward(nn.Module):
    """Norm, dense, Swish, dense; dropouts keep their places in the numbering."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.SiLU(),
            nn.Dropout(0.1),
            nn.Linear(hidden, width),
            nn.Dropout(0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Convolution(nn.Module):
    """Norm, gated pointwise, depthwise 7x7, batch norm, Swish, pointwise."""

    def __init__(self, width: int, kernel: int = 7) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GLU(dim=1),
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 1),
            nn.Dropout(0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        norm, *rest = self.layers
        y = norm(x).movedim(-1, 1)
        for layer in rest:
            y = layer(y)
        return y.movedim(1, -1)


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, cross-attention if `cross`, convolution, half
    feed-forward, norm."""

    def __init__(self, width: int, heads: int, expansion: int, cross: bool) -> None:
        super().__init__()
        self.ff_module1 = FeedForward(width, expansion * width)
        self.self_att_module = AttentionPart(width, heads)
        if cross:
            self.cross_attention_module = AttentionPart(width, heads)
        self.conv_module = Convolution(width)
        self.ff_module2 = FeedForward(width, expansion * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, encoded: Tensor | None = None) -> Tensor:
        x = x + 0.5 * self.ff_module1(x)
        x = x + self.self_att_module(x)
        if encoded is not None:
            x = x + self.cross_attention_module(x, encoded)
        x = x + self.conv_module(x)
        x = x + 0.5 * self.ff_module2(x)
        return self.norm(x)


class Blocks(nn.Module):
    """Conformer blocks in a row."""

    def __init__(
        self, width: int, heads: int, expansion: int, layers: int, cross: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ConformerBlock(width, heads, expansion, cross) for _ in range(layers)
        )

    def forward(self, x: Tensor, encoded: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, encoded)
        return x


class IqaConformer(nn.Module):
    """IQA-Conformer; its backbone is cut out of the flat list of a trunk's modules.

    Args:
      width: D.
      grid: cells a side of the backbone's map.
      heads, expansion, layers: of encoder and decoder.
    """

    def __init__(
        self,
        width: int = 128,
        grid: int = 21,
        heads: int = 4,
        expansion: int = 4,
        layers: int = 1,
    ) -> None:
        super().__init__()
        flat = list(Trunk().modules())
        stem = (1, 5, 9, 13, 14, 18, 22, 23)
        self.mixed5b = nn.Sequential(*(flat[i] for i in stem))
        for pair in range(5):
            first = 57 + 58 * pair
            blocks = nn.Sequential(flat[first], flat[first + 29])
            self.add_module(f"block35_{2 * pair + 2}", blocks)
        self.conv_proj = nn.Conv2d(1920, width, 1)
        self.emb_p = nn.Embedding(grid * grid, width)
        self.encoder = Blocks(width, heads, expansion, layers, cross=False)
        self.decoder = Blocks(width, heads, expansion, layers, cross=True)
        self.head = nn.Sequential(
            nn.Identity(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(self, reference: Tensor, distorted: Tensor) -> dict[str, Tensor]:
        """Pictures [B, 3, H, W] in [-1, 1] to the score z and maps [B, H, W, D]."""
        of_reference, of_distorted = self._taps(reference), self._taps(distorted)
        difference = self.conv_proj(of_reference - of_distorted).movedim(1, -1)
        of_reference = self.conv_proj(of_reference).movedim(1, -1)
        shape = difference.shape[1:3]
        position = self.emb_p(torch.arange(shape[0] * shape[1])).reshape(*shape, -1)
        encoded = self.encoder(difference + position)
        decoded = self.decoder(of_reference + position, encoded)
        return {
            "difference": difference,
            "reference": of_reference,
            "encoded": encoded,
            "decoded": decoded,
            "z": self.head(decoded.mean(dim=(1, 2)))[:, 0],
        }

    def _taps(self, pictures: Tensor) -> Tensor:
        levels = [self.mixed5b(pictures)]
        for pair in range(5):
            levels.append(self.get_submodule(f"block35_{2 * pair + 2}")(levels[-1]))
        return torch.cat(levels, dim=1)


class TokenAttention(nn.Module):
    """Attention whose heads are each as wide as the model."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.W_Q = nn.Linear(width, heads * width)
        self.W_K = nn.Linear(width, heads * width)
        self.W_V = nn.Linear(width, heads * width)
        self.linear = nn.Linear(heads * width, width)

    def forward(self, query: Tensor, keys: Tensor, causal: bool = False) -> Tensor:
        q = split_heads(self.W_Q(query), self.heads)
        k = split_heads(self.W_K(keys), self.heads)
        v = split_heads(self.W_V(keys), self.heads)
        return self.linear(attend(q, k, v, causal))


class TokenFeedForward(nn.Module):
    """Dense, exact GELU, dense; as convolutions of width 1 over tokens."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, hidden, 1)
        self.conv2 = nn.Conv1d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.conv1(x.transpose(1, 2)))
        return self.conv2(hidden).transpose(1, 2)


class TokenBlock(nn.Module):
    """Post-norm block of IQT; a decoder's own attention is causal."""

    def __init__(self, width: int, heads: int, hidden: int, cross: bool) -> None:
        super().__init__()
        self.self_attn = TokenAttention(width, heads)
        if cross:
            self.dec_enc_attn = TokenAttention(width, heads)
        self.pos_ffn = TokenFeedForward(width, hidden)
        for number in range(3 if cross else 2):
            norm = nn.LayerNorm(width, eps=1e-12)
            self.add_module(f"layer_norm{number + 1}", norm)

    def forward(self, x: Tensor, encoded: Tensor | None = None) -> Tensor:
        norms = iter(m for m in self.children() if isinstance(m, nn.LayerNorm))
        x = next(norms)(x + self.self_attn(x, x, causal=encoded is not None))
        if encoded is not None:
            x = next(norms)(x + self.dec_enc_attn(x, encoded))
        return next(norms)(x + self.pos_ffn(x))


class Tokens(nn.Module):
    """Quality token and positions in front of a row of blocks."""

    def __init__(
        self, width: int, grid: int, heads: int, hidden: int, layers: int, cross: bool
    ) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, grid * grid + 1, width))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.ModuleList(
            TokenBlock(width, heads, hidden, cross) for _ in range(layers)
        )

    def forward(self, cells: Tensor, encoded: Tensor | None = None) -> Tensor:
        token = self.cls_token.expand(len(cells), -1, -1)
        x = torch.cat([token, cells], dim=1) + self.pos_embedding
        for layer in self.layers:
            x = layer(x, encoded)
        return x


class Iqt(nn.Module):
    """IQT without its backbone, as it is published: taps to the score.

    Args:
      width: D.
      grid: cells a side of the backbone's map.
      heads, layers: of encoder and decoder.
      hidden: units of the feed-forward parts.
      head: units of the score head.
    """

    def __init__(
        self,
        width: int = 128,
        grid: int = 21,
        heads: int = 4,
        layers: int = 1,
        hidden: int = 1024,
        head: int = 128,
    ) -> None:
        super().__init__()
        self.conv_enc = nn.Conv2d(1920, width, 1)
        self.conv_dec = nn.Conv2d(1920, width, 1)
        sizes = (width, grid, heads, hidden, layers)
        self.transformer = nn.ModuleDict(
            {
                "encoder": Tokens(*sizes, cross=False),
                "decoder": Tokens(*sizes, cross=True),
            }
        )
        self.projection = nn.Sequential(
            nn.Linear(width, head, bias=False),
            nn.ReLU(),
            nn.Linear(head, 1, bias=False),
        )

    def forward(self, reference: Tensor, distorted: Tensor) -> dict[str, Tensor]:
        """Taps [B, 1920, H, W] of both pictures to z and maps [B, H, W, D]."""
        difference = self.conv_enc(reference - distorted)
        of_reference = self.conv_dec(reference)
        encoded = self.transformer["encoder"](cells(difference))
        decoded = self.transformer["decoder"](cells(of_reference), encoded)
        shape = difference.movedim(1, -1).shape
        return {
            "difference": difference.movedim(1, -1),
            "reference": of_reference.movedim(1, -1),
            "encoded": encoded[:, 1:].reshape(shape),
            "decoded": decoded[:, 1:].reshape(shape),
            "z": self.projection(decoded[:, 0])[:, 0],
        }


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, G K] to [B, G, N, K]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """Scaled dot products of [B, G, N, K], joined to [B, N, G K]."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -1e9)
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


def cells(x: Tensor) -> Tensor:
    """[B, D, H, W] to [B, H W, D]."""
    return x.flatten(2).transpose(1, 2)
