"""Paths that a search for geodesics starts from."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..linalg import safe_sqrt
from ..linalg.dimensions import append_dimensions
from .frame import path_ends, path_steps
from .path_search import Paths

__all__ = ["BaseGeodesics", "initial_path", "lower", "refined"]

_SAMPLES = 128
_BEND = 1e-2  # of the distance


def initial_path(base: geoopt.Manifold, x: Tensor, y: Tensor, times: Tensor) -> Tensor:
    """Return the geodesic of the base from x to y at times ``(B or 1, M)``, and its ends exactly.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> initial_path(Euclidean(0), torch.zeros(1), torch.ones(1), torch.tensor([[0.5]]))
        tensor([[0.0000, 0.5000, 1.0000]])
    """
    start, velocity = x.unsqueeze(1), base.logmap(x, y).unsqueeze(1)
    inner = base.expmap(start, append_dimensions(times, int(base.ndim)) * velocity)
    return torch.cat([start, inner, y.unsqueeze(1)], 1)


def refined(base: geoopt.Manifold, points: Tensor) -> Tensor:
    """Return paths ``(B, 2N + 1, *point)`` with the midpoints of the segments of ``(B, N + 1, *point)``.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> refined(Euclidean(0), torch.tensor([[0.0, 1.0, 3.0]]))
        tensor([[0.0000, 0.5000, 1.0000, 2.0000, 3.0000]])
    """
    starts, ends = path_steps(points, int(base.ndim))
    middles = base.expmap(starts, 0.5 * base.logmap(starts, ends))
    pairs = torch.stack([starts, middles], 2).flatten(1, 2)
    return torch.cat([pairs, points[:, -1:]], 1)


def lower(paths: Paths, one: Tensor, other: Tensor) -> Tensor:
    """Return, of two paths for each pair, the one of less energy; one that is not a number has more."""
    first, second = (paths.squared_lengths(points).sum(-1).nan_to_num(torch.inf) for points in (one, other))
    return torch.where(append_dimensions(second < first, one.ndim - 1), other, one)


class BaseGeodesics:
    """The geodesics of the base from x to y, in steps of equal length under the warped metric.

    Their energy is about the square of their length, which is at least that of the geodesic searched for. A
    path of more energy, such as one that jumps over a steep wall by one long segment, is none.

    Args:
        paths: what the steps are measured by.
        x: ``(B, *point)``.
        y: ``(B, *point)``.
    """

    def __init__(self, paths: Paths, x: Tensor, y: Tensor) -> None:
        self.base, self.x, self.y = paths.base, x, y
        times = torch.arange(1, _SAMPLES, dtype=x.dtype, device=x.device)[None] / _SAMPLES
        steps = safe_sqrt(paths.squared_lengths(initial_path(self.base, x, y, times)))
        self.travelled = torch.cat([torch.zeros_like(steps[:, :1]), steps.cumsum(-1)], -1)

    def path(self, segments: int) -> Tensor:
        """Return the path of so many segments, ``(B, N + 1, *point)``."""
        whole = self.travelled[:, -1:]
        share = torch.arange(1, segments, dtype=whole.dtype, device=whole.device) / segments
        wanted = (share * whole).contiguous()
        after = torch.searchsorted(self.travelled, wanted).clamp(1, _SAMPLES)
        start, end = self.travelled.gather(1, after - 1), self.travelled.gather(1, after)
        within = (wanted - start) / (end - start).clamp_min(torch.finfo(whole.dtype).tiny)
        times = (after - 1 + within.clamp(0, 1)) / _SAMPLES
        return initial_path(self.base, self.x, self.y, times)

    def bent(self, segments: int) -> Tensor:
        """Return the path with its inner points moved a little, the same way for each pair.

        Over a hill the geodesic of the base may be one of the warped metric, too, and longer than the ways
        around; no gradient leads off it.
        """
        points = self.path(segments)
        start, inner, end = path_ends(points, int(self.base.ndim))
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(inner.shape[1:], dtype=torch.float64, generator=generator)
        direction = self.base.proju(inner, noise.to(inner).expand_as(inner))
        size = self.base.norm(inner, direction).clamp_min(torch.finfo(inner.dtype).tiny)
        share = _BEND * self.base.dist(self.x, self.y).unsqueeze(-1) / size
        moved = self.base.retr(inner, append_dimensions(share, int(self.base.ndim)) * direction)
        return torch.cat([start, moved, end], 1)
