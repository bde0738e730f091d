"""Numbers about points: pairwise distances and Fréchet means, on any manifold."""

from .mean import frechet_mean
from .pairwise import pairwise_distance

__all__ = ["frechet_mean", "pairwise_distance"]
