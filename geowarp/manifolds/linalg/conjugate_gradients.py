"""Conjugate gradients for a batch of matrix equations at once."""

from collections.abc import Callable

import torch
from torch import Tensor

from .dimensions import append_dimensions
from .threads import is_concrete

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor],
    target: Tensor,
    tolerance: Tensor | float,
    steps: int,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Return Y with ``A(Y) = B``, ``(P, n, m)``, and the residuals ``‖B − A(Y)‖`` as iterated, ``(P,)``.

    Every problem stops on its own; those that remain cost the others nothing but time.

    Args:
        operator: linear, self-adjoint and positive on each problem alone.
        target: B, ``(P, n, m)``.
        tolerance: of the residual, relative to the target, ``(P,)``.
        steps: the largest number of them.
        dtype: in which to iterate, that of the target by default; B is scaled to norm 1 before.

    Example:
        >>> y, residual = conjugate_gradients(lambda y: 4 * y, torch.ones(1, 2, 2), 1e-6, 3)
        >>> y, residual
        (tensor([[[0.2500, 0.2500],
                 [0.2500, 0.2500]]]), tensor([0.]))
    """
    size = torch.linalg.matrix_norm(target, keepdim=True)
    residual = (target / torch.where(size > 0, size, 1)).to(dtype or target.dtype)
    solution, direction = torch.zeros_like(residual), residual
    square = residual.square().sum((-2, -1), keepdim=True)
    bound = append_dimensions(torch.as_tensor(tolerance, device=target.device).square(), 2)
    for _ in range(steps):
        active = square > bound
        if is_concrete(target) and not bool(active.any()):
            break
        image = operator(direction)
        curvature = (direction * image).sum((-2, -1), keepdim=True)
        length = torch.where(active, square / torch.where(active, curvature, 1), 0)
        solution, residual = solution + length * direction, residual - length * image
        previous, square = square, residual.square().sum((-2, -1), keepdim=True)
        ratio = torch.where(active, square / torch.where(active, previous, 1), 0)
        direction = residual + ratio * direction
    return size * solution, (size * square.sqrt())[..., 0, 0]
