"""The picture of ``fair_attention.py``: how the metric stretches, its geodesics, and rows of attention."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.patheffects as effects
import matplotlib.pyplot as plt
import torch
from fair_attention_data import Vectors, listed
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from geowarp import GeowarpError
from geowarp.demo.files import publish
from geowarp.errors import NumericalWarning
from geowarp.manifolds import Euclidean, FairnessWarped
from geowarp.nn import ParityPotential

Array = NDArray[Any]
SHOWN = listed(
    "receptionist nurse housekeeper dancer librarian teacher artist lawyer doctor mathematician architect "
    "engineer coach captain"
)
"""Professions in the rows of attention."""
PLACED = listed("receptionist nurse dancer librarian teacher lawyer engineer captain architect")
"""Those in the plane."""
TRAVELLERS = ("nurse", "captain")
"""Those whose geodesics are drawn."""
WORDS = ("she", "he")
COLOURS = dict(zip(WORDS, ("#d55e00", "#0072b2"), strict=True))
HALO = [effects.withStroke(linewidth=2.5, foreground="#00204d")]
LABEL: dict[str, Any] = {"textcoords": "offset points", "zorder": 7}
WHITE: dict[str, Any] = {"color": "white", "path_effects": HALO}
LEVELS = (1.3, 1.7, 2.2, 3, 4, 6, 9)
EXTENT = (-0.62, 0.62, -0.32, 1.28)
RESIDUAL = 0.02
"""The share of its length that a geodesic may be off to be drawn."""


@dataclass(frozen=True)
class Section:
    """The plane of a line, that through "she" and "he", and of the distance from it.

    Args:
        vectors: of the words.
        metric: of the plane, which is that of the whole space: b depends on the distances to both words.
    """

    vectors: Vectors
    metric: FairnessWarped

    @classmethod
    def about(cls, vectors: Vectors, alpha: float) -> "Section":
        """Return the plane with the parity of the two words, which is the same in both modes."""
        words = {word: place_words(vectors, [word]) for word in reversed(WORDS)}
        potential = ParityPotential(words, Euclidean(1), alpha)
        return cls(vectors, FairnessWarped(Euclidean(1), potential, segments=128))

    def places(self, words: Sequence[str]) -> Tensor:
        """Return where words are, ``(words, 2)``."""
        return place_words(self.vectors, words)

    def stretch(self, x: Tensor) -> Tensor:
        """Return by how much lengths grow most, ``√(1 + α|grad b|²)``, ``(...)``."""
        slope = self.metric.potential_differentials(x)
        return (1 + self.metric.alpha * slope.square().sum((-1, -2))).sqrt()


def place_words(vectors: Vectors, words: Sequence[str]) -> Tensor:
    """Return how far words are along the line from "she" to "he", from the middle on, and from that line."""
    she, he = vectors.of(WORDS)
    axis = torch.nn.functional.normalize(he - she, dim=0)
    differences = vectors.of(words) - (she + he) / 2
    along = differences @ axis
    return torch.stack([along, (differences - along[:, None] * axis).norm(dim=-1)], -1)


def check(path: Path) -> None:
    """Refuse names of files that matplotlib does not write."""
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:] not in kinds:
        raise GeowarpError(f"--output {path} must end in one of .{', .'.join(sorted(kinds))}")


def grid() -> tuple[Array, Array, Tensor]:
    """Return the coordinates of a grid of the plane, and its points."""
    left, right, bottom, top = EXTENT
    x = torch.linspace(left, right, 281, dtype=torch.float64)
    y = torch.linspace(bottom, top, 361, dtype=torch.float64)
    return x.numpy(), y.numpy(), torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def draw_plane(axes: Axes, section: Section, title: str) -> None:
    """Set the axes of the plane, and draw its two words."""
    for word, (x, y) in zip(WORDS, section.places(WORDS).tolist(), strict=True):
        axes.plot(x, y, "o", markersize=6.5, color=COLOURS[word], markeredgecolor="white", zorder=6)
        axes.annotate(word, (x, y), (0, -16), **LABEL, **WHITE, ha="center", fontsize=12, fontweight="bold")
    axes.set(aspect="equal", xlim=EXTENT[:2], ylim=EXTENT[2:])
    axes.set(xlabel="along the line from “she” to “he”", ylabel="distance from that line")
    axes.set_title(title, fontsize=12)


def draw_words(axes: Axes, section: Section, words: Sequence[str], style: dict[str, Any]) -> None:
    """Draw professions with their names, away from the middle."""
    for word, (x, y) in zip(words, section.places(words).tolist(), strict=True):
        right = x > -0.15
        axes.plot(x, y, "o", markersize=5, color="white", markeredgecolor="black", zorder=6)
        axes.annotate(
            word,
            (x, y),
            (7 if right else -7, 0),
            **LABEL,
            ha="left" if right else "right",
            va="center",
            fontsize=11,
            **style,
        )


def draw_stretch(axes: Axes, section: Section) -> None:
    """Draw by how much lengths grow most, and the professions."""
    stretch = section.stretch(grid()[2]).numpy()
    image = axes.imshow(
        stretch, norm=LogNorm(1), cmap="cividis", extent=EXTENT, origin="lower", interpolation="bilinear"
    )
    inset = axes.inset_axes((0.2, 0.5, 0.6, 0.025))
    bar = axes.figure.colorbar(image, cax=inset, orientation="horizontal")
    ticks = [tick for tick in (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 32, 64) if tick <= stretch.max()]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.ax.minorticks_off()
    bar.ax.tick_params(colors="white")
    bar.outline.set_edgecolor("white")
    bar.ax.set_title("√(1 + α|∇b|²)", color="white", fontsize=11)
    draw_words(axes, section, PLACED, WHITE)
    draw_plane(axes, section, "(a) How far the metric stretches lengths at most")


def draw_geodesics(axes: Axes, section: Section) -> None:
    """Draw the shortest paths between professions and the two words, before and after, and their lengths."""
    x, y, points = grid()
    axes.contourf(
        x, y, section.stretch(points).numpy(), levels=LEVELS, cmap="Greys", norm=LogNorm(1, 30), extend="max"
    )
    pairs = [(start, end) for start in TRAVELLERS for end in WORDS]
    starts, ends = (section.places(words) for words in zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # such a path is not drawn
        found = section.metric.solve_geodesic(starts, ends)
    most = section.metric.dist(starts, ends, mode="upper")
    sure = (found.residual < RESIDUAL) & (found.distance <= most)
    for index, (_, end) in enumerate(pairs):
        straight = torch.stack([starts[index], ends[index]])
        axes.plot(*straight.mT.numpy(), "--", color=COLOURS[end], linewidth=1.2)
        if sure[index]:
            axes.plot(*found.points[index].mT.numpy(), color=COLOURS[end], linewidth=2.2)
    lines = [f"{'':15s}straight  chord  geodesic"]
    chords = section.metric.dist(starts, ends, mode="chord")
    straights = (starts - ends).norm(dim=-1)
    for index, pair in enumerate(pairs):
        length = f"{found.distance[index]:.2f}" if sure[index] else "–"
        lines.append(f"{' – '.join(pair):15s}{straights[index]:8.2f}{chords[index]:7.2f}{length:>10s}")
    if not sure.all():
        lines.append("–: the search did not converge")
    axes.text(
        0.5, 0.985, "\n".join(lines), transform=axes.transAxes, ha="center", va="top", family="monospace"
    )
    draw_words(axes, section, TRAVELLERS, {"color": "black"})
    draw_plane(axes, section, "(b) Shortest paths before (dashed) and after (solid)")


def draw_attention(axes: Axes, shares: Tensor) -> None:
    """Draw the attention ``(2, n)`` of professions to male words, before and after."""
    order = shares[0].argsort()
    before, after = shares[:, order].numpy()
    heights = range(len(SHOWN))
    axes.hlines(heights, before, after, color="#b8b8b8", linewidth=2.5, zorder=1)
    axes.scatter(
        before, heights, s=50, facecolors="white", edgecolors="black", linewidths=1.5, label="before"
    )
    axes.scatter(after, heights, s=50, color="black", label="after", zorder=3)
    axes.axvline(0.5, color="black", linewidth=0.8, zorder=0)
    axes.set_yticks(heights, labels=[SHOWN[index] for index in order.tolist()], fontsize=11)
    reach = 1.12 * max(0.05, abs(before - 0.5).max(), abs(after - 0.5).max())
    axes.set(xlim=(0.5 - reach, 0.5 + reach), xlabel="share of the 8 male among 16 gendered words")
    axes.set_box_aspect((EXTENT[3] - EXTENT[2]) / (EXTENT[1] - EXTENT[0]))
    axes.set_title("(c) Attention before and after", fontsize=12)
    axes.legend(loc="lower right", frameon=False, fontsize=11)


def figure_of(section: Section, before: Tensor, after: Tensor, caption: str) -> Figure:
    """Return the three panels; attention is that of ``SHOWN`` to male words."""
    figure, panels = plt.subplots(1, 3, figsize=(17, 7.2), layout="constrained")
    draw_stretch(panels[0], section)
    draw_geodesics(panels[1], section)
    draw_attention(panels[2], torch.stack([before, after]))
    figure.suptitle(
        f"{caption}: (a, b) of “she” and “he” alone, (c) of 8 female and 8 male words", fontsize=13
    )
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the figure."""
    publish(path.parent, {path.name: partial(figure.savefig, dpi=120, format=path.suffix[1:])})
    plt.close(figure)
