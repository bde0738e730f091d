"""How the estimator of multiview clustering starts and pairs samples, and problems it must solve."""

import importlib.util
import io
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from multiview_clustering_cases import LABELS, Views, estimator, two_views, vectors
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from geowarp.cluster import MultiviewSubspaceClustering
from geowarp.cluster.initialization import initialize_clusters
from geowarp.cluster.neighbors import nearest_neighbors
from geowarp.cluster.randomness import isolated_randomness
from geowarp.cluster.training import TrainingSettings, train
from geowarp.errors import GeowarpError
from geowarp.metrics import clustering_accuracy
from geowarp.nn import MultiviewSubspaceNetwork

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "multiview_data.py"


class Echo(nn.Linear):
    """Returns the numbers of the samples."""

    def forward(self, views: list[Tensor]) -> Tensor:  # type: ignore[override]
        output: Tensor = views[0] + 0 * super().forward(views[0])
        return output


def line(samples: int) -> scipy.sparse.csr_array:
    """Return the graph in which i and i + 1 are neighbours."""
    return scipy.sparse.csr_array(np.eye(samples, k=1) + np.eye(samples, k=-1))


@pytest.mark.parametrize(("samples", "batch_size"), [(12, 4), (13, 4), (11, 3), (30, 7), (9, 50), (2, 2)])
def test_each_sample_meets_a_neighbour_or_itself(samples: int, batch_size: int) -> None:
    seen: list[tuple[list[int], list[int]]] = []

    def loss(output: Tensor, neighbors: Tensor) -> Tensor:
        numbers = output.flatten().round().long()
        seen.append((numbers.tolist(), numbers[neighbors].tolist()))
        assert torch.equal(neighbors[neighbors], torch.arange(len(numbers)))
        return output.mean()

    settings = TrainingSettings(max_epochs=3, batch_size=batch_size, learning_rate=1e-9)
    views = [torch.arange(float(samples))[:, None]] * 2
    train(Echo(1, 1), loss, views, line(samples), settings, torch.Generator(), lambda loss: None)
    gaps = [abs(a - b) for batch, others in seen for a, b in zip(batch, others, strict=True)]
    assert len(gaps) == 3 * samples
    assert set(gaps) <= {0, 1}
    assert gaps.count(1) >= samples  # a maximal matching of the line has a third of its edges
    for batch, others in seen:  # alone only where no neighbour is left, or at an end of the batch
        alone = [a for a, b in zip(batch[1:-1], others[1:-1], strict=True) if a == b]
        assert all(abs(a - b) > 1 for a in alone for b in alone if a != b)


def scaled_views(seed: int = 0) -> list[Tensor]:
    return [torch.from_numpy(vectors(seed=seed + view)).float() for view in range(2)]


def initialized(seed: int = 0) -> tuple[MultiviewSubspaceNetwork, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        network = MultiviewSubspaceNetwork([(8,), (8,)], 3)
    views = scaled_views()
    return network, initialize_clusters(network, views, nearest_neighbors(views, 10), 50, seed)


def test_clusters_start_where_k_means_is() -> None:
    network, labels = initialized()
    assert adjusted_rand_score(LABELS, labels) == 1
    output = network(scaled_views())
    assert torch.equal(output.consensus.argmax(-1), labels)
    own = network.clusters.squared_distances(output.subspaces).sum(0).gather(1, labels[:, None])
    torch.testing.assert_close(network.clusters.temperature, own.mean() / 4)
    point = network.clusters.subspaces.detach()
    torch.testing.assert_close(point.mT @ point, torch.eye(4).expand(2, 3, 4, 4), atol=1e-5, rtol=0)


def test_the_start_is_of_its_seed_alone() -> None:
    state = np.random.get_state()  # noqa: NPY002
    try:
        results = []
        for seed in (1, 2):
            np.random.seed(seed)  # noqa: NPY002
            torch.default_generator.manual_seed(seed)
            before = torch.get_rng_state()
            results.append(initialized())
            assert torch.equal(torch.get_rng_state(), before)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    (first, labels), (second, again) = results
    assert torch.equal(labels, again)
    assert torch.equal(first.clusters.subspaces, second.clusters.subspaces)


def test_a_start_with_fewer_points_than_clusters() -> None:
    """k-means then leaves clusters empty, and they stay where they are; no warning reaches the user."""
    same = [np.repeat(vectors(seed=seed)[[0, 50]], 20, axis=0) for seed in (0, 1)]
    model = estimator(n_clusters=4, max_epochs=1).fit(same)
    assert len(set(model.labels_[:20])) == len(set(model.labels_[20:])) == 1
    assert np.isfinite(model.loss_curve_).all()
    assert np.isfinite(model.predict_proba(same)).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors = 0 must be an integer of at least 1"),
        ({"n_neighbors": 2.5}, "n_neighbors = 2.5 must be an integer"),
        ({"n_neighbors": None}, "n_neighbors = None must be an integer"),
        ({"consistency_weight": -1.0}, "consistency_weight = -1.0 must be a positive number, or 0"),
        ({"temperature": 0.0}, "temperature = 0.0 must be a positive number"),
        ({"subspace_dim": 20}, "subspace_dim = 20, ambient_dim = 16"),
        ({"batch_size": 2}, "89 samples in batches of batch_size = 2 leave one by itself"),
    ],
)
def test_parameters_are_checked_before_anything_is_drawn(parameters: dict[str, Any], message: str) -> None:
    random = np.random.RandomState(0)
    with pytest.raises(GeowarpError, match=message):
        estimator(random_state=random, **parameters).fit([view[:89] for view in two_views()])
    assert random.randint(1000) == np.random.RandomState(0).randint(1000)


@pytest.mark.parametrize("samples", [4, 8])
def test_fewer_samples_than_neighbours(samples: int) -> None:
    views = [view[:samples] for view in two_views()]
    model = estimator(n_neighbors=10, n_clusters=2, device="cpu").fit(views)
    assert model.labels_.shape == (samples,)
    assert model.loss_curve_ == estimator(n_neighbors=samples - 1, n_clusters=2).fit(views).loss_curve_


def test_labels_after_one_epoch() -> None:
    model = estimator(max_epochs=1).fit(two_views())
    assert adjusted_rand_score(LABELS, model.labels_) == 1
    np.testing.assert_array_equal(model.labels_, model.predict(two_views()))


def test_without_any_weight_the_start_stays() -> None:
    names = ("consistency_weight", "balance_weight", "contrastive_weight", "cluster_weight")
    model = estimator(**dict.fromkeys(names, 0.0)).fit(two_views())
    assert model.loss_curve_ == [0.0, 0.0]
    assert adjusted_rand_score(LABELS, model.labels_) == 1


def lines(seed: int, widths: tuple[int, ...] = (10, 14)) -> tuple[Views, NDArray[np.int64]]:
    """Return samples on four circles, in a plane each about 0, in two views, and a view of noise."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(4), 60))
    views: Views = []
    for width in widths:
        planes = np.linalg.qr(random.normal(size=(4, width, 2)))[0][labels]
        angle = random.uniform(0, 2 * np.pi, len(labels))
        points = np.stack([np.cos(angle), np.sin(angle)], -1)[..., None]
        views.append((planes @ points).squeeze(-1) + 0.02 * random.normal(size=(len(labels), width)))
    return [*views, random.normal(size=(len(labels), 20))], labels


def test_clusters_that_no_centre_tells_apart_and_a_view_of_noise() -> None:
    views, labels = lines(4)
    model = MultiviewSubspaceClustering(4, max_epochs=6, random_state=0)
    assert adjusted_rand_score(labels, model.fit_predict(views)) > 0.95
    for points in (*views, np.concatenate(views, 1)):
        centres = KMeans(4, n_init=10, random_state=0).fit(points)
        assert adjusted_rand_score(labels, centres.labels_) < 0.3


@pytest.mark.slow
def test_digits_of_three_views() -> None:
    """More accurate than k-means of all features together, each view of the same variance."""
    spec = importlib.util.spec_from_file_location("multiview_data", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(data)
    views, labels = data.scikit_digits()
    together = np.concatenate([(view - view.mean(0)) / np.sqrt(view.var(0).sum()) for view in views], 1)
    accuracies = []
    for seed in range(5):
        centres = KMeans(10, n_init=10, random_state=seed).fit(together)
        model = MultiviewSubspaceClustering(10, max_epochs=3, random_state=seed).fit(views)
        accuracies.append([clustering_accuracy(labels, found.labels_) for found in (centres, model)])
    of_centres, of_subspaces = np.median(accuracies, axis=0)
    assert of_subspaces > of_centres + 0.02


@pytest.fixture(name="coil")
def _coil() -> tuple[Views, NDArray[np.int64]]:
    """Three views ``(720, 1, 32, 32)`` of Multi-COIL-10, in a MATLAB file or a zip file that has one."""
    name = os.environ.get("GEOWARP_MULTI_COIL", "")
    if not name:
        pytest.skip("GEOWARP_MULTI_COIL names no file of Multi-COIL-10")
    content = Path(name).read_bytes()
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (member,) = (member for member in archive.namelist() if member.endswith(".mat"))
            content = archive.read(member)
    table = scipy.io.loadmat(io.BytesIO(content))
    return [table["X1"], table["X2"], table["X3"]], table["Y"].ravel()


@pytest.mark.slow
def test_multi_coil_10(coil: tuple[Views, NDArray[np.int64]]) -> None:
    """The reference code is as accurate after 10 to 15 epochs."""
    views, labels = coil
    model = MultiviewSubspaceClustering(10, max_epochs=15, random_state=0).fit(views)
    assert clustering_accuracy(labels, model.labels_) >= 0.99


def test_threads_wait_for_each_other_s_generators() -> None:
    entered = threading.Event()

    def enter() -> None:
        with isolated_randomness(1, torch.device("cpu")):
            entered.set()

    thread = threading.Thread(target=enter)
    with isolated_randomness(0, torch.device("cpu")):
        thread.start()
        assert not entered.wait(0.1)
    thread.join()
    assert entered.is_set()
