"""Paths under the metric ``e^{2φ} g``: their energy, and a step towards the geodesic."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..linalg.dimensions import append_dimensions
from .bounds import panel_rule
from .frame import Frame, factor_or_nan, path_ends, path_steps
from .graph_metric import gradients
from .potential import Potential

__all__ = ["ConformalPaths"]


@dataclass(frozen=True)
class ConformalPaths:
    """Polygons whose segments have the squared lengths ``e^{φ(x) + φ(y)} d_g(x, y)²``.

    The Hessian of their energy without the derivatives of φ and the curvature of the base is, up to 2N, the
    tridiagonal matrix of the weights ``e^{φ(x_i) + φ(x_{i+1})}``.
    """

    base: geoopt.Manifold
    potential: Potential
    """φ: maps ``(..., *point)`` to ``(..., 1)``."""

    def squared_lengths(self, points: Tensor) -> Tensor:
        """Return those of the segments ``(B, N)`` of paths ``(B, N + 1, *point)``."""
        starts, ends = path_steps(points, int(self.base.ndim))
        squares: Tensor = self.base.dist2(starts, ends)
        return _weights(self.potential(points)) * squares

    def linearize(self, points: Tensor, frame: Frame) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the gradient of ``½ Σ l_i²`` by inner points, ``(B, N − 1, p)``, and the inverse Hessian."""
        gradient, weights = self.gradient(points)
        _, inner, _ = path_ends(points, int(self.base.ndim))
        return frame.into(inner, gradient), _inverse(weights)

    def gradient(self, points: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        """Return the gradient of ``½ Σ l_i²`` by inner points, ``(B, N − 1, *point)``, and the weights."""
        base, ndim = self.base, int(self.base.ndim)
        values, slopes = gradients(base, self.potential, points, create_graph=create_graph)
        _, inner, _ = path_ends(points, ndim)
        starts, ends = path_steps(points, ndim)
        weights, squares = _weights(values), base.dist2(starts, ends)
        forward = append_dimensions(weights[:, 1:], ndim) * base.logmap(inner, ends[:, 1:])
        backward = append_dimensions(weights[:, :-1], ndim) * base.logmap(inner, starts[:, :-1])
        lengths = weights * squares
        push = append_dimensions(0.5 * (lengths[:, 1:] + lengths[:, :-1]), ndim) * slopes[:, 1:-1].squeeze(2)
        return push - forward - backward, weights

    def base_length(self, x: Tensor, y: Tensor, panels: int) -> Tensor:
        """Return the length ``d_g(x, y) ∫ e^φ dt`` of the geodesic of the base, ``(B,)``."""
        ndim = int(self.base.ndim)
        times, weights = panel_rule(panels, x)
        velocity = self.base.logmap(x, y).unsqueeze(1)
        points = self.base.expmap(x.unsqueeze(1), append_dimensions(times, ndim) * velocity)
        length: Tensor = self.base.dist(x, y) * (self.potential(points).exp().squeeze(-1) @ weights)
        return length

    def momentum(self, points: Tensor, *, create_graph: bool = False) -> Tensor:
        """Return ``N e^{φ(x) + φ(z)} (log_x(z) − ½ d(x, z)² grad φ(x))`` of the first segments x to z."""
        ndim, count = int(self.base.ndim), points.shape[1] - 1
        x, z = points[:, 0], points[:, 1]
        values, slopes = gradients(self.base, self.potential, x, create_graph=create_graph)
        weight = (values + self.potential(z)).exp().squeeze(-1)
        square = append_dimensions(0.5 * self.base.dist2(x, z), ndim)
        pushed: Tensor = self.base.logmap(x, z) - square * slopes.squeeze(1)
        return append_dimensions(count * weight, ndim) * pushed

    def raised(self, x: Tensor, momentum: Tensor, *, create_graph: bool = False) -> Tensor:
        """Return ``e^{−2φ} v`` of a momentum v; what it has learned is in the graph in any case."""
        factor = (-2 * self.potential(x)).exp().squeeze(-1)
        return append_dimensions(factor, int(self.base.ndim)) * momentum


def _weights(values: Tensor) -> Tensor:
    return (values[:, 1:, 0] + values[:, :-1, 0]).exp()


def _inverse(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the inverse of the tridiagonal matrix of the weights ``(B, N)`` of the segments."""
    matrix = torch.diag_embed(weights[:, 1:] + weights[:, :-1])
    off = torch.diag_embed(weights[:, 1:-1], 1)
    factor = factor_or_nan(matrix - off - off.mT)
    return lambda gradient: torch.cholesky_solve(gradient, factor)
