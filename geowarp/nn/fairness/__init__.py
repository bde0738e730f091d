"""Potentials that stretch a metric where a bias lives, and what is built on them."""

from .parity_potential import ParityPotential
from .potentials import FisherPotential, LinearPotential, StackedPotential

__all__ = ["FisherPotential", "LinearPotential", "ParityPotential", "StackedPotential"]
