"""Matrices with given row and column sums: Sinkhorn's scaling, and the projection on sums of 0."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["sinkhorn", "smallest_entry", "zero_marginals"]

_SWEEPS = {torch.float32: 8, torch.float64: 16}  # of Sinkhorn's iteration, before Newton's
_CHECK_EVERY = 3
_LIMIT = 600


def smallest_entry(x: Tensor) -> float:
    """Return ``eps^(3/4) / n``, the least entry of ``(..., n, n)`` with which projections are accurate.

    In float64 that is 2e-12 / n, in float32 6e-6 / n.

    Example:
        >>> smallest_entry(torch.eye(8, dtype=torch.float64))
        2.2...e-13
    """
    return float(torch.finfo(x.dtype).eps ** 0.75 / max(1, x.shape[-1]))


def _factor(x: Tensor, rows: Tensor, least: float = 0.0) -> Tensor:
    """Return the Cholesky factor of ``diag(c) − xᵀ diag(1/r) x`` plus a multiple of 1 1ᵀ.

    It is the system of the columns' potentials after the rows' are eliminated, and the Laplacian of a graph
    whose weights are sums of positive terms. Its diagonal is summed from them, not subtracted, so that
    nothing cancels where columns are all but separate. The multiple of 1 1ᵀ, in its null space, makes it
    definite.

    Args:
        x: nonnegative, ``(..., n, n)``.
        rows: the row sums, ``(..., n)``.
        least: what smaller weights of the graph are raised to.
    """
    laplacian = (x.mT @ (x / rows[..., None])).clamp_min_(least)
    diagonal = laplacian.diagonal(dim1=-2, dim2=-1)
    diagonal.zero_()
    degrees = laplacian.sum(-1)
    laplacian.neg_()
    diagonal.copy_(degrees)
    shift = degrees.mean(-1).clamp_min_(torch.finfo(x.dtype).eps) / x.shape[-1]
    factor: Tensor = torch.linalg.cholesky_ex(laplacian.add_(shift[..., None, None]))[0]
    return factor


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    solution: Tensor = torch.cholesky_solve(right[..., None], factor)
    return solution[..., 0]


def _potentials(x: Tensor, w: Tensor) -> Tensor:
    """Return ``α 1ᵀ + 1 βᵀ``, refined, whose entrywise product with ``x`` has the marginals of w."""
    rows = x.sum(-1)
    factor, total = _factor(x, rows), torch.zeros_like(x)
    for _ in range(4 if x.dtype == torch.float64 else 3):
        rest = w - total * x
        across = rest.sum(-1) / rows
        column = _solve(factor, rest.sum(-2) - (x.mT @ across[..., None])[..., 0])
        row = across - (x @ column[..., None])[..., 0] / rows
        total = total + row[..., :, None] + column[..., None, :]
    return total


class _Potentials(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        value = _potentials(x, w)
        ctx.save_for_backward(x, value)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, value = ctx.saved_tensors
        adjoint: Tensor = _Potentials.apply(x, grad)  # type: ignore[no-untyped-call]
        return -value * adjoint, adjoint


def zero_marginals(x: Tensor, w: Tensor) -> Tensor:
    """Return ``w − (α 1ᵀ + 1 βᵀ) ∘ x`` with row and column sums of 0.

    That is the projection which is orthogonal in the inner product ``Σ u v / x``. The potentials α and β
    solve one symmetric n x n system per matrix, and are refined, so that the sums are 0 to rounding also
    where columns are nearly separate. It can be differentiated repeatedly.

    Args:
        x: positive, ``(..., n, n)``; entries of at least ``smallest_entry(x)``.
        w: ``(..., n, n)``.

    References:
        Douik, Hassibi, Manifold optimization over the set of doubly stochastic matrices: a second-order
        geometry, IEEE Trans. Signal Process. 67 (2019), section IV.

    Example:
        >>> zero_marginals(torch.full((2, 2), 0.5), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        tensor([[ 0.2500, -0.2500],
                [-0.2500,  0.2500]])
    """
    x, w = torch.broadcast_tensors(x, w)
    potentials: Tensor = _Potentials.apply(x, w)  # type: ignore[no-untyped-call]
    return w - potentials * x


def _sweep(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the matrix after some sweeps of Sinkhorn's iteration, rows last, and the columns' potential."""
    kernel = logits.exp().clamp_min(torch.finfo(logits.dtype).tiny)
    column = 1 / kernel.sum(-2, keepdim=True).mT
    for _ in range(_SWEEPS[logits.dtype]):
        row = 1 / (kernel @ column)
        column = 1 / (kernel.mT @ row)
    matrix = kernel * column.mT
    return matrix / matrix.sum(-1, keepdim=True), column.mT.log()


def _noise(matrix: Tensor) -> float:
    """Return by how much sums may differ from 1 for rounding."""
    return float(torch.finfo(matrix.dtype).eps * (4 + 0.5 * matrix.shape[-1] ** 0.5))


def _newton(logits: Tensor, potential: Tensor) -> Tensor:
    """Return the row-stochastic matrix of scaled columns, column sums 1 to rounding.

    Newton's iteration for the convex ``Σ_i logsumexp_j(L_ij + g_j) − Σ_j g_j``, whose gradient is how far
    the column sums are above 1. A step d is cut to ``log(1 + r) / r`` of it with ``r = max d − min d``, which
    decreases the function from anywhere, and is Newton's own where r is small.
    """
    eps = torch.finfo(logits.dtype).eps
    n, one = logits.shape[-1], torch.ones_like(logits[..., 0])
    for iteration in range(_LIMIT):
        matrix = torch.softmax(logits + potential, -1)
        excess = matrix.sum(-2, keepdim=True).sub_(1)
        if iteration % _CHECK_EVERY == 0:
            noise = _noise(matrix) + eps * _range(potential)
            unfinished = excess.abs().amax(-1, keepdim=True) > noise
            if not bool(unfinished.any()):
                break
        step = _solve(_factor(matrix, one, least=16 * eps / n), excess[..., 0, :])[..., None, :]
        size = _range(step).clamp_min_(eps)
        potential = potential - step * torch.where(unfinished, size.log1p() / size, 0)
    return matrix


def _range(x: Tensor) -> Tensor:
    return x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True)


def _round(matrix: Tensor) -> Tensor:
    """Return the nonnegative matrix with sums exactly 1 that is as close as its sums were to 1."""
    matrix = matrix / matrix.sum(-1, keepdim=True).clamp_min(1)
    matrix = matrix / matrix.sum(-2, keepdim=True).clamp_min(1)
    row = (1 - matrix.sum(-1, keepdim=True)).clamp_min(0)
    column = (1 - matrix.sum(-2, keepdim=True)).clamp_min(0)
    total = row.sum(-2, keepdim=True)
    return matrix + row * column / torch.where(total > 0, total, 1)


def _scale(logits: Tensor) -> Tensor:
    logits = logits - logits.logsumexp(-1, keepdim=True)
    matrix, potential = _sweep(logits)
    if bool(((matrix.sum(-2) - 1).abs() > _noise(matrix)).any()):
        matrix = _newton(logits, potential)
    return _round(matrix.clamp_min(smallest_entry(matrix)))


@torch.library.custom_op("geowarp::sinkhorn", mutates_args=())
def _opaque_scale(logits: Tensor) -> Tensor:
    return _scale(logits)


@_opaque_scale.register_fake
def _(logits: Tensor) -> Tensor:
    return torch.empty_like(logits)


class _Sinkhorn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        # the number of steps depends on the data, which is no graph; the operator's first call loads Dynamo
        value: Tensor = _opaque_scale(logits) if torch.compiler.is_compiling() else _scale(logits)
        ctx.save_for_backward(value)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (matrix,) = ctx.saved_tensors
        return zero_marginals(matrix, matrix * grad)


def sinkhorn(logits: Tensor) -> Tensor:
    """Return the doubly stochastic ``P = diag(a) exp(L) diag(b)``, to rounding accuracy.

    Entries below ``smallest_entry`` are raised to that, and the sums are made exact at the end.

    Some sweeps of Sinkhorn's iteration are followed by Newton's iteration for the logarithms of b. Where
    Sinkhorn's own needs thousands of sweeps, as near a permutation, that takes some tens of steps. The batch
    is looked at after the sweeps, and every 3 steps, for whether it may stop.

    The gradient is that of the converged scaling, by implicit differentiation: one linear system, and no
    memory for the iterations. It can be differentiated repeatedly.

    Args:
        logits: finite, ``(..., n, n)``.

    References:
        Sinkhorn, Knopp, Concerning nonnegative matrices and doubly stochastic matrices, Pacific J. Math. 21
        (1967); Sun, Tran-Dinh, Generalized self-concordant functions, Math. Program. 178 (2019), for the
        length of the steps; Altschuler, Weed, Rigollet, Near-linear time approximation algorithms for optimal
        transport via Sinkhorn iteration, NeurIPS (2017), algorithm 2, for the sums; Luise, Rudi, Pontil,
        Ciliberto, Differential properties of Sinkhorn approximation, NeurIPS (2018), for the gradient.

    Example:
        >>> sinkhorn(torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
        tensor([[0.7311, 0.2689],
                [0.2689, 0.7311]])
    """
    value: Tensor = _Sinkhorn.apply(logits)  # type: ignore[no-untyped-call]
    return value
