"""What attention makes of the values that a query attends to: linear averages, and means on the manifold."""

import abc
from dataclasses import dataclass

from torch import Tensor

from ..._geoopt import geoopt
from ...errors import GeowarpError, UnavailableError
from ...manifolds import Manifold
from ...manifolds.karcher_steps import karcher_steps
from .encoding import Encoding, Entries
from .mean_encodings import compact_centroid_encoding, flat_encoding
from .tangent_coordinates import TangentVectors
from .weighted_means import centroid, nonempty

__all__ = ["Aggregation", "Centroid", "FrechetMean", "LinearValues", "TangentMean"]


class Aggregation(abc.ABC):
    """How the values ``(..., M, *point)`` of the keys become one of a query, by weights ``(..., N, M)``.

    Where the weighted average of some vectors determines the result, ``encode`` gives these vectors and
    ``decode`` takes their average back: attention then needs no N x M matrix. Otherwise ``encode`` gives
    None, and ``average`` takes the weights. Those of a query sum to 1, or are all 0 where it attends to
    nothing; its result is then the manifold's origin, which has no gradient to the values.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> v, weights = torch.eye(2), torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]])
        >>> Centroid().average(Sphere(), v, weights)
        tensor([[0.7071, 0.7071],
                [0.0000, 1.0000],
                [1.0000, 0.0000]])
    """

    def encode(self, manifold: Manifold, v: Tensor) -> Tensor | None:
        """Return vectors ``(..., M, e)`` whose average determines the result, if there are any."""
        encoding = self._encoding(manifold, self.point_shape(manifold, v))
        return None if encoding is None else encoding.encode(v)

    def decode(self, manifold: Manifold, average: Tensor, point_shape: tuple[int, ...]) -> Tensor:
        """Return ``(..., N, *point)`` of averages ``(..., N, e)``; the origin for an average of 0.

        Raises:
            UnavailableError: where ``encode`` gives None.
        """
        encoding = self._encoding(manifold, tuple(point_shape))
        if encoding is None:
            raise UnavailableError(
                f"{self!r}: on {manifold!r}, points {tuple(point_shape)}, no average of vectors determines "
                "the mean; use average(manifold, v, weights)"
            )
        return encoding.decode(average, tuple(point_shape))

    def average(self, manifold: Manifold, v: Tensor, weights: Tensor) -> Tensor:
        """Return ``(..., N, *point)`` of values ``(..., M, *point)`` and weights ``(..., N, M)``."""
        shape = self.point_shape(manifold, v)
        encoding = self._encoding(manifold, shape)
        if encoding is None:
            return nonempty(manifold, v, weights, self._mean)
        mean: Tensor = encoding.mean(v, weights, shape)
        return mean

    def point_shape(self, manifold: Manifold, v: Tensor) -> tuple[int, ...]:
        """Return the shape of one value."""
        return tuple(v.shape[v.ndim - manifold.ndim :])

    @abc.abstractmethod
    def _encoding(self, manifold: Manifold, shape: tuple[int, ...]) -> Encoding | None:
        """Return what encodes points of a shape, if anything does."""

    def _mean(self, manifold: geoopt.Manifold, v: Tensor, weights: Tensor) -> Tensor:
        """Return the means by weights that are nowhere all 0; for kinds of mean that may have no encoding."""
        raise UnavailableError(f"{self!r}: {manifold!r} has no such mean; use FrechetMean() or Centroid()")


@dataclass(frozen=True)
class LinearValues(Aggregation):
    """The average ``Σ w_j v_j`` of vectors ``(..., M, d)``, on whichever manifold queries and keys are.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> LinearValues().average(Sphere(), torch.eye(2), torch.tensor([[0.25, 0.75], [0.0, 0.0]]))
        tensor([[0.2500, 0.7500],
                [0.0000, 0.0000]])
    """

    def point_shape(self, manifold: Manifold, v: Tensor) -> tuple[int, ...]:
        """Return ``(d,)``."""
        return tuple(v.shape[-1:])

    def _encoding(self, manifold: Manifold, shape: tuple[int, ...]) -> Encoding:
        return Entries(1)


@dataclass(frozen=True)
class FrechetMean(Aggregation):
    """The weighted Fréchet mean, ``argmin_m Σ w_j dist(m, v_j)²``, of points ``(..., M, *point)``.

    On flat manifolds (``Euclidean``, the log-Euclidean and log-Cholesky metrics, and their products) it is
    an average of coordinates. On the others all means of all queries are solved for as one batch, by
    ``Manifold.mean``, with its warnings, or by a fixed number of steps, without. The gradient, in points,
    weights and learnable constants, is that of the exact mean, by implicit differentiation; after few steps
    it is as inexact as the mean is. For points at a distance 0.7 from a common one, that is by 1e-4 to 1e-3
    after one step, 2e-6 to 1e-4 after two, and at most 4e-6 after four. Needs the memory of N M points.

    Args:
        steps: how many steps of gradient descent to take from the manifold's ``initial_mean``, each
            ``m ← exp_m(s Σ w_j log_m(v_j))``; by default as many as it takes. See ``karcher_steps``.

    Raises:
        GeowarpError: for a negative number of steps.

    References:
        Karcher, Riemannian center of mass and mollifier smoothing, Comm. Pure Appl. Math. 30 (1977); Lou,
        Katsman, Jiang, Belongie, Lim, De Sa, Differentiating through the Fréchet mean, ICML (2020).

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> FrechetMean().average(Sphere(), torch.eye(2), torch.tensor([[2 / 3, 1 / 3]]))
        tensor([[0.8660, 0.5000]])
    """

    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 0:
            raise GeowarpError(f"FrechetMean: steps = {self.steps}; take 0 or more, or None for all it needs")

    def _encoding(self, manifold: Manifold, shape: tuple[int, ...]) -> Encoding | None:
        return flat_encoding(manifold, shape)

    def _mean(self, manifold: geoopt.Manifold, v: Tensor, weights: Tensor) -> Tensor:
        points = v.unsqueeze(-int(manifold.ndim) - 2)
        if self.steps is not None:
            stepped: Tensor = karcher_steps(manifold, points, weights, self.steps)
            return stepped
        mean: Tensor = manifold.mean(points, weights)
        return mean


@dataclass(frozen=True)
class Centroid(Aggregation):
    """The mean in the surrounding space, brought back to the manifold: a closed form on each.

    - ``Lorentz`` and ``PoincareBall``: the Lorentz centroid and Einstein midpoint, one point of two models.
    - ``Grassmann``: the chordal mean, the span of the k leading eigenvectors of ``Σ w_j v_j v_jᵀ``.
    - ``SPSD``: the matrix of rank r that is nearest to ``Σ w_j V_j``.
    - Flat manifolds: the Fréchet mean.
    - Others (spheres, ``Stiefel``, rotations, definite matrices): the projection of ``Σ w_j v_j``.

    It minimises the weighted squared distances in the surrounding space, on hyperbolic space the Lorentzian
    ones, ``−2k − 2⟨x, y⟩``. ``encode`` gives None where its vectors, n(n+1)/2 numbers for subspaces, would
    have more than twice the numbers of a point and more than 256.

    In hyperbolic space of curvature −1, ``decode`` of an average in float32 is 4e-6, 2e-4 and 1e-2 off, for
    values close to each other at distances 3, 5 and 7 from the origin: encode those further out in float64.
    ``average`` does so; it is 2e-7, 2e-6 and 1e-5 off there, what rounding of the values themselves does.

    References:
        Law, Liao, Snell, Zemel, Lorentzian distance learning for hyperbolic representations, ICML (2019),
        theorem 3.3; Srivastava, Klassen, Bayesian and geometric subspace tracking, Adv. Appl. Probab. 36
        (2004); Moakher, Means and averaging in the group of rotations, SIAM J. Matrix Anal. Appl. 24 (2002).

    Example:
        >>> from geowarp.manifolds import Lorentz
        >>> x = Lorentz().projx(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        >>> Centroid().average(Lorentz(), x, torch.tensor([[0.5, 0.5]]))
        tensor([[1.0987, 0.4551, 0.0000]])
    """

    def _encoding(self, manifold: Manifold, shape: tuple[int, ...]) -> Encoding | None:
        return compact_centroid_encoding(manifold, shape)

    def _mean(self, manifold: geoopt.Manifold, v: Tensor, weights: Tensor) -> Tensor:
        return centroid(manifold, v, weights)


@dataclass(frozen=True)
class TangentMean(Aggregation):
    """The mean in the tangent space at the origin o, ``exp_o(Σ w_j log_o v_j)``, on any manifold with both.

    On flat manifolds it is the Fréchet mean. On others it depends on the origin, and comes near the Fréchet
    mean where the points are near there.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> TangentMean().average(Sphere(), torch.eye(2), torch.tensor([[2 / 3, 1 / 3]]))
        tensor([[0.8660, 0.5000]])
    """

    def _encoding(self, manifold: Manifold, shape: tuple[int, ...]) -> Encoding:
        return TangentVectors(manifold)
