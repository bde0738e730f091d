"""The Stiefel manifold of matrices with orthonormal columns, with the α-family of metrics."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .base import Manifold
from .linalg import newton_schulz, polar_factor, skew, sym
from .retractions import QR, Retraction

__all__ = ["AlphaMetric", "CanonicalMetric", "EuclideanMetric", "Stiefel", "StiefelMetric"]


class StiefelMetric:
    """A metric ``tr uᵀv − (2α + 1) / (2(α + 1)) tr (xᵀu)ᵀ(xᵀv)``, α > −1: what the ``α`` of a value says."""

    alpha: float


@dataclass(frozen=True)
class EuclideanMetric(StiefelMetric):
    """The metric ``tr uᵀv`` of the surrounding space, α = −1/2."""

    alpha = -0.5


@dataclass(frozen=True)
class CanonicalMetric(StiefelMetric):
    """The metric ``tr uᵀ(I − x xᵀ/2)v`` of the quotient O(n) / O(n − k), α = 0."""

    alpha = 0.0


@dataclass(frozen=True)
class AlphaMetric(StiefelMetric):
    """A metric of the α-family, α > −1.

    References:
        Hüper, Markina, Silva Leite, A Lagrangian approach to extremal curves on Stiefel manifolds,
        J. Geom. Mech. 13 (2021).
    """

    alpha: float

    def __post_init__(self) -> None:
        if self.alpha <= -1:
            raise ValueError(f"AlphaMetric: alpha = {self.alpha} gives no metric; it must be above -1")


class Stiefel(Manifold):
    """Matrices ``{x : xᵀx = I}``, points ``(..., n, k)`` with ``k <= n``; nothing n x n is built.

    Tangent vectors are ``u`` with ``xᵀu`` skew-symmetric. Vectors are transported by projection, which is not
    an isometry.

    Args:
        metric: ``EuclideanMetric()``, ``CanonicalMetric()`` or ``AlphaMetric(alpha)``.
        retraction: ``QR()``, ``Polar()``, ``Cayley()`` or ``Exponential()``.

    References:
        Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix
        Anal. Appl. 20 (1998), section 2.

    Example:
        >>> stiefel = Stiefel(metric=CanonicalMetric())
        >>> x = stiefel.random(8, 3, dtype=torch.float64)
        >>> y = stiefel.retr(x, stiefel.proju(x, torch.randn_like(x)))
        >>> stiefel.check_point_on_manifold(y)
        True
    """

    name = "Stiefel"
    ndim = 2

    def __init__(self, metric: StiefelMetric | None = None, retraction: Retraction | None = None) -> None:
        super().__init__()
        self.metric = EuclideanMetric() if metric is None else metric
        self.retraction = QR() if retraction is None else retraction

    def constants(self) -> tuple[Any, ...]:
        """Return the metric and the retraction."""
        return self.metric, self.retraction

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``nk − k(k + 1)/2``."""
        n, k = shape[-2:]
        return n * k - k * (k + 1) // 2

    def point_residual(self, x: Tensor) -> Tensor:
        """Return ``‖xᵀx − I‖`` (Frobenius)."""
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        residual: Tensor = torch.linalg.matrix_norm(x.mT @ x - eye)
        return residual

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``‖sym(xᵀu)‖`` (Frobenius)."""
        residual: Tensor = torch.linalg.matrix_norm(sym(x.mT @ u))
        return residual

    def projx(self, x: Tensor) -> Tensor:
        """Return the nearest point, the polar factor of ``x``."""
        return polar_factor(x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the orthogonal projection ``u − x sym(xᵀu)``."""
        return u - x @ sym(x.mT @ u)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u − x xᵀu + 2(α + 1) x skew(xᵀu)``."""
        inner = x.mT @ u
        return u + x @ (2 * (self.metric.alpha + 1) * skew(inner) - inner)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return the metric of the manifold at ``x``."""
        v = u if v is None else v
        ambient = (u * v + torch.zeros_like(x)).sum((-2, -1), keepdim=keepdim)
        weight = (2 * self.metric.alpha + 1) / (2 * (self.metric.alpha + 1))
        if weight == 0:
            return ambient
        return ambient - weight * ((x.mT @ u) * (x.mT @ v)).sum((-2, -1), keepdim=keepdim)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the manifold's retraction."""
        return self.retraction(self, x, u)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the geodesic of the metric at time 1, by a 2k x 2k and a k x k matrix exponential.

        With ``A = xᵀu``, ``H = u − xA`` and ``G = HᵀH``:
        ``[M; N] = expm([[A/(α+1), −G], [I, 0]])[:, :k]`` and the point is ``(xM + HN) expm(αA/(α+1))``, a
        form without QR, which is smooth at every tangent vector.
        """
        alpha = self.metric.alpha
        vertical = skew(x.mT @ u)
        horizontal = u - x @ (x.mT @ u)
        scale = torch.linalg.matrix_norm(horizontal.detach(), keepdim=True).clamp_min(1)
        gram = horizontal.mT @ horizontal / scale
        eye = scale * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        top = torch.cat([vertical / (alpha + 1), -gram], dim=-1)
        bottom = torch.cat([eye, torch.zeros_like(gram)], dim=-1)
        first = torch.linalg.matrix_exp(torch.cat([top, bottom], dim=-2))[..., : x.shape[-1]]
        m, n = first.chunk(2, dim=-2)
        turned = torch.linalg.matrix_exp(vertical * (alpha / (alpha + 1)))
        return newton_schulz((x @ m + horizontal @ n / scale) @ turned)

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the projection of ``v`` to the tangent space at ``y``."""
        return self.proju(y, v)

    def origin_point(self, shape: tuple[int, ...]) -> Tensor:
        """Return the first k columns of the identity."""
        return torch.eye(*shape[-2:]).expand(shape)

    def _check_shape(self, shape: tuple[int, ...], name: str) -> tuple[bool, str | None]:
        ok, reason = super()._check_shape(shape, name)
        if ok and shape[-1] > shape[-2]:
            return False, f"{name}: (n, k) = {tuple(shape[-2:])} has more columns than rows; transpose it"
        return ok, reason
