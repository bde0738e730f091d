"""The chordal mean of subspaces, and of semidefinite matrices, as an average of symmetric matrices."""

from dataclasses import dataclass

from torch import Tensor

from ...manifolds import SPSD, Grassmann
from ...manifolds.linalg import full_precision
from ...manifolds.linalg.leading_subspace import leading_eigenvectors
from ...manifolds.spd.points import cholesky
from .encoding import Encoding
from .triangle import pack_symmetric, triangle_size, unpack_symmetric

__all__ = ["FactorSquares", "Projectors"]


class _Squares(Encoding):
    """The lower triangles of ``x xᵀ`` of factors x, ``(..., n, k)``."""

    def size(self, shape: tuple[int, ...]) -> int:
        """Return ``n(n+1)/2``."""
        return triangle_size(shape[-2])

    @full_precision
    def encode(self, x: Tensor) -> Tensor:
        """Return the lower triangles of the squares."""
        return pack_symmetric(x @ x.mT)


@dataclass(frozen=True)
class Projectors(_Squares):
    """``n(n+1)/2`` entries of the projectors ``x xᵀ`` of subspaces: the chordal mean is of their average.

    It is spanned by the k leading eigenvectors, and minimises ``Σ w_i ‖m mᵀ − x_i x_iᵀ‖²``.

    Example:
        >>> encoding = Projectors(Grassmann())
        >>> x = torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]]])
        >>> encoding.decode(encoding.encode(x).T @ torch.tensor([0.6, 0.4]), (2, 1)).abs()
        tensor([[1.],
                [0.]])
    """

    manifold: Grassmann

    @full_precision
    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the leading eigenvectors."""
        average = self.filled(self.manifold, average, shape)
        return leading_eigenvectors(unpack_symmetric(average, shape[-2]), shape[-1]).basis


@dataclass(frozen=True)
class FactorSquares(_Squares):
    """``n(n+1)/2`` entries of ``X = Y Yᵀ`` of factors Y: the mean is the nearest matrix of rank r to them.

    It minimises ``Σ w_i ‖M − X_i‖²`` over the matrices of rank r.

    Example:
        >>> encoding = FactorSquares(SPSD(1))
        >>> x = torch.tensor([[[1.0], [0.0]], [[7**0.5], [0.0]]], dtype=torch.float64)
        >>> encoding.decode(encoding.encode(x).mean(0), (2, 1)).square().round(decimals=9)
        tensor([[4.],
                [0.]], dtype=torch.float64)
    """

    manifold: SPSD

    @full_precision
    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return ``U L`` with the leading eigenvectors U of A, and ``L Lᵀ = Uᵀ A U``."""
        matrix = unpack_symmetric(self.filled(self.manifold, average, shape), shape[-2])
        basis = leading_eigenvectors(matrix, shape[-1]).basis
        return basis @ cholesky(basis.mT @ matrix @ basis)
