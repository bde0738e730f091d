"""Attention of points to points: homomorphisms, distances, means, and a translation of the result."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..._geoopt import geoopt
from ..._warn import warn
from ...errors import GeowarpError, PerformanceWarning
from ..distance_attention.aggregation import Aggregation, FrechetMean, LinearValues
from ..distance_attention.calibration import calibrated_temperatures
from ..distance_attention.function import manifold_attention, manifold_attention_weights
from ..distance_attention.methods import Method
from ..distance_attention.scores import Score, SquaredDistance
from ..distance_attention.temperature import Temperature
from ..distance_attention.visibility import over_heads
from .attended_points import AttendedPoints, attended_points
from .bias import GyroBias
from .homomorphism import GyroHomomorphism
from .homomorphism_family import HomomorphismFamily
from .point_shapes import check_points

__all__ = ["GyroAttention"]


class GyroAttention(nn.Module):
    """Self- and cross-attention of points of a gyrovector space, ``(..., N, *point)`` to ``(..., N, *out)``.

    For each head h, with homomorphisms of its own,

    - ``q_i = hom_q(x_i)``, ``k_j = hom_k(y_j)``, ``v_j = hom_v(y_j)``,
    - weights ``softmax_j(s(q_i, k_j) / τ_h)`` with the score s, by default minus the squared distance,
    - the weighted mean r_i of the values on the manifold,

    and then ``σ(B ⊕ r_i)`` of the equally weighted mean of the r_i of all heads, with a point B that starts
    at the identity element. Nothing leaves the manifold. It is equivariant under permutations of the queries,
    and invariant under those of the keys.

    The score of the paper, ``InverseLogDistance()``, is between 0 and 1: for τ = 1 no two weights differ by
    more than a factor e, and attention is close to uniform. ``calibrate`` sets τ on a batch to a quarter of
    the mean squared distance; ``attention_weights`` and ``attention_entropy`` show what is attended to.

    On the flat metrics of positive definite matrices everything is computed in their coordinates: one
    decomposition for every point that comes and one for every result, whatever the number of heads. On others
    the exact Fréchet mean is most of the work; ``Centroid()`` and ``TangentMean()`` are closed forms, on
    subspaces a hundred times faster.

    Args:
        manifold: a gyrovector space.
        point_shape: the shape of a point.
        heads: their number.
        out_shape: the shape of a result; by default that of a point.
        score: s, such as ``SquaredDistance()``.
        aggregation: ``FrechetMean()``, ``Centroid()`` or ``TangentMean()``, of values and of heads.
        tau: initial temperature, a number or ``(heads,)``, learned.
        family: of the homomorphisms, by default that of ``GyroHomomorphism``.
        shared: whether queries, keys and values have one homomorphism. With an isometry distances of queries
            and keys are then those of the points, and do not depend on any weight.
        activation: σ, such as ``PowerActivation``; none by default.
        method: of ``manifold_attention``.

    Raises:
        UnavailableError: for a manifold without gyrovector operations.
        GeowarpError: for shapes that do not fit, heads below 1, a temperature that is not positive, and
            linear values, which are no points.

    Warns:
        PerformanceWarning: for a shared isometry.

    References:
        Wang, Hu, Song, Wu, Sebe, Chen, Towards a general attention framework on gyrovector spaces for matrix
        manifolds, NeurIPS (2025).

    Example:
        >>> from geowarp.manifolds import LogEuclideanSPD
        >>> attention = GyroAttention(LogEuclideanSPD(), (3, 3), heads=2)
        >>> x = LogEuclideanSPD().random(4, 5, 3, 3)
        >>> attention(x).shape, attention.attention_weights(x, x[:, :2]).shape
        (torch.Size([4, 5, 3, 3]), torch.Size([4, 2, 5, 2]))
    """

    def __init__(
        self,
        manifold: geoopt.Manifold,
        point_shape: Sequence[int],
        heads: int = 1,
        *,
        out_shape: Sequence[int] | None = None,
        score: Score | None = None,
        aggregation: Aggregation | None = None,
        tau: float | Tensor = 1.0,
        family: HomomorphismFamily | None = None,
        shared: bool = False,
        activation: nn.Module | None = None,
        method: Method | None = None,
    ) -> None:
        super().__init__()
        self.query = GyroHomomorphism(manifold, point_shape, out_shape, heads=heads, family=family)
        self.key, self.value = (
            self.query
            if shared
            else GyroHomomorphism(manifold, point_shape, out_shape, heads=heads, family=family)
            for _ in range(2)
        )
        self.manifold, self.heads, self.shared, self.method = self.query.manifold, heads, shared, method
        self.point_shape, self.out_shape = self.query.point_shape, self.query.out_shape
        self.score = SquaredDistance() if score is None else score
        self.aggregation = FrechetMean() if aggregation is None else aggregation
        if isinstance(self.aggregation, LinearValues) or not isinstance(self.aggregation, Aggregation):
            raise GeowarpError(
                f"GyroAttention: values are points, and {self.aggregation!r} is no mean of points; take "
                "FrechetMean(), Centroid() or TangentMean()"
            )
        self.temperature = Temperature(heads, tau)
        self.translation = GyroBias(self.manifold, self.out_shape)
        self.activation = nn.Identity() if activation is None else activation
        if shared and self.query.isometry:
            warn(_SHARED, PerformanceWarning)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        is_causal: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return ``(..., N, *out)``.

        Args:
            x: the points that ask, ``(..., N, *point)``.
            context: the points that answer, ``(..., M, *point)``; x by default.
            mask: boolean, True for points that take part, broadcastable to ``(..., N, M)``, or with one more
                dimension than that to ``(..., heads, N, M)``. The batch is that of x and context.
            is_causal: whether point i attends to those up to the i-th.
            bias: added to the logits, after the division by τ; broadcastable as the mask.

        Raises:
            GeowarpError: for points of another shape.
        """
        frame = self._frame()
        q, k, answering = self._compared(frame, x, context)
        attended = manifold_attention(
            q,
            k,
            k if self.shared else frame.image(self.value, answering),
            frame.space,
            self.temperature.tau,
            score=self.score,
            aggregation=self.aggregation,
            mask=self._over_heads(mask, x, context),
            is_causal=is_causal,
            bias=self._over_heads(bias, x, context),
            method=self.method,
        )
        result: Tensor = self.activation(frame.leave(self.translation, self._merged(frame, attended)))
        return result

    def attention_weights(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        is_causal: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return the weights ``(..., heads, N, M)``; the arguments are those of ``forward``.

        Example:
            >>> from geowarp.manifolds import PoincareBall
            >>> attention, x = GyroAttention(PoincareBall(), (2,)), torch.zeros(2, 2)
            >>> attention.attention_weights(x, is_causal=True).detach()
            tensor([[[1.0000, 0.0000],
                     [0.5000, 0.5000]]])
        """
        frame = self._frame()
        q, k, _ = self._compared(frame, x, context)
        return manifold_attention_weights(
            q,
            k,
            frame.space,
            self.temperature.tau,
            score=self.score,
            mask=self._over_heads(mask, x, context),
            is_causal=is_causal,
            bias=self._over_heads(bias, x, context),
        )

    @torch.no_grad()
    def calibrate(self, x: Tensor, context: Tensor | None = None, fraction: float = 0.25) -> Tensor:
        """Set each τ_h to a fraction of the mean squared distance of queries and keys, and return them.

        More generally, to a fraction of how far the scores are below that of equal points on average.

        Args:
            x: ``(..., N, *point)``, a batch of what the module sees.
            context: ``(..., M, *point)``; x by default.
            fraction: of the mean, positive.

        Raises:
            GeowarpError: where all points of a head are equal, or the score tells none apart.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> attention, x = GyroAttention(Euclidean(1), (3,)), torch.randn(8, 3)
            >>> attention.calibrate(10 * x) / attention.calibrate(x)
            tensor([100.0000])
        """
        frame = self._frame()
        q, k, _ = self._compared(frame, x, context)
        tau = calibrated_temperatures("GyroAttention", frame.space, self.score, q, k, fraction)
        return self.temperature.set_(tau).tau.detach()

    def extra_repr(self) -> str:
        """Return the settings, for ``repr``."""
        return (
            f"{self.point_shape}, heads={self.heads}, score={self.score!r}, "
            f"aggregation={self.aggregation!r}, shared={self.shared}"
        )

    def _frame(self) -> AttendedPoints:
        return attended_points(self.query, self.score, self.aggregation)

    def _compared(
        self, frame: AttendedPoints, x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries and keys, and what the keys are images of, with a dimension for heads."""
        asking = self._with_heads(frame, x)
        answering = asking if context is None else self._with_heads(frame, context)
        query = frame.image(self.query, asking)
        same = self.shared and context is None
        return query, query if same else frame.image(self.key, answering), answering

    def _with_heads(self, frame: AttendedPoints, x: Tensor) -> Tensor:
        check_points("GyroAttention", x, self.point_shape, tokens=True)
        return frame.enter(x).unsqueeze(-self.manifold.ndim - 2)

    def _merged(self, frame: AttendedPoints, points: Tensor) -> Tensor:
        """Return the mean ``(..., N, *out)`` of what the heads give, ``(..., heads, N, *out)``."""
        head = -self.manifold.ndim - 2
        if self.heads == 1:
            return points.squeeze(head)
        weights = points.new_full((1, self.heads), 1 / self.heads)
        mean = self.aggregation.average(frame.space, points.movedim(head, head + 1), weights)
        return mean.squeeze(head + 1)

    def _over_heads(self, mask: Tensor | None, x: Tensor, context: Tensor | None) -> Tensor | None:
        """Return a mask or bias with a dimension for heads, unless it has one."""
        sets = x.ndim if context is None else max(x.ndim, context.ndim)
        return over_heads(mask, sets - self.manifold.ndim + 1)


_SHARED = (
    "GyroAttention: with shared=True queries and keys are moved by one isometry, which no distance and no "
    "attention weight depends on; leave shared=False, or give a family that is not isometric"
)
