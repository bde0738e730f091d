"""Linear attention: an associative memory that is written to and read from, without a softmax."""

from torch import Tensor

from .forms import attend

__all__ = ["linear_attention"]


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    state: Tensor | None = None,
    form: str = "chunked",
    read: str = "inclusive",
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the reads of ``S_t = e^{g_t} S_{t−1} + k_t v_tᵀ``, and its last state.

    Example:
        >>> k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> output, state = linear_attention(k, k, torch.tensor([[5.0], [6.0], [7.0]]), read="exclusive")
        >>> output.squeeze(), state.squeeze()
        (tensor([0., 0., 5.]), tensor([12.,  6.]))
    """
    return attend("linear_attention", q, k, v, None, log_decay, state, form, read, chunk)
