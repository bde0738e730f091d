"""Modules whose parameters live on manifolds."""

from .attention import delta_attention, linear_attention, unit_keys
from .bdh import BDH
from .config import BDHConfig
from .gains import low_rank_gain
from .low_rank import LowRankFactor
from .low_rank_linear import LowRankLinear
from .relu_low_rank import ReLULowRank
from .rotary import rotary_table, rotate_pairs
from .sampling import sample_tokens

__all__ = [
    "BDH",
    "BDHConfig",
    "LowRankFactor",
    "LowRankLinear",
    "ReLULowRank",
    "delta_attention",
    "linear_attention",
    "low_rank_gain",
    "rotary_table",
    "rotate_pairs",
    "sample_tokens",
    "unit_keys",
]
