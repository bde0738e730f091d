"""Geometric optimisation for PyTorch, with geoopt as its manifold backend."""

__version__ = "0.1.0"

from . import _geoopt as _geoopt  # silences exactly geoopt's import-time deprecation warnings
from . import manifolds
from .errors import GeowarpError, NotOnManifoldError, NumericalWarning, PerformanceWarning

__all__ = ["GeowarpError", "NotOnManifoldError", "NumericalWarning", "PerformanceWarning", "manifolds"]
