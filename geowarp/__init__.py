"""Geometric optimisation for PyTorch, with geoopt as its manifold backend."""

__version__ = "0.1.0"

from . import _geoopt as _geoopt  # silences exactly geoopt's import-time deprecation warnings
from . import manifolds, metrics, nn, optim
from .errors import (
    ConformanceError,
    FairnessWarning,
    GeowarpError,
    NonFiniteError,
    NotConvergedError,
    NotOnManifoldError,
    NumericalWarning,
    PerformanceWarning,
    UnavailableError,
)
from .manifolds.parameter import (
    ManifoldParameter,
    constrain,
    manifold_of,
    named_manifolds,
    project_state_dict,
    unconstrain,
)

__all__ = [
    "ConformanceError",
    "FairnessWarning",
    "GeowarpError",
    "ManifoldParameter",
    "NonFiniteError",
    "NotConvergedError",
    "NotOnManifoldError",
    "NumericalWarning",
    "PerformanceWarning",
    "UnavailableError",
    "constrain",
    "manifold_of",
    "manifolds",
    "metrics",
    "named_manifolds",
    "nn",
    "optim",
    "project_state_dict",
    "unconstrain",
]
