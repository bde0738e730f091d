"""One block of GrNet: parallel full-rank maps, orthonormalisation and pooling."""

import copy
from typing import Protocol

from torch import Tensor, nn

from ...errors import GeowarpError
from .full_rank_map import FullRankMap
from .re_orth import ReOrth

__all__ = ["Pooling", "ProjectionBlock"]


class Pooling(Protocol):
    """What pools bases ``(..., maps, n, k)``, and says into how many maps and rows.

    Example:
        >>> from geowarp.nn.subspaces import ProjectionPooling, RowPooling
        >>> RowPooling(2).pooled_shape(8, 60), ProjectionPooling().pooled_shape(8, 60)
        ((8, 30), (1, 60))
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Return the pooled bases; a dimension of one map may be left out."""
        ...

    def pooled_shape(self, maps: int, n: int) -> tuple[int, int]:
        """Return how many maps and rows there are afterwards."""
        ...


class ProjectionBlock(nn.Module):
    """``FullRankMap``, ``ReOrth`` and pooling: bases ``(..., 1 or maps, n, k)`` to ``(..., maps', n', k)``.

    ``maps`` matrices ``W_i (width x n)`` with orthonormal rows map the subspace, each to that spanned by
    ``W_i U``. The pooling leaves ``maps'`` of them in ``R^n'``.

    Args:
        n: the size of the vectors that come in.
        width: that after the maps, at most n.
        maps: how many maps; the input has one subspace for all of them, or one for each.
        pooling: ``RowPooling()``, ``ProjectionPooling()``, a module of one's own with ``pooled_shape``, of
            which the block takes a copy, or None.

    Raises:
        GeowarpError: for sizes that do not fit together.

    References:
        Huang, Wu, Van Gool, Building deep networks on Grassmann manifolds, AAAI (2018), section 3.

    Example:
        >>> from geowarp.nn.subspaces import RowPooling
        >>> block = ProjectionBlock(10, 8, maps=3, pooling=RowPooling(2))
        >>> block(torch.eye(10)[None, :, :2]).shape, block.shape
        (torch.Size([3, 4, 2]), (3, 4))
    """

    def __init__(self, n: int, width: int, *, maps: int = 8, pooling: Pooling | None = None) -> None:
        super().__init__()
        if maps < 1:
            raise GeowarpError(f"ProjectionBlock: maps = {maps}; it needs 1 or more")
        if not 1 <= width <= n:
            raise GeowarpError(f"ProjectionBlock: width = {width} must be between 1 and n = {n}")
        self.map = FullRankMap(n, width, maps=maps)
        self.orthonormalise = ReOrth()
        self.pooling = copy.deepcopy(pooling)
        self.shape = (maps, width) if pooling is None else pooling.pooled_shape(maps, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the bases after the block."""
        y: Tensor = self.orthonormalise(self.map(x))
        if self.pooling is None:
            return y
        pooled = self.pooling(y)
        return pooled if pooled.ndim == y.ndim else pooled.unsqueeze(-3)
