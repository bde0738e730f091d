"""Modules whose parameters live on manifolds."""

from .attention import linear_attention
from .bdh import BDH
from .config import BDHConfig
from .low_rank import LowRankFactor
from .rotary import rotary_table, rotate_pairs
from .sampling import sample_tokens

__all__ = [
    "BDH",
    "BDHConfig",
    "LowRankFactor",
    "linear_attention",
    "rotary_table",
    "rotate_pairs",
    "sample_tokens",
]
