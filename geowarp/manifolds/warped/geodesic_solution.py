"""Geodesics of a warped metric between two points: discrete ones of several step sizes, extrapolated."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..._warn import warn
from ...errors import NumericalWarning
from ..linalg import safe_sqrt
from ..linalg.broadcasting import broadcast_shapes
from ..linalg.differentiation import differentiable_once
from ..linalg.dimensions import append_dimensions
from .extrapolation import halvings, romberg
from .frame import path_ends
from .geodesic_limit import geodesic_limit, rounding_share
from .log_derivative import differentiable_velocity
from .path_search import Paths, Search, search
from .starting_paths import BaseGeodesics, lower, refined

__all__ = ["GeodesicSolver", "WarpedGeodesic"]

_BLOCK = 4096  # pairs, whose matrices of one row for each segment and potential are kept at a time
_SLACK = 1e4  # times the tolerance: within it a stalled search has reached what rounding allows


class WarpedGeodesic(NamedTuple):
    """A geodesic between two points, and how well it was found.

    Example:
        >>> from geowarp.manifolds import Euclidean, FairnessWarped
        >>> plane = FairnessWarped(Euclidean(1), lambda x: x.square(), alpha=1.0)
        >>> geodesic = plane.solve_geodesic(torch.zeros(2), torch.tensor([1.0, 0.0]))
        >>> geodesic.points.shape, geodesic.distance  # of a parabola, ½√5 + ¼ arsinh 2
        (torch.Size([33, 2]), tensor(1.4789))
    """

    points: Tensor
    """At times 0, 1/N, ..., 1, ``(..., N + 1, *point)``."""
    velocity: Tensor
    """The initial velocity ``log_x(y)``, ``(..., *point)``."""
    distance: Tensor
    """Its length, ``(...)``."""
    error: Tensor
    """By how much the last extrapolation changed the distance, ``(...)``: an estimate of its error."""
    residual: Tensor
    """By what share of its length the discrete geodesic may still be off, ``(...)``."""
    iterations: Tensor
    """How many steps the searches took, ``(...)``."""


@dataclass(frozen=True)
class GeodesicSolver:
    """How geodesics are found: paths of 4, 8, 16, ... segments, of least energy each, extrapolated.

    The energy ``N Σ l_i²`` of the discrete geodesic of N segments is the squared distance with an error that
    is a series in 1/N², and so is the momentum ``−½ ∂E/∂x`` at its start; Romberg's scheme takes the first
    terms away.

    Args:
        segments: of the finest path, 4 times a power of 2.
        tolerance: of the residual; by default 1e-10 in float64, 1e-5 in float32.
        max_iterations: of each search.

    References:
        Rumpf, Wirth, Variational time discretization of geodesic calculus, IMA J. Numer. Anal. 35 (2015), for
        discrete geodesics; Marsden, West, Discrete mechanics and variational integrators, Acta Numerica 10
        (2001), for their momenta.
    """

    segments: int = 32
    tolerance: float | None = None
    max_iterations: int = 100

    def solve(self, paths: Paths, x: Tensor, y: Tensor) -> WarpedGeodesic:
        """Return the geodesics from x to y, ``(..., *point)``; distance and velocity are differentiable once.

        Warns:
            NumericalWarning: where a search ended far from its tolerance.
        """
        ndim = int(paths.base.ndim)
        point = broadcast_shapes(x.shape[x.ndim - ndim :], y.shape[y.ndim - ndim :])
        batch = broadcast_shapes(x.shape[: x.ndim - ndim], y.shape[: y.ndim - ndim])
        x, y = (end.expand((*batch, *point)).reshape(-1, *point) for end in (x, y))
        blocks = zip(x.split(_BLOCK), y.split(_BLOCK), strict=True)
        parts = zip(*(self._solve(paths, *block) for block in blocks), strict=True)
        return WarpedGeodesic(*(_joined(part).unflatten(0, batch) if batch else part[0][0] for part in parts))

    def _solve(self, paths: Paths, x: Tensor, y: Tensor) -> WarpedGeodesic:
        """Return the geodesics of pairs ``(B, *point)``."""
        searches = self._search(paths, x.detach(), y.detach())
        energies = [_energy(paths, found.points, x, y) for found in searches]
        limit = geodesic_limit(paths, [found.points for found in searches], energies)
        squares = torch.where(limit.trusted, romberg(energies)[0].clamp_min(0), energies[-1])
        distance = safe_sqrt(differentiable_once(squares, "the distance of a warped metric"))
        velocity = limit.velocity
        if distance.requires_grad:
            exact = differentiable_velocity(paths, [found.points for found in searches], x, y, limit.trusted)
            exact = differentiable_once(exact, "the logarithm of a warped metric")
            velocity = exact + (velocity - exact).detach()
        return WarpedGeodesic(
            searches[-1].points,
            velocity,
            distance + (limit.distance - distance).detach(),
            limit.error,
            searches[-1].residual,
            torch.stack([found.iterations for found in searches]).sum(0),
        )

    @torch.no_grad()
    def _search(self, paths: Paths, x: Tensor, y: Tensor) -> list[Search]:
        levels, tolerance = halvings(self.segments), self._tolerance(x.dtype)
        straight, found = BaseGeodesics(paths, x, y), list[Search]()
        for level in levels:
            if found:
                points = lower(paths, refined(paths.base, found[-1].points), straight.path(level))
            else:
                points = straight.bent(level)
            allowed = tolerance + level * rounding_share(paths, points)  # noise of second differences
            found.append(search(paths, points, allowed, self.max_iterations))
        found = [_still_where_ends_meet(search, x, y) for search in found]
        residual = found[-1].residual
        off = ~(residual <= _SLACK * allowed)
        if bool(off.any()):
            warn(
                f"{int(off.sum())} of {residual.numel()} geodesics of {self.segments} segments did not "
                f"converge; the largest residual is {residual.max().item():.1e}",
                NumericalWarning,
            )
        return found

    def _tolerance(self, dtype: torch.dtype) -> float:
        if self.tolerance is not None:
            return self.tolerance
        return 1e-10 if dtype == torch.float64 else 1e-5


def _joined(parts: tuple[Tensor, ...]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _still_where_ends_meet(search: Search, x: Tensor, y: Tensor) -> Search:
    """Return paths that stay at x where y is the same point, to the last digit."""
    same = (x == y)[..., None].flatten(1).all(1)
    at_start = append_dimensions(same, search.points.ndim - 1)
    points = torch.where(at_start, x.unsqueeze(1), search.points)
    return search._replace(points=points, residual=torch.where(same, 0, search.residual))


def _energy(paths: Paths, points: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ``N Σ l_i²``; by the envelope theorem its derivative with the inner points held is the whole."""
    _, inner, _ = path_ends(points, int(paths.base.ndim))
    whole = torch.cat([x.unsqueeze(1), inner, y.unsqueeze(1)], 1)
    lengths = paths.squared_lengths(whole)
    return lengths.shape[-1] * lengths.sum(-1)
