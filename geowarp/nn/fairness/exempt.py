"""A potential that leaves some points out."""

from collections.abc import Callable

from torch import Tensor, nn

from ..._geoopt import geoopt
from ...manifolds.linalg.precision import full_precision
from ..distance_attention.scores import SquaredDistance
from .gate import gate
from .squared_distances import all_squares

__all__ = ["ExemptPotential"]


class ExemptPotential(nn.Module):
    """A potential that is 0 at exempt points: ``(1 − w(x)) b(x)``, w being 1 there and 0 from a radius on.

    So the distance of any point to an exempt one grows by what the value of that point alone says.

    Args:
        potential: maps points ``(..., *point)`` to ``(..., K)``.
        base: the manifold.
        points: ``(M, *point)``, M at least 1.
        radius: of the gate, positive.
        alpha: the weight of each value in the metric.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> potential = ExemptPotential(torch.cos, Euclidean(1), torch.zeros(1, 1), radius=1.0, alpha=0.5)
        >>> potential(torch.tensor([[0.0], [torch.pi]]))
        tensor([[ 0.],
                [-1.]])
    """

    points: Tensor

    def __init__(
        self,
        potential: Callable[[Tensor], Tensor],
        base: geoopt.Manifold,
        points: Tensor,
        radius: float,
        alpha: float,
    ) -> None:
        super().__init__()
        self.potential, self.base, self.radius, self.alpha = potential, base, radius, alpha
        self.register_buffer("points", points.detach())

    @property
    def outputs(self) -> int | None:
        """How many values there are, where the potential says it."""
        count: int | None = getattr(self.potential, "outputs", None)
        return count

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Return the values at points ``(..., *point)``."""
        values = self.potential(x)
        rows = x.reshape(-1, *self.points.shape[1:])
        squares = all_squares(SquaredDistance(), self.base, rows, self.points.to(x.dtype))
        return (1 - gate(squares, self.radius).reshape(*values.shape[:-1], 1)) * values
