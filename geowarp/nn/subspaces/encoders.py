"""Encoders from a sample of a view to a matrix whose columns span its subspace."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import GeowarpError

__all__ = ["PLACES", "ImageEncoder", "VectorEncoder", "make_encoder"]

_GRID = 7
PLACES = _GRID**2
"""How many columns the matrix of an image has."""
_HALVED = 2 * _GRID - 1  # sides from here on have as many places after the maximum of each two


class ImageEncoder(nn.Module):
    """Images ``(B, c, h, w)`` or ``(B, h, w)`` to ``(B, rows, 49)``: the features of 7 x 7 places.

    Two convolutions of 3 x 3, each followed by the maximum of 2 x 2 and ReLU, and the average of what lies in
    each place. A column is the feature vector of one place, a row one channel at all places. A side that the
    maximum would leave less than 7 pixels keeps its length; one of fewer pixels repeats them.

    Args:
        channels: c; 1 for images without that dimension.
        rows: the number of features.
        hidden: the number of channels between the convolutions.

    Example:
        >>> ImageEncoder(1, 32)(torch.zeros(5, 32, 32)).shape
        torch.Size([5, 32, 49])
    """

    def __init__(self, channels: int, rows: int, hidden: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, rows, 3, padding=1)
        for layer in (self.first, self.second):  # a third of the time on a CPU
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        x = x.unsqueeze(1) if x.ndim == 3 else x
        for layer in (self.first, self.second):
            x = F.relu(_halve(layer(x)))
        return F.adaptive_avg_pool2d(x, _GRID).flatten(2)


def _halve(x: Tensor) -> Tensor:
    """Return the maximum of each two pixels along the sides that are long enough."""
    size = [2 if side >= _HALVED else 1 for side in x.shape[-2:]]
    return F.max_pool2d(x, size, ceil_mode=True) if max(size) > 1 else x


class VectorEncoder(nn.Module):
    """Vectors ``(B, d)`` to ``(B, rows, columns)``, by a perceptron with two hidden layers.

    Args:
        features: d.
        rows: the size of the vectors that span the subspace.
        columns: how many they are.
        hidden: the size of the hidden layers.

    Example:
        >>> VectorEncoder(6, 32, 8)(torch.zeros(5, 6)).shape
        torch.Size([5, 32, 8])
    """

    def __init__(self, features: int, rows: int, columns: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, rows * columns),
            nn.Unflatten(1, (rows, columns)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the matrices."""
        matrices: Tensor = self.layers(x)
        return matrices


def make_encoder(shape: tuple[int, ...], rows: int, columns: int) -> nn.Module:
    """Return the encoder for samples of a shape: ``(d,)``, ``(h, w)`` or ``(c, h, w)``.

    Images of fewer pixels than ``columns`` are encoded as vectors: their places span too little.

    Args:
        shape: of a sample.
        rows: the size of the vectors that span the subspace.
        columns: how many they are, for vectors; other images have 49.

    Raises:
        GeowarpError: for another number of dimensions, or one of size 0.

    Example:
        >>> make_encoder((3, 32, 32), 16, 8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 16, 49])
    """
    if not 1 <= len(shape) <= 3 or math.prod(shape) == 0:
        raise GeowarpError(
            f"a sample has the shape {tuple(shape)}; vectors (d,) and images (h, w) or (c, h, w) are encoded"
        )
    if len(shape) == 1:
        return VectorEncoder(shape[0], rows, columns)
    if math.prod(shape[-2:]) < columns:
        return nn.Sequential(nn.Flatten(), VectorEncoder(math.prod(shape), rows, columns))
    return ImageEncoder(shape[0] if len(shape) == 3 else 1, rows)
