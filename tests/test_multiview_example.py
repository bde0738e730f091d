"""The example of multiview clustering: its scores, its picture, its data, and what it refuses."""

import importlib.util
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
for package in ("sklearn", "tqdm"):
    pytest.importorskip(package)
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
if not (EXAMPLES / "multiview_clustering.py").is_file():
    pytest.skip("examples/ is not beside the tests", allow_module_level=True)
sys.path.append(str(EXAMPLES))

from matplotlib import pyplot  # noqa: E402
from multiview_clustering_cases import LABELS, estimator, images, vectors  # noqa: E402

from geowarp import GeowarpError  # noqa: E402


def _example() -> Any:
    """Return the example as a module, under a name that the benchmark of the same name does not have."""
    spec = importlib.util.spec_from_file_location(
        "example_of_multiview_clustering", EXAMPLES / "multiview_clustering.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look
    spec.loader.exec_module(module)
    return module


example = _example()
ROWS = (
    "k-means, concatenated views",
    "k-means, views of equal weight",
    "k-means, subspaces before training",
    "MultiviewSubspaceClustering",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "views.npz"
    np.savez(path, faces=images(12, 10), sounds=vectors(), labels=np.array(["a", "b", "c"])[LABELS])
    return path


def scores(printed: str) -> dict[str, list[float]]:
    """Return ACC, NMI, ARI and purity of each row of the table."""
    lines = {name: line for line in printed.splitlines() for name in ROWS if line.startswith(name)}
    return {name: [float(number) for number in line[len(name) :].split()] for name, line in lines.items()}


def test_digits_are_scored_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "digits.png"
    options = ["--data", "scikit-learn", "--samples", "100", "--epochs", "2", "--output", str(path)]
    assert example.main(options) == 0
    printed, shown = capsys.readouterr()
    assert "2/2" in shown  # the progress bar
    found = scores(printed)
    assert tuple(found) == ROWS
    for accuracy, nmi, ari, purity in found.values():
        assert 0.4 < accuracy <= purity <= 1
        assert 0.4 < nmi <= 1
        assert 0.2 < ari <= 1
    table = [line.split() for line in printed.splitlines() if line.startswith(tuple(example.THREE))]
    agreement = np.array([[float(number) for number in row[1:4]] for row in table])
    np.testing.assert_array_equal(agreement, agreement.T)
    np.testing.assert_array_equal(agreement.diagonal(), 1)
    pixels = pyplot.imread(path)[..., :3]
    assert pixels.shape[1] > 2 * pixels.shape[0] > 1000
    for third in np.array_split(pixels, 3, axis=1):
        colours = np.unique((255 * third).astype(int).reshape(-1, 3), axis=0)
        assert len(colours) > 20
    assert [entry.name for entry in path.parent.iterdir()] == ["digits.png"]


def test_clear_clusters_of_a_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clusters.svg"
    assert example.main(["--data", str(file), "--epochs", "3", "--tsne", "--output", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "90 samples, 3 clusters; views: faces (12, 10), sounds (8,)" in printed
    assert scores(printed)["MultiviewSubspaceClustering"] == [1, 1, 1, 1]
    drawn = path.read_text(encoding="utf-8")
    assert drawn.startswith("<?xml")
    assert drawn.count("<!-- t-SNE -->") == 2


def test_panels_have_one_size_and_nothing_overlaps(file: Path) -> None:
    samples = example.load(str(file))
    model = estimator(max_epochs=1).fit(samples.views)
    before = estimator(max_epochs=0).fit(samples.views).transform(samples.views)
    figure = example.picture(samples, model, before, example.k_means(before, 3, 0))
    try:
        found = [part.get_tightbbox() for part in [*figure.axes, *figure.legends]]
        boxes = [box for box in found if box is not None]
        sizes = np.array([axes.get_window_extent().size for axes in figure.axes])
        np.testing.assert_allclose(sizes, sizes[0, 0])
        assert len(boxes) == 4
        for one, other in combinations(boxes, 2):
            assert not one.overlaps(other)
        assert [len(axes.collections) for axes in figure.axes] == [3, 3, 0]  # the classes
    finally:
        pyplot.close(figure)


def test_views_are_standardised() -> None:
    grey, table = images(6, 5), np.column_stack([vectors(), np.full(len(LABELS), 7.0)])
    for view, over in ((grey, None), (table, 0)):
        scaled = example.standardised(view)
        np.testing.assert_allclose(scaled.mean(over, dtype=float), 0, atol=1e-6)
        deviation = scaled.std(over, dtype=float)
        np.testing.assert_allclose(deviation, [1] * 8 + [0] if over == 0 else 1, atol=1e-5)
    side_by_side = example.concatenated([grey, table], equal_weight=True)
    weights = [part.var(0).sum() for part in np.split(side_by_side, [30], axis=1)]
    np.testing.assert_allclose(weights, [grey.var(0).sum() / grey.var() / 30, 8 / 9], rtol=1e-4)


def test_some_samples_are_the_same_ones_in_all_views() -> None:
    numbers = np.arange(20)
    samples = example.Samples([numbers[:, None], numbers[:, None] * 2], ["a", "b"], numbers)
    few = samples.some(5, seed=3)
    assert len(set(few.labels.tolist())) == 5
    np.testing.assert_array_equal(few.views[0][:, 0], few.labels)
    np.testing.assert_array_equal(few.views[1][:, 0], 2 * few.labels)
    assert samples.some(None, 0) is samples.some(20, 0) is samples


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "picture.xyz"], "must end in one of"),
        (["--samples", "1"], "--samples 1 must be at least 2"),
        (["--seed", "-1"], "--seed -1 must be at least 0"),
        (["--data", "nowhere.npz"], "no file that numpy.savez wrote"),
        (["--data", __file__], "no file that numpy.savez wrote"),
        (["--data", "scikit-learn", "--epochs", "-1"], "max_epochs = -1"),
        (["--data", "scikit-learn", "--clusters", "1"], "n_clusters = 1"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.main(["--output", str(tmp_path / "picture.png"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    for arrays in ({"view": np.zeros((4, 2))}, {"view": np.zeros((4, 2)), "labels": np.zeros(5)}):
        np.savez(tmp_path / "views.npz", **arrays)
        with pytest.raises(GeowarpError, match="it needs the array labels"):
            example.load(str(tmp_path / "views.npz"))
