"""The weight α of a potential: what a stretch may be."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from torch import Tensor

from ...errors import GeowarpError
from ...manifolds.linalg.threads import is_concrete

__all__ = ["Alpha", "checked_alpha", "checked_alphas"]

Alpha = float | Sequence[float] | Tensor
Checked = float | tuple[float, ...] | Tensor


def checked_alpha(name: str, alpha: Any) -> float:
    """Return α as a number, if it is one that stretches.

    Example:
        >>> checked_alpha("FairAttention", 2)
        2.0
    """
    if not isinstance(alpha, Real) or not 0 <= float(alpha) < math.inf:
        raise GeowarpError(f"{name}: alpha = {alpha}; it stretches, and is a number, finite and at least 0")
    return float(alpha)


def checked_alphas(name: str, alpha: Any) -> Checked:
    """Return one α or several, if they stretch; a tensor, which may take a gradient, is itself.

    Example:
        >>> checked_alphas("WarpedScore", [1, 2])
        (1.0, 2.0)
    """
    try:
        value: Any = alpha if isinstance(alpha, Tensor | Real) else tuple(map(float, alpha))
    except (TypeError, ValueError):
        raise _refusal(name, alpha) from None
    if isinstance(value, Tensor):
        if value.ndim > 1:
            raise _refusal(name, alpha)
        numbers = value.detach().flatten().tolist() if is_concrete(value) else []
    else:
        value = float(value) if isinstance(value, Real) else value
        numbers = [value] if isinstance(value, float) else list(value)
    if value == ():
        raise _refusal(name, alpha)
    for number in numbers:
        if not 0 <= number < math.inf:
            raise _refusal(name, number)
    return value  # type: ignore[no-any-return]


def _refusal(name: str, alpha: Any) -> GeowarpError:
    return GeowarpError(
        f"{name}: alpha = {alpha!r}; it stretches, and is one finite number of at least 0, or one for each "
        "potential"
    )
