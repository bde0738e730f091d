"""Attention by distance on a manifold, as a function."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds.linalg.precision import autocast_off
from ...manifolds.linalg.threads import is_concrete
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

    Where the score is an inner product of vectors, up to terms of the query alone, this is one call of
    ``scaled_dot_product_attention`` on them: the squared distance of flat spaces (``Euclidean``, the
    log-Euclidean and log-Cholesky metrics, products of these), ``ChordalSquaredDistance()`` on hyperbolic
    space, Grassmann, spheres, frames and rotations, and ``Uniform()``. Other scores go block after block of
    pairs, and by the matrix of the weights where there are few pairs. Both have memory for O(N + M) numbers,
    beside a mask or a bias that is itself N x M. But means of points that are no average of vectors
    (``FrechetMean()`` of a curved space) take the weights of some queries after others, and with gradients
    keep them all.

    Gradients reach q, k, v, τ, the bias, learned constants of the manifold and parameters of a score that is
    a module. Blocks can be differentiated once. Inner products leave constants such as ``‖k‖² = 1`` out:
    their gradients are right along the manifold, after ``egrad2rgrad``, and may differ across it.

    Scores are computed in float32 or more, also under autocast and of half-precision points. With products in
    bfloat16 and τ a quarter of the mean squared distance, weights of 64 covariances 8 x 8 under the
    log-Euclidean metric were up to 7e-3 off (float32: 5e-7), and of points of the Poincaré ball 2, 4 and 6
    from its origin 1e-2, 2e-2 and 0.3 (4e-7, 5e-6 and 2e-4, which blocks avoid by double precision); of two
    clusters of vectors, 14 times as far apart as within and with τ as within, 4e-2 (1e-6).

    Args:
        q: queries, ``(..., N, *point)``.
        k: keys, ``(..., M, *point)``, of the dtype of q.
        v: values: vectors ``(..., M, d)`` for ``LinearValues()``, else points ``(..., M, *point)``.
        manifold: of geowarp or of geoopt, that queries and keys are on, and values that are points.
        tau: temperature τ, a number or a tensor that broadcasts with the batch dimensions ``...``: with heads
            in the last of them, ``(heads,)``.
        score: how well a query and a key fit, such as ``SquaredDistance()``.
        aggregation: the kind of mean, such as ``LinearValues()``, ``FrechetMean()`` or ``Centroid()``.
        mask: boolean, broadcasts with ``(..., N, M)``; True where a query may look at a key.
        is_causal: whether query i may look at the keys 0 to i alone, counted from the first of both.
        bias: added to the logits, after the division by τ; broadcasts with ``(..., N, M)``.
        method: ``Fused()``, ``Blockwise()`` or ``Reference()``; by default what suits, as above.
        score_dtype: of the scores. Half precision is for the products of the fused way alone.

    Returns:
        ``(..., N, d)`` or ``(..., N, *point)``, in the dtype of v. A query that may look at no key gets
        zeros, or the manifold's origin, with a gradient of 0.

    Raises:
        NotOnManifoldError: for points off the manifold, on the CPU; the message names the first of them.
        UnavailableError: for ``Fused()`` where there is no inner product, a manifold without the distance
            that the score takes, and the second derivative of blocks.
        GeowarpError: for points that say they are on another manifold, shapes, dtypes and batch dimensions
            that do not fit together, a mask that is not boolean, a score that is none, and τ that is not
            positive and finite.

    Warns:
        NumericalWarning: as the mean of the aggregation does.

    References:
        Gulcehre et al., Hyperbolic attention networks, ICLR (2019), for weights by distance and means on the
        manifold; Wang et al., Towards a general attention framework on gyrovector spaces for matrix
        manifolds, NeurIPS (2025); Dao, Fu, Ermon, Rudra, Ré, FlashAttention: fast and memory-efficient exact
        attention with IO-awareness, NeurIPS (2022).

    Example:
        >>> from geowarp.manifolds import PoincareBall
        >>> from geowarp.nn import Centroid
        >>> x = torch.tensor([[0.0, 0.0], [0.8, 0.0], [0.0, 0.8]])
        >>> manifold_attention(x, x, torch.eye(3), PoincareBall(), tau=4.0)
        tensor([[0.6257, 0.1872, 0.1872],
                [0.2249, 0.7517, 0.0234],
                [0.2249, 0.0234, 0.7517]])
        >>> manifold_attention(x, x, x, PoincareBall(), tau=4.0, aggregation=Centroid(), is_causal=True)
        tensor([[0.0000, 0.0000],
                [0.6528, 0.0000],
                [0.0190, 0.6109]])
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
        check_points(problem.manifold, v, "v", lightly=True, numbers=is_concrete(v))
    ndim = len(aggregation.point_shape(problem.manifold, v))
    count = v.shape[v.ndim - ndim - 1] if v.ndim > ndim else None
    if count != problem.keys:
        value = "d" if isinstance(aggregation, LinearValues) else "*point"
        raise GeowarpError(
            f"manifold_attention: v has the shape {tuple(v.shape)}; {problem.keys} keys need "
            f"(..., {problem.keys}, {value}) for {aggregation!r}"
        )
    problem.check_batch(v.shape[: v.ndim - ndim - 1])
