"""The Lorentz (hyperboloid) model of hyperbolic space."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from .hyperbolic import HyperbolicSpace, weighted_sum
from .linalg import ball, hyperboloid, spherical
from .linalg.dimensions import append_dimensions
from .linalg.hyperbolic import Curvature, arsinh_ratio, vector_norm, widen
from .linalg.hyperboloid import lift, lift_tangent, space, time
from .linalg.pairwise_arc_length import pairwise_arc_length
from .sampling import gaussian, shape_of

__all__ = ["Lorentz"]


class Lorentz(HyperbolicSpace):
    """The hyperboloid ``{x : ⟨x, x⟩ = −k, x_0 > 0}`` of curvature −1/k, points ``(..., 1 + n)``, time first.

    ``⟨x, y⟩ = −x_0 y_0 + Σ x_i y_i`` is the Minkowski product, and on tangent vectors the metric.
    Exponential, logarithm, parallel transport and distance are exact, and the retraction is the exponential.
    Operations that give points end at a distance of at most about 15√k from the origin in float32 and 35√k in
    float64, which are the points that ``PoincareBall(1 / k)`` can represent.

    A point is what its last n entries say, ``x_0 = √(k + ‖x_s‖²)``, and a tangent vector too,
    ``u_0 = x_sᵀu_s / x_0``; the entries of time that are given are not read. So no product is formed whose
    terms cancel far from the origin, and where k is learned the points stay points. float32 is computed in
    float64.

    Args:
        k: the curvature is −1/k.
        learnable: whether ``k`` is the exponential of a parameter ``log_k``.

    Raises:
        GeowarpError: for a k that is not positive and finite.

    References:
        Nickel, Kiela, Learning continuous hierarchies in the Lorentz model of hyperbolic geometry, ICML
        (2018); Ratcliffe, Foundations of hyperbolic manifolds (2019), chapter 3.

    Example:
        >>> lorentz = Lorentz()
        >>> x = lorentz.projx(torch.tensor([0.0, 0.75, 0.0]))
        >>> x, lorentz.dist0(x)
        (tensor([1.2500, 0.7500, 0.0000]), tensor(0.6931))
    """

    name = "Lorentz"
    symbol = "k"
    curvature = "−1/k"
    __scaling__ = HyperbolicSpace.__scaling__.copy()
    __scaling__["gyro_fn_apply"] = geoopt.manifolds.base.ScalingInfo.NotCompatible

    def __init__(self, k: float = 1.0, learnable: bool = False) -> None:
        super().__init__(k, learnable)

    @property
    def k(self) -> Curvature:
        """The constant: a number, or where it is learnable a tensor of one."""
        return self._constant()

    # --- the contract ---

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``n``, one less than the number of entries."""
        return shape[-1] - 1

    def point_residual(self, x: Tensor) -> Tensor:
        """Return ``|x_0 / √(k + ‖x_s‖²) − 1|``, relative to the size of the point."""
        return (widen(x[..., :1]) / time(space(x), self.k) - 1).abs().squeeze(-1).to(x.dtype)

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``|⟨x, u⟩| / x_0``, the error of ``u_0``."""
        exact = lift_tangent(space(x), space(u), self.k, widen(x).dtype)[..., 0]
        return (widen(u[..., 0]) - exact).abs().to(x.dtype)

    def projx(self, x: Tensor) -> Tensor:
        """Return the point with the same ``x_s``."""
        return lift(space(x), self.k, x.dtype)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the tangent vector with the same ``u_s``, the projection along the axis of time.

        That along x, ``u + ⟨x, u⟩ x / k``, would multiply the rounding error of a tangent vector far out by
        the square of its size.
        """
        return lift_tangent(space(x), space(u), self.k, x.dtype)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``h + ⟨x, h⟩ x / k`` with ``h = (−u_0, u_s)``."""
        point = space(x)
        return lift_tangent(point, hyperboloid.gradient(point, u, self.k), self.k, x.dtype)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``⟨u, v⟩`` of tangent vectors, as ``Σ`` of the products after transport to the origin."""
        point = space(x)
        first = hyperboloid.to_frame(point, space(u), self.k)
        second = first if v is None else hyperboloid.to_frame(point, space(v), self.k)
        return (first * second).sum(-1, keepdim=keepdim).to(u.dtype)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``cosh(t) x + sinh(t) / t u`` with ``t = ‖u‖ / √k``."""
        return lift(hyperboloid.exponential(space(x), space(u), self.k), self.k, x.dtype)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the exponential map."""
        return lift(hyperboloid.exponential(space(x), space(u), self.k), self.k, x.dtype)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``t / sinh(t) (y − cosh(t) x)`` with ``t = dist(x, y) / √k``."""
        point = space(x)
        return lift_tangent(point, hyperboloid.logarithm(point, space(y), self.k), self.k, x.dtype)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``2√k arsinh(√⟨x − y, x − y⟩ / (2√k))``; its gradient at equal points is 0."""
        distance = hyperboloid.distance(space(x), space(y), self.k).to(x.dtype)
        return distance if keepdim else distance.squeeze(-1)

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, 1 + n)`` and ``(..., M, 1 + n)``.

        From the points of the ball, whose distances one matrix product gives; see ``PoincareBall.cdist``.
        """
        if torch.compiler.is_compiling():  # the number of close pairs is no shape that a graph can have
            return self.dist(x[..., :, None, :], y[..., None, :, :])
        root = self.k**0.5
        total, other = (time(space(p), self.k) + root for p in (x, y))
        a, b = ((0.5 * t / root).squeeze(-1) for t in (total, other))
        return root * pairwise_arc_length(space(x) / total, space(y) / other, a, b, x.dtype)

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the parallel transport ``v + ⟨y, v⟩ (x + y) / (k − ⟨x, y⟩)`` along the geodesic."""
        end = space(y)
        return lift_tangent(end, hyperboloid.transport(space(x), end, space(v), self.k), self.k, v.dtype)

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``−⟨u, v⟩ x / k``."""
        point = space(x)
        product = self.inner(x, widen(u), widen(v), keepdim=True)
        return (-product / self.k * torch.cat([time(point, self.k), point], -1)).to(x.dtype)

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return ``−(⟨v, w⟩ u − ⟨u, w⟩ v) / k``."""
        point = space(x)
        first, second, third = (hyperboloid.to_frame(point, space(part), self.k) for part in (u, v, w))
        curved = -spherical.curvature(first, second, third) / self.k
        value = hyperboloid.from_frame(point, curved, self.k)
        return lift_tangent(point, value, self.k, x.dtype)

    def initial_mean(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return the centroid."""
        return self.centroid(x, weights)

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
        point = self.expmap0(vector / (vector.shape[-1] - 1) ** 0.5)
        return geoopt.ManifoldTensor(point, manifold=self)  # type: ignore[no-any-return]

    # --- the origin ---

    def dist0(self, x: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return the distance from the origin, ``√k arsinh(‖x_s‖ / √k)``."""
        distance = self.k**0.5 * torch.asinh(vector_norm(space(x)) / self.k**0.5)
        return (distance if keepdim else distance.squeeze(-1)).to(x.dtype)

    def expmap0(self, u: Tensor) -> Tensor:
        """Return the exponential map at the origin of ``(0, u_s)``, ``(..., 1 + n)``."""
        return self._exp(space(u), u.dtype)

    def logmap0(self, x: Tensor) -> Tensor:
        """Return the logarithm at the origin, ``(0, u_s)``, ``(..., 1 + n)``."""
        u = self._log(x)
        return torch.cat([torch.zeros_like(u[..., :1]), u], -1).to(x.dtype)

    def transp0(self, y: Tensor, u: Tensor) -> Tensor:
        """Return ``u``, tangent at the origin, transported to y."""
        end = space(y)
        return lift_tangent(end, hyperboloid.from_frame(end, space(u), self.k), self.k, u.dtype)

    def transp0back(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u``, tangent at x, transported to the origin."""
        frame = hyperboloid.to_frame(space(x), space(u), self.k)
        return torch.cat([torch.zeros_like(frame[..., :1]), frame], -1).to(u.dtype)

    # --- gyrovector operations ---

    def gyro_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊕ y``: y moved along the geodesic that leads from the origin to x.

        The image of the Möbius sum under ``PoincareBall.to_lorentz``; ``⊖x`` is ``(x_0, −x_s)``.
        """
        return lift(hyperboloid.boost(space(x), space(y), self.k), self.k, x.dtype)

    def gyro_sub(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊖ y = x ⊕ (⊖y)``."""
        return lift(hyperboloid.boost(space(x), -space(y), self.k), self.k, x.dtype)

    def gyro_neg(self, x: Tensor) -> Tensor:
        """Return ``⊖x = (x_0, −x_s)``."""
        return lift(-space(x), self.k, x.dtype)

    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return ``t ⊙ x``, the same as ``gyro_scalar_mul``."""
        return self.gyro_scalar_mul(t, x)

    def gyro_coadd(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊞ y = x ⊕ gyr[x, ⊖y] y``, which commutes, and ``(x ⊞ y) ⊖ y = x``."""
        return lift(hyperboloid.cosum(space(x), space(y), self.k), self.k, x.dtype)

    def gyro_cosub(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊟ y = x ⊞ (⊖y)``."""
        return lift(hyperboloid.cosum(space(x), -space(y), self.k), self.k, x.dtype)

    def gyration(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Return ``gyr[x, y] z = ⊖(x ⊕ y) ⊕ (x ⊕ (y ⊕ z))``, a rotation about the axis of time."""
        root = self.k**0.5
        first, second = (space(p) / (time(space(p), self.k) + root) for p in (x, y))
        return lift(ball.gyrate(-second, first, space(z), 1.0), self.k, z.dtype)

    def gyro_fn_apply(self, fn: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return ``exp_0(fn(log_0(x), *args, **kwargs))``; fn takes and gives space parts ``(..., n)``."""
        return self._exp(widen(fn(self._log(x).to(x.dtype), *args, **kwargs)), x.dtype)

    def gyro_scalar_mul(self, r: Tensor | float, x: Tensor) -> Tensor:
        """Return ``r ⊗ x``, the point at ``r`` times the distance of x from the origin.

        ``r`` is a number, or a tensor that broadcasts with the batch dimensions of x.
        """
        u = self._log(x)
        factor = torch.as_tensor(r, dtype=u.dtype, device=u.device)
        return self._exp(append_dimensions(factor, 1) * u, x.dtype)

    def gyro_pointwise_mul(self, w: Tensor, x: Tensor) -> Tensor:
        """Return ``diag(w) ⊗ x``, of ``(..., n)`` and ``(..., 1 + n)``."""
        return self._exp(w * self._log(x), x.dtype)

    def gyro_matvec(self, m: Tensor, x: Tensor) -> Tensor:
        """Return ``M ⊗ x = exp_0(M log_0(x))``, ``(..., 1 + p)``, of ``(..., p, n)`` and ``(..., 1 + n)``."""
        u, m = self._log(x), widen(m)
        return self._exp(u @ m.mT if m.ndim == 2 else (m @ u[..., None]).squeeze(-1), x.dtype)

    # --- means, hyperplanes, and the other model ---

    def centroid(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return ``√k S / √−⟨S, S⟩`` with ``S = Σ w_i x_i``, the minimiser of ``−Σ w_i ⟨m, x_i⟩``.

        That is of ``Σ w_i d_L(m, x_i)²`` with the squared Lorentzian distance ``−2k − 2⟨x, y⟩``. It is the
        point that ``PoincareBall.einstein_midpoint`` gives, where arguments and accuracy are described.

        Args:
            x: ``(..., N, 1 + n)``.
            weights: ``(..., N)``, nonnegative, with a positive sum; equal by default.

        References:
            Law, Liao, Snell, Zemel, Lorentzian distance learning for hyperbolic representations, ICML (2019),
            theorem 3.3.

        Example:
            >>> lorentz = Lorentz()
            >>> lorentz.centroid(lorentz.projx(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])))
            tensor([1.0987, 0.4551, 0.0000])
        """
        points, k = space(x), self.k
        terms = torch.cat([time(points, k), points, torch.ones_like(points[..., :1])], -1)
        total = weighted_sum(terms, weights)
        across, least = total[..., 1:-1], k * total[..., -1:].square()
        square = total[..., :1].square() - across.square().sum(-1, keepdim=True)
        return lift(across * (k / torch.maximum(square, least)).sqrt(), k, x.dtype)

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

        It consists of the points y with ``⟨y, a⟩ = 0``: ``√k arsinh(|⟨x, a⟩| / (√k ‖a‖))``.

        Args:
            x: ``(..., 1 + n)``.
            p: a point of the hyperplane, ``(..., 1 + n)``.
            a: its normal, a tangent vector at p, ``(..., 1 + n)``; where it is 0 so is the distance.
            keepdim: whether to keep the last dimension, as 1.
            signed: whether the distance is negative on the side away from a.
            scaled: whether to multiply by ``‖a‖``.

        References:
            Ganea, Bécigneul, Hofmann, Hyperbolic neural networks, NeurIPS (2018), theorem 5.

        Example:
            >>> lorentz = Lorentz()
            >>> x, p = lorentz.projx(torch.tensor([[0.0, 1.0, 1.1752], [0.0, 0.0, 0.0]]))
            >>> lorentz.dist2plane(x, p, torch.tensor([0.0, 0.0, 1.0]))
            tensor(1.0000)
        """
        distance = hyperboloid.hyperplane_distance(space(x), space(p), space(a), self.k).to(x.dtype)
        distance = distance if signed else distance.abs()
        distance = distance * self.norm(p, a, keepdim=True) if scaled else distance
        return distance if keepdim else distance.squeeze(-1)

    def to_poincare(self, x: Tensor) -> Tensor:
        """Return the point ``√k x_s / (x_0 + √k)`` of ``PoincareBall(1 / k)``, ``(..., n)``.

        The inverse of ``PoincareBall.to_lorentz``.

        Example:
            >>> Lorentz().to_poincare(torch.tensor([5 / 3, 4 / 3, 0.0]))
            tensor([0.5000, 0.0000])
        """
        return ball.project((space(x) * self._shrink(x)).to(x.dtype), 1 / self.k)

    def tangent_to_poincare(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the differential of ``to_poincare`` at x, ``(..., n)``, of a tangent vector."""
        return (hyperboloid.to_frame(space(x), space(u), self.k) * self._shrink(x)).to(x.dtype)

    # --- pieces ---

    def _shrink(self, x: Tensor) -> Tensor:
        root = self.k**0.5
        return root / (time(space(x), self.k) + root)

    def _exp(self, u: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the exponential at the origin of a space part."""
        return lift(hyperboloid.exponential(torch.zeros_like(u), u, self.k), self.k, dtype)

    def _log(self, x: Tensor) -> Tensor:
        """Return the space part of the logarithm at the origin."""
        points = space(x)
        return arsinh_ratio(vector_norm(points) / self.k**0.5) * points

    def _check_shape(self, shape: tuple[int, ...], name: str) -> tuple[bool, str | None]:
        ok, reason = super()._check_shape(shape, name)
        if ok and shape[-1] < 2:
            return False, f"{name}: the shape is {tuple(shape)}; a point is (..., 1 + n), time first, n > 0"
        return ok, reason
