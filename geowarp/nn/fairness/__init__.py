"""Potentials that stretch a metric where a bias lives, and what is built on them."""

from .parity_potential import ParityPotential

__all__ = ["ParityPotential"]
