"""The Stiefel manifold of matrices with orthonormal columns, with the α-family of metrics."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .linalg import newton_schulz, skew, sym
from .linalg.product import add_product
from .orthonormal import OrthonormalFrames
from .retractions import Retraction

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


def _product(u: Tensor, v: Tensor | None, keepdim: bool) -> Tensor:
    return (u.square() if v is None else u * v).sum((-2, -1), keepdim=keepdim)


class Stiefel(OrthonormalFrames):
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

    def __init__(self, metric: StiefelMetric | None = None, retraction: Retraction | None = None) -> None:
        super().__init__(retraction)
        self.metric = EuclideanMetric() if metric is None else metric

    def constants(self) -> tuple[Any, ...]:
        """Return the metric and the retraction."""
        return self.metric, self.retraction

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``nk − k(k + 1)/2``."""
        n, k = shape[-2:]
        return n * k - k * (k + 1) // 2

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``‖sym(xᵀu)‖`` (Frobenius)."""
        residual: Tensor = torch.linalg.matrix_norm(sym(x.mT @ u))
        return residual

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the orthogonal projection ``u − x sym(xᵀu)``."""
        inner = x.mT @ u
        return add_product(u, x, inner + inner.mT, alpha=-0.5)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u + x (α xᵀu − (α + 1) uᵀx)``."""
        inner, alpha = x.mT @ u, self.metric.alpha
        return add_product(u, x, torch.add(alpha * inner, inner.mT, alpha=-(alpha + 1)))

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return the metric of the manifold at ``x``, ``(...)``."""
        alpha = self.metric.alpha
        weight = (2 * alpha + 1) / (2 * (alpha + 1))
        value = _product(u, v, keepdim)
        if weight != 0:
            value = value - weight * _product(x.mT @ u, None if v is None else x.mT @ v, keepdim)
        return value.expand(torch.broadcast_shapes(value.shape, x.shape[:-2] + (1, 1) * keepdim))

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
