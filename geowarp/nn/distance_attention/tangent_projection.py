"""Points of a manifold from linear features: tangent vectors at the origin, lifted by the exponential."""

import torch
from torch import Tensor, nn

from ..._geoopt import geoopt
from ...errors import GeowarpError
from .origin import origin_like
from .tangent_coordinates import TangentVectors, tangent_coordinates

__all__ = ["TangentProjection", "check_exponential", "mean_square_length"]


def check_exponential(name: str, manifold: geoopt.Manifold, shape: tuple[int, ...]) -> None:
    """Raise GeowarpError where a manifold has no exponential at its origin, or only that point.

    Example:
        >>> from geowarp.manifolds import BirkhoffPolytope
        >>> check_exponential("Layer", BirkhoffPolytope(), (2, 2))
        Traceback (most recent call last):
        ...
        geowarp.errors.GeowarpError: Layer: BirkhoffPolytope() has no origin with an exponential map for ...
    """
    if tangent_coordinates(manifold, shape).size(shape) < 1:
        raise GeowarpError(f"{name}: {manifold!r} has but one point of shape {shape}; take a larger shape")
    try:
        _lift_one(manifold, shape)
    except NotImplementedError as error:
        raise GeowarpError(
            f"{name}: {manifold!r} has no origin with an exponential map for points {shape} ({error}); use a "
            "manifold with expmap"
        ) from error


@torch.no_grad()
def mean_square_length(manifold: geoopt.Manifold, shape: tuple[int, ...]) -> float:
    """Return the mean of ``‖e‖²`` at the origin over the unit vectors e of the tangent coordinates.

    Example:
        >>> from geowarp.manifolds import PoincareBall, Stiefel
        >>> mean_square_length(PoincareBall(), (3,)), mean_square_length(Stiefel(), (3, 2))
        (4.0, 0.5)
    """
    origin, u = _unit_vectors(manifold, shape)
    square: Tensor = manifold.inner(origin, u)
    return float(square.mean())


@torch.no_grad()
def _lift_one(manifold: geoopt.Manifold, shape: tuple[int, ...]) -> Tensor:
    """Return the end of one geodesic, if there are any."""
    origin, u = _unit_vectors(manifold, shape)
    end: Tensor = manifold.expmap(origin, u[0])
    return end


def _unit_vectors(manifold: geoopt.Manifold, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the origin, and the tangent vectors there with coordinates of 1 and zeros."""
    coordinates = tangent_coordinates(manifold, shape)
    constants = [constant.detach() for constant in manifold.parameters()]
    device = constants[0].device if constants else torch.device("cpu")
    with device:  # whatever the device of new tensors, which may hold no numbers
        unit = torch.eye(coordinates.size(shape), device=device)
        origin = origin_like(manifold, shape, unit)
        return origin, manifold.proju(origin, coordinates.decode(unit, shape))


class TangentProjection(nn.Module):
    """A linear map of features to tangent vectors at the origin, and the points they lead to.

    For each head ``x = exp_o(u)`` with tangent coordinates ``u = W f + b``, as many as they need: n numbers
    for ``Lorentz`` points of 1 + n entries, n(n+1)/2 for symmetric matrices, k(n − k) for subspaces. Points
    are in float32 at least, also under autocast.

    Initially b = 0, and W is normal such that features of mean 0 and variance 1 give points at a mean squared
    distance 1 from the origin. The manifold is no part of the module, so that the constants that it may learn
    are registered once, by the module around this one.

    Args:
        manifold: one with ``origin`` and ``expmap``.
        features: the number of entries of f.
        heads: the number of points for each f.
        point_shape: of a point.
        bias: whether there is a b.
        device: of the parameters.
        dtype: of the parameters.

    Example:
        >>> from geowarp.manifolds import Lorentz
        >>> lift = TangentProjection(Lorentz(), 8, heads=2, point_shape=(5,))
        >>> lift(Lorentz(), torch.randn(3, 7, 8)).shape, lift.linear.weight.shape
        (torch.Size([3, 2, 7, 5]), torch.Size([8, 8]))
    """

    def __init__(
        self,
        manifold: geoopt.Manifold,
        features: int,
        heads: int,
        point_shape: tuple[int, ...],
        *,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.point_shape = heads, point_shape
        self.size = tangent_coordinates(manifold, point_shape).size(point_shape)
        self.linear = nn.Linear(features, heads * self.size, bias, device=device, dtype=dtype)
        self.reset_parameters(manifold)

    def reset_parameters(self, manifold: geoopt.Manifold) -> None:
        """Set the parameters to their initial values."""
        square = self.linear.in_features * self.size * mean_square_length(manifold, self.point_shape)
        nn.init.normal_(self.linear.weight, std=square**-0.5)
        if self.linear.bias is not None:
            nn.init.zeros_(self.linear.bias)

    def forward(self, manifold: geoopt.Manifold, f: Tensor) -> Tensor:
        """Return points ``(..., heads, N, *point)`` of features ``(..., N, features)``."""
        u = self.linear(f).unflatten(-1, (self.heads, self.size)).movedim(-2, -3)
        u = u.float() if u.dtype.itemsize < 4 else u
        return TangentVectors(manifold).decode(u, self.point_shape)

    def read(self, manifold: geoopt.Manifold, x: Tensor) -> Tensor:
        """Return tangent coordinates ``(..., N, heads * size)`` of points ``(..., heads, N, *point)``."""
        return TangentVectors(manifold).encode(x).movedim(-3, -2).flatten(-2)
