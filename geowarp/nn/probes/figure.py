"""The look of the plots, and matplotlib only where it is used."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..._extras import import_extra

__all__ = ["COLOURS", "STYLE", "drawing"]

COLOURS = ("#0b6e8a", "#c8553d", "#6a994e", "#7b5ea7", "#d99a2b")
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 2,
}


@contextmanager
def drawing(axes: Any, size: tuple[float, float]) -> Iterator[Any]:
    """Draw in ``axes``, or in those of a new pyplot figure of that size, which then look as geowarp's do.

    Raises:
        GeowarpError: where matplotlib is not installed.

    Example:
        >>> with drawing(None, (4, 3)) as axes:
        ...     _ = axes.set(xlabel="step")
        >>> axes.get_xlabel()
        'step'
        >>> from matplotlib import pyplot
        >>> pyplot.close(axes.figure)
    """
    pyplot = import_extra("matplotlib.pyplot", "plot", "a plot")
    if axes is not None:
        yield axes
        return
    with pyplot.rc_context(STYLE):
        yield pyplot.subplots(figsize=size, layout="constrained")[1]
