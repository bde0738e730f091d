"""A network from several views of a sample to their subspaces and to its cluster."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from .cluster_subspaces import ClusterSubspaces
from .encoders import PLACES, make_encoder
from .full_rank_map import FullRankMap
from .projection_embedding import ProjectionEmbedding
from .projection_map import ProjectionMap
from .re_orth import ReOrth
from .span_methods import GramBasis

__all__ = ["MultiviewOutput", "MultiviewSubspaceNetwork"]

_COLUMNS = 8  # of the matrix of a vector, where the dimension of its subspace is no larger


class MultiviewOutput(NamedTuple):
    """What a network says about B samples with V views.

    Example:
        >>> network = MultiviewSubspaceNetwork([(6,), (9,)], 3)
        >>> network([torch.zeros(5, 6), torch.zeros(5, 9)]).consensus.sum(-1)
        tensor([1., 1., 1., 1., 1.], grad_fn=<SumBackward1>)
    """

    assignments: Tensor
    """Soft assignments of each view, ``(V, B, K)``."""
    consensus: Tensor
    """Soft assignments by all views together, ``(B, K)``."""
    subspaces: Tensor
    """Orthonormal bases, ``(V, B, n, k)``."""
    embedding: Tensor
    """``(B, e)``. Views with encoders of their own: the squared Euclidean distance of two samples is the sum
    over the views of the squared chordal distances of their subspaces. A shared encoder: the Euclidean
    distance is ``‖P − Q‖_F / √2`` of the means P and Q of the projectors of their views."""
    logits: Tensor
    """Of each view, ``(V, B, K)``, whose softmax are the assignments; the consensus is that of their sum."""


class MultiviewSubspaceNetwork(nn.Module):
    """Views of a sample to points of Grassmann, and these to a cluster.

    1. An encoder turns each view into a matrix ``(rows, columns)``.
    2. Manifold modelling: ``ProjectionMap`` takes the subspace of the leading k left singular vectors.
    3. A Grassmann network, ``FullRankMap`` and ``ReOrth``, maps it to a subspace of R^n.
    4. Consensus and clusters: ``ClusterSubspaces`` compares it to a subspace for each cluster, and adds up
       the squared distances of the views.

    With a shared encoder all views of a sample have one encoder, one Grassmann network and the same cluster
    subspaces, for views of one kind; the consensus is then that of the mean of the projectors, and the
    embedding is their mean. Otherwise each view has its own, and the consensus and the embedding are of the
    product of their manifolds.

    Args:
        view_shapes: of a sample in each view: vectors ``(d,)``, images ``(h, w)`` or ``(c, h, w)``.
        num_clusters: K.
        subspace_dim: k.
        ambient_dim: n.
        rows: the size of the vectors that span the first subspaces, at least n.
        shared_encoder: whether views share their encoder; by default where all are images of one shape.

    Raises:
        GeowarpError: for sizes that do not fit together, and a shared encoder for views of several shapes.

    References:
        Wang, Li, Hu, Wu, Bao, Deep Grassmannian multiview subspace clustering with contrastive learning,
        Electronic Research Archive 32 (2024); Huang, Wu, Van Gool, Building deep networks on Grassmann
        manifolds, AAAI 2018.

    Example:
        >>> network = MultiviewSubspaceNetwork([(1, 32, 32), (1, 32, 32)], 10)
        >>> output = network([torch.rand(5, 1, 32, 32), torch.rand(5, 1, 32, 32)])
        >>> output.subspaces.shape, output.assignments.shape, output.embedding.shape
        (torch.Size([2, 5, 16, 4]), torch.Size([2, 5, 10]), torch.Size([5, 136]))
    """

    def __init__(
        self,
        view_shapes: Sequence[tuple[int, ...]],
        num_clusters: int,
        *,
        subspace_dim: int = 4,
        ambient_dim: int = 16,
        rows: int = 32,
        shared_encoder: bool | None = None,
    ) -> None:
        super().__init__()
        shapes = [tuple(shape) for shape in view_shapes]
        _check(shapes, subspace_dim, ambient_dim, rows, shared_encoder)
        alike = len(set(shapes)) == 1 and len(shapes[0]) > 1
        self.view_shapes = shapes
        self.shared = alike if shared_encoder is None else shared_encoder
        own = None if self.shared else len(shapes)
        columns = max(_COLUMNS, subspace_dim)
        self.encoders = nn.ModuleList(
            make_encoder(shape, rows, columns) for shape in (shapes[:1] if self.shared else shapes)
        )
        self.modelling = ProjectionMap(subspace_dim, GramBasis(), allow_deficient=True)
        self.full_rank_map = FullRankMap(rows, ambient_dim, own)
        self.re_orth = ReOrth()
        self.clusters = ClusterSubspaces(ambient_dim, subspace_dim, num_clusters, own)
        self.embed = ProjectionEmbedding()

    def forward(self, views: Sequence[Tensor]) -> MultiviewOutput:
        """Return the subspaces, assignments and embedding of a batch.

        Args:
            views: V tensors ``(B, *shape)``.

        Raises:
            GeowarpError: for another number of views, or views of other shapes or of unequal length.
        """
        self._check_views(views)
        bases = self.subspaces(views)
        logits = self.clusters(bases)
        vectors = self.embed(bases)
        embedding = vectors.mean(0) if self.shared else vectors.transpose(0, 1).flatten(1)
        return MultiviewOutput(logits.softmax(-1), logits.sum(0).softmax(-1), bases, embedding, logits)

    def subspaces(self, views: Sequence[Tensor]) -> Tensor:
        """Return the orthonormal bases ``(V, B, n, k)`` of the views."""
        if self.shared:  # one batch of all views
            matrices = self.encoders[0](torch.cat(list(views))).unflatten(0, (len(views), -1))
            bases: Tensor = self.re_orth(self.full_rank_map(self.modelling(matrices)))
            return bases
        each = [self.modelling(encode(view)) for encode, view in zip(self.encoders, views, strict=True)]
        bases = self.re_orth(self.full_rank_map(torch.stack(each, 1)))
        return bases.transpose(0, 1)

    def _check_views(self, views: Sequence[Tensor]) -> None:
        shapes = [tuple(view.shape[1:]) for view in views]
        if shapes != self.view_shapes:
            raise GeowarpError(
                f"MultiviewSubspaceNetwork: the views have samples of the shapes {shapes}; it was built for "
                f"{self.view_shapes}"
            )
        if len({len(view) for view in views}) > 1:
            raise GeowarpError(
                f"MultiviewSubspaceNetwork: the views have {[len(view) for view in views]} samples; every "
                "sample needs all views"
            )


def _check(
    shapes: list[tuple[int, ...]], subspace_dim: int, ambient_dim: int, rows: int, shared: bool | None
) -> None:
    if len(shapes) < 2:
        raise GeowarpError(f"MultiviewSubspaceNetwork: there are {len(shapes)} views; it needs at least 2")
    if not 1 <= subspace_dim < ambient_dim <= rows:
        raise GeowarpError(
            f"MultiviewSubspaceNetwork: subspace_dim = {subspace_dim}, ambient_dim = {ambient_dim} and "
            f"rows = {rows} must be 1 <= subspace_dim < ambient_dim <= rows"
        )
    if subspace_dim > PLACES and any(len(shape) > 1 for shape in shapes):
        raise GeowarpError(
            f"MultiviewSubspaceNetwork: subspace_dim = {subspace_dim} exceeds the {PLACES} places of an image"
        )
    if shared and len(set(shapes)) > 1:
        raise GeowarpError(
            f"MultiviewSubspaceNetwork: views of the shapes {shapes} cannot share an encoder; leave "
            "shared_encoder out"
        )
