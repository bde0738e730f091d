"""Christoffel symbols and curvature of a metric matrix in coordinates, by its automatic derivatives alone."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.functional import jacobian

Field = Callable[[Tensor], Tensor]


def slopes(function: Field, x: Tensor) -> Tensor:
    """Return the derivatives ``(..., n)`` of a function at ``(n,)``, which may be differentiated."""
    derivative: Tensor = jacobian(function, x, create_graph=True)
    return derivative


def symbols(metric: Field, x: Tensor) -> Tensor:
    """Return ``Γ^k_ij``, ``(n, n, n)``, k first, of ``x -> (n, n)``."""
    slope = slopes(metric, x)  # ∂_l g_ij as [i, j, l]
    lowered = 0.5 * (
        slope.permute(0, 2, 1) + slope - slope.permute(2, 0, 1)
    )  # [l, j, i], [l, i, j], [i, j, l]
    raised: Tensor = torch.linalg.solve(metric(x), lowered.flatten(1))
    return raised.reshape(lowered.shape)


def christoffel(metric: Field, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("kij,i,j->k", symbols(metric, x), u, v)


def riemann(metric: Field, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Return ``DΓ[u](v, w) − DΓ[v](u, w) + Γ(u, Γ(v, w)) − Γ(v, Γ(u, w))``."""
    slope = slopes(lambda y: symbols(metric, y), x)
    first, second = (torch.einsum("kijl,l,i,j->k", slope, a, b, w) for a, b in ((u, v), (v, u)))
    nested = [christoffel(metric, x, a, christoffel(metric, x, b, w)) for a, b in ((u, v), (v, u))]
    return first - second + nested[0] - nested[1]


def pulled_back(chart: Field, gram: Callable[[Tensor], Tensor], functions: Field, alpha: Tensor) -> Field:
    """Return the matrix of ``<dc, dc> + Σ α_k db_k ⊗ db_k`` in the coordinates of a chart c.

    Args:
        chart: from coordinates ``(n,)`` to entries ``(d,)``.
        gram: from a point to the matrix ``(d, d)`` of its inner product.
        functions: from a point to ``(K,)``.
        alpha: ``(K,)``.
    """

    def metric(coordinates: Tensor) -> Tensor:
        frame = slopes(chart, coordinates)
        rise = slopes(lambda c: functions(chart(c)), coordinates)
        return frame.mT @ gram(chart(coordinates)) @ frame + rise.mT @ (alpha[:, None] * rise)

    return metric
