"""The estimator of multiview clustering as scikit-learn's users meet it."""

import ast
import copy
import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from inspect import Parameter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from multiview_clustering_cases import LABELS, Views, estimator, images, two_views, vectors
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_parameters_default_constructible
from torch import Tensor, nn

from geowarp.cluster import MultiviewSubspaceClustering
from geowarp.cluster.inference import infer
from geowarp.cluster.randomness import isolated_randomness
from geowarp.cluster.training import TrainingSettings, batches, train
from geowarp.errors import GeowarpError, NonFiniteError, NumericalWarning

METHODS = ("predict", "predict_proba", "transform")


@pytest.fixture(scope="module")
def fitted() -> MultiviewSubspaceClustering:
    return estimator(max_epochs=3).fit([vectors(), images(6, 5)])


@pytest.mark.parametrize(
    "views",
    [two_views(), [vectors(), images(12, 10)], [images(12, 10), images(3, 12, 10, seed=2), vectors(20)]],
    ids=["vectors", "mixed", "three"],
)
def test_clear_clusters_are_found(views: Views) -> None:
    model = estimator(max_epochs=10)
    labels = model.fit_predict([view[:60] for view in views])
    assert adjusted_rand_score(LABELS[:60], labels) == 1
    assert adjusted_rand_score(LABELS[60:], model.predict([view[60:] for view in views])) == 1
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_attributes(fitted: MultiviewSubspaceClustering) -> None:
    assert (fitted.n_views_, fitted.view_shapes_, fitted.n_iter_) == (2, [(8,), (6, 5)], 3)
    assert len(fitted.loss_curve_) == 3
    assert np.isfinite(fitted.loss_curve_).all()
    assert fitted.labels_.shape == (90,)
    assert fitted.view_labels_.shape == (2, 90)
    assert not fitted.network_.training
    share = float(np.mean(fitted.view_labels_[0] == fitted.view_labels_[1]))
    np.testing.assert_allclose(fitted.view_agreement_, [[1, share], [share, 1]])


def test_every_sample_has_a_prediction_in_order(fitted: MultiviewSubspaceClustering) -> None:
    """The reference code evaluated shuffled samples and dropped those beyond a multiple of the batch."""
    views: Views = [vectors(), images(6, 5)]
    probabilities, embedding = fitted.predict_proba(views), fitted.transform(views)
    np.testing.assert_array_equal(fitted.predict(views), fitted.labels_)
    np.testing.assert_array_equal(probabilities.argmax(1), fitted.labels_)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert len(embedding) == 90
    for some in (slice(7, 8), slice(31, 88), slice(None, None, -1)):
        chosen = [view[some] for view in views]
        np.testing.assert_allclose(fitted.predict_proba(chosen), probabilities[some], atol=1e-5)
        np.testing.assert_allclose(fitted.transform(chosen), embedding[some], atol=1e-5)


def test_predictions_use_the_scale_of_fit(fitted: MultiviewSubspaceClustering) -> None:
    views: Views = [vectors(), images(6, 5)]
    far = [views[0] * 3 + 1, views[1]]
    assert not np.allclose(fitted.transform(far), fitted.transform(views), atol=1e-3)
    moved = estimator(max_epochs=3).fit(far)
    np.testing.assert_allclose(moved.predict_proba(far), fitted.predict_proba(views), atol=2e-3)


class Recorder(nn.Linear):
    """Notes the numbers of the samples that it is given."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.seen: list[list[float]] = []

    def forward(self, views: list[Tensor]) -> Tensor:  # type: ignore[override]
        assert torch.equal(views[0], views[1])
        self.seen.append(views[0].flatten().tolist())
        output: Tensor = super().forward(views[0])
        return output


def mean_output(output: Tensor, neighbors: Tensor) -> Tensor:
    return output.mean()


def alone(samples: int) -> scipy.sparse.csr_array:
    """Return the graph without neighbours."""
    return scipy.sparse.csr_array((samples, samples))


def test_an_epoch_uses_all_samples_once_in_a_new_order() -> None:
    network, numbers = Recorder(), torch.arange(11.0)[:, None]
    settings = TrainingSettings(max_epochs=2, batch_size=5, learning_rate=1e-3)
    train(network, mean_output, [numbers, numbers], alone(11), settings, torch.Generator(), lambda loss: None)
    assert [len(batch) for batch in network.seen] == [4, 4, 3] * 2
    epochs = [list(chain(*network.seen[:3])), list(chain(*network.seen[3:]))]
    assert epochs[0] != epochs[1]
    assert [sorted(epoch) for epoch in epochs] == [list(range(11))] * 2


@pytest.mark.parametrize("samples", [1, 2, 49, 50, 51, 101, 720])
def test_batches_are_even_and_no_larger_than_asked(samples: int) -> None:
    sizes = [len(batch) for batch in batches(torch.arange(samples), 50)]
    assert sum(sizes) == samples
    assert max(sizes) <= 50
    assert max(sizes) - min(sizes) <= 1


def test_the_loss_of_an_epoch_is_the_mean_over_its_samples() -> None:
    numbers = torch.arange(7.0)[:, None]
    settings = TrainingSettings(max_epochs=1, batch_size=3, learning_rate=1e-12)
    network = Recorder()
    told: list[float] = []
    losses = train(network, mean_output, [numbers] * 2, alone(7), settings, torch.Generator(), told.append)
    expected = nn.Linear.forward(network, numbers).mean().item()
    assert told == losses
    assert losses == pytest.approx([expected], abs=1e-5)


def test_a_loss_that_is_not_finite_ends_training() -> None:
    settings = TrainingSettings(max_epochs=5, batch_size=3, learning_rate=0.25)
    views = [torch.ones(3, 1)] * 2

    def loss(output: Tensor, neighbors: Tensor) -> Tensor:
        return output.mean() * 0 + torch.inf

    with pytest.raises(NonFiniteError, match=r"the loss is inf in epoch 1; lower learning_rate=0.25"):
        train(Recorder(), loss, views, alone(3), settings, torch.Generator(), lambda loss: None)


def test_inference_leaves_the_mode_as_it_was(fitted: MultiviewSubspaceClustering) -> None:
    views = [torch.rand(7, 8), torch.rand(7, 6, 5)]
    network = copy.deepcopy(fitted.network_).train()
    predictions = infer(network, views, batch_size=3)
    assert network.training
    torch.testing.assert_close(predictions.consensus, infer(fitted.network_, views, batch_size=7).consensus)


@pytest.mark.parametrize("random_state", [3, np.int64(3)])
def test_the_same_seed_gives_the_same_model(random_state: int) -> None:
    first, second = (estimator(random_state=random_state).fit(two_views()) for _ in range(2))
    assert first.loss_curve_ == second.loss_curve_
    np.testing.assert_array_equal(first.predict_proba(two_views()), second.predict_proba(two_views()))
    assert estimator(random_state=4).fit(two_views()).loss_curve_ != first.loss_curve_


def test_a_random_state_goes_on_and_none_is_numpys_own() -> None:
    model = estimator(random_state=np.random.RandomState(1))
    assert model.fit(two_views()).loss_curve_ != model.fit(two_views()).loss_curve_
    state = np.random.get_state()  # noqa: NPY002
    try:
        curves = []
        for _ in range(2):
            np.random.seed(7)  # noqa: NPY002
            curves.append(estimator(random_state=None).fit(two_views()).loss_curve_)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    assert curves[0] == curves[1]


def test_global_generators_stay_and_have_no_effect() -> None:
    curves = []
    for seed in (1, 2):
        torch.default_generator.manual_seed(seed)
        before = torch.get_rng_state(), pickle.dumps(np.random.get_state())  # noqa: NPY002
        curves.append(estimator().fit(two_views()).loss_curve_)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert pickle.dumps(np.random.get_state()) == before[1]  # noqa: NPY002
    assert curves[0] == curves[1]


def test_generators_are_put_back_also_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), isolated_randomness(0, torch.device("cpu")):
        _ = torch.rand(2, 3) @ torch.rand(2, 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32])
def test_tensors_and_arrays_are_the_same(dtype: torch.dtype) -> None:
    tensors = [torch.from_numpy(8 * view).to(dtype) for view in two_views()]
    arrays = [tensor.numpy() for tensor in tensors]
    with torch.no_grad():  # as users may call it
        by_tensors = estimator().fit([tensor.requires_grad_(dtype.is_floating_point) for tensor in tensors])
    by_arrays = estimator().fit(arrays)
    assert by_tensors.loss_curve_ == by_arrays.loss_curve_
    np.testing.assert_array_equal(by_tensors.predict(tensors), by_arrays.predict(arrays))


def test_scikit_learns_interface() -> None:
    check_parameters_default_constructible("MultiviewSubspaceClustering", estimator())
    model = estimator(device=torch.device("cpu"), random_state=np.random.RandomState(0))
    copied = clone(model)
    assert copied.get_params().keys() == model.get_params().keys()
    assert copied.set_params(n_clusters=5).n_clusters == 5
    assert model.n_clusters == 3
    assert (
        repr(estimator(max_epochs=7))
        == "MultiviewSubspaceClustering(max_epochs=7, n_clusters=3, random_state=0)"
    )
    with pytest.raises(ValueError, match="Invalid parameter 'clusters'"):
        model.set_params(clusters=2)


def test_a_clone_of_a_fitted_model_is_not_fitted(fitted: MultiviewSubspaceClustering) -> None:
    with pytest.raises(NotFittedError):
        clone(fitted).predict(two_views())


def test_last_step_of_a_pipeline() -> None:
    raw = np.concatenate(two_views(), axis=1)
    split = FunctionTransformer(lambda x: [x[:, :8], x[:, 8:]])
    pipeline = make_pipeline(split, estimator())
    labels = pipeline.fit_predict(raw, y=None)
    np.testing.assert_array_equal(labels, estimator().fit_predict(two_views()))
    np.testing.assert_array_equal(pipeline.predict(raw), labels)
    assert pipeline.predict_proba(raw).shape == (90, 3)
    assert len(pipeline.transform(raw)) == 90


@pytest.mark.parametrize("method", METHODS)
def test_before_fit_and_for_other_views(method: str, fitted: MultiviewSubspaceClustering) -> None:
    with pytest.raises(NotFittedError):
        getattr(estimator(), method)(two_views())
    with pytest.raises(GeowarpError, match="there are 3 views, and fit had 2"):
        getattr(fitted, method)([vectors(), images(6, 5), vectors()])
    with pytest.raises(GeowarpError, match=r"view 0 have the shape \(9,\), and those of fit had \(8,\)"):
        getattr(fitted, method)([vectors(9), images(6, 5)])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"n_clusters": 1}, "n_clusters = 1 must be an integer of at least 2"),
    ({"n_clusters": 3.0}, "n_clusters = 3.0 must be an integer"),
    ({"n_clusters": True}, "n_clusters = True must be an integer"),
    ({"n_clusters": 91}, "90 samples for n_clusters = 91"),
    ({"max_epochs": -1}, "max_epochs = -1 must be an integer of at least 0"),
    ({"batch_size": 1}, "batch_size = 1 must be an integer of at least 2"),
    ({"learning_rate": 0}, "learning_rate = 0 must be a positive number"),
    ({"learning_rate": float("nan")}, "learning_rate = nan must be a positive number"),
    ({"learning_rate": "fast"}, "learning_rate = 'fast' must be a positive number"),
    ({"subspace_dim": "4"}, "subspace_dim = '4' must be an integer of at least 1"),
    ({"ambient_dim": 16.0}, "ambient_dim = 16.0 must be an integer of at least 1"),
    ({"rows": None}, "rows = None must be an integer of at least 1"),
    ({"shared_encoder": "yes"}, "shared_encoder = 'yes' must be True, False or None"),
    ({"consistency_weight": None}, "consistency_weight = None must be a positive number, or 0"),
    ({"balance_weight": -1}, "balance_weight = -1 must be a positive number, or 0"),
    ({"temperature": "warm"}, "temperature = 'warm' must be a positive number"),
    ({"learning_rate": 1e30}, r"in epoch 1; lower learning_rate=1e\+30"),
    ({"random_state": -1}, "random_state = -1: pass an int of at least 0"),
    ({"random_state": "seed"}, "random_state = 'seed': pass an int"),
    ({"device": "abacus"}, "device = 'abacus' cannot be used here; there is: cpu"),
]


@pytest.mark.parametrize(("parameters", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_parameter_is_kept_by_init_and_refused_by_fit(
    parameters: dict[str, Any], message: str
) -> None:
    model = estimator(**parameters)
    assert all(model.get_params()[name] is value for name, value in parameters.items())
    with pytest.raises(GeowarpError, match=message):
        model.fit(two_views())
    with pytest.raises(NotFittedError):
        model.predict(two_views())


def test_numpys_numbers_are_parameters_too() -> None:
    sizes: dict[str, Any] = {
        "n_clusters": 3,
        "subspace_dim": 2,
        "ambient_dim": 8,
        "rows": 12,
        "batch_size": 30,
    }
    given = estimator(**{name: np.int64(size) for name, size in sizes.items()}, temperature=np.float32(1))
    np.testing.assert_array_equal(
        given.fit(two_views()).predict_proba(two_views()),
        estimator(**sizes).fit(two_views()).predict_proba(two_views()),
    )


@pytest.mark.parametrize(
    "mode",
    [
        torch.inference_mode,
        torch.no_grad,
        partial(torch.autocast, "cpu", torch.bfloat16),
        partial(torch.device, "meta"),
    ],
    ids=["inference", "no_grad", "autocast", "device"],
)
def test_modes_of_the_caller_have_no_effect(mode: Callable[[], AbstractContextManager[Any]]) -> None:
    expected = estimator().fit(two_views())
    with mode():
        model = estimator().fit(two_views())
        np.testing.assert_array_equal(model.predict_proba(two_views()), expected.predict_proba(two_views()))


def test_the_page_names_every_parameter_with_its_default() -> None:
    page = (Path(__file__).parents[1] / "docs" / "clustering.md").read_text(encoding="utf-8")
    table = page.partition("## Parameters")[2].partition("\n## ")[0]
    documented: dict[str, Any] = {}
    for row in re.findall(r"^\|( `.*)$", table, re.MULTILINE):
        names, values, _ = row.split("|", 2)
        defaults = ast.literal_eval(f"[{values.strip()}]") or [Parameter.empty]
        documented |= dict(zip(re.findall(r"`(\w+)`", names), defaults, strict=True))
    signature = inspect.signature(MultiviewSubspaceClustering).parameters
    assert documented == {name: parameter.default for name, parameter in signature.items()}


def test_views_are_data_and_no_metadata() -> None:
    model = estimator()
    assert not [name for name in dir(model) if name.startswith("set_") and name.endswith("_request")]
    with config_context(enable_metadata_routing=True):
        assert model.fit_predict(two_views()).shape == (90,)


def test_a_failed_fit_leaves_what_was_fitted() -> None:
    random = np.random.RandomState(0)
    model = estimator(random_state=random).fit(two_views())
    before, state = vars(model).copy(), pickle.dumps(random)
    with pytest.raises(GeowarpError, match="view 1 is missing"):
        model.fit([vectors(), None])
    with pytest.raises(GeowarpError, match="view 1 is constant"):
        model.fit([vectors(), np.ones((90, 2))])
    assert all(vars(model)[name] is value for name, value in before.items())
    assert pickle.dumps(random) == state


def test_batches_that_cannot_hold_all_clusters_are_warned_of() -> None:
    with pytest.warns(NumericalWarning, match="batch_size = 4 have down to 3 samples .* n_clusters = 4"):
        estimator(n_clusters=4, batch_size=4, max_epochs=1).fit([view[:7] for view in two_views()])


def test_without_epochs_it_is_its_start() -> None:
    start = estimator(max_epochs=0).fit(two_views())
    assert start.n_iter_ == 0
    assert start.loss_curve_ == []
    fitted = estimator(max_epochs=1).fit(two_views())
    assert not np.array_equal(start.transform(two_views()), fitted.transform(two_views()))


def test_the_bar_counts_epochs_and_shows_the_loss(capsys: pytest.CaptureFixture[str]) -> None:
    model = estimator(max_epochs=4).fit(two_views())
    assert capsys.readouterr() == ("", "")
    model.set_params(verbose=True).fit(two_views())
    out, shown = capsys.readouterr()
    assert out == ""
    assert "4/4" in shown
    assert f"loss {model.loss_curve_[-1]:.4f}" in shown


def test_a_bar_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"verbose=True\) needs tqdm: pip install 'geowarp\[cluster\]'"):
        estimator(verbose=True).fit(two_views())


def test_importing_without_scikit_learn_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import geowarp\n"
        "try: import geowarp.cluster\n"
        "except (ImportError) as error: print(isinstance(error, geowarp.GeowarpError), error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "True geowarp.cluster needs scikit-learn: pip install 'geowarp[cluster]'"
