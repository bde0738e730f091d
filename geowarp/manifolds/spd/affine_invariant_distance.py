"""The squared affine-invariant distance of two positive definite matrices, accurate near and far."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..linalg.threads import is_concrete, over_threads
from .pair_function import all_pairs, of_pairs
from .points import cholesky, inverse_factor, inverse_triangular
from .whitened import whiten, whitened_difference, wide_pairs

__all__ = ["pairwise_squared_distance", "squared_distance"]


def _wide_rows(eigenvalues: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Return which pairs have lost digits of the smallest eigenvalue of ``L⁻¹yL⁻ᵀ``, and their indices.

    Without indices all pairs have to be computed both ways.
    """
    wide = wide_pairs(eigenvalues, dtype)
    return wide, wide.nonzero().squeeze(-1) if is_concrete(wide) else None


@dataclass(frozen=True)
class _SquaredDistance:
    """``Σ log² λ(x⁻¹y)``, of eigenvalues of the whitened difference, or singular values of wide pairs."""

    dtype: torch.dtype
    uses_second = False

    def values(self, x: Tensor, y: Tensor, first: Tensor, second: Tensor) -> Tensor:
        def pick(rows: Tensor) -> Tensor:
            return first[rows] @ cholesky(y[rows])

        eigenvalues = over_threads(torch.linalg.eigvalsh, whitened_difference(first, x, y))
        return self._squares(eigenvalues, pick)

    def table(self, x: Tensor, y: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the squares of all pairs, of whose differences every row is whitened by two products."""
        count = len(y)

        def pick(pairs: Tensor) -> Tensor:
            return first[pairs // count] @ cholesky(y[pairs % count])

        difference = y.movedim(0, 1) - x[:, :, None]
        half = first @ difference.flatten(2)
        white = (half.unflatten(2, (count, -1)).flatten(1, 2) @ first.mT).unflatten(1, (-1, count))
        eigenvalues = over_threads(torch.linalg.eigvalsh, white.movedim(2, 1).flatten(0, 1))
        return self._squares(eigenvalues, pick).reshape(len(x), count)

    def _squares(self, eigenvalues: Tensor, pick: Callable[[Tensor], Tensor]) -> Tensor:
        """Return ``Σ log² λ`` of eigenvalues ``λ − 1``; ``pick`` gives ``L_x⁻¹L_y`` of some of the pairs."""
        wide, rows = _wide_rows(eigenvalues, self.dtype)
        squares = torch.where(wide, 0, eigenvalues.log1p().square().sum(-1))
        if rows is not None and rows.numel() == 0:
            return squares
        every = torch.arange(len(wide), device=wide.device)
        quotients = pick(every if rows is None else rows)
        far = (2 * over_threads(torch.linalg.svdvals, quotients).log()).square().sum(-1)
        return torch.where(wide, far, squares) if rows is None else squares.index_copy(0, rows, far)

    def gradients(self, x: Tensor, y: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``−2 x⁻¹ log_x(y) x⁻¹`` and ``−2 y⁻¹ log_y(x) y⁻¹``."""
        eigenvalues, vectors = over_threads(torch.linalg.eigh, whitened_difference(first, x, y))
        wide, rows = _wide_rows(eigenvalues, self.dtype)
        eigenvalues = torch.where(wide[..., None], 0, eigenvalues)[..., None, :]
        frame, logarithms = first.mT @ vectors, 2 * eigenvalues.log1p()
        at_x = -(frame * logarithms) @ frame.mT
        at_y = (frame * (logarithms / (1 + eigenvalues))) @ frame.mT
        if rows is not None and rows.numel() == 0:
            return at_x, at_y
        first, y = (first, y) if rows is None else (first[rows], y[rows])
        far_x, far_y = _far_gradients(first, y)
        if rows is None:
            wide = wide[..., None, None]
            return torch.where(wide, far_x, at_x), torch.where(wide, far_y, at_y)
        return at_x.index_copy(0, rows, far_x), at_y.index_copy(0, rows, far_y)

    def differentiable_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        inverse = inverse_factor(x)
        logarithm = whiten(inverse, x, y, self.dtype).logarithm()
        gradient: Tensor = -2 * inverse.mT @ logarithm @ inverse
        return gradient


def _far_gradients(inverse: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    factor = cholesky(y)
    u, s, vh = over_threads(torch.linalg.svd, inverse @ factor)
    logarithms = 4 * s.log()[..., None, :]
    frame_x, frame_y = inverse.mT @ u, inverse_triangular(factor).mT @ vh.mT
    return -(frame_x * logarithms) @ frame_x.mT, (frame_y * logarithms) @ frame_y.mT


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return ``Σ log² λ_k(x⁻¹y)``, ``(...)``, in float64 where the device has it; differentiable twice.

    With ``x = L Lᵀ``, from the eigenvalues ε of ``L⁻¹ (y − x) L⁻ᵀ`` as ``Σ log1p(ε)²``, which is accurate for
    the closest pairs, and where the ratio of the largest λ to the smallest has taken digits of the smallest,
    from the singular values σ of ``L_x⁻¹L_y`` as ``Σ (2 log σ)²``.

    References:
        Bhatia, Positive Definite Matrices (2007), section 6.1.

    Example:
        >>> squared_distance(torch.eye(2), torch.e * torch.eye(2))
        tensor(2.0000, dtype=torch.float64)
    """
    return of_pairs(_SquaredDistance(x.dtype), x, y)


def pairwise_squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return ``squared_distance`` of all pairs, ``(..., N, M)``; where y is x itself, of half of them.

    Args:
        x: ``(..., N, n, n)``.
        y: ``(..., M, n, n)``.

    Example:
        >>> x = torch.tensor([[[1.0]], [[torch.e]]])
        >>> pairwise_squared_distance(x, x)
        tensor([[0.0000, 1.0000],
                [1.0000, 0.0000]], dtype=torch.float64)
    """
    return all_pairs(_SquaredDistance(x.dtype), x, y)
