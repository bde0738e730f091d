"""Linear attention and its error-driven form: memories that are written to and read without a softmax."""

from .delta import delta_attention
from .linear import linear_attention
from .unit_keys import unit_keys

__all__ = ["delta_attention", "linear_attention", "unit_keys"]
