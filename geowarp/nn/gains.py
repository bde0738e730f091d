"""Gains of low-rank maps: the constant that keeps the scale of what passes through."""

from collections.abc import Callable, Mapping
from math import isfinite, sqrt
from types import MappingProxyType

from ..errors import GeowarpError

__all__ = ["GAINS", "low_rank_gain"]

GAINS: Mapping[str, Callable[[int, int, int], float]] = MappingProxyType(
    {
        "unit": lambda in_features, out_features, rank: 1.0,
        "linear": lambda in_features, out_features, rank: sqrt(out_features / rank),
        "relu": lambda in_features, out_features, rank: sqrt(2 * out_features / rank),
        "spectral": lambda in_features, out_features, rank: sqrt(out_features / in_features),
    }
)


def low_rank_gain(gain: str | float, in_features: int, out_features: int, rank: int) -> float:
    """Return the gain τ of ``W = τ U Vᵀ`` with m = ``in_features``, n = ``out_features``, r = ``rank``.

    U ``(n, r)`` and V ``(m, r)`` have orthonormal columns, so ``‖Wx‖ = τ ‖Vᵀx‖``, and ``‖Vᵀx‖²`` is r/m of
    ``‖x‖²`` on average: over random V for every x, and for every V over x with centred, uncorrelated entries
    of equal variance. The mean square of a vector is ``‖x‖²`` over its length.

    ============== ======== =================================================================
    gain           τ        what it keeps
    ============== ======== =================================================================
    ``"unit"``     1        W is a partial isometry: all its r singular values are 1
    ``"linear"``   √(n/r)   the mean square of x in Wx, on average
    ``"relu"``     √(2n/r)  the mean square of x in ReLU(Wx), on average
    ``"spectral"`` √(n/m)   the root mean square of x in Wx, at most: ``max rms(Wx)/rms(x) = 1``
    a number       itself
    ============== ======== =================================================================

    Args:
        gain: a name of the table, or a positive number.
        in_features: m.
        out_features: n.
        rank: r.

    Raises:
        GeowarpError: for another name, or a number that is not positive and finite.

    References:
        He, Zhang, Ren, Sun, Delving deep into rectifiers: surpassing human-level performance on ImageNet
        classification, ICCV (2015), section 2.2, for the factor 2 of ReLU; Yang, Simon, Bernstein, A spectral
        condition for feature learning, arXiv:2310.17813 (2023), condition 1, for ``"spectral"``.

    Example:
        >>> [low_rank_gain(gain, 9, 36, 4) for gain in ("unit", "linear", "spectral", 0.5)]
        [1.0, 3.0, 2.0, 0.5]
    """
    if isinstance(gain, str):
        if gain not in GAINS:
            raise GeowarpError(f"low_rank_gain: gain = {gain!r} is none of {', '.join(GAINS)}, nor a number")
        return GAINS[gain](in_features, out_features, rank)
    if not (isfinite(gain) and gain > 0):
        raise GeowarpError(f"low_rank_gain: gain = {gain} must be positive and finite")
    return float(gain)
