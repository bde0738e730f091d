"""All topics, in the order of the tables."""

from . import (
    affine_invariant,
    bures_wasserstein,
    divided_differences,
    flat_metrics,
    grassmann,
    logarithm_gradient,
    lorentz,
    pairwise,
    poincare,
    sphere,
    stein,
    subspace_distances,
)
from .topic import Topic

__all__ = ["TOPICS"]

TOPICS: list[Topic] = [
    *affine_invariant.TOPICS,
    *bures_wasserstein.TOPICS,
    *flat_metrics.TOPICS,
    *stein.TOPICS,
    *divided_differences.TOPICS,
    *logarithm_gradient.TOPICS,
    *grassmann.TOPICS,
    *subspace_distances.TOPICS,
    *sphere.TOPICS,
    *poincare.TOPICS,
    *lorentz.TOPICS,
    *pairwise.TOPICS,
]
