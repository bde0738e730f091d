"""A tall matrix that is one factor of a low-rank map: orthonormal columns, a gain and a diagonal, or free."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import GeowarpError
from ..manifolds import Manifold, Stiefel
from ..manifolds.parameter import ManifoldParameter, manifold_of

__all__ = ["LowRankFactor", "check_rank", "orthonormal_factor"]


class LowRankFactor(nn.Module):
    """A factor ``W = τ X diag(s)`` of shape ``(n, d)``, ``d <= n``: from d features to n neurons and back.

    Neither W nor a product of factors is formed: maps scale the d features and multiply by X.

    Args:
        n: number of neurons.
        d: the rank.
        manifold: where X lives, such as ``Stiefel()``; without one, X is free with entries N(0, 0.02²).
        gain: the constant τ.
        diagonal: whether s is learned, starting at 1; otherwise it is 1.

    Raises:
        GeowarpError: for ``d > n``.

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> factor = LowRankFactor(8, 3, manifold=Stiefel())
        >>> factor.compress(factor.expand(torch.eye(3))).allclose(torch.eye(3), atol=1e-6)
        True
    """

    diagonal: nn.Parameter | None

    def __init__(
        self, n: int, d: int, *, manifold: Manifold | None = None, gain: float = 1.0, diagonal: bool = False
    ) -> None:
        super().__init__()
        if d > n:
            raise GeowarpError(f"LowRankFactor: rank d = {d} exceeds n = {n}")
        self.gain = gain
        if manifold is None:
            self.weight = nn.Parameter(0.02 * torch.randn(n, d))
        else:
            self.weight = ManifoldParameter(manifold.random(n, d), manifold=manifold)
        self.diagonal = nn.Parameter(torch.ones(d)) if diagonal else None

    @property
    def manifold(self) -> Manifold | None:
        """The manifold of X."""
        return manifold_of(self.weight)

    def expand(self, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return ``W v + bias`` for ``v (..., d)``, of shape ``(..., n)``."""
        return F.linear(self._scaled(v), self.weight, bias)

    def expand_heads(self, v: Tensor) -> Tensor:
        """Return ``W_i v_i``, W cut into h blocks of rows: ``(h, ..., T, d)`` to ``(h, ..., T, n/h)``."""
        blocks = self.weight.unflatten(0, (v.shape[0], -1))
        y = torch.bmm(self._scaled(v).flatten(1, -2), blocks.mT)
        return y.view(*v.shape[:-1], blocks.shape[1])

    def compress(self, y: Tensor) -> Tensor:
        """Return ``Wᵀ y`` for ``y (..., n)``, of shape ``(..., d)``."""
        return self._scaled(y @ self.weight)

    def compress_heads(self, y: Tensor) -> Tensor:
        """Return ``Σ W_iᵀ y_i``, W cut into h blocks of rows: ``(h, ..., T, n/h)`` to ``(..., T, d)``."""
        blocks = self.weight.unflatten(0, (y.shape[0], -1))
        z = torch.bmm(y.flatten(1, -2), blocks).sum(0)
        return self._scaled(z.view(*y.shape[1:-1], blocks.shape[2]))

    def effective(self) -> Tensor:
        """Return ``W``, for export and diagnostics."""
        return self._scaled(self.weight)

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        n, d = self.weight.shape
        learned = self.diagonal is not None
        return f"n={n}, d={d}, manifold={self.manifold!r}, gain={self.gain:.4g}, diagonal={learned}"

    def _scaled(self, v: Tensor) -> Tensor:
        if self.diagonal is not None:
            v = v * self.diagonal
        return v if self.gain == 1 else v * self.gain


def orthonormal_factor(
    n: int, d: int, *, manifold: Manifold | None, gain: float = 1.0, diagonal: bool = False
) -> LowRankFactor:
    """Return a factor with orthonormal columns at the start, also where it is free.

    Example:
        >>> factor = orthonormal_factor(8, 3, manifold=None)
        >>> torch.allclose(factor.weight.mT @ factor.weight, torch.eye(3), atol=1e-6)
        True
    """
    factor = LowRankFactor(n, d, manifold=manifold, gain=gain, diagonal=diagonal)
    if manifold is None:
        with torch.no_grad():
            factor.weight.copy_(Stiefel().random(n, d))
    return factor


def check_rank(name: str, in_features: int, out_features: int, rank: int) -> None:
    """Raise where the sizes are those of no map of this rank; ``name`` begins the message.

    Example:
        >>> check_rank("LowRankLinear", 4, 6, 4)
    """
    largest = min(in_features, out_features)
    if not 1 <= rank <= largest:
        raise GeowarpError(
            f"{name}: rank = {rank} must be between 1 and {largest}, "
            f"the smaller of in_features = {in_features} and out_features = {out_features}"
        )
