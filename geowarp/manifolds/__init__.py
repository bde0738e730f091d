"""Manifolds: points, tangent vectors, metrics, retractions, exponentials, logarithms and distances."""

from .base import Manifold
from .euclidean import Euclidean
from .grassmann import Grassmann
from .retractions import QR, Cayley, Exponential, Polar, Retraction
from .sphere import Sphere
from .stiefel import AlphaMetric, CanonicalMetric, EuclideanMetric, Stiefel, StiefelMetric

__all__ = [
    "QR",
    "AlphaMetric",
    "CanonicalMetric",
    "Cayley",
    "Euclidean",
    "EuclideanMetric",
    "Exponential",
    "Grassmann",
    "Manifold",
    "Polar",
    "Retraction",
    "Sphere",
    "Stiefel",
    "StiefelMetric",
]
