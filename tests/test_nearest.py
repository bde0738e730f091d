"""Tables of distances and nearest points against loops over pairs."""

import sys

import geoopt
import numpy as np
import pytest
import torch
from torch import Tensor

from geowarp.errors import GeowarpError, NonFiniteError, NotOnManifoldError
from geowarp.manifolds import Euclidean, Grassmann, Manifold, Sphere
from geowarp.metrics import Chordal, nearest, pairwise_distance

MODULE = sys.modules[nearest.__module__]  # the function hides it as an attribute
MANIFOLDS = [Sphere(), Grassmann(), Euclidean(1), Euclidean(2), Euclidean(0)]


def points(manifold: Manifold, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    shape = (6, 2)[: manifold.ndim]
    return manifold.random(*batch, *shape, dtype=dtype).detach().as_subclass(Tensor)


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_ENTRIES", 200)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)
@pytest.mark.parametrize("k", [1, 4, 17])
@pytest.mark.usefixtures("_small_blocks")
def test_nearest_is_the_sorted_table(manifold: Manifold, k: int) -> None:
    x, y = points(manifold, 2, 1, 9), points(manifold, 3, 17)
    result = nearest(manifold, x, y, k=k)
    ordered = pairwise_distance(manifold, x, y).sort(-1)
    assert result.distances.shape == (2, 3, 9, k)
    torch.testing.assert_close(result.distances, ordered.values[..., :k], rtol=1e-7, atol=1e-7)
    assert torch.equal(result.indices, ordered.indices[..., :k])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = points(Sphere(), 200), points(Sphere(), 300)
    whole = nearest(Sphere(), x, y, k=5)
    for entries in (1, 1000, 20_000):
        monkeypatch.setattr(MODULE, "_ENTRIES", entries)
        parts = nearest(Sphere(), x, y, k=5)
        assert torch.equal(parts.indices, whole.indices)
        torch.testing.assert_close(parts.distances, whole.distances)


def test_another_distance() -> None:
    x, y = points(Grassmann(), 5), points(Grassmann(), 8)
    result = nearest(Grassmann(), x, y, 3, distance=Chordal())
    expected = pairwise_distance(Grassmann(), x, y, distance=Chordal()).sort(-1)
    assert torch.equal(result.indices, expected.indices[:, :3])
    torch.testing.assert_close(result.distances, expected.values[:, :3])
    lines = points(Grassmann(), 4)[..., :1].contiguous()
    table = pairwise_distance(Grassmann(), lines, y, distance=Chordal())
    torch.testing.assert_close(table, Chordal()(lines[:, None], y))
    assert nearest(Grassmann(), lines, y, 2, distance=Chordal()).indices.shape == (4, 2)


def test_gradient_goes_through_the_distances() -> None:
    x, y = points(Sphere(), 2, 5).requires_grad_(), points(Sphere(), 2, 7).requires_grad_()
    result = nearest(Sphere(), x, y, k=2)
    table = pairwise_distance(Sphere(), x, y)
    expected = table.gather(-1, result.indices)
    torch.testing.assert_close(result.distances, expected, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(result.distances.sum(), (x, y)),
        torch.autograd.grad(expected.sum(), (x, y)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    same = nearest(Sphere(), x, x)
    (gradient,) = torch.autograd.grad(same.distances.sum(), x)
    assert torch.equal(same.indices.squeeze(-1), torch.arange(5).expand(2, 5))
    assert (gradient == 0).all()


def test_manifolds_of_geoopt_numpy_and_empty_sets() -> None:
    ball = geoopt.PoincareBall()
    x = ball.expmap0(0.5 * torch.randn(6, 3, dtype=torch.float64))
    result = nearest(ball, x[:2], x, k=3)
    assert torch.equal(result.indices[:, 0], torch.arange(2))
    torch.testing.assert_close(result.distances[:, 2], ball.dist(x[:2], x[result.indices[:, 2]]))
    arrays = nearest(ball, x[:2].numpy(), x.numpy(), k=3)
    assert isinstance(arrays.distances, np.ndarray)
    np.testing.assert_array_equal(arrays.indices, result.indices.numpy())
    table = pairwise_distance(ball, x.numpy())
    assert isinstance(table, np.ndarray)
    np.testing.assert_allclose(table, pairwise_distance(ball, x, x.clone()).numpy())
    empty = nearest(Sphere(), points(Sphere(), 0), points(Sphere(), 4), k=2)
    assert empty.indices.shape == (0, 2)
    x = points(Sphere(), 0, 3).requires_grad_()
    assert nearest(Sphere(), x, points(Sphere(), 0, 4), k=2).distances.shape == (0, 3, 2)
    assert pairwise_distance(Sphere(), points(Sphere(), 0, 2)).shape == (0, 2, 2)


def test_the_same_tensor_is_passed_on_for_one_set() -> None:
    seen = []

    class Recorded(Chordal):
        def pairwise(self, x, y=None):  # type: ignore[no-untyped-def]
            seen.append(y)
            return super().pairwise(x, y)

    x = points(Grassmann(), 4)
    pairwise_distance(Grassmann(), x, distance=Recorded())
    pairwise_distance(Grassmann(), x, x.clone(), distance=Recorded())
    assert seen[0] is None
    assert seen[1] is not None

    class Table(Sphere):
        def cdist(self, x: Tensor, y: Tensor) -> Tensor:
            seen.append(y if y is x else None)
            return super().cdist(x, y)

    pairwise_distance(Table(), points(Sphere(), 3))
    assert seen[2] is not None


def test_errors() -> None:
    x = torch.eye(3)
    for k in (0, 4):
        with pytest.raises(GeowarpError, match=f"k is {k} and y has 3 points"):
            nearest(Sphere(), x, x, k=k)
    with pytest.raises(GeowarpError, match=r"\(3,\)"):
        pairwise_distance(Sphere(), x[0], x)
    with pytest.raises(NotOnManifoldError, match=r"y\[1\]"):
        pairwise_distance(Sphere(), x, torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
    with pytest.raises(NonFiniteError, match=r"x\[2\]"):
        nearest(Sphere(), x.index_fill(0, torch.tensor(2), torch.nan), x)
    with pytest.raises(GeowarpError, match="shape"):
        pairwise_distance(Sphere(), x, torch.eye(2))
