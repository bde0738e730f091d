"""The initial velocity of a Stiefel geodesic between two points, by shooting in k + p coordinates."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from .linalg import skew, sym
from .stiefel_geodesic import Geodesic, generator

__all__ = ["ACCEPTED", "shoot"]

ACCEPTED = 256
"""A relative residual up to this many ``eps √k`` counts as converged, where it no longer shrinks."""

_MEMORY = 4
_PATIENCE = 5

Transport = Callable[[Geodesic, Tensor], Tensor]


def _norm(x: Tensor) -> Tensor:
    value: Tensor = torch.linalg.matrix_norm(x, keepdim=True)
    return value


def _over(a: Tensor, b: Tensor) -> Tensor:
    return a / b.clamp_min(torch.finfo(b.dtype).tiny)


def _at_start(v: Tensor) -> Tensor:
    k = v.shape[-1]
    return torch.cat([skew(v[..., :k, :]), v[..., k:, :]], dim=-2)


def _projected(path: Geodesic, gap: Tensor) -> Tensor:
    """Carry a tangent vector from the end back to the start, by projections that keep its norm."""
    size = _norm(gap)
    for point in path.points():
        gap = gap - point @ sym(point.mT @ gap)
        gap = gap * _over(size, _norm(gap))
    gap = _at_start(gap)
    return gap * _over(size, _norm(gap))


def _bracket(path: Geodesic, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Lie bracket of the generator of the path with ``(left, right)``."""
    c = path.alpha / (path.alpha + 1)
    p = generator(path.v, path.alpha) @ left
    q = -c * path.v[..., : right.shape[-1], :] @ right
    return p - p.mT, q - q.mT


def _lifted(path: Geodesic, v: Tensor) -> tuple[Tensor, Tensor]:
    return generator(v, path.alpha), -path.alpha / (path.alpha + 1) * v[..., : v.shape[-1], :]


def _at_origin(left: Tensor, right: Tensor) -> Tensor:
    k = right.shape[-1]
    return torch.cat([left[..., :k, :k] - right, left[..., k:, :k]], dim=-2)


def _reductive(path: Geodesic, gap: Tensor) -> Tensor:
    """Carry a tangent vector back by the isometry of the path, and invert its differential to third order.

    The differential of the exponential is the isometry times ``Σ (−ad)^j / (j + 1)!``, projected to the
    tangent space of a naturally reductive space.
    """
    gap = gap + path.left.mT @ gap
    gap = _at_start(gap + gap @ path.right.mT)
    bracket = _bracket(path, *_lifted(path, gap))
    first = _at_origin(*bracket)
    again = _at_origin(*_bracket(path, *_lifted(path, first)))
    return gap + first / 2 + again / 4 - _at_origin(*_bracket(path, *bracket)) / 6


def _mixed(x: list[Tensor], f: list[Tensor]) -> Tensor:
    """Return the next iterate of Anderson's acceleration of ``x ← x + f(x)``."""
    if len(x) < 2:
        return x[-1] + f[-1]
    df, dx = (torch.stack([b - a for a, b in pairwise(s)], -3).flatten(-2) for s in (f, x))
    scale = torch.linalg.vector_norm(df, dim=-1, keepdim=True).clamp_min(torch.finfo(df.dtype).tiny)
    df, dx = df / scale, dx / scale
    ridge = 10 * torch.finfo(df.dtype).eps * torch.eye(df.shape[-2], dtype=df.dtype, device=df.device)
    weights, _ = torch.linalg.solve_ex(df @ df.mT + ridge, df @ f[-1].flatten(-2)[..., None])
    correction: Tensor = (dx + df).mT @ weights
    return x[-1] + f[-1] - correction.reshape(x[-1].shape)


@torch.library.custom_op("geowarp::stiefel_shooting", mutates_args=())
def shoot(target: Tensor, alpha: float, max_iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``v = [A; R]`` whose geodesic from ``[I; 0]`` ends at ``[I; 0] + target``.

    Every problem of the batch stops on its own. The residual is the part of the gap at the end that is
    tangent there, over ``‖target‖``, and infinite where the gap is normal to the manifold, as it is at an
    antipodal point. An operator of its own, so that it compiles with its early stop.

    Args:
        target: ``(..., k + p, k)``.
        alpha: of the metric.
        max_iterations: after which problems are given up.

    Returns:
        ``v (..., k + p, k)``, the relative residual ``(...)`` and the number of iterations ``(...)``.

    References:
        Zimmermann, Hüper, Computing the Riemannian logarithm on the Stiefel manifold: metrics, methods and
        performance, SIAM J. Matrix Anal. Appl. 43 (2022), algorithm 4. Walker, Ni, Anderson acceleration for
        fixed-point iterations, SIAM J. Numer. Anal. 49 (2011).

    Example:
        >>> v, residual, iterations = shoot(torch.tensor([[-0.4597], [0.8415]]), 0.0, 50)
        >>> v.squeeze()
        tensor([0.0000, 1.0000])
    """
    transport: Transport = _projected if alpha < -0.25 else _reductive
    size, eps = _norm(target), torch.finfo(target.dtype).eps
    goal, near = (factor * eps * target.shape[-1] ** 0.5 for factor in (4, ACCEPTED))
    v = _at_start(target)
    v = v * _over(size, _norm(v))
    best, least = v, torch.full_like(size, torch.inf)
    count = torch.zeros_like(size, dtype=torch.int64)
    since = torch.zeros_like(count)
    active = torch.ones_like(size, dtype=torch.bool)
    points: list[Tensor] = []
    steps: list[Tensor] = []
    for step in range(max_iterations):
        path = Geodesic(v, alpha)
        gap = target - path.difference
        tangent = path.tangent(gap)
        residual = torch.where(_norm(gap) < 1, _over(_norm(tangent), size), torch.inf)
        since = torch.where(residual < least / 2, 0, since + 1)
        best = torch.where(active & (residual < least), v, best)
        least = torch.where(active, torch.minimum(residual, least), least)
        active = active & (least > goal) & ~((least < near) & (since >= _PATIENCE))
        if (step % 4 == 3 or target.device.type == "cpu") and not bool(active.any()):
            break
        count = count + active
        points, steps = [*points[-_MEMORY:], v], [*steps[-_MEMORY:], transport(path, tangent)]
        v = torch.where(active, _mixed(points, steps), v)
    return best.clone(), least[..., 0, 0].clone(), count[..., 0, 0].clone()


@shoot.register_fake
def _(target: Tensor, alpha: float, max_iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    batch = target.shape[:-2]
    return torch.empty_like(target), target.new_empty(batch), target.new_empty(batch, dtype=torch.int64)
