"""A linear layer of low rank whose factors have orthonormal columns."""

import torch
from torch import Tensor, nn

from ..errors import GeowarpError
from ..manifolds import Manifold, Stiefel
from ..manifolds.linalg.precision import working_precision
from .gains import low_rank_gain
from .low_rank import check_rank, orthonormal_factor

__all__ = ["LowRankLinear"]

_STIEFEL = Stiefel()


class LowRankLinear(nn.Module):
    """The map ``x -> W x + b`` with ``W = τ U diag(s) Vᵀ`` of rank r, in r (m + n) + r numbers.

    U is a point of ``St(n, r)`` and V of ``St(m, r)``, m = ``in_features`` and n = ``out_features``. W is not
    formed. The entries of s start at 1 and may change their sign: the singular values of W are ``τ |s|``, and
    its condition number changes with s only.

    Without a manifold U and V are free. They start with orthonormal columns nevertheless, so that gains mean
    the same at the start.

    Gains are not part of the state: load a state into a layer that was built with the same gain.

    Args:
        in_features: the size m of an input.
        out_features: the size n of an output.
        rank: r, at most the smaller of both.
        bias: whether b is learned, starting at 0; otherwise it is 0.
        manifold: of U and of V, ``Stiefel()`` with the metric and the retraction of your choice, or None.
        gain: τ, a number or what it is to keep: ``"unit"`` 1, ``"linear"`` √(n/r), ``"relu"`` √(2n/r),
            ``"spectral"`` √(n/m). ``"linear"`` keeps the mean square of the entries from x to Wx, on average
            over U and V; ``"relu"`` keeps it from x to ReLU(Wx); ``"unit"`` makes W a partial isometry;
            ``"spectral"`` makes 1 the largest factor by which the root mean square of the entries grows.
        diagonal: whether s is learned; otherwise it is 1.

    Raises:
        GeowarpError: for a rank out of range, or an unknown gain.

    Example:
        >>> layer = LowRankLinear(64, 48, 8)
        >>> layer(torch.randn(5, 64)).shape
        torch.Size([5, 48])
        >>> torch.linalg.matrix_rank(layer.effective())
        tensor(8)
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        *,
        bias: bool = True,
        manifold: Manifold | None = _STIEFEL,
        gain: str | float = "linear",
        diagonal: bool = True,
    ) -> None:
        super().__init__()
        check_rank("LowRankLinear", in_features, out_features, rank)
        tau = low_rank_gain(gain, in_features, out_features, rank)
        self.left = orthonormal_factor(out_features, rank, manifold=manifold, gain=tau, diagonal=diagonal)
        self.right = orthonormal_factor(in_features, rank, manifold=manifold)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    @property
    def in_features(self) -> int:
        """The size m of an input."""
        return self.right.weight.shape[0]

    @property
    def out_features(self) -> int:
        """The size n of an output."""
        return self.left.weight.shape[0]

    @property
    def rank(self) -> int:
        """The number r of columns of U and of V."""
        return self.left.weight.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``W x + b``, ``(..., n)``, for ``x (..., m)``."""
        return self.left.expand(self.right.compress(x), self.bias)

    def effective(self) -> Tensor:
        """Return ``W``, ``(n, m)``, for export and diagnostics."""
        return self.left.effective() @ self.right.effective().mT

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, rank: int, *, manifold: Manifold | None = _STIEFEL
    ) -> tuple["LowRankLinear", float]:
        """Return the layer with the best approximation of rank r to the weight of ``linear``, and its error.

        By the singular value decomposition ``A = Σ σ_i u_i v_iᵀ`` in float64: U and V are its first r
        singular vectors, s its singular values, and the gain is 1. The bias, the dtype and the device are
        those of ``linear``, which stays as it is.

        Args:
            linear: the layer to compress; its weight is A.
            rank: r.
            manifold: of U and of V, or None for free factors with the same values.

        Returns:
            The layer, and ``‖A − W‖ / ‖A‖ = √(Σ_{i>r} σ_i² / Σ σ_i²)`` in the Frobenius norm, the least
            possible at rank r, to which the rounding of U, s and V to the dtype adds; 0 where A is 0.

        Raises:
            GeowarpError: for a rank out of range, weights that are not finite, or a singular value that the
                dtype cannot hold.

        References:
            Eckart, Young, The approximation of one matrix by another of lower rank, Psychometrika 1 (1936).

        Example:
            >>> layer, error = LowRankLinear.from_linear(torch.nn.Linear(64, 48), 48)
            >>> layer.rank, layer.left.gain, error
            (48, 1.0, 0.0)
        """
        weight = linear.weight.detach().as_subclass(Tensor)
        out_features, in_features = weight.shape
        check_rank("LowRankLinear.from_linear", in_features, out_features, rank)
        if not weight.isfinite().all():
            count = int((~weight.isfinite()).sum())
            raise GeowarpError(
                f"LowRankLinear.from_linear: {count} weights are not finite; mend the layer first"
            )
        u, s, vh = torch.linalg.svd(working_precision(weight), full_matrices=False)
        if s[0] > torch.finfo(weight.dtype).max:
            raise GeowarpError(
                f"LowRankLinear.from_linear: the largest singular value {s[0]:.3g} exceeds {weight.dtype}; "
                "give linear.float()"
            )
        with torch.device(weight.device):
            layer = cls(
                in_features, out_features, rank, bias=linear.bias is not None, manifold=manifold, gain="unit"
            )
        layer.to(weight.dtype)
        state = {"left.weight": u[:, :rank], "left.diagonal": s[:rank], "right.weight": vh[:rank].mT}
        layer.load_state_dict(state if linear.bias is None else {**state, "bias": linear.bias.detach()})
        norm = torch.linalg.vector_norm(s)
        return layer, float(torch.linalg.vector_norm(s[rank:]) / norm) if norm > 0 else 0.0

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}, "
            f"bias={self.bias is not None}"
        )
