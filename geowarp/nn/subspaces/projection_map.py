"""From a set of vectors to the subspace that it spans."""

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg import full_precision
from ...manifolds.linalg.precision import working_precision
from .finite_input import has_values, require_finite
from .span_methods import SpanMethod, SVDBasis

__all__ = ["ProjectionMap"]

_SVD = SVDBasis()


class ProjectionMap(nn.Module):
    """The subspace spanned by the columns of a data matrix: ``(..., n, m)`` to a basis ``(..., n, k)``.

    Gradients are those of the span, and finite everywhere; they can be taken once.

    Args:
        k: the dimension of the subspace; by default that of all m columns.
        method: ``SVDBasis()``, ``GramBasis()`` (faster), ``QRBasis()`` (k = m) or, for the matrix
            ``(..., n, n)``, ``Projector()``.
        allow_deficient: also take data of a rank below k, which determine only a part of the subspace; the
            rest of it is arbitrary. The numerical rank is the number of singular values above
            ``max(n, m) eps σ_1``. It is not looked at while compiling.

    Raises:
        GeowarpError: for k below 1 or, in ``forward``, for too few rows or columns, or too low a rank.
        NonFiniteError: in ``forward``, for data that are infinite or not a number.

    References:
        Huang, Wu, Van Gool, Building deep networks on Grassmann manifolds, AAAI 2018, section 3.

    Example:
        >>> ProjectionMap(1)(torch.tensor([[3.0, 6.0], [4.0, 8.0]]))
        tensor([[0.6000],
                [0.8000]])
        >>> ProjectionMap()(torch.tensor([[3.0, 6.0], [4.0, 8.0]]))
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: ProjectionMap: the rank of the data is 1, below k = 2; ...
    """

    def __init__(
        self, k: int | None = None, method: SpanMethod = _SVD, *, allow_deficient: bool = False
    ) -> None:
        super().__init__()
        if k is not None and k < 1:
            raise GeowarpError(f"ProjectionMap: k = {k} must be at least 1")
        self.k = k
        self.method = method
        self.allow_deficient = allow_deficient

    def forward(self, x: Tensor) -> Tensor:
        """Return the basis ``(..., n, k)``, or the matrix of the method, for ``x (..., n, m)``."""
        k = self._dimension(x)
        require_finite("ProjectionMap", x)
        result: Tensor = full_precision(self._span)(x, k)
        return result

    def extra_repr(self) -> str:
        """Return the settings, for ``repr``."""
        return f"k={self.k}, method={self.method!r}, allow_deficient={self.allow_deficient}"

    def _span(self, x: Tensor, k: int) -> Tensor:
        basis = self.method.basis(x, k)
        if not self.allow_deficient and has_values(x):
            _check_rank(x.detach(), basis.detach())
        return self.method.output(basis)

    def _dimension(self, x: Tensor) -> int:
        if x.dim() < 2:
            raise GeowarpError(f"ProjectionMap: the input has shape {tuple(x.shape)}, not (..., n, m)")
        n, m = x.shape[-2:]
        k = m if self.k is None else self.k
        if not 1 <= k <= min(n, m):
            raise GeowarpError(
                f"ProjectionMap: {n} x {m} data span no subspace of dimension k = {k}; give k=... from 1 to "
                f"{min(n, m)}"
            )
        return k


def _check_rank(x: Tensor, basis: Tensor) -> None:
    """Raise for a rank below k, found by singular values only where ``Uᵀx`` leaves it open."""
    k = basis.shape[-1]
    if _is_surely_full(x, basis):
        return
    values = torch.linalg.svdvals(x)
    tolerance = max(x.shape[-2:]) * torch.finfo(x.dtype).eps * values[..., :1]
    rank = int((values > tolerance).sum(-1).min())
    if rank < k:
        remedy = f"take k={rank}, or allow_deficient=True" if rank else "is it 0? Else allow_deficient=True"
        raise GeowarpError(f"ProjectionMap: the rank of the data is {rank}, below k = {k}; {remedy}")


def _is_surely_full(x: Tensor, basis: Tensor) -> bool:
    """Return whether all ``Uᵀx``, and so x, have k singular values well above rounding."""
    image = working_precision(basis.mT @ x)
    image = image / torch.linalg.vector_norm(image, dim=(-2, -1), keepdim=True)
    of_data = 10 * max(x.shape[-2:]) * torch.finfo(x.dtype).eps
    bound = max(of_data**2, 100 * image.shape[-2] * torch.finfo(image.dtype).eps)
    eye = torch.eye(image.shape[-2], dtype=image.dtype, device=image.device)
    return not bool(torch.linalg.cholesky_ex(image @ image.mT - bound * eye)[1].any())
