"""The mean of positive definite matrices under the affine-invariant metric, by Newton's method in a frame."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._warn import warn
from ...errors import NumericalWarning
from ..karcher import KarcherMean
from ..linalg import sym
from ..linalg.broadcasting import broadcast_shapes
from ..linalg.conjugate_gradients import conjugate_gradients
from ..linalg.differentiation import once_differentiable
from ..linalg.dimensions import append_dimensions
from ..linalg.precision import working_precision
from ..linalg.spectral import log
from ..linalg.threads import is_concrete, over_threads
from .affine_invariant_distance import squared_distance
from .points import cholesky, inverse_factor, nearly_positive

__all__ = ["affine_invariant_mean", "geometric_start"]

_CHECK_EVERY = 4
_SMALLEST_STEP = 1e-4
_STAGNATION = 1000.0
_FLOOR = 1e-6  # times 1 + √variance: a residual from which Newton's method falls fast but for rounding
_WIDEST = 1e8  # ratio of eigenvalues, from which singular values of factors are taken
_STEPS = 10  # of conjugate gradients, at most, of each Newton step


class _Frame(NamedTuple):
    """A factor F of the mean ``F Fᵀ`` of every problem, ``(P, n, n)``, and the points as seen from there."""

    factor: Tensor
    inverse: Tensor
    logarithms: Tensor
    """Of the eigenvalues of ``Z_i = F⁻¹ X_i F⁻ᵀ``, ``(P, N, n)``."""
    vectors: Tensor
    """Eigenvectors of Z_i, ``(P, N, n, n)``."""
    direction: Tensor
    """``J = Σ w_i logm Z_i``, minus the gradient, ``(P, n, n)``."""
    residual: Tensor
    """``‖J‖``, ``(P,)``."""
    variance: Tensor
    """``Σ w_i ‖logm Z_i‖²``, ``(P,)``."""
    noise: Tensor
    """What rounding of ill-conditioned Z_i may leave of the residual, ``(P,)``."""

    def select(self, rows: Tensor | None) -> "_Frame":
        """Return the frames of some problems, of all for None."""
        return self if rows is None else _Frame(*(value[rows] for value in self))

    def replace(self, rows: Tensor | None, other: "_Frame") -> "_Frame":
        if rows is None:
            return other
        return _Frame(*(value.index_copy(0, rows, new) for value, new in zip(self, other, strict=True)))

    def where(self, chosen: Tensor, other: "_Frame") -> "_Frame":
        if is_concrete(chosen) and bool(chosen.all()):
            return self
        pairs = zip(self, other, strict=True)
        return _Frame(*(torch.where(append_dimensions(chosen, a.ndim - 1), a, b) for a, b in pairs))


def _side_by_side(matrices: Tensor) -> Tensor:
    """Return ``(P, N, n, n)`` as ``(P, n, N n)``, for one product with all matrices of a problem."""
    return matrices.movedim(1, 2).flatten(2)


def _rows(vectors: Tensor) -> Tensor:
    """Return eigenvectors ``(P, N, n, n)`` as rows ``(P, N n, n)``, as LAPACK lays them down."""
    return vectors.mT.flatten(1, 2)


def geometric_start(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``F`` and ``F⁻¹`` of the geometric mean ``F Fᵀ`` of the arithmetic and the harmonic mean.

    Args:
        x: ``(..., N, n, n)``.
        weights: ``(..., N)``, with sum 1; batch dimensions broadcast.

    Example:
        >>> x = torch.tensor([[[1.0]], [[16.0]]])
        >>> geometric_start(x, torch.tensor([0.5, 0.5]))
        (tensor([[2.]]), tensor([[0.5000]]))
    """
    inverse = inverse_factor(x)
    arithmetic = torch.einsum("...i,...ijk->...jk", weights, x)
    harmonic = torch.einsum("...i,...ijk->...jk", weights, inverse.mT @ inverse)
    factor = cholesky(arithmetic)
    values, vectors = torch.linalg.eigh(factor.mT @ harmonic @ factor)
    root = values.clamp_min(1) ** 0.25
    inverse = (vectors * root[..., None, :]).mT @ inverse_factor(arithmetic)
    return factor @ (vectors / root[..., None, :]), inverse


def _decompose(x: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Return logarithms of the eigenvalues, and the eigenvectors, of ``F⁻¹ X_i F⁻ᵀ``, ``(P, N, n, n)``."""
    count = x.shape[1]
    left = (inverse @ _side_by_side(x)).unflatten(2, (count, -1))
    white = (left.flatten(1, 2) @ inverse.mT).unflatten(1, (-1, count)).movedim(1, 2)
    values, vectors = over_threads(torch.linalg.eigh, white)
    narrow = values[..., 0] * _WIDEST > values[..., -1]
    smallest = torch.finfo(values.dtype).eps * values[..., -1:]
    logarithms = torch.maximum(values, smallest).log()
    if not is_concrete(x) or bool(narrow.all()):
        return logarithms, vectors
    p, i = (~narrow).nonzero(as_tuple=True)
    u, s, _ = over_threads(torch.linalg.svd, inverse[p] @ cholesky(x[p, i]))
    return logarithms.index_put((p, i), 2 * s.log()), vectors.index_put((p, i), u)


def _see(x: Tensor, weights: Tensor, factor: Tensor, inverse: Tensor) -> _Frame:
    logarithms, vectors = _decompose(x, inverse)
    rows = _rows(vectors)
    direction = sym(rows.mT @ ((weights[..., None] * logarithms).flatten(1)[..., None] * rows))
    squares = (weights * logarithms.square().sum(-1)).sum(-1)
    residual = torch.linalg.matrix_norm(direction)
    spread = logarithms.amax(-1) - logarithms.amin(-1)
    condition = torch.where(spread.exp() < _WIDEST, spread, 0.5 * spread).exp()
    noise = torch.finfo(x.dtype).eps * torch.linalg.vector_norm(weights * condition, dim=-1)
    return _Frame(factor, inverse, logarithms, vectors, direction, residual, squares, noise)


class _Hessian:
    """The Hessian of ``½ Σ w_i dist(m, x_i)²`` at the mean, on symmetric matrices in the frame.

    In the eigenbasis of Z_i it multiplies entries by ``t coth t``, ``t = (log a − log b)/2`` of eigenvalues.
    """

    def __init__(self, frame: _Frame, weights: Tensor, dtype: torch.dtype) -> None:
        logarithms = frame.logarithms.to(dtype)
        t = 0.5 * (logarithms[..., :, None] - logarithms[..., None, :]) + 1e-30  # 1 where t is 0
        self.scale = append_dimensions(weights.to(dtype), 2) * (t / t.tanh())
        self.rows = _rows(frame.vectors.to(dtype))
        self.transposed = self.rows.unflatten(1, frame.vectors.shape[1:3])

    def __call__(self, y: Tensor) -> Tensor:
        """Return ``Σ w_i V_i (t coth t ∘ V_iᵀ y V_i) V_iᵀ``."""
        turned = (self.rows @ y).view(self.transposed.shape) @ self.transposed.mT
        back = turned.mul_(self.scale) @ self.transposed
        image: Tensor = self.rows.mT @ back.flatten(1, 2)
        return image


def _newton(frame: _Frame, weights: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return F and F⁻¹ after an inexact Newton step, ``F ← F expm(step y / 2)``, and ``‖J − Hy‖``."""
    tolerance = frame.residual.clamp(1e-6, 0.1)
    hessian = _Hessian(frame, weights, torch.float32)
    y, left = conjugate_gradients(hessian, frame.direction, tolerance, _STEPS, torch.float32)
    values, vectors = torch.linalg.eigh(append_dimensions(0.5 * step, 2) * sym(y))
    forward, backward = ((vectors * v.exp()[..., None, :]) @ vectors.mT for v in (values, -values))
    return frame.factor @ forward, backward @ frame.inverse, left


def _improves(new: _Frame, old: _Frame, step: Tensor) -> Tensor:
    noise = 8 * torch.finfo(old.variance.dtype).eps * old.variance
    descent = new.variance <= old.variance - noise - 1e-4 * step * old.residual.square()
    return (new.residual < old.residual) | descent


class _Search:
    """Newton's method for a batch of problems, each with its own steps and its own end.

    On the CPU only problems that have not ended are computed; elsewhere all are, until a check of every few.
    """

    def __init__(self, x: Tensor, weights: Tensor, frame: _Frame, tolerance: float) -> None:
        self.x, self.weights, self.frame, self.tolerance = x, weights, frame, tolerance
        self.step, self.bend = torch.ones_like(frame.residual), torch.ones_like(frame.residual)
        self.steps = torch.zeros_like(frame.residual, dtype=torch.long)
        self.ended = self._within(frame, 1.0)
        self.stuck = torch.zeros_like(self.ended)

    def run(self, limit: int) -> None:
        """Search until all problems have ended, for at most so many steps."""
        concrete = is_concrete(self.x)
        for iteration in range(limit):
            if (concrete or iteration % _CHECK_EVERY == 0) and bool(self.ended.all()):
                return
            some = concrete and bool(self.ended.any())
            rows = (~self.ended).nonzero().squeeze(-1) if some else None
            self.steps = self.steps + ~self.ended
            moved = self._move(rows)
            if moved is not None:
                self._look(*moved)

    def converged(self) -> Tensor:
        """Return which residuals are within 1000 times the tolerance, or as low as rounding lets them."""
        return self.stuck | self._within(self.frame, _STAGNATION)

    def _within(self, frame: _Frame, multiple: float) -> Tensor:
        return frame.residual <= multiple * self.tolerance * (1 + frame.variance.sqrt())

    def _move(self, rows: Tensor | None) -> tuple[Tensor | None, Tensor, Tensor] | None:
        """Return problems that have to be looked at from a new factor, after a step of the given ones.

        The others have ended: the residual that ``‖J − Hy‖ + bend ‖J‖²`` promises is within the tolerance.
        The bend is what the steps before have left of ``‖J‖²``.
        """
        old, step, bend = self.frame.select(rows), _take(self.step, rows), _take(self.bend, rows)
        factor, inverse, left = _newton(old, _take(self.weights, rows), step)
        if not is_concrete(factor):
            return rows, factor, inverse
        promise = old._replace(residual=4 * (left + bend * old.residual.square()) + old.noise)
        last = self._within(promise, 1.0) & (step == 1)
        if not bool(last.any()):
            return rows, factor, inverse
        rows = torch.arange(len(self.step)) if rows is None else rows
        end = promise._replace(factor=factor, inverse=inverse).select(last)
        self.frame = self.frame.replace(rows[last], end)
        self.ended = self.ended.index_fill(0, rows[last], True)
        return None if bool(last.all()) else (rows[~last], factor[~last], inverse[~last])

    def _look(self, rows: Tensor | None, factor: Tensor, inverse: Tensor) -> None:
        """Accept the factors that improve on those before, and shorten the steps to the others."""
        old, step, ended = self.frame.select(rows), _take(self.step, rows), _take(self.ended, rows)
        new = _see(_take(self.x, rows), _take(self.weights, rows), factor, inverse)
        better = _improves(new, old, step) & ~ended
        floor = old.residual < _FLOOR * (1 + old.variance.sqrt())
        stuck = floor & (new.residual > 0.5 * old.residual) & ~ended
        step = torch.where(better, 1, 0.5 * step)
        bend = torch.where(better, new.residual / old.residual.square(), 1).clamp_min(1)
        new = new.where(better, old)
        self.frame = self.frame.replace(rows, new)
        self.step, self.bend = _put(self.step, rows, step), _put(self.bend, rows, bend)
        self.stuck = _put(self.stuck, rows, _take(self.stuck, rows) | stuck)
        ended = ended | stuck | (step < _SMALLEST_STEP) | self._within(new, 1.0)
        self.ended = _put(self.ended, rows, ended)


def _take(value: Tensor, rows: Tensor | None) -> Tensor:
    return value if rows is None else value[rows]


def _put(value: Tensor, rows: Tensor | None, new: Tensor) -> Tensor:
    return new if rows is None else value.index_copy(0, rows, new)


class _Mean(torch.autograd.Function):
    """The mean as a function of points and weights, from ``Σ w_i logm(F⁻¹ X_i F⁻ᵀ) = 0``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, factor: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights, factor, inverse)
        return sym(factor @ factor.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weights, factor, inverse = ctx.saved_tensors
        frame = _see(x, weights, factor, inverse)
        target, steps = sym(factor.mT @ grad @ factor), 20 + x.shape[-1] ** 2
        hessian = _Hessian(frame, weights, x.dtype)
        adjoint, _ = conjugate_gradients(hessian, target, 8 * torch.finfo(x.dtype).eps, steps)
        logarithms, vectors = frame.logarithms, frame.vectors
        turned = vectors.mT @ sym(adjoint)[:, None] @ vectors
        at_x = at_weights = None
        if ctx.needs_input_grad[0]:
            values = logarithms.exp()
            quotient = log.divided_difference(values[..., :, None], values[..., None, :])
            back = inverse.mT[:, None] @ vectors
            at_x = append_dimensions(weights, 2) * (back @ (quotient * turned) @ back.mT)
        if ctx.needs_input_grad[1]:
            at_weights = (turned.diagonal(dim1=-2, dim2=-1) * logarithms).sum(-1)
        return at_x, at_weights, None, None


def affine_invariant_mean(x: Tensor, weights: Tensor, *, max_iterations: int = 100) -> KarcherMean:
    """Return the mean ``argmin_m Σ w_i dist(m, x_i)²`` of positive definite matrices, of many sets at once.

    Newton's method for the convex function ``½ Σ w_i dist(m, x_i)²``, from the geometric mean of the
    arithmetic and the harmonic mean. With ``m = F Fᵀ`` and the eigenvectors of ``Z_i = F⁻¹ x_i F⁻ᵀ``, the
    gradient is ``−Σ w_i logm Z_i``, and the Hessian is diagonal in the eigenbases. Its equation is solved
    by conjugate gradients in float32, no further than the residual allows, which costs a fraction of the
    eigendecompositions. A step that neither lowers the residual nor the function is halved, for every problem
    on its own, so that the method converges from afar. Most means take 3 to 5 evaluations of the gradient.
    Everything but the Hessian is in float64 where the device has it.

    The mean is differentiable once in x and the weights, by the implicit function theorem.

    Args:
        x: ``(..., N, n, n)``.
        weights: ``(..., N)``, with sum 1; the batch dimensions broadcast.
        max_iterations: the largest number of steps.

    Returns:
        The mean; ``iterations`` are Newton steps. The search goes to a residual of
        ``2 n eps (1 + √variance)``, or to where rounding of ill-conditioned Z_i stops its fall; for float32,
        to an eighth of its rounding unit. On the CPU the residual after the last step is the bound that let
        the search end.

    Warns:
        NumericalWarning: where a problem did not converge.

    References:
        Bini, Iannazzo, Computing the Karcher mean of symmetric positive definite matrices, Linear Algebra
        Appl. 438 (2013); Jeuris, Vandebril, Vandereycken, A survey and comparison of contemporary algorithms
        for computing the matrix geometric mean, Electron. Trans. Numer. Anal. 39 (2012).

    Example:
        >>> x = torch.stack([torch.eye(2), 16 * torch.eye(2)])
        >>> affine_invariant_mean(x, torch.tensor([0.5, 0.5])).mean
        tensor([[4., 0.],
                [0., 4.]])
    """
    batch = broadcast_shapes(x.shape[:-3], weights.shape[:-1])
    points = working_precision(x).expand(*batch, *x.shape[-3:]).reshape(batch.numel(), *x.shape[-3:])
    masses = working_precision(weights).expand(*batch, x.shape[-3]).reshape(batch.numel(), x.shape[-3])
    tolerance = min(2 * x.shape[-1] * torch.finfo(x.dtype).eps, torch.finfo(torch.float32).eps / 8)
    with torch.no_grad():
        start = geometric_start(working_precision(x), working_precision(weights))
        factor, inverse = (part.reshape(points[:, 0].shape) for part in start)
        search = _Search(points, masses, _see(points, masses, factor, inverse), tolerance)
        search.run(max_iterations)
    factor, inverse = search.frame.factor, search.frame.inverse
    mean: Tensor = _Mean.apply(points, masses, factor, inverse)  # type: ignore[no-untyped-call]
    converged = search.converged()
    _warn(search.frame.residual, converged)
    numbers = (
        search.steps,
        search.frame.residual.to(x.dtype),
        converged,
        _radius(points, masses, search.frame).to(x.dtype),
        torch.ones_like(converged),
    )
    mean = nearly_positive(mean.to(x.dtype)).reshape(*batch, *x.shape[-2:])
    return KarcherMean(mean, *(number.reshape(batch) for number in numbers))


@torch.no_grad()
def _radius(x: Tensor, weights: Tensor, frame: _Frame) -> Tensor:
    """Return the distance of the farthest point of positive weight, ``(P,)``."""
    apart = torch.linalg.vector_norm(frame.logarithms, dim=-1)
    farthest = torch.where(weights > 0, apart, -1).argmax(-1)
    point = x.take_along_dim(append_dimensions(farthest[:, None], 2), 1).squeeze(1)
    return squared_distance(sym(frame.factor @ frame.factor.mT), point).sqrt()


def _warn(residual: Tensor, converged: Tensor) -> None:
    if not bool(converged.all()):
        warn(
            f"affine_invariant_mean: {int((~converged).sum())} of {converged.numel()} means did not "
            f"converge; the largest residual is {residual.max().item():.1e}",
            NumericalWarning,
        )
