"""Delta attention: an associative memory that writes the errors of its predictions."""

from torch import Tensor

from .forms import attend

__all__ = ["delta_attention"]


def delta_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | float,
    log_decay: Tensor | float | None = None,
    state: Tensor | None = None,
    form: str = "chunked",
    read: str = "inclusive",
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what queries read of a memory that corrects its predictions, and the memory after them.

    The delta rule of Widrow and Hoff, with an optional decay::

        Err_t = v_t − e^{g_t} S_{t−1}ᵀ k_t
        S_t   = e^{g_t} S_{t−1} + β_t k_t Err_tᵀ

    read as in ``linear_attention``. A write is one gradient step of length β on ``½‖v − Sᵀ k‖²``. With keys
    of unit norm, see ``unit_keys``, β = 1 stores the value exactly, β in (0, 1) a part of the way, and the
    memory is stable for β in [0, 2]; in general for ``0 ≤ β ‖k‖² ≤ 2``, and it may diverge beyond.

    Within a chunk, with b the sums of g in it and ``A_ij = ⟨k_i, k_j⟩ e^{b_i − b_j}`` for j < i, the errors
    solve ``(I + A diag(β)) Err = V − e^b K S``: a triangular system with ones on the diagonal, solved by
    substitution. Expansions of its inverse in powers of A are fast, but lose all digits where keys are alike.
    Where q is k, the very same tensor, and the read is exclusive, the read is the prediction, ``v − Err``:
    it needs no product of its own. It is summed as a prediction, since the difference would cancel where
    little is predicted.

    Args:
        q: queries ``(..., T, K)``.
        k: keys ``(..., T, K)``.
        v: values ``(..., T, V)``.
        beta: write strengths, ``(..., T)`` or broadcastable to it.
        log_decay: g ≤ 0, ``(..., T)`` or broadcastable to it; None does not decay.
        state: the memory ``(..., K, V)`` before the first position; None is zero.
        form: ``"quadratic"``, ``"chunked"`` or ``"recurrent"``, see ``linear_attention``.
        read: ``"inclusive"`` or ``"exclusive"``.
        chunk: positions per chunk; None takes one chunk up to ``T = 2 V``, and else V, from 32 to 128.

    Returns:
        The reads ``(..., T, V)`` and the state ``(..., K, V)`` after the last position, in float32 or
        float64, also for half inputs and under autocast.

    Raises:
        GeowarpError: for shapes that do not fit, complex tensors, an unknown form or read, a chunk below 1.

    References:
        Schlag, Irie and Schmidhuber, Linear transformers are secretly fast weight programmers, arXiv
        2102.11174 (2021), section 4.2: the rule. Yang et al., Parallelizing linear transformers with the
        delta rule over sequence length, arXiv 2406.06484 (2024): chunks. Yang et al., Gated
        delta networks: Improving Mamba2 with delta rule, arXiv 2412.06464 (2024), section 3: decay.

    Example:
        >>> k = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> output, state = delta_attention(k, k, torch.tensor([[5.0], [7.0]]), torch.ones(2))
        >>> output.squeeze(), state.squeeze()  # the second write replaces the first
        (tensor([5., 7.]), tensor([7., 0.]))
    """
    return attend("delta_attention", q, k, v, beta, log_decay, state, form, read, chunk)
