"""Distances, means, medians and statistics of points on any manifold, of tensors or numpy arrays."""

from .chordal_mean import ChordalMean, chordal_mean
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
    "Asimov",
    "BinetCauchy",
    "Chordal",
    "ChordalMean",
    "FubiniStudy",
    "Geodesic",
    "GeometricMedian",
    "Martin",
    "Nearest",
    "Procrustes",
    "Projection",
    "Spectral",
    "SubspaceDistance",
    "TangentPCA",
    "binet_cauchy_kernel",
    "chordal_mean",
    "frechet_mean",
    "frechet_variance",
    "gaussian_kernel",
    "geodesic",
    "geometric_median",
    "interpolate",
    "midpoint",
    "nearest",
    "pairwise_distance",
    "principal_angles",
    "projection_kernel",
    "recenter",
    "stein_divergence",
    "stein_divergence_pairwise",
    "stein_mean",
    "tangent_pca",
    "whiten",
]
