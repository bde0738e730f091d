"""The Lyapunov equation with a symmetric positive definite coefficient."""

from typing import Any

import torch
from torch import Tensor

from .elementary import sym
from .threads import over_threads

__all__ = ["lyapunov"]


class _Lyapunov(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, v: Tensor, eigenvalues: Tensor, vectors: Tensor) -> Tensor:
        sums = eigenvalues[..., :, None] + eigenvalues[..., None, :]
        x: Tensor = vectors @ ((vectors.mT @ v @ vectors) / sums) @ vectors.mT
        ctx.save_for_backward(p, eigenvalues, vectors, x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        p, eigenvalues, vectors, x = ctx.saved_tensors
        adjoint = _Lyapunov.apply(p, grad, eigenvalues, vectors)  # type: ignore[no-untyped-call]
        at_p = -sym(adjoint @ x.mT + x.mT @ adjoint) if ctx.needs_input_grad[0] else None
        return at_p, adjoint, None, None


def lyapunov(p: Tensor, v: Tensor) -> Tensor:
    """Return the X with ``P X + X P = V``, symmetric for symmetric V.

    It is differentiable in both, any number of times.

    Args:
        p: ``(..., k, k)``, symmetric positive definite.
        v: ``(..., k, k)``; the batch dimensions broadcast.

    References:
        Bhatia, Rosenthal, How and why to solve the operator equation AX − XB = Y, Bull. London Math. Soc. 29
        (1997), section 9.

    Example:
        >>> lyapunov(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[2.0, 3.0], [3.0, 4.0]]))
        tensor([[1., 1.],
                [1., 1.]])
    """
    with torch.no_grad():
        eigenvalues, vectors = over_threads(torch.linalg.eigh, p)
    p, v = torch.broadcast_tensors(p, v)
    x: Tensor = _Lyapunov.apply(p, v, eigenvalues, vectors)  # type: ignore[no-untyped-call]
    return x
