"""The centroid of points of hyperbolic space as an average of vectors of the hyperboloid."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...manifolds import Lorentz, PoincareBall
from ...manifolds.linalg import ball, full_precision
from ...manifolds.linalg.hyperbolic import widen
from ...manifolds.linalg.hyperboloid import lift, space, time
from .encoding import Encoding

__all__ = ["BallPoints", "HyperboloidPoints"]


@dataclass(frozen=True)
class HyperboloidPoints(Encoding):
    """Points of ``Lorentz``; the mean is ``√k S / √−⟨S, S⟩`` of their average S, the centroid.

    An average in float32 has rounding errors that the difference ``S_0² − ‖S_s‖²`` of squares multiplies by
    ``exp(2r / √k)``, r from the origin, for points close to each other. ``mean`` averages in float64.

    Example:
        >>> encoding = HyperboloidPoints(Lorentz())
        >>> x = Lorentz().projx(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        >>> encoding.decode(encoding.encode(x).mean(0), (3,)), encoding.decode(torch.zeros(3), (3,))
        (tensor([1.0987, 0.4551, 0.0000]), tensor([1., 0., 0.]))
    """

    manifold: Lorentz

    def size(self, shape: tuple[int, ...]) -> int:
        """Return the number of entries of a point."""
        return shape[-1]

    @full_precision
    def encode(self, x: Tensor) -> Tensor:
        """Return time and space of each point, time from space."""
        points = space(x)
        return torch.cat([time(points, self.manifold.k), points], -1).to(x.dtype)

    @full_precision
    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the averages moved along their rays to the hyperboloid."""
        k, s = self.manifold.k, widen(average)
        across = s[..., 1:]
        square = s[..., :1].square() - across.square().sum(-1, keepdim=True)
        scale = (k / torch.where(square > k, square, k)).sqrt()  # an average has a square of k or more
        return lift(across * scale, k, average.dtype)

    def mean(self, x: Tensor, weights: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the centroids, averaged in float64."""
        mean: Tensor = _wide_mean(self, self.manifold, x, weights)
        return mean


@dataclass(frozen=True)
class BallPoints(Encoding):
    """``(λ − 1, λ x)`` of points x of ``PoincareBall``, whose average gives the Einstein midpoint.

    These are the points of the hyperboloid up to factors, and so are the errors.

    Example:
        >>> encoding = BallPoints(PoincareBall())
        >>> x = torch.tensor([[0.0, 0.0], [0.8, 0.0]])
        >>> encoding.decode(encoding.encode(x).mean(0), (2,)), encoding.decode(torch.zeros(3), (2,))
        (tensor([0.5000, 0.0000]), tensor([0., 0.]))
    """

    manifold: PoincareBall

    def size(self, shape: tuple[int, ...]) -> int:
        """Return one more than the number of entries of a point."""
        return 1 + shape[-1]

    @full_precision
    def encode(self, x: Tensor) -> Tensor:
        """Return ``(λ − 1, λ x)``, ``(..., 1 + n)``, with the conformal factor λ."""
        factor = 2 / ball.wide_boundary_gap(x, self.manifold.c)
        return torch.cat([factor - 1, factor * widen(x)], -1).to(x.dtype)

    @full_precision
    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the midpoints."""
        c, s = self.manifold.c, widen(average)
        middle = ball.midpoint(s[..., 1:], s[..., :1], torch.ones_like(s[..., :1]), c)
        return ball.project(middle.to(average.dtype), c)

    def mean(self, x: Tensor, weights: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the midpoints, averaged in float64."""
        mean: Tensor = _wide_mean(self, self.manifold, x, weights)
        return mean


@full_precision
def _wide_mean(encoding: Encoding, manifold: Lorentz | PoincareBall, x: Tensor, weights: Tensor) -> Tensor:
    vectors = encoding.encode(widen(x))
    mean = encoding.decode(weights.to(vectors.dtype) @ vectors, tuple(x.shape[-1:]))
    return manifold.projx(mean.to(x.dtype))
