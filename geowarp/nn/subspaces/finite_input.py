"""Input of decompositions that is not finite is refused with the reason."""

import torch
from torch import Tensor

from ...errors import GeowarpError, NonFiniteError

__all__ = ["has_values", "require_finite"]


def has_values(x: Tensor) -> bool:
    """Return whether a branch on the values of x is possible: not while compiling, and not without data.

    Example:
        >>> has_values(torch.ones(2)), has_values(torch.ones(2, device="meta"))
        (True, False)
    """
    return not torch.compiler.is_compiling() and not x.is_meta


def require_finite(name: str, x: Tensor) -> None:
    """Raise where x has values that are infinite, not a number or integers; ``name`` begins the message.

    Raises:
        GeowarpError: for a dtype that is not floating-point.
        NonFiniteError: with their count.

    Example:
        >>> require_finite("ProjectionMap", torch.ones(2))
    """
    if not x.is_floating_point():
        raise GeowarpError(f"{name}: the input has the dtype {x.dtype}; convert it, .to(torch.float32)")
    if not has_values(x) or bool(x.detach().sum().isfinite()):
        return
    count = int((~x.isfinite()).sum())
    if count:  # and no sum that overflows
        raise NonFiniteError(
            f"{name}: {count} of {x.numel()} entries of the input are not finite; mend what computes it"
        )
