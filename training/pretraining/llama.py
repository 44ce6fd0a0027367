"""A plain Llama: RMSNorm, rotary positions, SwiGLU, no biases, embedding and head tied.

Names of weights are those of Hugging Face's ``LlamaForCausalLM`` without the leading ``model.``;
queries and keys are rotated in its layout, halves apart.
"""

from __future__ import annotations

from math import sqrt

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name
from torch import Tensor, nn

from training.pretraining.attention import Mask, attend
from training.pretraining.packing import IGNORED
from training.pretraining.recipe import Shape

_STD = 0.02  # of the initial weights, as in GPT-2
_LOGITS = 256  # rows of logits are computed in multiples of it


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        narrow = shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.k_proj = nn.Linear(shape.hidden, narrow, bias=False)
        self.v_proj = nn.Linear(shape.hidden, narrow, bias=False)
        self.o_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Mask) -> Tensor:
        """Mix positions of `x`, shape (rows, context, hidden)."""
        query, key, value = (
            part(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = attend(rotate(query, *rotary), rotate(key, *rotary), value, mask)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Work on each position of `x`, shape (…, hidden)."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention, then feed-forward, each on normed input and added."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Mask) -> Tensor:
        """One layer on `x`, shape (rows, context, hidden)."""
        x = x + self.self_attn(self.input_layernorm(x), rotary, mask)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Llama(nn.Module):
    """The model.

    Args:
        shape: Its size.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)
        cosine, sine = rotary_table(shape)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, ids: Tensor, mask: Mask) -> Tensor:
        """Next-token logits, shape (rows, context, vocabulary), for ids of (rows, context)."""
        return self.head(self.body(ids, mask))

    def body(self, ids: Tensor, mask: Mask) -> Tensor:
        """The normed output of the last layer, shape (rows, context, hidden)."""
        context = ids.size(1)
        rotary = (self.cosine[:context], self.sine[:context])  # type: ignore[index]
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, rotary, mask)
        out: Tensor = self.norm(x)
        return out

    def head(self, x: Tensor) -> Tensor:
        """Logits, shape (…, vocabulary), for what `body` gave."""
        return F.linear(x, self.embed_tokens.weight)

    def loss(self, ids: Tensor, targets: Tensor, mask: Mask) -> Tensor:
        """Sum of the cross entropies in nats where `targets` is not -100."""
        return self.sum_of_losses(self.body(ids, mask), targets)

    def loss_everywhere(self, ids: Tensor, targets: Tensor, mask: Mask) -> Tensor:
        """The same as `loss`, with logits at every position.

        Nothing depends on how many tokens are learned: it compiles to one program whose steps never
        wait for the device to tell a number.
        """
        logits = self.forward(ids, mask).float()
        return F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def sum_of_losses(self, x: Tensor, targets: Tensor) -> Tensor:
        """The same for what `body` gave; logits are made only where something is learned.

        The number of them is rounded up: oneDNN compiles and keeps code for every new number.
        """
        flat = targets.flatten()
        learned = (flat != IGNORED).nonzero().squeeze(1)
        places = F.pad(learned, (0, -len(learned) % _LOGITS))
        wanted = flat[places]
        wanted[len(learned) :] = IGNORED
        logits = self.head(x.flatten(0, 1)[places]).float()
        return F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum")


def initialize(model: Llama, seed: int) -> None:
    """Draw the weights: normal, the layers' outputs smaller so that the sum keeps its size."""
    generator = torch.Generator().manual_seed(seed)
    small = _STD / sqrt(2 * model.shape.layers)
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            nn.init.ones_(weight)
        else:
            out = name.endswith(("o_proj.weight", "down_proj.weight"))
            nn.init.normal_(weight, std=small if out else _STD, generator=generator)


def rotary_table(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, each of shape (context, head_dim) (Su et al. 2021)."""
    half = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
    angles = torch.arange(shape.context, dtype=torch.float64)[:, None] / shape.rope_theta**half
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each pair (i, i + half) of `x`, shape (…, context, head_dim), by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (x * cosine + turned * sine).to(x.dtype)
