"""Numbers about points of any manifold: distances, means, medians, statistics; and scores of clusterings."""

from .bias import (
    WEAT,
    AttentionGap,
    ProbeLeakage,
    attention_gap,
    ect,
    probe_leakage,
    ripa,
    semantic_preservation,
    weat,
)
from .chordal_mean import ChordalMean, chordal_mean
from .clustering import (
    ClusteringScores,
    adjusted_rand_index,
    clustering_accuracy,
    clustering_scores,
    match_clusters,
    normalized_mutual_information,
    purity,
    view_agreement,
)
from .kernels import binet_cauchy_kernel, gaussian_kernel, projection_kernel
from .mean import frechet_mean
from .median import GeometricMedian, geometric_median
from .nearest import Nearest, nearest
from .pairwise import pairwise_distance
from .paths import geodesic, interpolate, midpoint
from .principal_angles import principal_angles
from .recentering import recenter, whiten
from .stein import stein_divergence, stein_divergence_pairwise, stein_mean
from .subspace_distance import Chordal, Geodesic, Procrustes, SubspaceDistance
from .subspace_largest import Asimov, Projection, Spectral
from .subspace_volume import BinetCauchy, FubiniStudy, Martin
from .tangent_pca import TangentPCA, tangent_pca
from .variance import frechet_variance

__all__ = [
    "WEAT",
    "Asimov",
    "AttentionGap",
    "BinetCauchy",
    "Chordal",
    "ChordalMean",
    "ClusteringScores",
    "FubiniStudy",
    "Geodesic",
    "GeometricMedian",
    "Martin",
    "Nearest",
    "ProbeLeakage",
    "Procrustes",
    "Projection",
    "Spectral",
    "SubspaceDistance",
    "TangentPCA",
    "adjusted_rand_index",
    "attention_gap",
    "binet_cauchy_kernel",
    "chordal_mean",
    "clustering_accuracy",
    "clustering_scores",
    "ect",
    "frechet_mean",
    "frechet_variance",
    "gaussian_kernel",
    "geodesic",
    "geometric_median",
    "interpolate",
    "match_clusters",
    "midpoint",
    "nearest",
    "normalized_mutual_information",
    "pairwise_distance",
    "principal_angles",
    "probe_leakage",
    "projection_kernel",
    "purity",
    "recenter",
    "ripa",
    "semantic_preservation",
    "stein_divergence",
    "stein_divergence_pairwise",
    "stein_mean",
    "tangent_pca",
    "view_agreement",
    "weat",
    "whiten",
]
