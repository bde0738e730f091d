"""Pictures of activation densities and of spectra."""

from collections.abc import Mapping
from typing import Any

from .density import ActivationDensity
from .figure import COLOURS, drawing
from .spectra import FactorSpectrum

__all__ = ["plot_activation_density", "plot_factor_spectra"]

_LABELLED = 8  # layers up to which there is space for the numbers


def plot_activation_density(density: ActivationDensity, axes: Any = None) -> Any:
    """Draw the shares of active neurons over the layers, and return the axes.

    Args:
        density: from ``activation_density``.
        axes: matplotlib axes to draw in; by default those of a new figure.

    Raises:
        GeowarpError: where matplotlib is not installed.

    Example:
        >>> from matplotlib import pyplot
        >>> axes = plot_activation_density(ActivationDensity(torch.tensor([0.5]), torch.tensor([0.25])))
        >>> axes.get_xlabel()
        'layer'
        >>> pyplot.close(axes.figure)
    """
    with drawing(axes, (6, 4)) as axes:
        from matplotlib.ticker import PercentFormatter

        layers, width = range(len(density.x)), 0.38
        for name, shares, side, colour in zip("xy", density, (-1, 1), COLOURS, strict=False):
            places = [layer + side * width / 2 for layer in layers]
            bars = axes.bar(places, shares.tolist(), width, color=colour, label=f"${name}$")
            if len(layers) <= _LABELLED:
                axes.bar_label(bars, [f"{100 * s:.2g}" for s in shares.tolist()], padding=2, fontsize="small")
        axes.set(title="Active neurons", xlabel="layer", ylabel="share that is not zero", xticks=list(layers))
        axes.grid(False, axis="x")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_ylim(0, 1.2 * max(float(density.x.max()), float(density.y.max()), 1e-3))
        axes.legend(ncols=2, loc="upper right")
    return axes


def plot_factor_spectra(spectra: Mapping[str, FactorSpectrum], axes: Any = None) -> Any:
    """Draw the singular values of the factors over their index, and return the axes.

    Solid lines are those of ``W = τ X diag(s)``, over their largest, so that factors with different gains
    compare; dashed ones those of X.

    Args:
        spectra: from ``factor_spectra``.
        axes: matplotlib axes to draw in; by default those of a new figure.

    Raises:
        GeowarpError: where matplotlib is not installed.

    Example:
        >>> from matplotlib import pyplot
        >>> axes = plot_factor_spectra({"E": FactorSpectrum(torch.ones(2), torch.tensor([2.0, 1.0]))})
        >>> axes.get_ylabel()
        'singular value / the largest'
        >>> pyplot.close(axes.figure)
    """
    with drawing(axes, (6, 4)) as axes:
        for colour, (symbol, spectrum) in zip(COLOURS, spectra.items(), strict=False):
            label = f"${symbol}$, condition {spectrum.condition_number:.3g}"
            for values, dash, name in ((spectrum.x, "--", None), (spectrum.w, "-", label)):
                axes.plot(
                    range(1, len(values) + 1), (values / values[0]).tolist(), dash, color=colour, label=name
                )
        axes.plot([], [], "--", color="#555555", label="$X$ alone")
        axes.set(title="Spectra of the factors", xlabel="index", ylabel="singular value / the largest")
        axes.set_ylim(0, 1.08)
        axes.margins(x=0.02)
        axes.legend()
    return axes
