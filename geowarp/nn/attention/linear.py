"""Linear attention: an associative memory that is written to and read from, without a softmax."""

from torch import Tensor

from .forms import attend

__all__ = ["linear_attention"]


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | float | None = None,
    state: Tensor | None = None,
    form: str = "chunked",
    read: str = "inclusive",
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what queries read of a memory that adds up ``key ⊗ value``, and the memory after them.

    The Hebbian rule, with an optional decay::

        S_t = e^{g_t} S_{t−1} + k_t v_tᵀ
        o_t = S_tᵀ q_t                       inclusive
        o_t = e^{g_t} S_{t−1}ᵀ q_t           exclusive: read before the write, decayed like it

    so that ``o_i = Σ_j e^{g_{j+1} + … + g_i} ⟨q_i, k_j⟩ v_j`` over j ≤ i, or j < i. Nothing is scaled or
    normalised. A log decay of −1e4 or −∞ forgets everything, with finite gradients; sums of log decays are
    taken in float64. Leading dimensions broadcast.

    The three forms give the same numbers:

    - ``"quadratic"``: a table of T × T scores; ``O(T² (K + V))`` operations.
    - ``"chunked"``: tables within chunks of C positions, and the state from chunk to chunk;
      ``O(T (K V + C (K + V)))`` operations. Its backward pass computes the states again, so that beside
      inputs, output and their gradients it holds ``O(K V + C²)`` numbers per sequence, whatever T is. It can
      be differentiated once.
    - ``"recurrent"``: one position after the other; for decoding.

    Where q is k, the very same tensor, the products are computed once, and one gradient is returned for both.

    Args:
        q: queries ``(..., T, K)``.
        k: keys ``(..., T, K)``.
        v: values ``(..., T, V)``.
        log_decay: g ≤ 0, ``(..., T)`` or broadcastable to it, such as ``(h, 1)``; None does not decay.
        state: the memory ``(..., K, V)`` before the first position; None is zero.
        form: ``"quadratic"``, ``"chunked"`` or ``"recurrent"``.
        read: ``"inclusive"`` or ``"exclusive"``.
        chunk: positions per chunk; None takes one chunk up to ``T = 2 V``, and else V, from 32 to 128.

    Returns:
        The reads ``(..., T, V)`` and the state ``(..., K, V)`` after the last position, in float32 or
        float64, also for half inputs and under autocast: such sums pass the range of float16.

    Raises:
        GeowarpError: for shapes that do not fit, complex tensors, an unknown form or read, a chunk below 1.

    References:
        Kosowski et al., The Dragon Hatchling: The missing link between the transformer and models of the
        brain, arXiv 2509.26507 (2025), equation 8: the exclusive read. Sun et al., Retentive network: A
        successor to transformer for large language models, arXiv 2307.08621 (2023), section 2.1: decay in
        parallel, chunkwise and recurrent form. The backward pass in two sweeps is derived here.

    Example:
        >>> k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> output, state = linear_attention(k, k, torch.tensor([[5.0], [6.0], [7.0]]), read="exclusive")
        >>> output.squeeze(), state.squeeze()
        (tensor([0., 0., 5.]), tensor([12.,  6.]))
    """
    return attend("linear_attention", q, k, v, None, log_decay, state, form, read, chunk)
