"""Flat space."""

import math

import torch
from torch import Tensor

from .gyrovector import GyrovectorSpace
from .karcher import KarcherMean, describe_mean, normalized_weights
from .linalg import safe_sqrt
from .linalg.broadcasting import broadcast_shapes
from .linalg.dimensions import append_dimensions

__all__ = ["Euclidean"]


class Euclidean(GyrovectorSpace):
    """Flat space of tensors, whose last ``ndim`` dimensions are one point.

    Args:
        ndim: how many trailing dimensions make a point; 0 takes every number as a point of the real line.

    Raises:
        ValueError: for a negative ``ndim``.

    Example:
        >>> Euclidean(1).dist(torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0]))
        tensor(5.)
    """

    name = "Euclidean"
    reversible = True

    def __init__(self, ndim: int = 0) -> None:
        super().__init__()
        if ndim < 0:
            raise ValueError(f"Euclidean: ndim = {ndim} is negative; it counts trailing dimensions")
        self.ndim = ndim

    def constants(self) -> tuple[int]:
        """Return the number of dimensions of a point."""
        return (self.ndim,)

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return the number of entries of a point."""
        return torch.Size(shape[len(shape) - self.ndim :]).numel()

    def point_residual(self, x: Tensor) -> Tensor:
        """Return 0: every tensor is a point."""
        return self._sum(torch.zeros_like(x), keepdim=False)

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return 0: every tensor is tangent."""
        return self._sum(torch.zeros_like(x + u), keepdim=False)

    def projx(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return x

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u``."""
        return u.expand(broadcast_shapes(x.shape, u.shape))

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u``."""
        return u.expand(broadcast_shapes(x.shape, u.shape))

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``Σ u v`` over the dimensions of a point."""
        product = u * (u if v is None else v)
        return self._sum(product.expand(broadcast_shapes(x.shape, product.shape)), keepdim=keepdim)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x + u``."""
        return x + u

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x + u``."""
        return x + u

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``y − x``."""
        return y - x

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``‖x − y‖²``."""
        return self._sum((x - y).square(), keepdim=keepdim)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``‖x − y‖``; its gradient at equal points is 0."""
        return safe_sqrt(self._sum((x - y).square(), keepdim=keepdim))

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, *point)`` and ``(..., M, *point)``."""
        x, y = (a.reshape(*a.shape[: a.ndim - self.ndim], self.dim(tuple(a.shape))) for a in (x, y))
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return ``v``."""
        return v.expand(broadcast_shapes(x.shape, y.shape, v.shape))

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return 0: lines are geodesics."""
        return torch.zeros_like(x + u + v)

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return 0: the space is flat."""
        return torch.zeros_like(x + u + v + w)

    def mean(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return ``Σ w_i x_i / Σ w_i`` over the dimension before those of a point."""
        weights = normalized_weights(x, weights, self.ndim)
        return (append_dimensions(weights, self.ndim) * x).sum(-self.ndim - 1)

    def solve_mean(self, x: Tensor, weights: Tensor | None = None) -> KarcherMean:
        """Return the mean, its residual and its radius."""
        return describe_mean(self, x, normalized_weights(x, weights, self.ndim), self.mean(x, weights))

    def gyro_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x + y``."""
        return x + y

    def gyro_neg(self, x: Tensor) -> Tensor:
        """Return ``−x``."""
        return -x

    def gyro_sub(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x − y``."""
        return x - y

    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return ``t x``; t broadcasts with the batch dimensions of x."""
        return append_dimensions(torch.as_tensor(t, dtype=x.dtype, device=x.device), self.ndim) * x

    def gyration(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Return ``z``: addition is a group."""
        return z.expand(broadcast_shapes(x.shape, y.shape, z.shape))

    def uniqueness_radius(self) -> float:
        """Return infinity."""
        return math.inf

    def _sum(self, x: Tensor, *, keepdim: bool) -> Tensor:
        dims = tuple(range(-self.ndim, 0))
        return x.sum(dims, keepdim=keepdim) if dims else x
