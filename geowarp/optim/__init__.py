"""Riemannian optimisers that step all points of one kind as one stacked batch."""

from .adam import RiemannianAdam
from .groups import param_groups
from .optimizer import RiemannianOptimizer
from .sgd import RiemannianSGD

__all__ = ["RiemannianAdam", "RiemannianOptimizer", "RiemannianSGD", "param_groups"]
