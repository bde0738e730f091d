"""Measures of the bias of embeddings under any distance, and of what is left of their meaning."""

from .associations import ect, ripa
from .attention_gap import AttentionGap, attention_gap
from .permutation import WEAT, weat
from .probes import ProbeLeakage, probe_leakage
from .semantics import semantic_preservation

__all__ = [
    "WEAT",
    "AttentionGap",
    "ProbeLeakage",
    "attention_gap",
    "ect",
    "probe_leakage",
    "ripa",
    "semantic_preservation",
    "weat",
]
