"""Layers on gyrovector spaces: homomorphisms, biases, powers, and attention."""

from .attention import GyroAttention
from .bias import GyroBias
from .definite_homomorphisms import LinearCoordinates, LogarithmCongruence, OrthogonalCongruence
from .homomorphism import GyroHomomorphism
from .homomorphism_family import CoordinateMaps, HomomorphismFamily
from .power import PowerActivation
from .subspace_homomorphisms import BlockRotation, FactorHomomorphisms
from .vector_homomorphisms import LinearMap, OrthogonalMap

__all__ = [
    "BlockRotation",
    "CoordinateMaps",
    "FactorHomomorphisms",
    "GyroAttention",
    "GyroBias",
    "GyroHomomorphism",
    "HomomorphismFamily",
    "LinearCoordinates",
    "LinearMap",
    "LogarithmCongruence",
    "OrthogonalCongruence",
    "OrthogonalMap",
    "PowerActivation",
]
