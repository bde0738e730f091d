"""The affine-invariant distance, of pairs of matrices and of all pairs of two sets, accurate near and far."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..linalg import sym
from ..linalg.eigenfunction import symmetric_function
from ..linalg.spectral import log1p
from ..linalg.threads import is_concrete, map_over_threads, over_threads
from .points import cholesky, inverse_factor, inverse_triangular

__all__ = ["pairwise_squared_distance", "squared_distance", "working_precision"]

_WIDEST = {torch.float32: 1e7, torch.float64: 1e4}  # ratio of eigenvalues, by the dtype of the points
_PAIRS = 512  # that one thread has at a time


def working_precision(x: Tensor) -> Tensor:
    """Return x in float64, where the device has it.

    Example:
        >>> working_precision(torch.zeros(1)).dtype
        torch.float64
    """
    return x if x.device.type == "mps" else x.double()


def _difference(inverse: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return ``L⁻¹ (y − x) L⁻ᵀ``, to full relative accuracy for the closest y."""
    difference: Tensor = inverse @ (y - x) @ inverse.mT
    return difference


def _wide(eigenvalues: Tensor, widest: float) -> Tensor:
    """Return which of ``L⁻¹yL⁻ᵀ − I`` have lost digits of the smallest eigenvalue of ``L⁻¹yL⁻ᵀ``."""
    return ~(1 + eigenvalues[..., 0] > (1 + eigenvalues[..., -1]) / widest)


def _rows(wide: Tensor) -> Tensor | None:
    """Return the indices of the wide rows, or None where all rows have to be computed both ways."""
    return wide.nonzero().squeeze(-1) if is_concrete(wide) else None


def _squares(x: Tensor, inverse: Tensor, y: Tensor, widest: float) -> Tensor:
    """Return ``Σ log² λ`` of flat batches."""
    eigenvalues = torch.linalg.eigvalsh(_difference(inverse, x, y))
    wide = _wide(eigenvalues, widest)
    squares = torch.where(wide, 0, eigenvalues.log1p().square().sum(-1))
    rows = _rows(wide)
    if rows is not None and rows.numel() == 0:
        return squares
    inverse, y = (inverse, y) if rows is None else (inverse[rows], y[rows])
    far = (2 * torch.linalg.svdvals(inverse @ cholesky(y)).log()).square().sum(-1)
    return torch.where(wide, far, squares) if rows is None else squares.index_copy(0, rows, far)


def _gradients(x: Tensor, inverse: Tensor, y: Tensor, widest: float) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``½ Σ log² λ``, ``−x⁻¹ log_x(y) x⁻¹`` and ``−y⁻¹ log_y(x) y⁻¹``, flat."""
    eigenvalues, vectors = torch.linalg.eigh(_difference(inverse, x, y))
    wide = _wide(eigenvalues, widest)
    eigenvalues = torch.where(wide[..., None], 0, eigenvalues)
    logarithms, frame = eigenvalues.log1p()[..., None, :], inverse.mT @ vectors
    at_x = -(frame * logarithms) @ frame.mT
    at_y = (frame * (logarithms / (1 + eigenvalues[..., None, :]))) @ frame.mT
    rows = _rows(wide)
    if rows is not None and rows.numel() == 0:
        return at_x, at_y
    inverse, y = (inverse, y) if rows is None else (inverse[rows], y[rows])
    far_x, far_y = _far_gradients(inverse, y)
    if rows is None:
        wide = wide[..., None, None]
        return torch.where(wide, far_x, at_x), torch.where(wide, far_y, at_y)
    return at_x.index_copy(0, rows, far_x), at_y.index_copy(0, rows, far_y)


def _far_gradients(inverse: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    factor = cholesky(y)
    u, s, vh = torch.linalg.svd(inverse @ factor)
    logarithms = 2 * s.log()[..., None, :]
    frame_x, frame_y = inverse.mT @ u, inverse_triangular(factor).mT @ vh.mT
    return -(frame_x * logarithms) @ frame_x.mT, (frame_y * logarithms) @ frame_y.mT


def _differentiable_gradient(x: Tensor, y: Tensor) -> Tensor:
    """Return ``−x⁻¹ log_x(y) x⁻¹``, differentiable."""
    inverse = inverse_factor(x)
    result: Tensor = -inverse.mT @ symmetric_function(sym(_difference(inverse, x, y)), log1p) @ inverse
    return result


def _flat(*tensors: Tensor) -> list[Tensor]:
    return [tensor.reshape(tensor.shape[:-2].numel(), *tensor.shape[-2:]) for tensor in tensors]


class _SquaredDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, inverse: Tensor, widest: float) -> Tensor:
        ctx.save_for_backward(x, y, inverse)
        ctx.widest = widest
        squares = over_threads(lambda a, b, c: _squares(a, b, c, widest), *_flat(x, inverse, y))
        result: Tensor = squares.reshape(x.shape[:-2])
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, y, inverse = ctx.saved_tensors
        weight = 2 * grad[..., None, None]
        if torch.is_grad_enabled():
            gradients = _differentiable_gradient(x, y), _differentiable_gradient(y, x)
        else:
            flat = over_threads(lambda a, b, c: _gradients(a, b, c, ctx.widest), *_flat(x, inverse, y))
            gradients = tuple(gradient.reshape(x.shape) for gradient in flat)
        return weight * gradients[0], weight * gradients[1], None, None


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
    widest = _WIDEST[x.dtype]
    with torch.no_grad():
        inverse = inverse_factor(working_precision(x))
    x, y = torch.broadcast_tensors(working_precision(x), working_precision(y))
    value: Tensor = _SquaredDistance.apply(  # type: ignore[no-untyped-call]
        x, y, inverse.expand(x.shape), widest
    )
    return value


def _pairs(x: Tensor, y: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """Return indices of x and y of all pairs, flat over problems, in parts; without y of pairs i < j."""
    problems, count = x.shape[:2]
    other = count if y is None else y.shape[1]
    if y is None:
        i, j = torch.triu_indices(count, count, 1, device=x.device)
    else:
        i, j = torch.cartesian_prod(*(torch.arange(k, device=x.device) for k in (count, other))).unbind(-1)
    problem = torch.arange(problems, device=x.device)[:, None]
    i, j = (problem * count + i).flatten(), (problem * other + j).flatten()
    size = _part(i.numel(), x)
    return list(zip(i.split(size), j.split(size), strict=True))


def _part(pairs: int, x: Tensor) -> int:
    """Return how many pairs to take at a time: few enough for a cache, or all where threads do not pay."""
    if not is_concrete(x):
        return _PAIRS << 5
    return max(pairs, 1) if pairs * x.shape[-1] ** 3 < 1 << 21 else _PAIRS


class _PairwiseSquares(torch.autograd.Function):
    """Of flat problems (P, N, n, n) and (P, M, n, n), or all pairs of the first where the second is None."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, inverse: Tensor, widest: float) -> Tensor:
        ctx.save_for_backward(x, y, inverse)
        ctx.widest = widest
        a, b, factors = x.flatten(0, 1), (x if y is None else y).flatten(0, 1), inverse.flatten(0, 1)

        def part(pair: tuple[Tensor, Tensor]) -> Tensor:
            i, j = pair
            return _squares(a[i], factors[i], b[j], widest)

        parts = list(_map(part, _pairs(x, y), x))
        squares = torch.cat(parts) if parts else x.new_zeros(0)
        if y is not None:
            return squares.reshape(x.shape[0], x.shape[1], y.shape[1])
        result = x.new_zeros(x.shape[0], x.shape[1], x.shape[1])
        i, j = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
        result[:, i, j] = result[:, j, i] = squares.reshape(x.shape[0], i.numel())
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        x, y, inverse = ctx.saved_tensors
        weights = 2 * (grad + grad.mT if y is None else grad)[..., None, None]
        if torch.is_grad_enabled():
            return (*_differentiable_gradients(x, y, weights), None, None)
        other = x if y is None else y
        a, b, factors = x.flatten(0, 1), other.flatten(0, 1), inverse.flatten(0, 1)

        def part(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
            i, j = pair
            return i, j, *_gradients(a[i], factors[i], b[j], ctx.widest)

        at_x, at_y = torch.zeros_like(a), torch.zeros_like(b)
        for i, j, first, second in _map(part, _pairs(x, y), x):
            weight = weights.flatten(0, 1)[i, j % other.shape[1]]
            at_x.index_add_(0, i, weight * first)
            at_y.index_add_(0, j, weight * second)
        if y is None:
            return (at_x + at_y).reshape(x.shape), None, None, None
        return at_x.reshape(x.shape), at_y.reshape(y.shape), None, None


def _map(function: Any, items: list[Any], x: Tensor) -> Iterator[Any]:
    return map_over_threads(function, items) if is_concrete(x) else map(function, items)


def _differentiable_gradients(x: Tensor, y: Tensor | None, weights: Tensor) -> tuple[Tensor, Tensor | None]:
    a, b = x[:, :, None], (x if y is None else y)[:, None]
    at_x = (weights * _differentiable_gradient(a, b)).sum(2)
    return at_x, None if y is None else (weights * _differentiable_gradient(b, a)).sum(1)


def pairwise_squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return ``squared_distance`` of all pairs, ``(..., N, M)``; where y is x, of half of them.

    Every x is factorised once. Memory is that of a few thousand matrices beside the result.

    Args:
        x: ``(..., N, n, n)``.
        y: ``(..., M, n, n)``.

    Example:
        >>> x = torch.tensor([[[1.0]], [[torch.e]]])
        >>> pairwise_squared_distance(x, x)
        tensor([[0.0000, 1.0000],
                [1.0000, 0.0000]], dtype=torch.float64)
    """
    if torch.compiler.is_compiling():
        return squared_distance(x[..., :, None, :, :], y[..., None, :, :, :])
    widest, same = _WIDEST[x.dtype], y is x
    batch = torch.broadcast_shapes(x.shape[:-3], y.shape[:-3])
    with torch.no_grad():
        inverse = inverse_factor(working_precision(x))
    flat = [
        working_precision(points)
        .expand(*batch, *points.shape[-3:])
        .reshape(batch.numel(), *points.shape[-3:])
        for points in (x, y, inverse)
    ]
    squares: Tensor = _PairwiseSquares.apply(  # type: ignore[no-untyped-call]
        flat[0], None if same else flat[1], flat[2], widest
    )
    return squares.reshape(*batch, *squares.shape[-2:])
