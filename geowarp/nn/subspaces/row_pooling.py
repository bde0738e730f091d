"""Pooling within the projector, from the basis alone."""

from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg import full_precision
from ...manifolds.linalg.qr_factor import qr_factor

__all__ = ["RowPooling"]


class RowPooling(nn.Module):
    """Means of neighbouring rows, orthonormalised: bases ``(..., n, k)`` to ``(..., n / size, k)``.

    With D, the ``n / size x n`` matrix of these means, the mean over each ``size x size`` square of the
    projector is ``D U Uᵀ Dᵀ``. It has rank k, and its k leading eigenvectors span what D U does. So this is
    the pooling within the projector and the eigenvectors after it in one, without a projector.

    √size D has orthonormal rows. So a ``FullRankMap`` to w rows and this pooling are, together, a
    ``FullRankMap`` to ``w / size`` rows: it changes how a network is parametrised, not what it can compute.

    Args:
        size: how many rows become one.

    Raises:
        GeowarpError: for a size below 1.

    References:
        Huang, Wu, Van Gool, Building deep networks on Grassmann manifolds, AAAI (2018), section 3.3
        (W-ProjPooling and OrthMap).

    Example:
        >>> RowPooling(2)(torch.eye(4)[:, ::2])
        tensor([[1., 0.],
                [0., 1.]])
    """

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        if size < 1:
            raise GeowarpError(f"RowPooling: size = {size} rows make no mean; use 1 or more")
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled bases, ``(..., n / size, k)``.

        Raises:
            GeowarpError: where size does not divide n, or ``n / size < k``.
        """
        if x.ndim < 2:
            raise GeowarpError(f"RowPooling: the input has shape {tuple(x.shape)}, not (..., n, k)")
        _, rows = self.pooled_shape(1, x.shape[-2])
        if rows < x.shape[-1]:
            raise GeowarpError(
                f"RowPooling: {x.shape[-2]} rows become {rows}, which hold no subspace of dimension "
                f"{x.shape[-1]}; use a smaller size than {self.size}"
            )
        pooled: Tensor = _pool(x, self.size)
        return pooled

    def pooled_shape(self, maps: int, n: int) -> tuple[int, int]:
        """Return how many maps and rows are left of bases ``(..., maps, n, k)``."""
        if n % self.size:
            raise GeowarpError(f"RowPooling: size = {self.size} does not divide the {n} rows")
        return maps, n // self.size

    def extra_repr(self) -> str:
        """Return the size, for ``repr``."""
        return f"size={self.size}"


@full_precision
def _pool(x: Tensor, size: int) -> Tensor:
    return qr_factor(x.unflatten(-2, (-1, size)).mean(-2))
