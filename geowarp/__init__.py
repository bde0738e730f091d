"""Geometric optimisation for PyTorch, with geoopt as its manifold backend."""

__version__ = "0.1.0"

from . import _geoopt as _geoopt  # silences exactly geoopt's import-time deprecation warnings
from . import manifolds, metrics, optim
from .errors import (
    GeowarpError,
    NonFiniteError,
    NotConvergedError,
    NotOnManifoldError,
    NumericalWarning,
    PerformanceWarning,
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
    "GeowarpError",
    "ManifoldParameter",
    "NonFiniteError",
    "NotConvergedError",
    "NotOnManifoldError",
    "NumericalWarning",
    "PerformanceWarning",
    "constrain",
    "manifold_of",
    "manifolds",
    "metrics",
    "named_manifolds",
    "optim",
    "project_state_dict",
    "unconstrain",
]
