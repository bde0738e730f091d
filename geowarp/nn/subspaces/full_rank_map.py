"""A linear map of subspaces with orthonormal rows."""

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds import Stiefel
from ...manifolds.linalg import full_precision
from ...manifolds.parameter import ManifoldParameter

__all__ = ["FullRankMap"]


class FullRankMap(nn.Module):
    """The map ``Y = W X`` with orthonormal rows of W, or several of them side by side.

    The columns of ``weight`` are the rows of W: it is a point of Stiefel, ``(n_in, n_out)`` or
    ``(maps, n_in, n_out)``, uniformly distributed at the start. Y is a basis of a subspace, which ``ReOrth``
    makes orthonormal.

    Args:
        n_in: the number of rows of an input.
        n_out: the number of rows of an output, at most n_in.
        maps: how many maps. None is one map, from ``(..., n_in, k)`` to ``(..., n_out, k)``; a number m is
            from ``(..., 1, n_in, k)``, which each map takes, or from ``(..., m, n_in, k)``, one for each, to
            ``(..., m, n_out, k)``.

    Raises:
        GeowarpError: for sizes that are out of range or, in ``forward``, do not fit.

    References:
        Huang, Wu, Van Gool, Building deep networks on Grassmann manifolds, AAAI 2018, equation 3.

    Example:
        >>> FullRankMap(6, 4, maps=8)(torch.eye(6)[None, :, :2]).shape
        torch.Size([8, 4, 2])
    """

    def __init__(self, n_in: int, n_out: int, maps: int | None = None) -> None:
        super().__init__()
        if not 1 <= n_out <= n_in:
            raise GeowarpError(f"FullRankMap: n_out = {n_out} must be between 1 and n_in = {n_in}")
        if maps is not None and maps < 1:
            raise GeowarpError(f"FullRankMap: maps = {maps} must be at least 1, or None")
        self.n_in, self.n_out, self.maps = n_in, n_out, maps
        shape = (n_in, n_out) if maps is None else (maps, n_in, n_out)
        self.weight = ManifoldParameter(Stiefel().random(*shape), manifold=Stiefel())

    def forward(self, x: Tensor) -> Tensor:
        """Return ``W X``."""
        self._check(x)
        y: Tensor = _map(self.weight, x)
        return y

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        return f"n_in={self.n_in}, n_out={self.n_out}, maps={self.maps}"

    def _check(self, x: Tensor) -> None:
        wanted = "(..., n, k)" if self.maps is None else f"(..., {self.maps} or 1, n, k)"
        fits = x.dim() >= (2 if self.maps is None else 3)
        if not fits or (self.maps is not None and x.shape[-3] not in (1, self.maps)):
            raise GeowarpError(f"FullRankMap: the input has shape {tuple(x.shape)} and must have {wanted}")
        if x.shape[-2] != self.n_in:
            raise GeowarpError(
                f"FullRankMap: the input has {x.shape[-2]} rows and the map needs {self.n_in}; "
                f"build it with n_in={x.shape[-2]}"
            )


@full_precision
def _map(weight: Tensor, x: Tensor) -> Tensor:
    if weight.ndim == 2:
        return torch.einsum("io,...ik->...ok", weight, x)
    if x.shape[-3] == 1:
        return torch.einsum("mio,...ik->...mok", weight, x.squeeze(-3))
    return torch.einsum("mio,...mik->...mok", weight, x)
