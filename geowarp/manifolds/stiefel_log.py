"""The logarithm and the distance of Stiefel, with their gradients."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import NotConvergedError
from .linalg import full_precision, sym
from .linalg.differentiation import once_differentiable
from .stiefel_differential import solve_adjoint
from .stiefel_geodesic import Geodesic, exponential, lower, pieces, reduced_norm
from .stiefel_metric import StiefelMetric
from .stiefel_shooting import ACCEPTED, shoot

__all__ = ["StiefelLogarithm", "distance", "logarithm", "stiefel_logarithm"]

_ITERATIONS = 100


class StiefelLogarithm(NamedTuple):
    """What the search for a geodesic between two points found.

    Args:
        log: the tangent vector at x whose geodesic reaches y, ``(..., n, k)``; NaN where not converged.
        residual: the gap at the end of the geodesic, over ``‖y − x‖``, ``(...)``.
        iterations: how many were made, ``(...)``.
        converged: whether the residual is a rounding error, ``(...)``.

    Example:
        >>> StiefelLogarithm._fields
        ('log', 'residual', 'iterations', 'converged')
    """

    log: Tensor
    residual: Tensor
    iterations: Tensor
    converged: Tensor


def _converged(residual: Tensor, k: int) -> Tensor:
    return residual.le(ACCEPTED * torch.finfo(residual.dtype).eps * k**0.5)


def _solve(x: Tensor, y: Tensor, alpha: float, limit: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return an orthonormal frame ``(..., n, k + p)``, the coordinates of the log there, and its quality."""
    n, k = x.shape[-2:]
    last = k + min(k, n - k)
    difference = y - x
    inner = x.mT @ difference
    normal = difference - x @ inner
    rest = x.mT @ normal
    q, r = torch.linalg.qr(torch.cat([x, normal - x @ rest], dim=-1))
    frame = torch.cat([x, q[..., k:last]], dim=-1)
    v, residual, iterations = shoot(torch.cat([inner + rest, r[..., k:last, k:]], dim=-2), alpha, limit)
    return frame, v, residual, iterations


def _mask(value: Tensor, residual: Tensor, k: int) -> Tensor:
    good = _converged(residual, k)[(..., *(None,) * (value.ndim - residual.ndim))]
    return torch.where(good, value, torch.nan)


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, alpha: float, limit: int) -> tuple[Tensor, Tensor, Tensor]:
        frame, v, residual, iterations = _solve(x, y, alpha, limit)
        value = _mask(reduced_norm(v, alpha), residual, x.shape[-1])
        ctx.save_for_backward(x, y, frame, v, value)
        ctx.alpha = alpha
        ctx.mark_non_differentiable(residual, iterations)
        return value, residual, iterations

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *none: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, y, frame, v, value = ctx.saved_tensors
        scale = torch.where(value == 0, 0, grad / torch.where(value == 0, 1, value))[..., None, None]
        velocity = Geodesic(v, ctx.alpha).velocity
        at_x = lower(x, frame @ (-scale * v), ctx.alpha)
        return at_x, lower(y, frame @ (scale * velocity), ctx.alpha), None, None


class _Logarithm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, alpha: float, limit: int) -> tuple[Tensor, Tensor, Tensor]:
        frame, v, residual, iterations = _solve(x, y, alpha, limit)
        log = _mask(frame @ v, residual, x.shape[-1])
        ctx.save_for_backward(x, frame, v.nan_to_num(), log)
        ctx.alpha = alpha
        ctx.mark_non_differentiable(residual, iterations)
        return log, residual, iterations

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *none: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, frame, v, tangent = ctx.saved_tensors
        inner = frame.mT @ grad
        _, _, sine, turned = pieces(x, tangent, ctx.alpha)
        outside, _ = torch.linalg.solve_ex((sine @ turned).mT, grad - frame @ inner, left=False)
        at_y = frame @ solve_adjoint(v, inner, ctx.alpha) + outside
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            projected = tangent - point @ sym(point.mT @ tangent)
            value = (grad * projected).sum() - (at_y * exponential(point, tangent, ctx.alpha)).sum()
            (at_x,) = torch.autograd.grad(value, point)
        return at_x, at_y, None, None


def _raise_where_lost(x: Tensor, y: Tensor, quality: tuple[Tensor, Tensor], metric: StiefelMetric) -> None:
    residual, iterations = quality
    if torch.compiler.is_compiling():
        return
    lost = ~_converged(residual, x.shape[-1])
    if not bool(lost.any()):
        return
    if x.shape[-1] == x.shape[-2] and bool((torch.linalg.det(x.mT @ y)[lost] < 0).any()):
        raise NotConvergedError(
            f"Stiefel({metric!r}): no path joins square points whose determinants have opposite signs; "
            "flip the sign of one column of one of them"
        )
    raise NotConvergedError(
        f"Stiefel({metric!r}): the logarithm left a relative residual of {residual[lost].max():.1e} after "
        f"{iterations[lost].max()} iterations, for {lost.sum()} of {lost.numel()} pairs: points beyond the "
        "injectivity radius (0.89π for the canonical metric, π for the Euclidean one) or close to it; "
        "go by a point in between"
    )


def logarithm(x: Tensor, y: Tensor, metric: StiefelMetric) -> Tensor:
    """Return the logarithm ``(..., n, k)`` of ``Stiefel.logmap``.

    Raises:
        NotConvergedError: where there is no geodesic, or none was found.

    Example:
        >>> from geowarp.manifolds import CanonicalMetric
        >>> x, y = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]])
        >>> logarithm(x, y, CanonicalMetric()).squeeze()
        tensor([0.0000, 1.5708])
    """
    x, y = torch.broadcast_tensors(x, y)
    result, *quality = _Logarithm.apply(x, y, metric.alpha, _ITERATIONS)  # type: ignore[no-untyped-call]
    _raise_where_lost(x, y, (quality[0], quality[1]), metric)
    log: Tensor = result
    return log


def distance(x: Tensor, y: Tensor, metric: StiefelMetric) -> Tensor:
    """Return the distance ``(...)`` of ``Stiefel.dist``.

    Raises:
        NotConvergedError: where there is no geodesic, or none was found.

    Example:
        >>> from geowarp.manifolds import CanonicalMetric
        >>> distance(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]]), CanonicalMetric())
        tensor(1.5708)
    """
    x, y = torch.broadcast_tensors(x, y)
    value, *quality = _Distance.apply(x, y, metric.alpha, _ITERATIONS)  # type: ignore[no-untyped-call]
    _raise_where_lost(x, y, (quality[0], quality[1]), metric)
    result: Tensor = value
    return result


@full_precision
def _logarithm(x: Tensor, y: Tensor, alpha: float, limit: int) -> tuple[Tensor, ...]:
    x, y = torch.broadcast_tensors(x, y)
    log, residual, iterations = _Logarithm.apply(x, y, alpha, limit)  # type: ignore[no-untyped-call]
    return log, residual, iterations, _converged(residual, x.shape[-1])


def stiefel_logarithm(
    x: Tensor, y: Tensor, metric: StiefelMetric, *, max_iterations: int = _ITERATIONS
) -> StiefelLogarithm:
    """Return the logarithm together with how well each geodesic reaches its end; raises nothing.

    Shooting in at most 2k x 2k matrices: the gap at the end of a trial geodesic is carried back to its start
    and added to the velocity, with Anderson's acceleration. Within the injectivity radius the geodesic is the
    shortest; beyond it, one that is found may be longer. For α >= −0.6 the search fails only close to that
    radius; its reach shrinks as α falls below. Differentiable in ``x`` and ``y``, once.

    Args:
        x: ``(..., n, k)``.
        y: ``(..., n, k)``.
        metric: ``EuclideanMetric()``, ``CanonicalMetric()`` or ``AlphaMetric(alpha)``.
        max_iterations: after which a pair is given up.

    References:
        Zimmermann, Hüper, Computing the Riemannian logarithm on the Stiefel manifold: metrics, methods and
        performance, SIAM J. Matrix Anal. Appl. 43 (2022).

    Example:
        >>> from geowarp.manifolds import CanonicalMetric
        >>> x = torch.eye(3, 1)
        >>> result = stiefel_logarithm(x, torch.stack([x, -x]), CanonicalMetric())
        >>> result.converged
        tensor([ True, False])
    """
    return StiefelLogarithm(*_logarithm(x, y, metric.alpha, max_iterations))
