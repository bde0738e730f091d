"""The α-family of metrics of the Stiefel manifold, as values."""

from dataclasses import dataclass

__all__ = ["AlphaMetric", "CanonicalMetric", "EuclideanMetric", "StiefelMetric"]


class StiefelMetric:
    """A metric ``tr uᵀv − (2α + 1) / (2(α + 1)) tr (xᵀu)ᵀ(xᵀv)``, α > −1: what the ``α`` of a value says.

    Example:
        >>> from geowarp.manifolds import AlphaMetric, CanonicalMetric, EuclideanMetric
        >>> [metric.alpha for metric in (EuclideanMetric(), CanonicalMetric(), AlphaMetric(0.4))]
        [-0.5, 0.0, 0.4]
    """

    alpha: float


@dataclass(frozen=True)
class EuclideanMetric(StiefelMetric):
    """The metric ``tr uᵀv`` of the surrounding space, α = −1/2.

    References:
        Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix
        Anal. Appl. 20 (1998), section 2.2.

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> Stiefel(EuclideanMetric()).inner(torch.eye(2), torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
        tensor(2.)
    """

    alpha = -0.5


@dataclass(frozen=True)
class CanonicalMetric(StiefelMetric):
    """The metric ``tr uᵀ(I − x xᵀ/2)v`` of the quotient O(n) / O(n − k), α = 0.

    References:
        Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix
        Anal. Appl. 20 (1998), section 2.4.

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> Stiefel(CanonicalMetric()).inner(torch.eye(2), torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
        tensor(1.)
    """

    alpha = 0.0


@dataclass(frozen=True)
class AlphaMetric(StiefelMetric):
    """The metric of the α-family for any α > −1: it weighs ``xᵀu`` by ``1 / (2(α + 1))``.

    Args:
        alpha: −1/2 is the Euclidean metric, 0 the canonical one.

    Raises:
        ValueError: for α <= −1.

    References:
        Hüper, Markina, Silva Leite, A Lagrangian approach to extremal curves on Stiefel manifolds,
        J. Geom. Mech. 13 (2021).

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> Stiefel(AlphaMetric(1.0)).inner(torch.eye(2), torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
        tensor(0.5000)
    """

    alpha: float

    def __post_init__(self) -> None:
        if self.alpha <= -1:
            raise ValueError(f"AlphaMetric: alpha = {self.alpha} gives no metric; it must be above -1")
