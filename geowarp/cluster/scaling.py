"""Standardisation of a view, with the statistics of the views that were fitted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import GeowarpError, NonFiniteError

__all__ = ["ViewScaling", "fit_scaling", "scale_views"]

_ENTRIES = 2**22  # of a block that is held in double precision


@dataclass(frozen=True, eq=False)
class ViewScaling:
    """The map ``x -> (x − shift) · factor`` of a view, from any dtype to float32.

    Args:
        shift: float64, ``(d,)`` for vectors, ``()`` for images.
        factor: like the shift; 0 for a feature that was constant, which then is 0 in every sample.

    Example:
        >>> scaling = ViewScaling(torch.tensor([1.0, 5.0]).double(), torch.tensor([0.5, 0.0]).double())
        >>> scaling(torch.tensor([[3, 5], [1, 7]]))
        tensor([[1., 0.],
                [0., 0.]])
    """

    shift: Tensor
    factor: Tensor

    def __call__(self, view: Tensor, name: str = "view") -> Tensor:
        """Return the scaled view, float32, on its device; ``name`` is for the message.

        Raises:
            NonFiniteError: where an entry is too large for float32.
        """
        shift, factor = self.shift.to(view.device), self.factor.to(view.device)
        scaled = torch.cat([((block - shift) * factor).float() for block in _blocks(view)])
        if not scaled.isfinite().all():
            sample = int(scaled.isfinite().flatten(1).all(1).logical_not().nonzero()[0])
            raise NonFiniteError(
                f"{name}: sample {sample} is too far from the fitted ones for float32; drop it, or scale it"
            )
        return scaled


def fit_scaling(view: Tensor, name: str = "view") -> ViewScaling:
    """Return the scaling to mean 0 and variance 1, by feature for vectors ``(N, d)``, as a whole for images.

    Raises:
        GeowarpError: where the whole view is constant.

    Example:
        >>> view = torch.tensor([[1.0, 10.0, 7.0], [3.0, 30.0, 7.0]])
        >>> fit_scaling(view)(view)
        tensor([[-1., -1.,  0.],
                [ 1.,  1.,  0.]])
    """
    over = (0,) if view.ndim == 2 else tuple(range(view.ndim))
    count = view.shape[0] if view.ndim == 2 else view.numel()

    def mean(function: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.stack([function(block).sum(over) for block in _blocks(view)]).sum(0) / count

    largest = torch.stack([block.abs().amax(over) for block in _blocks(view)]).amax(0)
    peak = largest.where(
        largest > 0, 1.0
    )  # divided by it, a constant feature is ±1 and its variance exactly 0
    centre = mean(lambda x: x / peak)
    deviation = mean(lambda x: (x / peak - centre).square()).sqrt()
    factor = 1 / (peak * deviation)
    factor = factor.where(factor.isfinite(), 0.0)
    if not factor.any():
        raise GeowarpError(
            f"{name} is constant, shape {tuple(view.shape)}, so it tells no samples apart; leave it out"
        )
    return ViewScaling((peak * centre).cpu(), factor.cpu())


def scale_views(scalings: Sequence[ViewScaling], views: Sequence[Tensor]) -> list[Tensor]:
    """Return each view by its scaling.

    Raises:
        NonFiniteError: where an entry is too large for float32, with the number of the view.

    Example:
        >>> scaling = ViewScaling(torch.ones(1).double(), torch.ones(1).double())
        >>> scale_views([scaling, scaling], [torch.tensor([[1.0]]), torch.tensor([[3.0]])])
        [tensor([[0.]]), tensor([[2.]])]
    """
    pairs = enumerate(zip(scalings, views, strict=True))
    return [scaling(view, f"view {index}") for index, (scaling, view) in pairs]


def _blocks(view: Tensor) -> Iterator[Tensor]:
    """Yield the samples in double precision, some at a time."""
    size = max(1, _ENTRIES // view[0].numel())
    for block in view.split(size):
        yield block.double()
