"""Positive definite matrices with the Bures–Wasserstein metric."""

import math

import torch
from torch import Tensor

from ..._warn import warn
from ...errors import NumericalWarning
from ..implicit import differentiable
from ..karcher import KarcherMean, mean_logarithm
from ..linalg import sym
from ..linalg.eigenfunction import symmetric_function
from ..linalg.lyapunov import lyapunov
from ..weighted_points import WeightedPoints
from ..weights import normalized_weights
from .bures_wasserstein_curvature import curvature_of_quotient
from .bures_wasserstein_distance import pairwise_transport_distance
from .bures_wasserstein_mean import barycentre
from .optimal_transport import transport_distance, transport_logarithm
from .points import SymmetricPositiveDefinite
from .positive_factor import positive_factor

__all__ = ["BuresWassersteinSPD"]


def _bounded(displacement: Tensor) -> Tensor:
    """Return X, scaled down to the norm ``1 / (4 eps^¼)`` where it is longer.

    A longer step would take the condition number beyond 1/eps in one or two steps.
    """
    longest = 0.25 / torch.finfo(displacement.dtype).eps ** 0.25
    norm = torch.linalg.matrix_norm(displacement, keepdim=True)
    bounded: Tensor = displacement * (longest / norm.clamp_min(longest))
    return bounded


class BuresWassersteinSPD(SymmetricPositiveDefinite):
    """Symmetric positive definite matrices, points ``(..., n, n)``, with the Bures–Wasserstein metric.

    It is the optimal transport of centred Gaussians with these covariances. With ``L_P(u)`` the X that solves
    ``P X + X P = u``, and ``T = P⁻¹ # Q`` the optimal transport map (``T P T = Q``):

    - ``⟨u, v⟩_P = ½ tr(L_P(u) v)``, and the gradient for a Euclidean gradient G is ``2 (G P + P G)``,
    - ``exp_P(u) = (I + X) P (I + X)``, ``X = L_P(u)``: a geodesic while ``I + t X`` is positive definite,
    - ``log_P(Q) = (T − I) P + P (T − I)``,
    - ``dist(P, Q)² = tr P + tr Q − 2 tr(P^½ Q P^½)^½``.

    The space is not complete: a geodesic leaves it where ``I + t X`` becomes singular. Beyond, ``expmap``
    still gives positive definite matrices, which ``logmap`` does not take back to u. The retraction is
    ``g(X) P g(X)`` with a function g that is ``1 + x`` to second order and nowhere below ¼: it is of second
    order and lands on positive definite matrices for every u.

    Parallel transport has no closed form for matrices that do not commute. ``transp`` takes the horizontal
    lift ``L_P(v) C`` of v at a factor C of P, moves it as it is to the nearest factor ``T C`` of Q, and
    projects: ``L_P(v) P T + T P L_P(v)``. It is linear, tangent, and right to first order in the distance; it
    is the parallel transport where v, P and Q commute, and shortens vectors elsewhere: it is no isometry.

    Distances and logarithms are accurate to rounding for the closest pairs, where the trace formula and the
    difference of aligned factors cancel. Distances are invariant under rotations ``P → O P Oᵀ``.

    Raises:
        NotOnManifoldError: from operations at a matrix without a Cholesky factor, with its smallest
            eigenvalue.

    References:
        Bhatia, Jain, Lim, On the Bures–Wasserstein distance between positive definite matrices, Expo. Math.
        37 (2019); Malagò, Montrucchio, Pistone, Wasserstein Riemannian geometry of Gaussian densities, Inf.
        Geom. 1 (2018).

    Example:
        >>> spd = BuresWassersteinSPD()
        >>> spd.dist(torch.eye(2), 4 * torch.eye(2))
        tensor(1.4142)
        >>> spd.mean(torch.stack([torch.eye(1), 9 * torch.eye(1)]))
        tensor([[4.]])
    """

    name = "BuresWassersteinSPD"

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``½ tr(L_x(u) v)``."""
        product = lyapunov(x, u) * (u if v is None else v)
        return 0.5 * product.sum((-2, -1), keepdim=keepdim)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``2 (G x + x G)``, G the symmetric part of the Euclidean gradient u."""
        half = 2 * sym(u) @ x
        return half + half.mT

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``(I + X) x (I + X)``, ``X = L_x(u)``; a geodesic while ``I + t X ≻ 0``."""
        return _mapped(x, _plus_identity(lyapunov(x, u)))

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``g(X) x g(X)``, ``X = L_x(u)``, with eigenvalues ``g >= ¼``, g = 1 + X to second order.

        A step with ``‖X‖ > 1 / (4 eps^¼)`` is cut to that.
        """
        return _mapped(x, self._retraction_map(x, u))

    def _retraction_map(self, x: Tensor, u: Tensor) -> Tensor:
        return symmetric_function(sym(_bounded(lyapunov(x, u))), positive_factor)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``(T − I) x + x (T − I)``, ``T x T = y``."""
        return transport_logarithm(x, y)

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return ``X x T + T x X``, ``X = L_x(v)``, ``T x T = y``: the projected horizontal lift of v."""
        return _moved(x, _plus_identity(lyapunov(x, transport_logarithm(x, y))), v)

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic and ``v`` transported there."""
        transport_map = _plus_identity(lyapunov(x, u))
        return _mapped(x, transport_map), _moved(x, transport_map, v)

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the retracted point and ``v`` transported there."""
        transport_map = self._retraction_map(x, u)
        return _mapped(x, transport_map), _moved(x, transport_map, v)

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``−(X x Y + Y x X)``, ``X = L_x(u)``, ``Y = L_x(v)``.

        References:
            Malagò, Montrucchio, Pistone (2018), section 6.
        """
        return -2 * sym(lyapunov(x, u) @ x @ lyapunov(x, v))

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return the curvature of the quotient of square matrices by rotations, by O'Neill's formula.

        ``⟨R(u, v)v, u⟩ = 3 ‖x^½ W x‖²`` with ``x W + W x = [L_x(v), L_x(u)]`` (Frobenius): it is nowhere
        negative.
        """
        return curvature_of_quotient(x, u, v, w)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``√(tr x + tr y − 2 tr(x^½ y x^½)^½)``; its gradient at equal points is 0."""
        value = transport_distance(x, y)
        return value[..., None, None] if keepdim else value

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, n, n)`` and ``(..., M, n, n)``."""
        return pairwise_transport_distance(x, y)

    def solve_mean(self, x: Tensor, weights: Tensor | None = None) -> KarcherMean:
        """Return the barycentre, which is unique, by the fixed point of aligned factors.

        Its gradient is by implicit differentiation.

        Warns:
            NumericalWarning: where a problem did not converge, with the largest residual.
        """
        weights = normalized_weights(x, weights, self.ndim)
        with torch.no_grad():
            result = barycentre(x.detach(), weights.detach())
        if not bool(result.converged.all()):
            warn(
                f"mean: {int((~result.converged).sum())} of {result.converged.numel()} means on {self!r} did "
                f"not converge; the largest residual is {result.residual.max().item():.1e}",
                NumericalWarning,
            )
        points = WeightedPoints(self, x, weights)
        return result._replace(mean=differentiable(mean_logarithm, points, result.mean))

    def uniqueness_radius(self) -> float:
        """Return infinity: the barycentre of positive definite matrices is unique.

        References:
            Bhatia, Jain, Lim (2019), theorem 8.
        """
        return math.inf


def _plus_identity(displacement: Tensor) -> Tensor:
    return displacement + torch.eye(
        displacement.shape[-1], dtype=displacement.dtype, device=displacement.device
    )


def _mapped(x: Tensor, transport_map: Tensor) -> Tensor:
    return sym(transport_map @ x @ transport_map)


def _moved(x: Tensor, transport_map: Tensor, v: Tensor) -> Tensor:
    half = lyapunov(x, v) @ x @ transport_map
    return half + half.mT
