"""Views of the same samples: what a user gives, as tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import GeowarpError, NonFiniteError

__all__ = ["check_fit_shapes", "check_views"]

_RANKS = {2: "(N, d) vectors", 3: "(N, h, w) images", 4: "(N, c, h, w) images"}


def check_views(views: object) -> list[Tensor]:
    """Return views as tensors ``(N, d)``, ``(N, h, w)`` or ``(N, c, h, w)``, each of its dtype and device.

    Args:
        views: a list or tuple of arrays, tensors or what ``numpy.asarray`` takes, one for each view, of real
            numbers; all have the same N samples in the same order.

    Raises:
        GeowarpError: where there are fewer than two views, one is missing, is not of real numbers or has
            another number of dimensions, or where the views differ in their number of samples.
        NonFiniteError: where an entry is infinite or not a number.

    Example:
        >>> import numpy as np
        >>> vectors, images = check_views([np.zeros((5, 3)), np.zeros((5, 8, 8), dtype=np.uint8)])
        >>> vectors.dtype, images.dtype, images.shape
        (torch.float64, torch.uint8, torch.Size([5, 8, 8]))
        >>> check_views([np.zeros((5, 3)), np.zeros((4, 3))])
        Traceback (most recent call last):
            ...
        geowarp.errors.GeowarpError: view 1 has 4 samples and view 0 has 5; every sample needs all views: \
drop the samples that a view lacks, or impute them
    """
    tensors = [_to_tensor(index, view) for index, view in enumerate(_listed(views))]
    for index, tensor in enumerate(tensors):
        _check_shape(index, tensor)
    samples = tensors[0].shape[0]
    for index, tensor in enumerate(tensors):
        if tensor.shape[0] != samples:
            raise GeowarpError(
                f"view {index} has {tensor.shape[0]} samples and view 0 has {samples}; every sample needs "
                "all views: drop the samples that a view lacks, or impute them"
            )
        _check_finite(index, tensor)
    return tensors


def check_fit_shapes(views: Sequence[Tensor], view_shapes: Sequence[tuple[int, ...]]) -> None:
    """Check that views are shaped as those of ``fit``, without the samples.

    Raises:
        GeowarpError: where their number or a shape differs.

    Example:
        >>> check_fit_shapes([torch.zeros(5, 3), torch.zeros(5, 8, 8)], [(3,), (8, 8)])
        >>> check_fit_shapes([torch.zeros(5, 3), torch.zeros(5, 8, 9)], [(3,), (8, 8)])
        Traceback (most recent call last):
            ...
        geowarp.errors.GeowarpError: the samples of view 1 have the shape (8, 9), and those of fit had (8, 8)
    """
    if len(views) != len(view_shapes):
        raise GeowarpError(
            f"there are {len(views)} views, and fit had {len(view_shapes)}; pass the same views"
        )
    for index, (view, shape) in enumerate(zip(views, view_shapes, strict=True)):
        if tuple(view.shape[1:]) != tuple(shape):
            raise GeowarpError(
                f"the samples of view {index} have the shape {tuple(view.shape[1:])}, and those of fit had "
                f"{tuple(shape)}"
            )


def _listed(views: object) -> Sequence[object]:
    if isinstance(views, np.ndarray | Tensor):
        raise GeowarpError(
            f"views is one array of shape {tuple(views.shape)}; pass a list with one array for each view, "
            "list(views) where its first dimension counts the views"
        )
    if not isinstance(views, list | tuple):
        raise GeowarpError(
            f"views is a {type(views).__name__}; pass a list with one array for each view, in the same order "
            "in every call"
        )
    if len(views) < 2:
        raise GeowarpError(
            f"the list has {len(views)} views, and views are compared with each other: pass at least 2"
        )
    return views


def _to_tensor(index: int, view: object) -> Tensor:
    if view is None:
        raise GeowarpError(
            f"view {index} is missing (None); every sample needs all views: leave the view out of the list "
            "in fit and predict, or impute it"
        )
    if not isinstance(view, Tensor):
        return _from_array(index, view)
    if view.layout is not torch.strided:
        raise GeowarpError(f"view {index} is a sparse tensor; pass its dense form, .to_dense()")
    if view.is_complex():
        raise GeowarpError(f"view {index} has the dtype {view.dtype}; pass real numbers")
    return view.detach()


def _from_array(index: int, view: Any) -> Tensor:
    if np.ma.is_masked(view):
        masked = int(np.ma.getmaskarray(view).sum())
        raise GeowarpError(
            f"view {index} has {masked} masked entries; impute them, .filled(...), or drop their samples"
        )
    try:
        array: NDArray[Any] = np.asarray(view)
    except (TypeError, ValueError) as error:
        raise GeowarpError(f"view {index} is no array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise GeowarpError(
            f"view {index} is a {type(view).__name__} with the dtype {array.dtype}; pass a dense array of "
            "real numbers, .astype(float), and .toarray() where it is sparse"
        )
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.require(native, requirements=["C", "W"]))  # it has no negative strides


def _check_shape(index: int, view: Tensor) -> None:
    if view.ndim not in _RANKS:
        raise GeowarpError(
            f"view {index} has {view.ndim} dimensions, shape {tuple(view.shape)}; a view is one of "
            f"{', '.join(_RANKS.values())}"
        )
    if view.numel() == 0:
        raise GeowarpError(
            f"view {index} is empty, shape {tuple(view.shape)}; pass at least one sample and feature"
        )


def _check_finite(index: int, view: Tensor) -> None:
    if not view.is_floating_point():
        return
    samples = view.isfinite().flatten(1).logical_not().sum(1)
    if samples.any():
        raise NonFiniteError(
            f"view {index} has {int(samples.sum())} entries that are infinite or not a number, the first in "
            f"sample {int(samples.nonzero()[0])}; impute them, or drop their samples in all views"
        )
