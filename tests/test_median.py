"""Geometric medians against numpy, scipy, pyriemann, first-order conditions and finite differences."""

import math
from typing import Any

import geoopt
import numpy as np
import pytest
import torch
from pyriemann.geometry.median import median_riemann
from scipy.optimize import minimize
from torch import Tensor

from geowarp.errors import GeowarpError, NonFiniteError, NotOnManifoldError, NumericalWarning
from geowarp.manifolds import (
    AffineInvariantSPD,
    BuresWassersteinSPD,
    Euclidean,
    Grassmann,
    LogEuclideanSPD,
    Manifold,
    Oblique,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
)
from geowarp.metrics import geometric_median

CASES: list[tuple[Manifold, tuple[int, ...]]] = [
    (Euclidean(1), (3,)),
    (Sphere(), (4,)),
    (Oblique(), (3, 2)),
    (SpecialOrthogonal(), (3, 3)),
    (Stiefel(), (4, 2)),
    (Grassmann(), (5, 2)),
    (AffineInvariantSPD(), (3, 3)),
]
cases = pytest.mark.parametrize(("manifold", "shape"), CASES, ids=[repr(manifold) for manifold, _ in CASES])


def cloud(
    manifold: Manifold,
    shape: tuple[int, ...],
    *batch: int,
    radius: float = 0.5,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    centre = manifold.random(*batch[:-1], 1, *shape, dtype=dtype).clone()
    u = manifold.proju(centre, torch.randn(*batch, *shape, dtype=dtype))
    length = radius * torch.rand(*batch, *[1] * len(shape), dtype=dtype)
    points: Tensor = manifold.expmap(centre, length * u / manifold.norm(centre, u, keepdim=True))
    return points


def objective(manifold: Manifold, median: Tensor, x: Tensor, weights: Tensor) -> Tensor:
    return (weights * manifold.dist(median.unsqueeze(-manifold.ndim - 1), x)).sum(-1)


def test_numbers_with_numpy() -> None:
    x = np.random.default_rng(0).normal(size=(200, 31))
    np.testing.assert_array_equal(geometric_median(Euclidean(0), x), np.median(x, axis=-1))
    weights = np.random.default_rng(1).random((200, 31))
    order = np.argsort(x, axis=-1)
    share = np.cumsum(np.take_along_axis(weights, order, -1), axis=-1)
    middle = (share >= 0.5 * share[:, -1:]).argmax(-1)
    expected = np.take_along_axis(x, order, -1)[np.arange(200), middle]
    np.testing.assert_array_equal(geometric_median(Euclidean(0), x, weights), expected)


def least_mean_distance(data: Any) -> float:
    mean = data.mean(0)
    found = minimize(lambda m: np.linalg.norm(m - data, axis=-1).mean(), mean, method="Nelder-Mead")
    return float(found.fun)


@pytest.mark.parametrize("n", [2, 5])
def test_vectors_with_scipy_at_any_scale(n: int) -> None:
    x = torch.randn(60, 7, n, dtype=torch.float64)
    least = torch.tensor([least_mean_distance(data) for data in x.numpy()], dtype=torch.float64)
    weights = torch.full((7,), 1 / 7, dtype=torch.float64)
    for scale in (1e-20, 1e-6, 1.0, 1e6, 1e12):
        result = geometric_median(Euclidean(1), scale * x, return_info=True)
        assert result.converged.all()
        assert result.iterations.max() < 60
        value = objective(Euclidean(1), result.median / scale, x, weights)
        assert (value <= least + 1e-12).all()


@cases
def test_a_median_that_is_a_point_is_that_point(manifold: Manifold, shape: tuple[int, ...]) -> None:
    """A point of at least half of the weight is the median, whatever the others are."""
    x = cloud(manifold, shape, 5, 6)
    weights = torch.tensor([0.1, 0.1, 0.6, 0.05, 0.05, 0.1], dtype=torch.float64)
    result = geometric_median(manifold, x, weights, return_info=True)
    assert torch.equal(result.median, x[:, 2])
    torch.testing.assert_close(result.residual, torch.zeros(5).double(), atol=1e-15, rtol=0)
    assert result.converged.all()
    repeated = torch.cat([x, x[:, 2:3], x[:, 2:3], x[:, 2:3], x[:, 2:3], x[:, 2:3]], 1)
    assert torch.equal(geometric_median(manifold, repeated), x[:, 2])
    assert torch.equal(geometric_median(manifold, x[:, :1]), x[:, 0])
    assert torch.equal(geometric_median(manifold, x[:, :1].expand(5, 4, *shape)), x[:, 0])


@cases
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_unit_directions_sum_to_zero(
    manifold: Manifold, shape: tuple[int, ...], dtype: torch.dtype, batch: tuple[int, ...]
) -> None:
    x = cloud(manifold, shape, *batch, 9, dtype=dtype)
    weights = 0.5 + torch.rand(*batch, 9, dtype=dtype)
    result = geometric_median(manifold, x, weights, return_info=True)
    assert result.median.shape == (*batch, *shape)
    assert result.median.dtype == dtype
    assert all(value.shape == batch for value in result[1:])
    assert result.converged.all()
    centre = result.median.unsqueeze(-manifold.ndim - 1)
    logarithms = manifold.logmap(centre, x)
    size = manifold.norm(centre, logarithms, keepdim=True)
    away = (size > 0).flatten(-manifold.ndim - 1).all(-1)
    units = (weights / weights.sum(-1, keepdim=True)).reshape(*weights.shape, *[1] * len(shape)) * logarithms
    total = torch.linalg.vector_norm((units / size).sum(-manifold.ndim - 1).flatten(len(batch)), dim=-1)
    bound = 1000 * torch.finfo(dtype).eps * (1 + (1 / size).flatten(len(batch)).amax(-1))
    assert (total[away] <= bound[away]).all()


@cases
def test_each_problem_of_a_batch_is_as_alone(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x = torch.cat([cloud(manifold, shape, 2, 6, radius=radius) for radius in (1e-3, 0.1, 0.5)])
    weights = torch.rand(6, 6, dtype=torch.float64)
    weights[3, 2] = 9.0
    together = geometric_median(manifold, x, weights)
    for median, points, weight in zip(together, x, weights, strict=True):
        torch.testing.assert_close(median, geometric_median(manifold, points, weight), atol=1e-11, rtol=0)
    shared = geometric_median(manifold, x[:2, None], weights.view(2, 3, 6))
    assert shared.shape == (2, 3, *shape)
    torch.testing.assert_close(shared[1, 2], geometric_median(manifold, x[1], weights[5]), atol=1e-11, rtol=0)


def test_it_is_a_minimum_and_far_outliers_hardly_move_it() -> None:
    x = cloud(Sphere(), (3,), 4, 8)
    weights = torch.full((8,), 1 / 8, dtype=torch.float64)
    median = geometric_median(Sphere(), x)
    value = objective(Sphere(), median, x, weights)
    for size in (1e-1, 1e-3, 1e-5):
        near = Sphere().expmap(median, size * Sphere().proju(median, torch.randn_like(median)))
        assert (objective(Sphere(), near, x, weights) >= value).all()
    line = torch.randn(2, 11, dtype=torch.float64)
    moved = line.clone()
    moved[:, 0] = 1e9
    near = geometric_median(Euclidean(0), moved) - geometric_median(Euclidean(0), line)
    assert near.abs().max() < 2


@pytest.mark.parametrize("count", [5, 30])
def test_positive_definite_matrices_with_pyriemann(count: int) -> None:
    a = torch.randn(count, 4, 9, dtype=torch.float64)
    x = a @ a.mT / 9
    weights = 0.5 + torch.rand(count, dtype=torch.float64)
    median = geometric_median(AffineInvariantSPD(), x, weights)
    other = torch.from_numpy(median_riemann(x.numpy(), tol=1e-13, maxiter=2000, weights=weights.numpy()))
    total = weights / weights.sum()
    ours, theirs = (objective(AffineInvariantSPD(), m, x, total) for m in (median, other))
    assert ours <= theirs + 1e-13
    torch.testing.assert_close(median, other, rtol=1e-5, atol=1e-6)


@cases
def test_gradients(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x = cloud(manifold, shape, 2, 5).requires_grad_()
    weights = (0.8 + 0.4 * torch.rand(2, 5, dtype=torch.float64)).requires_grad_()
    with torch.no_grad():
        centre = geometric_median(manifold, x, weights).unsqueeze(1)
        assert manifold.dist(centre, x).min() > 1e-2  # smooth there

    def median(points: Tensor, weights: Tensor) -> Tensor:
        value: Tensor = geometric_median(manifold, manifold.projx(points), weights)
        return value @ value.mT if isinstance(manifold, Grassmann) else value

    assert torch.autograd.gradcheck(median, (x, weights), fast_mode=True, atol=1e-4)


def test_a_median_that_is_a_point_moves_with_it_alone() -> None:
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor(
        [[0.1, 0.7, 0.1, 0.1], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64, requires_grad=True
    )
    median = geometric_median(Euclidean(1), x, weights)
    of_points, of_weights = torch.autograd.grad(median[0].sum(), (x, weights), retain_graph=True)
    expected = torch.zeros_like(x)
    expected[0, 1] = 1
    assert torch.equal(of_points, expected)
    assert torch.equal(of_weights, torch.zeros_like(weights))
    (smooth,) = torch.autograd.grad(median[1].sum(), x)
    assert smooth.isfinite().all()
    torch.testing.assert_close(smooth[1].sum(0), torch.ones(3).double())  # a shift of all shifts the median


def test_manifolds_of_geoopt_and_learnable_curvature() -> None:
    ball = geoopt.PoincareBall(learnable=True).double()
    vectors = 0.5 * torch.randn(6, 3, dtype=torch.float64)
    (constant,) = ball.parameters()

    def median(value: float) -> Tensor:
        with torch.no_grad():
            constant.fill_(value)
        result: Tensor = geometric_median(ball, ball.expmap0(vectors))
        return result

    value = median(0.7)
    cotangent = torch.randn_like(value)
    (gradient,) = torch.autograd.grad(value, constant, cotangent)
    slope = (cotangent * (median(0.7 + 1e-4) - median(0.7 - 1e-4))).sum().detach() / 2e-4
    torch.testing.assert_close(gradient, slope.reshape(gradient.shape), rtol=1e-6, atol=1e-9)
    x = torch.randn(5, 2)
    torch.testing.assert_close(geometric_median(geoopt.Euclidean(1), x), geometric_median(Euclidean(1), x))


def test_two_points_and_arrays() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0]])
    result = geometric_median(Sphere(), x, return_info=True)
    assert isinstance(result.median, np.ndarray)
    np.testing.assert_allclose(result.median, [math.sqrt(0.5)] * 2, atol=1e-15)  # every point between is one
    assert geometric_median(Sphere(), x.astype("f4")).dtype == np.float32
    np.testing.assert_array_equal(geometric_median(Sphere(), x, np.array([1, 3])), x[1])
    half = geometric_median(Sphere(), torch.eye(3).bfloat16())
    assert half.dtype == torch.bfloat16


def test_errors_and_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    x: Any = torch.eye(3)
    with pytest.raises(NotOnManifoldError, match=r"x\[1\]"):
        geometric_median(Sphere(), x * torch.tensor([[1.0], [2.0], [1.0]]))
    with pytest.raises(GeowarpError, match=r"weights\[0\] is -1\.0e\+00"):
        geometric_median(Sphere(), x, torch.tensor([-1.0, 1.0, 1.0]))
    with pytest.raises(NonFiniteError):
        geometric_median(Sphere(), x / 0)
    with pytest.raises(GeowarpError, match="weights is a numpy array and x a torch tensor"):
        geometric_median(Sphere(), x, np.ones(3))
    from geowarp.metrics import median

    monkeypatch.setattr(median, "_ROUND", 1)
    monkeypatch.setattr(median, "_ROUNDS", 1)
    points = torch.randn(3, 9, 4, dtype=torch.float64)
    with pytest.warns(NumericalWarning, match=r"3 of 3 medians on Euclidean\(1\).*residual is \d"):
        assert not geometric_median(Euclidean(1), points, return_info=True).converged.any()


@pytest.mark.parametrize(("manifold", "shape"), CASES, ids=[repr(manifold) for manifold, _ in CASES])
def test_in_inference_mode_and_of_its_tensors(manifold: Manifold, shape: tuple[int, ...]) -> None:
    centre = manifold.random(1, *shape, dtype=torch.float64).detach().clone()
    u = manifold.proju(centre, 0.2 * torch.randn(7, *shape, dtype=torch.float64))
    x = manifold.expmap(centre, u)
    expected = geometric_median(manifold, x)
    with torch.inference_mode():
        inside = x.clone()
        torch.testing.assert_close(geometric_median(manifold, inside), expected, rtol=0, atol=0)
    torch.testing.assert_close(geometric_median(manifold, inside), expected, rtol=0, atol=0)


def test_equal_points_on_a_manifold_of_geoopt_whose_logarithm_has_no_derivative_there() -> None:
    manifold = geoopt.SymmetricPositiveDefinite()
    near = AffineInvariantSPD().random(1, 6, 3, 3, dtype=torch.float64).detach().clone()
    x = torch.cat([near, near[:, :1].expand_as(near)])
    expected = geometric_median(AffineInvariantSPD(), x)
    torch.testing.assert_close(geometric_median(manifold, x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("manifold", [AffineInvariantSPD(), LogEuclideanSPD(), BuresWassersteinSPD()])
def test_units_do_not_matter(manifold: Manifold) -> None:
    x = AffineInvariantSPD().random(9, 3, 3, dtype=torch.float64).detach().clone()
    expected = geometric_median(manifold, x)
    for scale in (1e-100, 1e-12, 1e12, 1e100):
        median = geometric_median(manifold, scale * x) / scale
        torch.testing.assert_close(median, expected, rtol=1e-8, atol=1e-9)
