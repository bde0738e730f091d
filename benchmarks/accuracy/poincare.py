"""The distance in the Poincaré ball of curvature −1."""

from collections.abc import Iterator
from typing import Any

from mpmath import mp
from torch import Tensor

from geowarp.manifolds import PoincareBall

from . import exact, samples
from .hyperbolic import ball_pair, levels, moebius_add
from .norm import norm
from .topic import DTYPES, Case, Topic

__all__ = ["TOPICS", "exact_distance"]


def _gap(x: Tensor) -> Tensor:
    return 1 - x.square().sum(-1)


def _excess(x: Tensor, y: Tensor) -> Tensor:
    """Return ``cosh d − 1 = 2 ‖x − y‖² / ((1 − ‖x‖²)(1 − ‖y‖²))``."""
    return 2 * (x - y).square().sum(-1) / (_gap(x) * _gap(y))


def arcosh(x: Tensor, y: Tensor) -> Tensor:
    """``acosh(1 + u)``."""
    return (1 + _excess(x, y)).acosh()


def log1p(x: Tensor, y: Tensor) -> Tensor:
    """``log1p(u + √(u (u + 2)))``."""
    u = _excess(x, y)
    return (u + (u * (u + 2)).sqrt()).log1p()


def arsinh(x: Tensor, y: Tensor) -> Tensor:
    """``2 asinh(‖x − y‖ / √((1 − ‖x‖²)(1 − ‖y‖²)))``."""
    return 2 * (norm(x - y) / (_gap(x) * _gap(y)).sqrt()).asinh()


def arsinh_factored(x: Tensor, y: Tensor) -> Tensor:
    """The same with ``1 − ‖x‖² = (1 − ‖x‖)(1 + ‖x‖)``."""
    r, s = norm(x), norm(y)
    return 2 * (norm(x - y) / ((1 - r) * (1 + r) * (1 - s) * (1 + s)).sqrt()).asinh()


def in_float64(x: Tensor, y: Tensor) -> Tensor:
    """The same as ``arsinh``, in float64."""
    return arsinh(x.double(), y.double())


def artanh(x: Tensor, y: Tensor) -> Tensor:
    """``2 artanh ‖(−x) ⊕ y‖``."""
    return 2 * norm(moebius_add(-x, y)).atanh()


def exact_distance(x: list[Any], y: list[Any]) -> Any:
    """Return the exact distance of two exact points."""
    difference = mp.norm([a - b for a, b in zip(x, y, strict=True)])
    gaps = [1 - sum(a * a for a in z) for z in (x, y)]
    return 2 * mp.asinh(difference / mp.sqrt(gaps[0] * gaps[1]))


def distance(x: Tensor, y: Tensor) -> list[Any]:
    """Return the exact distance."""
    return [exact_distance(exact.vector(x), exact.vector(y))]


def pairs(count: int) -> Iterator[Case]:
    """Make pairs at each radius and distance."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        for radius, size in levels(name):
            x, y = ball_pair(source, count, radius, size)
            labels = {"dtype": name, "radius": f"{radius:.0f}", "distance": f"{size:.0e}"}
            yield Case(labels, (x.to(dtype), y.to(dtype)))


TOPICS = [
    Topic(
        name="poincare",
        title="Distance in the Poincaré ball, by radius and distance",
        why=(
            "acosh(1 + u) forgets u where it is below eps, and the Möbius difference cancels with the "
            "square of the radius. asinh and log1p see ‖x − y‖ itself; what is left is the rounding of 1 "
            "− ‖x‖², which grows as eps e^r. geowarp takes that in float64, where squares of float32 "
            "numbers are exact."
        ),
        candidates={
            "acosh": arcosh,
            "Möbius, artanh": artanh,
            "log1p": log1p,
            "asinh": arsinh,
            "asinh, 1 − r² factored": arsinh_factored,
            "asinh in float64": in_float64,
            "geowarp": PoincareBall(1.0).dist,
        },
        shipped="geowarp",
        higher_precision=("asinh in float64",),
        cases=pairs,
        exact=distance,
    )
]
