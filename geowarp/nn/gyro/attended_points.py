"""What attention is computed on: the points themselves, or the coordinates of a flat metric."""

import abc
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...manifolds import Euclidean, GyrovectorSpace
from ...manifolds.spd.flat import FlatSPD
from ..distance_attention.aggregation import Aggregation, Centroid, FrechetMean, TangentMean
from ..distance_attention.scores import ChordalSquaredDistance, DistanceScore, Score, Uniform
from .bias import GyroBias
from .homomorphism import GyroHomomorphism
from .homomorphism_family import CoordinateMaps

__all__ = ["AttendedPoints", "Coordinates", "Points", "attended_points"]

_OF_DISTANCES = (DistanceScore, ChordalSquaredDistance, Uniform)
_AVERAGES = (FrechetMean, Centroid, TangentMean)


class AttendedPoints(abc.ABC):
    """A representation of points in which homomorphisms, distances and means are computed.

    Example:
        >>> from geowarp.manifolds import Lorentz
        >>> isinstance(Points(Lorentz()), AttendedPoints)
        True
    """

    @property
    @abc.abstractmethod
    def space(self) -> GyrovectorSpace:
        """The manifold with the same distances and means."""

    @abc.abstractmethod
    def enter(self, x: Tensor) -> Tensor:
        """Return the representation of points."""

    @abc.abstractmethod
    def image(self, hom: GyroHomomorphism, x: Tensor) -> Tensor:
        """Return that of the images under a homomorphism."""

    @abc.abstractmethod
    def leave(self, translation: GyroBias, x: Tensor) -> Tensor:
        """Return ``B ⊕ x`` as points."""


@dataclass(frozen=True)
class Points(AttendedPoints):
    """The points themselves.

    Example:
        >>> from geowarp.manifolds import Lorentz
        >>> Points(Lorentz()).enter(torch.eye(2)[0])
        tensor([1., 0.])
    """

    manifold: GyrovectorSpace

    @property
    def space(self) -> GyrovectorSpace:
        """The manifold."""
        return self.manifold

    def enter(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def image(self, hom: GyroHomomorphism, x: Tensor) -> Tensor:
        """Return the images."""
        image: Tensor = hom(x)
        return image

    def leave(self, translation: GyroBias, x: Tensor) -> Tensor:
        """Return ``B ⊕ x``."""
        moved: Tensor = translation(x)
        return moved


@dataclass(frozen=True)
class Coordinates(AttendedPoints):
    """The coordinates of a flat metric: one decomposition of each point that comes, and one that leaves.

    Example:
        >>> from geowarp.manifolds import LogEuclideanSPD
        >>> Coordinates(LogEuclideanSPD()).enter(torch.eye(1))
        tensor([[0.]])
    """

    metric: FlatSPD[Any]

    @property
    def space(self) -> GyrovectorSpace:
        """Matrices with the Euclidean metric."""
        return Euclidean(2)

    def enter(self, x: Tensor) -> Tensor:
        """Return ``φ(x)``."""
        coordinates: Tensor = self.metric.coordinates(x)
        return coordinates

    def image(self, hom: GyroHomomorphism, x: Tensor) -> Tensor:
        """Return the coordinates of the images."""
        return hom.of_coordinates(x)

    def leave(self, translation: GyroBias, x: Tensor) -> Tensor:
        """Return ``φ⁻¹(φ(B) + c)``."""
        moved: Tensor = self.metric.from_coordinates(self.metric.coordinates(translation.point) + x)
        return moved


def attended_points(hom: GyroHomomorphism, score: Score, aggregation: Aggregation) -> AttendedPoints:
    """Return the coordinates where they determine homomorphisms, scores and means, or else the points.

    Example:
        >>> from geowarp.manifolds import AffineInvariantSPD, LogCholeskySPD
        >>> from geowarp.nn import SquaredDistance
        >>> settings = SquaredDistance(), FrechetMean()
        >>> attended_points(GyroHomomorphism(LogCholeskySPD(), (2, 2)), *settings)
        Coordinates(metric=LogCholeskySPD())
        >>> attended_points(GyroHomomorphism(AffineInvariantSPD(), (2, 2)), *settings)
        Points(manifold=AffineInvariantSPD())
    """
    metric, linear = hom.manifold, isinstance(hom.family, CoordinateMaps)
    known = isinstance(score, _OF_DISTANCES) and type(aggregation) in _AVERAGES
    if isinstance(metric, FlatSPD) and linear and known:
        return Coordinates(metric)
    return Points(metric)
