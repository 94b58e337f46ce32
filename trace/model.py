"""A small MLA language model and its lightning indexer, in the geometry that the kernels see.

Shapes in comments: B sequences, N tokens, H main heads, HI index heads, DI index dim.
The geometry follows DeepSeek-V3.2 where a kernel can tell the difference: a cached row is 512 normalised latent channels
and 64 RoPE channels, the absorbed query is as wide, and the indexer has LayerNorm with bias on its single key head, RoPE on
the first 64 of 128 channels, ReLU, and a gate per head and query.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    layers: int = 6
    width: int = 512
    hidden: int = 1408
    heads: int = 16
    query_latent: int = 384
    latent: int = 512
    nope: int = 64
    rope: int = 64
    value: int = 128  # = nope + rope, so that one attention kernel serves q, k and v of equal width
    index_heads: int = 16
    index_dim: int = 128
    theta: float = 10000.0
    eps: float = 1e-6

    @property
    def sm_scale(self) -> float:
        """From the head width before absorption, not from the 576 channels after it."""
        return (self.nope + self.rope) ** -0.5


def rope_angles(shape: Shape, count: int, device: torch.device) -> Tensor:
    """[count, rope/2]; position of a token = its index in the sequence, from 0."""
    frequencies = shape.theta ** (-torch.arange(0, shape.rope, 2, device=device, dtype=torch.float32) / shape.rope)
    return torch.arange(count, device=device, dtype=torch.float32)[:, None] * frequencies


def rotate_interleaved(x: Tensor, angles: Tensor) -> Tensor:
    """RoPE on pairs (2i, 2i+1): the main attention. x [..., rope], angles broadcast to [..., rope/2]."""
    a, b, cos, sin = x[..., 0::2].float(), x[..., 1::2].float(), angles.cos(), angles.sin()
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2).to(x.dtype)


def rotate_half_split(x: Tensor, angles: Tensor) -> Tensor:
    """RoPE on pairs (i, i + rope/2): the indexer."""
    (a, b), cos, sin = x.float().chunk(2, dim=-1), angles.cos(), angles.sin()
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(x.dtype)


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps) * self.weight).to(x.dtype)


class Projections(NamedTuple):
    """What attention computes from its normalised input before it mixes tokens."""

    query_latent: Tensor  # [B, N, query_latent], the indexer reads it too
    q_nope: Tensor  # [B, N, H, nope]
    q_rope: Tensor  # [B, N, H, rope], rotated
    latent: Tensor  # [B, N, latent], normalised
    k_rope: Tensor  # [B, N, rope], rotated, shared by the heads


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        s = self.shape = shape
        self.q_a = nn.Linear(s.width, s.query_latent, bias=False)
        self.q_norm = RMSNorm(s.query_latent, s.eps)
        self.q_b = nn.Linear(s.query_latent, s.heads * (s.nope + s.rope), bias=False)
        self.kv_a = nn.Linear(s.width, s.latent + s.rope, bias=False)
        self.kv_norm = RMSNorm(s.latent, s.eps)
        self.kv_b = nn.Linear(s.latent, s.heads * (s.nope + s.value), bias=False)
        self.out = nn.Linear(s.heads * s.value, s.width, bias=False)

    def project(self, x: Tensor, angles: Tensor) -> Projections:
        s, (batch, count, _) = self.shape, x.shape
        query_latent = self.q_norm(self.q_a(x))
        q_nope, q_rope = self.q_b(query_latent).view(batch, count, s.heads, -1).split((s.nope, s.rope), dim=-1)
        latent, k_rope = self.kv_a(x).split((s.latent, s.rope), dim=-1)
        q_rope, k_rope = rotate_interleaved(q_rope, angles[:, None]), rotate_interleaved(k_rope, angles)
        return Projections(query_latent, q_nope, q_rope, self.kv_norm(latent), k_rope)

    def expand(self, p: Projections) -> tuple[Tensor, Tensor, Tensor]:
        """MHA form: q, k, v of [B, H, N, 128]."""
        s, (batch, count, _) = self.shape, p.latent.shape
        k_nope, v = self.kv_b(p.latent).view(batch, count, s.heads, -1).split((s.nope, s.value), dim=-1)
        q = torch.cat((p.q_nope, p.q_rope), dim=-1)
        k = torch.cat((k_nope, p.k_rope[:, :, None].expand(-1, -1, s.heads, -1)), dim=-1)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def absorb(self, p: Projections) -> tuple[Tensor, Tensor]:
        """MQA form: queries [B, N, H, latent + rope] and cached rows [B, N, latent + rope]."""
        s = self.shape
        key_weight = self.kv_b.weight.view(s.heads, s.nope + s.value, s.latent)[:, : s.nope]
        q_latent = torch.einsum("bnhd,hdc->bnhc", p.q_nope.float(), key_weight.float())
        return torch.cat((q_latent, p.q_rope.float()), dim=-1), torch.cat((p.latent, p.k_rope), dim=-1)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(*self.expand(self.project(x, angles)), is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.attention_norm = RMSNorm(shape.width, shape.eps)
        self.attention = Attention(shape)
        self.mlp_norm = RMSNorm(shape.width, shape.eps)
        self.up = nn.Linear(shape.width, 2 * shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), angles)
        gate, value = self.up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * value)


class LanguageModel(nn.Module):
    """Bytes in, logits of the next byte out."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(256, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.width, shape.eps)
        self.head = nn.Linear(shape.width, 256, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * shape.layers) ** 0.5 if residual else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x, angles = self.embedding(tokens), rope_angles(self.shape, tokens.shape[1], tokens.device)
        for block in self.blocks:
            x = block(x, angles)
        return self.head(self.norm(x))

    def attention_inputs(self, tokens: Tensor) -> list[Tensor]:
        """The normalised input [B, N, width] of every layer's attention."""
        x, angles, inputs = self.embedding(tokens), rope_angles(self.shape, tokens.shape[1], tokens.device), []
        for block in self.blocks:
            inputs.append(block.attention_norm(x))
            x = block(x, angles)
        return inputs


class Indexer(nn.Module):
    """q, k after RoPE, and gates with every constant factor in: I(t, s) = sum over h of w[t, h] * relu(q[t, h] . k[s])."""

    def __init__(self, shape: Shape):
        super().__init__()
        s = self.shape = shape
        self.q = nn.Linear(s.query_latent, s.index_heads * s.index_dim, bias=False)
        self.k = nn.Linear(s.width, s.index_dim, bias=False)
        self.k_norm = nn.LayerNorm(s.index_dim, eps=1e-6)
        self.gate = nn.Linear(s.width, s.index_heads, bias=False)

    def forward(self, x: Tensor, query_latent: Tensor, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, N, width], query_latent [B, N, query_latent] -> q [B, N, HI, DI], k [B, N, DI], w [B, N, HI], all f32."""
        s, x = self.shape, x.float()
        q = self.q(query_latent.float()).unflatten(-1, (s.index_heads, s.index_dim))
        k = self.k_norm(self.k(x))
        q = torch.cat((rotate_half_split(q[..., : s.rope], angles[:, None]), q[..., s.rope :]), dim=-1)
        k = torch.cat((rotate_half_split(k[..., : s.rope], angles), k[..., s.rope :]), dim=-1)
        return q, k, self.gate(x) * (s.index_heads * s.index_dim) ** -0.5


def index_scores(q: Tensor, k: Tensor, w: Tensor) -> Tensor:
    """q [B, T, HI, DI], k [B, N, DI], w [B, T, HI] -> I [B, T, N]."""
    hits = torch.einsum("bthd,bsd->bths", q, k).relu()
    return torch.einsum("bth,bths->bts", w, hits)

