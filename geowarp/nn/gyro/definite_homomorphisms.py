"""Homomorphisms of positive definite matrices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ..._geoopt import geoopt
from ...errors import GeowarpError, UnavailableError
from ...manifolds import AffineInvariantSPD, GyrovectorSpace, LogCholeskySPD, LogEuclideanSPD
from ...manifolds.linalg import full_precision, sym
from ...manifolds.spd.flat import FlatSPD
from ...manifolds.spd.points import nearly_positive
from ..distance_attention.triangle import pack_symmetric, triangle_size, unpack_symmetric
from .homomorphism_family import CoordinateMaps, HomomorphismFamily, free, orthonormal
from .linear import linear

__all__ = ["LinearCoordinates", "LogarithmCongruence", "OrthogonalCongruence", "definite_family"]


@dataclass(frozen=True)
class OrthogonalCongruence(CoordinateMaps):
    """``P ↦ O P Oᵀ`` with orthogonal O, an isometry of the affine-invariant and the log-Euclidean metric.

    For the affine-invariant one other invertible O give no homomorphism, isometries though they are: they
    move the identity.

    References:
        Wang, Hu, Song, Wu, Sebe, Chen, Towards a general attention framework on gyrovector spaces for matrix
        manifolds, NeurIPS (2025).

    Example:
        >>> from geowarp.manifolds import AffineInvariantSPD
        >>> OrthogonalCongruence().isometric(AffineInvariantSPD())
        True
    """

    spaces: ClassVar[tuple[type[GyrovectorSpace], ...]] = (AffineInvariantSPD, LogEuclideanSPD)

    def isometric(self, manifold: GyrovectorSpace) -> bool:
        """Return True."""
        return True

    def weights(
        self,
        manifold: GyrovectorSpace,
        point_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        heads: tuple[int, ...],
    ) -> dict[str, nn.Parameter]:
        """Return the points ``rotation`` of Stiefel, ``(*heads, n, n)``."""
        if out_shape != point_shape:
            raise GeowarpError(f"{self!r}: out_shape = {out_shape} must be that of the points, {point_shape}")
        return {"rotation": orthonormal(heads, point_shape[-1], point_shape[-1])}

    def apply(
        self, manifold: GyrovectorSpace, weights: Mapping[str, Tensor], x: Tensor, out_shape: tuple[int, ...]
    ) -> Tensor:
        """Return ``O P Oᵀ``."""
        image: Tensor = _turned(weights["rotation"], x)
        return image

    def of_coordinates(
        self,
        manifold: FlatSPD[Any],
        weights: Mapping[str, Tensor],
        coordinates: Tensor,
        out_shape: tuple[int, ...],
    ) -> Tensor:
        """Return ``O logm(P) Oᵀ``."""
        mapped: Tensor = _congruence(weights["rotation"], coordinates)
        return mapped


@full_precision
def _turned(rotation: Tensor, x: Tensor) -> Tensor:
    return nearly_positive(sym(rotation @ x @ rotation.mT))


@full_precision
def _congruence(matrix: Tensor, x: Tensor) -> Tensor:
    return sym(matrix @ x @ matrix.mT)


@dataclass(frozen=True)
class LogarithmCongruence(CoordinateMaps):
    """``P ↦ φ⁻¹(M φ(P) Mᵀ)`` of the coordinates φ of a flat metric, with any M ``(m, n)``.

    In the log-Euclidean metric ``expm(M logm(P) Mᵀ)``, and in the log-Cholesky metric, whose coordinates
    ``φ = ⌊L⌋ + log 𝔻(L)`` are lower triangular, of the lower triangle of ``M φ Mᵀ``. M starts with
    orthonormal columns, or rows, and is free.

    References:
        Wang, Hu, Song, Wu, Sebe, Chen, Towards a general attention framework on gyrovector spaces for matrix
        manifolds, NeurIPS (2025).

    Example:
        >>> from geowarp.manifolds import LogEuclideanSPD
        >>> LogarithmCongruence().isometric(LogEuclideanSPD())
        False
    """

    spaces: ClassVar[tuple[type[GyrovectorSpace], ...]] = (LogEuclideanSPD, LogCholeskySPD)

    def isometric(self, manifold: GyrovectorSpace) -> bool:
        """Return False."""
        return False

    def weights(
        self,
        manifold: GyrovectorSpace,
        point_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        heads: tuple[int, ...],
    ) -> dict[str, nn.Parameter]:
        """Return ``matrix``, ``(*heads, m, n)``."""
        return {"matrix": free(heads, out_shape[-1], point_shape[-1])}

    def of_coordinates(
        self,
        manifold: FlatSPD[Any],
        weights: Mapping[str, Tensor],
        coordinates: Tensor,
        out_shape: tuple[int, ...],
    ) -> Tensor:
        """Return ``M φ Mᵀ``, of triangular φ the lower triangle."""
        mapped: Tensor = _mapped(weights["matrix"], coordinates)
        return sym(mapped) if isinstance(manifold, LogEuclideanSPD) else mapped.tril()


@full_precision
def _mapped(matrix: Tensor, coordinates: Tensor) -> Tensor:
    return matrix @ coordinates @ matrix.mT


@dataclass(frozen=True)
class LinearCoordinates(CoordinateMaps):
    """``P ↦ φ⁻¹(A φ(P))`` with any linear map A of the n(n+1)/2 coordinates of a flat metric.

    Every continuous homomorphism is one of these. The coordinates are the lower triangle of ``φ(P)``, row by
    row. A starts with orthonormal columns, or rows, and is free.

    Example:
        >>> from geowarp.manifolds import LogCholeskySPD
        >>> weights = LinearCoordinates().weights(LogCholeskySPD(), (3, 3), (2, 2), ())
        >>> weights["matrix"].shape
        torch.Size([3, 6])
    """

    spaces: ClassVar[tuple[type[GyrovectorSpace], ...]] = (LogEuclideanSPD, LogCholeskySPD)

    def isometric(self, manifold: GyrovectorSpace) -> bool:
        """Return False."""
        return False

    def weights(
        self,
        manifold: GyrovectorSpace,
        point_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        heads: tuple[int, ...],
    ) -> dict[str, nn.Parameter]:
        """Return ``matrix``, ``(*heads, m(m+1)/2, n(n+1)/2)``."""
        return {"matrix": free(heads, triangle_size(out_shape[-1]), triangle_size(point_shape[-1]))}

    def of_coordinates(
        self,
        manifold: FlatSPD[Any],
        weights: Mapping[str, Tensor],
        coordinates: Tensor,
        out_shape: tuple[int, ...],
    ) -> Tensor:
        """Return ``A φ``."""
        triangle = full_precision(linear)(weights["matrix"], pack_symmetric(coordinates))
        mapped = unpack_symmetric(triangle, out_shape[-1])
        return mapped if isinstance(manifold, LogEuclideanSPD) else mapped.tril()


def definite_family(manifold: geoopt.Manifold) -> tuple[HomomorphismFamily, GyrovectorSpace]:
    """Return the family that a metric of positive definite matrices has by default, and the metric.

    Raises:
        UnavailableError: for a metric that has none.

    Example:
        >>> definite_family(AffineInvariantSPD())
        (OrthogonalCongruence(), AffineInvariantSPD())
    """
    if isinstance(manifold, AffineInvariantSPD):
        return OrthogonalCongruence(), manifold
    if isinstance(manifold, LogEuclideanSPD | LogCholeskySPD):
        return LogarithmCongruence(), manifold
    raise UnavailableError(
        f"{manifold!r} has no homomorphisms; AffineInvariantSPD(), LogEuclideanSPD() and LogCholeskySPD(), "
        "metrics of the same matrices, have them"
    )
