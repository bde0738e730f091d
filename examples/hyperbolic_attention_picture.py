"""The picture of ``hyperbolic_attention.py``: what one node attends to, by each kind of attention."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from hierarchy import Hierarchy, Split
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from geowarp import GeowarpError
from geowarp.demo.files import publish
from geowarp.manifolds import Manifold, PoincareBall
from geowarp.metrics import geodesic

GREY, BLUE = "#b8b8b8", "#1f5fbf"


@dataclass(frozen=True)
class Panel:
    """Points in the plane, and what a node attends to.

    Args:
        title: of the panel.
        manifold: whose geodesics the edges are.
        points: ``(N, 2)``.
        weights: of the row, ``(N,)``.
        normal: whether to draw normal coordinates at the origin, which keep distances from it.
    """

    title: str
    manifold: Manifold
    points: Tensor
    weights: Tensor
    normal: bool = False

    def places(self, x: Tensor) -> Tensor:
        """Return where points are drawn."""
        drawn: Tensor = self.manifold.logmap(torch.zeros_like(x), x) if self.normal else x
        return drawn


def check(path: Path) -> None:
    """Refuse names of files that matplotlib does not write."""
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:] not in kinds:
        raise GeowarpError(f"--output {path} must end in one of .{', .'.join(sorted(kinds))}")


def query_of(hierarchy: Hierarchy, parts: Split) -> int:
    """Return the node with the most test pairs, of those the one with the most ancestors, the first."""
    hidden = torch.bincount(parts.test[:, 0], minlength=len(hierarchy))
    return int((hidden * len(hierarchy) + hierarchy.ancestors.sum(-1)).argmax())


def draw_edges(axes: Axes, panel: Panel, hierarchy: Hierarchy) -> None:
    """Draw the geodesic from each node to its parents."""
    child, parent = hierarchy.edges.nonzero().unbind(-1)
    time = torch.linspace(0, 1, 60)[:, None]
    curves = geodesic(panel.manifold, time, panel.points[child], panel.points[parent]).transpose(0, 1)
    axes.add_collection(
        LineCollection(list(panel.places(curves).numpy()), colors=GREY, linewidths=0.4, zorder=1)
    )


def draw_panel(axes: Axes, panel: Panel, hierarchy: Hierarchy, parts: Split, node: int) -> None:
    """Draw the hierarchy, the node, its ancestors, and its attention as areas and colours."""
    x, y = panel.places(panel.points).unbind(-1)
    ancestors = hierarchy.ancestors[node]
    draw_edges(axes, panel, hierarchy)
    axes.scatter(x, y, s=3, color=GREY, linewidths=0, zorder=2)
    order = panel.weights.argsort()
    axes.scatter(
        x[order],
        y[order],
        s=900 * panel.weights[order],
        c=panel.weights[order],
        cmap="YlOrRd",
        vmin=0,
        vmax=0.3,
        linewidths=0,
        alpha=0.85,
        clip_on=False,
        zorder=3,
    )
    for chosen, colour, label in (
        (ancestors & parts.known[node], "black", "ancestor that it knows"),
        (ancestors & ~parts.known[node], BLUE, "ancestor that is hidden from it"),
    ):
        axes.scatter(
            x[chosen],
            y[chosen],
            s=70,
            facecolors="none",
            edgecolors=colour,
            linewidths=1.4,
            zorder=4,
            label=label,
        )
    axes.scatter(
        x[node], y[node], s=150, marker="*", color="#2a9d3a", linewidths=0, zorder=5, label="the node"
    )
    share = float(panel.weights[ancestors].sum())
    hidden = float(panel.weights[ancestors & ~parts.known[node]].sum())
    axes.set(
        aspect="equal",
        xticks=[],
        yticks=[],
        title=f"{panel.title}\n{share:.0%} to ancestors, {hidden:.0%} to hidden ones",
    )
    if isinstance(panel.manifold, PoincareBall) and not panel.normal:
        axes.add_patch(Circle((0, 0), 1, fill=False, color="black", linewidth=0.8))
        axes.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
        axes.set_axis_off()
    else:
        axes.set(adjustable="datalim")


def figure_of(panels: list[Panel], hierarchy: Hierarchy, parts: Split) -> Figure:
    """Return the panels, two in a row, for one node; the ball a second time in normal coordinates."""
    node = query_of(hierarchy, parts)
    shown = []
    for panel in panels:
        shown.append(panel)
        if isinstance(panel.manifold, PoincareBall):
            again = replace(panel, title=f"{panel.title}: normal coordinates at the origin", normal=True)
            shown.append(again)
    rows = -(-len(shown) // 2)
    figure, grid = plt.subplots(rows, 2, figsize=(11, 5.8 * rows + 0.6), layout="constrained", squeeze=False)
    for axes, panel in zip(grid.flat, shown, strict=False):
        draw_panel(axes, panel, hierarchy, parts, node)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"What node “{hierarchy.names[node]}” attends to: areas and colours are weights")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the figure."""
    publish(path.parent, {path.name: partial(figure.savefig, dpi=120, format=path.suffix[1:])})
    plt.close(figure)
