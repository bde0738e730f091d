"""What the heights of queries and keys above a manifold add to scores: minus their squared differences."""

import abc

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds.linalg.broadcasting import broadcast_shapes
from ..distance_attention.scores import Features, Score, ScoreParts

__all__ = ["HeightScore", "add_heights", "height_features", "height_products"]


def add_heights(logits: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """Return ``(..., N, M)`` logits less ``‖a_i − a_j‖²`` of heights ``(..., N, K)`` and ``(..., M, K)``.

    Example:
        >>> add_heights(torch.zeros(1, 2), torch.zeros(1, 1), torch.tensor([[1.0], [3.0]]))
        tensor([[-1., -9.]])
    """
    for first, second in zip(q.unbind(-1), k.unbind(-1), strict=True):
        logits = logits - (first[..., :, None] - second[..., None, :]).square()
    return logits


def height_features(features: Features, q: Tensor, k: Tensor) -> Features:
    """Return vectors with K + 1 entries more, ``[2a_i, 1]`` and ``[a_j, −‖a_j‖²]``, about the mean a_j.

    Their products are less by ``‖a_i − a_j‖²``, up to terms of the query alone.

    Example:
        >>> x, a = torch.eye(2), torch.tensor([[1.0], [3.0]])
        >>> q, k = height_features((x, x), a, a)
        >>> q @ k.T
        tensor([[ 2., -3.],
                [-3.,  2.]])
    """
    q, k = _centred(q, k)
    return (
        _cat(features[0], 2 * q, torch.ones_like(q[..., :1])),
        _cat(features[1], k, -k.square().sum(-1, keepdim=True)),
    )


def height_products(q: Tensor, k: Tensor) -> Features:
    """Return vectors of K + 2 entries whose products are ``−‖a_i − a_j‖²``.

    Example:
        >>> q, k = height_products(torch.zeros(1, 1), torch.tensor([[1.0], [3.0]]))
        >>> q @ k.T
        tensor([[-1., -9.]])
    """
    q, k = _centred(q, k)
    first, second = (-x.square().sum(-1, keepdim=True) for x in (q, k))
    return (
        torch.cat([2 * q, torch.ones_like(first), first], -1),
        torch.cat([k, second, torch.ones_like(second)], -1),
    )


def _centred(q: Tensor, k: Tensor) -> Features:
    with torch.no_grad():
        centre = k.sum(-2, keepdim=True) / max(1, k.shape[-2])
    return q - centre, k - centre


def _cat(*parts: Tensor) -> Tensor:
    batch = broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], -1)


class HeightScore(Score):
    """A score on a manifold less the squared differences of heights above it; a subclass defines these.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> from geowarp.nn import SquaredDistance
        >>> class Cubes(HeightScore):
        ...     score = SquaredDistance()
        ...     def heights(self, manifold, q, k):
        ...         return q**3, k**3
        >>> Cubes().logits(Euclidean(1), torch.zeros(1, 1), torch.ones(1, 1))
        tensor([[-2.]])
    """

    score: Score

    @abc.abstractmethod
    def heights(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Features | None:
        """Return ``(..., N, K)`` of queries and ``(..., M, K)`` of keys; None where all of them are 0."""

    def base(self, manifold: geoopt.Manifold) -> geoopt.Manifold:
        """Return the manifold that the heights are above."""
        return manifold

    def logits(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
        """Return the logits of the score less the squared differences."""
        manifold = self.base(manifold)
        logits, heights = self.score.logits(manifold, q, k), self.heights(manifold, q, k)
        return logits if heights is None else add_heights(logits, *heights)

    def features(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Features | None:
        """Return the vectors of the score with K + 1 entries more, if it has any."""
        manifold = self.base(manifold)
        features = self.score.features(manifold, q, k)
        heights = None if features is None else self.heights(manifold, q, k)
        return features if features is None or heights is None else height_features(features, *heights)

    def parts(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> ScoreParts | None:
        """Return the score, and the vectors of heights, which blocks of pairs then do not compute again."""
        manifold = self.base(manifold)
        heights = self.heights(manifold, q, k)
        if heights is None:
            return self.score.parts(manifold, q, k) or ScoreParts(manifold, self.score)
        return ScoreParts(manifold, self.score, height_products(*heights), True)
