"""The multiview benchmark: its data, its rivals, and that its training is the estimator's."""

import io
import itertools
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from torch import Tensor

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
if not (BENCHMARKS / "multiview_clustering.py").is_file():
    pytest.skip("benchmarks/ is not beside the tests", allow_module_level=True)
pytest.importorskip("sklearn")
sys.path.append(str(BENCHMARKS))

import multiview_baselines as baselines  # noqa: E402
import multiview_clustering as benchmark  # noqa: E402
import multiview_linear as linear  # noqa: E402
import multiview_reference as reference  # noqa: E402
import multiview_variants as variants  # noqa: E402
from multiview_sources import Data, multi_coil  # noqa: E402

from geowarp.cluster import MultiviewSubspaceClustering  # noqa: E402
from geowarp.cluster.randomness import draw_seed, isolated_randomness  # noqa: E402
from geowarp.metrics import clustering_accuracy  # noqa: E402
from geowarp.nn import MultiviewSubspaceNetwork  # noqa: E402

LABELS = np.arange(60) % 3


def images(seed: int = 0) -> Data:
    """Return two views of images of three kinds."""
    random = np.random.default_rng(seed)
    views = [random.normal(size=(3, 1, 8, 8))[LABELS] for _ in range(2)]
    noisy = [view + 0.2 * random.normal(size=view.shape) for view in views]
    return Data("images", [view.astype(np.float32) for view in noisy], LABELS)


def vectors() -> Data:
    """Return two views of vectors of three kinds."""
    random = np.random.default_rng(0)
    views = [random.normal(size=(3, d))[LABELS] + 0.1 * random.normal(size=(60, d)) for d in (5, 9)]
    return Data("vectors", list(views), LABELS)


@pytest.mark.parametrize("zipped", [False, True])
def test_the_file_of_coil_is_read(tmp_path: Path, zipped: bool) -> None:
    tables = {f"X{v}": np.full((4, 1, 3, 3), v, dtype=np.float32) for v in (1, 2, 3)}
    content = io.BytesIO()
    scipy.io.savemat(content, {**tables, "Y": np.array([[1, 2, 1, 2]], dtype=np.uint8)})
    path = tmp_path / "data"
    path.write_bytes(content.getvalue())
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/Data.mat", content.getvalue())
    data = multi_coil(path)
    assert [view[0, 0, 0, 0] for view in data.views] == [1, 2, 3]
    assert data.views[0].shape == (4, 1, 3, 3)
    assert data.labels.tolist() == [1, 2, 1, 2]
    assert data.classes == 2


def test_concatenations() -> None:
    views = [np.array([[1.0, 7.0], [3.0, 7.0]]), np.array([[[2.0]], [[6.0]]])]
    np.testing.assert_array_equal(baselines.raw(views), [[1, 7, 2], [3, 7, 6]])
    np.testing.assert_array_equal(baselines.standardised(views), [[-1, 0, -1], [1, 0, 1]])
    weighted = baselines.of_equal_weight(views)
    np.testing.assert_allclose(weighted, np.array([[-1, 0, -1], [1, 0, 1]]) / np.sqrt([2, 2, 1]))


@pytest.mark.parametrize("name", list(baselines.OF_IMAGES | baselines.OF_VECTORS))
def test_baselines_find_separated_clusters(name: str) -> None:
    data = vectors()
    clustering = {**baselines.OF_IMAGES, **baselines.OF_VECTORS}[name]
    assert clustering_accuracy(LABELS, clustering(data.views, 3, 0)) == 1


@pytest.mark.parametrize(
    ("data", "parameters"), [(images(), {}), (vectors(), {}), (vectors(), {"contrastive_weight": 0.0})]
)
def test_the_training_is_that_of_the_estimator(data: Data, parameters: dict[str, Any]) -> None:
    model = MultiviewSubspaceClustering(3, max_epochs=2, random_state=7, **parameters).fit(data.views)
    seed = draw_seed(7)
    with isolated_randomness(seed, variants.CPU):
        training = variants.prepare(data, variants.Variant(parameters), seed, epochs=2)
        training.run()
    for name, tensor in model.network_.state_dict().items():
        assert torch.equal(tensor, training.network.state_dict()[name]), name


def test_judging_every_epoch_changes_nothing() -> None:
    data = vectors()
    outcome = variants.cluster(data, variants.Variant(), 7, epochs=2)
    model = MultiviewSubspaceClustering(3, max_epochs=2, random_state=7).fit(data.views)
    np.testing.assert_array_equal(outcome.labels, model.labels_)
    assert len(outcome.accuracies) == len(outcome.seconds) == 2
    assert outcome.accuracies[-1] == clustering_accuracy(LABELS, model.labels_)
    assert outcome.parameters == sum(p.numel() for p in model.network_.parameters())


def test_variants_differ_in_what_they_name() -> None:
    data, kinds = vectors(), variants.VARIANTS | variants.FURTHER
    built = {name: variants.prepare(data, variant, 0, 1) for name, variant in kinds.items()}
    assert [name for name, b in built.items() if b.graph.nnz == 0] == ["no neighbours"]
    without = [name for name, b in built.items() if b.loss.weights["contrastive_weight"] == 0]
    assert without == ["no projection-metric loss", variants.LINEAR, f"{variants.LINEAR}, rate 1e-4"]
    assert [b.settings.learning_rate for b in built.values()].count(1e-4) == 1
    temperatures = {name: b.network.clusters.log_temperature.item() for name, b in built.items()}
    assert [name for name, log in temperatures.items() if log == 0] == ["no k-means, random clusters"]


@pytest.mark.parametrize("data", [images(), vectors()], ids=lambda data: data.name)
def test_the_linear_stage_takes_the_place_of_the_other(data: Data) -> None:
    shapes = [view.shape[1:] for view in data.views]
    network = MultiviewSubspaceNetwork(shapes, 3)
    views = [torch.from_numpy(view).float() for view in data.views]
    before = network(views)
    linear.replace_grassmann_stage(network)
    output = network(views)
    assert output.embedding.shape == before.embedding.shape
    torch.testing.assert_close(output.consensus.sum(-1), torch.ones(60))
    each = [network.encoders[0 if network.shared else v](view).flatten(1) for v, view in enumerate(views)]
    first = network.full_rank_map if network.shared else network.full_rank_map.get_submodule("layers.0")
    torch.testing.assert_close(output.subspaces[0], first(each[0]))
    labels = torch.from_numpy(LABELS)
    network.clusters.fit_clusters(output.subspaces.detach(), labels)
    centres = network.clusters.subspaces
    members = output.subspaces[:, labels == 1]
    expected = members.mean((0, 1)) if network.shared else members[0].mean(0)
    torch.testing.assert_close(centres[0, 1], expected)
    distances = torch.stack(
        [torch.cdist(part, centres[v % len(centres)]) for v, part in enumerate(output.subspaces)]
    ).square()
    own = distances.sum(0)[torch.arange(60), labels].mean()
    torch.testing.assert_close(network(views).assignments, (-4 * distances / own).softmax(-1))


def test_the_reference_differentiates_subspaces() -> None:
    """Any function of the span, whose gradient of ``E Eᵀ`` torch has too."""
    torch.manual_seed(0)
    features = torch.randn(2, 6, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 6, 6, dtype=torch.float64)
    gradients: list[Tensor] = []
    for bases in (
        reference.leading_eigenvectors(features @ features.mT, 3),
        torch.linalg.svd(features)[0][..., :3],
    ):
        gradients += torch.autograd.grad((weight * (bases @ bases.mT)).sum(), features, retain_graph=True)
    torch.testing.assert_close(*gradients)
    equal = torch.eye(6, dtype=torch.float64, requires_grad=True)
    reference.leading_eigenvectors(equal[None], 3).square().sum().backward()
    assert equal.grad is not None
    assert equal.grad.isfinite().all()


def _info_nce(one: Tensor, other: Tensor) -> Tensor:
    """Return the cross-entropy of the other view's column among all columns but the own, column by column."""
    columns = [*one.T, *other.T]
    clusters = len(columns) // 2
    terms = []
    for i, column in enumerate(columns):
        scores = torch.stack([column @ rival for j, rival in enumerate(columns) if j != i])
        terms.append(scores.logsumexp(0) - column @ columns[(i + clusters) % (2 * clusters)])
    return torch.stack(terms).mean()


def test_the_objective_of_the_reference() -> None:
    torch.manual_seed(0)
    students, softmax = torch.randn(2, 3, 8, 4, dtype=torch.float64).softmax(-1)
    targets = []
    for p in softmax:
        weight = p**2 / p.sum(0)
        targets.append(weight / weight.sum(1, keepdim=True))
    expected = torch.zeros((), dtype=torch.float64)
    for i, j in itertools.combinations(range(3), 2):
        expected += _info_nce(students[i], students[j]) + 0.01 * _info_nce(targets[i], targets[j])
        for view in (i, j):
            share = targets[view].sum(0) / targets[view].sum()
            expected += 0.01 * (share * share.log()).sum()
    torch.testing.assert_close(reference.reference_loss(students, softmax), expected)


def test_the_reference_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "BATCH", 25)
    data = images()
    monkeypatch.setattr(reference, "HIDDEN", 32)
    training = reference.prepare(data, reference.GrassmannStage, seed=0)
    network, stage = training.network, training.network.stage
    assert isinstance(stage, reference.GrassmannStage)
    before = stage.weight.detach().clone()
    sizes: list[int] = []
    network.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0][0])))
    training.epoch()
    assert sizes == [25, 25]
    weight = stage.weight.detach()
    torch.testing.assert_close(weight.mT @ weight, torch.eye(25), atol=1e-5, rtol=0)
    assert not torch.equal(weight, before)
    projectors = stage(torch.randn(2, 49, 64)).unflatten(1, (25, 25))
    torch.testing.assert_close(projectors @ projectors, projectors, atol=1e-4, rtol=0)
    torch.testing.assert_close(projectors.diagonal(dim1=1, dim2=2).sum(1), torch.full((2,), 13.0))
    labels = training.labels()
    means = network([torch.from_numpy(view) for view in data.views])[1].mean(0)
    np.testing.assert_array_equal(labels, means.argmax(1).numpy())


def test_the_first_epoch_that_is_enough() -> None:
    assert benchmark.first_epoch([0.5, 0.99, 0.4, 1.0], 0.99) == 2
    assert benchmark.first_epoch([0.5], 0.99) is None


def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    small = {name: benchmark.digits_methods(2)[name] for name in (variants.OURS, "k-means")}
    monkeypatch.setattr(benchmark, "digits", vectors)
    monkeypatch.setattr(benchmark, "digits_methods", lambda epochs: small)
    monkeypatch.setattr(
        sys, "argv", ["multiview_clustering.py", "--parts", "coil", "digits", "--out", str(tmp_path)]
    )
    try:
        benchmark.main()
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert "coil is left out: it needs --coil FILE" in printed
    assert "1.0000 ± 0.0000" in printed
    rows = json.loads((tmp_path / "multiview_clustering-digits.json").read_text())["rows"]
    assert [(row["method"], row["seed"]) for row in rows] == [(n, s) for s in range(3) for n in small]
    lines = {line["method"]: line for line in benchmark.summary(rows)}
    assert lines["k-means"]["margin"] == "+0.0000"
    assert [lines[name]["best ACC"] for name in small] == ["1.0000", None]
    assert lines[variants.OURS]["epochs to 0.99"] == "1, 1, 1"


def test_a_race(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "HIDDEN", 32)
    first, second = benchmark.race(images(), seed=0, rounds=1)
    assert first["method"] == "reference"
    assert first["ratio"] == 1
    assert second["ratio"] == pytest.approx(second["s/epoch"] / first["s/epoch"])
