"""Attention whose weights come from distances on a manifold."""

from .aggregation import Aggregation, Centroid, FrechetMean, LinearValues, TangentMean
from .attention_module import ManifoldAttention
from .attention_off import attention_off
from .entropy import attention_entropy
from .flex import FlexAttention
from .function import manifold_attention, manifold_attention_weights
from .methods import Blockwise, Fused, Method, Reference
from .scores import (
    ChordalSquaredDistance,
    Distance,
    DistanceScore,
    InverseLogDistance,
    Score,
    SquaredDistance,
    Uniform,
)
from .temperature import Temperature

__all__ = [
    "Aggregation",
    "Blockwise",
    "Centroid",
    "ChordalSquaredDistance",
    "Distance",
    "DistanceScore",
    "FlexAttention",
    "FrechetMean",
    "Fused",
    "InverseLogDistance",
    "LinearValues",
    "ManifoldAttention",
    "Method",
    "Reference",
    "Score",
    "SquaredDistance",
    "TangentMean",
    "Temperature",
    "Uniform",
    "attention_entropy",
    "attention_off",
    "manifold_attention",
    "manifold_attention_weights",
]
