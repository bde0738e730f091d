"""Layers whose points are subspaces, given by orthonormal bases."""

from .cluster_contrastive import (
    ClusterContrastiveLoss,
    CosineSimilarity,
    DotSimilarity,
    balance,
    target_distribution,
)
from .cluster_subspaces import ClusterSubspaces
from .contrastive import GrassmannContrastiveLoss
from .embedding_classifier import EmbeddingClassifier
from .encoders import ImageEncoder, VectorEncoder
from .full_rank_map import FullRankMap
from .gr_net import GrNet, HeadFactory
from .multiview_loss import MultiviewClusteringLoss
from .multiview_network import MultiviewOutput, MultiviewSubspaceNetwork
from .neighbor_consistency import NeighborConsistencyLoss
from .orth_map import OrthMap
from .projection_block import Pooling, ProjectionBlock
from .projection_embedding import ProjectionEmbedding
from .projection_map import ProjectionMap
from .projection_pooling import ProjectionPooling
from .re_orth import ReOrth
from .row_pooling import RowPooling
from .span_methods import GramBasis, Projector, QRBasis, SpanMethod, SVDBasis
from .subspace_classifier import SubspaceClassifier

__all__ = [
    "ClusterContrastiveLoss",
    "ClusterSubspaces",
    "CosineSimilarity",
    "DotSimilarity",
    "EmbeddingClassifier",
    "FullRankMap",
    "GrNet",
    "GramBasis",
    "GrassmannContrastiveLoss",
    "HeadFactory",
    "ImageEncoder",
    "MultiviewClusteringLoss",
    "MultiviewOutput",
    "MultiviewSubspaceNetwork",
    "NeighborConsistencyLoss",
    "OrthMap",
    "Pooling",
    "ProjectionBlock",
    "ProjectionEmbedding",
    "ProjectionMap",
    "ProjectionPooling",
    "Projector",
    "QRBasis",
    "ReOrth",
    "RowPooling",
    "SVDBasis",
    "SpanMethod",
    "SubspaceClassifier",
    "VectorEncoder",
    "balance",
    "target_distribution",
]
