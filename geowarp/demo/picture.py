"""The curves of a run."""

from pathlib import Path
from typing import Any

from ..nn.probes.figure import STYLE

__all__ = ["save_picture"]

_COLOURS = {"stiefel": "#0b6e8a", "euclidean": "#c8553d"}
_NAMES = {"stiefel": "Stiefel, RiemannianAdam", "euclidean": "Euclidean, AdamW"}
_DASHES = {"D_x": "-", "D_y": "--", "E": ":"}


def save_picture(numbers: dict[str, Any], path: Path) -> None:
    """Write a PNG with the validation loss and the condition numbers of the factors over the steps."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _draw_loss(left, numbers["models"])
        _draw_conditions(right, numbers["models"])
        figure.savefig(path, dpi=150, format="png")


def _draw_loss(axes: Any, models: dict[str, Any]) -> None:
    for name, values in models.items():
        curves = values["curves"]
        label = f"{_NAMES[name]}: {values['bits_per_byte']:.3f} at the end"
        axes.plot(curves["step"], curves["bits_per_byte"], color=_COLOURS[name], label=label)
    axes.set(title="Validation loss", xlabel="step", ylabel="bits per byte")
    axes.margins(x=0)
    top = 2 * max(values["bits_per_byte"] for values in models.values())
    axes.set_ylim(top=min(top, axes.get_ylim()[1]))
    axes.legend()


def _draw_conditions(axes: Any, models: dict[str, Any]) -> None:
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    for name, values in models.items():
        curves = values["curves"]
        for symbol, dash in _DASHES.items():
            condition = [entry[symbol] for entry in curves["conditions"]]
            axes.plot(curves["step"], condition, dash, color=_COLOURS[name])
    for symbol, dash in _DASHES.items():
        axes.plot([], [], dash, color="#555555", label=f"${symbol}$")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.9)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(title="Condition number of the factors, diagonals included", xlabel="step")
    axes.margins(x=0)
    axes.legend(ncols=3)
