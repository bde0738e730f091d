"""Functions that differentiate inside, called in inference mode."""

from ..manifolds.linalg.inference_mode import outside_inference_mode

__all__ = ["outside_inference_mode"]
