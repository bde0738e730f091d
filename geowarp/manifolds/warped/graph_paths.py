"""Paths under the metric ``g + Σ α_k db_k ⊗ db_k``: their energy, and a step towards the geodesic."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..linalg.dimensions import append_dimensions
from .bounds import base_geodesic_length
from .frame import Frame, factor_or_nan, path_ends, path_steps
from .graph_metric import gradients, raised
from .potential import Potential, differentials

__all__ = ["GraphPaths"]


@dataclass(frozen=True)
class GraphPaths:
    """Polygons whose segments have the squared lengths ``d_g(x, y)² + ‖b(y) − b(x)‖²``, b scaled by √α.

    The energy ``N Σ l_i²`` of N segments is least on the discrete geodesic. Its Hessian without the second
    derivatives of b and the curvature of the base is ``2N (L ⊗ I + Jᵀ(L ⊗ I_K)J)`` in the frame, with the
    tridiagonal ``L = tridiag(−1, 2, −1)`` and ``J = diag(db(x_i))``. By Woodbury its inverse needs that of
    the matrix ``L⁻¹ ∘ (I + JJᵀ)`` of NK rows only, where ∘ is the product entry by entry of blocks.
    """

    base: geoopt.Manifold
    potential: Potential
    """√α b: maps ``(..., *point)`` to ``(..., K)``."""

    def squared_lengths(self, points: Tensor) -> Tensor:
        """Return those of the segments ``(B, N)`` of paths ``(B, N + 1, *point)``."""
        starts, ends = path_steps(points, int(self.base.ndim))
        lift = self.potential(points).diff(dim=-2)
        return self.base.dist2(starts, ends) + lift.square().sum(-1)  # type: ignore[no-any-return]

    def linearize(self, points: Tensor, frame: Frame) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the gradient of ``½ Σ l_i²`` by inner points, ``(B, N − 1, p)``, and the inverse Hessian.

        Args:
            points: ``(B, N + 1, *point)``.
            frame: of the gradient, and of what the inverse takes and returns.
        """
        gradient, lifts = self.gradient(points)
        _, inner, _ = path_ends(points, int(self.base.ndim))
        jacobian = frame.into(inner.unsqueeze(2), lifts)
        return frame.into(inner, gradient), _inverse(jacobian, frame.lower(jacobian))

    def gradient(self, points: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        """Return the gradient of ``½ Σ l_i²`` by inner points, ``(B, N − 1, *point)``, and of b there."""
        base, ndim = self.base, int(self.base.ndim)
        values, slopes = differentials(self.potential, points, ndim, create_graph=create_graph)
        _, inner, _ = path_ends(points, ndim)
        starts, ends = path_steps(points, ndim)
        axis = points.ndim - ndim - 1
        last = starts.shape[axis] - 1
        backward = base.logmap(inner, starts.narrow(axis, 0, last))
        forward = base.logmap(inner, ends.narrow(axis, 1, last))
        each = slopes.narrow(axis, 1, last)
        lifts = base.egrad2rgrad(inner.unsqueeze(axis + 1), each)
        bend = -values.diff(n=2, dim=-2)
        gradient = (append_dimensions(bend, ndim) * lifts).sum(axis + 1) - forward - backward
        return gradient, lifts

    def base_length(self, x: Tensor, y: Tensor, panels: int) -> Tensor:
        """Return the length of the geodesic of the base, ``(B,)``."""
        return base_geodesic_length(self.base, self.potential, x, y, panels=panels)

    def momentum(self, points: Tensor, *, create_graph: bool = False) -> Tensor:
        """Return ``N (log_x(z) + Σ (b_k(z) − b_k(x)) grad b_k(x))`` of the first segments, from x to z."""
        ndim, count = int(self.base.ndim), points.shape[1] - 1
        x, z = points[:, 0], points[:, 1]
        values, lifts = gradients(self.base, self.potential, x, create_graph=create_graph)
        rise = append_dimensions(self.potential(z) - values, ndim)
        momentum: Tensor = count * (self.base.logmap(x, z) + (rise * lifts).sum(1))
        return momentum

    def raised(self, x: Tensor, momentum: Tensor, *, create_graph: bool = False) -> Tensor:
        """Return ``v − Σ grad b_k (I + JJᵀ)⁻¹ ⟨grad b, v⟩`` of a momentum v."""
        _, lifts = gradients(self.base, self.potential, x, create_graph=create_graph)
        return raised(self.base, x, lifts, momentum)


def _inverse(jacobian: Tensor, lowered: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the inverse of the Hessian for gradients ``(B, N − 1, K, p)`` of the potentials."""
    count, potentials = jacobian.shape[-3:-1]
    laplacian = inverse_laplacian(count).to(jacobian)
    blocks = laplacian.repeat_interleave(potentials, 0).repeat_interleave(potentials, 1)
    rows, dual = jacobian.flatten(-3, -2), lowered.flatten(-3, -2)
    ones = torch.eye(potentials).to(jacobian).repeat(count, count)
    products = rows @ dual.mT
    factor = factor_or_nan(blocks * (0.5 * (products + products.mT) + ones))

    def solve(gradient: Tensor) -> Tensor:
        flat = laplacian @ gradient
        along = (dual * flat.repeat_interleave(potentials, -2)).sum(-1, keepdim=True)
        multipliers = torch.cholesky_solve(along, factor)
        spread = (multipliers * rows).unflatten(-2, (count, potentials)).sum(-2)
        step: Tensor = flat - laplacian @ spread
        return step

    return solve


def inverse_laplacian(count: int) -> Tensor:
    """Return the inverse of ``tridiag(−1, 2, −1)``, ``min(i, j) (n + 1 − max(i, j)) / (n + 1)``.

    Example:
        >>> inverse_laplacian(2)
        tensor([[0.6667, 0.3333],
                [0.3333, 0.6667]], dtype=torch.float64)
    """
    index = torch.arange(1, count + 1, dtype=torch.float64)
    row, column = index[:, None], index
    return torch.minimum(row, column) * (count + 1 - torch.maximum(row, column)) / (count + 1)
