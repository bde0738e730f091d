"""The fairness-warped metric: a base manifold whose distances stretch where functions on it change."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..._warn import warn
from ...errors import FairnessWarning, GeowarpError, PerformanceWarning
from ..component import fingerprint
from ..linalg import safe_sqrt
from ..linalg.broadcasting import broadcast_shapes
from . import curvature
from .bounds import WarpedDistance, base_geodesic_length
from .frame import inner_product
from .geodesic_solution import WarpedGeodesic
from .graph_flow import graph_flow
from .graph_metric import gradients, raised
from .graph_paths import GraphPaths
from .over_base import OverBase, or_base, pairwise
from .potential import Potential, check_values, differentials, identity

__all__ = ["FairnessWarped"]

_MANY = 10_000  # geodesics, which take seconds
_MODES = ("geodesic", "chord", "upper")


class FairnessWarped(OverBase):
    """A base manifold with the metric ``G = g + Σ_k α_k db_k ⊗ db_k`` of K functions b on it.

    It is the metric of the graph of ``√α b``: the pull-back of ``g ⊕ Euclid^K`` by ``x ↦ (x, √α b(x))``.
    Points, tangent spaces, the retraction and the transport are those of the base; lengths grow along the
    gradients of b, by ``√(1 + α|grad b|²)``, and across them they stay. With a ``ParityPotential`` for b
    every point is as far from one group as from another. α = 0 is the base itself, bit for bit.

    There are two distances. The chord ``√(d_g(x, y)² + Σ α_k (b_k(x) − b_k(y))²)`` is a metric in closed
    form; the geodesic one, which belongs to ``logmap`` and ``expmap``, is at least as long, and at most the
    length of the base's geodesic. Geodesics are found by a batched search (``solve_geodesic``); distances
    and logarithms can be differentiated once, by points, α and parameters of the potential.

    The search starts beside the geodesic of the base, and finds a path that is shortest among its neighbours;
    one around the other side of a hill may be shorter. It needs potentials with second derivatives: across a
    kink, estimated errors are too small.

    Inspired by the idea of a fairness-aware metric (Riemannian geometry for fairness in attention mechanisms
    of language models, ICSC 2025), of which only the abstract is known to us; the definition is geowarp's. A
    sum of gradients is a covector and no metric; the sum of their squares is one.

    Args:
        base: a manifold of geowarp or of geoopt.
        potential: a function or module b that maps ``(..., *point)`` to ``(..., K)``, each point by itself.
        alpha: α ≥ 0, a number or one for each potential; by default that of the potential.
        learnable: whether α is the exponential of a parameter ``log_alpha``.
        segments: of the discrete geodesics, 4 times a power of 2: more are more accurate, and slower.

    Raises:
        GeowarpError: for a base that is no manifold, a negative or infinite α, a learnable α of 0, and from
            its operations for a potential that returns another shape or dtype.
        UnavailableError: from operations that the base has no formula for, and from second derivatives of the
            distance and the logarithm.

    Warns:
        FairnessWarning: where α is not that of a potential that has one: its parity then does not hold.

    References:
        Hartmann, Girolami, Klami, Warped geometric information on the optimisation of Euclidean functions,
        arXiv:2308.08305 (2023), for the metric of a graph; Arvanitidis, Hansen, Hauberg, Latent space oddity:
        on the curvature of deep generative models, ICLR (2018), for pull-back metrics.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> plane = FairnessWarped(Euclidean(1), lambda x: x[..., :1] ** 2, alpha=1.0)
        >>> x, y = torch.zeros(2), torch.tensor([1.0, 1.0])
        >>> plane.dist(x, y), plane.dist(x, y, mode="chord")
        (tensor(1.7853), tensor(1.7321))
    """

    name = "FairnessWarped"

    def __init__(
        self,
        base: geoopt.Manifold,
        potential: Potential,
        alpha: float | Sequence[float] | Tensor | None = None,
        *,
        learnable: bool = False,
        segments: int = 32,
    ) -> None:
        super().__init__(base, segments)
        if not callable(potential):
            raise GeowarpError(
                f"FairnessWarped: the potential is {potential!r}; give a function of points (..., *point) "
                "that returns (..., K)"
            )
        given = _chosen(potential, alpha)
        numbers = _double(given)
        _check_alpha(numbers, learnable)
        self.potential = potential
        self.log_alpha = (
            torch.nn.Parameter(numbers.log().to(torch.get_default_dtype())) if learnable else None
        )
        self._tensor = given if isinstance(given, Tensor) and given.requires_grad and not learnable else None
        self._numbers = None if learnable or self._tensor is not None else numbers
        self._plain = self._numbers is not None and not bool(numbers.any())

    # --- the metric ---

    @property
    def alpha(self) -> Tensor:
        """α, ``()`` or ``(K,)``: of float64, unless it is learned or was given with a gradient."""
        if self.log_alpha is not None:
            return self.log_alpha.exp()
        return self._numbers if self._tensor is None else self._tensor  # type: ignore[return-value]

    def constants(self) -> tuple[Any, ...]:
        """Return the base, the potential and α; what is learned is compared by identity."""
        numbers = None if self._numbers is None else tuple(self._numbers.reshape(-1).tolist())
        alpha = (id(self.log_alpha), id(self._tensor)) if numbers is None else numbers
        return fingerprint(self.base), identity(self.potential), alpha, self.segments

    def __repr__(self) -> str:
        alpha = self.alpha.detach().tolist()
        kind = getattr(self.potential, "__name__", type(self.potential).__name__)
        return f"FairnessWarped({self._base_expression()}, {kind}, alpha={alpha})"

    def potential_values(self, x: Tensor) -> Tensor:
        """Return b at points, ``(..., K)``, if the potential returns what it promises.

        Raises:
            GeowarpError: for another type, shape or dtype, with the one that it must have.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> m = FairnessWarped(Euclidean(1), lambda x: x[..., :1] ** 2, 1.0)
            >>> m.potential_values(torch.ones(3, 2))
            tensor([[1.],
                    [1.],
                    [1.]])
        """
        alpha = self.alpha
        entries = None if alpha.ndim == 0 else len(alpha)
        return check_values("FairnessWarped", self.potential(x), x, self.ndim, entries)

    def potential_differentials(self, x: Tensor) -> Tensor:
        """Return the derivatives of b by the entries of a point, ``(..., K, *point)``.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> m = FairnessWarped(Euclidean(1), lambda x: x[..., :1] ** 2, 1.0)
            >>> m.potential_differentials(torch.ones(2))
            tensor([[2., 0.]])
        """
        return differentials(self.potential_values, x, self.ndim, create_graph=self.keeps_graph(x))[1]

    @or_base
    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``⟨u, v⟩_g + Σ α_k db_k(u) db_k(v)``."""
        product = inner_product(self.base, x, u, u if v is None else v)
        _, slope = differentials(self._scaled, x, self.ndim, create_graph=self.keeps_graph(x, u, v))
        first = self._contract(slope, u)
        second = first if v is None else self._contract(slope, v)
        return self._keep(product + (first * second).sum(-1), keepdim)

    @or_base
    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``grad f − Σ grad b_k [(A⁻¹ + Jg⁻¹Jᵀ)⁻¹ db(grad f)]_k``, by K equations (Woodbury)."""
        gradient: Tensor = self.base.egrad2rgrad(x, u)
        _, lifts = gradients(self.base, self._scaled, x, create_graph=self.keeps_graph(x, u))
        return raised(self.base, x, lifts, gradient)

    # --- distances ---

    def dist(
        self,
        x: Tensor,
        y: Tensor,
        *,
        keepdim: bool = False,
        mode: str = "geodesic",
        return_bounds: bool = False,
    ) -> Tensor:
        """Return the distance; with bounds, a ``WarpedDistance``: chord ≤ geodesic ≤ upper.

        Args:
            x: ``(..., *point)``.
            y: ``(..., *point)``.
            keepdim: whether the dimensions of a point stay, of size 1.
            mode: ``"geodesic"``, by a search; ``"chord"``, ``√(d_g² + Σ α_k (b_k(x) − b_k(y))²)``; or
                ``"upper"``, the length of the geodesic of the base. The last two are cheap, and equal where b
                is affine along that geodesic.
            return_bounds: whether to return the chord and the upper bound, too.

        Warns:
            NumericalWarning: where the search for a geodesic did not converge.
        """
        lengths = {"chord": self._chord, "upper": self._upper, "geodesic": self._geodesic_length}
        if mode not in lengths:
            raise GeowarpError(f"FairnessWarped: mode = {mode!r}; it is one of {', '.join(_MODES)}")
        if self._plain:
            distance = self.base.dist(x, y)
            lower = upper = distance
        else:
            distance = lengths[mode](x, y)
            lower, upper = (self._chord(x, y), self._upper(x, y)) if return_bounds else (distance, distance)
        if not return_bounds:
            return self._keep(distance, keepdim)
        bounds = (self._keep(part, keepdim) for part in (distance, lower, upper))
        return WarpedDistance(*bounds)  # type: ignore[return-value]

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False, mode: str = "geodesic") -> Tensor:
        """Return the squared distance; ``mode`` is that of ``dist``."""
        if self._plain:
            return self.base.dist2(x, y, keepdim=keepdim)  # type: ignore[no-any-return]
        if mode == "chord":
            return self._keep(self._squared_chord(x, y), keepdim)
        return self.dist(x, y, keepdim=keepdim, mode=mode).square()

    def cdist(self, x: Tensor, y: Tensor, *, mode: str = "geodesic") -> Tensor:
        """Return all distances ``(..., N, M)``; ``mode`` is that of ``dist``, and chords are cheap.

        Warns:
            PerformanceWarning: for more than 10,000 geodesics.
        """
        if self._plain:
            return pairwise(self.base, x, y)
        if mode == "chord":
            lift = torch.cdist(self._scaled(x), self._scaled(y), compute_mode="donot_use_mm_for_euclid_dist")
            return safe_sqrt(pairwise(self.base, x, y).square() + lift.square())
        x, y = x.unsqueeze(-self.ndim - 1), y.unsqueeze(-self.ndim - 2)
        batch = broadcast_shapes(x.shape[: x.ndim - self.ndim], y.shape[: y.ndim - self.ndim])
        if mode == "geodesic" and batch.numel() > _MANY:
            warn(
                f"FairnessWarped.cdist: {batch.numel()} geodesics are searched for; chords have a closed "
                'form: mode="chord"',
                PerformanceWarning,
            )
        return self.dist(x, y, mode=mode)

    # --- geodesics ---

    def solve_geodesic(self, x: Tensor, y: Tensor) -> WarpedGeodesic:
        """Return the geodesics from x to y, ``(..., *point)``, found in one batch, and how well.

        Warns:
            NumericalWarning: where a search did not converge, with the largest residual.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> m = FairnessWarped(Euclidean(1), lambda x: x[..., :1] ** 2, 1.0, segments=4)
            >>> m.solve_geodesic(torch.zeros(2), torch.ones(2)).points
            tensor([[0.0000, 0.0000],
                    [0.3545, 0.2500],
                    [0.6171, 0.5000],
                    [0.8249, 0.7500],
                    [1.0000, 1.0000]])
        """
        with torch.no_grad():
            self.potential_values(x)  # whose message shows the shapes that the user knows
        return self._solver.solve(GraphPaths(self.base, self._scaled), x, y)

    @or_base
    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the initial velocity of the geodesic, by ``solve_geodesic``."""
        velocity: Tensor = self.solve_geodesic(x, y).velocity
        return velocity

    @or_base
    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the end of the geodesic of velocity u, by the integrator that ``graph_flow`` describes."""
        return self._flowed(graph_flow, self._scaled, x, u)

    # --- curvature ---

    def potential_hessian(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``∇²b_k(u, v)``, ``(..., K)``, the Hessians under the connection of the base.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> e = torch.eye(2)[0]
            >>> FairnessWarped(Euclidean(1), lambda x: x[..., :1] ** 2, 1.0).potential_hessian(e, e, e)
            tensor([2.])
        """
        result: Tensor = curvature.potential_hessian(self, x, u, v)
        return result

    @or_base
    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``Γ_g(u, v) + Σ_kl grad b_k S_kl ∇²b_l(u, v)``, ``S = (A⁻¹ + Jg⁻¹Jᵀ)⁻¹``."""
        result: Tensor = curvature.graph_christoffel(self, x, u, v)
        return result

    @or_base
    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return ``R(u, v)w``, by the equation of Gauss for the graph."""
        result: Tensor = curvature.graph_riemann(self, x, u, v, w)
        return result

    # --- details ---

    def _scaled(self, x: Tensor) -> Tensor:
        """Return ``√α b(x)``; the gradient by α, of squares of it, is right at α = 0, too."""
        alpha = self.alpha.to(device=x.device, dtype=x.dtype)
        if alpha.requires_grad:
            alpha = alpha + torch.finfo(x.dtype).tiny
        return self.potential_values(x) * alpha.sqrt()

    def _hidden(self, x: Tensor) -> tuple[Tensor, ...]:
        alpha = self._tensor
        given = () if alpha is None or isinstance(alpha, torch.nn.Parameter) else (alpha,)
        return given if isinstance(self.potential, torch.nn.Module) else (*given, self.potential_values(x))

    def _contract(self, slope: Tensor, u: Tensor) -> Tensor:
        product = slope * u.unsqueeze(-self.ndim - 1)
        return product.flatten(product.ndim - self.ndim).sum(-1) if self.ndim else product

    def _squared_chord(self, x: Tensor, y: Tensor) -> Tensor:
        rise = self._scaled(x) - self._scaled(y)
        return self.base.dist2(x, y) + rise.square().sum(-1)  # type: ignore[no-any-return]

    def _chord(self, x: Tensor, y: Tensor) -> Tensor:
        return safe_sqrt(self._squared_chord(x, y))

    def _upper(self, x: Tensor, y: Tensor) -> Tensor:
        return base_geodesic_length(self.base, self._scaled, x, y, keeps_graph=self.keeps_graph(x, y))

    def _geodesic_length(self, x: Tensor, y: Tensor) -> Tensor:
        return self.solve_geodesic(x, y).distance


def _chosen(potential: Potential, alpha: float | Sequence[float] | Tensor | None) -> Any:
    """Return α, or that of the potential; warn where the two differ."""
    own = getattr(potential, "alpha", None)
    if alpha is None:
        if own is None:
            raise GeowarpError(
                "FairnessWarped: no alpha was given, and the potential has none; give alpha=1.0"
            )
        return own
    if own is not None:
        first, second = _double(alpha), _double(own)
        if first.numel() and second.numel() and not bool((first == second).all()):
            warn(
                f"FairnessWarped: alpha = {first.tolist()}, but the potential was made for "
                f"{second.tolist()}, and its parity does not hold; leave alpha out, or make the potential "
                "with it",
                FairnessWarning,
            )
    return alpha


def _double(alpha: Any) -> Tensor:
    """Return numbers in double precision, which no device need have."""
    if isinstance(alpha, Tensor):
        return alpha.detach().cpu().double()
    try:
        return torch.tensor(alpha, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise GeowarpError(f"FairnessWarped: alpha is {alpha!r}; give a number, or one each") from error


def _check_alpha(alpha: Tensor, learnable: bool) -> None:
    if alpha.ndim > 1 or alpha.numel() == 0:
        raise GeowarpError(f"FairnessWarped: alpha has the shape {tuple(alpha.shape)}; it is () or (K,)")
    if not bool((alpha.isfinite() & (alpha >= 0)).all()):
        raise GeowarpError(f"FairnessWarped: alpha = {alpha.tolist()}; it must be at least 0 and finite")
    if learnable and not bool((alpha > 0).all()):
        raise GeowarpError(
            f"FairnessWarped: alpha = {alpha.tolist()} is learned by its logarithm; start above 0"
        )
