"""What the heights of queries and keys above a manifold add to scores: minus their squared differences."""

import abc
from typing import NamedTuple

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds.linalg.broadcasting import broadcast_shapes
from ..distance_attention.scores import Features, Score, ScoreParts

__all__ = ["HeightScore", "Heights", "add_heights", "height_features", "height_products"]


class Heights(NamedTuple):
    """The heights b of queries and keys, and the weights α of ``Σ_m α_m (b_im − b_jm)²``.

    Example:
        >>> Heights(torch.zeros(5, 2), torch.zeros(7, 2), torch.ones(2)).query.shape
        torch.Size([5, 2])
    """

    query: Tensor
    """``(..., N, K)``."""
    key: Tensor
    """``(..., M, K)``."""
    alpha: Tensor | float = 1.0
    """One, or ``(K,)``. It may be 0, where roots of it would have no derivative."""


def add_heights(logits: Tensor, heights: Heights) -> Tensor:
    """Return ``(..., N, M)`` logits less the weighted squared differences of heights.

    Example:
        >>> add_heights(torch.zeros(1, 2), Heights(torch.zeros(1, 1), torch.tensor([[1.0], [3.0]])))
        tensor([[-1., -9.]])
    """
    q, k, alpha = heights
    weights = alpha.expand(q.shape[-1]) if isinstance(alpha, Tensor) else [alpha] * q.shape[-1]
    for first, second, weight in zip(q.unbind(-1), k.unbind(-1), weights, strict=True):
        gap = first[..., :, None] - second[..., None, :]
        logits = logits - weight * gap * gap
    return logits


def height_features(features: Features, heights: Heights) -> Features:
    """Return vectors with K + 1 entries more, ``[2αb_i, 1]`` and ``[b_j, −Σ αb_j²]``, about the mean b_j.

    Their products are less by ``Σ α(b_i − b_j)²``, up to terms of the query alone.

    Example:
        >>> x, b = torch.eye(2), torch.tensor([[1.0], [3.0]])
        >>> q, k = height_features((x, x), Heights(b, b))
        >>> q @ k.T
        tensor([[ 2., -3.],
                [-3.,  2.]])
    """
    q, k, alpha = _centred(heights)
    return (
        _cat(features[0], 2 * alpha * q, torch.ones_like(q[..., :1])),
        _cat(features[1], k, _fall(k, alpha)),
    )


def height_products(heights: Heights) -> Features:
    """Return vectors of K + 2 entries whose products are ``−Σ α(b_i − b_j)²``.

    Example:
        >>> q, k = height_products(Heights(torch.zeros(1, 1), torch.tensor([[1.0], [3.0]])))
        >>> q @ k.T
        tensor([[-1., -9.]])
    """
    q, k, alpha = _centred(heights)
    first, second = _fall(q, alpha), _fall(k, alpha)
    return (
        torch.cat([2 * alpha * q, torch.ones_like(first), first], -1),
        torch.cat([k, second, torch.ones_like(second)], -1),
    )


def _fall(b: Tensor, alpha: Tensor | float) -> Tensor:
    return -(alpha * b * b).sum(-1, keepdim=True)  # in this order: b² may be too large where αb² is not


def _centred(heights: Heights) -> Heights:
    q, k, alpha = heights
    with torch.no_grad():
        centre = k.sum(-2, keepdim=True) / max(1, k.shape[-2])
    return Heights(q - centre, k - centre, alpha)


def _cat(*parts: Tensor) -> Tensor:
    batch = broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], -1)


class HeightScore(Score):
    """A score on a manifold less weighted squares of differences of heights, which a subclass defines.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> from geowarp.nn import SquaredDistance
        >>> class Cubes(HeightScore):
        ...     score = SquaredDistance()
        ...     def heights(self, manifold, q, k):
        ...         return Heights(q**3, k**3)
        >>> Cubes().logits(Euclidean(1), torch.zeros(1, 1), torch.ones(1, 1))
        tensor([[-2.]])
    """

    score: Score

    @abc.abstractmethod
    def heights(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Heights | None:
        """Return the heights and their weights; None where all weights are 0."""

    def base(self, manifold: geoopt.Manifold) -> geoopt.Manifold:
        """Return the manifold that the heights are above."""
        return manifold

    def logits(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
        """Return the logits of the score less the squared differences."""
        manifold = self.base(manifold)
        logits, heights = self.score.logits(manifold, q, k), self.heights(manifold, q, k)
        return logits if heights is None else add_heights(logits, heights)

    def features(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Features | None:
        """Return the vectors of the score with K + 1 entries more, if it has any."""
        manifold = self.base(manifold)
        features = self.score.features(manifold, q, k)
        heights = None if features is None else self.heights(manifold, q, k)
        return features if features is None or heights is None else height_features(features, heights)

    def parts(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> ScoreParts | None:
        """Return the score, and the vectors of heights, which blocks of pairs then do not compute again."""
        manifold = self.base(manifold)
        heights = self.heights(manifold, q, k)
        if heights is None:
            return self.score.parts(manifold, q, k) or ScoreParts(manifold, self.score)
        return ScoreParts(manifold, self.score, height_products(heights), True)
