"""Means, variances and paths of geowarp.metrics against numpy, closed forms and the manifolds' own."""

import math

import geoopt
import numpy as np
import pytest
import torch
from torch import Tensor

from geowarp.errors import GeowarpError, NonFiniteError, NotOnManifoldError, NumericalWarning
from geowarp.manifolds import (
    AffineInvariantSPD,
    CanonicalMetric,
    Euclidean,
    Grassmann,
    Manifold,
    Oblique,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
    karcher,
)
from geowarp.manifolds.descent import Descent, Objective, descend
from geowarp.metrics import frechet_mean, frechet_variance, geodesic, interpolate, midpoint

CASES: list[tuple[Manifold, tuple[int, ...]]] = [
    (Euclidean(0), ()),
    (Euclidean(2), (2, 3)),
    (Sphere(), (4,)),
    (Oblique(), (3, 2)),
    (SpecialOrthogonal(), (3, 3)),
    (Stiefel(CanonicalMetric()), (4, 2)),
    (Grassmann(), (5, 2)),
    (AffineInvariantSPD(), (3, 3)),
    (ProductManifold((Sphere(), (2, 3)), (Euclidean(1), 2)), (8,)),
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


def same(manifold: Manifold, x: Tensor, y: Tensor, tolerance: float = 1e-13) -> None:
    assert x.shape == y.shape
    assert x.dtype == y.dtype
    distance = manifold.dist(x, y)
    torch.testing.assert_close(distance, torch.zeros_like(distance), atol=tolerance, rtol=0)


@cases
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_means_of_tensors_and_of_arrays(
    manifold: Manifold, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x, weights = cloud(manifold, shape, 3, 1, 5, dtype=dtype), torch.rand(3, 2, 5, dtype=dtype)
    result = frechet_mean(manifold, x, weights, return_info=True)
    assert result.mean.shape == (3, 2, *shape)
    assert all(value.shape == (3, 2) for value in result[1:])
    assert result.converged.all()
    same(manifold, frechet_mean(manifold, x, weights), result.mean, 100 * torch.finfo(dtype).eps)
    arrays = frechet_mean(manifold, x.numpy(), weights.numpy(), return_info=True)
    for array, tensor in zip(arrays, result, strict=True):
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(array, tensor)
    empty = frechet_mean(manifold, x[:0], weights[:0], return_info=True)
    assert empty.mean.shape == (0, 2, *shape)


@cases
def test_what_is_known_of_a_mean(manifold: Manifold, shape: tuple[int, ...]) -> None:
    """The residual and the radius, of closed forms too, are those of the logarithms."""
    x, weights = cloud(manifold, shape, 2, 5), torch.rand(2, 5, dtype=torch.float64)
    weights[0, 3] = 0
    result = frechet_mean(manifold, x, weights, return_info=True)
    centre = result.mean.unsqueeze(-manifold.ndim - 1)
    distances = torch.where(weights > 0, manifold.dist(centre, x), 0)
    torch.testing.assert_close(result.radius, distances.amax(-1))
    assert (result.residual < 1e-13).all()
    assert result.unique.all()


def test_points_beyond_the_ball_of_uniqueness() -> None:
    angles = torch.tensor([-1.6, 0.0, 1.6], dtype=torch.float64)
    wide = torch.stack([angles.cos(), angles.sin()], -1)
    x = torch.stack([wide, wide[1:2].expand(3, 2)])
    with pytest.warns(NumericalWarning, match=r"1 of 2 means on Sphere\(\) spread up to 1\.6 .* radius 1\.6"):
        result = frechet_mean(Sphere(), x, return_info=True)
    assert result.unique.tolist() == [False, True]
    frechet_mean(Sphere(), x)  # says nothing
    far = geoopt.PoincareBall().double().expmap0(3 * torch.randn(5, 2, dtype=torch.float64))
    assert frechet_mean(geoopt.PoincareBall().double(), far, return_info=True).unique


def test_errors_of_means() -> None:
    x = torch.eye(3)
    with pytest.raises(NotOnManifoldError, match=r"x\[0\] is not on the manifold \(3 of 3 points\)"):
        frechet_mean(Sphere(), 2 * x)
    with pytest.raises(NotOnManifoldError, match=r"x\[1\].*smallest eigenvalue is -1\.0e\+00.*projx"):
        frechet_mean(AffineInvariantSPD(), torch.stack([x, -x]))
    with pytest.raises(NonFiniteError, match=r"x\[0\] is infinite or not a number"):
        frechet_mean(Sphere(), x * math.nan)
    with pytest.raises(GeowarpError, match=r"shape \(3,\).*N > 0"):
        frechet_mean(Sphere(), x[0])
    with pytest.raises(GeowarpError, match="dtype"):
        frechet_mean(Euclidean(1), torch.ones(3, 2, dtype=torch.int64))
    with pytest.raises(GeowarpError, match=r"weights\[1\] sum to 0\.0e\+00.*\(1 of 2 sets"):
        frechet_mean(Sphere(), x.numpy(), np.array([[1, 1, 1], [0, 0, 0]]))


# --- variances ---


@cases
def test_variance_is_the_mean_square_distance(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x, weights = cloud(manifold, shape, 3, 1, 6), torch.rand(3, 2, 6, dtype=torch.float64)
    mean = frechet_mean(manifold, x, weights)
    expected = torch.stack(
        [
            sum(
                (weights[i, j, k] * manifold.dist(mean[i, j], x[i, 0, k]) ** 2 for k in range(6)),
                torch.zeros(()),
            )
            / weights[i, j].sum()
            for i in range(3)
            for j in range(2)
        ]
    )
    torch.testing.assert_close(frechet_variance(manifold, x, weights), expected.view(3, 2))
    elsewhere = frechet_variance(manifold, x, weights, x[:, :, 0])
    assert (elsewhere >= frechet_variance(manifold, x, weights) - 1e-14).all()
    square = manifold.dist(mean, x[:, :, 0]).square()
    if isinstance(manifold, Euclidean):
        torch.testing.assert_close(elsewhere, expected.view(3, 2) + square)
    assert frechet_variance(manifold, x[:0], weights[:0]).shape == (0, 2)


def test_variance_with_numpy_in_either_precision() -> None:
    x = np.random.default_rng(0).normal(size=(7, 5))
    np.testing.assert_allclose(frechet_variance(Euclidean(1), x), np.var(x, axis=0).sum(), rtol=1e-14)
    single = frechet_variance(Euclidean(1), x.astype("f4"))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(frechet_variance(Euclidean(1), x[:1]), 0.0)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("manifold", "shape"), [(Sphere(), (3,)), (SpecialOrthogonal(), (3, 3)), (Euclidean(1), (2,))], ids=repr
)
def test_gradients_of_the_variance(manifold: Manifold, shape: tuple[int, ...], given: bool) -> None:
    x = cloud(manifold, shape, 2, 4).requires_grad_()
    weights = (0.5 + torch.rand(2, 4, dtype=torch.float64)).requires_grad_()

    def variance(points: Tensor, weights: Tensor) -> Tensor:
        points = manifold.projx(points)
        centre = points[:, 0] if given else None
        value: Tensor = frechet_variance(manifold, points, weights, centre)
        return value

    assert torch.autograd.gradcheck(variance, (x, weights), fast_mode=True)


def test_gradient_of_the_variance_with_respect_to_a_curvature() -> None:
    ball = geoopt.PoincareBall(learnable=True).double()
    vectors = torch.randn(5, 2, dtype=torch.float64)
    (constant,) = ball.parameters()

    def variance(value: float) -> Tensor:
        with torch.no_grad():
            constant.fill_(value)
        result: Tensor = frechet_variance(ball, ball.expmap0(vectors))
        return result

    (gradient,) = torch.autograd.grad(variance(0.4), constant)
    slope = (variance(0.4 + 1e-5) - variance(0.4 - 1e-5)).detach() / 2e-5
    torch.testing.assert_close(gradient, slope.reshape(gradient.shape), rtol=1e-7, atol=1e-9)


# --- paths ---


@cases
def test_midpoint_is_the_mean_of_both(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x, y = cloud(manifold, shape, 4, 2, radius=1.0).unbind(1)
    middle = midpoint(manifold, x, y)
    same(manifold, middle, frechet_mean(manifold, torch.stack([x, y], 1)))
    same(manifold, midpoint(manifold, y, x), middle)
    np.testing.assert_array_equal(midpoint(manifold, x.numpy(), y.numpy()), middle)
    assert midpoint(manifold, x[:0], y[:0]).shape == x[:0].shape


@cases
def test_geodesic_has_constant_speed(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x, y = cloud(manifold, shape, 4, 2).unbind(1)
    times = torch.tensor([0.0, 0.25, 0.8, 1.0], dtype=torch.float64)
    path = geodesic(manifold, times[:, None], x, y)
    assert path.shape == (4, 4, *shape)
    whole = manifold.dist(x, y)
    torch.testing.assert_close(
        manifold.dist(x.expand_as(path), path), times[:, None] * whole, atol=1e-13, rtol=0
    )
    same(manifold, path[-1], y)
    np.testing.assert_array_equal(geodesic(manifold, times[:, None].numpy(), x.numpy(), y.numpy()), path)
    same(manifold, geodesic(manifold, 0.25, x, y), path[1])


@cases
@pytest.mark.parametrize("batch", [(), (2,), (0,)])
def test_interpolation_follows_the_geodesics(
    manifold: Manifold, shape: tuple[int, ...], batch: tuple[int, ...]
) -> None:
    x = cloud(manifold, shape, *batch, 4, radius=0.4)
    axis = -manifold.ndim - 1
    knots = torch.tensor([-1.0, 0.0, 0.5, 4.0], dtype=torch.float64)
    times = torch.tensor([[-7.0, -1.0, -0.25], [0.5, 2.25, 9.0]], dtype=torch.float64)
    curve = interpolate(manifold, x, times, knots)
    assert curve.shape == (*batch, 2, 3, *shape)
    a, b, c, d = x.unbind(axis)
    expected = [a, a, manifold.geodesic(0.75, a, b), c, manifold.geodesic(0.5, c, d), d]
    same(manifold, curve.flatten(axis - 1, axis), torch.stack(expected, axis))
    np.testing.assert_array_equal(interpolate(manifold, x.numpy(), times.numpy(), knots.numpy()), curve)
    same(manifold, interpolate(manifold, x, 1.5), manifold.geodesic(0.5, b, c))
    assert interpolate(manifold, x, times[:0]).shape == (*batch, 0, 3, *shape)
    assert torch.equal(
        interpolate(manifold, a.unsqueeze(axis), times),
        a.unsqueeze(axis).unsqueeze(axis).expand(*batch, 2, 3, *shape),
    )


def test_interpolation_is_that_of_numpy_on_the_line() -> None:
    rng = np.random.default_rng(0)
    knots, values, times = np.sort(rng.normal(size=9)), rng.normal(size=9), rng.normal(size=200) * 2
    np.testing.assert_allclose(
        interpolate(Euclidean(0), values, times, knots), np.interp(times, knots, values), rtol=0, atol=1e-14
    )
    at_knots = interpolate(Sphere(), torch.eye(3, dtype=torch.float64), torch.arange(3))
    torch.testing.assert_close(at_knots, torch.eye(3, dtype=torch.float64), atol=0, rtol=0)


def test_gradients_of_paths() -> None:
    x = cloud(Sphere(), (3,), 4).requires_grad_()
    times = torch.tensor([-0.5, 0.3, 1.7, 2.2, 5.0], dtype=torch.float64, requires_grad=True)
    knots = torch.tensor([0.0, 1.0, 2.0, 2.5], dtype=torch.float64, requires_grad=True)

    def curve(x: Tensor, times: Tensor, knots: Tensor) -> Tensor:
        path: Tensor = interpolate(Sphere(), Sphere().projx(x), times, knots)
        return path

    assert torch.autograd.gradcheck(curve, (x, times, knots))


def test_paths_on_manifolds_of_geoopt() -> None:
    ball = geoopt.PoincareBall().double()
    x = ball.expmap0(torch.randn(3, 2, dtype=torch.float64))
    torch.testing.assert_close(midpoint(ball, x[0], x[1]), ball.geodesic(torch.tensor(0.5), x[0], x[1]))
    path = interpolate(ball, x, torch.tensor([0.25, 2.0]))
    torch.testing.assert_close(path, torch.stack([ball.geodesic(torch.tensor(0.25), x[0], x[1]), x[2]]))
    torch.testing.assert_close(frechet_variance(geoopt.Euclidean(1), x), x.var(0, unbiased=False).sum())


def test_errors_of_paths() -> None:
    x = torch.eye(3)
    with pytest.raises(GeowarpError, match=r"x have the shape \(3,\) and y \(2,\)"):
        midpoint(Sphere(), x[0], torch.eye(2)[0])
    with pytest.raises(NotOnManifoldError, match="y is not on the manifold"):
        geodesic(Sphere(), 0.5, x[0], 2 * x[1])
    with pytest.raises(GeowarpError, match=r"t is a numpy array|x a torch tensor"):
        geodesic(Sphere(), np.ones(1), x[0], x[1])  # type: ignore[type-var]
    with pytest.raises(GeowarpError, match=r"shape \(3,\); it needs"):
        interpolate(Sphere(), x[0], 0.5)
    with pytest.raises(GeowarpError, match=r"knots have shape \(2,\); 3 points need \(3,\)"):
        interpolate(Sphere(), x, 0.5, torch.arange(2))
    with pytest.raises(GeowarpError, match=r"knots\[1\] = 2 and knots\[2\] = 2 do not increase"):
        interpolate(Sphere(), x, 0.5, torch.tensor([0.0, 2.0, 2.0]))
    with pytest.raises(NonFiniteError, match="1 knots"):
        interpolate(Sphere(), x, 0.5, torch.tensor([0.0, 1.0, math.nan]))
    with pytest.raises(NonFiniteError, match="1 times"):
        interpolate(Sphere(), x, math.nan)


@pytest.mark.parametrize("manifold", [Sphere(), geoopt.Sphere(), ProductManifold((Sphere(), 3))], ids=repr)
def test_warnings_point_at_the_caller(manifold: Manifold, monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(objective: Objective, start: Tensor, target: float, slack: float, limit: int) -> Descent:
        return descend(objective, start, target, slack, 1)

    monkeypatch.setattr(karcher, "descend", impatient)
    x = torch.nn.functional.normalize(torch.randn(6, 3, dtype=torch.float64) + 1, dim=-1)
    for function in (frechet_mean, frechet_variance):
        with pytest.warns(NumericalWarning, match="did not converge") as caught:
            function(manifold, x)
        assert caught[0].filename == __file__
