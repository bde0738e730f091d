"""The Poincaré ball model of hyperbolic space."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from .hyperbolic import HyperbolicSpace, weighted_sum
from .linalg import ball, hyperboloid, spherical
from .linalg.broadcasting import broadcast_shapes
from .linalg.dimensions import append_dimensions
from .linalg.hyperbolic import Curvature, arc_length, vector_norm, widen
from .linalg.pairwise_arc_length import pairwise_arc_length
from .sampling import gaussian, shape_of

__all__ = ["PoincareBall"]


class PoincareBall(HyperbolicSpace):
    """The ball ``{x : c‖x‖² < 1}`` of curvature −c, points ``(..., n)``, metric ``λ_x² uᵀv``.

    ``λ_x = 2 / (1 − c‖x‖²)`` is the conformal factor. Exponential, logarithm, parallel transport and distance
    are exact, and the retraction is the exponential. Operations that give points end strictly inside, at
    ``1 − c‖x‖² ≥ 8 eps``: at most about 15/√c from the origin in float32, and 35/√c in float64. A step of one
    rounding unit in the entries is there a distance of 1/8.

    Nothing is subtracted that is not a difference of entries, but for the gap ``1 − c‖x‖²`` to the boundary.
    That is computed in float64 for float32, so distances are right to rounding, for the entries as given, up
    to the boundary; in float64 it is rounded, a relative error of distances of about ``eps exp(√c r)``.

    Args:
        c: the curvature is −c.
        learnable: whether ``c`` is the exponential of a parameter ``log_c``. The points of a ball whose c
            grows may find themselves outside; ``projx`` moves them inside, and so does every step.

    Raises:
        GeowarpError: for a c that is not positive and finite.

    References:
        Ganea, Bécigneul, Hofmann, Hyperbolic neural networks, NeurIPS (2018); Ungar, Analytic hyperbolic
        geometry: mathematical foundations and applications (2005).

    Example:
        >>> ball = PoincareBall()
        >>> ball.dist(torch.tensor([0.0, 0.0]), torch.tensor([0.5, 0.0]))
        tensor(1.0986)
        >>> v = torch.tensor([0.3, 0.4])
        >>> ball.mobius_add(-v, v)
        tensor([0., 0.])
    """

    name = "PoincareBall"
    symbol = "c"
    curvature = "−c"
    __scaling__ = HyperbolicSpace.__scaling__.copy()
    __scaling__["mobius_fn_apply"] = geoopt.manifolds.base.ScalingInfo.NotCompatible

    def __init__(self, c: float = 1.0, learnable: bool = False) -> None:
        super().__init__(c, learnable)

    @property
    def c(self) -> Curvature:
        """The constant: a number, or where it is learnable a tensor of one."""
        return self._constant()

    # --- the contract ---

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``n``."""
        return shape[-1]

    def point_residual(self, x: Tensor) -> Tensor:
        """Return 0 inside of the ball, and ``√c ‖x‖ ≥ 1`` outside."""
        size = (self.c**0.5 * vector_norm(widen(x))).squeeze(-1)
        return torch.where(size < 1, 0, size).to(x.dtype)

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return 0: every vector is tangent."""
        return torch.zeros_like((x + u)[..., 0])

    def projx(self, x: Tensor) -> Tensor:
        """Return ``x``, and where ``1 − c‖x‖² < 8 eps`` the point of its ray where it is ``8 eps``."""
        return ball.project(x, self.c)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u``: every vector is tangent."""
        return u.expand(broadcast_shapes(x.shape, u.shape))

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u / λ_x²``."""
        return (0.5 * ball.boundary_gap(x, self.c)).square() * u

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``λ_x² uᵀv``."""
        factor = 2 / ball.boundary_gap(x, self.c)
        return ((factor * u) * (factor * (u if v is None else v))).sum(-1, keepdim=keepdim)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x ⊕ tanh(√c λ_x ‖u‖ / 2) u / (√c ‖u‖)``."""
        return ball.exponential(x, u, self.c)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the exponential map."""
        return ball.exponential(x, u, self.c)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``2 / (√c λ_x) artanh(√c ‖w‖) w / ‖w‖`` with ``w = ⊖x ⊕ y``."""
        return ball.logarithm(x, y, self.c)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``2/√c arsinh(√c/2 √(λ_x λ_y) ‖x − y‖)``; its gradient at equal points is 0."""
        distance = ball.distance(x, y, self.c)
        return distance if keepdim else distance.squeeze(-1)

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, n)`` and ``(..., M, n)``.

        One matrix product; pairs that it does not tell accurately are computed one by one. Needs the memory
        of the result. The gradient can be differentiated once.
        """
        if torch.compiler.is_compiling():  # the number of close pairs is no shape that a graph can have
            return self.dist(x[..., :, None, :], y[..., None, :, :])
        root = self.c**0.5
        a, b = ((root / ball.wide_boundary_gap(p, self.c)).squeeze(-1) for p in (x, y))
        return pairwise_arc_length(widen(x), widen(y), a, b, x.dtype) / root

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the parallel transport ``λ_x / λ_y gyr[y, ⊖x] v`` along the geodesic."""
        return ball.transport(x, y, v, self.c)

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``λ_x c (xᵀu v + xᵀv u − uᵀv x)``."""
        return ball.christoffel(x, u, v, self.c)

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return ``−c (⟨v, w⟩_x u − ⟨u, w⟩_x v)``."""
        factor = (2 / ball.boundary_gap(x, self.c)).square()
        return -self.c * factor * spherical.curvature(u, v, w)

    def initial_mean(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return the Einstein midpoint."""
        return self.einstein_midpoint(x, weights)

    @torch.no_grad()
    def random(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return exponentials of normal tangent vectors at the origin, of mean squared norm 1."""
        self._assert_check_shape(shape_of(size), "random")
        vector = gaussian(size, dtype, device, generator)
        point = self.expmap0(vector * (0.5 / vector.shape[-1] ** 0.5))
        return geoopt.ManifoldTensor(point, manifold=self)  # type: ignore[no-any-return]

    # --- the origin ---

    def lambda_x(self, x: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return the conformal factor ``2 / (1 − c‖x‖²)``."""
        factor = 2 / ball.boundary_gap(x, self.c)
        return factor if keepdim else factor.squeeze(-1)

    def dist0(self, x: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return the distance from the origin, ``2/√c artanh(√c ‖x‖)``."""
        root = self.c**0.5
        distance = arc_length(root * vector_norm(x) / ball.boundary_gap(x, self.c).sqrt()) / root
        return distance if keepdim else distance.squeeze(-1)

    def expmap0(self, u: Tensor) -> Tensor:
        """Return the exponential map at the origin, ``tanh(√c ‖u‖) u / (√c ‖u‖)``."""
        return ball.exponential_at_origin(u, self.c)

    def logmap0(self, x: Tensor) -> Tensor:
        """Return the logarithm at the origin, ``artanh(√c ‖x‖) x / (√c ‖x‖)``."""
        return ball.logarithm_at_origin(x, self.c)

    def transp0(self, y: Tensor, u: Tensor) -> Tensor:
        """Return ``u``, tangent at the origin, transported to y: ``(1 − c‖y‖²) u``."""
        return ball.boundary_gap(y, self.c) * u

    def transp0back(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u``, tangent at x, transported to the origin: ``u / (1 − c‖x‖²)``."""
        return u / ball.boundary_gap(x, self.c)

    # --- Möbius operations ---

    def gyro_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊕ y``, the same as ``mobius_add``."""
        return ball.add(x, y, self.c)

    def gyro_neg(self, x: Tensor) -> Tensor:
        """Return ``⊖x = −x``."""
        return -x

    def gyro_sub(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊖ y``, the same as ``mobius_sub``."""
        return ball.add(x, -y, self.c)

    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return ``t ⊙ x``, the same as ``mobius_scalar_mul``."""
        return self.mobius_scalar_mul(t, x)

    def mobius_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊕ y``: y moved along the geodesic that leads from the origin to x.

        ``((1 + 2c xᵀy + c‖y‖²) x + (1 − c‖x‖²) y) / (1 + 2c xᵀy + c²‖x‖²‖y‖²)``, without cancellation.
        """
        return ball.add(x, y, self.c)

    def mobius_sub(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊖ y = x ⊕ (−y)``."""
        return ball.add(x, -y, self.c)

    def mobius_coadd(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊞ y = x ⊕ gyr[x, ⊖y] y``, which commutes, and ``(x ⊞ y) ⊖ y = x``."""
        return ball.coadd(x, y, self.c)

    def mobius_cosub(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊟ y = x ⊞ (−y)``."""
        return ball.coadd(x, -y, self.c)

    def gyration(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Return the rotation ``gyr[x, y] z = ⊖(x ⊕ y) ⊕ (x ⊕ (y ⊕ z))``."""
        return ball.gyrate(-y, x, z, self.c)

    def mobius_fn_apply(self, fn: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return ``exp_0(fn(log_0(x), *args, **kwargs))``."""
        return self.expmap0(fn(self.logmap0(x), *args, **kwargs))

    def mobius_scalar_mul(self, r: Tensor | float, x: Tensor) -> Tensor:
        """Return ``r ⊗ x``, the point at ``r`` times the distance of x from the origin.

        ``r`` is a number, or a tensor that broadcasts with the batch dimensions of x.
        """
        factor = torch.as_tensor(r, dtype=x.dtype, device=x.device)
        return self.expmap0(append_dimensions(factor, 1) * self.logmap0(x))

    def mobius_pointwise_mul(self, w: Tensor, x: Tensor) -> Tensor:
        """Return ``diag(w) ⊗ x``."""
        return self.expmap0(w * self.logmap0(x))

    def mobius_matvec(self, m: Tensor, x: Tensor) -> Tensor:
        """Return ``M ⊗ x = exp_0(M log_0(x))``, ``(..., p)``, of ``(..., p, n)`` and ``(..., n)``."""
        u = self.logmap0(x)
        return self.expmap0(u @ m.mT if m.ndim == 2 else (m @ u[..., None]).squeeze(-1))

    # --- means, hyperplanes, and the other model ---

    def einstein_midpoint(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return ``½ ⊗ Σ w_i λ_i x_i / Σ w_i (λ_i − 1)``, the point that ``Lorentz.centroid`` gives too.

        It minimises ``Σ w_i sinh²(√c dist(m, x_i) / 2)``. Costs one matrix product; the weights are not
        checked. The relative error grows with ``exp(2√c r)`` of the radius r, from ``1e-16`` in float64 and
        for float32.

        Args:
            x: ``(..., N, n)``.
            weights: ``(..., N)``, nonnegative, with a positive sum; equal by default. They broadcast over the
                dimensions before N: x ``(B, 1, N, n)`` and weights ``(B, Q, N)`` give ``(B, Q, n)``.

        References:
            Ungar, Analytic hyperbolic geometry: mathematical foundations and applications (2005), section
            6.22.1; Law, Liao, Snell, Zemel, Lorentzian distance learning for hyperbolic representations, ICML
            (2019), theorem 3.3.

        Example:
            >>> PoincareBall().einstein_midpoint(torch.tensor([[0.0, 0.0], [0.8, 0.0]]))
            tensor([0.5000, 0.0000])
        """
        factor = 2 / ball.wide_boundary_gap(x, self.c)
        terms = torch.cat([factor * widen(x), factor - 1, torch.ones_like(factor)], -1)
        total = weighted_sum(terms, weights)
        middle = ball.midpoint(total[..., :-2], total[..., -2:-1], total[..., -1:], self.c)
        return ball.project(middle.to(x.dtype), self.c)

    def dist2plane(
        self,
        x: Tensor,
        p: Tensor,
        a: Tensor,
        *,
        keepdim: bool = False,
        signed: bool = False,
        scaled: bool = False,
    ) -> Tensor:
        """Return the distance from x to the hyperplane through p that is orthogonal to ``a``.

        It consists of the points y with ``⟨log_p(y), a⟩ = 0``.

        Args:
            x: ``(..., n)``.
            p: a point of the hyperplane, ``(..., n)``.
            a: its normal, a tangent vector at p, ``(..., n)``; where it is 0 so is the distance.
            keepdim: whether to keep the last dimension, as 1.
            signed: whether the distance is negative on the side away from a.
            scaled: whether to multiply by ``‖a‖_p = λ_p ‖a‖``, which gives the logits of hyperbolic logistic
                regression. geoopt multiplies by ``‖a‖``.

        References:
            Ganea, Bécigneul, Hofmann, Hyperbolic neural networks, NeurIPS (2018), theorem 5, equation 25.

        Example:
            >>> x, p, a = torch.tensor([0.5, 0.3]), torch.zeros(2), torch.tensor([0.0, 1.0])
            >>> PoincareBall().dist2plane(x, p, a)
            tensor(0.8156)
        """
        distance = ball.hyperplane_distance(x, p, a, self.c)
        distance = distance if signed else distance.abs()
        distance = distance * self.norm(p, a, keepdim=True) if scaled else distance
        return distance if keepdim else distance.squeeze(-1)

    def to_lorentz(self, x: Tensor) -> Tensor:
        """Return the point ``(..., 1 + n)`` of ``Lorentz(1 / c)`` under the isometry of the two models.

        ``(√k (1 + c‖x‖²), 2x) / (1 − c‖x‖²)`` with ``k = 1/c``; ``Lorentz.to_poincare`` is the inverse.

        Example:
            >>> PoincareBall().to_lorentz(torch.tensor([0.5, 0.0]))
            tensor([1.6667, 1.3333, 0.0000])
        """
        return hyperboloid.lift(self._space(x), 1 / self.c, x.dtype)

    def tangent_to_lorentz(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the differential of ``to_lorentz`` at x, ``(..., 1 + n)``, of a tangent vector."""
        point, k = self._space(x), 1 / self.c
        frame = widen(u) * (2 / ball.wide_boundary_gap(x, self.c))
        return hyperboloid.lift_tangent(point, hyperboloid.from_frame(point, frame, k), k, x.dtype)

    def _space(self, x: Tensor) -> Tensor:
        return widen(x) * (2 / ball.wide_boundary_gap(x, self.c))
