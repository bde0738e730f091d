"""Numbers about points: pairwise distances and Fréchet means, on any manifold."""

from .chordal_mean import ChordalMean, chordal_mean
from .mean import frechet_mean
from .nearest import Nearest, nearest
from .pairwise import pairwise_distance
from .principal_angles import principal_angles
from .subspace_distance import Chordal, Geodesic, Procrustes, SubspaceDistance
from .subspace_largest import Asimov, Projection, Spectral
from .subspace_volume import BinetCauchy, FubiniStudy, Martin
from .tangent_pca import TangentPCA, tangent_pca

__all__ = [
    "Asimov",
    "BinetCauchy",
    "Chordal",
    "ChordalMean",
    "FubiniStudy",
    "Geodesic",
    "Martin",
    "Nearest",
    "Procrustes",
    "Projection",
    "Spectral",
    "SubspaceDistance",
    "TangentPCA",
    "chordal_mean",
    "frechet_mean",
    "nearest",
    "pairwise_distance",
    "principal_angles",
    "tangent_pca",
]
