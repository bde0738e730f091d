"""Ways from a data matrix to the span of its columns, as values."""

import abc
from dataclasses import dataclass

from torch import Tensor

from ...errors import GeowarpError
from ...manifolds.linalg.leading_subspace import leading_left_singular_vectors
from ...manifolds.linalg.qr_factor import qr_factor

__all__ = ["GramBasis", "Projector", "QRBasis", "SVDBasis", "SpanMethod"]


class SpanMethod(abc.ABC):
    """A way from data ``(..., n, m)`` to the subspace of dimension k that the columns span.

    A method of one's own is a frozen dataclass with ``basis``.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class FirstColumns(SpanMethod):
        ...     def basis(self, x, k):
        ...         return QRBasis()(x[..., :k], k)
        >>> FirstColumns()(torch.eye(3), 2)
        tensor([[1., 0.],
                [0., 1.],
                [0., 0.]])
    """

    @abc.abstractmethod
    def basis(self, x: Tensor, k: int) -> Tensor:
        """Return an orthonormal basis ``(..., n, k)``."""

    def output(self, basis: Tensor) -> Tensor:
        """Return what stands for the subspace: the basis itself, unless a method says otherwise."""
        return basis

    def __call__(self, x: Tensor, k: int) -> Tensor:
        """Return what stands for the subspace of the data ``(..., n, m)``."""
        return self.output(self.basis(x, k))


@dataclass(frozen=True)
class SVDBasis(SpanMethod):
    """The left singular vectors of the k largest singular values: the best subspace in least squares.

    Example:
        >>> SVDBasis()(torch.diag(torch.tensor([1.0, 3.0, 2.0])), 2)
        tensor([[0., 0.],
                [1., 0.],
                [0., 1.]])
    """

    def basis(self, x: Tensor, k: int) -> Tensor:
        """Return the singular vectors, ``(..., n, k)``."""
        return leading_left_singular_vectors(x, k).basis


@dataclass(frozen=True)
class GramBasis(SpanMethod):
    """The subspace of ``SVDBasis`` by the Gram matrix of the smaller side, in the precision of the data.

    It takes two thirds of the time in float32 and half of it in float64. Its error is
    ``eps σ_1² / (σ_k² − σ_{k+1}²)``, that of ``SVDBasis`` ``eps σ_1 / (σ_k − σ_{k+1})``: for data whose first
    k singular values are of like size.

    Example:
        >>> GramBasis()(torch.diag(torch.tensor([1.0, 3.0, 2.0])), 2)
        tensor([[0., 0.],
                [1., 0.],
                [0., 1.]])
    """

    def basis(self, x: Tensor, k: int) -> Tensor:
        """Return the eigenvectors, ``(..., n, k)``."""
        return leading_left_singular_vectors(x, k, exact=False).basis


@dataclass(frozen=True)
class QRBasis(SpanMethod):
    """The orthonormal factor of ``X = QR``, for the span of all columns: k = m.

    Raises:
        GeowarpError: for k other than m.

    Example:
        >>> QRBasis()(torch.tensor([[-2.0], [0.0]]), 1)
        tensor([[-1.],
                [ 0.]])
    """

    def basis(self, x: Tensor, k: int) -> Tensor:
        """Return Q, ``(..., n, m)``."""
        if k != x.shape[-1]:
            raise GeowarpError(
                f"QRBasis: k = {k} of {x.shape[-1]} columns; QR spans all of them: take SVDBasis()"
            )
        return qr_factor(x)


@dataclass(frozen=True)
class Projector(SpanMethod):
    """The orthogonal projector ``P = X(XᵀX)⁻¹Xᵀ = UUᵀ``, ``(..., n, n)``, from a basis U of the span.

    Args:
        of: the method that gives the basis; by default ``QRBasis()`` for k = m and else ``SVDBasis()``.

    Example:
        >>> Projector()(torch.tensor([[2.0], [0.0]]), 1)
        tensor([[1., 0.],
                [0., 0.]])
    """

    of: SpanMethod | None = None

    def basis(self, x: Tensor, k: int) -> Tensor:
        """Return the basis U, ``(..., n, k)``."""
        method = self.of or (QRBasis() if k == x.shape[-1] else SVDBasis())
        return method.basis(x, k)

    def output(self, basis: Tensor) -> Tensor:
        """Return ``UUᵀ``."""
        return basis @ basis.mT
