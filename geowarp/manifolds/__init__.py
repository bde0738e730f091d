"""Manifolds: points, tangent vectors, metrics, retractions, exponentials, logarithms and distances."""

from .base import Manifold
from .birkhoff import BirkhoffPolytope
from .euclidean import Euclidean
from .grassmann import Grassmann
from .grassmann_projectors import GrassmannProjectors
from .gyrovector import GyrovectorSpace
from .karcher import KarcherMean, karcher_mean
from .lorentz import Lorentz
from .oblique import Oblique
from .poincare import PoincareBall
from .product import ProductManifold
from .retractions import QR, Cayley, Exponential, Polar, Retraction
from .spd import AffineInvariantSPD, BuresWassersteinSPD, LogCholeskySPD, LogEuclideanSPD
from .special_orthogonal import SpecialOrthogonal
from .sphere import Sphere
from .spsd import SPSD
from .stiefel import Stiefel
from .stiefel_log import StiefelLogarithm, stiefel_logarithm
from .stiefel_metric import AlphaMetric, CanonicalMetric, EuclideanMetric, StiefelMetric
from .warped import ConformalWarped, FairnessWarped, WarpedDistance, WarpedGeodesic

__all__ = [
    "QR",
    "SPSD",
    "AffineInvariantSPD",
    "AlphaMetric",
    "BirkhoffPolytope",
    "BuresWassersteinSPD",
    "CanonicalMetric",
    "Cayley",
    "ConformalWarped",
    "Euclidean",
    "EuclideanMetric",
    "Exponential",
    "FairnessWarped",
    "Grassmann",
    "GrassmannProjectors",
    "GyrovectorSpace",
    "KarcherMean",
    "LogCholeskySPD",
    "LogEuclideanSPD",
    "Lorentz",
    "Manifold",
    "Oblique",
    "PoincareBall",
    "Polar",
    "ProductManifold",
    "Retraction",
    "SpecialOrthogonal",
    "Sphere",
    "Stiefel",
    "StiefelLogarithm",
    "StiefelMetric",
    "WarpedDistance",
    "WarpedGeodesic",
    "karcher_mean",
    "stiefel_logarithm",
]
