"""Views as users give them: what is taken, how it is scaled, and what is refused with which words."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from multiview_clustering_cases import estimator, two_views
from sklearn.preprocessing import StandardScaler

from geowarp.cluster.scaling import fit_scaling
from geowarp.cluster.views import check_fit_shapes, check_views
from geowarp.errors import GeowarpError, NonFiniteError

GOOD = np.arange(12.0).reshape(4, 3)
DTYPES = ("bool", "uint8", "uint16", "int64", "float16", "float32", ">f8", "longdouble")
FORMS = {
    **{dtype: GOOD.astype(dtype) for dtype in DTYPES},
    "negative strides": GOOD[::-1, ::-1],
    "Fortran order": np.asfortranarray(GOOD),
    "read only": np.broadcast_to(GOOD[:1], (4, 3)),
    "lists": GOOD.tolist(),
    "nothing masked": np.ma.masked_array(GOOD),
    "with gradient": torch.from_numpy(GOOD).requires_grad_(),
    "bfloat16": torch.from_numpy(GOOD).bfloat16(),
    "transposed": torch.arange(12).reshape(3, 4).T,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_real_array_is_taken_with_its_values(form: Any) -> None:
    taken, _ = check_views([form, GOOD])
    expected = form.detach().double().numpy() if isinstance(form, torch.Tensor) else form
    assert not taken.requires_grad
    np.testing.assert_array_equal(taken.double().numpy(), expected)


def test_arrays_are_left_as_they_were() -> None:
    view = GOOD.copy()
    view.setflags(write=False)
    taken, _ = check_views([view, GOOD])
    fit_scaling(taken)(taken)
    np.testing.assert_array_equal(view, GOOD)


def masked() -> Any:
    return np.ma.masked_array(GOOD, mask=GOOD > 9)


REFUSED: dict[str, tuple[Any, str]] = {
    "no view": ([], "the list has 0 views.* at least 2"),
    "one view": ([GOOD], "the list has 1 views.* at least 2"),
    "one array": (np.zeros((2, 4, 3)), r"one array of shape \(2, 4, 3\).*list\(views\)"),
    "one tensor": (torch.zeros(2, 4, 3), r"one array of shape \(2, 4, 3\).*list\(views\)"),
    "dict": ({"left": GOOD, "right": GOOD}, "views is a dict; pass a list"),
    "None": (None, "views is a NoneType; pass a list"),
    "missing": ([GOOD, None], r"view 1 is missing \(None\)"),
    "unequal": (
        [np.zeros((720, 3)), np.zeros((700, 3))],
        "view 1 has 700 samples and view 0 has 720; every sample needs all views",
    ),
    "numbers": ([GOOD, np.arange(4.0)], r"view 1 has 1 dimensions, shape \(4,\); a view is one of \(N, d\)"),
    "five dimensions": ([np.zeros((4, 1, 2, 3, 3)), GOOD], "view 0 has 5 dimensions"),
    "no feature": ([GOOD, np.zeros((4, 0))], r"view 1 is empty, shape \(4, 0\)"),
    "no sample": ([np.zeros((0, 3)), np.zeros((0, 3))], r"view 0 is empty, shape \(0, 3\)"),
    "masked": ([GOOD, np.ma.masked_array(GOOD, mask=GOOD > 9)], "view 1 has 2 masked entries"),
    "complex": ([GOOD, GOOD.astype(complex)], "view 1 is a ndarray with the dtype complex128"),
    "complex tensor": ([GOOD, torch.zeros(4, 3) * 1j], "view 1 has the dtype torch.complex64"),
    "text": ([GOOD, GOOD.astype(str)], "view 1 is a ndarray with the dtype <U32"),
    "objects": ([GOOD, GOOD.astype(object)], "view 1 is a ndarray with the dtype object"),
    "ragged": ([GOOD, [[1.0, 2.0], [3.0]]], "view 1 is no array of numbers"),
    "sparse": ([scipy.sparse.csr_array(GOOD), GOOD], r"view 0 is a csr_array .*\.toarray"),
    "sparse tensor": ([torch.eye(4).to_sparse(), GOOD], r"view 0 is a sparse tensor.*\.to_dense"),
}


@pytest.mark.parametrize(("views", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_number_and_the_remedy(views: Any, message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        check_views(views)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_entries_that_are_not_finite_are_counted_and_found(bad: float) -> None:
    view = np.ones((5, 2, 2), dtype=np.float32)
    view[3, 0] = view[4, 1, 1] = bad
    with pytest.raises(NonFiniteError, match=r"view 1 has 3 entries .* the first in sample 3; impute"):
        check_views([np.zeros((5, 3)), view])


def test_other_views_than_those_of_fit() -> None:
    with pytest.raises(GeowarpError, match="there are 1 views, and fit had 2"):
        check_fit_shapes([torch.zeros(4, 3)], [(3,), (3,)])
    with pytest.raises(
        GeowarpError, match=r"view 1 have the shape \(1, 8, 8\), and those of fit had \(8, 8\)"
    ):
        check_fit_shapes([torch.zeros(4, 3), torch.zeros(4, 1, 8, 8)], [(3,), (8, 8)])


def test_vectors_are_scaled_as_scikit_learn_does() -> None:
    view = np.random.default_rng(0).normal(3.0, [1e-6, 1.0, 1e5], size=(50, 3))
    scaled = fit_scaling(torch.from_numpy(view))(torch.from_numpy(view))
    assert scaled.dtype == torch.float32
    np.testing.assert_allclose(scaled, StandardScaler().fit_transform(view), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_images_have_one_scale(shape: tuple[int, ...]) -> None:
    view = np.random.default_rng(0).integers(0, 256, size=(20, *shape), dtype=np.uint8)
    scaled = fit_scaling(torch.from_numpy(view))(torch.from_numpy(view))
    assert scaled.shape == view.shape
    np.testing.assert_allclose(scaled, (view - view.mean()) / view.std(), atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e30, 5e-324])
def test_a_constant_feature_is_zero_also_in_new_samples(constant: float) -> None:
    view = torch.tensor([[1.0, constant], [2.0, constant], [4.0, constant]], dtype=torch.float64)
    scaling = fit_scaling(view)
    new = torch.tensor([[1.0, 7.0]], dtype=torch.float64)
    assert torch.equal(scaling(view)[:, 1], torch.zeros(3))
    assert torch.equal(scaling(new)[:, 1], torch.zeros(1))


def test_large_values_neither_overflow_nor_lose_their_differences() -> None:
    view = torch.tensor([[1e200, 1e9], [3e200, 1e9 + 1]], dtype=torch.float64)
    torch.testing.assert_close(fit_scaling(view)(view), torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))


def test_the_statistics_are_those_of_fit() -> None:
    scaling = fit_scaling(torch.tensor([[0.0], [4.0]]))
    torch.testing.assert_close(scaling(torch.tensor([[8], [2]])), torch.tensor([[3.0], [0.0]]))


def test_the_statistics_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    view = torch.rand(23, 7, dtype=torch.float64)
    whole = fit_scaling(view)
    monkeypatch.setattr("geowarp.cluster.scaling._ENTRIES", 20)
    torch.testing.assert_close(fit_scaling(view).factor, whole.factor, rtol=1e-14, atol=0)
    torch.testing.assert_close(fit_scaling(view)(view), whole(view))


def test_a_view_without_information_and_a_sample_beyond_float32() -> None:
    with pytest.raises(GeowarpError, match=r"view is constant, shape \(5, 2, 2\)"):
        fit_scaling(torch.full((5, 2, 2), 3))
    scaling = fit_scaling(torch.tensor([[0.0], [1.0]]).double())
    with pytest.raises(NonFiniteError, match="sample 1 is too far"):
        scaling(torch.tensor([[0.0], [1e300]]).double())


def test_a_sample_out_of_range_is_named_with_its_view() -> None:
    first, second = two_views()
    second[4] *= 1e60
    with pytest.raises(NonFiniteError, match="view 1: sample 4 is too far from the fitted ones"):
        estimator(max_epochs=0).fit(two_views()).predict([first, second])
