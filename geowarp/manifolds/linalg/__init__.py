"""Pure batched tensor kernels: matrix dimensions last, any leading batch dimensions."""

from .elementary import safe_sqrt, sinc, skew, sym
from .polar import newton_schulz, polar_factor
from .precision import full_precision

__all__ = ["full_precision", "newton_schulz", "polar_factor", "safe_sqrt", "sinc", "skew", "sym"]
