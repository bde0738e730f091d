"""A fitted model of multiview clustering in a file, and back."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from multiview_clustering_cases import Views, estimator, images, vectors
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.exceptions import NotFittedError

from geowarp import named_manifolds
from geowarp.cluster import MultiviewSubspaceClustering
from geowarp.cluster.parameters import from_json, to_json
from geowarp.errors import GeowarpError


def two_kinds() -> Views:
    return [vectors(), images(6, 5)]


@pytest.fixture(scope="module")
def fitted() -> MultiviewSubspaceClustering:
    return estimator().fit(two_kinds())


@pytest.fixture
def saved(fitted: MultiviewSubspaceClustering, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def assert_same(model: MultiviewSubspaceClustering, original: MultiviewSubspaceClustering) -> None:
    views = [view[:31] for view in two_kinds()]
    assert model.get_params() == original.get_params()
    for method in ("predict", "predict_proba", "transform"):
        np.testing.assert_array_equal(getattr(model, method)(views), getattr(original, method)(views))
    for name in ("labels_", "view_labels_", "view_agreement_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(original, name), strict=True)
    for name in ("n_views_", "view_shapes_", "n_iter_", "loss_curve_"):
        assert getattr(model, name) == getattr(original, name)
    assert dict(named_manifolds(model.network_)) == dict(named_manifolds(original.network_))
    assert not model.network_.training


def test_load_gives_back_what_was_saved(fitted: MultiviewSubspaceClustering, saved: Path) -> None:
    before = torch.get_rng_state()
    assert_same(MultiviewSubspaceClustering.load(str(saved)), fitted)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_model_saves_the_same_file_and_fits_again(saved: Path, tmp_path: Path) -> None:
    model = MultiviewSubspaceClustering.load(saved)
    model.save(tmp_path / "again")
    assert_same(MultiviewSubspaceClustering.load(tmp_path / "again"), model)
    curve = model.loss_curve_
    assert model.fit(two_kinds()).loss_curve_ == curve


def test_every_kind_of_parameter_comes_back(tmp_path: Path) -> None:
    random_state = np.random.RandomState(3)
    model = estimator(
        n_clusters=np.int64(3),
        random_state=random_state,
        device=torch.device("cpu"),
        learning_rate=np.float64(1 / 3000),
    ).fit(two_kinds())
    model.save(tmp_path / "model")
    loaded = MultiviewSubspaceClustering.load(tmp_path / "model")
    drawn = loaded.get_params()["random_state"].randint(1000, size=5)
    np.testing.assert_array_equal(drawn, random_state.randint(1000, size=5))
    assert_same(loaded.set_params(random_state=0), model.set_params(random_state=0))


def test_parameters_that_were_set_after_fit(fitted: MultiviewSubspaceClustering, tmp_path: Path) -> None:
    model = pickle.loads(pickle.dumps(fitted)).set_params(n_clusters=7, max_epochs=9)
    model.save(tmp_path / "model")
    assert_same(MultiviewSubspaceClustering.load(tmp_path / "model"), model)


def test_joblib_and_pickle(fitted: MultiviewSubspaceClustering, tmp_path: Path) -> None:
    joblib.dump(fitted, tmp_path / "model.joblib")
    assert_same(joblib.load(tmp_path / "model.joblib"), fitted)
    assert_same(pickle.loads(pickle.dumps(fitted)), fitted)


def test_the_device_of_another_machine(fitted: MultiviewSubspaceClustering, tmp_path: Path) -> None:
    model = pickle.loads(pickle.dumps(fitted)).set_params(device="cuda:99")
    model.save(tmp_path / "model")
    with pytest.raises(GeowarpError, match="device = 'cuda:99' cannot be used here"):
        MultiviewSubspaceClustering.load(tmp_path / "model")
    assert_same(MultiviewSubspaceClustering.load(tmp_path / "model", device="cpu"), fitted)


def test_save_needs_a_fitted_model_and_parameters_that_json_holds(
    fitted: MultiviewSubspaceClustering, saved: Path
) -> None:
    content = saved.read_bytes()
    with pytest.raises(NotFittedError):
        estimator().save(saved)
    model = pickle.loads(pickle.dumps(fitted)).set_params(verbose=len)
    with pytest.raises(GeowarpError, match=r"verbose = .* is a builtin_function_or_method.*joblib\.dump"):
        model.save(saved)
    assert saved.read_bytes() == content
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(
    "value", [None, True, 3, 0.1, "a", [1, [2]], (1, (2.5, "b")), torch.device("cuda", 1)]
)
def test_parameters_in_json(value: Any) -> None:
    back = from_json(json.loads(json.dumps(to_json("name", value))))
    assert back == value
    assert type(back) is type(value)


def rewritten(path: Path, **metadata: str) -> Path:
    """Replace entries of a file's metadata."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(tensors, path, metadata={**file.metadata(), **metadata})
    return path


def test_a_file_that_is_cut_or_changed(saved: Path) -> None:
    content = saved.read_bytes()
    for damaged in (b"", b"PK\x03\x04", content[:-1], content[:100], b"\xff" * 8 + content[8:]):
        saved.write_bytes(damaged)
        with pytest.raises(GeowarpError, match=r"model.safetensors is damaged, or no safetensors file"):
            MultiviewSubspaceClustering.load(saved)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "pt"}, r"not one that MultiviewSubspaceClustering\.save wrote"),
        ({"model": "KMeans"}, "is a file of KMeans, not one"),
        ({"version": "2"}, "has the format version 2, and this geowarp reads 1"),
        ({"values": "{"}, "is damaged"),
        ({"values": "{}"}, "does not fit this version"),
        ({"values": "[]"}, "does not fit this version"),
        ({"values": '{"parameters": {"clusters": 3}}'}, "does not fit this version .*clusters"),
    ],
)
def test_metadata_that_is_not_ours(saved: Path, metadata: dict[str, str], message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        MultiviewSubspaceClustering.load(rewritten(saved, **metadata))


def test_tensors_of_another_network(saved: Path) -> None:
    with safe_open(saved, "pt") as file:
        metadata = file.metadata()
    save_file({"network.weight": torch.zeros(3)}, saved, metadata=metadata)
    with pytest.raises(GeowarpError, match=r"does not fit this version .*; save the model again"):
        MultiviewSubspaceClustering.load(saved)


def test_a_file_of_another_program_and_none(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(3)}, tmp_path / "other")
    with pytest.raises(GeowarpError, match="other is a file of another program"):
        MultiviewSubspaceClustering.load(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere"):
        MultiviewSubspaceClustering.load(tmp_path / "nowhere")


def test_without_safetensors(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"load needs safetensors: pip install 'geowarp\[cluster\]'"):
        MultiviewSubspaceClustering.load(saved)


def test_load_under_another_default_dtype(tmp_path: Path) -> None:
    model = estimator().fit(two_kinds())
    model.save(tmp_path / "model.safetensors")
    torch.set_default_dtype(torch.float64)
    try:
        again = MultiviewSubspaceClustering.load(tmp_path / "model.safetensors")
        probabilities = again.predict_proba(two_kinds())
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(probabilities, model.predict_proba(two_kinds()))
