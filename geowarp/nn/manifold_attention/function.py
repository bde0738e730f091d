"""Attention by distance on a manifold, as a function."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds.linalg.precision import autocast_off
from ...metrics.validation import check_points
from .aggregation import Aggregation, LinearValues
from .fused import fused_average
from .methods import Method, choose_method
from .problem import Problem, attention_problem
from .reference import weights_of
from .scores import Score, SquaredDistance

__all__ = ["manifold_attention", "manifold_attention_weights"]

_SCORE = SquaredDistance()
_LINEAR = LinearValues()
_PAIRS = 1 << 22  # of weights at once, where the mean on the manifold needs the weights themselves


def manifold_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    manifold: geoopt.Manifold,
    tau: Tensor | float = 1.0,
    *,
    score: Score = _SCORE,
    aggregation: Aggregation = _LINEAR,
    mask: Tensor | None = None,
    is_causal: bool = False,
    bias: Tensor | None = None,
    method: Method | None = None,
    score_dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the means of values, weighted by how near their keys are to a query.

    ``w_ij = softmax_j(score(q_i, k_j) / τ + bias_ij)``, by default ``∝ exp(−d(q_i, k_j)² / τ)``, and query i
    gets the mean of the ``v_j`` with these weights.
    """
    with autocast_off(q):
        problem = attention_problem(
            q, k, manifold, tau, score, mask=mask, is_causal=is_causal, bias=bias, score_dtype=score_dtype
        )
        _check_values(problem, v, aggregation)
        values = aggregation.encode(manifold, v.to(problem.query.dtype))
        if values is None:
            return _by_weights(problem, v.to(problem.query.dtype), aggregation).to(v.dtype)
        average = _average(problem, values, method, score_dtype or problem.query.dtype)
        shape = aggregation.point_shape(manifold, v)
        return aggregation.decode(manifold, average.to(values.dtype), shape).to(v.dtype)


def _average(problem: Problem, values: Tensor, method: Method | None, dtype: torch.dtype) -> Tensor:
    if method is not None:
        return method.average(problem, values, dtype)
    features = problem.features()
    if features is not None:
        return fused_average(problem, features, values, dtype)
    return choose_method(problem).average(problem, values, dtype)


def _by_weights(problem: Problem, v: Tensor, aggregation: Aggregation) -> Tensor:
    """Return means that need the weights themselves, for some queries after others where they are many."""
    each = max(1, _PAIRS // max(1, problem.batch().numel() * problem.keys))
    starts = range(0, max(1, problem.queries), each)
    parts = [problem if len(starts) == 1 else problem.rows(i, min(i + each, problem.queries)) for i in starts]
    means = [aggregation.average(problem.manifold, v, weights_of(part)) for part in parts]
    return torch.cat(means, -problem.manifold.ndim - 1) if len(means) > 1 else means[0]


def manifold_attention_weights(
    q: Tensor,
    k: Tensor,
    manifold: geoopt.Manifold,
    tau: Tensor | float = 1.0,
    *,
    score: Score = _SCORE,
    mask: Tensor | None = None,
    is_causal: bool = False,
    bias: Tensor | None = None,
    score_dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the weights ``(..., N, M)`` of ``manifold_attention``, to look at: rows with sum 1, or of zeros.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> manifold_attention_weights(torch.eye(2), torch.eye(2), Sphere(), tau=2.0)
        tensor([[0.7745, 0.2255],
                [0.2255, 0.7745]])
    """
    with autocast_off(q):
        problem = attention_problem(
            q, k, manifold, tau, score, mask=mask, is_causal=is_causal, bias=bias, score_dtype=score_dtype
        )
        return weights_of(problem)


def _check_values(problem: Problem, v: Tensor, aggregation: Aggregation) -> None:
    if not (isinstance(v, Tensor) and v.is_floating_point()):
        kind = f"dtype {v.dtype}" if isinstance(v, Tensor) else f"kind {type(v).__name__}"
        raise GeowarpError(f"manifold_attention: v has the {kind}; it must be a floating-point tensor")
    if not isinstance(aggregation, LinearValues):
        check_points(problem.manifold, v, "v", lightly=True)
    ndim = len(aggregation.point_shape(problem.manifold, v))
    count = v.shape[v.ndim - ndim - 1] if v.ndim > ndim else None
    if count != problem.keys:
        value = "d" if isinstance(aggregation, LinearValues) else "*point"
        raise GeowarpError(
            f"manifold_attention: v has the shape {tuple(v.shape)}; {problem.keys} keys need "
            f"(..., {problem.keys}, {value}) for {aggregation!r}"
        )
    problem.check_batch(v.shape[: v.ndim - ndim - 1])
