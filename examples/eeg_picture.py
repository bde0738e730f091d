"""The picture: recordings cut into windows, and which windows attend to which."""

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from eeg_data import RATES, Recordings, Series
from eeg_tokens import windows
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from geowarp.nn import attention_entropy

COLUMNS = 4


def draw(sets: Sequence[tuple[str, Recordings, Tensor]]) -> Figure:
    """Return a row for each data set, of test recordings above the attention over their windows.

    Args:
        sets: names, recordings, and attention ``(N, heads, m, m)``, of which the mean of the heads is drawn.
    """
    figure = plt.figure(figsize=(3.1 * COLUMNS + 0.8, 4.9 * len(sets)), layout="constrained")
    parts = np.atleast_1d(np.asarray(figure.subfigures(len(sets), 1)))
    for part, (name, recordings, weights) in zip(parts, sets, strict=True):
        spread = float(attention_entropy(weights).mean())
        part.suptitle(f"{name}: entropy of the rows {spread:.3f} on average over the test recordings")
        axes = part.subplots(2, COLUMNS, height_ratios=(1, 1.7), squeeze=False)
        top = float(weights.mean(1).max())
        image = None
        for column, i in enumerate(chosen(recordings)):
            attention = weights[i].mean(0)
            draw_trace(axes[0, column], name, recordings.series[i], len(attention))
            axes[0, column].set_title(f"class {recordings.classes[recordings.labels[i]]}", fontsize=10)
            image = draw_attention(axes[1, column], attention, top)
        for column in range(len(chosen(recordings)), COLUMNS):
            for row in range(2):
                axes[row, column].set_axis_off()
        part.colorbar(image, ax=axes[1], label="weight", pad=0.01)
    return figure


def chosen(recordings: Recordings) -> list[int]:
    """Return the numbers of a few recordings, of as many classes as there are, in turn."""
    labels = recordings.labels
    turns = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    longest = max(map(len, turns))
    order = [int(own[turn]) for turn in range(longest) for own in turns if turn < len(own)]
    return order[:COLUMNS]


def draw_trace(axes: Axes, name: str, series: Series, count: int) -> None:
    """Draw the channels over time, and a bar for each window."""
    seconds = np.arange(series.shape[1]) / RATES.get(name, 1.0)
    axes.plot(seconds, series.T, linewidth=0.7)
    bottom, top = axes.get_ylim()
    ends = np.arange(series.shape[1], dtype=np.float64)[None] / RATES.get(name, 1.0)
    for number, window in enumerate(windows(ends, count)):
        height = bottom - (0.1 + 0.12 * (number % 2)) * (top - bottom)
        axes.plot(window[0, [0, -1]], (height, height), color="0.7", linewidth=9, solid_capstyle="butt")
        axes.text(window.mean(), height, str(number + 1), ha="center", va="center", fontsize=7)
    axes.set_xlabel("time, s" if name in RATES else "sample", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.locator_params(axis="x", nbins=5)


def draw_attention(axes: Axes, attention: Tensor, top: float) -> object:
    """Draw the weights ``(m, m)``, with their entropy for a title."""
    count = len(attention)
    image = axes.imshow(attention.numpy(), vmin=0, vmax=top, cmap="viridis")
    ticks = range(0, count, max(1, count // 6))
    axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
    axes.set_yticks(ticks, [str(tick + 1) for tick in ticks])
    axes.set(xlabel="window attended to", ylabel="window")
    axes.set_title(f"entropy {float(torch.mean(attention_entropy(attention))):.3f}", fontsize=10)
    return image
