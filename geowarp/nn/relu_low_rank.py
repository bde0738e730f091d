"""Two layers of ReLU neurons with orthonormal factors: down to r features and up again."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..manifolds import Manifold, Stiefel
from .gains import low_rank_gain
from .low_rank import check_rank, orthonormal_factor

__all__ = ["ReLULowRank"]

_STIEFEL = Stiefel()


class ReLULowRank(nn.Module):
    """The block ``y = ReLU(D ReLU(E x + b1) + b2)`` through r hidden features, with factors on Stiefel.

    With m = ``in_features`` and n = ``out_features``: ``E = τ1 Vᵀ`` with V in ``St(m, r)``, and
    ``D = τ2 U diag(s)`` with U in ``St(n, r)``. A second diagonal, between E and the inner ReLU, would be
    redundant: ReLU is positively homogeneous, so that s and b1 take it up.

    The gain ``"relu"``, ``τ1 = √2`` and ``τ2 = √(2n/r)``, keeps the mean square of the entries through either
    ReLU, on average over U and V and whatever x is: entries of unit variance give hidden features and outputs
    of unit mean square, and blocks in sequence keep it.

    Not to be confused with the ReLU-lowrank block of BDH, ``f(z) = (D E z)⁺``, which has one ReLU, none
    between E and D, and no bias. That is ``LowRankLinear(n, n, r, bias=False, gain="relu")`` followed by a
    ReLU.

    Args:
        in_features: the size m of an input.
        rank: the number r of hidden features, at most the smaller of m and n.
        out_features: the size n of an output; by default m.
        bias: whether b1 and b2 are learned, starting at 0; otherwise they are 0.
        manifold: of U and of V, ``Stiefel()`` with the metric and the retraction of your choice, or None for
            free factors, which start with orthonormal columns.
        gain: a number or a name for both maps, as for ``LowRankLinear`` from m to r and from r to n features:
            ``"relu"``, ``"linear"``, ``"spectral"`` or ``"unit"``.
        diagonal: whether s is learned, starting at 1; otherwise it is 1.

    Raises:
        GeowarpError: for a rank out of range, or an unknown gain.

    References:
        Kosowski et al., The Dragon Hatchling: The missing link between the transformer and models of the
        brain, arXiv 2509.26507 (2025), for the block that this one differs from.

    Example:
        >>> block = ReLULowRank(64, 8)
        >>> y = block(torch.randn(5, 64))
        >>> y.shape, bool((y >= 0).all())
        (torch.Size([5, 64]), True)
    """

    hidden_bias: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        rank: int,
        out_features: int | None = None,
        *,
        bias: bool = True,
        manifold: Manifold | None = _STIEFEL,
        gain: str | float = "relu",
        diagonal: bool = True,
    ) -> None:
        super().__init__()
        n = in_features if out_features is None else out_features
        check_rank("ReLULowRank", in_features, n, rank)
        down, up = (low_rank_gain(gain, *sizes, rank) for sizes in ((in_features, rank), (rank, n)))
        self.encoder = orthonormal_factor(in_features, rank, manifold=manifold, gain=down)
        self.decoder = orthonormal_factor(n, rank, manifold=manifold, gain=up, diagonal=diagonal)
        self.hidden_bias = nn.Parameter(torch.zeros(rank)) if bias else None
        self.bias = nn.Parameter(torch.zeros(n)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return y, ``(..., n)``, for ``x (..., m)``."""
        hidden = self.encoder.compress(x)
        if self.hidden_bias is not None:
            hidden = hidden + self.hidden_bias
        return F.relu(self.decoder.expand(F.relu(hidden), self.bias))
