"""The sets of the benchmark are what it says, and its classifiers find what is there."""

import gzip
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
if not (BENCHMARKS / "set_classification.py").is_file():
    pytest.skip("benchmarks/ is not beside the tests", allow_module_level=True)
pytest.importorskip("sklearn")
sys.path.append(str(BENCHMARKS))

import set_classification  # noqa: E402
import set_classification_data as data  # noqa: E402
import set_classification_models as models  # noqa: E402


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int = 30) -> data.Images:
    """Return images whose first pixel is their number, of ten classes."""
    pixels = torch.rand(count, 6, dtype=torch.float64)
    pixels[:, 0] = torch.arange(count)
    return data.Images(pixels, torch.arange(count) % 10)


def test_sets_are_of_different_images_of_one_class() -> None:
    images = numbered()
    sets = data.make_sets(images, 4, 3, generator())
    assert sets.plain.shape == (40, 6, 3)
    for x, label in zip(sets.plain, sets.labels, strict=True):
        chosen = x[0].long()
        assert len(set(chosen.tolist())) == 3
        assert torch.equal(images.pixels[chosen].mT, x)
        assert (images.labels[chosen] == label).all()
    assert sets.labels.bincount().tolist() == [4] * 10


def test_mixing_keeps_the_span_and_hides_the_images() -> None:
    sets = data.make_sets(numbered(), 4, 3, generator())
    torch.testing.assert_close(sets.mixed @ sets.mixed.mT, sets.plain @ sets.plain.mT)
    distance = (sets.mixed[..., :, None] - sets.plain[..., None, :]).norm(dim=1)
    assert distance.min() > 1e-3
    again = data.mix(sets.mixed, generator(1))
    assert (again - sets.mixed).norm(dim=(1, 2)).min() > 1e-3
    turns = data.mix(torch.eye(2, dtype=torch.float64).expand(4000, 2, 2), generator())
    assert turns.mean(0).abs().max() < 0.05  # uniformly distributed: no direction, and both determinants
    assert abs(torch.linalg.det(turns).mean()) < 0.05


def test_digits_are_divided() -> None:
    split = data.digits(0)
    assert [len(part.labels) for part in split] == [898, 899]
    assert all(part.pixels.min() >= 0 and part.pixels.max() == 1 for part in split)
    together = torch.cat([part.pixels for part in split])
    other = torch.cat([part.pixels for part in data.digits(1)])
    assert not torch.equal(together, other)
    assert torch.equal(_sorted(together), _sorted(other))


def _sorted(x: Tensor) -> Tensor:
    return x[np.lexsort(x.numpy().T)]


def test_fashion_is_read(tmp_path: Path) -> None:
    pixels = np.arange(2 * 28 * 28, dtype=np.int64).reshape(2, 28, 28) % 256
    for name in ("train", "t10k"):
        head = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 28, 28)
        content = gzip.compress(head + pixels.astype(np.uint8).tobytes())
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(content)
        labels = gzip.compress(struct.pack(">BBBBIBB", 0, 0, 8, 1, 2, 3, 7))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(labels)
    split = data.fashion(tmp_path, 1, seed=0)
    assert split.train.pixels.shape == (1, 784)
    assert split.test.labels.tolist() == [3, 7]
    np.testing.assert_allclose(split.test.pixels.numpy() * 255, pixels.reshape(2, -1), atol=1e-9)


def test_nearest_subspaces_of_planes() -> None:
    """Ten coordinate planes of R^20, and sets near them."""
    labels = torch.arange(10).repeat(6)
    planes = torch.eye(20, dtype=torch.float64).reshape(20, 10, 2).movedim(1, 0)
    x = planes[labels] @ torch.randn(60, 2, 2, dtype=torch.float64)
    x += 0.01 * torch.randn_like(x)
    fitted = models.nearest_classifiers(x[:40], labels[:40])
    assert len(fitted) == 4
    for name, classifier in fitted.items():
        row = models.evaluate(classifier, x[40:], data.mix(x[40:], generator()), labels[40:])
        assert row["accuracy"] == 1, name
        assert row["invariance"] < 1e-10, name


def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    threads, out = torch.get_num_threads(), tmp_path / "rows.json"
    small = [data.Data("digits", data.digits, size=2, per_class=6, width=8, stiefel_rate=1.0)]
    monkeypatch.setattr(set_classification, "sources", lambda directory: small)
    monkeypatch.setattr(set_classification, "TEST_SETS", 3)
    options = ["--seeds", "2", "--epochs", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["set_classification.py", *options])
    try:
        set_classification.main()
    finally:
        torch.set_num_threads(threads)
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"]
    names = [*models.NETWORKS, set_classification.NOT_MIXED]
    assert [row["method"] for row in rows[:7]] == names
    assert len(rows) == 2 * (len(names) + 4)
    for row in rows:
        of_spans = row["method"].startswith(("GrNet", "nearest", "MLP, singular"))
        assert (row["invariance"] < 1e-6) == of_spans, row["method"]
    lines = {line["method"]: line for line in set_classification.summary(rows)}
    accuracies = [row["accuracy"] for row in rows if row["method"] == "GrNet"]
    assert float(lines["GrNet"]["accuracy"]) == pytest.approx(50 * sum(accuracies), abs=0.01)
    assert "nearest class mean, geodesic" in capsys.readouterr().out
