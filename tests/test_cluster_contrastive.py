"""The contrastive loss of clusters against loops over its definition, and its degenerate cases."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.autograd import gradcheck

from geowarp.errors import GeowarpError
from geowarp.nn.subspaces import (
    ClusterContrastiveLoss,
    CosineSimilarity,
    DotSimilarity,
    balance,
    target_distribution,
)

SIMILARITIES = [DotSimilarity(), CosineSimilarity()]
every = pytest.mark.parametrize("similarity", SIMILARITIES, ids=repr)
sharpened = pytest.mark.parametrize("sharpen", [False, True], ids=["as they are", "sharpened"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
functions = pytest.mark.parametrize("function", [balance, target_distribution], ids=["balance", "target"])


def assignments(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return (2 * torch.randn(*shape, dtype=dtype)).softmax(-1)


def gradient(loss: ClusterContrastiveLoss, views: Tensor) -> Tensor:
    variable = views.detach().requires_grad_()
    (grad,) = torch.autograd.grad(loss(variable), variable)
    return grad


def written_out(views: np.ndarray, temperature: float, cosine: bool) -> float:
    """Return the loss by loops over pairs of views and their columns."""
    terms = []
    for first, second in itertools.combinations(views, 2):
        columns = [*first.T, *second.T]
        clusters = first.shape[1]
        for place, column in enumerate(columns):
            logits = []
            for other in columns:
                scale = np.linalg.norm(column) * np.linalg.norm(other) if cosine else 1.0
                logits.append(column @ other / scale / temperature)
            positive = logits[(place + clusters) % (2 * clusters)]
            del logits[place]
            terms.append(np.log(np.exp(logits).sum()) - positive)
    return float(np.mean(terms))


@every
@sharpened
@pytest.mark.parametrize("shape", [(2, 5, 2), (3, 6, 4), (4, 1, 3)], ids=str)
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_definition(
    similarity: DotSimilarity | CosineSimilarity, sharpen: bool, shape: tuple[int, ...], temperature: float
) -> None:
    views = assignments(*shape)
    loss = ClusterContrastiveLoss(temperature, similarity, sharpen)
    used = views.numpy()
    if sharpen:
        used = used**2 / used.sum(1, keepdims=True)
        used /= used.sum(2, keepdims=True)
    expected = written_out(used, temperature, similarity == CosineSimilarity())
    assert loss(views).item() == pytest.approx(expected, rel=1e-12)
    assert loss(list(views)).item() == pytest.approx(expected, rel=1e-12)
    assert loss(views.float()).item() == pytest.approx(expected, rel=1e-5)


def test_two_views_are_one_cross_entropy() -> None:
    views = assignments(2, 7, 3)
    columns = torch.cat([views[0], views[1]], 1).mT
    logits = (columns @ columns.mT).fill_diagonal_(-math.inf)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(6).roll(3))
    torch.testing.assert_close(ClusterContrastiveLoss()(views), expected)


@every
@sharpened
def test_gradient(similarity: DotSimilarity | CosineSimilarity, sharpen: bool) -> None:
    loss = ClusterContrastiveLoss(0.5, similarity, sharpen)
    logits = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: loss(x.softmax(-1)), logits)


@functions
def test_gradient_of_parts(function: object) -> None:
    assert callable(function)
    logits = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: function(x.softmax(-1)), logits)


@every
@sharpened
def test_order_does_not_matter(similarity: DotSimilarity | CosineSimilarity, sharpen: bool) -> None:
    loss, views = ClusterContrastiveLoss(0.5, similarity, sharpen), assignments(3, 5, 4)
    samples, clusters = torch.randperm(5), torch.tensor([2, 0, 3, 1])
    for changed in (views[[2, 0, 1]], views[:, samples], views[..., clusters]):
        torch.testing.assert_close(loss(changed), loss(views))
    other = torch.stack([views[0], views[1][:, clusters], views[2]])
    assert abs(loss(other) - loss(views)) > 1e-3


@every
def test_agreement_is_what_lowers_it(similarity: DotSimilarity | CosineSimilarity) -> None:
    loss, labels = ClusterContrastiveLoss(0.5, similarity), torch.arange(12) % 3
    sure, even = torch.eye(3)[labels], torch.full((12, 3), 1 / 3)
    mixed = torch.eye(3)[labels.roll(1)]
    assert loss([sure, sure]) < loss([sure, 0.5 * (sure + even)]) < loss([sure, even]) < loss([sure, mixed])


@every
@sharpened
@dtypes
def test_empty_clusters(
    similarity: DotSimilarity | CosineSimilarity, sharpen: bool, dtype: torch.dtype
) -> None:
    loss = ClusterContrastiveLoss(0.5, similarity, sharpen)
    one = torch.zeros(2, 6, 3, dtype=dtype)
    one[..., 0] = 1  # all samples in one cluster, the others without mass
    empty = assignments(2, 6, 3, dtype=dtype)
    empty[0, :, 2] = 0
    tiny = torch.tensor([0.0, -60.0, -100.0], dtype=dtype).expand(2, 6, 3).softmax(-1)
    for views in (one, empty, tiny):
        assert loss(views).isfinite()
        assert gradient(loss, views).isfinite().all()


@dtypes
def test_target_distribution(dtype: torch.dtype) -> None:
    soft = assignments(3, 5, 4, dtype=dtype)
    target = target_distribution(soft)
    torch.testing.assert_close(target.sum(-1), torch.ones(3, 5, dtype=dtype))
    weight = soft**2 / soft.sum(1, keepdim=True)
    torch.testing.assert_close(target, weight / weight.sum(2, keepdim=True))
    sure = torch.eye(4, dtype=dtype)[torch.tensor([0, 1, 1, 3, 0])]  # cluster 2 is empty
    torch.testing.assert_close(target_distribution(sure), sure, atol=0, rtol=0)
    assert not target_distribution(torch.zeros(3, 2, dtype=dtype)).any()
    assert target_distribution(torch.zeros(0, 2, dtype=dtype)).shape == (0, 2)
    small = torch.tensor([[1.0, 0.0], [1.0, 1e-30]], dtype=dtype)  # its square is no float32
    expected = torch.tensor([[1.0, 0.0], [1.0, 2e-30]], dtype=dtype)
    torch.testing.assert_close(target_distribution(small), expected, atol=0, rtol=1e-6)


@dtypes
def test_balance(dtype: torch.dtype) -> None:
    soft = assignments(3, 5, 4, dtype=dtype)
    expected = -scipy.stats.entropy(soft.mean(1).numpy(), axis=1)
    np.testing.assert_allclose(balance(soft).numpy(), expected, rtol=1e-5)
    one = torch.eye(4, dtype=dtype)[torch.zeros(5, dtype=torch.int64)]
    assert balance(one) == 0
    even = torch.eye(4, dtype=dtype)
    torch.testing.assert_close(balance(even), torch.tensor(-math.log(4), dtype=dtype))
    logits = torch.tensor([[1e4, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    (grad,) = torch.autograd.grad(balance(logits.softmax(-1)).sum(), logits)
    assert grad.isfinite().all()
    direct = torch.tensor([[1.0, 0.0]], dtype=dtype, requires_grad=True)
    (grad,) = torch.autograd.grad(balance(direct), direct)
    assert grad.isfinite().all()
    assert grad[0, 1] < -50  # towards a size that is not 0


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(half: torch.dtype) -> None:
    views = assignments(2, 6, 3, dtype=torch.float32).to(half)
    for function in (ClusterContrastiveLoss(sharpen=True), balance, target_distribution):
        value = function(views)
        assert value.dtype == half
        torch.testing.assert_close(value.float(), function(views.float()), atol=1e-2, rtol=1e-2)


def test_cosines_do_not_depend_on_the_size_of_columns() -> None:
    vectors = torch.randn(4, 5)
    scales = torch.tensor([[1e-12], [1e-17], [1.0], [1e12]])
    torch.testing.assert_close(CosineSimilarity()(scales * vectors), CosineSimilarity()(vectors))
    expected = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
    torch.testing.assert_close(CosineSimilarity()(vectors), expected)
    assert (CosineSimilarity()(1e-30 * vectors).abs() < 1e-30).all()


def test_a_similarity_of_ones_own() -> None:
    views = assignments(2, 5, 3)
    loss = ClusterContrastiveLoss(similarity=lambda x: -torch.cdist(x, x).square())
    columns = views.mT.flatten(0, 1)
    logits = (-torch.cdist(columns, columns).square()).fill_diagonal_(-math.inf)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(6).roll(3))
    torch.testing.assert_close(loss(views), expected)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (torch.zeros(1, 4, 3), "there are 1 views; the loss compares at least 2"),
        ([torch.zeros(4, 3)], "there are 1 views; the"),
        (torch.zeros(2, 4, 1), "there are 1 clusters; it compares at least 2"),
        (torch.zeros(4, 3), r"the views have the shape \(4, 3\); they need \(V, B, K\)"),
        ([torch.zeros(4, 3), torch.zeros(5, 3)], r"the views have the shapes \(4, 3\) and \(5, 3\)"),
        (torch.zeros(2, 4, 3, dtype=torch.int64), "the views have the dtype torch.int64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors(views: Tensor | list[Tensor], message: str) -> None:
    with pytest.raises(GeowarpError, match=f"ClusterContrastiveLoss: {message}"):
        ClusterContrastiveLoss()(views)


def test_errors_of_settings() -> None:
    with pytest.raises(GeowarpError, match="ClusterContrastiveLoss: the temperature is -1"):
        ClusterContrastiveLoss(-1)
    with pytest.raises(GeowarpError, match="the similarity is 'cosine'; it must be a function"):
        ClusterContrastiveLoss(similarity="cosine")  # type: ignore[arg-type]
    shown = repr(ClusterContrastiveLoss(0.5, CosineSimilarity(), sharpen=True))
    assert shown == "ClusterContrastiveLoss(temperature=0.5, similarity=CosineSimilarity(), sharpen=True)"
