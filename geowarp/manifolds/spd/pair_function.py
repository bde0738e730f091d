"""Functions of two positive definite matrices, for pairs and for all pairs of two sets, with gradients."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ..linalg.broadcasting import broadcast_shapes
from ..linalg.precision import working_precision
from ..linalg.threads import is_concrete, map_over_threads
from .points import inverse_factor

__all__ = ["PairFunction", "all_pairs", "of_pairs"]

Block = TypeVar("Block")
Result = TypeVar("Result")

_ENTRIES = 1 << 16  # of the matrices of one block, which a cache holds
_WORK = 1 << 21  # Σ n³ from which threads pay


class PairFunction(Protocol):
    """A function f(x, y) of flat batches of matrices, given the inverse Cholesky factors of both.

    A function that needs no factor of y, ``uses_second`` False, may be given that of x a second time.
    """

    uses_second: bool

    def values(self, x: Tensor, y: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return f of pairs, ``(P,)``."""
        ...

    def table(self, x: Tensor, y: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return f of every x ``(N, n, n)`` with every y ``(M, n, n)``, ``(N, M)``."""
        ...

    def gradients(self, x: Tensor, y: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the symmetric gradients of pairs with respect to x and y, ``(P, n, n)``."""
        ...

    def differentiable_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the gradient with respect to x of batches ``(..., n, n)``, for second derivatives."""
        ...


def _flat(*tensors: Tensor) -> list[Tensor]:
    return [t.reshape(t.shape[:-2].numel(), *t.shape[-2:]) for t in tensors]


class _OfPairs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, first: Tensor, second: Tensor | None, function: PairFunction
    ) -> Tensor:
        second = first if second is None else second
        ctx.save_for_backward(x, y, first, second)
        ctx.function = function
        values = function.values(*_flat(x, y, first, second))
        return values.reshape(x.shape[:-2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x, y, first, second = ctx.saved_tensors
        if torch.is_grad_enabled():
            at_x, at_y = (ctx.function.differentiable_gradient(*pair) for pair in ((x, y), (y, x)))
        else:
            flat = ctx.function.gradients(*_flat(x, y, first, second))
            at_x, at_y = (gradient.reshape(x.shape) for gradient in flat)
        weight = grad[..., None, None]
        return weight * at_x, weight * at_y, None, None, None


def of_pairs(function: PairFunction, x: Tensor, y: Tensor) -> Tensor:
    """Return f(x, y), ``(...)``, in float64 where the device has it; differentiable twice.

    Args:
        function: f.
        x: ``(..., n, n)``.
        y: ``(..., n, n)``; the batch dimensions broadcast.

    Raises:
        NotOnManifoldError: for a matrix that is not positive definite, on the CPU.

    Example:
        >>> from geowarp.manifolds.spd.stein import Stein
        >>> of_pairs(Stein(), torch.eye(2), 4 * torch.eye(2))
        tensor(0.4463, dtype=torch.float64)
    """
    x, y = working_precision(x), working_precision(y)
    shape = broadcast_shapes(x.shape, y.shape)
    with torch.no_grad():
        first = inverse_factor(x).expand(shape)
        second = inverse_factor(y).expand(shape) if function.uses_second else None
    value: Tensor = _OfPairs.apply(  # type: ignore[no-untyped-call]
        x.expand(shape), y.expand(shape), first, second, function
    )
    return value


def _block_size(x: Tensor) -> int:
    """Return how many pairs make a block."""
    entries = _ENTRIES if is_concrete(x) else _ENTRIES << 9
    return max(1, entries // max(1, x.shape[-1] ** 2))


def _each(function: Callable[[Block], Result], blocks: Sequence[Block], x: Tensor) -> Iterator[Result]:
    """Yield what the function gives for every block, by several threads where that pays."""
    work = len(blocks) * _ENTRIES * x.shape[-1]
    return map_over_threads(function, blocks) if is_concrete(x) and work > _WORK else map(function, blocks)


def _indices(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the indices of all pairs of one problem, without y of those with i < j."""
    if y is None:
        i, j = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
        return i, j
    rows, columns = (torch.arange(points.shape[1], device=x.device) for points in (x, y))
    i, j = torch.cartesian_prod(rows, columns).unbind(-1)
    return i, j


def _pairs(x: Tensor, y: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """Return the indices of all pairs, flat over problems, in blocks."""
    i, j = _indices(x, y)
    problem = torch.arange(x.shape[0], device=x.device)[:, None]
    i = (problem * x.shape[1] + i).flatten()
    j = (problem * (x if y is None else y).shape[1] + j).flatten()
    return list(zip(i.split(_block_size(x)), j.split(_block_size(x)), strict=True))


def _of_small_problems(
    function: PairFunction, x: Tensor, y: Tensor | None, first: Tensor, second: Tensor
) -> Tensor:
    """Return the table of many problems ``(P, N, M)``, by pairs."""
    a, b, at_a, at_b = (m.flatten(0, 1) for m in (x, x if y is None else y, first, second))

    def values(pairs: tuple[Tensor, Tensor]) -> Tensor:
        i, j = pairs
        return function.values(a[i], b[j], at_a[i], at_b[j])

    flat = torch.cat([x.new_zeros(0), *_each(values, _pairs(x, y), x)])
    if y is not None:
        return flat.reshape(x.shape[0], x.shape[1], y.shape[1])
    table = x.new_zeros(x.shape[0], x.shape[1], x.shape[1])
    i, j = _indices(x, None)
    table[:, i, j] = table[:, j, i] = flat.reshape(x.shape[0], i.numel())
    return table


def _tiles(x: Tensor, y: Tensor | None) -> list[tuple[slice, slice]]:
    """Return the rows and columns of blocks; without y of those that hold the upper triangle."""
    count, size = len(x if y is None else y), _block_size(x)
    height = max(1, size // max(1, count))
    tops = range(0, len(x), height)
    return [
        (slice(top, top + height), slice(left, left + size))
        for top in tops
        for left in range(top if y is None else 0, count, size)
    ]


def _of_one_problem(
    function: PairFunction, x: Tensor, y: Tensor | None, first: Tensor, second: Tensor
) -> Tensor:
    """Return the table ``(N, M)``, in blocks."""
    other = x if y is None else y

    def tile(block: tuple[slice, slice]) -> Tensor:
        rows, columns = block
        return function.table(x[rows], other[columns], first[rows], second[columns])

    tiles, table = _tiles(x, y), x.new_zeros(len(x), len(other))
    for (rows, columns), values in zip(tiles, _each(tile, tiles, x), strict=True):
        table[rows, columns] = values
    return table if y is not None else table.triu(1) + table.triu(1).mT


class _AllPairs(torch.autograd.Function):
    """Of flat problems (P, N, n, n) and (P, M, n, n), or all pairs of the first where the second is None."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor | None, first: Tensor, second: Tensor, function: PairFunction
    ) -> Tensor:
        ctx.save_for_backward(x, y, first, second)
        ctx.function = function
        columns = (x if y is None else y).shape[1]
        if len(x) > 1 and 8 * x.shape[1] * columns < _block_size(x):
            return _of_small_problems(function, x, y, first, second)
        others = [None] * len(x) if y is None else list(y)
        problems = zip(x, others, first, second, strict=True)
        tables = [_of_one_problem(function, *problem) for problem in problems]
        return torch.stack(tables) if tables else x.new_zeros(0, x.shape[1], columns)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        x, y, first, second = ctx.saved_tensors
        weights = (grad + grad.mT if y is None else grad)[..., None, None]
        if torch.is_grad_enabled():
            a, b = x[:, :, None], (x if y is None else y)[:, None]
            of_first = ctx.function.differentiable_gradient
            at_x = (weights * of_first(a, b)).sum(2)
            return at_x, None if y is None else (weights * of_first(b, a)).sum(1), None, None, None
        at_a, at_b = _accumulate(ctx.function, x, y, first, second, weights)
        if y is None:
            return (at_a + at_b).reshape(x.shape), None, None, None, None
        return at_a.reshape(x.shape), at_b.reshape(y.shape), None, None, None


def _accumulate(
    function: PairFunction, x: Tensor, y: Tensor | None, first: Tensor, second: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the weighted sums of the gradients of all pairs, in the order of the pairs."""
    a, b, at_a, at_b = (m.flatten(0, 1) for m in (x, x if y is None else y, first, second))
    columns = weights.shape[2]

    def gradients(pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        i, j = pairs
        return i, j, *function.gradients(a[i], b[j], at_a[i], at_b[j])

    sum_a, sum_b = torch.zeros_like(a), torch.zeros_like(b)
    for i, j, of_a, of_b in _each(gradients, _pairs(x, y), x):
        weight = weights.flatten(0, 1)[i, j % columns]
        sum_a.index_add_(0, i, weight * of_a)
        sum_b.index_add_(0, j, weight * of_b)
    return sum_a, sum_b


def all_pairs(function: PairFunction, x: Tensor, y: Tensor) -> Tensor:
    """Return ``of_pairs`` of all pairs, ``(..., N, M)``, of a symmetric function that is 0 at equal matrices.

    Every matrix is factorised once, and where y is x itself every pair computed once. Memory is that of a few
    thousand matrices beside the result.

    Args:
        function: f.
        x: ``(..., N, n, n)``.
        y: ``(..., M, n, n)``.

    Example:
        >>> from geowarp.manifolds.spd.stein import Stein
        >>> x = torch.tensor([[[1.0]], [[4.0]]])
        >>> all_pairs(Stein(), x, x)
        tensor([[0.0000, 0.2231],
                [0.2231, 0.0000]], dtype=torch.float64)
    """
    if torch.compiler.is_compiling():
        return of_pairs(function, x[..., :, None, :, :], y[..., None, :, :, :])
    same = y is x
    x = working_precision(x)
    y = x if same else working_precision(y)
    with torch.no_grad():
        first = inverse_factor(x)
        second = first if same else inverse_factor(y)
    batch = broadcast_shapes(x.shape[:-3], y.shape[:-3])
    flat = [
        m.expand(*batch, *m.shape[-3:]).reshape(batch.numel(), *m.shape[-3:]) for m in (x, y, first, second)
    ]
    table: Tensor = _AllPairs.apply(  # type: ignore[no-untyped-call]
        flat[0], None if same else flat[1], flat[2], flat[3], function
    )
    return table.reshape(*batch, *table.shape[-2:])
