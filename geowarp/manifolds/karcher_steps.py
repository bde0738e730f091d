"""A fixed number of steps towards the Karcher mean, and the implicit gradient where they end."""

import torch
from torch import Tensor

from .._geoopt import geoopt
from .base import Manifold
from .grassmann import Grassmann
from .grassmann_mean import SubspaceVariance
from .implicit import differentiable
from .karcher import mean_logarithm
from .linalg import full_precision, safe_sqrt
from .linalg.hyperbolic import Curvature
from .lorentz import Lorentz
from .poincare import PoincareBall
from .product import ProductManifold
from .spd import AffineInvariantSPD
from .spsd import SPSD
from .weighted_points import WeightedPoints

__all__ = ["karcher_steps", "negative_curvature"]

_TINY = 1e-12  # t coth t is 1 at 0


def negative_curvature(manifold: geoopt.Manifold) -> Curvature:
    """Return κ >= 0 such that no sectional curvature is below −κ, but 0 on Stiefel, where it has both signs.

    There it is as low as −1/2 in the Euclidean metric, and unit steps converge faster than shorter ones.

    Example:
        >>> negative_curvature(Lorentz(4.0)), negative_curvature(AffineInvariantSPD())
        (0.25, 0.5)
    """
    if isinstance(manifold, PoincareBall):
        return manifold.c
    if isinstance(manifold, Lorentz):
        return 1 / manifold.k
    if isinstance(manifold, AffineInvariantSPD):
        return 0.5
    if isinstance(manifold, SPSD):
        return negative_curvature(manifold.spd) / manifold.weight
    if isinstance(manifold, ProductManifold):
        return max(negative_curvature(component) for component in manifold.manifolds)
    return 0.0


@full_precision
def karcher_steps(manifold: Manifold, x: Tensor, weights: Tensor, steps: int) -> Tensor:
    """Return where steps of gradient descent from the manifold's ``initial_mean`` end, ``(..., *point)``.

    ``m ← exp_m(s Σ w_i log_m(x_i))`` with ``s = 1`` where ``negative_curvature`` is 0, and otherwise
    ``s = 2 / (1 + L)`` with the bound ``L = Σ w_i t_i coth t_i``, ``t_i = √κ dist(m, x_i)``, of the Hessian,
    whose smallest eigenvalue is at least 1: each step then takes the error at the mean to at most
    ``(L − 1) / (L + 1)`` of it. A unit step would overshoot where the points are far apart.

    The gradient is that of the mean, by implicit differentiation at the point that was reached. Nothing is
    read from the device before that, and nothing is checked.

    Args:
        manifold: one with ``logmap``.
        x: ``(..., N, *point)``.
        weights: ``(..., N)``, nonnegative with sum 1; the batch dimensions broadcast.
        steps: how many, 0 or more.

    References:
        Karcher, Riemannian center of mass and mollifier smoothing, Comm. Pure Appl. Math. 30 (1977), for the
        bound of the Hessian; Afsari, Tron, Vidal, On the convergence of gradient descent for finding the
        Riemannian center of mass, SIAM J. Control Optim. 51 (2013).

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> karcher_steps(Sphere(), torch.eye(2), torch.tensor([2 / 3, 1 / 3]), 4)
        tensor([0.8660, 0.5000])
    """
    with torch.no_grad():
        data = WeightedPoints(manifold, x.detach(), weights.detach())
        centre = manifold.initial_mean(data.points, data.weights)
        if isinstance(manifold, Grassmann):
            centre = _subspace_steps(SubspaceVariance(data.points, data.weights), centre, steps)
        else:
            centre = _steps(data, centre, negative_curvature(manifold), steps)
    return differentiable(mean_logarithm, WeightedPoints(manifold, x, weights), centre)


def _steps(data: WeightedPoints, centre: Tensor, curvature: Curvature, steps: int) -> Tensor:
    flat = not isinstance(curvature, Tensor) and curvature == 0
    for _ in range(steps):
        logarithms = data.logarithms(centre)
        direction = data.average(logarithms)
        if not flat:
            t = safe_sqrt(curvature * data.squares(centre, logarithms)).to(direction.dtype) + _TINY
            direction = 2 / (1 + data.average(t / t.tanh())) * direction
        centre = data.manifold.expmap(centre, direction)
    return centre


def _subspace_steps(objective: SubspaceVariance, centre: Tensor, steps: int) -> Tensor:
    """Return the same by k x k matrices, without the logarithms."""
    for _ in range(steps):
        centre, _ = objective.move(centre, objective.evaluate(centre).direction)
    return centre
