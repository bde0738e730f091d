"""Retractions of matrices with orthonormal columns, as values.

Each takes a manifold, points ``(..., n, k)`` and tangent vectors there, and returns points. A user's own
retraction is a frozen dataclass with the same call.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .base import Manifold
from .linalg import newton_schulz
from .linalg.cholesky_qr import cholesky_qr
from .linalg.eigenfunction import inverse_sqrt, symmetric_function

__all__ = ["QR", "Cayley", "Exponential", "Polar", "Retraction"]


@runtime_checkable
class Retraction(Protocol):
    """Moves a point along a tangent vector: ``R_x(0) = x`` and ``DR_x(0)[u] = u``.

    Example:
        >>> from dataclasses import dataclass
        >>> from geowarp.manifolds import Stiefel
        >>> @dataclass(frozen=True)
        ... class Projection:
        ...     def __call__(self, manifold, x, u):
        ...         return manifold.projx(x + u)
        >>> Stiefel(retraction=Projection()).retr(torch.eye(2, 1), torch.tensor([[0.0], [1.0]])).squeeze()
        tensor([0.7071, 0.7071])
    """

    def __call__(self, manifold: Manifold, x: Tensor, u: Tensor) -> Tensor:
        """Return the point that ``u`` leads to from ``x``."""
        ...


def _shortened(u: Tensor, factor: float) -> Tensor:
    """Return ``u``, scaled down to the norm ``factor / √eps`` where it is longer.

    Beyond that the Gram matrix of ``x + u`` is singular to rounding where u has a low rank. The retraction is
    unchanged for all steps but those that have no meaning: above 725 in float32 with the factor 1/4.
    """
    longest = factor / torch.finfo(u.dtype).eps ** 0.5
    norm = torch.linalg.matrix_norm(u, keepdim=True)
    shortened: Tensor = u * (longest / norm.clamp_min(longest))
    return shortened


@dataclass(frozen=True)
class QR:
    """Orthonormal factor of ``x + u`` with a positive diagonal of R; first order.

    Args:
        passes: of Cholesky-QR. The Gram matrix is ``I + uᵀu``, so that one pass is accurate to a few eps for
            ``‖u‖ <= 1``; two are for steps of any size. A step longer than ``1 / (4√eps)`` is cut to that.

    Raises:
        ValueError: where ``passes`` is below 1.

    References:
        Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), equation 4.8.

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> stiefel = Stiefel(retraction=QR())
        >>> x = stiefel.origin(3, 1)
        >>> stiefel.retr(x, torch.tensor([[0.0], [1.0], [0.0]])).squeeze()
        tensor([0.7071, 0.7071, 0.0000])
    """

    passes: int = 2

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"QR: passes = {self.passes} orthonormalises nothing; it must be at least 1")

    def __repr__(self) -> str:
        return "QR()" if self.passes == 2 else f"QR(passes={self.passes})"

    def __call__(self, manifold: Manifold, x: Tensor, u: Tensor) -> Tensor:
        """Return the orthonormal factor of ``x + u``."""
        return cholesky_qr(x + _shortened(u, 0.25), self.passes)


@dataclass(frozen=True)
class Polar:
    """Nearest matrix with orthonormal columns to ``x + u``; second order for the Euclidean metric.

    References:
        Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), equation 4.7.

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> Stiefel(retraction=Polar())
        Stiefel(EuclideanMetric(), Polar())
    """

    def __call__(self, manifold: Manifold, x: Tensor, u: Tensor) -> Tensor:
        """Return the polar factor of ``x + u``, through its k x k Gram matrix."""
        y = x + _shortened(u, 0.03)
        return newton_schulz(y @ symmetric_function(y.mT @ y, inverse_sqrt))


@dataclass(frozen=True)
class Cayley:
    """``(I − W/2)⁻¹ (I + W/2) x`` with ``W = P u xᵀ − x uᵀ P``, ``P = I − x xᵀ/2``, by a 2k x 2k solve.

    Second order for the canonical metric.

    References:
        Wen, Yin, A feasible method for optimization with orthogonality constraints, Math. Program. 142
        (2013), lemma 4.

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> Stiefel(retraction=Cayley())
        Stiefel(EuclideanMetric(), Cayley())
    """

    def __call__(self, manifold: Manifold, x: Tensor, u: Tensor) -> Tensor:
        """Return the Cayley transform of the generator of ``u``, applied to ``x``."""
        x, u = torch.broadcast_tensors(x, _shortened(u, 0.03))
        lifted = u - 0.5 * x @ (x.mT @ u)
        left = torch.cat([lifted, x], dim=-1)
        right = torch.cat([x, -lifted], dim=-1)
        core = torch.eye(left.shape[-1], dtype=x.dtype, device=x.device) - 0.5 * right.mT @ left
        return newton_schulz(x + left @ torch.linalg.solve(core, right.mT @ x))


@dataclass(frozen=True)
class Exponential:
    """The exponential map of the manifold's own metric: exact geodesics.

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> Stiefel(retraction=Exponential())
        Stiefel(EuclideanMetric(), Exponential())
    """

    def __call__(self, manifold: Manifold, x: Tensor, u: Tensor) -> Tensor:
        """Return the end of the geodesic."""
        y: Tensor = manifold.expmap(x, u)
        return y
