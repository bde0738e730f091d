"""Geodesics of ``e^{2φ} g`` from a point and a velocity, by steps of two flows that are exact."""

from torch import Tensor

from ..._geoopt import geoopt
from ..linalg.dimensions import append_dimensions
from .flow_end import FlowEnd, speed_drift
from .frame import inner_product
from .graph_metric import gradients
from .potential import Potential

__all__ = ["conformal_flow"]


def conformal_flow(
    base: geoopt.Manifold,
    potential: Potential,
    x: Tensor,
    u: Tensor,
    steps: int,
    *,
    keeps_graph: bool = False,
) -> FlowEnd:
    """Return where the geodesic of velocity u from x, ``(B, *point)``, is at time 1, after so many steps.

    Its equation ``Dv/dt = |v|² grad φ − 2 dφ(v) v`` is split. With the point held, ``v / |v|²`` grows by
    ``grad φ`` in unit time; without the force, the base's geodesic takes the velocity along. Half a step of
    the first, a step of the second and half of the first again are symmetric, and of order 2.

    Args:
        base: the base manifold.
        potential: φ, maps ``(..., *point)`` to ``(..., 1)``.
        x: the start.
        u: the velocity.
        steps: their number.
        keeps_graph: whether the end is to be differentiated, by x, u or what the potential has learned.

    References:
        Hairer, Lubich, Wanner, Geometric numerical integration, 2nd ed. (2006), section II.5, for splitting.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> x, u = torch.zeros(1, 2), torch.tensor([[1.0, 2.0]])
        >>> conformal_flow(Euclidean(1), lambda x: 0 * x[..., :1], x, u, 4).point  # a constant φ
        tensor([[1., 2.]])
    """
    half = 0.5 / steps
    start, velocity = x, u
    values, slope = gradients(base, potential, x, create_graph=keeps_graph)
    before = _squared_speed(base, x, velocity, values)
    for _ in range(steps):
        velocity = _kicked(base, x, velocity, slope.squeeze(1), half)
        last, x = x, base.expmap(x, velocity / steps)
        velocity = -steps * base.logmap(x, last)
        values, slope = gradients(base, potential, x, create_graph=keeps_graph)
        velocity = _kicked(base, x, velocity, slope.squeeze(1), half)
    return FlowEnd(x, speed_drift(base, start, before, _squared_speed(base, x, velocity, values)))


def _squared_speed(base: geoopt.Manifold, x: Tensor, velocity: Tensor, values: Tensor) -> Tensor:
    return (2 * values.squeeze(-1)).exp() * inner_product(base, x, velocity, velocity)


def _kicked(base: geoopt.Manifold, x: Tensor, velocity: Tensor, slope: Tensor, time: float) -> Tensor:
    """Return the v for which ``v / |v|²`` has grown by ``time · slope``; 0 stays 0."""
    ndim = int(base.ndim)
    square = append_dimensions(inner_product(base, x, velocity, velocity), ndim)
    along = append_dimensions(inner_product(base, x, velocity, slope), ndim)
    steep = append_dimensions(inner_product(base, x, slope, slope), ndim)
    turned: Tensor = velocity + time * square * slope
    return turned / (1 + 2 * time * along + time**2 * square * steep)
