"""The distance on the hyperboloid ``⟨x, x⟩ = −1``, time coordinate first.

Points are given by their space coordinates; their time is what belongs to these, rounded.
"""

from collections.abc import Iterator
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

from geowarp.manifolds import Lorentz

from . import exact, samples
from .hyperbolic import levels, lorentz_pair
from .topic import DTYPES, Case, Topic

__all__ = ["TOPICS"]


def _by_excess(u: Tensor) -> Tensor:
    """Return ``acosh(1 + u)``."""
    return 2 * (0.5 * u.clamp_min(0)).sqrt().asinh()


def product(x: Tensor, y: Tensor) -> Tensor:
    """``acosh(x₀y₀ − xᵀy)``."""
    return (x[:, 0] * y[:, 0] - (x[:, 1:] * y[:, 1:]).sum(-1)).clamp_min(1).acosh()


def difference(x: Tensor, y: Tensor) -> Tensor:
    """``cosh d − 1 = ½ (‖x − y‖² − (x₀ − y₀)²)`` of the given times."""
    d = (x - y).square()
    return _by_excess(0.5 * (d[:, 1:].sum(-1) - d[:, 0]))


def difference_from_space(x: Tensor, y: Tensor) -> Tensor:
    """The same with ``x₀ − y₀ = (x − y)ᵀ(x + y) / (x₀ + y₀)``."""
    d, total = x[:, 1:] - y[:, 1:], x[:, 1:] + y[:, 1:]
    time = (d * total).sum(-1) / (x[:, 0] + y[:, 0])
    return _by_excess(0.5 * (d.square().sum(-1) - time.square()))


def orthogonal_parts(x: Tensor, y: Tensor) -> Tensor:
    """``cosh d − 1 = (½ ‖p‖² + 2 t²) / (1 − t²)``.

    ``t = ‖q‖ / (x₀ + y₀)``, where q is the part of ``x − y`` along ``x + y`` (space coordinates), and p the
    rest.
    """
    d, total = x[:, 1:] - y[:, 1:], x[:, 1:] + y[:, 1:]
    square = total.square().sum(-1, keepdim=True)
    along = total * (d * total).sum(-1, keepdim=True) / torch.where(square > 0, square, 1)
    t2 = along.square().sum(-1) / (x[:, 0] + y[:, 0]).square()
    return _by_excess((0.5 * (d - along).square().sum(-1) + 2 * t2) / (1 - t2))


def in_float64(x: Tensor, y: Tensor) -> Tensor:
    """Orthogonal parts in float64, of float32 too, with the time of the space coordinates."""

    def lift(z: Tensor) -> Tensor:
        space = z[:, 1:].double()
        return torch.cat([(1 + space.square().sum(-1, keepdim=True)).sqrt(), space], -1)

    return orthogonal_parts(lift(x), lift(y))


def distance(x: Tensor, y: Tensor) -> list[Any]:
    """Return the exact distance of the points with these space coordinates."""
    u, v = exact.vector(x[1:]), exact.vector(y[1:])
    times = [mp.sqrt(1 + sum(a * a for a in z)) for z in (u, v)]
    return [mp.acosh(times[0] * times[1] - sum(a * b for a, b in zip(u, v, strict=True)))]


def pairs(count: int) -> Iterator[Case]:
    """Make pairs at each radius and distance."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        for radius, size in levels(name):
            labels = {"dtype": name, "radius": f"{radius:.0f}", "distance": f"{size:.0e}"}
            yield Case(labels, lorentz_pair(source, count, radius, size, dtype))


TOPICS = [
    Topic(
        name="lorentz",
        title="Distance on the hyperboloid, by radius and distance",
        why=(
            "The terms of the Minkowski product, of size e^{2r}, cancel to cosh d, and so do ‖x − y‖² and "
            "(x₀ − y₀)² where x and y differ along the radius. Splitting x − y into the part along x + y, "
            "for which the cancellation is done by hand, and the rest leaves an error of eps e^r rather "
            "than eps e^{2r}. geowarp has the same order of error, in float64, from the difference of the "
            "points of the ball, which its logarithm and its gyrovectors need as well."
        ),
        candidates={
            "product, acosh": product,
            "difference": difference,
            "difference, x₀ − y₀ from space": difference_from_space,
            "orthogonal parts": orthogonal_parts,
            "its time and sums in float64": in_float64,
            "geowarp": Lorentz(1.0).dist,
        },
        shipped="geowarp",
        higher_precision=("its time and sums in float64",),
        cases=pairs,
        exact=distance,
    )
]
