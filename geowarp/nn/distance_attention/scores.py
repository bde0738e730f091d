"""Scores of queries and keys by their distance: what attention weighs by, after division by a temperature."""

import abc
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ..._geoopt import geoopt
from .chords import chordal_features, squared_chords
from .distances import all_distances
from .flat_coordinates import flat_coordinates, flat_features

__all__ = [
    "ChordalSquaredDistance",
    "Distance",
    "DistanceScore",
    "InverseLogDistance",
    "Score",
    "ScoreParts",
    "SquaredDistance",
    "Uniform",
]

Features = tuple[Tensor, Tensor]


class Score(abc.ABC):
    """How well a query and a key fit: the weights are its softmax over the keys, after division by τ.

    A subclass defines ``logits``. Where they are, up to terms of the query alone, inner products of vectors
    of the query and of the key, ``features`` gives these vectors, and attention is one fused kernel. A score
    may be a module with parameters, too, or have tensors that take a gradient as attributes.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> SquaredDistance().logits(Sphere(), torch.eye(2), torch.eye(2)[:1])
        tensor([[-0.0000],
                [-2.4674]])
    """

    @abc.abstractmethod
    def logits(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
        """Return ``(..., N, M)`` of queries ``(..., N, *point)`` and keys ``(..., M, *point)``."""

    def features(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Features | None:
        """Return vectors ``(..., N, e)`` and ``(..., M, e)`` whose products are the logits, if there are any.

        The products may differ from the logits by terms of the query alone, which no weight depends on.
        """
        return None

    def parts(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> "ScoreParts | None":
        """Return another score and the vectors whose products are the rest, if it is such a sum.

        Block after block of pairs, the vectors are then computed once, and not for every block.
        """
        return None

    def rows(self, start: int, stop: int) -> "Score":
        """Return the score of some of the queries: itself, unless it holds something of each query."""
        return self


class ScoreParts(NamedTuple):
    """A sum of a score and of products of vectors, exact also in terms of the query alone.

    Example:
        >>> Uniform().parts(geoopt.Sphere(), torch.eye(2), torch.eye(2)) is None
        True
    """

    manifold: geoopt.Manifold
    """That the score is taken on."""
    score: Score
    features: Features | None = None
    """``(..., N, e)`` and ``(..., M, e)``, if there is a rest."""
    bounded: bool = False
    """Whether no product is positive."""


class DistanceScore(Score):
    """A score that is a function of the geodesic distance; a subclass defines it and its derivative.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> class Student(DistanceScore):
        ...     def of_distance(self, distance):
        ...         return -distance.square().log1p()
        ...     def slope(self, distance):
        ...         return -2 * distance / (1 + distance.square())
        >>> Student().logits(Euclidean(1), torch.zeros(1, 1), torch.ones(2, 1))
        tensor([[-0.6931, -0.6931]])
    """

    @abc.abstractmethod
    def of_distance(self, distance: Tensor) -> Tensor:
        """Return the score of distances."""

    @abc.abstractmethod
    def slope(self, distance: Tensor) -> Tensor:
        """Return the derivative of ``of_distance``."""

    def logits(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
        """Return the score of all distances."""
        return self.of_distance(all_distances(manifold, q, k))


@final
@dataclass(frozen=True)
class SquaredDistance(DistanceScore):
    """``−d(q, k)²``, the squared geodesic distance: weights ``exp(−d²/τ)``, a heat kernel's in flat space.

    On flat spaces, which are ``Euclidean``, the log-Euclidean and the log-Cholesky definite matrices and
    their products, it is the inner product ``2 φ(q)ᵀφ(k) − ‖φ(k)‖²`` of coordinates φ.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> SquaredDistance().logits(Euclidean(1), torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([[-25.]])
    """

    def of_distance(self, distance: Tensor) -> Tensor:
        """Return ``−d²``."""
        return -distance.square()

    def slope(self, distance: Tensor) -> Tensor:
        """Return ``−2d``."""
        return -2 * distance

    def features(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Features | None:
        """Return ``[2φ(q), 1]`` and ``[φ(k), −‖φ(k)‖²]`` on a flat space."""
        first = flat_coordinates(manifold, q)
        if first is None:
            return None
        second = first if k is q else flat_coordinates(manifold, k)
        assert second is not None
        return flat_features(first, second)


@final
@dataclass(frozen=True)
class Distance(DistanceScore):
    """``−d(q, k)``, the geodesic distance.

    References:
        Gulcehre et al., Hyperbolic attention networks, ICLR (2019), equation 2.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> Distance().logits(Euclidean(1), torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([[-5.]])
    """

    def of_distance(self, distance: Tensor) -> Tensor:
        """Return ``−d``."""
        return -distance

    def slope(self, distance: Tensor) -> Tensor:
        """Return −1."""
        return torch.full_like(distance, -1)


@final
@dataclass(frozen=True)
class InverseLogDistance(DistanceScore):
    """``1 / (1 + log(1 + d(q, k)))``, the published score of gyro attention and its kin.

    It lies in (0, 1], so that with τ = 1 no weight is more than e times another one: attention is nearly
    uniform whatever the distances are. ``attention_entropy`` shows by how much.

    References:
        Pan, Chou, Wei, MAtt: a manifold attention network for EEG decoding, NeurIPS (2022), equation 11; Wang
        et al., Towards a general attention framework on gyrovector spaces for matrix manifolds, NeurIPS
        (2025).

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> InverseLogDistance().logits(Euclidean(1), torch.zeros(1, 1), torch.tensor([[0.0], [1e6]]))
        tensor([[1.0000, 0.0675]])
    """

    def of_distance(self, distance: Tensor) -> Tensor:
        """Return ``1 / (1 + log(1 + d))``."""
        return 1 / (1 + distance.log1p())

    def slope(self, distance: Tensor) -> Tensor:
        """Return ``−1 / ((1 + d) (1 + log(1 + d))²)``."""
        return -1 / ((1 + distance) * (1 + distance.log1p()).square())


@final
@dataclass(frozen=True)
class ChordalSquaredDistance(Score):
    """The negative squared length of the chord of the surrounding space: always an inner product.

    - ``Lorentz``, ``PoincareBall``: the squared Lorentzian distance ``−2k − 2⟨x, y⟩``, ``k = 1/c``, which is
      ``4k sinh²(d / 2√k)``.
    - ``Grassmann``: ``½‖qqᵀ − kkᵀ‖² = Σ sin²θ``, the projection metric. Its vectors have n(n+1)/2 entries.
    - ``Sphere``, ``Oblique``, ``Stiefel``, ``SpecialOrthogonal``: ``‖q − k‖²`` (Frobenius).
    - Flat spaces: the squared distance. Products: the sum over their components.

    Raises:
        UnavailableError: on any other manifold.

    References:
        Law, Liao, Snell, Zemel, Lorentzian distance learning for hyperbolic representations, ICML (2019);
        Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix Anal.
        Appl. 20 (1998), section 4.3.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> ChordalSquaredDistance().logits(Sphere(), torch.eye(2)[:1], torch.eye(2))
        tensor([[-0.0000, -2.0000]])
    """

    def logits(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
        """Return minus the squared chords, accurate for close points."""
        return -squared_chords(manifold, q, k)

    def features(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Features | None:
        """Return the vectors, except of subspaces in so many dimensions that these would be too long."""
        return chordal_features(manifold, q, k)


@final
@dataclass(frozen=True)
class Uniform(Score):
    """0: a query attends to every key alike. The ablation, and a legal mixer of its own.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> Uniform().logits(Sphere(), torch.eye(2), torch.eye(2))
        tensor([[0., 0.],
                [0., 0.]])
    """

    def logits(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
        """Return zeros."""
        return _zero(manifold, q) @ _zero(manifold, k).mT

    def features(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Features:
        """Return vectors of one 0."""
        return _zero(manifold, q), _zero(manifold, k)


def _zero(manifold: geoopt.Manifold, x: Tensor) -> Tensor:
    return x.new_zeros(*x.shape[: x.ndim - manifold.ndim], 1)
