"""Attention by dot products as a score, and torch's module of it as one of ours."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds import Euclidean
from ..distance_attention.attention_module import ManifoldAttention
from ..distance_attention.scores import Features, Score

__all__ = ["DotProduct", "dot_product_attention"]


@final
@dataclass(frozen=True)
class DotProduct(Score):
    """``qᵀk``, the score of transformers, of vectors of a Euclidean space: with τ = √d, their attention.

    It is no function of a distance. A query and a key are vectors of two kinds, and a key has no score with a
    key.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> DotProduct().logits(Euclidean(1), torch.eye(2), torch.tensor([[3.0, 4.0]]))
        tensor([[3.],
                [4.]])
    """

    def logits(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
        """Return all inner products."""
        return q @ k.mT

    def features(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Features:
        """Return the vectors."""
        return q, k


def dot_product_attention(existing: nn.MultiheadAttention) -> ManifoldAttention:
    """Return the attention of torch's module, with copies of its weights, on features ``(..., N, dim)``.

    Weights that are frozen there are so here. Its temperatures start at √(dim / heads), and learn.

    Raises:
        GeowarpError: for dropout of weights, and added keys, which ours has not.

    Example:
        >>> existing, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(3, 5, 8)
        >>> ours = dot_product_attention(existing)
        >>> torch.allclose(ours(x), existing(x, x, x)[0], atol=1e-6)
        True
    """
    _check(existing)
    dim, heads = existing.embed_dim, existing.num_heads
    weight = existing.out_proj.weight
    made = ManifoldAttention(
        Euclidean(1),
        dim,
        heads,
        score=DotProduct(),
        tau=(dim / heads) ** 0.5,
        bias=existing.in_proj_bias is not None,
        kdim=existing.kdim,
        vdim=existing.vdim,
        device=weight.device,
        dtype=weight.dtype,
    )
    for target, (matrix, bias) in zip(
        (made.query.linear, made.key.linear, made.value, made.output), _projections(existing), strict=True
    ):
        assert isinstance(target, nn.Linear)
        _copy(target.weight, matrix)
        if bias is not None:
            _copy(target.bias, bias)
    return made.train(existing.training)


def _copy(target: Tensor, source: Tensor) -> None:
    with torch.no_grad():
        target.copy_(source)
    target.requires_grad_(source.requires_grad)


def _check(existing: nn.MultiheadAttention) -> None:
    if existing.dropout > 0:
        raise GeowarpError(
            f"FairAttention: the module drops weights with dropout = {existing.dropout}, and ours keeps "
            "all; set dropout = 0.0 on it first"
        )
    if existing.bias_k is not None or existing.add_zero_attn:
        raise GeowarpError("FairAttention: add_bias_kv and add_zero_attn add keys, which ours has not")


def _projections(existing: nn.MultiheadAttention) -> list[tuple[Tensor, Tensor | None]]:
    if existing.in_proj_weight is not None:
        matrices = list(existing.in_proj_weight.chunk(3))
    else:
        matrices = [existing.q_proj_weight, existing.k_proj_weight, existing.v_proj_weight]
    bias = existing.in_proj_bias
    biases: list[Tensor | None] = [None] * 3 if bias is None else list(bias.chunk(3))
    return [*zip(matrices, biases, strict=True), (existing.out_proj.weight, existing.out_proj.bias)]
