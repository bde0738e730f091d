"""Principal angles of subspaces."""

from typing import Any

import torch
from torch import Tensor

from ..manifolds.linalg import full_precision
from ..manifolds.linalg.broadcasting import broadcast_shapes
from ..manifolds.linalg.differentiation import once_differentiable
from ..manifolds.linalg.principal_vectors import normal_part, separated_angles
from .arrays import Array, accepts_arrays, tensors
from .bases import check_bases

__all__ = ["principal_angles"]


class _Angles(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        pairs = separated_angles(x, y)
        ctx.save_for_backward(x, y, *pairs)
        return torch.atan2(pairs.sine, pairs.cosine)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, y, sine, _, in_x, in_y = ctx.saved_tensors
        apart = sine > 4 * torch.finfo(sine.dtype).eps
        weight = torch.where(apart, -grad / torch.where(apart, sine, 1), 0)[..., None, :]
        at_x = normal_part(y, x) @ (in_y * weight) @ in_x.mT
        at_y = normal_part(x, y) @ (in_x * weight) @ in_y.mT
        return at_x, at_y


@accepts_arrays
def principal_angles(x: Array, y: Array) -> Array:
    """Return the principal (canonical) angles of span(x) and span(y), ascending, in radians.

    By ``atan2`` of their sines and cosines: each of them, small ones as well as those near π/2, has an error
    of a few eps, and angles of equal bases are 0. The gradient is horizontal, ``xᵀ∇ = 0``; it is 0 for an
    angle of 0, and can be taken once. Of repeated angles, which have no derivative each on its own, symmetric
    functions have the right one.

    Args:
        x: orthonormal columns, ``(..., n, k)``.
        y: orthonormal columns, ``(..., n, l)``; the batch dimensions broadcast.

    Returns:
        ``(..., min(k, l))``, from 0 to π/2.

    Raises:
        GeowarpError: for shapes that do not fit together, and columns that are not orthonormal.

    References:
        Björck, Golub, Numerical methods for computing angles between linear subspaces, Math. Comp. 27
        (1973); Knyazev, Argentati, Principal angles between subspaces in an A-based scalar product, SIAM J.
        Sci. Comput. 23 (2002).

    Example:
        >>> x, y = torch.eye(3)[:, :2], torch.eye(3)[:, 1:]
        >>> principal_angles(x, y)
        tensor([0.0000, 1.5708])
    """
    first, second = tensors(x, y)
    check_bases("principal_angles", first, second)
    angles: Array = _principal_angles(first, second)
    return angles


@full_precision
def _principal_angles(x: Tensor, y: Tensor) -> Tensor:
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = (bases.expand(*batch, *bases.shape[-2:]) for bases in (x, y))
    angles: Tensor = _Angles.apply(x, y)  # type: ignore[no-untyped-call]
    return angles
