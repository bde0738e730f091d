"""Which vectors determine the Fréchet mean, and which the centroid, on each manifold."""

import math

from ..._geoopt import geoopt
from ...manifolds import SPSD, Euclidean, Grassmann, Lorentz, PoincareBall, ProductManifold
from ...manifolds.spd import SymmetricPositiveDefinite
from ...manifolds.spd.flat import FlatSPD
from .encoding import ChartCoordinates, Encoding, Entries, ProjectedEntries, ProjectedTriangle
from .hyperbolic_encoding import BallPoints, HyperboloidPoints
from .product_encoding import product_encoding
from .projector_encoding import FactorSquares, Projectors

__all__ = ["centroid_encoding", "compact_centroid_encoding", "flat_encoding"]

_SMALL = 256  # numbers, up to the largest head dimension of fused kernels, that a vector may always have


def flat_encoding(manifold: geoopt.Manifold, shape: tuple[int, ...]) -> Encoding | None:
    """Return vectors whose average determines the Fréchet mean, where the manifold is flat.

    Example:
        >>> flat_encoding(Euclidean(2), (3, 3)), flat_encoding(Grassmann(), (3, 1))
        (Entries(ndim=2), None)
    """
    if isinstance(manifold, Euclidean):
        return Entries(manifold.ndim)
    if isinstance(manifold, FlatSPD):
        return ChartCoordinates(manifold)
    return product_encoding(manifold, flat_encoding) if isinstance(manifold, ProductManifold) else None


def centroid_encoding(manifold: geoopt.Manifold, shape: tuple[int, ...]) -> Encoding:
    """Return vectors whose average determines the centroid.

    Example:
        >>> [centroid_encoding(*case).size(case[1]) for case in ((Lorentz(), (3,)), (Grassmann(), (64, 2)))]
        [3, 2080]
    """
    if isinstance(manifold, Euclidean | FlatSPD):
        flat = flat_encoding(manifold, shape)
        assert flat is not None
        return flat
    if isinstance(manifold, Lorentz):
        return HyperboloidPoints(manifold)
    if isinstance(manifold, PoincareBall):
        return BallPoints(manifold)
    if isinstance(manifold, Grassmann):
        return Projectors(manifold)
    if isinstance(manifold, SPSD):
        return FactorSquares(manifold)
    if isinstance(manifold, SymmetricPositiveDefinite):
        return ProjectedTriangle(manifold)
    return ProjectedEntries(manifold)


def compact_centroid_encoding(manifold: geoopt.Manifold, shape: tuple[int, ...]) -> Encoding | None:
    """Return ``centroid_encoding``, if its vectors have at most twice the numbers of a point, or 256.

    Example:
        >>> compact_centroid_encoding(Grassmann(), (64, 2)) is None
        True
    """
    if isinstance(manifold, ProductManifold):
        return product_encoding(manifold, compact_centroid_encoding)
    encoding = centroid_encoding(manifold, shape)
    return encoding if encoding.size(shape) <= max(_SMALL, 2 * math.prod(shape)) else None
