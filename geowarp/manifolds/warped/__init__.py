"""Manifolds with the points of a base manifold under another metric, which functions on it define."""

from .bounds import WarpedDistance
from .conformal import ConformalWarped
from .fairness import FairnessWarped
from .geodesic_solution import WarpedGeodesic

__all__ = ["ConformalWarped", "FairnessWarped", "WarpedDistance", "WarpedGeodesic"]
