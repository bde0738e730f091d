"""From a symmetric matrix to the subspace of its leading eigenvectors."""

from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg import full_precision
from ...manifolds.linalg.leading_subspace import leading_eigenvectors
from .finite_input import require_finite

__all__ = ["OrthMap"]


class OrthMap(nn.Module):
    """The eigenvectors of the k largest eigenvalues: symmetric ``(..., n, n)`` to ``(..., n, k)``.

    Of another matrix it takes the symmetric part. The gradient is that of the span, symmetric, and finite
    also at equal eigenvalues.

    Args:
        k: the dimension of the subspace.

    Raises:
        GeowarpError: for k below 1 or, in ``forward``, above n.
        NonFiniteError: in ``forward``, for entries that are infinite or not a number.

    References:
        Huang, Wu, Van Gool, Building deep networks on Grassmann manifolds, AAAI 2018, equation 7.

    Example:
        >>> OrthMap(1)(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor([[0.7071],
                [0.7071]])
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        if k < 1:
            raise GeowarpError(f"OrthMap: k = {k} must be at least 1")
        self.k = k

    def forward(self, matrix: Tensor) -> Tensor:
        """Return the eigenvectors."""
        if matrix.dim() < 2 or matrix.shape[-1] != matrix.shape[-2] or self.k > matrix.shape[-1]:
            raise GeowarpError(
                f"OrthMap: the input has shape {tuple(matrix.shape)}, not (..., n, n) with n >= {self.k}"
            )
        require_finite("OrthMap", matrix)
        basis: Tensor = full_precision(_basis)(matrix, self.k)
        return basis

    def extra_repr(self) -> str:
        """Return the dimension, for ``repr``."""
        return f"k={self.k}"


def _basis(matrix: Tensor, k: int) -> Tensor:
    return leading_eigenvectors(matrix, k).basis
