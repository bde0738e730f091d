"""Modules whose parameters live on manifolds."""

from .attention import delta_attention, linear_attention, unit_keys
from .bdh import BDH
from .config import BDHConfig
from .low_rank import LowRankFactor
from .rotary import rotary_table, rotate_pairs
from .sampling import sample_tokens

__all__ = [
    "BDH",
    "BDHConfig",
    "LowRankFactor",
    "delta_attention",
    "linear_attention",
    "rotary_table",
    "rotate_pairs",
    "sample_tokens",
    "unit_keys",
]
