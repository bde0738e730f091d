"""The Stiefel manifold of matrices with orthonormal columns, with the α-family of metrics."""

import math
from typing import Any

import torch
from torch import Tensor

from .linalg import sym
from .linalg.broadcasting import broadcast_shapes
from .linalg.product import add_product
from .orthonormal import OrthonormalFrames
from .retractions import Retraction
from .stiefel_curvature import christoffel, riemann
from .stiefel_geodesic import exponential
from .stiefel_log import distance, logarithm
from .stiefel_metric import CanonicalMetric, EuclideanMetric, StiefelMetric

__all__ = ["Stiefel"]


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
        >>> from geowarp.manifolds import CanonicalMetric
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
        return value.expand(broadcast_shapes(value.shape, x.shape[:-2] + (1, 1) * keepdim))

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the geodesic of the metric at time 1, by a 2k x 2k and a k x k matrix exponential.

        References:
            Zimmermann, Hüper, Computing the Riemannian logarithm on the Stiefel manifold: metrics, methods
            and performance, SIAM J. Matrix Anal. Appl. 43 (2022), section 3.
        """
        return exponential(x, u, self.metric.alpha)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the tangent vector at ``x`` whose geodesic reaches ``y``, ``(..., n, k)``.

        Found by shooting; within the injectivity radius it is the shortest. ``stiefel_logarithm`` gives it
        with its residuals, without raising. A compiled graph cannot raise: there it is NaN where it would.

        Raises:
            NotConvergedError: beyond the injectivity radius or close to it, and between square points with
                determinants of opposite sign.

        Example:
            >>> x, y = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]])
            >>> Stiefel().logmap(x, y).squeeze()
            tensor([0.0000, 1.5708])
        """
        return logarithm(x, y, self.metric)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return the length of the geodesic from ``x`` to ``y``, ``(...)``, accurate for the closest points.

        Its gradient is the unit velocity of the geodesic at either end, and 0 at equal points.

        Raises:
            NotConvergedError: as ``logmap``.

        Example:
            >>> from geowarp.manifolds import CanonicalMetric
            >>> x, y = torch.eye(2), torch.tensor([[0.0, -1.0], [1.0, 0.0]])
            >>> Stiefel().dist(x, y), Stiefel(CanonicalMetric()).dist(x, y)
            (tensor(2.2214), tensor(1.5708))
        """
        value = distance(x, y, self.metric)
        return value[..., None, None] if keepdim else value

    def uniqueness_radius(self) -> float:
        """Return π/2 in the Euclidean metric, π/√5 in the canonical one, and NaN in the others of the family.

        The curvature is at most 1 and 5/4, and the injectivity radius π and at least π over the root of 5/4.

        References:
            Zimmermann, Stoye, High curvature means low-rank: on the sectional curvature of Grassmann and
            Stiefel manifolds and the underlying matrix trace inequalities, arXiv:2403.01879 (2024);
            Zimmermann, Stoye, The injectivity radius of the compact Stiefel manifold under the Euclidean
            metric, arXiv:2405.02268 (2024).
        """
        known = {EuclideanMetric.alpha: 0.5 * math.pi, CanonicalMetric.alpha: math.pi / math.sqrt(5)}
        return known.get(self.metric.alpha, math.nan)

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the projection of ``v`` to the tangent space at ``y``."""
        moved = self.proju(y, v)
        return moved.expand(broadcast_shapes(x.shape, moved.shape))

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``x sym(uᵀv) − (2α + 1) / (2(α + 1)) (H_u xᵀv + H_v xᵀu)``, ``H_u = u − x xᵀu``."""
        return christoffel(x, u, v, self.metric.alpha)

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return ``DΓ[u](v, w) − DΓ[v](u, w) + Γ(u, Γ(v, w)) − Γ(v, Γ(u, w))``, Γ of ``christoffel``.

        In the Euclidean metric that is the projection of ``u sym(vᵀw) − v sym(uᵀw)``.
        """
        return riemann(x, u, v, w, self.metric.alpha)
