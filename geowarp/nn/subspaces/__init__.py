"""Layers whose points are subspaces, given by orthonormal bases."""

from .cluster_contrastive import (
    ClusterContrastiveLoss,
    CosineSimilarity,
    DotSimilarity,
    balance,
    target_distribution,
)
from .contrastive import GrassmannContrastiveLoss
from .embedding_classifier import EmbeddingClassifier
from .full_rank_map import FullRankMap
from .gr_net import GrNet, HeadFactory
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
    "CosineSimilarity",
    "DotSimilarity",
    "EmbeddingClassifier",
    "FullRankMap",
    "GrNet",
    "GramBasis",
    "GrassmannContrastiveLoss",
    "HeadFactory",
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
    "balance",
    "target_distribution",
]
