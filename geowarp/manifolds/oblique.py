"""The oblique manifold of matrices with unit columns: a product of spheres."""

import math

import torch
from torch import Tensor

from .base import Manifold
from .linalg import safe_sqrt, spherical
from .linalg.broadcasting import broadcast_shapes

__all__ = ["Oblique"]


class Oblique(Manifold):
    """Matrices with columns of norm 1, points ``(..., n, k)``, with the metric ``tr uᵀv``.

    The product of k spheres in R^n, and every operation is exact. The distance is the root of the sum of the
    squared angles (radians) between corresponding columns. Where two columns are antipodal, ``logmap`` is one
    of its values.

    References:
        Absil, Gallivan, Joint diagonalization on the oblique manifold for independent component analysis,
        ICASSP (2006).

    Example:
        >>> oblique = Oblique()
        >>> x, y = torch.eye(3)[:, :2], torch.eye(3)[:, 1:]
        >>> oblique.dist(x, y)
        tensor(2.2214)
    """

    name = "Oblique"
    ndim = 2
    reversible = True

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``(n − 1) k``."""
        n, k = shape[-2:]
        return (n - 1) * k

    def point_residual(self, x: Tensor) -> Tensor:
        """Return the norm of all ``‖x_j‖ − 1``."""
        residual: Tensor = torch.linalg.vector_norm(spherical.vector_norm(x, -2) - 1, dim=(-2, -1))
        return residual

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the norm of all ``x_jᵀu_j``."""
        residual: Tensor = torch.linalg.vector_norm((x * u).sum(-2), dim=-1)
        return residual

    def projx(self, x: Tensor) -> Tensor:
        """Return the normalised columns, and the first unit vector for a column of zeros."""
        return spherical.normalize(x, -2)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u − x diag(xᵀu)``."""
        return spherical.project(x, u, -2)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the projected gradient."""
        return spherical.project(x, u, -2)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``tr uᵀv``."""
        product = u * (u if v is None else v)
        return product.expand(broadcast_shapes(x.shape, product.shape)).sum((-2, -1), keepdim=keepdim)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x_j cos‖u_j‖ + u_j sin‖u_j‖ / ‖u_j‖`` for every column."""
        return spherical.exponential(x, u, -2)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the exponential map."""
        return spherical.exponential(x, u, -2)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logarithm of every column."""
        return spherical.logarithm(x, y, -2)

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``Σ θ_j²`` of the angles between corresponding columns."""
        return spherical.angle(x, y, -2).square().sum((-2, -1), keepdim=keepdim)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``√Σ θ_j²``; its gradient at equal points is 0."""
        return safe_sqrt(self.dist2(x, y, keepdim=keepdim))

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, n, k)`` and ``(..., M, n, k)``."""
        x, y = (a.movedim(-1, -3) for a in (x, y))
        return safe_sqrt(spherical.pairwise_angle(x, y).square().sum(-3))

    def uniqueness_radius(self) -> float:
        """Return π/2, that of the sphere."""
        return 0.5 * math.pi

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the parallel transport of every column along its geodesic."""
        return spherical.reflect(x, y, v, -2)

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``x_j u_jᵀv_j`` for every column."""
        return x * (u * v).sum(-2, keepdim=True)

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return ``v_jᵀw_j u_j − u_jᵀw_j v_j`` for every column."""
        value = spherical.curvature(u, v, w, -2)
        return value.expand(broadcast_shapes(x.shape, value.shape))

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic and the parallel transport of ``v`` along it, however long it is."""
        return spherical.exponential(x, u, -2), spherical.transport(x, u, v, -2)

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same as ``expmap_transp``."""
        return spherical.exponential(x, u, -2), spherical.transport(x, u, v, -2)
