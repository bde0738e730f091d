"""The contract of a manifold: a subclass of ``geoopt.Manifold``, and what is derived from it."""

import abc
import math
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError, NotOnManifoldError, UnavailableError
from .karcher import KarcherMean, karcher_mean
from .linalg import full_precision, safe_sqrt
from .linalg.dimensions import append_dimensions
from .sampling import gaussian, shape_of

__all__ = ["Manifold"]

_COMPUTED = (
    *("projx", "proju", "egrad2rgrad", "inner", "norm", "retr", "expmap", "logmap"),
    *("transp", "retr_transp", "expmap_transp", "transp_follow_retr", "transp_follow_expmap"),
    *("dist", "dist2", "cdist", "component_inner", "geodesic", "geodesic_unit", "mean", "solve_mean"),
    *("gyro_add", "gyro_neg", "gyro_scale", "gyro_sub", "gyration"),
    *("christoffel", "riemann", "sectional_curvature"),
)


class Manifold(geoopt.Manifold):  # type: ignore[misc]
    """A space whose points are tensors: manifold dimensions last, any leading batch dimensions.

    Two manifolds of one type with equal constants are equal and hash the same. Every operation runs in at
    least float32 with autocast off and returns contiguous tensors. Batch dimensions broadcast.

    A subclass defines ``projx``, ``proju``, ``egrad2rgrad``, ``inner``, ``retr``, ``expmap``, ``dim``,
    ``point_residual`` and ``tangent_residual``. With ``transp`` it can be optimised over with momentum, and
    with ``logmap`` it has distances, geodesics and means.

    Raises:
        NotOnManifoldError: from the ``assert_check_*_on_*`` methods, with the size of the violation.
        UnavailableError: from an operation that the manifold has no formula for.

    Example:
        >>> from geowarp.manifolds import Sphere, Stiefel
        >>> isinstance(Sphere(), Manifold), Sphere() == Sphere(), Stiefel().dim((5, 2))
        (True, True, 7)
    """

    name: str
    ndim: int
    reversible = False
    __scaling__ = geoopt.Manifold.__scaling__.copy()
    __scaling__["cdist"] = geoopt.manifolds.base.ScalingInfo(1)
    __scaling__["geodesic_unit"] = geoopt.manifolds.base.ScalingInfo(t=-1)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _compute_in_full_precision(cls)

    # --- must be defined, beside geoopt's retr, expmap, inner, proju, egrad2rgrad and projx ---

    @abc.abstractmethod
    def dim(self, shape: tuple[int, ...]) -> int:
        """Return the dimension of the manifold whose points have this shape (without batch)."""

    @abc.abstractmethod
    def point_residual(self, x: Tensor) -> Tensor:
        """Return how far each point ``(..., *point)`` is from satisfying the constraint, ``(...)``."""

    @abc.abstractmethod
    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return how far each ``u`` is from the tangent space at ``x``, ``(...)``."""

    # --- may be overridden ---

    def unchecked_residual(self, x: Tensor) -> Tensor:
        """Return the part of ``point_residual`` that operations do not raise for by themselves, ``(...)``."""
        return self.point_residual(x)

    def constants(self) -> tuple[Any, ...]:
        """Return what, beside the type, makes two manifolds equal."""
        return ()

    def origin_point(self, shape: tuple[int, ...]) -> Tensor:
        """Return the point that ``origin`` gives for a shape: by default the projection of zero."""
        point: Tensor = self.projx(torch.zeros(shape))
        return point

    def norm(self, x: Tensor, u: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``√⟨u, u⟩_x``; its gradient at ``u = 0`` is 0."""
        return safe_sqrt(self.inner(x, u, keepdim=keepdim))

    def component_inner(self, x: Tensor, u: Tensor, v: Tensor | None = None) -> Tensor:
        """Return ``⟨u, v⟩_x`` as ``(..., 1, ..., 1)``; for a product, of each component over its entries."""
        product: Tensor = self.inner(x, u, v, keepdim=True)
        return product

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return ``v``, tangent at x, transported to y."""
        raise UnavailableError(f"{self!r} has no transp; proju(y, v) projects v to the tangent space at y")

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the retracted point and ``v`` transported there."""
        y = self.retr(x, u)
        return y, self.transp(x, y, v)

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic and ``v`` transported there."""
        y = self.expmap(x, u)
        return y, self.transp(x, y, v)

    def transp_follow_retr(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return the second result of ``retr_transp``."""
        return self.retr_transp(x, u, v)[1]

    def transp_follow_expmap(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return the second result of ``expmap_transp``."""
        return self.expmap_transp(x, u, v)[1]

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the shortest ``u`` at x with ``exp_x(u) = y``."""
        raise UnavailableError(f"{self!r} has no logmap; move along retr or expmap instead")

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``‖log_x y‖_x``; its gradient at equal points is 0."""
        return self.norm(x, self.logmap(x, y), keepdim=keepdim)

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return the squared distance; its gradient at equal points is 0."""
        return self.dist(x, y, keepdim=keepdim).square()

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, *point)`` and ``(..., M, *point)``."""
        return self.dist(x.unsqueeze(-self.ndim - 1), y.unsqueeze(-self.ndim - 2))

    def geodesic(self, t: Tensor | float, x: Tensor, y: Tensor) -> Tensor:
        """Return ``exp_x(t log_x y)``, the geodesic that is at x for t = 0 and at y for t = 1.

        Args:
            t: a number, or a tensor that broadcasts with the batch dimensions of x and y: for m times of a
                batch of B points, ``(m, 1)`` gives ``(m, B, *point)``.
            x: ``(..., *point)``.
            y: ``(..., *point)``.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> Euclidean(1).geodesic(torch.tensor([0.0, 0.5]), torch.zeros(2), torch.ones(2))
            tensor([[0.0000, 0.0000],
                    [0.5000, 0.5000]])
        """
        return self.geodesic_unit(t, x, self.logmap(x, y))

    def geodesic_unit(self, t: Tensor | float, x: Tensor, u: Tensor) -> Tensor:
        """Return ``exp_x(t u)``, where the geodesic of unit speed along ``u``, ``‖u‖_x = 1``, is at time t.

        ``t`` is as for ``geodesic``.

        Example:
            >>> from geowarp.manifolds import Sphere
            >>> Sphere().geodesic_unit(torch.pi / 6, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
            tensor([0.8660, 0.5000])
        """
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        point: Tensor = self.expmap(x, append_dimensions(time, self.ndim) * u)
        return point

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``Γ_x(u, v)``, bilinear and symmetric, of the shape of a point.

        The entries of a geodesic satisfy ``ẍ = −Γ_x(ẋ, ẋ)``, and the covariant derivative of a vector field v
        along u is ``Dv[u] + Γ_x(u, v)``. On a manifold that inherits the metric of the surrounding space it
        is minus the second fundamental form, which is no tangent vector.

        Example:
            >>> from geowarp.manifolds import Sphere
            >>> x, u, _ = torch.eye(3)
            >>> Sphere().christoffel(x, u, u)
            tensor([1., 0., 0.])
        """
        raise UnavailableError(f"{self!r} has no christoffel; take second differences of expmap or retr")

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return the tangent vector ``R(u, v) w = ∇_u ∇_v w − ∇_v ∇_u w − ∇_[u,v] w``.

        Example:
            >>> from geowarp.manifolds import Sphere
            >>> x, u, v = torch.eye(3)
            >>> Sphere().riemann(x, u, v, v)
            tensor([0., 1., 0.])
        """
        raise UnavailableError(f"{self!r} has no riemann: it has no closed form for its curvature")

    def sectional_curvature(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``⟨R(u, v)v, u⟩ / (‖u‖²‖v‖² − ⟨u, v⟩²)``, the curvature of a plane, ``(...)``.

        It is NaN where u and v are parallel to rounding, and span no plane.

        Example:
            >>> from geowarp.manifolds import PoincareBall
            >>> PoincareBall(0.5).sectional_curvature(torch.tensor([0.3, 0.1]), *torch.eye(2))
            tensor(-0.5000)
        """
        u = u / self.norm(x, u, keepdim=True)
        v = v / self.norm(x, v, keepdim=True)
        v = v - self.inner(x, u, v, keepdim=True) * u
        size = self.norm(x, v, keepdim=True)
        v = v / torch.where(size > 16 * torch.finfo(v.dtype).eps, size, torch.nan)
        curvature: Tensor = self.inner(x, self.riemann(x, u, v, v), u)
        return curvature

    def mean(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the Fréchet mean, ``argmin_m Σ w_i dist(m, x_i)²``, differentiable in points and weights.

        Args:
            x: ``(..., N, *point)``.
            weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default.

        Returns:
            ``(..., *point)``; ``solve_mean`` also says how well it converged, and whether it is unique.

        Raises:
            GeowarpError: for negative weights, weights that sum to 0, or no points.
            NonFiniteError: for points or weights that are infinite or not a number.

        Example:
            >>> from geowarp.manifolds import Sphere
            >>> Sphere().mean(torch.eye(3))
            tensor([0.5774, 0.5774, 0.5774])
        """
        return self.solve_mean(x, weights).mean

    def solve_mean(self, x: Tensor, weights: Tensor | None = None) -> KarcherMean:
        """Return the mean, and how well it was found: what a manifold overrides that has its own way to it.

        The arguments are those of ``mean``. A closed form takes 0 iterations; ``describe_mean`` of
        ``geowarp.manifolds.karcher`` adds the rest to it.

        Example:
            >>> from geowarp.manifolds import Sphere
            >>> Sphere().solve_mean(torch.eye(3)).radius
            tensor(0.9553)
        """
        return karcher_mean(self, x, weights)

    def uniqueness_radius(self) -> float:
        """Return the radius of balls such that points within one have exactly one mean; NaN if it is unknown.

        It is half of the smaller one of the injectivity radius and of π over the root of the largest
        sectional curvature.

        References:
            Afsari, Riemannian L^p center of mass, Proc. AMS 139 (2011), theorem 2.1.
        """
        return math.nan

    def initial_mean(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return where the search for the mean starts: the projection of the arithmetic mean.

        Args:
            x: ``(..., N, *point)``.
            weights: ``(..., N)``, with sum 1.
        """
        point: Tensor = self.projx((append_dimensions(weights, self.ndim) * x).sum(-self.ndim - 1))
        return point

    def random(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the projection of standard normal entries, which is uniform on a sphere or on Stiefel."""
        self._assert_check_shape(shape_of(size), "random")
        point = self.projx(gaussian(size, dtype, device, generator))
        return geoopt.ManifoldTensor(point, manifold=self)  # type: ignore[no-any-return]

    # --- derived ---

    def origin(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        seed: int | None = 42,
    ) -> Tensor:
        """Return the distinguished point of the manifold; ``seed`` is geoopt's, and without effect."""
        self._assert_check_shape(shape_of(size), "origin")
        dtype = torch.get_default_dtype() if dtype is None else dtype
        point = self.origin_point(shape_of(size)).to(device=device, dtype=dtype).contiguous()
        return geoopt.ManifoldTensor(point, manifold=self)  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.constants() == other.constants()

    def __hash__(self) -> int:
        return hash((type(self), self.constants()))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.constants()))})"

    def _check_shape(self, shape: tuple[int, ...], name: str) -> tuple[bool, str | None]:
        if len(shape) < self.ndim:
            return False, f"{name}: a point has {self.ndim} dimensions, and the shape is {tuple(shape)}"
        return True, None

    def _assert_check_shape(self, shape: tuple[int, ...], name: str) -> None:
        ok, reason = self._check_shape(shape, name)
        if not ok:
            raise GeowarpError(f"{self!r}: {reason}")

    def assert_check_point(self, x: Tensor) -> None:
        """Raise GeowarpError where ``x`` has not the shape of a point."""
        self._assert_check_shape(x.shape, "x")

    def assert_check_vector(self, u: Tensor) -> None:
        """Raise GeowarpError where ``u`` has not the shape of a tangent vector."""
        self._assert_check_shape(u.shape, "u")

    def assert_check_point_on_manifold(self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5) -> None:
        """Raise NotOnManifoldError, with the number and the remedy, where ``x`` is not a point."""
        self.assert_check_point(x)
        ok, reason = self.check_point_on_manifold(x, atol=atol, rtol=rtol, explain=True)
        if not ok:
            raise NotOnManifoldError(f"{self!r}: {reason}; project it with {self!r}.projx(x)")

    def assert_check_vector_on_tangent(
        self, x: Tensor, u: Tensor, *, ok_point: bool = False, atol: float = 1e-5, rtol: float = 1e-5
    ) -> None:
        """Raise NotOnManifoldError, with the number and the remedy, where ``u`` is not tangent at ``x``."""
        self.assert_check_point(x)
        self.assert_check_vector(u)
        ok, reason = self.check_vector_on_tangent(x, u, ok_point=ok_point, atol=atol, rtol=rtol, explain=True)
        if not ok:
            raise NotOnManifoldError(f"{self!r}: {reason}; project it with {self!r}.proju(x, u)")

    def _check_point_on_manifold(
        self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        return _within(self.point_residual(x), torch.as_tensor(atol), "departure of the point")

    def _check_vector_on_tangent(
        self, x: Tensor, u: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        dims = tuple(range(-self.ndim, 0))
        size = u.square().sum(dims).sqrt() if dims else u.abs()
        return _within(self.tangent_residual(x, u), atol + rtol * size, "departure from the tangent space")


def _compute_in_full_precision(manifold: type[Manifold]) -> None:
    for name in _COMPUTED:
        if name in manifold.__dict__:
            setattr(manifold, name, full_precision(manifold.__dict__[name]))


_compute_in_full_precision(Manifold)  # type: ignore[type-abstract]


def _within(residual: Tensor, bound: Tensor, what: str) -> tuple[bool, str | None]:
    if residual.numel() == 0 or bool((residual <= bound).all()):
        return True, None
    return False, f"{what} is {residual.max().item():.1e}, above {bound.max().item():.1e}"
