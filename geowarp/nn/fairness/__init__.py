"""Potentials that stretch a metric where a bias lives, and what is built on them."""

from .dot_product import DotProduct
from .fair_attention import FairAttention
from .learned_potential import LearnedPotential
from .parity_potential import ParityPotential
from .potentials import FisherPotential, LinearPotential, StackedPotential
from .score import WarpedScore

__all__ = [
    "DotProduct",
    "FairAttention",
    "FisherPotential",
    "LearnedPotential",
    "LinearPotential",
    "ParityPotential",
    "StackedPotential",
    "WarpedScore",
]
