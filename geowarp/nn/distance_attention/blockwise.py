"""Attention block after block of pairs, with memory for one block: a softmax that goes along the keys."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...manifolds.linalg.differentiation import once_differentiable
from ...manifolds.linalg.threads import is_concrete
from .added_logits import AddedLogits
from .added_products import AddedProducts
from .hyperbolic_pairs import hyperbolic_pairs
from .pair_logits import PairLogits, ScoredPairs
from .problem import Problem
from .running_average import RunningAverage, UnshiftedAverage
from .tiles import Tile, Tiling

__all__ = ["blockwise_average"]

_LOG2_E = 1 / math.log(2)
_LEAST = 1e-25  # of a sum of weights that has all its digits without a shift


class _Attention(NamedTuple):
    """What both passes need: the pairs, what is added to their logits, and the blocks."""

    pairs: PairLogits
    added: AddedLogits
    tiling: Tiling

    def average(self, tile: Tile, values: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return averages and levels of some queries; ``scale`` is for logits in base 2."""
        if self.pairs.bounded() and self.added.bias is None and is_concrete(values):
            quick = self._sweep(UnshiftedAverage(tile.size, values), tile, values, scale)
            if quick.least() > _LEAST:
                return quick.result()
        return self._sweep(RunningAverage(tile.size, values), tile, values, scale).result()

    def _sweep(self, into: UnshiftedAverage, tile: Tile, values: Tensor, scale: Tensor) -> UnshiftedAverage:
        problems, rows = tile
        each, plain = self.tiling.each[2], self.added.empty()
        logits = self.pairs.scaled(self.pairs.query[tile], scale[problems])
        keys, vectors = (x[problems].split(each, 1) for x in (self.pairs.key, values))
        for columns, key, vector in zip(self.tiling.columns(rows), keys, vectors, strict=False):
            block = logits(key)
            into.add(block if plain else self.added.write_on(block, tile, columns, _LOG2_E), vector)
        return into


class _Saved(NamedTuple):
    values: Tensor
    scale: Tensor
    level: Tensor
    grad: Tensor
    along: Tensor
    """``gradᵀ average`` of each query."""

    def weights(self, logits: Tensor, tile: Tile) -> Tensor:
        """Return the weights of a block, from its logits in base 2, which are written on."""
        return logits.sub_(self.level[tile][..., None]).exp2_()


class _Gradients(NamedTuple):
    query: Tensor
    key: Tensor
    values: Tensor
    scale: Tensor
    bias: Tensor | None
    parameters: tuple[Tensor, ...]


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        attention: _Attention,
        query: Tensor,
        key: Tensor,
        values: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        average = values.new_empty(*query.shape[:2], values.shape[-1])
        level = values.new_empty(query.shape[:2])  # log2 of the sum of the exponentials of the logits

        for tile in attention.tiling.tiles():
            average[tile], level[tile] = attention.average(tile, values, scale * _LOG2_E)
        ctx.attention = attention
        ctx.save_for_backward(query, key, values, scale, bias, average, level, *parameters)
        return average

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, values, scale, bias, average, level, *parameters = ctx.saved_tensors
        attention: _Attention = ctx.attention
        saved = _Saved(values, scale, level, grad, (grad * average).sum(-1, keepdim=True))
        of_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[5] else None
        into = _Gradients(
            torch.zeros_like(query),
            torch.zeros_like(key),
            torch.zeros_like(values),
            torch.zeros_like(scale),
            of_bias,
            tuple(torch.zeros_like(p) for p in parameters),
        )
        for tile in attention.tiling.tiles():
            for columns in attention.tiling.columns(tile.rows):
                _add_gradients(attention, tile, columns, saved, into)
        return None, *into[:5], *into.parameters


def _add_gradients(
    attention: _Attention, tile: Tile, columns: slice, saved: _Saved, into: _Gradients
) -> None:
    """Add what a block of pairs contributes."""
    pairs, added, problems = attention.pairs, attention.added, tile.problems
    block, scale = pairs.block(pairs.query[tile], pairs.key[problems, columns]), saved.scale[problems]
    weights = saved.weights(added.write_on(block.logits * (scale * _LOG2_E), tile, columns, _LOG2_E), tile)
    into.values[problems, columns].baddbmm_(weights.mT, saved.grad[tile])
    slope = torch.bmm(saved.grad[tile], saved.values[problems, columns].mT)
    slope.sub_(saved.along[tile]).mul_(weights)
    if into.bias is not None and added.bias is not None:
        added.bias.add_to(into.bias, tile, columns, slope)
    into.scale[problems].add_((slope * block.logits).sum((-2, -1), keepdim=True))
    of_query, of_key, *of_parameters = block.gradients(slope.mul_(scale))
    for total, part in (
        (into.query[tile], of_query),
        (into.key[problems, columns], of_key),
        *zip(into.parameters, of_parameters, strict=True),
    ):
        if part is not None:
            total.add_(part)


def blockwise_average(problem: Problem, values: Tensor, pairs: int | None = None) -> Tensor:
    """Return the averages ``(..., N, d)`` of vectors ``(..., M, d)`` by the weights of a problem.

    Args:
        problem: the problem.
        values: the vectors.
        pairs: about how many pairs a block has; by default what the pairs say.

    References:
        Dao, Fu, Ermon, Rudra, Ré, FlashAttention: fast and memory-efficient exact attention with
        IO-awareness, NeurIPS (2022); Rabe, Staats, Self-attention does not need O(n²) memory,
        arXiv:2112.05682 (2021).

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import SquaredDistance
        >>> from .problem import attention_problem
        >>> x = torch.eye(2)
        >>> blockwise_average(attention_problem(x, x, Sphere(), 1.0, SquaredDistance()), x, pairs=1)
        tensor([[0.9218, 0.0782],
                [0.0782, 0.9218]])
    """
    batch = problem.batch(values.shape[:-2])
    query, key = (_flat(x, batch, problem.manifold.ndim + 1) for x in (problem.query, problem.key))
    vectors, scale = _flat(values, batch, 2), _flat(problem.scale, batch, 2)
    logits = _pair_logits(problem, query, key, scale, batch)
    added = AddedLogits.of(problem.visibility, batch)
    size = logits.pairs() if pairs is None else pairs
    tiling = Tiling.of(batch.numel(), problem.queries, problem.keys, is_causal=added.is_causal, pairs=size)
    bias = None if added.bias is None else added.bias.tensor
    average: Tensor = _Average.apply(  # type: ignore[no-untyped-call]
        _Attention(logits, added, tiling), logits.query, logits.key, vectors, scale, bias, *logits.parameters
    )
    return average.reshape(*batch, *average.shape[1:])


def _pair_logits(
    problem: Problem, query: Tensor, key: Tensor, scale: Tensor, batch: torch.Size
) -> PairLogits:
    parts = problem.score.parts(problem.manifold, problem.query, problem.key)
    manifold, score = (problem.manifold, problem.score) if parts is None else parts[:2]
    scored = hyperbolic_pairs(manifold, score, query, key, scale, problem.query.dtype)
    logits = ScoredPairs(manifold, score, query, key) if scored is None else scored
    if parts is None or parts.features is None:
        return logits
    first, second = (_flat(vectors, batch, 2) for vectors in parts.features)
    return AddedProducts(logits, first, second, bounded=parts.bounded)


def _flat(x: Tensor, batch: torch.Size, ndim: int) -> Tensor:
    """Return ``(P, ...)`` of ``(..., ·)`` with so many dimensions after those of the batch."""
    rest = x.shape[x.ndim - ndim :]
    return x.expand(*batch, *rest).reshape(batch.numel(), *rest)
