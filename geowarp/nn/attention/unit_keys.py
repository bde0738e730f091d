"""Keys of unit norm, with a gradient at zero keys."""

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
    return k * (k.square().sum(-1, keepdim=True) + eps).rsqrt()
