"""Weighted points on a manifold, and what is summed over them."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._geoopt import geoopt
from .descent import State
from .linalg.dimensions import append_dimensions

__all__ = ["WeightedPoints"]


class WeightedPoints(NamedTuple):
    """Points ``(..., N, *point)`` and weights ``(..., N)`` with sum 1, whose batch dimensions broadcast.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> x = WeightedPoints(Euclidean(0), torch.tensor([0.0, 4.0]), torch.tensor([0.75, 0.25]))
        >>> x.average(x.logarithms(torch.tensor(2.0)))
        tensor(-1.)
    """

    manifold: geoopt.Manifold
    points: Tensor
    weights: Tensor

    @property
    def axis(self) -> int:
        """Which dimension counts the points."""
        return -int(self.manifold.ndim) - 1

    def logarithms(self, centre: Tensor) -> Tensor:
        """Return ``log_m(x_i)``, ``(..., N, *point)``."""
        logarithms: Tensor = self.manifold.logmap(centre.unsqueeze(self.axis), self.points)
        return logarithms

    def squares(self, centre: Tensor, logarithms: Tensor) -> Tensor:
        """Return ``‖log_m(x_i)‖²``, ``(..., N, 1, ..., 1)``."""
        squares: Tensor = self.manifold.inner(centre.unsqueeze(self.axis), logarithms, keepdim=True)
        return squares.clamp_min(0)

    def average(self, values: Tensor) -> Tensor:
        """Return ``Σ w_i v_i`` of values ``(..., N, *point)`` or ``(..., N, 1, ..., 1)``."""
        return (append_dimensions(self.weights, self.manifold.ndim) * values).sum(self.axis)

    def largest(self, values: Tensor) -> Tensor:
        """Return the largest of nonnegative values ``(..., N, 1, ..., 1)`` at points of positive weight."""
        weighted = append_dimensions(self.weights, self.manifold.ndim) > 0
        return torch.where(weighted, values, 0).amax(self.axis)

    def inner(self, centre: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``⟨u, v⟩_m`` of single tangent vectors, ``(..., 1, ..., 1)``."""
        product: Tensor = self.manifold.inner(centre, u, v, keepdim=True)
        return product

    def finish(self, state: State) -> State:
        """Return the last state of a search."""
        return state

    def move(self, centre: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic along u, and u moved there, by projection where nothing else is."""
        try:
            end, moved = self.manifold.expmap_transp(centre, u, u)
        except NotImplementedError:
            end = self.manifold.expmap(centre, u)
            moved = self.manifold.proju(end, u)
        return end, moved
