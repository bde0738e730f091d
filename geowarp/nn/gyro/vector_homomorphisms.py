"""Homomorphisms of hyperbolic and of flat space."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds import Euclidean, GyrovectorSpace, Lorentz, PoincareBall
from ...manifolds.linalg import full_precision
from .homomorphism_family import HomomorphismFamily, free, orthonormal
from .linear import linear

__all__ = ["LinearMap", "OrthogonalMap"]


@dataclass(frozen=True)
class OrthogonalMap(HomomorphismFamily):
    """``x ↦ W x`` of hyperbolic space with orthonormal columns of W, ``(m, n)``, ``m >= n``: an isometry.

    In the Lorentz model of the space part, which the first entry follows.

    References:
        Ungar, Analytic hyperbolic geometry and Albert Einstein's special theory of relativity (2008).

    Example:
        >>> OrthogonalMap().weights(Lorentz(), (4,), (5,), ())["matrix"].shape
        torch.Size([4, 3])
    """

    spaces: ClassVar[tuple[type[GyrovectorSpace], ...]] = (PoincareBall, Lorentz)

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
        """Return the points ``matrix`` of Stiefel, ``(*heads, m, n)``."""
        n, m = (manifold.dim(shape) for shape in (point_shape, out_shape))
        if m < n:
            raise GeowarpError(
                f"{self!r}: out_shape = {out_shape} is smaller than that of the points, {point_shape}, and a "
                "map with orthonormal columns leads to spaces at least as large"
            )
        return {"matrix": orthonormal(heads, m, n)}

    def apply(
        self, manifold: GyrovectorSpace, weights: Mapping[str, Tensor], x: Tensor, out_shape: tuple[int, ...]
    ) -> Tensor:
        """Return ``W x``."""
        image: Tensor = _rotated(manifold, weights["matrix"], x)
        return image


@full_precision
def _rotated(manifold: GyrovectorSpace, matrix: Tensor, x: Tensor) -> Tensor:
    if not isinstance(manifold, Lorentz):
        return manifold.projx(linear(matrix, x))  # type: ignore[no-any-return]
    image = linear(matrix, x[..., 1:])
    return manifold.projx(torch.cat([torch.zeros_like(image[..., :1]), image], -1))


@dataclass(frozen=True)
class LinearMap(HomomorphismFamily):
    """``x ↦ A x`` of the entries of a point of flat space, with any A; it starts with orthonormal columns.

    Example:
        >>> LinearMap().weights(Euclidean(2), (2, 3), (4,), ())["matrix"].shape
        torch.Size([4, 6])
    """

    spaces: ClassVar[tuple[type[GyrovectorSpace], ...]] = (Euclidean,)

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
        """Return ``matrix``, ``(*heads, outputs, inputs)``."""
        return {"matrix": free(heads, math.prod(out_shape), math.prod(point_shape))}

    def apply(
        self, manifold: GyrovectorSpace, weights: Mapping[str, Tensor], x: Tensor, out_shape: tuple[int, ...]
    ) -> Tensor:
        """Return ``A x``."""
        entries = x.reshape(*x.shape[: x.ndim - manifold.ndim], weights["matrix"].shape[-1])
        image: Tensor = full_precision(linear)(weights["matrix"], entries)
        return image.reshape(*image.shape[:-1], *out_shape)
