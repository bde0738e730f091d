"""Keys of unit norm, with a gradient at zero keys."""

from typing import Any

import torch
from torch import Tensor

from ...manifolds.linalg import full_precision

__all__ = ["unit_keys"]


@full_precision
def unit_keys(k: Tensor, eps: float = 1e-6) -> Tensor:
    """Return ``k / √(Σ k² + ε)`` along the last dimension.

    The ε is under the root: a zero key, which a ReLU can give, stays zero and has the finite derivative
    ``1/√ε``. Dividing by ``max(‖k‖, ε)`` would have the derivative 1/ε there. Inside, half-precision keys are
    raised to float32: in float16, squares overflow, and so does the derivative at zero.

    Args:
        k: ``(..., K)``.
        eps: added to the squared norm.

    Returns:
        ``(..., K)`` in the dtype of k.

    Example:
        >>> unit_keys(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    if torch.compiler.is_compiling():
        return k * _scale(k, eps)  # which a compiler fuses by itself
    unit: Tensor = _UnitKeys.apply(k, eps)  # type: ignore[no-untyped-call]
    return unit


def _scale(k: Tensor, eps: float) -> Tensor:
    return (k.square().sum(-1, keepdim=True) + eps).rsqrt()


class _UnitKeys(torch.autograd.Function):
    """``u = s k`` with the derivative ``s (du − s² k ⟨k, du⟩)``: a third of the time of that of its parts."""

    generate_vmap_rule = True

    @staticmethod
    def forward(k: Tensor, eps: float) -> Tensor:
        return k * _scale(k, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        k, ctx.eps = inputs
        ctx.save_for_backward(k)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (k,) = ctx.saved_tensors
        scale = _scale(k, ctx.eps)
        along = (grad * k).sum(-1, keepdim=True) * scale.square()
        return torch.addcmul(grad, k, along, value=-1) * scale, None
