"""A manifold with the points of another one and a metric of its own."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ..base import Manifold
from ..component import Component, expression
from ..karcher import KarcherMean
from ..linalg import full_precision
from ..linalg.broadcasting import broadcast_shapes
from ..linalg.differentiation import without_derivative
from ..linalg.dimensions import append_dimensions
from ..linalg.inference_mode import outside_inference_mode
from ..sampling import shape_of
from .flow_end import FlowEnd, extrapolated_end
from .geodesic_solution import GeodesicSolver
from .potential import Potential, kept_graph

__all__ = ["OverBase", "or_base", "pairwise"]

_OWN = ("solve_geodesic", "potential_differentials", "potential_hessian", "phi_gradient")
_DIFFERENTIATING = (
    "inner",
    "egrad2rgrad",
    "dist",
    "dist2",
    "cdist",
    "logmap",
    "expmap",
    "christoffel",
    "riemann",
)

_HIDDEN = (
    "the mean has no derivative by tensors that are no parameters of the manifold; make the function a "
    "module, or alpha learnable"
)

Flow = Callable[..., FlowEnd]


def pairwise(base: geoopt.Manifold, x: Tensor, y: Tensor) -> Tensor:
    """Return all distances ``(..., N, M)`` of a manifold of geowarp or of geoopt.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> pairwise(Euclidean(1), torch.zeros(1, 2), torch.eye(2))
        tensor([[1., 1.]])
    """
    ndim = int(base.ndim)
    if isinstance(base, Manifold):
        return base.cdist(x, y)
    distance: Tensor = base.dist(x.unsqueeze(-ndim - 1), y.unsqueeze(-ndim - 2))
    return distance


def or_base(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that is the base's own, if it has one, where the metric is not warped."""

    @wraps(method)
    def dispatched(self: "OverBase", *args: Any, **kwargs: Any) -> Any:
        own = getattr(self.base, method.__name__, None) if self._plain else None
        return method(self, *args, **kwargs) if own is None else own(*args, **kwargs)

    return dispatched


class OverBase(Manifold):
    """The points, tangent spaces, retraction and transport of a base manifold, under another metric.

    None of these depends on the metric: a retraction of the base is one here, and the transport of the base
    takes tangent vectors to tangent vectors, though it is no isometry here.

    Args:
        base: a manifold of geowarp or of geoopt.
        segments: of the discrete geodesics.

    Raises:
        GeowarpError: for a base that is no manifold, and a number of segments that is not 4, 8, 16, ...
    """

    _plain = False
    """Whether the metric is that of the base."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _OWN:
            if name in cls.__dict__:
                setattr(cls, name, full_precision(cls.__dict__[name]))
        for name in (*_OWN, *_DIFFERENTIATING):
            if name in cls.__dict__:
                setattr(cls, name, outside_inference_mode(cls.__dict__[name]))

    def __init__(self, base: geoopt.Manifold, segments: int) -> None:
        super().__init__()
        if not isinstance(base, geoopt.Manifold):
            kind = base.__name__ if isinstance(base, type) else type(base).__name__
            raise GeowarpError(f"{self.name}: the base is of the kind {kind}; give one such as Euclidean(1)")
        if not isinstance(segments, int) or segments < 4 or segments & (segments - 1):
            raise GeowarpError(
                f"{self.name}: segments = {segments!r}; it is a power of 2, at least 4, such as 32"
            )
        self.base, self.ndim = base, int(base.ndim)
        self._solver, self.segments = GeodesicSolver(segments), segments

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return the dimension of the base."""
        return int(self._part.call("dim", shape))

    def point_residual(self, x: Tensor) -> Tensor:
        """Return that of the base."""
        return self._size(self._part.point_residual(x))

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return that of the base."""
        return self._size(self._part.tangent_residual(x, u))

    def unchecked_residual(self, x: Tensor) -> Tensor:
        """Return that of the base."""
        return self.base.unchecked_residual(x) if isinstance(self.base, Manifold) else self.point_residual(x)

    def projx(self, x: Tensor) -> Tensor:
        """Return the projection of the base."""
        return self._part.call("projx", x)  # type: ignore[no-any-return]

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the projection of the base: the tangent spaces are its own."""
        return self._part.call("proju", x, u)  # type: ignore[no-any-return]

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the retraction of the base, which is of first order under every metric."""
        return self._part.call("retr", x, u)  # type: ignore[no-any-return]

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the transport of the base: linear and tangent, and no isometry of this metric."""
        return self._part.call("transp", x, y, v)  # type: ignore[no-any-return]

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of the base."""
        return self._part.call("retr_transp", x, u, v)  # type: ignore[no-any-return]

    def origin_point(self, shape: tuple[int, ...]) -> Tensor:
        """Return the origin of the base."""
        return self._part.call("origin", *shape).as_subclass(Tensor)  # type: ignore[no-any-return]

    norm = or_base(Manifold.norm)
    component_inner = or_base(Manifold.component_inner)
    geodesic = or_base(Manifold.geodesic)
    geodesic_unit = or_base(Manifold.geodesic_unit)
    expmap_transp = or_base(Manifold.expmap_transp)
    mean = or_base(Manifold.mean)
    uniqueness_radius = or_base(Manifold.uniqueness_radius)

    @or_base
    def solve_mean(self, x: Tensor, weights: Tensor | None = None) -> KarcherMean:
        """Return the mean, and how well it was found; it is differentiable by parameters, too."""
        result = super().solve_mean(x, weights)
        hidden = self._hidden(x.detach()) if torch.is_grad_enabled() else ()
        return result._replace(mean=without_derivative(result.mean, _HIDDEN, *hidden))

    def initial_mean(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return where the base starts."""
        return (
            self.base.initial_mean(x, weights)
            if isinstance(self.base, Manifold)
            else super().initial_mean(x, weights)
        )

    def random(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return random points of the base."""
        points = self._part.random(shape_of(size), generator, dtype=dtype, device=device)
        return geoopt.ManifoldTensor(points.as_subclass(Tensor), manifold=self)  # type: ignore[no-any-return]

    def _check_shape(self, shape: tuple[int, ...], name: str) -> tuple[bool, str | None]:
        return self.base._check_shape(shape, name)  # type: ignore[no-any-return]

    @property
    def _part(self) -> Component:
        return Component(0, self.base, (), f"{self.name}: the base {{0.manifold!r}}")

    def _size(self, residual: Tensor) -> Tensor:
        if isinstance(self.base, Manifold):
            return residual
        dims = tuple(range(-self.ndim, 0))
        return residual.square().sum(dims).sqrt() if dims else residual.abs()

    def keeps_graph(self, x: Tensor, *tensors: Tensor | None) -> bool:
        """Return whether a result may be differentiated, by tensors or by what the metric has learned.

        What a function that is no module has learned, it alone knows.
        """
        if not torch.is_grad_enabled():
            return False
        if kept_graph(x, *tensors, *self.parameters()):
            return True
        return any(values.requires_grad for values in self._hidden(x.detach()))

    def _hidden(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return what may depend on tensors that are no parameters."""
        return ()

    def _keep(self, value: Tensor, keepdim: bool) -> Tensor:
        return append_dimensions(value, self.ndim) if keepdim else value

    def _flowed(self, flow: Flow, potential: Potential, x: Tensor, u: Tensor) -> Tensor:
        """Return the ends ``(..., *point)`` of a flow, extrapolated."""
        batch = broadcast_shapes(x.shape[: x.ndim - self.ndim], u.shape[: u.ndim - self.ndim])
        point = x.shape[x.ndim - self.ndim :]
        graph = self.keeps_graph(x, u)
        x, u = (part.expand((*batch, *point)).reshape(-1, *point) for part in (x, u))
        end = extrapolated_end(
            self.base,
            lambda steps: flow(self.base, potential, x, u, steps, keeps_graph=graph),
            self.segments,
        )
        return end.reshape((*batch, *point))

    def _base_expression(self) -> str:
        return expression(self.base)
