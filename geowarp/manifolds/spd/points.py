"""What all metrics of symmetric positive definite matrices share: the points, and how they are factorised."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import NotOnManifoldError
from ..base import Manifold
from ..linalg import full_precision, sym
from ..linalg.broadcasting import broadcast_shapes
from ..linalg.eigenfunction import symmetric_function
from ..linalg.precision import working_precision
from ..linalg.spectral import exp
from ..linalg.threads import is_concrete
from ..sampling import gaussian, shape_of

__all__ = [
    "SymmetricPositiveDefinite",
    "cholesky",
    "inverse_factor",
    "inverse_triangular",
    "nearly_positive",
    "not_definite",
]

_FLOOR = 8.0  # times √n eps ‖A‖: matrices with such eigenvalues always had a Cholesky factor


def cholesky(x: Tensor) -> Tensor:
    """Return the lower triangular ``L`` with ``x = L Lᵀ``, ``(..., n, n)``.

    On other devices than the CPU, and while compiling, a factor that does not exist is NaN, and no error.

    Raises:
        NotOnManifoldError: for matrices that are not positive definite, with the smallest eigenvalue.

    Example:
        >>> cholesky(torch.tensor([[4.0, 2.0], [2.0, 2.0]]))
        tensor([[2., 0.],
                [1., 1.]])
    """
    factor, info = torch.linalg.cholesky_ex(x)
    if not is_concrete(x):
        return torch.where((info == 0)[..., None, None], factor, torch.nan)
    if bool(info.any()):
        raise not_definite(x, info > 0)
    return factor  # type: ignore[no-any-return]


def not_definite(x: Tensor, wrong: Tensor) -> NotOnManifoldError:
    """Return the error that names the first of the matrices ``(..., n, n)`` that are wrong, ``(...)``.

    Example:
        >>> not_definite(-torch.eye(2), torch.tensor(True))
        NotOnManifoldError('the matrix is not positive definite: its smallest eigenvalue is -1.0e+00; projx...
    """
    return NotOnManifoldError(f"{_describe(x.detach(), wrong)}; {_REMEDY}")


_REMEDY = "projx raises eigenvalues to a positive floor, and a multiple of the identity may be added"


def _describe(x: Tensor, wrong: Tensor) -> str:
    """Return which matrix is the first that is wrong, and its smallest eigenvalue."""
    index = wrong.nonzero()[0].tolist()
    matrix, place = x[tuple(index)], f"matrix {index} of {tuple(wrong.shape)}" if index else "the matrix"
    if not bool(matrix.isfinite().all()):
        return f"{place} has entries that are not finite"
    smallest = float(torch.linalg.eigvalsh(sym(matrix).double())[0])
    within = ", within rounding of 0" if smallest > 0 else ""
    return f"{place} is not positive definite: its smallest eigenvalue is {smallest:.1e}{within}"


def inverse_triangular(factor: Tensor) -> Tensor:
    """Return the inverse of a lower triangular matrix, ``(..., n, n)``.

    Example:
        >>> inverse_triangular(torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
        tensor([[ 0.5000,  0.0000],
                [-0.5000,  1.0000]])
    """
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand(factor.shape)
    inverse: Tensor = torch.linalg.solve_triangular(factor, eye, upper=False)
    return inverse


def inverse_factor(x: Tensor) -> Tensor:
    """Return ``L⁻¹`` of ``x = L Lᵀ``, ``(..., n, n)``; the errors are those of ``cholesky``.

    Example:
        >>> inverse_factor(torch.tensor([[4.0]]))
        tensor([[0.5000]])
    """
    return inverse_triangular(cholesky(x))


def _floor(x: Tensor) -> Tensor:
    """Return ``8 √n eps ‖x‖`` (Frobenius), ``(..., 1, 1)``."""
    largest = x.abs().amax((-2, -1), keepdim=True)
    scale = torch.where(largest > 0, largest, 1)
    norm: Tensor = torch.linalg.matrix_norm(x / scale, keepdim=True)
    unit: float = _FLOOR * x.shape[-1] ** 0.5 * torch.finfo(x.dtype).eps
    return unit * (scale * torch.where(norm > 0, norm, 1))


def nearly_positive(x: Tensor) -> Tensor:
    """Return x, plus ``8 √n eps ‖x‖`` of the identity where rounding has left it without a Cholesky factor.

    Args:
        x: ``(..., n, n)``, positive definite before rounding.

    Example:
        >>> nearly_positive(torch.tensor([[1.0, 1.0], [1.0, 1.0]])) - 1 > 0
        tensor([[ True, False],
                [False,  True]])
    """
    if x.numel() == 0:
        return x
    with torch.no_grad():
        raised = torch.where(_is_definite(x)[..., None, None], 0, _floor(x))
    return x + raised * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)


class _Lift:
    """The function ``max(floor − x, 0)``, which added to x raises it to the floor."""

    def __init__(self, floor: float) -> None:
        self.floor = floor

    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return (self.floor - eigenvalue).clamp_min(0)

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        apart = high > low
        ratio = (self.floor - low) / torch.where(apart, high - low, 1)
        return torch.where(high <= self.floor, -1, torch.where(low >= self.floor, 0, -ratio))

    def second_divided_difference(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return the recursion, which is 0 on either side of the floor."""
        low, middle, high = torch.stack(torch.broadcast_tensors(a, b, c)).sort(0).values
        above, below = self.divided_difference(middle, high), self.divided_difference(low, middle)
        across = (low < self.floor) & (self.floor < high)
        return torch.where(across, (above - below) / torch.where(across, high - low, 1), 0)


class SymmetricPositiveDefinite(Manifold):
    """Symmetric positive definite matrices, points ``(..., n, n)``, tangent vectors symmetric matrices.

    The base of the metrics on this set. ``projx`` leaves positive definite matrices as they are.

    Example:
        >>> from geowarp.manifolds.spd import AffineInvariantSPD
        >>> AffineInvariantSPD().projx(torch.tensor([[2.0, 1.0], [0.0, 2.0]]))
        tensor([[2.0000, 0.5000],
                [0.5000, 2.0000]])
    """

    ndim = 2
    reversible = True

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``n(n + 1)/2``."""
        return shape[-1] * (shape[-1] + 1) // 2

    @full_precision
    def point_residual(self, x: Tensor) -> Tensor:
        """Return ``‖x − xᵀ‖ / ‖x‖``, plus ``1 + |λ| / ‖x‖`` for a smallest eigenvalue λ below 0."""
        size, skewness = _size_and_skewness(x)
        definite = _is_definite(x)
        if is_concrete(x) and bool(definite.all()):
            return skewness
        smallest: Tensor = torch.linalg.eigvalsh(torch.where(x.isfinite(), x, 0))[..., 0]
        return skewness + torch.where(definite, 0, 1 + smallest.clamp_max(0).abs() / size)

    @full_precision
    def unchecked_residual(self, x: Tensor) -> Tensor:
        """Return ``‖x − xᵀ‖ / ‖x‖`` on the CPU, where operations factorise x, or ``point_residual``."""
        return _size_and_skewness(x)[1] if is_concrete(x) else self.point_residual(x)

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``‖u − uᵀ‖`` (Frobenius)."""
        residual: Tensor = torch.linalg.matrix_norm(u - u.mT)
        return residual.expand(broadcast_shapes(x.shape[:-2], residual.shape))

    def projx(self, x: Tensor) -> Tensor:
        """Return the symmetric part, where it has no Cholesky factor with its eigenvalues raised to a floor.

        The floor is ``8 √n eps ‖x‖`` (Frobenius).
        """
        x = sym(x)
        if x.numel() == 0:
            return x
        floor = _floor(x)
        unit: float = _FLOOR * x.shape[-1] ** 0.5 * torch.finfo(x.dtype).eps
        lifted = x + floor / unit * symmetric_function(x * (unit / floor), _Lift(unit))
        return torch.where(_is_definite(x.detach())[..., None, None], x, sym(lifted))

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the symmetric part of ``u``."""
        return sym(u).expand(broadcast_shapes(x.shape, u.shape))

    def origin_point(self, shape: tuple[int, ...]) -> Tensor:
        """Return the identity."""
        return torch.eye(shape[-1]).expand(shape)

    def random(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return ``expm(S)`` of symmetric S, normal with standard deviation ``1/(2 √n)`` on the diagonal."""
        self._assert_check_shape(shape_of(size), "random")
        noise = sym(gaussian(size, dtype, device, generator))
        point = _exponential(noise * (0.5 / max(noise.shape[-1], 1) ** 0.5))
        return geoopt.ManifoldTensor(point, manifold=self)  # type: ignore[no-any-return]

    def _check_shape(self, shape: tuple[int, ...], name: str) -> tuple[bool, str | None]:
        ok, reason = super()._check_shape(shape, name)
        if ok and shape[-1] != shape[-2]:
            return False, f"{name}: {tuple(shape[-2:])} is not square"
        return ok, reason

    def _check_point_on_manifold(
        self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        definite = _is_definite(x.detach())
        if not bool(definite.all()):
            return False, _describe(x.detach(), ~definite)
        return super()._check_point_on_manifold(x, atol=atol, rtol=rtol)


def _is_definite(x: Tensor) -> Tensor:
    """Return whether there is a Cholesky factor, also in float64, in which operations may work, ``(...)``."""
    _, info = torch.linalg.cholesky_ex(x)
    definite: Tensor = info == 0
    wide = working_precision(x)
    return definite if wide is x else definite & (torch.linalg.cholesky_ex(wide)[1] == 0)


def _size_and_skewness(x: Tensor) -> tuple[Tensor, Tensor]:
    size = torch.linalg.matrix_norm(x)
    size = torch.where(size > 0, size, 1)
    return size, torch.linalg.matrix_norm(x - x.mT) / size


@full_precision
def _exponential(symmetric: Tensor) -> Tensor:
    half = symmetric_function(0.5 * symmetric, exp)
    return half @ half.mT
