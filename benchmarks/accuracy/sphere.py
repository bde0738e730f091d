"""The angle of two unit vectors."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

from geowarp.manifolds import Sphere

from . import exact, samples
from .norm import norm
from .topic import DTYPES, Case, Topic

__all__ = ["TOPICS"]

N = 6
GAPS = {"float32": [1e-4, 1e-3, 1e-2], "float64": [1e-8, 1e-6, 1e-4, 1e-2]}  # from 0 and from π


def arccos(x: Tensor, y: Tensor) -> Tensor:
    """``acos xᵀy``."""
    return (x * y).sum(-1).clamp(-1, 1).acos()


def chord(x: Tensor, y: Tensor) -> Tensor:
    """``2 asin(‖x − y‖ / 2)``."""
    return 2 * (0.5 * norm(x - y)).clamp_max(1).asin()


def arctan(x: Tensor, y: Tensor) -> Tensor:
    """``2 atan2(‖x − y‖, ‖x + y‖)``."""
    return 2 * torch.atan2(norm(x - y), norm(x + y))


def angle(x: Tensor, y: Tensor) -> list[Any]:
    """Return the exact angle between the directions of x and y."""
    u, v = exact.vector(x), exact.vector(y)
    u, v = [a / mp.norm(u) for a in u], [a / mp.norm(v) for a in v]
    difference, total = [a - b for a, b in zip(u, v, strict=True)], [a + b for a, b in zip(u, v, strict=True)]
    return [2 * mp.atan2(mp.norm(difference), mp.norm(total))]


def pairs(count: int) -> Iterator[Case]:
    """Make pairs at each angle."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        small = {f"{gap:.0e}": gap for gap in GAPS[name]}
        large = {f"π − {gap:.0e}": math.pi - gap for gap in reversed(GAPS[name])}
        for label, theta in (small | {"1": 1.0} | large).items():
            q = samples.orthogonal(source, count, N)
            x, y = q[..., 0], q[..., 0] * math.cos(theta) + q[..., 1] * math.sin(theta)
            yield Case({"dtype": name, "angle": label}, (x.to(dtype), y.to(dtype)))


TOPICS = [
    Topic(
        name="sphere",
        title="Distance on the sphere, by angle",
        why=(
            "acos is inaccurate at both ends, asin of the chord at π; atan2 of the chords of y and of "
            "−y at neither."
        ),
        candidates={"acos": arccos, "asin of the chord": chord, "atan2": arctan, "geowarp": Sphere().dist},
        shipped="geowarp",
        cases=pairs,
        exact=angle,
    )
]
