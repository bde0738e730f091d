"""Clustering of samples that are seen in several views, by a network of subspaces."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted
from torch import nn
from typing_extensions import Self

from .._device import usable_device
from .._warn import warn
from ..errors import GeowarpError, NumericalWarning
from ..metrics import view_agreement
from ..nn import MultiviewClusteringLoss, MultiviewSubspaceNetwork
from .inference import Predictions, infer
from .initialization import initialize_clusters
from .neighbors import nearest_neighbors
from .parameters import check_integer, check_number, check_optional_bool, from_json, to_json
from .plain_computation import plain_computation
from .progress import epoch_bar
from .randomness import draw_seed, isolated_randomness
from .scaling import ViewScaling, fit_scaling, scale_views
from .storage import Record, read_record, write_record
from .training import TrainingSettings, default_batch_size, smallest_batch, train
from .views import check_fit_shapes, check_views

__all__ = ["MultiviewSubspaceClustering"]

_VIEWS = {"views": UNUSED}
_NAME = "MultiviewSubspaceClustering"
_SIZES = ("subspace_dim", "ambient_dim", "rows")
_WEIGHTS = ("consistency_weight", "balance_weight", "contrastive_weight", "cluster_weight")
_TEMPERATURES = ("temperature", "cluster_temperature")


class MultiviewSubspaceClustering(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Deep clustering of samples with several views, each view of a sample a point of a Grassmann manifold.

    An encoder turns each view of a sample into a subspace, a Grassmann network maps the subspaces, and a head
    with a subspace for each cluster assigns clusters to each view and to the consensus of all. ``fit`` trains
    them together, without labels:

    1. two samples are neighbours where one is among the ``n_neighbors`` nearest of the other, in all views
       together;
    2. clusters start from k-means of the subspaces, averaged over neighbours, at equal variance;
    3. Riemannian Adam minimises ``geowarp.nn.MultiviewClusteringLoss``: neighbours fall into one cluster,
       clusters are even, views of a sample have close subspaces, and clusters agree across views.

    Views are a list of at least two arrays or tensors with the same samples in the same order: vectors
    ``(N, d)``, images ``(N, h, w)`` or ``(N, c, h, w)``, in any mixture and any real dtype. Each view is
    standardised with the statistics of ``fit``, vectors by feature and images as a whole; computation is in
    float32.

    Args:
        n_clusters: number of clusters K.
        max_epochs: how often ``fit`` goes through all samples; 0 leaves the network and its clusters as they
            start.
        batch_size: the most samples in a batch; an epoch is split evenly, so none is dropped. By default an
            eighth of the samples, at least 50 and at most 500.
        learning_rate: of Riemannian Adam at the start; it falls to 0 along half a cosine.
        subspace_dim: dimension k of the subspaces.
        ambient_dim: dimension n of the space around them.
        rows: the size of the vectors that span the first subspaces, at least n.
        shared_encoder: whether views share their encoder; by default where all are images of one shape.
        n_neighbors: how many nearest samples of each one are looked at for its neighbours; all where there
            are fewer.
        consistency_weight: weight of the agreement of neighbours; it and the next ones are those of
            ``geowarp.nn.MultiviewClusteringLoss``.
        balance_weight: weight of clusters of even size.
        contrastive_weight: weight of the contrastive loss of the subspaces.
        cluster_weight: weight of the contrastive loss of the clusters.
        temperature: of the contrastive loss of the subspaces.
        cluster_temperature: of the contrastive loss of the clusters.
        random_state: int for the same result in every fit, a ``numpy.random.RandomState``, or None for
            numpy's global one. Torch's global generators are left as they were.
        verbose: whether to show a progress bar over the epochs, which needs tqdm.
        device: where to train and to predict.

    Attributes:
        labels_: cluster of each sample, ``(N,)``.
        view_labels_: cluster of each sample by each view alone, ``(V, N)``.
        view_agreement_: share of samples on which two views agree, ``(V, V)``.
        n_iter_: number of epochs.
        loss_curve_: the mean loss of each epoch.
        network_: the trained ``geowarp.nn.MultiviewSubspaceNetwork``, in evaluation mode.
        n_views_: number of views V.
        view_shapes_: shape of a sample in each view.

    Raises:
        GeowarpError: in ``fit``, for a parameter out of its range, and for views that are missing, not
            finite, or differ in their number of samples.

    Warns:
        NumericalWarning: where batches have fewer samples than there are clusters.

    References:
        Wang, Li, Hu, Wu, Bao, Deep Grassmannian multiview subspace clustering with contrastive learning,
        Electronic Research Archive 32 (2024).

    Example:
        >>> import numpy as np
        >>> centres = np.random.default_rng(0).normal(size=(2, 3, 8))  # of three clusters in two views
        >>> truth = np.repeat([0, 1, 2], 20)
        >>> noise = np.random.default_rng(1).normal(size=(2, 60, 8))
        >>> views = [centres[v, truth] + 0.1 * noise[v] for v in range(2)]
        >>> model = MultiviewSubspaceClustering(n_clusters=3, max_epochs=2, random_state=0)
        >>> model.fit_predict(views).shape, model.transform(views).shape[0], model.n_iter_
        ((60,), 60, 2)
    """

    # views are the data, not metadata that a pipeline routes
    __metadata_request__fit = _VIEWS
    __metadata_request__predict = _VIEWS
    __metadata_request__predict_proba = _VIEWS
    __metadata_request__transform = _VIEWS

    def __init__(
        self,
        n_clusters: int,
        *,
        max_epochs: int = 20,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        subspace_dim: int = 4,
        ambient_dim: int = 16,
        rows: int = 32,
        shared_encoder: bool | None = None,
        n_neighbors: int = 5,
        consistency_weight: float = 1.0,
        balance_weight: float = 2.0,
        contrastive_weight: float = 0.1,
        cluster_weight: float = 0.1,
        temperature: float = 1.0,
        cluster_temperature: float = 0.5,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        self.n_clusters = n_clusters
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.subspace_dim = subspace_dim
        self.ambient_dim = ambient_dim
        self.rows = rows
        self.shared_encoder = shared_encoder
        self.n_neighbors = n_neighbors
        self.consistency_weight = consistency_weight
        self.balance_weight = balance_weight
        self.contrastive_weight = contrastive_weight
        self.cluster_weight = cluster_weight
        self.temperature = temperature
        self.cluster_temperature = cluster_temperature
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    @plain_computation
    def fit(self, views: Sequence[Any], y: object = None) -> Self:
        """Train on the views of N samples; ``y`` is ignored.

        Raises:
            GeowarpError: see the class; what was fitted before then stays.
        """
        arguments = self._network_arguments()
        tensors, loss, device = check_views(views), self._make_loss(), usable_device(self.device, "device =")
        settings = self._training_settings(len(tensors[0]))
        self._check_samples(len(tensors[0]), settings.batch_size)
        n_neighbors = self._neighbors(len(tensors[0]))
        shapes = [tuple(view.shape[1:]) for view in tensors]
        scalings = [fit_scaling(view, f"view {index}") for index, view in enumerate(tensors)]
        scaled = scale_views(scalings, tensors)
        with torch.device("meta"):  # refuses sizes that do not fit together before a seed is drawn
            self._make_network(shapes, arguments)
        seed = draw_seed(self.random_state)
        with epoch_bar(settings.max_epochs, self.verbose) as progress, isolated_randomness(seed, device):
            network = self._make_network(shapes, arguments).to(device, torch.float32)
            graph = nearest_neighbors(scaled, n_neighbors)
            initialize_clusters(network, scaled, graph, settings.batch_size, seed)
            generator = torch.Generator().manual_seed(seed)
            losses = train(network, loss, scaled, graph, settings, generator, progress)
            predictions = infer(network, scaled, settings.batch_size)
        self._restore(network, arguments, scalings, shapes, losses)
        self._label(predictions.labels.numpy(), predictions.view_labels.numpy())
        return self

    def fit_predict(self, views: Sequence[Any], y: object = None) -> NDArray[np.int64]:
        """Train on views, and return the cluster of each of their samples, ``(N,)``; ``y`` is ignored."""
        return self.fit(views).labels_

    def predict(self, views: Sequence[Any]) -> NDArray[np.int64]:
        """Return the cluster of each sample, ``(N,)``, in order; the samples need all views of ``fit``."""
        labels: NDArray[np.int64] = self._infer(views).labels.numpy()
        return labels

    def predict_proba(self, views: Sequence[Any]) -> NDArray[np.float32]:
        """Return the assignments of each sample to the clusters, ``(N, K)``; rows sum to 1."""
        assignments: NDArray[np.float32] = self._infer(views).consensus.numpy()
        return assignments

    def transform(self, views: Sequence[Any]) -> NDArray[np.float32]:
        """Return an embedding ``(N, e)`` of each sample's consensus subspace, as for a plot."""
        embedding: NDArray[np.float32] = self._infer(views).embedding.numpy()
        return embedding

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to one safetensors file, which ``load`` reads.

        Raises:
            GeowarpError: for a parameter that has no form in JSON.
        """
        check_is_fitted(self)
        tensors = {f"network.{name}": tensor for name, tensor in self.network_.state_dict().items()}
        for index, scaling in enumerate(self._scalings):
            tensors |= {f"shift.{index}": scaling.shift, f"factor.{index}": scaling.factor}
        tensors["labels"] = torch.as_tensor(self.labels_)
        tensors["view_labels"] = torch.as_tensor(self.view_labels_)
        values = {
            "parameters": {name: to_json(name, value) for name, value in self.get_params(deep=False).items()},
            "network": {name: to_json(name, value) for name, value in self._network_built_with.items()},
            "view_shapes": self.view_shapes_,
            "loss_curve": self.loss_curve_,
        }
        write_record(path, Record(_NAME, tensors, values))

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str | torch.device | None = None) -> Self:
        """Return the model that ``save`` wrote: its parameters, predictions and attributes are the same.

        Args:
            path: of the file.
            device: instead of that of the saved model.

        Raises:
            GeowarpError: where the file is damaged or another program's, or its device is not here.
        """
        record = read_record(path, _NAME)
        try:
            return cls._from_record(record, device)
        except GeowarpError:
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise GeowarpError(
                f"{os.fspath(path)} does not fit this version of {_NAME}: {' '.join(str(error).split())}; "
                "save the model again"
            ) from error

    @classmethod
    @plain_computation
    def _from_record(cls, record: Record, device: str | torch.device | None) -> Self:
        values = record.values
        model = cls(**{name: from_json(value) for name, value in values["parameters"].items()})
        if device is not None:
            model.device = device
        place = usable_device(model.device, "device =")
        shapes = [tuple(shape) for shape in values["view_shapes"]]
        arguments = {name: from_json(value) for name, value in values["network"].items()}
        with isolated_randomness(0, torch.device("cpu")):
            network = model._make_network(shapes, arguments)
        network.to(torch.float32).load_state_dict(record.under("network."))
        network.to(place).eval()
        shifts, factors = record.under("shift."), record.under("factor.")
        scalings = [ViewScaling(shifts[str(index)], factors[str(index)]) for index in range(len(shapes))]
        model._restore(network, arguments, scalings, shapes, values["loss_curve"])
        model._label(record.tensors["labels"].numpy(), record.tensors["view_labels"].numpy())
        return model

    def _network_arguments(self) -> dict[str, Any]:
        return {
            "num_clusters": check_integer("n_clusters", self.n_clusters, 2),
            **{name: check_integer(name, getattr(self, name), 1) for name in _SIZES},
            "shared_encoder": check_optional_bool("shared_encoder", self.shared_encoder),
        }

    def _make_network(
        self, view_shapes: Sequence[tuple[int, ...]], arguments: dict[str, Any]
    ) -> MultiviewSubspaceNetwork:
        return MultiviewSubspaceNetwork(view_shapes, **arguments)

    def _make_loss(self) -> nn.Module:
        weights = {name: check_number(name, getattr(self, name), zero=True) for name in _WEIGHTS}
        temperatures = {name: check_number(name, getattr(self, name)) for name in _TEMPERATURES}
        return MultiviewClusteringLoss(**weights, **temperatures)

    def _training_settings(self, samples: int) -> TrainingSettings:
        return TrainingSettings(
            check_integer("max_epochs", self.max_epochs, 0),
            self._batch_size(samples, 2),
            check_number("learning_rate", self.learning_rate),
        )

    def _batch_size(self, samples: int, least: int) -> int:
        if self.batch_size is None:
            return default_batch_size(samples)
        return check_integer("batch_size", self.batch_size, least)

    def _neighbors(self, samples: int) -> int:
        return min(check_integer("n_neighbors", self.n_neighbors, 1), samples - 1)

    def _check_samples(self, samples: int, batch_size: int) -> None:
        if samples < self.n_clusters:
            raise GeowarpError(
                f"there are {samples} samples for n_clusters = {self.n_clusters}; pass at least one each"
            )
        smallest = smallest_batch(samples, batch_size)
        if smallest < 2:
            raise GeowarpError(
                f"{samples} samples in batches of batch_size = {batch_size} leave one by itself, and "
                "samples are compared with each other; pass batch_size = 3 or more"
            )
        if smallest < self.n_clusters:
            warn(
                f"batches of batch_size = {batch_size} have down to {smallest} samples and cannot hold "
                f"all of n_clusters = {self.n_clusters}; a larger batch_size separates clusters better",
                NumericalWarning,
            )

    @plain_computation
    def _infer(self, views: Sequence[Any]) -> Predictions:
        check_is_fitted(self)
        tensors = check_views(views)
        check_fit_shapes(tensors, self.view_shapes_)
        scaled = scale_views(self._scalings, tensors)
        return infer(self.network_, scaled, self._batch_size(len(tensors[0]), 1))

    def _restore(
        self,
        network: MultiviewSubspaceNetwork,
        arguments: dict[str, Any],
        scalings: list[ViewScaling],
        view_shapes: list[tuple[int, ...]],
        losses: list[float],
    ) -> None:
        self.network_, self._network_built_with, self._scalings = network, arguments, scalings
        self.n_views_, self.view_shapes_ = len(view_shapes), view_shapes
        self.n_iter_, self.loss_curve_ = len(losses), losses

    def _label(self, labels: NDArray[np.int64], view_labels: NDArray[np.int64]) -> None:
        self.labels_, self.view_labels_ = labels, view_labels
        self.view_agreement_ = view_agreement(view_labels)
