"""An orthonormal basis of the same subspace."""

from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg import full_precision
from ...manifolds.linalg.qr_factor import qr_factor

__all__ = ["ReOrth"]


class ReOrth(nn.Module):
    """The orthonormal factor Q of ``X = QR`` with positive ``diag(R)``, ``(..., n, k)``.

    References:
        Huang, Wu, Van Gool, Building deep networks on Grassmann manifolds, AAAI 2018, equation 4.

    Example:
        >>> ReOrth()(torch.tensor([[2.0, 1.0], [0.0, 3.0], [0.0, 0.0]]))
        tensor([[1., 0.],
                [0., 1.],
                [0., 0.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return Q.

        Raises:
            GeowarpError: for more columns than rows.
        """
        if x.dim() < 2 or x.shape[-1] > x.shape[-2]:
            raise GeowarpError(f"ReOrth: the input has shape {tuple(x.shape)}, not (..., n, k) with k <= n")
        q: Tensor = full_precision(qr_factor)(x)
        return q
