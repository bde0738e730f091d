"""A positive definite matrix as seen from another one: ``L⁻¹ y L⁻ᵀ`` for ``x = L Lᵀ``, and its functions."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..linalg import sym
from ..linalg.eigenfunction import symmetric_function
from ..linalg.spectral import log, log1p, sqrt
from ..linalg.threads import is_concrete, over_threads
from .points import cholesky

__all__ = ["Whitened", "whiten", "whitened_difference", "wide_pairs"]

_WIDEST = {torch.float32: 1e7, torch.float64: 1e4}  # ratio of eigenvalues, by the dtype of the points


def whitened_difference(inverse: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ``L⁻¹ (y − x) L⁻ᵀ`` of ``x = L Lᵀ``, to full relative accuracy for the closest y.

    Example:
        >>> whitened_difference(torch.tensor([[0.5]]), torch.tensor([[4.0]]), torch.tensor([[4.5]]))
        tensor([[0.1250]])
    """
    difference: Tensor = inverse @ (y - x) @ inverse.mT
    return difference


def wide_pairs(eigenvalues: Tensor, dtype: torch.dtype) -> Tensor:
    """Return which pairs have lost digits of the smallest eigenvalue of ``L⁻¹yL⁻ᵀ``, ``(...)``.

    Args:
        eigenvalues: of ``L⁻¹(y − x)L⁻ᵀ``, ``(..., n)``, smallest first.
        dtype: of the points, before they were raised to float64.

    Example:
        >>> wide_pairs(torch.tensor([[0.0, 1.0], [0.0, 1e5]]), torch.float64)
        tensor([False,  True])
    """
    return ~(1 + eigenvalues[..., 0] > (1 + eigenvalues[..., -1]) / _WIDEST[dtype])


class Whitened(NamedTuple):
    """``Z = L⁻¹ y L⁻ᵀ`` and ``Z − I``, with eigenvalues λ and λ − 1 that are accurate where they are read.

    Example:
        >>> z = whiten(torch.tensor([[0.5]]), torch.tensor([[4.0]]), torch.tensor([[4.5]]), torch.float32)
        >>> z.logarithm(), z.root()
        (tensor([[0.1178]]), tensor([[1.0607]]))
    """

    matrix: Tensor
    difference: Tensor
    eigenvalues: Tensor
    excess: Tensor
    vectors: Tensor
    wide: Tensor | None
    """Which pairs are wide, ``(..., 1, 1)``; None for none."""

    def logarithm(self) -> Tensor:
        """Return ``logm(Z)``, for pairs that are not wide as ``log1p(Z − I)``."""
        near = symmetric_function(self.difference, log1p, decomposition=(self.excess, self.vectors))
        if self.wide is None:
            return near
        far = symmetric_function(self.matrix, log, decomposition=(self.eigenvalues, self.vectors))
        return torch.where(self.wide, far, near)

    def root(self) -> Tensor:
        """Return ``Z^½``."""
        return symmetric_function(self.matrix, sqrt, decomposition=(self.eigenvalues, self.vectors))


def whiten(inverse: Tensor, x: Tensor, y: Tensor, dtype: torch.dtype) -> Whitened:
    """Return y as seen from ``x = L Lᵀ``.

    The eigenvalues are those of ``L⁻¹(y − x)L⁻ᵀ``, plus 1; where these have lost digits of the smallest, they
    are squares of the singular values of ``L⁻¹L_y``.

    Args:
        inverse: ``L⁻¹``, ``(..., n, n)``.
        x: ``(..., n, n)``.
        y: ``(..., n, n)``.
        dtype: of the points, before they were raised to float64.

    Raises:
        NotOnManifoldError: for a y that is not positive definite, on the CPU.

    Example:
        >>> whiten(torch.eye(1), torch.eye(1), 4 * torch.eye(1), torch.float32).eigenvalues
        tensor([4.])
    """
    difference, matrix = sym(whitened_difference(inverse, x, y)), sym(inverse @ y @ inverse.mT)
    with torch.no_grad():
        excess, vectors = over_threads(torch.linalg.eigh, difference)
        wide = wide_pairs(excess, dtype)
        if is_concrete(wide) and not bool(wide.any()):
            return Whitened(matrix, difference, 1 + excess, excess, vectors, None)
        apart, across = wide[..., None], wide[..., None, None]
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        left, values, _ = over_threads(torch.linalg.svd, torch.where(across, inverse @ cholesky(y), eye))
        return Whitened(
            matrix,
            difference,
            torch.where(apart, values.square(), 1 + excess),
            torch.where(apart, 0, excess),
            torch.where(across, left, vectors),
            across,
        )
