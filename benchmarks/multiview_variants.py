"""The training of ``MultiviewSubspaceClustering`` with one part replaced, its clusters known every epoch."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import scipy.sparse
import torch
from multiview_curve import Curve, Labels, Outcome
from multiview_linear import replace_grassmann_stage
from multiview_sources import Data
from torch import Tensor

from geowarp.cluster import MultiviewSubspaceClustering
from geowarp.cluster.inference import infer
from geowarp.cluster.initialization import initialize_clusters
from geowarp.cluster.neighbors import nearest_neighbors
from geowarp.cluster.randomness import draw_seed, isolated_randomness
from geowarp.cluster.scaling import fit_scaling
from geowarp.cluster.training import TrainingSettings, default_batch_size, train
from geowarp.cluster.views import check_views
from geowarp.nn import MultiviewClusteringLoss, MultiviewSubspaceNetwork

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Variant:
    """What differs from the estimator with its default parameters.

    Args:
        parameters: of the estimator.
        neighbors: whether samples have neighbours; without, the graph is empty, so k-means is of embeddings
            that are not averaged, and the loss makes each sample agree with itself only.
        k_means: whether clusters start from k-means, or at random.
        trained: whether there is any epoch.
        change: made to the network when it is built.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    neighbors: bool = True
    k_means: bool = True
    trained: bool = True
    change: Callable[[MultiviewSubspaceNetwork], object] = lambda network: None

    def settings(self, epochs: int) -> dict[str, Any]:
        """Return all parameters of the estimator but ``n_clusters``."""
        values: dict[str, Any] = MultiviewSubspaceClustering(
            2, max_epochs=epochs, **self.parameters
        ).get_params()
        del values["n_clusters"]
        return values


OURS = "MultiviewSubspaceClustering"
LINEAR = "linear layer for the Grassmann stage"
VARIANTS = {
    OURS: Variant(),
    "its start, before training": Variant(trained=False),
    "no projection-metric loss": Variant({"contrastive_weight": 0.0}),
    LINEAR: Variant({"contrastive_weight": 0.0}, change=replace_grassmann_stage),
    f"{LINEAR}, rate 1e-4": Variant(
        {"contrastive_weight": 0.0, "learning_rate": 1e-4}, change=replace_grassmann_stage
    ),
}
FURTHER = {
    "no neighbours": Variant(neighbors=False),
    "no k-means, random clusters": Variant(k_means=False),
}


class Training(NamedTuple):
    """What is trained on which views."""

    network: MultiviewSubspaceNetwork
    loss: MultiviewClusteringLoss
    views: list[Tensor]
    graph: scipy.sparse.csr_array
    settings: TrainingSettings
    generator: torch.Generator

    def run(self, progress: Callable[[float], object] = lambda loss: None) -> None:
        """Train for the epochs of the settings."""
        train(*self[:6], progress)

    def labels(self) -> Labels:
        """Return the clusters of all samples, in evaluation mode."""
        labels: Labels = infer(self.network, self.views, self.settings.batch_size).labels.numpy()
        return labels


def prepare(data: Data, variant: Variant, seed: int, epochs: int) -> Training:
    """Return the training of ``MultiviewSubspaceClustering.fit`` with a variant's differences."""
    values = variant.settings(epochs)
    tensors = check_views(data.views)
    scaled = [fit_scaling(view)(view) for view in tensors]
    shapes = [tuple(view.shape[1:]) for view in scaled]
    samples = len(scaled[0])
    batch_size = values["batch_size"] or default_batch_size(samples)
    network = MultiviewSubspaceNetwork(
        shapes, data.classes, **_known(MultiviewSubspaceNetwork, values)
    ).float()
    variant.change(network)
    graph = scipy.sparse.csr_array((samples, samples))
    if variant.neighbors:
        graph = nearest_neighbors(scaled, min(values["n_neighbors"], samples - 1))
    if variant.k_means:
        initialize_clusters(network, scaled, graph, batch_size, seed)
    loss = MultiviewClusteringLoss(**_known(MultiviewClusteringLoss, values))
    settings = TrainingSettings(epochs, batch_size, values["learning_rate"])
    return Training(network, loss, scaled, graph, settings, torch.Generator().manual_seed(seed))


def cluster(data: Data, variant: Variant, seed: int, epochs: int) -> Outcome:
    """Train a variant, and judge it after every epoch."""
    seed = draw_seed(seed)
    with isolated_randomness(seed, CPU):
        training = prepare(data, variant, seed, epochs)
        curve = Curve(data.labels, training.labels)
        if variant.trained:
            training.run(curve)
        else:
            curve.labels = training.labels()
    return curve.outcome(sum(parameter.numel() for parameter in training.network.parameters()))


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are arguments of a class."""
    return {name: values[name] for name in inspect.signature(kind).parameters if name in values}
