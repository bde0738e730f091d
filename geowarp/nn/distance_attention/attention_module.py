"""Multi-head attention by manifold distance, as a module on linear token features."""

import math
from numbers import Integral

import torch
from torch import Tensor, nn

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds import Lorentz, Manifold, ProductManifold
from ...manifolds.linalg import full_precision
from .aggregation import Aggregation, LinearValues
from .calibration import calibrated_temperatures
from .function import manifold_attention, manifold_attention_weights
from .methods import Method
from .scores import Score, SquaredDistance
from .tangent_projection import TangentProjection, check_exponential
from .temperature import Temperature
from .visibility import over_heads

__all__ = ["ManifoldAttention"]

_attention = full_precision(manifold_attention)
_weights = full_precision(manifold_attention_weights)
_KINDS = {"manifold": geoopt.Manifold, "score": Score, "aggregation": Aggregation}
_DEFAULT_TAU = 0.5  # a quarter of 2, the mean squared distance of two independent points at the start


class ManifoldAttention(nn.Module):
    """Self- and cross-attention ``(..., N, dim)`` whose weights are ``softmax_j(s(q_i, k_j) / τ_h)``.

    A drop-in for multi-head attention. For each head h, linear projections of the features are tangent
    vectors at the manifold's origin, which its exponential lifts to points q and k; the score s is by default
    minus their squared distance. Values are linear projections, dim / heads numbers for each head, or with
    another aggregation points, too, of which a mean on the manifold is read back by the logarithm at the
    origin. A last projection takes all heads to dim. Learnable constants of the manifold are parameters.

    Far above the mean squared distance τ makes attention uniform, and far below it one-hot: ``calibrate``
    sets it on a batch. Initially features of variance 1 give points at a mean squared distance of about 2,
    and τ is a quarter of that.

    On compact manifolds the exponential wraps round. A tangent vector that grows beyond the cut locus, π on
    spheres, lifts to a point whose logarithm is another one: values that are points then jump, and training
    can stall, also at small rates of learning. ``LinearValues()`` does not jump.

    Args:
        manifold: one with ``origin`` and ``expmap``, and ``logmap`` for values that are points.
        dim: the number of features of a query, and of the output.
        heads: their number, which divides dim.
        point_shape: of a point. By default ``(dim / heads,)`` for vectors, ``(1 + dim / heads,)`` on
            ``Lorentz``, and what a product needs; matrices have none.
        score: s, such as ``SquaredDistance()``.
        aggregation: ``LinearValues()``, ``FrechetMean()``, ``Centroid()`` or ``TangentMean()``.
        tau: initial temperature, a number or ``(heads,)``.
        bias: whether the projections have biases.
        kdim: the number of features of a key; dim by default.
        vdim: the number of features of a value; that of a key by default.
        method: how, such as ``Blockwise()``; by default what suits manifold, score and device.
        score_dtype: of the scores, which are in float32 by default also under autocast.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        GeowarpError: for heads that do not divide dim, a point shape that the manifold does not take, a
            manifold without an exponential, and a temperature that is not positive.

    References:
        Gulcehre et al., Hyperbolic attention networks, ICLR (2019), for weights by distance and means on the
        manifold; Vaswani et al., Attention is all you need, NeurIPS (2017).

    Example:
        >>> from geowarp.manifolds import Lorentz
        >>> attention = ManifoldAttention(Lorentz(), 8, heads=2)
        >>> x, y = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
        >>> attention(x).shape, attention(x, y).shape, attention.attention_weights(x, y).shape
        (torch.Size([3, 5, 8]), torch.Size([3, 5, 8]), torch.Size([3, 2, 5, 7]))
    """

    def __init__(
        self,
        manifold: Manifold,
        dim: int,
        heads: int,
        *,
        point_shape: tuple[int, ...] | None = None,
        score: Score | None = None,
        aggregation: Aggregation | None = None,
        tau: float | Tensor = _DEFAULT_TAU,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        method: Method | None = None,
        score_dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.manifold, self.dim, self.heads = manifold, dim, heads
        self.kdim = dim if kdim is None else kdim
        self.vdim = self.kdim if vdim is None else vdim
        self.score = SquaredDistance() if score is None else score
        self.aggregation = LinearValues() if aggregation is None else aggregation
        self._check_settings()
        self.point_shape = _point_shape(manifold, dim // heads, point_shape)
        check_exponential("ManifoldAttention", manifold, self.point_shape)
        self.method, self.score_dtype = method, score_dtype
        self.temperature = Temperature(heads, tau, device=device, dtype=dtype)

        def lift(features: int) -> TangentProjection:
            return TangentProjection(
                manifold, features, heads, self.point_shape, bias=bias, device=device, dtype=dtype
            )

        self.query, self.key = lift(dim), lift(self.kdim)
        if isinstance(self.aggregation, LinearValues):
            self.value: nn.Module = nn.Linear(self.vdim, dim, bias, device=device, dtype=dtype)
            width = dim
        else:
            self.value = lift(self.vdim)
            width = heads * self.query.size
        self.output = nn.Linear(width, dim, bias, device=device, dtype=dtype)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        is_causal: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return ``(..., N, dim)``.

        Args:
            query: ``(..., N, dim)``.
            key: ``(..., M, kdim)``; the queries by default.
            value: ``(..., M, vdim)``; the keys by default.
            mask: boolean, True for keys that take part, broadcastable to ``(..., N, M)``, or with one more
                dimension than queries and keys to ``(..., heads, N, M)``. For padded keys ``(B, M)`` give
                ``mask[:, None, :]``.
            is_causal: whether query i attends to keys up to the i-th.
            bias: added to the logits, after the division by τ; broadcastable as the mask.

        Raises:
            GeowarpError: for another number of features.
        """
        key = query if key is None else key
        value = key if value is None else value
        q, k = self.points(query, key)
        return self.attend(q, k, value, self.score, mask=mask, is_causal=is_causal, bias=bias)

    def points(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points of queries, ``(..., heads, N, *point)``, and of keys."""
        self._check("query", query, self.dim)
        self._check("key", key, self.kdim)
        return self.query(self.manifold, query), self.key(self.manifold, key)

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        value: Tensor,
        score: Score,
        *,
        mask: Tensor | None = None,
        is_causal: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return ``(..., N, dim)`` of what ``points`` gives and values ``(..., M, vdim)``, by a score."""
        self._check("value", value, self.vdim)
        ndim = self._tokens_ndim(q, k)
        attended = _attention(
            q,
            k,
            self._values(value, q),
            self.manifold,
            self.temperature.tau.to(q.dtype),
            score=score,
            aggregation=self.aggregation,
            mask=over_heads(mask, ndim),
            is_causal=is_causal,
            bias=over_heads(bias, ndim),
            method=self.method,
            score_dtype=self.score_dtype,
        )
        if isinstance(self.value, TangentProjection):
            flat = self.value.read(self.manifold, attended)
        else:
            flat = attended.movedim(-3, -2).flatten(-2)
        output: Tensor = self.output(flat.to(self.output.weight.dtype))
        return output

    def attention_weights(
        self,
        query: Tensor,
        key: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        is_causal: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return the weights ``(..., heads, N, M)``; the arguments are those of ``forward``.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> attention, x = ManifoldAttention(Euclidean(1), 4, heads=1), torch.randn(2, 4)
            >>> attention.attention_weights(x, is_causal=True)[0, 0]
            tensor([1., 0.], grad_fn=<SelectBackward0>)
        """
        q, k = self.points(query, query if key is None else key)
        return self.weights(q, k, self.score, mask=mask, is_causal=is_causal, bias=bias)

    def weights(
        self,
        q: Tensor,
        k: Tensor,
        score: Score,
        *,
        mask: Tensor | None = None,
        is_causal: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return the weights ``(..., heads, N, M)`` of what ``points`` gives, by a score."""
        ndim = self._tokens_ndim(q, k)
        weights: Tensor = _weights(
            q,
            k,
            self.manifold,
            self.temperature.tau.to(q.dtype),
            score=score,
            mask=over_heads(mask, ndim),
            is_causal=is_causal,
            bias=over_heads(bias, ndim),
            score_dtype=self.score_dtype,
        )
        return weights

    @torch.no_grad()
    def calibrate(self, query: Tensor, key: Tensor | None = None, fraction: float = 0.25) -> Tensor:
        """Set each τ_h to a fraction of the mean squared distance of queries and keys, and return them.

        More generally, to a fraction of how far the scores are below that of equal points on average. The
        logits then differ by some units, whatever the scale of the features: with τ far above the mean
        squared distance they differ by nothing, attention is uniform, and its gradient to τ, queries and
        keys vanishes with them.

        Args:
            query: ``(..., N, dim)``, a batch of what the module sees.
            key: ``(..., M, kdim)``; the queries by default.
            fraction: of the mean, positive.

        Raises:
            GeowarpError: where all points of a head are equal, or the score tells none apart.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> attention = ManifoldAttention(Euclidean(1), 4, heads=1, bias=False)
            >>> x = torch.randn(16, 4)
            >>> attention.calibrate(10 * x) / attention.calibrate(x)
            tensor([100.0000])
        """
        q, k = self.points(query, query if key is None else key)
        tau = calibrated_temperatures("ManifoldAttention", self.manifold, self.score, q, k, fraction)
        return self.temperature.set_(tau).tau.detach()

    def extra_repr(self) -> str:
        """Return the settings, for ``repr``."""
        return (
            f"dim={self.dim}, heads={self.heads}, point_shape={self.point_shape}, score={self.score!r}, "
            f"aggregation={self.aggregation!r}"
        )

    def _check_settings(self) -> None:
        dim, heads = self.dim, self.heads
        for name in ("dim", "heads", "kdim", "vdim"):
            size = getattr(self, name)
            if not isinstance(size, Integral) or size < 1:
                raise GeowarpError(f"ManifoldAttention: {name} = {size!r}; it is a whole number, at least 1")
        if dim % heads:
            raise GeowarpError(
                f"ManifoldAttention: {heads} heads do not divide dim = {dim}; take a divisor, such as "
                f"{math.gcd(dim, heads)}"
            )
        for name, value, kind in (
            ("manifold", self.manifold, "Lorentz()"),
            ("score", self.score, "SquaredDistance()"),
            ("aggregation", self.aggregation, "Centroid()"),
        ):
            if not isinstance(value, _KINDS[name]):
                raise GeowarpError(f"ManifoldAttention: the {name} is {value!r}; give one such as {kind}")

    def _tokens_ndim(self, q: Tensor, k: Tensor) -> int:
        """Return how many dimensions ``(..., N, M)`` has, without heads."""
        return max(q.ndim, k.ndim) - int(self.manifold.ndim)

    def _values(self, value: Tensor, like: Tensor) -> Tensor:
        if isinstance(self.value, TangentProjection):
            values: Tensor = self.value(self.manifold, value)
        else:
            values = self.value(value).unflatten(-1, (self.heads, -1)).movedim(-2, -3)
        return values.to(like.dtype)

    def _check(self, name: str, x: Tensor, size: int) -> None:
        if x.ndim < 2 or x.shape[-1] != size:
            raise GeowarpError(
                f"ManifoldAttention: the {name} has shape {tuple(x.shape)}; it needs (..., tokens, {size})"
            )


def _point_shape(manifold: Manifold, width: int, given: tuple[int, ...] | None) -> tuple[int, ...]:
    if given is None:
        if isinstance(manifold, ProductManifold):
            given = (manifold.n_elements,)
        elif manifold.ndim > 1:
            raise GeowarpError(
                f"ManifoldAttention: points of {manifold!r} are matrices; give their shape, such as "
                "point_shape=(4, 4)"
            )
        else:
            given = (width + isinstance(manifold, Lorentz),)[: manifold.ndim]
    shape = tuple(given)
    ok, reason = manifold._check_shape(shape, "point_shape")
    if not ok or len(shape) != manifold.ndim:
        raise GeowarpError(
            f"ManifoldAttention: {manifold!r}: {reason or f'a point has {manifold.ndim} dimensions'}, and "
            f"point_shape is {shape}"
        )
    return shape
