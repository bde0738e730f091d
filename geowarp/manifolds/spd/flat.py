"""Metrics of positive definite matrices that a global chart pulls back from a Euclidean space."""

import abc
import math
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from ..gyrovector import GyrovectorSpace
from ..karcher import KarcherMean
from ..linalg import full_precision, safe_sqrt
from ..linalg.broadcasting import broadcast_shapes
from ..linalg.dimensions import append_dimensions
from ..linalg.euclidean_distance import pairwise_euclidean_distance
from ..weights import normalized_weights
from .close_pairs import close_pairs, replace_pairs
from .points import SymmetricPositiveDefinite

__all__ = ["Chart", "FlatSPD"]


_CLOSE = 1e-3  # distance relative to 2 + ‖φ(x)‖ + ‖φ(y)‖ below which differences of coordinates lose digits


class Chart(Protocol):
    """A diffeomorphism of the positive definite matrices to a linear space, at some points.

    Example:
        >>> from geowarp.manifolds.spd.cholesky_coordinates import CholeskyChart
        >>> chart: Chart = CholeskyChart.of_point(torch.eye(2))
        >>> chart.coordinates()
        tensor([[0., 0.],
                [0., 0.]])
    """

    def __iter__(self) -> Iterator[Tensor]:
        """Iterate over what it was made of, to make another of a part of each: it is a named tuple."""
        ...

    def point(self) -> Tensor:
        """Return the points ``(..., n, n)``."""
        ...

    def coordinates(self) -> Tensor:
        """Return their coordinates ``(..., n, n)``, all symmetric or all triangular."""
        ...

    def push(self, v: Tensor) -> Tensor:
        """Return the differential of the coordinates along a symmetric ``v``."""
        ...

    def pull(self, coordinates: Tensor) -> Tensor:
        """Return the symmetric ``v`` that ``push`` takes there."""
        ...

    def pull_second(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the symmetric second derivative of the point along two coordinates."""
        ...

    def pull_adjoint(self, g: Tensor) -> Tensor:
        """Return C with ``⟨C, B⟩ = ⟨g, pull(B)⟩`` for all coordinates B (sums over entries)."""
        ...


AnyChart = TypeVar("AnyChart", bound=Chart)


class FlatSPD(GyrovectorSpace, SymmetricPositiveDefinite, Generic[AnyChart]):
    """Positive definite matrices with the metric ``⟨u, v⟩_x = ⟨Dφ_x u, Dφ_x v⟩`` of a chart φ.

    The chart is an isometry to a Euclidean space. Geodesics are lines of coordinates, transport along any
    curve is the same and is an isometry, distances are Euclidean, and the mean has a closed form. The
    retraction is the exponential map, which is defined everywhere. With the operations of the coordinates the
    matrices are a vector space, whose zero ``φ(I) = 0`` is the identity matrix.

    A subclass defines ``_at``, ``_from``, ``_difference`` and ``_features``.
    """

    @abc.abstractmethod
    def _at(self, x: Tensor) -> AnyChart:
        """Return the chart at points."""

    @abc.abstractmethod
    def _from(self, coordinates: Tensor) -> AnyChart:
        """Return the chart at the points with given coordinates."""

    @abc.abstractmethod
    def _difference(self, end: AnyChart, start: AnyChart) -> Tensor:
        """Return the coordinates of the end less those of the start, accurately for close points."""

    @abc.abstractmethod
    def _features(self, chart: AnyChart) -> Tensor:
        """Return the coordinates as vectors ``(..., n(n+1)/2)`` with the same norms."""

    @full_precision
    def coordinates(self, x: Tensor) -> Tensor:
        """Return ``φ(x)``, symmetric or lower triangular ``(..., n, n)``; those of a mean are their average.

        Example:
            >>> from geowarp.manifolds import LogCholeskySPD
            >>> LogCholeskySPD().coordinates(4 * torch.eye(1))
            tensor([[0.6931]])
        """
        return self._at(x).coordinates()

    @full_precision
    def from_coordinates(self, coordinates: Tensor) -> Tensor:
        """Return ``φ⁻¹`` of coordinates ``(..., n, n)``, of which only the lower triangle is read.

        Example:
            >>> from geowarp.manifolds import LogCholeskySPD
            >>> LogCholeskySPD().from_coordinates(torch.zeros(1, 1))
            tensor([[1.]])
        """
        return self._from(coordinates).point()

    @full_precision
    def coordinate_vectors(self, x: Tensor) -> Tensor:
        """Return the coordinates as vectors ``(..., n(n+1)/2)``, whose Euclidean distances are the distances.

        Example:
            >>> from geowarp.manifolds import LogEuclideanSPD
            >>> LogEuclideanSPD().coordinate_vectors(torch.e * torch.eye(2))
            tensor([1., 0., 1.])
        """
        return self._features(self._at(x))

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``⟨Dφ_x u, Dφ_x v⟩``, the sum over entries."""
        chart = self._at(x)
        first = chart.push(u)
        return (first * (first if v is None else chart.push(v))).sum((-2, -1), keepdim=keepdim)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``Dφ_x⁻¹ Dφ_x⁻* u`` for the Euclidean gradient u."""
        chart = self._at(x)
        return chart.pull(chart.pull_adjoint(u))

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``φ⁻¹(φ(x) + Dφ_x u)``."""
        chart = self._at(x)
        return self._from(chart.coordinates() + chart.push(u)).point()

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the exponential map."""
        return self.expmap(x, u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``Dφ_x⁻¹ (φ(y) − φ(x))``."""
        chart = self._at(x)
        return chart.pull(self._difference(self._at(y), chart))

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the parallel transport ``Dφ_y⁻¹ Dφ_x v``."""
        return self._at(y).pull(self._at(x).push(v))

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic and the parallel transport of ``v`` there."""
        chart = self._at(x)
        end = self._from(chart.coordinates() + chart.push(u))
        return end.point(), end.pull(chart.push(v))

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same as ``expmap_transp``."""
        return self.expmap_transp(x, u, v)

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``−D²φ⁻¹[Dφ_x u, Dφ_x v]``."""
        chart = self._at(x)
        return -chart.pull_second(chart.push(u), chart.push(v))

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return 0: the space is flat."""
        return torch.zeros_like(x + u + v + w)

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``‖φ(x) − φ(y)‖²``."""
        difference = self._difference(self._at(x), self._at(y))
        return difference.square().sum((-2, -1), keepdim=keepdim)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``‖φ(x) − φ(y)‖``; its gradient at equal points is 0."""
        return safe_sqrt(self.dist2(x, y, keepdim=keepdim))

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, n, n)`` and ``(..., M, n, n)``.

        One product of the coordinates; differences of them for closer pairs, and for the closest what
        ``dist`` gives.
        """
        first = self._at(x)
        second = first if y is x else self._at(y)
        a = self._features(first)
        b = a if second is first else self._features(second)
        distance = pairwise_euclidean_distance(a, b)
        if torch.compiler.is_compiling():  # the number of close pairs is no shape that a graph can have
            return distance
        of_a = 1 + torch.linalg.vector_norm(a.detach(), dim=-1)
        of_b = of_a if b is a else 1 + torch.linalg.vector_norm(b.detach(), dim=-1)
        pairs = close_pairs(distance.detach(), of_a, of_b, ratio=_CLOSE)
        return replace_pairs(distance, pairs, first, second, self._distances)

    def _distances(self, x: AnyChart, y: AnyChart) -> Tensor:
        return safe_sqrt(self._difference(x, y).square().sum((-2, -1)))

    def geodesic(self, t: Tensor | float, x: Tensor, y: Tensor) -> Tensor:
        """Return ``φ⁻¹((1 − t) φ(x) + t φ(y))``; ``t`` broadcasts with the batch dimensions."""
        time = append_dimensions(torch.as_tensor(t, dtype=x.dtype, device=x.device), 2)
        start, end = self._at(x).coordinates(), self._at(y).coordinates()
        return self._from((1 - time) * start + time * end).point()

    def solve_mean(self, x: Tensor, weights: Tensor | None = None) -> KarcherMean:
        """Return ``φ⁻¹(Σ w_i φ(x_i))``, the mean in closed form, with its residual."""
        weights = normalized_weights(x, weights, self.ndim)
        coordinates = self._at(x).coordinates()
        average = (append_dimensions(weights, 2) * coordinates).sum(-3)
        mean = self._from(average).point()
        with torch.no_grad():
            residual = torch.linalg.matrix_norm(average - self._at(mean).coordinates())
            apart = torch.linalg.matrix_norm(coordinates - average.unsqueeze(-3))
            radius = torch.where(weights > 0, apart, 0).amax(-1)
        yes = torch.ones_like(residual, dtype=torch.bool)
        return KarcherMean(mean, torch.zeros_like(residual, dtype=torch.long), residual, yes, radius, yes)

    def gyro_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``φ⁻¹(φ(x) + φ(y))``."""
        return self._from(self._at(x).coordinates() + self._at(y).coordinates()).point()

    def gyro_sub(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``φ⁻¹(φ(x) − φ(y))``."""
        return self._from(self._difference(self._at(x), self._at(y))).point()

    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return ``φ⁻¹(t φ(x))``; t broadcasts with the batch dimensions of x."""
        time = append_dimensions(torch.as_tensor(t, dtype=x.dtype, device=x.device), 2)
        return self._from(time * self._at(x).coordinates()).point()

    def gyration(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Return ``z``: addition is a commutative group."""
        return z.expand(broadcast_shapes(x.shape, y.shape, z.shape))

    def uniqueness_radius(self) -> float:
        """Return infinity: the space is flat and has no conjugate points."""
        return math.inf
