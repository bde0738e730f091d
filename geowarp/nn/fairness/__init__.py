"""Potentials that stretch a metric where a bias lives, and what is built on them."""

from .bias_submanifold import BiasSubmanifold
from .debias import Debiased, debias
from .dot_product import DotProduct
from .fair_attention import FairAttention
from .fair_transformer import FairTransformer, fair_transformer
from .learned_potential import LearnedPotential
from .parity_potential import ParityPotential
from .potentials import FisherPotential, LinearPotential, StackedPotential
from .principal_geodesics import PrincipalGeodesics
from .reflection import ReflectionPotential
from .report import BiasMeasures, BiasReport
from .score import WarpedScore
from .zero_set import ZeroSet

__all__ = [
    "BiasMeasures",
    "BiasReport",
    "BiasSubmanifold",
    "Debiased",
    "DotProduct",
    "FairAttention",
    "FairTransformer",
    "FisherPotential",
    "LearnedPotential",
    "LinearPotential",
    "ParityPotential",
    "PrincipalGeodesics",
    "ReflectionPotential",
    "StackedPotential",
    "WarpedScore",
    "ZeroSet",
    "debias",
    "fair_transformer",
]
