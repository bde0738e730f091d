"""Tangent vectors at the origin of a manifold as vectors of no more numbers than they need."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import (
    Grassmann,
    Lorentz,
    Oblique,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
)
from ...manifolds.spd import SymmetricPositiveDefinite
from .encoding import Encoding, Entries
from .origin import origin_like
from .product_encoding import product_encoding
from .triangle import pack_symmetric, triangle_size, unpack_symmetric

__all__ = ["LowerRows", "SkewTriangle", "SymmetricTriangle", "TangentVectors", "tangent_coordinates"]


@dataclass(frozen=True)
class SymmetricTriangle(Encoding):
    """A triangle of symmetric matrices, with ``√2`` times the entries off the diagonal: an isometry.

    Example:
        >>> SymmetricTriangle().encode(torch.ones(2, 2))
        tensor([1.0000, 1.4142, 1.0000])
    """

    def size(self, shape: tuple[int, ...]) -> int:
        """Return ``n(n+1)/2``."""
        return triangle_size(shape[-1])

    def encode(self, x: Tensor) -> Tensor:
        """Return the weighted entries."""
        return pack_symmetric(x * _weights(x.shape[-1], x))

    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the matrices."""
        return unpack_symmetric(average, shape[-1]) / _weights(shape[-1], average)


@dataclass(frozen=True)
class SkewTriangle(Encoding):
    """The entries below the diagonal of skew-symmetric matrices.

    Example:
        >>> SkewTriangle().decode(torch.tensor([1.0]), (2, 2))
        tensor([[ 0., -1.],
                [ 1.,  0.]])
    """

    def size(self, shape: tuple[int, ...]) -> int:
        """Return ``n(n−1)/2``."""
        return triangle_size(shape[-1] - 1)

    def encode(self, x: Tensor) -> Tensor:
        """Return the entries below the diagonal."""
        return pack_symmetric(x[..., 1:, :-1])

    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the matrices."""
        below = unpack_symmetric(average, shape[-1] - 1).tril()
        lower = torch.nn.functional.pad(below, (0, 1, 1, 0))
        return lower - lower.mT


@dataclass(frozen=True)
class LowerRows(Encoding):
    """All but the first rows, which are 0, of tangent vectors with one or two dimensions.

    Example:
        >>> LowerRows(1, 1).decode(torch.tensor([2.0, 3.0]), (3,))
        tensor([0., 2., 3.])
    """

    ndim: int
    rows: int

    def size(self, shape: tuple[int, ...]) -> int:
        """Return the number of entries in the other rows."""
        return (shape[0] - self.rows) * math.prod(shape[1:])

    def encode(self, x: Tensor) -> Tensor:
        """Return the entries of the other rows."""
        return x.narrow(-self.ndim, self.rows, x.shape[-self.ndim] - self.rows).flatten(-self.ndim)

    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the tangent vectors."""
        lower = average.reshape((*average.shape[:-1], shape[0] - self.rows, *shape[1:]))
        return torch.nn.functional.pad(lower, (0, 0) * (self.ndim - 1) + (self.rows, 0))


def _weights(n: int, like: Tensor) -> Tensor:
    return like.new_full((n, n), math.sqrt(2)).fill_diagonal_(1)


def tangent_coordinates(manifold: geoopt.Manifold, shape: tuple[int, ...]) -> Encoding:
    """Return what turns tangent vectors at the origin, points having this shape, to vectors and back.

    Coordinates are the space part on ``Lorentz``, the entries below the k rows of zeros on ``Grassmann``, a
    triangle of symmetric or skew-symmetric matrices, and all entries otherwise; those of a product are of its
    components.

    Example:
        >>> [tangent_coordinates(*case).size(case[1]) for case in ((Lorentz(), (5,)), (Grassmann(), (5, 2)))]
        [4, 6]
    """
    if isinstance(manifold, ProductManifold):
        product = product_encoding(manifold, tangent_coordinates)
        return Entries(1) if product is None else product
    if isinstance(manifold, SymmetricPositiveDefinite):
        return SymmetricTriangle()
    if isinstance(manifold, SpecialOrthogonal):
        return SkewTriangle()
    if isinstance(manifold, Lorentz | Sphere | Oblique):
        return LowerRows(manifold.ndim, 1)
    return LowerRows(2, shape[-1]) if isinstance(manifold, Grassmann) else Entries(int(manifold.ndim))


@dataclass(frozen=True)
class TangentVectors(Encoding):
    """Coordinates of logarithms at the origin: the mean is the exponential of their average.

    Example:
        >>> encoding = TangentVectors(Sphere())
        >>> encoding.decode(encoding.encode(torch.eye(2)).mean(0), (2,))
        tensor([0.7071, 0.7071])
    """

    manifold: geoopt.Manifold

    def size(self, shape: tuple[int, ...]) -> int:
        """Return the number of coordinates."""
        return tangent_coordinates(self.manifold, shape).size(shape)

    def encode(self, x: Tensor) -> Tensor:
        """Return the coordinates of ``log_o(x)``."""
        shape = x.shape[x.ndim - int(self.manifold.ndim) :]
        logarithm: Tensor = self.manifold.logmap(origin_like(self.manifold, shape, x), x)
        return tangent_coordinates(self.manifold, shape).encode(logarithm)

    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return ``exp_o(u)`` of vectors u with these coordinates, projected to be tangent."""
        origin = origin_like(self.manifold, shape, average)
        u = tangent_coordinates(self.manifold, shape).decode(average, shape)
        point: Tensor = self.manifold.expmap(origin, self.manifold.proju(origin, u))
        return point
