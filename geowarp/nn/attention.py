"""Linear attention: an associative memory that is written to and read from, without a softmax."""

from torch import Tensor

__all__ = ["linear_attention"]


def linear_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return ``a_t = Σ_{τ<t} v_τ ⟨k_τ, q_t⟩``, in its quadratic form; no position reads its own write.

    Args:
        queries: ``(..., T, N)``.
        keys: ``(..., T, N)``.
        values: ``(..., T, d)``.

    Returns:
        ``(..., T, d)``; the first position reads zero.

    References:
        Kosowski et al., The Dragon Hatchling, arXiv 2509.26507 (2025), equation 8.

    Example:
        >>> keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> linear_attention(keys, keys, torch.tensor([[5.0], [6.0], [7.0]])).squeeze()
        tensor([0., 0., 5.])
    """
    return (queries @ keys.mT).tril(-1) @ values
