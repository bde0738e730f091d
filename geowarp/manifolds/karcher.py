"""The Riemannian centre of mass, by gradient descent, with its gradient by implicit differentiation."""

import math
from typing import Any, Generic

import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import NamedTuple, TypeVar  # generic tuples need Python 3.11, defaults 3.13

from .._geoopt import geoopt
from .._warn import warn
from ..errors import NumericalWarning
from .descent import Descent, Objective, State, descend
from .implicit import differentiable
from .linalg import safe_sqrt
from .weighted_points import WeightedPoints
from .weights import normalized_weights

__all__ = ["KarcherMean", "describe_mean", "karcher_mean", "normalized_weights", "uniqueness_radius"]

_STAGNATION = 1000.0

Array = TypeVar("Array", Tensor, NDArray[Any], default=Tensor)


class KarcherMean(NamedTuple, Generic[Array]):
    """A mean, and how the search for it ended.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> result = karcher_mean(Sphere(), torch.eye(2))
        >>> result.mean, result.converged
        (tensor([0.7071, 0.7071]), tensor(True))
    """

    mean: Array
    """The mean, ``(..., *point)``."""
    iterations: Array
    """How many steps were tried, ``(...)``."""
    residual: Array
    """``‖Σ w_i log_m(x_i)‖_m``, which is 0 at the mean, ``(...)``."""
    converged: Array
    """Whether the residual is within the tolerance, ``(...)``."""
    radius: Array
    """The largest distance between the mean and a point of positive weight, ``(...)``."""
    unique: Array
    """Whether the radius is below the manifold's ``uniqueness_radius``, ``(...)``: then there is one mean.
    Elsewhere there may be others."""


class Variance(WeightedPoints):
    """Half of ``Σ w_i dist(m, x_i)²``, whose gradient is ``−Σ w_i log_m(x_i)``.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> objective = Variance(Euclidean(0), torch.tensor([0.0, 4.0]), torch.tensor([0.75, 0.25]))
        >>> objective.evaluate(torch.tensor(0.0)).direction
        tensor(1.)
    """

    def evaluate(self, point: Tensor) -> State:
        """Return the state of a search at a point."""
        logarithms = self.logarithms(point)
        direction, squares = self.average(logarithms), self.squares(point, logarithms)
        residual, variance = safe_sqrt(self.inner(point, direction, direction)), self.average(squares)
        length, radius = torch.ones_like(residual), safe_sqrt(self.largest(squares))
        return State(point, direction, residual, 0.5 * variance, 1 + variance.sqrt(), length, radius)


def mean_logarithm(points: WeightedPoints, centre: Tensor) -> Tensor:
    """Return ``Σ w_i log_m(x_i)``, which is 0 at the mean.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> x = WeightedPoints(Euclidean(0), torch.tensor([0.0, 4.0]), torch.tensor([0.75, 0.25]))
        >>> mean_logarithm(x, torch.tensor(1.0))
        tensor(0.)
    """
    return points.average(points.logarithms(centre))


def karcher_mean(
    manifold: geoopt.Manifold,
    x: Tensor,
    weights: Tensor | None = None,
    *,
    start: Tensor | None = None,
    tolerance: float | None = None,
    max_iterations: int = 200,
) -> KarcherMean:
    """Return the point where ``Σ w_i log_m(x_i) = 0``, for a batch of problems at once.

    Gradient descent ``m ← exp_m(s Σ w_i log_m(x_i))``, from a step ``s = 1`` on with Barzilai–Borwein steps.
    For each problem on its own, a step is halved that decreases neither the residual nor
    ``Σ w_i dist(m, x_i)²``. The mean is unique where the points lie in a ball of the manifold's
    ``uniqueness_radius``.

    The gradient, with respect to points, weights and learnable constants of the manifold, comes from implicit
    differentiation: the Hessian of ``½ Σ w_i dist(m, x_i)²``, applied by automatic differentiation of the
    logarithm, is inverted by conjugate gradients. It costs no memory for the iterations, and can be
    differentiated once.

    Args:
        manifold: a manifold with ``logmap``.
        x: ``(..., N, *point)``.
        weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default. Their batch
            dimensions broadcast with those of x: for Q sets of weights of each of B sets of points,
            ``(B, 1, N, *point)`` and ``(B, Q, N)`` give ``(B, Q, *point)``.
        start: ``(..., *point)``; by default the manifold's ``initial_mean``.
        tolerance: of the residual, relative to ``1 + √(Σ w_i dist(m, x_i)²)``. By default the search goes to
            twice the rounding unit times the root of the number of entries of a point, and has converged
            within 1000 times that, for coordinates in which the logarithm has larger rounding errors.
        max_iterations: the largest number of steps.

    Raises:
        GeowarpError: for negative weights, weights that sum to 0, or no points.
        NonFiniteError: for points or weights that are infinite or not a number.

    Warns:
        NumericalWarning: where a problem did not converge, with the largest residual.

    References:
        Karcher, Riemannian center of mass and mollifier smoothing, Comm. Pure Appl. Math. 30 (1977); Afsari,
        Riemannian L^p center of mass, Proc. AMS 139 (2011); Afsari, Tron, Vidal, On the convergence of
        gradient descent for finding the Riemannian center of mass, SIAM J. Control Optim. 51 (2013).

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> result = karcher_mean(Sphere(), torch.eye(3), torch.tensor([1.0, 1.0, 0.0]))
        >>> result.mean, result.converged
        (tensor([0.7071, 0.7071, 0.0000]), tensor(True))
    """
    points = WeightedPoints(manifold, x, normalized_weights(x, weights, manifold.ndim))
    with torch.no_grad():
        data = Variance(manifold, x.detach(), points.weights.detach())
        start = initial_mean(data) if start is None else start
        target = default_tolerance(data) if tolerance is None else tolerance
        slack = _STAGNATION if tolerance is None else 1.0
        ended = descend(_objective(data), start.detach(), target, slack, max_iterations)
        result = _result(manifold, ended)
    if not bool(result.converged.all()):
        warn(
            f"karcher_mean: {int((~result.converged).sum())} of {result.converged.numel()} means on "
            f"{manifold!r} did not converge; the largest residual is {result.residual.max().item():.1e}",
            NumericalWarning,
        )
    return result._replace(mean=differentiable(mean_logarithm, points, result.mean))


def default_tolerance(data: WeightedPoints) -> float:
    """Return twice the rounding unit times the root of the number of entries of a point.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> default_tolerance(WeightedPoints(Sphere(), torch.eye(4), torch.ones(4))) / torch.finfo().eps
        4.0
    """
    size = math.prod(data.points.shape[data.points.ndim - data.manifold.ndim :])
    return 2 * torch.finfo(data.points.dtype).eps * math.sqrt(size)


def uniqueness_radius(manifold: geoopt.Manifold) -> float:
    """Return the manifold's ``uniqueness_radius``; infinity for the flat and hyperbolic ones of geoopt.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> uniqueness_radius(Sphere())
        1.57...
    """
    if hasattr(manifold, "uniqueness_radius"):
        return float(manifold.uniqueness_radius())
    hadamard = isinstance(manifold, geoopt.Euclidean | geoopt.PoincareBall | geoopt.Lorentz)
    return math.inf if hadamard else math.nan


@torch.no_grad()
def describe_mean(manifold: geoopt.Manifold, x: Tensor, weights: Tensor, mean: Tensor) -> KarcherMean:
    """Return the ``KarcherMean`` of a mean that was computed in closed form: 0 iterations, its true residual.

    Args:
        manifold: a manifold with ``logmap``.
        x: ``(..., N, *point)``.
        weights: normalized, ``(..., N)``.
        mean: ``(..., *point)``.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> x = torch.tensor([0.0, 4.0])
        >>> result = describe_mean(Euclidean(0), x, torch.tensor([0.5, 0.5]), x.mean())
        >>> result.residual, result.radius
        (tensor(0.), tensor(2.))
    """
    state = Variance(manifold, x.detach(), weights.detach()).evaluate(mean.detach())
    iterations = torch.zeros_like(state.residual, dtype=torch.long)
    ended = Descent(state, iterations, torch.ones_like(state.residual, dtype=torch.bool))
    return _result(manifold, ended)._replace(mean=mean)


def initial_mean(data: WeightedPoints) -> Tensor:
    """Return where the search for a mean starts: the manifold's ``initial_mean``, or the projected average.

    Example:
        >>> from geoopt import Sphere
        >>> initial_mean(WeightedPoints(Sphere(), torch.eye(2), torch.tensor([0.5, 0.5])))
        tensor([0.7071, 0.7071])
    """
    manifold = data.manifold
    if hasattr(manifold, "initial_mean"):  # a manifold of geoopt has none
        start: Tensor = manifold.initial_mean(data.points, data.weights)
    else:
        start = manifold.projx(data.average(data.points))
    return start


def _objective(data: Variance) -> Objective:
    own = getattr(data.manifold, "_mean_objective", None)
    objective: Objective = data if own is None else own(data.points, data.weights)
    return objective


def _result(manifold: geoopt.Manifold, ended: Descent) -> KarcherMean:
    state = ended.state
    batch = state.point.shape[: state.point.ndim - manifold.ndim]
    iterations, residual, converged, radius = (
        value.reshape(batch) for value in (ended.iterations, state.residual, ended.converged, state.radius)
    )
    unique = radius < uniqueness_radius(manifold)
    return KarcherMean(state.point, iterations, residual, converged, radius, unique)
