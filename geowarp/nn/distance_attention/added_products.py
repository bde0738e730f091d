"""The logits of pairs, plus inner products of vectors that queries and keys carry along."""

from collections.abc import Callable

import torch
from torch import Tensor

from .pair_logits import Block, PairLogits

__all__ = ["AddedProducts"]


class AddedProducts(PairLogits):
    """The logits of other pairs, plus ``f_iᵀ g_j``: queries and keys are one vector each, with f and g last.

    Gradients reach f and g, and through them whatever they are functions of.

    Args:
        pairs: the others, of queries ``(P, N, ...)`` and keys ``(P, M, ...)``.
        query: f, ``(P, N, e)``.
        key: g, ``(P, M, e)``.
        bounded: whether no product is positive.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> from geowarp.nn import SquaredDistance
        >>> from .pair_logits import ScoredPairs
        >>> x = torch.tensor([[[0.0], [3.0]]])
        >>> pairs = AddedProducts(ScoredPairs(Euclidean(1), SquaredDistance(), x, x), x, x)
        >>> pairs.block(pairs.query, pairs.key).logits
        tensor([[[ 0., -9.],
                 [-9.,  9.]]])
    """

    def __init__(self, pairs: PairLogits, query: Tensor, key: Tensor, *, bounded: bool = False) -> None:
        self._inner, self._bounded = pairs, bounded
        self._shape, self._size = pairs.query.shape[2:], query.shape[-1]
        self.query, self.key = self._joined(pairs.query, query), self._joined(pairs.key, key)
        self.parameters = pairs.parameters

    def pairs(self) -> int:
        """Return what suits the others."""
        return self._inner.pairs()

    def bounded(self) -> bool:
        """Return whether neither the logits of the others nor the products are positive."""
        return self._bounded and self._inner.bounded()

    def block(self, query: Tensor, key: Tensor) -> Block:
        """Return the block of the others, and the products."""
        return _SumBlock(self, query, key)

    def scaled(self, query: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function of keys that gives the logits times the scale."""
        points, vectors = self.apart(query)
        logits, factors = self._inner.scaled(points, scale), vectors.to(scale.dtype) * scale

        def total(key: Tensor) -> Tensor:
            points, vectors = self.apart(key)
            return logits(points).baddbmm_(factors, vectors.to(factors.dtype).mT)

        return total

    def apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the others take, and the vectors."""
        size = x.shape[-1] - self._size
        points, vectors = x[..., :size], x[..., size:]
        return (points if len(self._shape) == 1 else points.reshape(*x.shape[:2], *self._shape)), vectors

    def part(self, query: Tensor, key: Tensor) -> Block:
        """Return the block of the others."""
        return self._inner.block(query, key)

    @staticmethod
    def _joined(points: Tensor, vectors: Tensor) -> Tensor:
        return torch.cat([points.reshape(*vectors.shape[:2], -1), vectors.to(points.dtype)], -1)


class _SumBlock(Block):
    def __init__(self, pairs: AddedProducts, query: Tensor, key: Tensor) -> None:
        (points, self.query), (others, self.key) = pairs.apart(query), pairs.apart(key)
        self.inner, self.size = pairs.part(points, others), query.shape[-1] - self.query.shape[-1]
        logits = self.inner.logits
        self.logits = torch.baddbmm(logits, self.query.to(logits.dtype), self.key.to(logits.dtype).mT)

    def gradients(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_query, of_key, *of_parameters = self.inner.gradients(grad)
        slope = grad.to(self.query.dtype)
        first, second = slope @ self.key, slope.mT @ self.query
        return (_with(of_query, first, self.size), _with(of_key, second, self.size), *of_parameters)


def _with(points: Tensor | None, vectors: Tensor, size: int) -> Tensor:
    """Return the gradient of points, which is 0 where there is none, with that of vectors."""
    if points is None:
        return torch.nn.functional.pad(vectors, (size, 0))
    return torch.cat([points.flatten(2).to(vectors.dtype), vectors], -1)
