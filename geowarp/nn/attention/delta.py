"""Delta attention: an associative memory that writes the errors of its predictions."""

from torch import Tensor

from .forms import attend

__all__ = ["delta_attention"]


def delta_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    state: Tensor | None = None,
    form: str = "chunked",
    read: str = "inclusive",
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the reads of ``S_t = e^{g_t} S_{t−1} + β_t k_t Err_tᵀ`` and its last state.

    Example:
        >>> k = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> delta_attention(k, k, torch.tensor([[5.0], [7.0]]), torch.ones(2))[1].squeeze()
        tensor([7., 0.])
    """
    return attend("delta_attention", q, k, v, beta, log_decay, state, form, read, chunk)
