"""Quadrature on the unit interval."""

import numpy as np

__all__ = ["gauss_legendre"]


def gauss_legendre(count: int) -> tuple[tuple[float, float], ...]:
    """Return the nodes and weights of the Gauss–Legendre rule on [0, 1].

    Example:
        >>> gauss_legendre(1)
        ((0.5, 1.0),)
    """
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return tuple(zip((0.5 * (nodes + 1)).tolist(), (0.5 * weights).tolist(), strict=True))
