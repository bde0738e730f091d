"""The curves of a run."""

from pathlib import Path
from typing import Any

__all__ = ["save_picture"]

_COLOURS = {"stiefel": "#0b6e8a", "euclidean": "#c8553d"}
_NAMES = {"stiefel": "Stiefel, RiemannianAdam", "euclidean": "Euclidean, AdamW"}
_DASHES = {"D_x": "-", "D_y": "--", "E": ":"}
_STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "font.size": 10,
    "legend.frameon": False,
}


def save_picture(numbers: dict[str, Any], path: Path) -> None:
    """Write a PNG with the validation loss and the condition numbers of the factors over the steps."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _draw_loss(left, numbers["models"])
        _draw_conditions(right, numbers["models"])
        figure.savefig(path, dpi=150, format="png")


def _draw_loss(axes: Any, models: dict[str, Any]) -> None:
    for name, values in models.items():
        curves = values["curves"]
        label = f"{_NAMES[name]}: {values['bits_per_byte']:.3f}"
        axes.plot(curves["step"], curves["bits_per_byte"], color=_COLOURS[name], label=label, linewidth=2)
    axes.set(title="Validation loss", xlabel="step", ylabel="bits per byte")
    axes.margins(x=0)
    axes.legend()


def _draw_conditions(axes: Any, models: dict[str, Any]) -> None:
    for name, values in models.items():
        curves = values["curves"]
        for symbol, dash in _DASHES.items():
            condition = [entry[symbol] for entry in curves["conditions"]]
            label = f"{name} ${symbol}$" if "_" in symbol else f"{name} {symbol}"
            axes.plot(curves["step"], condition, dash, color=_COLOURS[name], label=label, linewidth=2)
    axes.set_yscale("log")
    axes.set(title="Condition number of the factors", xlabel="step", ylabel="largest / least singular value")
    axes.margins(x=0)
    axes.legend(ncols=2)
