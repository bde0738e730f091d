"""What an attention is asked for: queries, keys, how they fit together, and who may look where."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds import Manifold
from ...manifolds.linalg.broadcasting import broadcast_shapes
from ...manifolds.linalg.threads import is_concrete
from ...metrics.validation import check_pair
from .scores import Features, Score
from .visibility import Visibility

__all__ = ["Problem", "attention_problem"]

_HALF = (torch.float16, torch.bfloat16)


class Problem(NamedTuple):
    """Queries ``(..., N, *point)`` and keys ``(..., M, *point)`` in the dtype of the scores.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import SquaredDistance
        >>> attention_problem(torch.eye(3), torch.eye(3)[:2], Sphere(), 1.0, SquaredDistance()).logits()
        tensor([[-0.0000, -2.4674],
                [-2.4674, -0.0000],
                [-2.4674, -2.4674]])
    """

    manifold: geoopt.Manifold
    score: Score
    query: Tensor
    key: Tensor
    scale: Tensor
    """``1/τ``, ``(..., 1, 1)``."""
    visibility: Visibility

    @property
    def queries(self) -> int:
        """N."""
        return int(self.query.shape[self.query.ndim - self.manifold.ndim - 1])

    @property
    def keys(self) -> int:
        """M."""
        return int(self.key.shape[self.key.ndim - self.manifold.ndim - 1])

    def batch(self, *others: torch.Size) -> torch.Size:
        """Return the batch dimensions of everything, and of others."""
        ndim = self.manifold.ndim + 1
        sets = (points.shape[: points.ndim - ndim] for points in (self.query, self.key))
        return broadcast_shapes(*sets, self.scale.shape[:-2], *self.visibility.batch(), *others)

    def check_batch(self, *others: torch.Size) -> None:
        """Raise where the batch dimensions of everything, and of others, do not broadcast."""
        try:
            self.batch(*others)
        except RuntimeError as error:
            raise GeowarpError(
                f"manifold_attention: the batch dimensions do not broadcast: {error}"
            ) from error

    def logits(self) -> Tensor:
        """Return the score divided by τ, with the bias and −∞ where a query may not look, ``(..., N, M)``."""
        return self.visibility.apply(self.score.logits(self.manifold, self.query, self.key) * self.scale)

    def features(self) -> Features | None:
        """Return the vectors of queries and keys whose products are the score, if there are any.

        Keys that no query may look at have the vector of one that some may: wherever they are, far away
        perhaps, they take no digits from the others.
        """
        return self.score.features(self.manifold, self.query, self._visible_keys())

    def _visible_keys(self) -> Tensor:
        mask, ndim = self.visibility.mask, int(self.manifold.ndim)
        if mask is None or mask.shape[-2:] != (1, self.keys) or not self.keys:
            return self.key
        seen = mask.squeeze(-2).reshape(*mask.shape[:-2], self.keys, *(1,) * ndim)
        key = self.key[(None,) * max(0, seen.ndim - self.key.ndim)]
        place = seen.to(torch.uint8).argmax(-ndim - 1, keepdim=True)[(None,) * max(0, key.ndim - seen.ndim)]
        return torch.where(seen, key, key.detach().take_along_dim(place, -ndim - 1))

    def rows(self, start: int, stop: int) -> "Problem":
        """Return the problem of some of the queries, without the causal order, which is then in the mask."""
        mask, _, bias = self.visibility
        order = self.visibility.allowed(self.queries, self.keys, self.query.device)
        mask = order if self.visibility.is_causal else mask
        part = Visibility(_rows(mask, start, stop), False, _rows(bias, start, stop))
        query = self.query.narrow(self.query.ndim - self.manifold.ndim - 1, start, stop - start)
        return self._replace(score=self.score.rows(start, stop), query=query, visibility=part)


def _rows(tensor: Tensor | None, start: int, stop: int) -> Tensor | None:
    return tensor if tensor is None or tensor.shape[-2] == 1 else tensor[..., start:stop, :]


def attention_problem(
    q: Tensor,
    k: Tensor,
    manifold: geoopt.Manifold,
    tau: Tensor | float,
    score: Score,
    *,
    mask: Tensor | None = None,
    is_causal: bool = False,
    bias: Tensor | None = None,
    score_dtype: torch.dtype | None = None,
) -> Problem:
    """Return the problem after checking what it is made of; arguments are those of ``manifold_attention``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import Distance
        >>> attention_problem(torch.eye(2), torch.eye(2), Sphere(), -1.0, Distance())
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: manifold_attention: tau is -1.0; it must be positive and finite...
    """
    if not isinstance(score, Score):
        raise GeowarpError(f"manifold_attention: the score {score!r} is no Score; such are SquaredDistance()")
    _check_kinds(manifold, q, k)
    numbers = isinstance(q, Tensor) and is_concrete(q)
    check_pair(manifold, q, k, ("q", "k"), lightly=True, numbers=numbers)
    for name, points in (("q", q), ("k", k)):
        if points.ndim <= manifold.ndim:
            raise GeowarpError(
                f"manifold_attention: {name} has the shape {tuple(points.shape)}; it needs (..., tokens, "
                f"*point), and a point of {manifold!r} has {manifold.ndim} dimensions"
            )
    if score_dtype is not None and not score_dtype.is_floating_point:
        raise GeowarpError(
            f"manifold_attention: score_dtype = {score_dtype}; it must be a floating-point dtype"
        )
    dtype = score_dtype or (torch.float32 if q.dtype in _HALF else q.dtype)
    compute = torch.float32 if dtype in _HALF else dtype
    scale = _inverse_temperature(tau, q.new_empty((), dtype=compute))
    problem = Problem(manifold, score, q.to(compute), k.to(compute), scale, Visibility(mask, is_causal, bias))
    _check_visibility(problem)
    if bias is not None:
        problem = problem._replace(visibility=Visibility(mask, is_causal, bias.to(compute)))
    return problem


def _check_kinds(manifold: geoopt.Manifold, *points: Any) -> None:
    for name, x in zip("qk", points, strict=True):
        other = getattr(x, "manifold", None)
        if other is not None and isinstance(manifold, geoopt.Manifold) and not _alike(manifold, other):
            raise GeowarpError(
                f"manifold_attention: {name} is on {other!r}, and the attention on {manifold!r}; "
                "map the points there, or attend on their manifold"
            )


def _alike(manifold: geoopt.Manifold, other: Any) -> bool:
    """Return whether two manifolds are equal; those of geoopt are compared by kind and constants."""
    if manifold == other or isinstance(manifold, Manifold) or type(manifold) is not type(other):
        return bool(manifold == other)
    pairs = zip(manifold.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


def _inverse_temperature(tau: Tensor | float, like: Tensor) -> Tensor:
    value = torch.as_tensor(tau, dtype=like.dtype)
    inverse = 1 / value
    if is_concrete(value):
        wrong = ~((inverse > 0) & inverse.isfinite())
        if bool(wrong.any()):
            first = tau if isinstance(tau, int | float) else value[wrong][0].item()
            raise GeowarpError(
                f"manifold_attention: tau is {first}; it must be positive and finite, and so must 1/τ, in "
                f"{like.dtype}"
            )
    return inverse.to(like.device)[..., None, None]


def _check_visibility(problem: Problem) -> None:
    expected = (problem.queries, problem.keys)
    mask, _, bias = problem.visibility
    if mask is not None and mask.dtype != torch.bool:
        raise GeowarpError(
            f"manifold_attention: the mask has the dtype {mask.dtype}; it must be bool, True "
            "where a query may look; what is added to the logits is the bias"
        )
    if bias is not None and bias.dtype == torch.bool:
        raise GeowarpError(
            "manifold_attention: the bias has the dtype torch.bool; it is added to the logits, and where a "
            "query may look is the mask"
        )
    for name, tensor in (("mask", mask), ("bias", bias)):
        if tensor is None:
            continue
        shape = tuple(tensor.shape)
        fits = tensor.ndim >= 2 and all(a in (1, b) for a, b in zip(shape[-2:], expected, strict=True))
        if not fits:
            raise GeowarpError(
                f"manifold_attention: the {name} has the shape {shape}; {expected[0]} queries and "
                f"{expected[1]} keys need (..., {expected[0]} or 1, {expected[1]} or 1)"
            )
    problem.check_batch()
