"""Tangent vectors along a path as vectors of the tangent space at one point."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..linalg.dimensions import append_dimensions

__all__ = [
    "Frame",
    "covector",
    "factor_or_nan",
    "inner_product",
    "path_ends",
    "path_steps",
    "rounding_length",
]


def inner_product(base: geoopt.Manifold, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return ``⟨u, v⟩_x``, ``(...)``, of batches that broadcast, which some of geoopt's do only with keepdim.

    Example:
        >>> x = torch.zeros(2, 1, 3)
        >>> inner_product(geoopt.PoincareBall(), x, torch.ones(2, 2, 3), torch.ones(2, 2, 3)).shape
        torch.Size([2, 2])
    """
    product: Tensor = base.inner(x, u, v, keepdim=True)
    return product.flatten(product.ndim - int(base.ndim)).squeeze(-1) if base.ndim else product


def path_steps(points: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
    """Return the starts and the ends of the segments of paths ``(B, N + 1, *point)``.

    Example:
        >>> path_steps(torch.arange(3.0)[None], 0)
        (tensor([[0., 1.]]), tensor([[1., 2.]]))
    """
    axis, count = points.ndim - ndim - 1, points.shape[points.ndim - ndim - 1]
    return points.narrow(axis, 0, count - 1), points.narrow(axis, 1, count - 1)


def path_ends(points: Tensor, ndim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first point, those between the ends, and the last one, each with its dimension of a path.

    Example:
        >>> path_ends(torch.arange(4.0)[None], 0)
        (tensor([[0.]]), tensor([[1., 2.]]), tensor([[3.]]))
    """
    axis, count = points.ndim - ndim - 1, points.shape[points.ndim - ndim - 1]
    first, inner, last = points.split([1, count - 2, 1], axis)
    return first, inner, last


def covector(base: geoopt.Manifold, x: Tensor, u: Tensor) -> Tensor:
    """Return the tensor whose products with tangent vectors at x are their inner products with u.

    Example:
        >>> from geowarp.manifolds import PoincareBall
        >>> covector(PoincareBall(), torch.zeros(2), torch.ones(2))
        tensor([4., 4.])
    """
    with torch.enable_grad():
        probe = torch.zeros_like(u).requires_grad_()
        (result,) = torch.autograd.grad(inner_product(base, x, probe, u).sum(), probe)
    return result


def rounding_length(base: geoopt.Manifold, x: Tensor) -> Tensor:
    """Return how far the rounding of their entries moves points ``(B, *point)``, ``(B,)``.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> rounding_length(Euclidean(1), torch.tensor([[2.0, 0.0]])) / torch.finfo().eps
        tensor([2.8284])
    """
    size = torch.finfo(x.dtype).eps * x.abs()[..., None].flatten(1).amax(1)
    vectors = base.proju(x, append_dimensions(size, x.ndim - 1).expand_as(x))
    length: Tensor = base.norm(x, vectors)
    return length


def factor_or_nan(matrices: Tensor) -> Tensor:
    """Return Cholesky factors ``(B, n, n)``, and no numbers where a matrix is not positive definite.

    Example:
        >>> factor_or_nan(torch.tensor([[[4.0]], [[-4.0]]])).flatten()
        tensor([2., nan])
    """
    factors, failed = torch.linalg.cholesky_ex(matrices)
    return torch.where((failed == 0)[..., None, None], factors, torch.nan)


@dataclass(frozen=True)
class Frame:
    """The tangent space at one point of each of B paths, flat: vectors ``(B, M, p)`` of p entries.

    The base manifold's transport takes tangent vectors along the path there and back. Where it is no isometry
    the frame is only approximately one, which a search bears and its solution does not depend on.
    """

    base: geoopt.Manifold
    point: Tensor
    """``(B, *point)``."""

    @property
    def ndim(self) -> int:
        """How many dimensions a point has."""
        return int(self.base.ndim)

    def into(self, x: Tensor, vectors: Tensor) -> Tensor:
        """Return tangent vectors at x, ``(B, ..., *point)``, in the frame, ``(B, ..., p)``."""
        moved: Tensor = self.base.transp(x, self._beside(vectors), vectors)
        return moved.flatten(moved.ndim - self.ndim) if self.ndim else moved[..., None]

    def out_of(self, x: Tensor, vectors: Tensor) -> Tensor:
        """Return vectors ``(B, ..., p)`` as tangent vectors at x, ``(B, ..., *point)``."""
        shaped = self._shaped(vectors)
        moved: Tensor = self.base.transp(self._beside(shaped), x, shaped)
        return moved

    def lower(self, vectors: Tensor) -> Tensor:
        """Return the covectors, whose products with vectors are the base metric, ``(B, ..., p)``."""
        shaped = self._shaped(vectors)
        return covector(self.base, self._beside(shaped), shaped).reshape(vectors.shape)

    def _shaped(self, vectors: Tensor) -> Tensor:
        return vectors.reshape(*vectors.shape[:-1], *self.point.shape[1:])

    def _beside(self, vectors: Tensor) -> Tensor:
        between = vectors.ndim - self.ndim - 1
        return self.point.reshape(-1, *(1,) * between, *self.point.shape[1:])
