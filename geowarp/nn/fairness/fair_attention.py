"""Multi-head attention that gives every group of tokens the same share."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ..._geoopt import geoopt
from ...errors import GeowarpError, NonFiniteError
from ...manifolds.linalg.broadcasting import broadcast_shapes
from ...manifolds.linalg.precision import autocast_off
from ...manifolds.linalg.threads import is_concrete
from ..distance_attention.attention_module import ManifoldAttention
from ..distance_attention.scores import Score, Uniform
from .alpha import checked_alpha
from .dot_product import DotProduct, dot_product_attention
from .heights import Heights, HeightScore
from .parity import ParityMode, check_mode, group_divergences, parity_prototypes, parity_values

__all__ = ["FairAttention"]


class FairAttention(nn.Module):
    """Attention on a warped manifold, on which a query is equally far from all groups, in every head.

    The logits of an existing attention, ``s(q, k) / τ``, become ``(s(q, k) − α‖b(q) − b(k)‖²) / τ``. The
    members of the groups are given as features of tokens, which go through the projection of the keys at
    every call: parity follows training. Keys that are labelled as members of group g have ``b = P_g``, a
    vertex of a regular simplex, and a query has the b for which, over the members,

    - mode "mean": the mean of ``s − α‖b(q) − P_g‖²`` is the same for every group;
    - mode "softmax": so is the attention's mass, ``Σ_y exp((s − α‖b(q) − P_g‖²) / τ)``.

    The parity of a sequence is exact where its labelled keys are the members, and as good as these stand for
    them elsewhere. Other keys are points of the same manifold as the queries, and have the b of that point.
    With the score ``DotProduct()`` of a converted module, keys have no score with keys: theirs is b = 0, the
    value where queries without preference are. α says how far members and others are moved apart, not how
    exact parity is; as α → 0, the b grow as 1/α. With α = 0 it is the existing attention, bit for bit.

    Where the score of the existing attention is an inner product of vectors, as on Euclidean space, flat
    definite matrices, and hyperbolic space with ``ChordalSquaredDistance()``, this is one fused kernel on G
    dimensions more, and otherwise blocks of pairs with memory O(N + M). Under ``attention_off`` all is
    uniform.

    Parity of attention is no erasure: the values that are attended to are what they were.

    Args:
        attention: what it is made of, and shares its parameters with.
        groups: names of two or more groups, and the features ``(n_g, kdim)`` of their members.
        alpha: α, not negative, in units of the score.
        mode: "mean" or "softmax".

    Raises:
        GeowarpError: for one group, an empty one, another number of features, and a negative α.
        NonFiniteError: for members that are infinite or not a number.

    References:
        Vaswani et al., Attention is all you need, NeurIPS (2017). The warp is geowarp's own, inspired by CAFA
        (Riemannian geometry for fairness in attention mechanisms of language models, ICSC 2025).

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> groups = {"she": torch.randn(2, 8), "he": torch.randn(2, 8)}
        >>> fair = FairAttention(ManifoldAttention(Euclidean(1), 8, heads=2), groups, 0.5, "softmax")
        >>> x = torch.cat([torch.randn(3, 8), *groups.values()])
        >>> weights = fair.attention_weights(x, key_groups=torch.tensor([-1, -1, -1, 0, 0, 1, 1]))
        >>> torch.allclose(weights[..., 3:5].sum(-1), weights[..., 5:].sum(-1))
        True
    """

    members: Tensor
    prototypes: Tensor

    def __init__(
        self,
        attention: ManifoldAttention,
        groups: Mapping[str, Tensor],
        alpha: float,
        mode: ParityMode = "mean",
    ) -> None:
        super().__init__()
        check_mode("FairAttention", mode, 1.0)
        _check_groups(groups, attention.kdim)
        self.alpha = alpha
        self.attention, self.mode, self.batch_first = attention, mode, True
        self.names, self.sizes = tuple(groups), [len(members) for members in groups.values()]
        like = attention.output.weight
        self.register_buffer("members", torch.cat([members.detach().to(like) for members in groups.values()]))
        self.register_buffer("prototypes", self._made_prototypes(), persistent=False)
        self.training = attention.training

    @classmethod
    def from_attention(
        cls,
        existing: ManifoldAttention | nn.MultiheadAttention,
        groups: Mapping[str, Tensor],
        alpha: float,
        mode: ParityMode = "mean",
    ) -> "FairAttention":
        """Return the fair form of an attention of ours, whose parameters it shares, or of torch.

        Of ``torch.nn.MultiheadAttention`` it copies the weights: the logits are dot products then, and where
        that is not ``batch_first``, sequences are ``(N, batch, dim)`` here, too; labels are ``(batch, N)``.

        Raises:
            GeowarpError: for a module of another kind, and one with dropout or added keys.

        Example:
            >>> existing = torch.nn.MultiheadAttention(8, 2, batch_first=True)
            >>> groups, x = {"she": torch.randn(2, 8), "he": torch.randn(2, 8)}, torch.randn(3, 5, 8)
            >>> fair = FairAttention.from_attention(existing, groups, alpha=0.0)
            >>> torch.allclose(fair(x), existing(x, x, x)[0], atol=1e-6)
            True
        """
        if isinstance(existing, ManifoldAttention):
            return cls(existing, groups, alpha, mode)
        if not isinstance(existing, nn.MultiheadAttention):
            raise GeowarpError(
                f"FairAttention: {type(existing).__name__} is no attention to make fair; give a "
                "ManifoldAttention or a torch.nn.MultiheadAttention"
            )
        made = cls(dot_product_attention(existing), groups, alpha, mode)
        made.batch_first = existing.batch_first
        return made

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        query_groups: Tensor | None = None,
        key_groups: Tensor | None = None,
        mask: Tensor | None = None,
        is_causal: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return ``(..., N, dim)``.

        Args:
            query: ``(..., N, dim)``.
            key: ``(..., M, kdim)``; the queries by default.
            value: ``(..., M, vdim)``; the keys by default.
            query_groups: the numbers of the groups of queries that are members, ``(..., N)``, −1 for others;
                they keep to their group, as members do on the warped manifold. All others by default.
            key_groups: the same of keys, ``(..., M)``.
            mask: as of ``ManifoldAttention``, of which all that follow are.
            is_causal: whether query i attends to keys up to the i-th.
            bias: added to the logits, after the division by τ.

        Raises:
            GeowarpError: for another number of features, and labels that are none.
        """
        query = self._batched(query)
        key = query if key is None else self._batched(key)
        value = key if value is None else self._batched(value)
        q, k = self.attention.points(query, key)
        score = self._score(q, k, query_groups, key_groups)
        output = self.attention.attend(q, k, value, score, mask=mask, is_causal=is_causal, bias=bias)
        return output if self.batch_first else output.transpose(0, -2)

    def attention_weights(
        self,
        query: Tensor,
        key: Tensor | None = None,
        *,
        query_groups: Tensor | None = None,
        key_groups: Tensor | None = None,
        mask: Tensor | None = None,
        is_causal: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return the weights ``(..., heads, N, M)``; the arguments are those of ``forward``."""
        query = self._batched(query)
        q, k = self.attention.points(query, query if key is None else self._batched(key))
        score = self._score(q, k, query_groups, key_groups)
        return self.attention.weights(q, k, score, mask=mask, is_causal=is_causal, bias=bias)

    def calibrate(self, query: Tensor, key: Tensor | None = None, fraction: float = 0.25) -> Tensor:
        """Set and return each τ_h as ``ManifoldAttention.calibrate`` does, by the scores without the warp."""
        key = key if key is None else self._batched(key)
        return self.attention.calibrate(self._batched(query), key, fraction)

    @property
    def alpha(self) -> float:
        """α, in units of the score."""
        return self._alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        self._alpha = checked_alpha("FairAttention", value)

    def extra_repr(self) -> str:
        """Return the groups and α, for ``repr``."""
        sizes = ", ".join(f"{name}: {size}" for name, size in zip(self.names, self.sizes, strict=True))
        return f"{sizes}; alpha={self.alpha}, mode={self.mode!r}"

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(function, recurse)  # type: ignore[no-untyped-call]
        self.prototypes = self._made_prototypes()  # half precision would round them for good
        return self

    def _made_prototypes(self) -> Tensor:
        dtype = torch.promote_types(self.members.dtype, torch.float32)
        return parity_prototypes(len(self.sizes), dtype=dtype, device=self.members.device)

    def _batched(self, x: Tensor) -> Tensor:
        return x if self.batch_first else x.transpose(0, -2)

    def _score(self, q: Tensor, k: Tensor, query_groups: Tensor | None, key_groups: Tensor | None) -> Score:
        score, ndim = self.attention.score, int(self.attention.manifold.ndim)
        shapes = [points.shape[: points.ndim - ndim] for points in (q, k)]
        batch = broadcast_shapes(*(shape[:-2] for shape in shapes))
        query_groups, key_groups = (
            _checked_labels(name, labels, (*batch, shape[-1]), len(self.sizes))
            for name, labels, shape in zip(("query", "key"), (query_groups, key_groups), shapes, strict=True)
        )
        if self.alpha == 0 or isinstance(score, Uniform):
            return score
        with autocast_off(q):
            prototypes = self.prototypes.to(q.dtype)
            members = self.attention.key(self.attention.manifold, self.members).to(q.dtype)
            first = _labelled(self._potential(q, members), query_groups, prototypes)
            of_keys = self._zero(k) if isinstance(score, DotProduct) else self._potential(k, members)
            second = _labelled(of_keys, key_groups, prototypes)
        return _GivenHeights(score, Heights(first, second, self.alpha))

    def _potential(self, x: Tensor, members: Tensor) -> Tensor:
        """Return the b of points ``(..., heads, N, *point)``, ``(..., heads, N, G − 1)``."""
        tau = self.attention.temperature.tau.to(x.dtype)[:, None, None]
        scores = self.attention.score.logits(self.attention.manifold, x, members) / tau
        divergences = tau * group_divergences(scores.split(self.sizes, -1), self.mode, 1.0)
        return parity_values(divergences, self.alpha, self.prototypes.to(x.dtype))

    def _zero(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[: x.ndim - int(self.attention.manifold.ndim)], len(self.sizes) - 1)


class _GivenHeights(HeightScore):
    """A score less the squared differences of heights that are known."""

    def __init__(self, score: Score, heights: Heights) -> None:
        self.score, self._heights = score, heights

    def heights(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Heights:
        return self._heights

    def rows(self, start: int, stop: int) -> Score:
        part = self._heights._replace(query=self._heights.query[..., start:stop, :])
        return _GivenHeights(self.score.rows(start, stop), part)


def _labelled(values: Tensor, labels: Tensor | None, prototypes: Tensor) -> Tensor:
    """Return values ``(..., heads, N, K)`` with those of their group in place of those of members."""
    if labels is None:
        return values
    labels = labels.unsqueeze(-2)
    return torch.where((labels >= 0)[..., None], prototypes[labels.clamp_min(0)], values)


def _check_groups(groups: Mapping[str, Tensor], features: int) -> None:
    if not isinstance(groups, Mapping):
        raise GeowarpError(f"FairAttention: groups is a {type(groups).__name__}; give {{name: members}}")
    if len(groups) < 2:
        raise GeowarpError(f"FairAttention: groups = {list(groups)}; parity needs two or more")
    for name, members in groups.items():
        if not isinstance(members, Tensor):
            raise GeowarpError(
                f"FairAttention: the members of {name!r} are no tensor; give features (n, dim)"
            )
        if members.ndim != 2 or members.shape[1] != features or members.shape[0] < 1:
            raise GeowarpError(
                f"FairAttention: the members of {name!r} are {tuple(members.shape)}; features of one or more "
                f"keys are (n, {features})"
            )
        if is_concrete(members) and not bool(members.isfinite().all()):
            raise NonFiniteError(f"FairAttention: a member of {name!r} is infinite or not a number")


def _checked_labels(name: str, labels: Any, shape: tuple[int, ...], groups: int) -> Tensor | None:
    """Return labels that broadcast to ``(..., N)`` as indices, after checks."""
    if labels is None:
        return None
    kind = f"{tuple(labels.shape)} of {labels.dtype}" if isinstance(labels, Tensor) else f"{labels!r}"
    if not isinstance(labels, Tensor) or not _are_integers(labels) or not _broadcasts(labels.shape, shape):
        raise GeowarpError(
            f"FairAttention: {name}_groups is {kind}; it needs a tensor of integers {shape}, one "
            f"for each {name}"
        )
    if labels.numel() and is_concrete(labels) and not torch.compiler.is_compiling():
        smallest, largest = (int(bound) for bound in labels.aminmax())
        if not -1 <= smallest <= largest < groups:
            raise GeowarpError(
                f"FairAttention: {name}_groups has numbers from {smallest} to {largest}; {groups} groups "
                f"have 0 to {groups - 1}, and −1 is none"
            )
    return labels.long()


def _are_integers(labels: Tensor) -> bool:
    return not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)


def _broadcasts(labels: torch.Size, shape: tuple[int, ...]) -> bool:
    """Return whether the batch of labels ``(..., N)`` broadcasts to that of a shape, and N is the same."""
    missing = len(shape) - len(labels)
    if missing < 0 or labels[-1:] != shape[-1:]:
        return False
    return all(a in (1, b) for a, b in zip(labels, shape[missing:], strict=True))
