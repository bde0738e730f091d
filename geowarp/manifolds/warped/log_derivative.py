"""The derivative of the logarithm of a warped metric: how geodesics move with what they depend on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..linalg.differentiation import once_differentiable
from ..linalg.dimensions import append_dimensions
from .extrapolation import romberg
from .frame import Frame, covector, inner_product, path_ends
from .path_search import Paths

__all__ = ["differentiable_velocity"]

_STEPS = 100


def differentiable_velocity(
    paths: Paths, found: list[Tensor], x: Tensor, y: Tensor, trusted: Tensor
) -> Tensor:
    """Return the initial velocity ``(B, *point)`` of the limit of discrete geodesics, with a derivative.

    At a discrete geodesic z the gradient of the energy is 0, ``F(z; x, y, θ) = 0``, and so ``dz = −H⁻¹ dF``
    with its Hessian H in z. A backward pass solves one system with H for each number of segments, by
    preconditioned conjugate gradients on products with H, which are derivatives of F. Directions in which the
    energy has no positive curvature, as beyond conjugate points, are left out.

    Args:
        paths: what is measured; its potential may have learned something.
        found: the discrete geodesics, ``(B, N + 1, *point)``, N doubling.
        x: their starts.
        y: their ends.
        trusted: where the limit is extrapolated, and not that of the finest one.
    """
    momenta = [_momentum(paths, points, x, y) for points in found]
    limit = romberg(momenta)[0]
    momentum = torch.where(append_dimensions(trusted, int(paths.base.ndim)), limit, momenta[-1])
    return paths.raised(x, momentum, create_graph=True)


def _momentum(paths: Paths, points: Tensor, x: Tensor, y: Tensor) -> Tensor:
    _, inner, _ = path_ends(points, int(paths.base.ndim))
    start, end = x.unsqueeze(1), y.unsqueeze(1)
    force = paths.gradient(torch.cat([start, inner, end], 1), create_graph=True)[0]
    moved: Tensor = inner + _Answer.apply(paths, points, force)  # type: ignore[no-untyped-call]
    return paths.momentum(torch.cat([start, moved, end], 1), create_graph=True)


class _Answer(torch.autograd.Function):
    """How the inner points of a discrete geodesic answer to a force: 0, with the derivative ``−H⁻¹``."""

    @staticmethod
    def forward(ctx: Any, paths: Paths, points: Tensor, force: Tensor) -> Tensor:
        ctx.save_for_backward(points, force)
        ctx.paths = paths
        return torch.zeros_like(force)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        points, _ = ctx.saved_tensors
        base = ctx.paths.base
        _, inner, _ = path_ends(points, int(base.ndim))
        adjoint = _solve(ctx.paths, points, base.egrad2rgrad(inner, grad.clone()))
        return None, None, -covector(base, inner, adjoint)


def _hessian(paths: Paths, points: Tensor) -> Callable[[Tensor], Tensor]:
    base, ndim = paths.base, int(paths.base.ndim)
    first, inner, last = path_ends(points, ndim)
    with torch.enable_grad():
        variable = inner.detach().requires_grad_()
        force = paths.gradient(torch.cat([first, variable, last], 1), create_graph=True)[0]

    def apply(vectors: Tensor) -> Tensor:
        with torch.enable_grad():
            pairing = inner_product(base, inner, vectors, force).sum()
        (derivative,) = torch.autograd.grad(pairing, variable, retain_graph=True)
        product: Tensor = base.egrad2rgrad(inner, derivative)
        return product

    return apply


def _solve(paths: Paths, points: Tensor, target: Tensor) -> Tensor:
    """Return the u with ``H u = target``, tangent vectors at inner points, by flexible conjugate gradients.

    References:
        Notay, Flexible conjugate gradients, SIAM J. Sci. Comput. 22 (2000), for a preconditioner that is
        self-adjoint only where the transport of the base is an isometry.
    """
    base, ndim = paths.base, int(paths.base.ndim)
    _, inner, _ = path_ends(points, ndim)
    frame = Frame(base, points[:, points.shape[1] // 2])
    inverse, hessian = paths.linearize(points, frame)[1], _hessian(paths, points)

    def precondition(vectors: Tensor) -> Tensor:
        return frame.out_of(inner, inverse(frame.into(inner, vectors)))

    def product(u: Tensor, v: Tensor) -> Tensor:
        return append_dimensions(inner_product(base, inner, u, v).sum(1), ndim + 1)

    solution, residual, direction = torch.zeros_like(target), target, precondition(target)
    bound = 64 * torch.finfo(target.dtype).eps ** 2 * product(target, target)
    for _ in range(_STEPS):
        image = hessian(direction)
        curvature, slope = product(direction, image), product(direction, residual)
        active = (product(residual, residual) > bound) & (curvature > 0)
        if not bool(active.any()):
            break
        curvature = torch.where(active, curvature, 1)
        step = torch.where(active, slope / curvature, 0)
        solution, residual = solution + step * direction, residual - step * image
        after = precondition(residual)
        direction = torch.where(active, after - product(after, image) / curvature * direction, 0)
    return solution
