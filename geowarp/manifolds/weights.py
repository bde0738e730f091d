"""The weights of the points of a mean or a median."""

from typing import Any

import torch
from torch import Tensor

from ..errors import GeowarpError, NonFiniteError
from .linalg.broadcasting import broadcast_shapes

__all__ = ["normalized_weights"]


def normalized_weights(x: Tensor, weights: Tensor | None, ndim: int) -> Tensor:
    """Return weights ``(..., N)`` with sum 1 for the points ``(..., N, *point)``, after checking both.

    Args:
        x: ``(..., N, *point)``.
        weights: nonnegative, ``(..., N)``; batch dimensions broadcast with those of x. Equal by default.
        ndim: of a point.

    Raises:
        GeowarpError: for no points, another number of weights, shapes that do not broadcast, and weights that
            are negative or sum to 0. The message names the first set of weights.
        NonFiniteError: for points or weights that are infinite or not a number.

    Example:
        >>> normalized_weights(torch.zeros(2, 3), torch.tensor([1.0, 3.0]), ndim=1)
        tensor([0.2500, 0.7500])
    """
    if x.ndim <= ndim or x.shape[x.ndim - ndim - 1] == 0:
        raise GeowarpError(f"mean: the points have shape {tuple(x.shape)}; it needs (..., N, *point), N > 0")
    count = x.shape[x.ndim - ndim - 1]
    if weights is None:
        if not bool(x.isfinite().all()):
            _raise_points(x, ndim)
        return x.new_full((count,), 1 / count)
    _check_shape(x, weights, ndim)
    weights = weights.to(torch.promote_types(weights.dtype, x.dtype))
    total = weights.sum(-1, keepdim=True)
    good = x.isfinite().all() & (weights >= 0).all() & ((total > 0) & total.isfinite()).all()
    if not bool(good):
        _raise_points(x, ndim)
        _raise_weights(weights, total.squeeze(-1))
    return (weights / total).to(x.dtype)


def _check_shape(x: Tensor, weights: Any, ndim: int) -> None:
    if not isinstance(weights, Tensor):
        raise GeowarpError(f"mean: weights is a {type(weights).__name__}, neither a tensor nor an array")
    if weights.is_complex():
        raise GeowarpError(f"mean: the weights have the dtype {weights.dtype}; they must be real")
    batch, count = tuple(x.shape[: x.ndim - ndim - 1]), x.shape[x.ndim - ndim - 1]
    shape = tuple(weights.shape)
    if weights.ndim == 0 or shape[-1] != count:
        raise GeowarpError(f"mean: the weights have shape {shape}; {count} points need (..., {count})")
    try:
        broadcast_shapes(batch, shape[:-1])
    except RuntimeError as error:
        raise GeowarpError(
            f"mean: the weights have shape {shape}, which does not broadcast with {(*batch, count)} points"
        ) from error


def _raise_points(x: Tensor, ndim: int) -> None:
    finite = x.isfinite().flatten(x.ndim - ndim).all(-1) if ndim else x.isfinite()
    if not bool(finite.all()):
        raise NonFiniteError(
            f"mean: {int((~x.isfinite()).sum())} entries of the points are not finite; "
            f"the first are those of x{_first(~finite)}"
        )


def _raise_weights(weights: Tensor, total: Tensor) -> None:
    infinite = ~weights.isfinite()
    if bool(infinite.any()):
        raise NonFiniteError(
            f"mean: {int(infinite.sum())} weights are not finite; the first is weights{_first(infinite)}"
        )
    if bool((weights < 0).any()):
        first = weights[weights < 0][0].item()
        raise GeowarpError(
            f"mean: weights{_first(weights < 0)} is {first:.1e}; none may be negative, and "
            f"{int((weights < 0).sum())} of {weights.numel()} are"
        )
    wrong = ~((total > 0) & total.isfinite())
    which = f"weights{_first(wrong)}" if wrong.ndim else "the weights"
    raise GeowarpError(
        f"mean: {which} sum to {total[wrong][0].item():.1e}; weigh some point of each problem "
        f"({int(wrong.sum())} of {wrong.numel()} sets of weights)"
    )


def _first(wrong: Tensor) -> str:
    index = wrong.nonzero()[0].tolist()
    return f"[{', '.join(map(str, index))}]" if index else ""
