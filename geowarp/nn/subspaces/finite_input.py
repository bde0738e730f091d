"""Decompositions of what is not finite fail with the reason."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import NonFiniteError
from ...manifolds.linalg import full_precision

__all__ = ["decomposed", "require_finite"]


def require_finite(name: str, x: Tensor) -> None:
    """Raise where x has entries that are infinite or not a number; ``name`` begins the message.

    Example:
        >>> require_finite("ProjectionMap", torch.ones(2))
    """
    count = int((~x.isfinite()).sum())
    if count:
        raise NonFiniteError(
            f"{name}: {count} of {x.numel()} entries of the input are not finite; mend what computes it"
        )


def decomposed(name: str, function: Callable[[Tensor, int], Tensor], x: Tensor, k: int) -> Tensor:
    """Return ``function(x, k)`` in full precision.

    Raises:
        NonFiniteError: where a decomposition fails and x has entries that are infinite or not a number.

    Example:
        >>> decomposed("Sum", lambda x, k: k * x.sum(), torch.ones(2), 3)
        tensor(6.)
    """
    try:
        result: Tensor = full_precision(function)(x, k)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        require_finite(name, x)
        raise
    return result
