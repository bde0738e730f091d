"""Manifolds: points, tangent vectors, metrics, retractions, exponentials, logarithms and distances."""

from .base import Manifold
from .sphere import Sphere

__all__ = ["Manifold", "Sphere"]
