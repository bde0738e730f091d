"""The views of a batch, stacked."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import GeowarpError

__all__ = ["stack_views"]


def stack_views(name: str, views: Tensor | Sequence[Tensor], sample: str) -> Tensor:
    """Return the views as one tensor ``(V, B, *sample)``.

    Args:
        name: of the caller, for the message.
        views: that tensor, or one tensor ``(B, *sample)`` for each view.
        sample: the dimensions of a sample in words, such as ``"n, k"``.

    Raises:
        GeowarpError: for fewer than two views, views of different shapes or dtypes, and tensors that have
            another number of dimensions or are not floating-point.

    Example:
        >>> stack_views("loss", [torch.zeros(4, 3, 2), torch.zeros(4, 3, 2)], "n, k").shape
        torch.Size([2, 4, 3, 2])
        >>> stack_views("loss", [torch.zeros(4, 3, 2), torch.zeros(5, 3, 2)], "n, k")
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: loss: the views have the shapes (4, 3, 2) and (5, 3, 2); ...
    """
    dims = 2 + len(sample.split(","))
    whole = views if isinstance(views, Tensor) else _stack(name, list(views))
    if whole.ndim != dims:
        raise GeowarpError(
            f"{name}: the views have the shape {tuple(whole.shape)}; they need (V, B, {sample})"
        )
    if whole.shape[0] < 2:
        raise GeowarpError(f"{name}: there are {whole.shape[0]} views; the loss compares at least 2")
    if not whole.is_floating_point():
        raise GeowarpError(
            f"{name}: the views have the dtype {whole.dtype}; convert them, .to(torch.float32)"
        )
    return whole


def _stack(name: str, views: list[Tensor]) -> Tensor:
    if len(views) < 2:
        raise GeowarpError(f"{name}: there are {len(views)} views; the loss compares at least 2")
    first = views[0]
    for view in views:
        if not isinstance(view, Tensor):
            raise GeowarpError(f"{name}: a view is a {type(view).__name__}; it must be a tensor")
        if view.shape != first.shape:
            raise GeowarpError(
                f"{name}: the views have the shapes {tuple(first.shape)} and {tuple(view.shape)}; "
                "they need one shape, a row of each view for each sample"
            )
        if view.dtype != first.dtype or view.device != first.device:
            raise GeowarpError(
                f"{name}: the views are {first.dtype} on {first.device} and {view.dtype} on {view.device}; "
                "convert one of them"
            )
    return torch.stack(views)
