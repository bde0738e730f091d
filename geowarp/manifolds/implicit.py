"""The gradient of a stationary point of weighted points, by implicit differentiation."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from .linalg.differentiation import once_differentiable
from .weighted_points import WeightedPoints

__all__ = ["Field", "differentiable", "solve_hessian"]

_CHECK_EVERY = 4

Field = Callable[[WeightedPoints, Tensor], Tensor]
"""Minus the gradient, at a point ``(..., *point)``, of a function that the point minimises."""


def differentiable(field: Field, points: WeightedPoints, solution: Tensor) -> Tensor:
    """Return the solution of ``field(points, m) = 0`` with a gradient with respect to what determines it.

    That is points, weights, and the learnable constants of the manifold. With the Hessian H of the function
    that is minimised, which is self-adjoint, the adjoint ``z = H⁻¹ ∂L/∂m`` is found by conjugate gradients;
    the gradients are those of ``⟨z, field⟩``. It costs no memory for the iterations that found the solution,
    and can be differentiated once.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> x = torch.tensor([0.0, 4.0], requires_grad=True)
        >>> data = WeightedPoints(Euclidean(0), x, torch.tensor([0.75, 0.25]))
        >>> mean = differentiable(lambda data, m: data.average(data.logarithms(m)), data, torch.tensor(1.0))
        >>> torch.autograd.grad(mean, x)
        (tensor([0.7500, 0.2500]),)
    """
    inputs = (points.points, points.weights, *_learnable(points.manifold))
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)):
        return solution
    result: Tensor = _Implicit.apply(  # type: ignore[no-untyped-call]
        points.manifold, field, solution, *inputs
    )
    return result


def _learnable(manifold: geoopt.Manifold) -> list[Tensor]:
    return [constant for constant in manifold.parameters() if constant.requires_grad]


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, manifold: geoopt.Manifold, field: Field, solution: Tensor, *inputs: Tensor
    ) -> Tensor:
        ctx.save_for_backward(solution, *inputs)
        ctx.manifold, ctx.field = manifold, field
        return solution.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        solution, points, weights, *_ = ctx.saved_tensors
        manifold, field = ctx.manifold, ctx.field
        constants = _learnable(manifold)
        fixed = WeightedPoints(manifold, points.detach(), weights.detach())
        # a clone, since that of geoopt.Lorentz changes its argument
        adjoint = solve_hessian(field, fixed, solution, manifold.egrad2rgrad(solution, grad.clone()))
        with torch.enable_grad():
            inputs = [tensor.detach().requires_grad_() for tensor in (points, weights)]
            # a constant of the manifold moves the solution also through the constraint that it satisfies
            centre = manifold.projx(solution) if constants else solution
            direction = field(WeightedPoints(manifold, *inputs), centre)
            pairing = fixed.inner(solution, adjoint, direction).sum()
            if centre.requires_grad:
                pairing = pairing + (grad * centre).sum()
        needed = [t for t, need in zip((*inputs, *constants), ctx.needs_input_grad[3:], strict=True) if need]
        gradients = iter(torch.autograd.grad(pairing, needed, allow_unused=True))
        return None, None, None, *(next(gradients) if need else None for need in ctx.needs_input_grad[3:])


def _hessian(field: Field, points: WeightedPoints, solution: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the map ``z → H z`` of tangent vectors: the gradient of ``−⟨z, field⟩`` with respect to m."""
    with torch.enable_grad():
        variable = solution.detach().requires_grad_()
        direction = field(points, variable)

    def apply(z: Tensor) -> Tensor:
        with torch.enable_grad():
            pairing = points.inner(solution, z, direction).sum()
        (gradient,) = torch.autograd.grad(pairing, variable, retain_graph=True)
        product: Tensor = points.manifold.egrad2rgrad(solution, -gradient)
        return product

    return apply


def solve_hessian(
    field: Field, points: WeightedPoints, solution: Tensor, target: Tensor, tolerance: float | None = None
) -> Tensor:
    """Return the tangent vector z with ``H z = target``, by conjugate gradients.

    Args:
        field: minus the gradient of the function whose Hessian H is, at a stationary point.
        points: what the function is of.
        solution: where the Hessian is, ``(..., *point)``.
        target: tangent vectors there.
        tolerance: of the residual, relative to the target; by default 8 rounding units. Directions in which
            the function has no positive curvature are left out.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> data = WeightedPoints(Euclidean(0), torch.tensor([0.0, 4.0]), torch.tensor([1.0, 2.0]))
        >>> field = lambda data, m: data.average(data.logarithms(m))
        >>> solve_hessian(field, data, torch.tensor(1.0), torch.tensor(6.0))
        tensor(2.)
    """
    hessian, manifold = _hessian(field, points, solution), points.manifold
    eps = torch.finfo(target.dtype).eps
    tolerance = 8 * eps if tolerance is None else tolerance
    z, residual, direction = torch.zeros_like(target), target, target
    square = points.inner(solution, residual, residual)
    bound = square * tolerance**2
    limit = 20 + 2 * math.prod(target.shape[target.ndim - manifold.ndim :])
    active, largest = square > bound, torch.zeros_like(square)
    every = 1 if target.device.type == "cpu" else _CHECK_EVERY
    for iteration in range(limit):
        if iteration % every == 0 and not bool(active.any()):
            break
        image = hessian(direction)
        curvature = points.inner(solution, direction, image)
        length = points.inner(solution, direction, direction)
        largest = torch.maximum(largest, torch.where(active, curvature / torch.where(active, length, 1), 0))
        active &= curvature > math.sqrt(eps) * largest * length
        step = torch.where(active, square / torch.where(active, curvature, 1), 0)
        z = z + step * direction
        residual = manifold.proju(solution, residual - step * image)
        previous, square = square, points.inner(solution, residual, residual)
        ratio = torch.where(active, square / torch.where(active, previous, 1), 0)
        direction = residual + ratio * direction
        active &= square > bound
    return z
