"""The mean of positive definite matrices under the Stein divergence, with Cholesky factors only."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._warn import warn
from ...errors import NumericalWarning
from ..linalg import full_precision, sym
from ..linalg.broadcasting import broadcast_shapes
from ..linalg.conjugate_gradients import conjugate_gradients
from ..linalg.differentiation import once_differentiable
from ..linalg.dimensions import append_dimensions
from ..linalg.precision import working_precision
from ..linalg.threads import is_concrete
from ..weights import normalized_weights
from .affine_invariant_mean import geometric_start
from .points import cholesky, inverse_triangular, nearly_positive

__all__ = ["stein_mean"]

_CHECK_EVERY = 4
_STEPS = 10  # of conjugate gradients, at most, of each Newton step
_FLOOR = 1e-6  # a residual from which Newton's method falls fast but for rounding
_STAGNATION = 1000.0


class _Frame(NamedTuple):
    """A factor F of the mean ``F Fᵀ`` of every problem, and the points as seen from there."""

    factor: Tensor
    inverse: Tensor
    means: Tensor
    """``A_i = ((I + F⁻¹ x_i F⁻ᵀ) / 2)⁻¹``, ``(P, N, n, n)``."""
    total: Tensor
    """``T = Σ w_i A_i``, which is I at the mean."""
    residual: Tensor
    """``‖T − I‖``, ``(P,)``."""
    objective: Tensor
    """``Σ w_i`` times the divergence of the mean and x_i, up to a constant, ``(P,)``."""


def _see(x: Tensor, weights: Tensor, factor: Tensor, inverse: Tensor) -> _Frame:
    mean = factor @ factor.mT
    middle = cholesky(0.5 * (mean[:, None] + x))
    white = inverse_triangular(middle) @ factor[:, None]
    means = white.mT @ white
    total = (append_dimensions(weights, 2) * means).sum(1)
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    determinants = (weights * middle.diagonal(dim1=-2, dim2=-1).log().sum(-1)).sum(-1)
    objective = 2 * determinants - torch.linalg.slogdet(factor).logabsdet
    return _Frame(factor, inverse, means, total, torch.linalg.matrix_norm(total - eye), objective)


class _Hessian:
    """Four times the Hessian of the objective on symmetric matrices in the frame."""

    def __init__(self, frame: _Frame, weights: Tensor) -> None:
        self.frame, self.weighted = frame, append_dimensions(weights, 2) * frame.means

    def __call__(self, y: Tensor) -> Tensor:
        """Return ``½ (T y + y T) − ½ Σ w_i A_i y A_i``, in which the eigenvalues of A_i are below 2."""
        curved = (self.weighted @ y[:, None] @ self.frame.means).sum(1)
        return sym(self.frame.total @ y) - 0.5 * curved


def _newton(frame: _Frame, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return F and F⁻¹ after an inexact Newton step."""
    eye = torch.eye(frame.total.shape[-1], dtype=frame.total.dtype, device=frame.total.device)
    tolerance = frame.residual.clamp(1e-7, 0.1)
    y, _ = conjugate_gradients(_Hessian(frame, weights), eye - frame.total, tolerance, _STEPS)
    values, vectors = torch.linalg.eigh(0.5 * sym(y))
    forward, backward = ((vectors * v.exp()[..., None, :]) @ vectors.mT for v in (values, -values))
    return frame.factor @ forward, backward @ frame.inverse


def _fixed_point(frame: _Frame) -> tuple[Tensor, Tensor]:
    """Return F and F⁻¹ after the step ``m⁻¹ ← Σ w_i ((m + x_i) / 2)⁻¹``, which never raises the objective."""
    factor = cholesky(frame.total)
    return frame.factor @ inverse_triangular(factor).mT, factor.mT @ frame.inverse


def _search(x: Tensor, weights: Tensor, frame: _Frame, limit: int) -> tuple[_Frame, Tensor]:
    """Return the frames of the means, and which of them have converged."""
    tolerance = 2 * x.shape[-1] * torch.finfo(x.dtype).eps
    ended = frame.residual <= tolerance
    safe = torch.zeros_like(ended)
    for iteration in range(limit):
        if (is_concrete(x) or iteration % _CHECK_EVERY == 0) and bool(ended.all()):
            break
        moves = zip(_fixed_point(frame), _newton(frame, weights), strict=True)
        new = _see(x, weights, *(torch.where(append_dimensions(safe, 2), a, b) for a, b in moves))
        descent = new.objective < frame.objective - 1e-4 * frame.residual.square()
        better = (safe | descent | (new.residual < frame.residual)) & ~ended
        stuck = (new.residual > 0.5 * frame.residual) & (frame.residual < _FLOOR)
        frame = _Frame(
            *(
                torch.where(append_dimensions(better, a.ndim - 1), a, b)
                for a, b in zip(new, frame, strict=True)
            )
        )
        safe = ~better
        ended = ended | stuck | (frame.residual <= tolerance)
    return frame, ended | (frame.residual <= _STAGNATION * tolerance)


class _Mean(torch.autograd.Function):
    """The mean as a function of points and weights, from ``Σ w_i A_i = I``."""

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
        adjoint, _ = conjugate_gradients(
            _Hessian(frame, weights), target, 8 * torch.finfo(x.dtype).eps, steps
        )
        adjoint = sym(adjoint)[:, None]
        at_x = at_weights = None
        if ctx.needs_input_grad[0]:
            back = frame.means @ inverse[:, None]
            at_x = 0.5 * append_dimensions(weights, 2) * (back.mT @ adjoint @ back)
        if ctx.needs_input_grad[1]:
            at_weights = -(adjoint * frame.means).sum((-2, -1))
        return at_x, at_weights, None, None


@full_precision
def stein_mean(x: Tensor, weights: Tensor | None = None, *, max_iterations: int = 200) -> Tensor:
    """Return the mean ``argmin_m Σ w_i stein_divergence(m, x_i)``, for a batch of problems at once.

    It is the only m with ``m⁻¹ = Σ w_i ((m + x_i) / 2)⁻¹``. The search is Newton's method, with conjugate
    gradients for its equation, and the fixed-point iteration wherever a step of Newton's does not descend.
    Both need Cholesky factors of the sums and no eigenvectors of the points. Computed in float64 where the
    device has it; differentiable once in points and weights, by the implicit function theorem.

    Args:
        x: positive definite, ``(..., N, n, n)``.
        weights: nonnegative, ``(..., N)``; they are divided by their sum. Equal by default.
        max_iterations: the largest number of steps.

    Raises:
        GeowarpError: for negative weights, weights that sum to 0, or no points.
        NotOnManifoldError: for a matrix that is not positive definite, on the CPU.

    Warns:
        NumericalWarning: where a problem did not converge.

    References:
        Sra, Positive definite matrices and the S-divergence, Proc. AMS 144 (2016), section 4; Cherian, Sra,
        Banerjee, Papanikolopoulos, Jensen-Bregman LogDet divergence with application to efficient similarity
        search for covariance matrices, IEEE Trans. Pattern Anal. Mach. Intell. 35 (2013) (the fixed point).

    Example:
        >>> stein_mean(torch.stack([torch.eye(2), 16 * torch.eye(2)]))
        tensor([[4., 0.],
                [0., 4.]])
    """
    weights = normalized_weights(x, weights, 2)
    batch = broadcast_shapes(x.shape[:-3], weights.shape[:-1])
    points = working_precision(x).expand(*batch, *x.shape[-3:]).reshape(batch.numel(), *x.shape[-3:])
    masses = working_precision(weights).expand(*batch, x.shape[-3]).reshape(batch.numel(), x.shape[-3])
    with torch.no_grad():
        start = geometric_start(working_precision(x), working_precision(weights))
        factor, inverse = (part.reshape(points[:, 0].shape) for part in start)
        frame, converged = _search(points, masses, _see(points, masses, factor, inverse), max_iterations)
    if not bool(converged.all()):
        warn(
            f"stein_mean: {int((~converged).sum())} of {converged.numel()} means did not converge; "
            f"the largest residual is {frame.residual.max().item():.1e}",
            NumericalWarning,
        )
    mean: Tensor = _Mean.apply(  # type: ignore[no-untyped-call]
        points, masses, frame.factor, frame.inverse
    )
    return nearly_positive(mean.to(x.dtype)).reshape(*batch, *x.shape[-2:])
