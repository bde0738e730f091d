"""The vectors of all components of a product, one after another."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import ProductManifold
from .encoding import Encoding

__all__ = ["Choice", "Components", "product_encoding"]

Choice = Callable[[geoopt.Manifold, tuple[int, ...]], Encoding | None]
"""What encodes points of a manifold, of a shape, if anything does."""


@dataclass(frozen=True)
class Components(Encoding):
    """The concatenated vectors of the components of a product, one encoding for each.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> from geowarp.nn.distance_attention.encoding import Entries
        >>> manifold = ProductManifold((Euclidean(1), 2), (Euclidean(0), 1))
        >>> encoding = Components(manifold, (Entries(1), Entries(0)))
        >>> encoding.decode(encoding.encode(torch.eye(3)).mean(0), (3,))
        tensor([0.3333, 0.3333, 0.3333])
    """

    manifold: ProductManifold
    encodings: tuple[Encoding, ...]

    def size(self, shape: tuple[int, ...]) -> int:
        """Return the sum of the sizes of the components' vectors."""
        return sum(self._sizes())

    def encode(self, x: Tensor) -> Tensor:
        """Return the components' vectors one after another."""
        parts = zip(self.encodings, self.manifold.unpack_tensor(x), self._sizes(), strict=True)
        vectors = [encoding.encode(part).reshape((*x.shape[:-1], size)) for encoding, part, size in parts]
        return torch.cat(vectors, -1)

    def decode(self, average: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the packed points of the components."""
        parts = zip(self.encodings, average.split(self._sizes(), -1), self._shapes(), strict=True)
        points = [
            encoding.decode(part.reshape((*average.shape[:-1], *copies, encoding.size(point))), point)
            for encoding, part, (copies, point) in parts
        ]
        return self.manifold.pack_point(*points)

    def _shapes(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Return the shape of the copies and of the point of each component."""
        pairs = zip(self.manifold.manifolds, self.manifold.shapes, strict=True)
        return [_divided(manifold, shape) for manifold, shape in pairs]

    def _sizes(self) -> list[int]:
        pairs = zip(self.encodings, self._shapes(), strict=True)
        return [math.prod(copies) * encoding.size(point) for encoding, (copies, point) in pairs]


def product_encoding(manifold: ProductManifold, choose: Choice) -> Components | None:
    """Return the encoding of a product, or None where a component has none.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> product_encoding(ProductManifold((Euclidean(0), 1)), lambda manifold, shape: None) is None
        True
    """
    pairs = zip(manifold.manifolds, manifold.shapes, strict=True)
    encodings = [choose(component, _divided(component, shape)[1]) for component, shape in pairs]
    known = tuple(encoding for encoding in encodings if encoding is not None)
    return Components(manifold, known) if len(known) == len(encodings) else None


def _divided(manifold: geoopt.Manifold, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    copies = len(shape) - int(manifold.ndim)
    return shape[:copies], shape[copies:]
