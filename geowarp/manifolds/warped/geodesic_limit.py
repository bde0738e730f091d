"""What discrete geodesics of several step sizes say about the one that they approach."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..linalg import safe_sqrt
from ..linalg.dimensions import append_dimensions
from .extrapolation import romberg
from .frame import path_steps, rounding_length
from .path_search import Paths

__all__ = ["Limit", "geodesic_limit", "rounding_share"]

_PANELS = 16
_AGREEMENT = 1e-3  # of the limit with the length of a curve, which is right to O(1/N⁴)


class Limit(NamedTuple):
    """The distance, the initial velocity, an estimate of the error of the distance, ``(B, ...)``.

    ``trusted`` is where they are extrapolated, and not those of the finest path.
    """

    distance: Tensor
    velocity: Tensor
    error: Tensor
    trusted: Tensor


@torch.no_grad()
def geodesic_limit(paths: Paths, found: list[Tensor], energies: list[Tensor]) -> Limit:
    """Return the limit of discrete geodesics ``(B, N + 1, *point)`` with energies ``N Σ l_i²``, N doubling.

    By Romberg's scheme, where it converges and agrees with the length of the finest path. Elsewhere steps are
    too long for what the metric does between them, or two of the paths are different geodesics: that length
    is the distance, and its error is how far the root of the energy is from it. No distance is longer than
    the geodesic of the base. Where rounding of short segments explains how far the result is from that
    geodesic, which is right to O(d²), it is taken instead.
    """
    finest, x, y = found[-1], found[-1][:, 0], found[-1][:, -1]
    roots = [safe_sqrt(energy) for energy in energies]
    limit, error = safe_sqrt(romberg(energies)[0].clamp_min(0)), romberg(roots)[1]
    length, straight = _length(paths, finest), paths.base_length(x, y, _PANELS)
    momenta = [paths.momentum(points) for points in found]
    trusted = (limit - length).abs() <= _AGREEMENT * length + (roots[-1] - length).abs()
    trusted = trusted & (error <= (roots[-1] - roots[-2]).abs()) if len(roots) > 1 else trusted
    momentum = torch.where(append_dimensions(trusted, x.ndim - 1), romberg(momenta)[0], momenta[-1])
    distance = torch.minimum(torch.where(trusted, limit, length), straight)
    error = torch.where(trusted, error, (roots[-1] - length).abs())
    limits = Limit(distance, paths.raised(x, momentum), error, trusted)
    return _without_rounding(paths, finest, limits, straight, paths.base.logmap(x, y))


def _without_rounding(
    paths: Paths, points: Tensor, limit: Limit, straight: Tensor, velocity: Tensor
) -> Limit:
    """Return the limit, with the length and the velocity of the base's geodesic where it is that."""
    rounding, segments = 2 * rounding_share(paths, points), points.shape[1] - 1
    near = (limit.distance - straight).abs() <= segments**0.5 * rounding * straight
    x = points[:, 0]
    bend, size = paths.base.norm(x, limit.velocity - velocity), paths.base.norm(x, velocity)
    same = append_dimensions(bend <= segments * rounding * size, x.ndim - 1)
    return limit._replace(
        distance=torch.where(near, straight, limit.distance),
        velocity=torch.where(same, velocity, limit.velocity),
    )


def _length(paths: Paths, points: Tensor) -> Tensor:
    """Return the length of the curve of geodesics of the base through the points, ``(B,)``."""
    starts, ends = path_steps(points, int(paths.base.ndim))
    pieces = paths.base_length(starts.flatten(0, 1), ends.flatten(0, 1), 1)
    length: Tensor = pieces.unflatten(0, starts.shape[:2]).sum(-1)
    return length


def rounding_share(paths: Paths, points: Tensor) -> Tensor:
    """Return what share of the length of a path the rounding of the entries of its points is, ``(B,)``."""
    length = safe_sqrt(paths.squared_lengths(points)).sum(-1)
    return rounding_length(paths.base, points[:, 0]) / length.clamp_min(torch.finfo(points.dtype).tiny)
