"""Modules whose parameters live on manifolds."""

from .attention import delta_attention, linear_attention, unit_keys
from .bdh import BDH, LayerActivations
from .config import BDHConfig
from .decay import Decay
from .decoding import Decoder
from .gains import low_rank_gain
from .generation import GenerationSettings
from .low_rank import LowRankFactor
from .low_rank_linear import LowRankLinear
from .merge import merge
from .relu_low_rank import ReLULowRank
from .rotary import rotary_table, rotate_pairs
from .sampling import sample_tokens
from .state import BDHState
from .subspaces import (
    ClusterContrastiveLoss,
    ClusterSubspaces,
    CosineSimilarity,
    DotSimilarity,
    EmbeddingClassifier,
    FullRankMap,
    GramBasis,
    GrassmannContrastiveLoss,
    GrNet,
    HeadFactory,
    ImageEncoder,
    MultiviewClusteringLoss,
    MultiviewOutput,
    MultiviewSubspaceNetwork,
    NeighborConsistencyLoss,
    OrthMap,
    Pooling,
    ProjectionBlock,
    ProjectionEmbedding,
    ProjectionMap,
    ProjectionPooling,
    Projector,
    QRBasis,
    ReOrth,
    RowPooling,
    SpanMethod,
    SubspaceClassifier,
    SVDBasis,
    VectorEncoder,
    balance,
    target_distribution,
)
from .synapse import Synapse
from .tokens import pad_left

__all__ = [
    "BDH",
    "BDHConfig",
    "BDHState",
    "ClusterContrastiveLoss",
    "ClusterSubspaces",
    "CosineSimilarity",
    "Decay",
    "Decoder",
    "DotSimilarity",
    "EmbeddingClassifier",
    "FullRankMap",
    "GenerationSettings",
    "GrNet",
    "GramBasis",
    "GrassmannContrastiveLoss",
    "HeadFactory",
    "ImageEncoder",
    "LayerActivations",
    "LowRankFactor",
    "LowRankLinear",
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
    "ReLULowRank",
    "ReOrth",
    "RowPooling",
    "SVDBasis",
    "SpanMethod",
    "SubspaceClassifier",
    "Synapse",
    "VectorEncoder",
    "balance",
    "delta_attention",
    "linear_attention",
    "low_rank_gain",
    "merge",
    "pad_left",
    "rotary_table",
    "rotate_pairs",
    "sample_tokens",
    "target_distribution",
    "unit_keys",
]
