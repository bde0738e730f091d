"""What the tests of hyperbolic space share: exact values by mpmath, points at a given distance."""

from typing import Any

import mpmath
import torch
from torch import Tensor

from geowarp.manifolds import Lorentz, PoincareBall

DTYPES = [torch.float32, torch.float64]
BATCHES: list[tuple[int, ...]] = [(), (3,), (0,), (2, 3)]


def exact(x: Tensor) -> list[Any]:
    return [mpmath.mpf(value) for value in x.tolist()]


def ball_distance(x: Tensor, y: Tensor, c: float = 1.0) -> Any:
    """Return the distance of two points, as their entries say, to 60 digits."""
    with mpmath.workdps(60):
        p, q, constant = exact(x), exact(y), mpmath.mpf(c)
        square = sum((a - b) ** 2 for a, b in zip(p, q, strict=True))
        gaps = [1 - constant * sum(a * a for a in point) for point in (p, q)]
        return mpmath.acosh(1 + 2 * constant * square / (gaps[0] * gaps[1])) / mpmath.sqrt(constant)


def lorentz_distance(x: Tensor, y: Tensor, k: float = 1.0) -> Any:
    """Return the distance of two points, as their entries of space say, to 60 digits."""
    with mpmath.workdps(60):
        p, q, constant = exact(x[1:]), exact(y[1:]), mpmath.mpf(k)
        times = [mpmath.sqrt(constant + sum(a * a for a in point)) for point in (p, q)]
        product = sum(a * b for a, b in zip(p, q, strict=True)) - times[0] * times[1]
        return mpmath.sqrt(constant) * mpmath.acosh(-product / constant)


def unit(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    vector = torch.randn(shape, dtype=dtype)
    return vector / vector.square().sum(-1, keepdim=True).sqrt()


def ball_pair(radius: float, separation: float, dtype: torch.dtype, c: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return two points, of which one is at a distance ``radius`` from the origin."""
    ball = PoincareBall(c)
    x = ball.expmap0(0.5 * radius * unit(3))
    u = unit(3)
    y = ball.expmap(x, separation * u / ball.norm(x, u, keepdim=True))
    return x.to(dtype), y.to(dtype)


def lorentz_pair(
    radius: float, separation: float, dtype: torch.dtype, k: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return two points, of which one is at a distance ``radius`` from the origin."""
    lorentz = Lorentz(k)
    x = lorentz.expmap0(torch.cat([torch.zeros(1), radius * unit(3)]).double())
    u = lorentz.proju(x, torch.cat([torch.zeros(1), unit(3)]).double())
    y = lorentz.expmap(x, separation * u / lorentz.norm(x, u, keepdim=True))
    return lorentz.projx(x.to(dtype)), lorentz.projx(y.to(dtype))
