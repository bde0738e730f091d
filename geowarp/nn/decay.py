"""How fast the synapses of each head forget."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Decay"]


class Decay(nn.Module):
    """The logarithm of the factor by which a head's state shrinks before each position, ``log σ(w·v + c)``.

    Heads start with factors ``1 − 2^−3, …, 1 − 2^−9``: they remember from 8 to 512 positions. Everything is
    in log space, so no factor underflows.

    Args:
        n_head: number h of heads.
        n_embd: number d of features of the input.
        kind: ``"constant"``: c is fixed and w is 0; ``"learned"``: c is learned per head; ``"input"``: w is
            learned too, from 0.

    References:
        Sun et al., Retentive network, arXiv 2307.08621 (2023), for heads of several horizons; Yang et al.,
        Gated linear attention transformers with hardware-efficient training, arXiv 2312.06635 (2023), for
        decay as a function of the input.

    Example:
        >>> decay = Decay(4, 16, "constant")
        >>> decay(torch.zeros(1, 16)).exp().flatten()
        tensor([0.8750, 0.9688, 0.9922, 0.9980])
    """

    weight: nn.Parameter | None
    logit: Tensor

    def __init__(self, n_head: int, n_embd: int, kind: str = "learned") -> None:
        super().__init__()
        self.kind = kind
        logit = (torch.linspace(3, 9, n_head).exp2() - 1).log()
        if kind == "constant":
            self.register_buffer("logit", logit)
        else:
            self.logit = nn.Parameter(logit)
        self.weight = nn.Parameter(torch.zeros(n_head, n_embd)) if kind == "input" else None

    def forward(self, v: Tensor) -> Tensor:
        """Return the log decay for ``v (..., T, d)``, of each head: broadcastable to ``(h, ..., T)``."""
        logit = self.logit.view(-1, *(1 for _ in v.shape[:-1]))
        if self.weight is not None:
            logit = logit + (v @ self.weight.mT).movedim(-1, 0)
        return F.logsigmoid(logit)

    def extra_repr(self) -> str:
        """Return the kind, for ``repr``."""
        return f"n_head={len(self.logit)}, kind={self.kind!r}"
