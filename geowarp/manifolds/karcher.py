"""The Riemannian centre of mass, by gradient descent, with its gradient by implicit differentiation."""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._geoopt import geoopt
from ..errors import NumericalWarning
from .linalg import safe_sqrt
from .linalg.dimensions import append_dimensions
from .weights import normalized_weights

__all__ = [
    "KarcherMean",
    "describe_mean",
    "implicit_gradient",
    "karcher_mean",
    "normalized_weights",
    "uniqueness_radius",
]

_CHECK_EVERY = 4
_SMALLEST_STEP = 1e-3
_STAGNATION = 1000.0


class KarcherMean(NamedTuple):
    """A mean, and how the search for it ended.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> result = karcher_mean(Sphere(), torch.eye(2))
        >>> result.mean, result.converged
        (tensor([0.7071, 0.7071]), tensor(True))
    """

    mean: Tensor
    """The mean, ``(..., *point)``."""
    iterations: Tensor
    """How many steps were tried, ``(...)``."""
    residual: Tensor
    """``‖Σ w_i log_m(x_i)‖_m``, which is 0 at the mean, ``(...)``."""
    converged: Tensor
    """Whether the residual is within the tolerance, ``(...)``."""
    radius: Tensor
    """The largest distance between the mean and a point of positive weight, ``(...)``."""
    unique: Tensor
    """Whether the radius is below the manifold's ``uniqueness_radius``, ``(...)``: then there is one mean.
    Elsewhere there may be others."""


class _Problem(NamedTuple):
    manifold: geoopt.Manifold
    points: Tensor
    weights: Tensor

    def logarithms(self, mean: Tensor) -> Tensor:
        logarithms: Tensor = self.manifold.logmap(mean.unsqueeze(-self.manifold.ndim - 1), self.points)
        return logarithms

    def average(self, values: Tensor) -> Tensor:
        weights = append_dimensions(self.weights, self.manifold.ndim)
        return (weights * values).sum(-self.manifold.ndim - 1)

    def inner(self, mean: Tensor, u: Tensor, v: Tensor) -> Tensor:
        product: Tensor = self.manifold.inner(mean, u, v, keepdim=True)
        return product


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

    Iterates ``m ← exp_m(s Σ w_i log_m(x_i))`` from a step ``s = 1``, which is halved, for each problem on its
    own, where it decreases neither the residual nor ``Σ w_i dist(m, x_i)²``. The mean is unique where the
    points lie in a small enough ball (on the sphere: of radius below π/2; on Grassmann: π/4).

    The gradient comes from implicit differentiation: the Hessian of ``½ Σ w_i dist(m, x_i)²``, applied by
    automatic differentiation of the logarithm, is inverted by conjugate gradients. It costs no memory for the
    iterations, and can be differentiated once.

    Args:
        manifold: a manifold with ``logmap``.
        x: ``(..., N, *point)``.
        weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default.
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
    weights = normalized_weights(x, weights, manifold.ndim)
    with torch.no_grad():
        problem = _Problem(manifold, x.detach(), weights.detach())
        start = _start(problem) if start is None else start
        size = math.prod(x.shape[x.ndim - manifold.ndim :])
        target = 2 * torch.finfo(x.dtype).eps * math.sqrt(size) if tolerance is None else tolerance
        slack = _STAGNATION if tolerance is None else 1.0
        result = _descend(problem, start, target, slack, max_iterations)
    if not bool(result.converged.all()):
        warnings.warn(
            f"karcher_mean: {int((~result.converged).sum())} of {result.converged.numel()} means on "
            f"{manifold!r} did not converge; the largest residual is {result.residual.max().item():.1e}",
            NumericalWarning,
            stacklevel=2,
        )
    return implicit_gradient(manifold, x, weights, result)


def implicit_gradient(
    manifold: geoopt.Manifold, x: Tensor, weights: Tensor, result: KarcherMean
) -> KarcherMean:
    """Return the result with a mean that is differentiable in points and weights, however it was found.

    Args:
        manifold: a manifold with ``logmap``.
        x: ``(..., N, *point)``.
        weights: normalized, ``(..., N)``.
        result: its mean m solves ``Σ w_i log_m(x_i) = 0``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> x, weights = torch.eye(2).requires_grad_(), torch.tensor([0.5, 0.5])
        >>> result = karcher_mean(Sphere(), x.detach(), weights)
        >>> implicit_gradient(Sphere(), x, weights, result).mean.requires_grad
        True
    """
    if torch.is_grad_enabled() and (x.requires_grad or weights.requires_grad):
        mean: Tensor = _Implicit.apply(x, weights, result.mean, manifold)  # type: ignore[no-untyped-call]
        result = result._replace(mean=mean)
    return result


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
    state = _evaluate(_Problem(manifold, x.detach(), weights.detach()), mean.detach())
    batch = mean.shape[: mean.ndim - manifold.ndim]
    residual, radius = (value.reshape(batch) for value in (state.residual, state.radius))
    iterations = torch.zeros(batch, dtype=torch.long, device=x.device)
    converged = torch.ones(batch, dtype=torch.bool, device=x.device)
    return KarcherMean(mean, iterations, residual, converged, radius, radius < uniqueness_radius(manifold))


def _start(problem: _Problem) -> Tensor:
    manifold, points, weights = problem
    if hasattr(manifold, "initial_mean"):  # a manifold of geoopt has none
        start: Tensor = manifold.initial_mean(points, weights)
    else:
        start = manifold.projx(problem.average(points))
    return start


class _State(NamedTuple):
    """Where the search is: m, ``Σ w_i log_m(x_i)``, its norm, ``Σ w_i dist(m, x_i)²``, the radius."""

    mean: Tensor
    direction: Tensor
    residual: Tensor
    variance: Tensor
    radius: Tensor

    def improves_on(self, old: "_State", step: Tensor) -> Tensor:
        """Return where the residual has decreased, or the variance by more than its rounding error."""
        noise = 8 * torch.finfo(old.variance.dtype).eps * old.variance
        descent = self.variance <= old.variance - noise - 0.5 * step * old.residual.square()
        return (self.residual < old.residual) | descent


def _evaluate(problem: _Problem, mean: Tensor) -> _State:
    manifold = problem.manifold
    logarithms = problem.logarithms(mean)
    direction = problem.average(logarithms)
    squares = manifold.inner(mean.unsqueeze(-manifold.ndim - 1), logarithms, keepdim=True)
    variance = problem.average(squares).clamp_min(0)
    weighted = append_dimensions(problem.weights, manifold.ndim) > 0
    radius = safe_sqrt(torch.where(weighted, squares, 0).amax(-manifold.ndim - 1))
    return _State(mean, direction, safe_sqrt(problem.inner(mean, direction, direction)), variance, radius)


def _descend(
    problem: _Problem, start: Tensor, tolerance: float, slack: float, max_iterations: int
) -> KarcherMean:
    state = _evaluate(problem, start)
    step, iterations = torch.ones_like(state.residual), torch.zeros_like(state.residual, dtype=torch.long)
    for iteration in range(max_iterations):
        active = (state.residual > tolerance * (1 + state.variance.sqrt())) & (step >= _SMALLEST_STEP)
        if iteration % _CHECK_EVERY == 0 and not bool(active.any()):
            break
        trial = _evaluate(problem, problem.manifold.expmap(state.mean, step * state.direction))
        accept = active & trial.improves_on(state, step)
        state = _State(*(torch.where(accept, new, old) for new, old in zip(trial, state, strict=True)))
        step = torch.where(active & ~accept, 0.5 * step, step)
        iterations += active
    converged = state.residual <= slack * tolerance * (1 + state.variance.sqrt())
    batch = converged.shape[: converged.ndim - problem.manifold.ndim]
    iterations, residual, converged, radius = (
        value.reshape(batch) for value in (iterations, state.residual, converged, state.radius)
    )
    unique = radius < uniqueness_radius(problem.manifold)
    return KarcherMean(state.mean, iterations, residual, converged, radius, unique)


class _Implicit(torch.autograd.Function):
    """The mean as a function of points and weights, from ``Σ w_i log_m(x_i) = 0``."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, weights: Tensor, mean: Tensor, manifold: geoopt.Manifold) -> Tensor:
        ctx.save_for_backward(points, weights, mean)
        ctx.manifold = manifold
        return mean.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        points, weights, mean = ctx.saved_tensors
        manifold = ctx.manifold
        inputs = [tensor.detach().requires_grad_() for tensor in (points, weights)]
        problem = _Problem(manifold, points, weights)
        adjoint = _solve(problem, mean, manifold.egrad2rgrad(mean, grad))
        with torch.enable_grad():
            with_inputs = _Problem(manifold, *inputs)
            direction = with_inputs.average(with_inputs.logarithms(mean))
            pairing = problem.inner(mean, adjoint, direction).sum()
        needed = [tensor for tensor, need in zip(inputs, ctx.needs_input_grad, strict=False) if need]
        gradients = iter(torch.autograd.grad(pairing, needed))
        first, second = (next(gradients) if need else None for need in ctx.needs_input_grad[:2])
        return first, second, None, None


def _hessian(problem: _Problem, mean: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the map ``z → H z`` of tangent vectors at the mean, H the Hessian of ``½ Σ w_i dist(m, x_i)²``.

    H is self-adjoint, so that ``H z`` is the gradient of ``−⟨z, Σ w_i log_m(x_i)⟩`` with respect to m.
    """
    with torch.enable_grad():
        variable = mean.detach().requires_grad_()
        direction = problem.average(problem.logarithms(variable))

    def apply(z: Tensor) -> Tensor:
        with torch.enable_grad():
            pairing = problem.inner(mean, z, direction).sum()
        (gradient,) = torch.autograd.grad(pairing, variable, retain_graph=True)
        product: Tensor = problem.manifold.egrad2rgrad(mean, -gradient)
        return product

    return apply


def _solve(problem: _Problem, mean: Tensor, target: Tensor) -> Tensor:
    """Return the tangent vector z with ``H z = target``, by conjugate gradients."""
    hessian, manifold = _hessian(problem, mean), problem.manifold
    eps = torch.finfo(target.dtype).eps
    solution, residual, direction = torch.zeros_like(target), target, target
    square = problem.inner(mean, residual, residual)
    bound = square * (8 * eps) ** 2
    limit = 20 + 2 * math.prod(target.shape[target.ndim - manifold.ndim :])
    for iteration in range(limit):
        if iteration % _CHECK_EVERY == 0 and not bool((square > bound).any()):
            break
        image = hessian(direction)
        curvature = problem.inner(mean, direction, image)
        flat = curvature <= math.sqrt(eps) * problem.inner(mean, direction, direction)
        active = (square > bound) & ~flat
        length = torch.where(active, square / torch.where(active, curvature, 1), 0)
        solution = solution + length * direction
        residual = manifold.proju(mean, residual - length * image)
        previous, square = square, problem.inner(mean, residual, residual)
        ratio = torch.where(active, square / torch.where(active, previous, 1), 0)
        direction = residual + ratio * direction
    return solution
