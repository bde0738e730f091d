"""Warnings that point at the line of the user who called geowarp."""

import sys
import warnings

__all__ = ["warn"]

_INSIDE = ("geowarp", "torch")  # torch wraps functions, as no_grad does


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the innermost line outside of geowarp, however deep within it the cause was found.

    Example:
        >>> import warnings
        >>> from geowarp.errors import NumericalWarning
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn("inexact", NumericalWarning)
        >>> caught[0].category.__name__, str(caught[0].message)
        ('NumericalWarning', 'inexact')
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
