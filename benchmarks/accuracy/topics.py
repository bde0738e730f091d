"""All topics, in the order of the tables."""

from . import (
    affine_invariant,
    bures_wasserstein,
    divided_differences,
    grassmann,
    logarithm_gradient,
    lorentz,
    poincare,
    sphere,
    stein,
)
from .topic import Topic

__all__ = ["TOPICS"]

TOPICS: list[Topic] = [
    *affine_invariant.TOPICS,
    *bures_wasserstein.TOPICS,
    *stein.TOPICS,
    *divided_differences.TOPICS,
    *logarithm_gradient.TOPICS,
    *grassmann.TOPICS,
    *sphere.TOPICS,
    *poincare.TOPICS,
    *lorentz.TOPICS,
]
