"""A classifier of sets of vectors by the subspaces that they span."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from ...errors import GeowarpError
from .embedding_classifier import EmbeddingClassifier
from .projection_block import Pooling, ProjectionBlock
from .projection_map import ProjectionMap
from .row_pooling import RowPooling

__all__ = ["GrNet", "HeadFactory"]

_ROWS = RowPooling(2)


class HeadFactory(Protocol):
    """What makes a classifier of bases ``(..., maps, n, k)``.

    Example:
        >>> from geowarp.nn.subspaces import SubspaceClassifier
        >>> factory: HeadFactory = SubspaceClassifier
        >>> factory(6, 2, 3, maps=4)(torch.eye(6)[:, :2].repeat(4, 1, 1)).shape
        torch.Size([3])
    """

    def __call__(self, n: int, k: int, num_classes: int, *, maps: int) -> nn.Module:
        """Return a module with logits ``(..., num_classes)``."""
        ...


class GrNet(nn.Module):
    """Data matrices ``(..., n, m)`` to logits ``(..., num_classes)``, by way of their leading subspaces.

    The k leading left singular vectors of a set go through blocks of full-rank maps, orthonormalisation and
    pooling (``ProjectionBlock``) to a head. Every layer is a function of subspaces: logits and gradients do
    not depend on the order of the m vectors of a set, nor on any orthogonal mixture of them, X and X Q.

    The published network has ``RowPooling``. All its blocks together are then one ``FullRankMap`` for each
    map, to the rows of the last: two blocks compute nothing that ``widths=(n',), pooling=None`` does not.
    ``ProjectionPooling`` takes the mean subspace of the maps after each block, which is no linear map.

    Args:
        n: the size of the vectors.
        k: the dimension of the subspaces, at most m, and below the size of the vectors everywhere.
        num_classes: how many classes.
        widths: the size of the vectors after the maps of each block, before pooling; () for no block.
        maps: how many maps each block has.
        pooling: of every block: ``RowPooling()``, ``ProjectionPooling()``, one's own ``Pooling``, or None.
        head: makes the last layer: ``SubspaceClassifier``, or a ``functools.partial`` of it, for distances to
            one subspace per class; ``EmbeddingClassifier``, by default, for a linear map of the projectors.
        input_map: from data matrices to bases ``(..., n, k)``; by default ``ProjectionMap(k)``.
            ``torch.nn.Identity()`` for data that are bases already.

    Raises:
        GeowarpError: for sizes that do not fit together.

    References:
        Huang, Wu, Van Gool, Building deep networks on Grassmann manifolds, AAAI (2018).

    Example:
        >>> net = GrNet(16, 2, 3, widths=(12, 6), maps=5)
        >>> x = torch.randn(7, 16, 4)
        >>> net(x).shape, net.subspaces(x).shape
        (torch.Size([7, 3]), torch.Size([7, 5, 3, 2]))
    """

    def __init__(
        self,
        n: int,
        k: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (),
        maps: int = 8,
        pooling: Pooling | None = _ROWS,
        head: HeadFactory | None = None,
        input_map: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= k < n:
            raise GeowarpError(f"GrNet: k = {k} must be at least 1 and below n = {n}")
        self.n, self.k = n, k
        self.input_map = ProjectionMap(k) if input_map is None else input_map
        blocks, count, rows = [], 1, n
        for width in widths:
            blocks.append(ProjectionBlock(rows, width, maps=maps, pooling=pooling))
            count, rows = blocks[-1].shape
            if rows <= k:
                raise GeowarpError(
                    f"GrNet: block {len(blocks)} of width {width} leaves {rows} rows after pooling, in which "
                    f"all subspaces of dimension k = {k} are equal; widen it, or choose a smaller k"
                )
        self.blocks = nn.Sequential(*blocks)
        self.head = (EmbeddingClassifier if head is None else head)(rows, k, num_classes, maps=count)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(..., num_classes)`` of data matrices ``x (..., n, m)``.

        Raises:
            GeowarpError: for vectors of another size, and sets whose rank is below k.
        """
        logits: Tensor = self.head(self.subspaces(x))
        return logits

    def subspaces(self, x: Tensor) -> Tensor:
        """Return the bases that the head sees, ``(..., maps, n', k)``."""
        if x.ndim < 2 or x.shape[-2] != self.n:
            raise GeowarpError(
                f"GrNet: the sets have the shape {tuple(x.shape)}; it needs (..., {self.n}, m)"
            )
        bases: Tensor = self.blocks(self.input_map(x).unsqueeze(-3))
        return bases
