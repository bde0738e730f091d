"""Vectors whose weighted average determines a mean of points: the contract, and the simplest of them."""

import abc
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds.linalg import full_precision
from ...manifolds.spd import SymmetricPositiveDefinite
from ...manifolds.spd.flat import FlatSPD
from .origin import origin_like
from .triangle import pack_symmetric, triangle_size, unpack_symmetric

__all__ = ["ChartCoordinates", "Encoding", "Entries", "ProjectedEntries", "ProjectedTriangle"]


class Encoding(abc.ABC):
    """Points as vectors, such that a mean of points is a function of the weighted average of the vectors.

    Such an average is what attention computes without the matrix of the weights.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> encoding = ProjectedEntries(Sphere())
        >>> encoding.decode(encoding.encode(torch.eye(2)).mean(-2), (2,))
        tensor([0.7071, 0.7071])
    """

    @abc.abstractmethod
    def size(self, shape: tuple[int, ...]) -> int:
        """Return e, the number of entries of the vector of a point of a shape."""

    @abc.abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Return vectors ``(..., e)`` of points ``(..., *point)``."""

    @abc.abstractmethod
    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the points ``(..., *shape)`` of averages ``(..., e)``; the origin for an average of 0."""

    @full_precision
    def mean(self, x: Tensor, weights: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the means ``(..., N, *shape)`` of points ``(..., M, *shape)`` by weights ``(..., N, M)``."""
        vectors = self.encode(x)
        return self.decode(weights.to(vectors.dtype) @ vectors, shape)

    def filled(self, manifold: geoopt.Manifold, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return averages with the vector of the origin, and no gradient, in place of those that are 0."""
        empty = (average == 0).all(-1, keepdim=True)
        return torch.where(empty, self.encode(origin_like(manifold, shape, average)), average)


@dataclass(frozen=True)
class Entries(Encoding):
    """The entries of a point: the mean is their average. For flat spaces.

    Example:
        >>> Entries(2).encode(torch.zeros(5, 2, 3)).shape
        torch.Size([5, 6])
    """

    ndim: int

    def size(self, shape: tuple[int, ...]) -> int:
        """Return the number of entries of a point."""
        return math.prod(shape)

    def encode(self, x: Tensor) -> Tensor:
        """Return the entries of each point."""
        return x.flatten(-self.ndim) if self.ndim else x[..., None]

    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the averages as points."""
        return average.reshape(average.shape[:-1] + shape)


@dataclass(frozen=True)
class ChartCoordinates(Encoding):
    """The ``n(n+1)/2`` coordinates of a flat metric of definite matrices: the mean has their average.

    Example:
        >>> from geowarp.manifolds import LogEuclideanSPD
        >>> encoding = ChartCoordinates(LogEuclideanSPD())
        >>> encoding.decode(encoding.encode(torch.eye(2)) / 2, (2, 2))
        tensor([[1., 0.],
                [0., 1.]])
    """

    manifold: FlatSPD[Any]

    def size(self, shape: tuple[int, ...]) -> int:
        """Return ``n(n+1)/2``."""
        return triangle_size(shape[-1])

    def encode(self, x: Tensor) -> Tensor:
        """Return the lower triangle of the coordinates, which are symmetric or lower triangular."""
        return pack_symmetric(self.manifold.coordinates(x))

    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the points with these coordinates."""
        point: Tensor = self.manifold.from_coordinates(unpack_symmetric(average, shape[-1]))
        return point


@dataclass(frozen=True)
class ProjectedEntries(Encoding):
    """The entries of a point: the mean is the point nearest to their average.

    It minimises ``Σ w_i ‖m − x_i‖²`` over the manifold.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> ProjectedEntries(Sphere()).decode(torch.zeros(2), (2,))
        tensor([1., 0.])
    """

    manifold: geoopt.Manifold

    def size(self, shape: tuple[int, ...]) -> int:
        """Return the number of entries of a point."""
        return math.prod(shape)

    def encode(self, x: Tensor) -> Tensor:
        """Return the entries of each point."""
        return x.flatten(-self.manifold.ndim) if self.manifold.ndim else x[..., None]

    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the projections of the averages."""
        average = self.filled(self.manifold, average, shape)
        point: Tensor = self.manifold.projx(average.reshape(average.shape[:-1] + shape))
        return point


@dataclass(frozen=True)
class ProjectedTriangle(Encoding):
    """The ``n(n+1)/2`` different entries of a symmetric matrix: the mean is their average.

    Example:
        >>> from geowarp.manifolds import AffineInvariantSPD
        >>> encoding = ProjectedTriangle(AffineInvariantSPD())
        >>> encoding.decode(encoding.encode(torch.stack([torch.eye(1), 3 * torch.eye(1)])).mean(0), (1, 1))
        tensor([[2.]])
    """

    manifold: SymmetricPositiveDefinite

    def size(self, shape: tuple[int, ...]) -> int:
        """Return ``n(n+1)/2``."""
        return triangle_size(shape[-1])

    def encode(self, x: Tensor) -> Tensor:
        """Return the lower triangle of each matrix."""
        return pack_symmetric(x)

    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the matrices, lifted to be positive definite should rounding have left one that is not."""
        average = self.filled(self.manifold, average, shape)
        point: Tensor = self.manifold.projx(unpack_symmetric(average, shape[-1]))
        return point
