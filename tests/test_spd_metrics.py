"""The metrics of positive definite matrices against pyriemann, mpmath, closed forms and invariances."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import spd_samples
import torch
from pyriemann.geometry import distance as peer_distance
from pyriemann.geometry import geodesic as peer_geodesic
from pyriemann.geometry import mean as peer_mean
from pyriemann.geometry import tangentspace as peer_tangent
from spd_samples import covariances, pair
from torch import Tensor

from geowarp import NotOnManifoldError
from geowarp.manifolds import (
    AffineInvariantSPD,
    BuresWassersteinSPD,
    LogCholeskySPD,
    LogEuclideanSPD,
    Manifold,
)
from geowarp.manifolds.linalg import sym

DTYPES = [torch.float32, torch.float64]
METRICS: dict[str, tuple[Manifold, Callable[[Tensor, Tensor], Any]]] = {
    "logchol": (LogCholeskySPD(), spd_samples.log_cholesky),
    "logeuclid": (LogEuclideanSPD(), spd_samples.log_euclidean),
    "wasserstein": (BuresWassersteinSPD(), spd_samples.bures_wasserstein),
}
MANIFOLDS = [manifold for manifold, _ in METRICS.values()]
by_name = pytest.mark.parametrize("name", METRICS)
by_manifold = pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)


def symmetric(*batch: int, n: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return sym(torch.randn(*batch, n, n, dtype=dtype))


def assert_equals_peer(actual: Tensor, expected: Any) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected), rtol=1e-11, atol=1e-11)


# --- pyriemann ---


@by_name
@pytest.mark.parametrize("n", [2, 5])
def test_distances_are_those_of_pyriemann(name: str, n: int) -> None:
    a, b = covariances(6, n=n), covariances(4, n=n)
    manifold = METRICS[name][0]
    assert_equals_peer(manifold.dist(a[:4], b), peer_distance.distance(a[:4].numpy(), b.numpy(), metric=name))
    assert_equals_peer(
        manifold.cdist(a, b), peer_distance.pairwise_distance(a.numpy(), b.numpy(), metric=name)
    )


@by_name
def test_weighted_means_are_those_of_pyriemann(name: str) -> None:
    x, weights = covariances(9), torch.rand(9, dtype=torch.float64)
    options = {"tol": 1e-14, "maxiter": 500} if name == "wasserstein" else {}
    expected = getattr(peer_mean, f"mean_{name}")(x.numpy(), sample_weight=weights.numpy(), **options)
    assert_equals_peer(METRICS[name][0].mean(x, weights), expected)


@by_name
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_geodesics_are_those_of_pyriemann(name: str, t: float) -> None:
    a, b = covariances(3), covariances(3)
    expected = getattr(peer_geodesic, f"geodesic_{name}")(a.numpy(), b.numpy(), alpha=t)
    assert_equals_peer(METRICS[name][0].geodesic(t, a, b), expected)


@by_name
def test_exponentials_are_those_of_pyriemann(name: str) -> None:
    x, u = covariances(), 0.05 * symmetric(3)
    expected = getattr(peer_tangent, f"exp_map_{name}")(u.numpy(), x.numpy())
    assert_equals_peer(METRICS[name][0].expmap(x, u), expected)


@by_name
def test_logarithms_are_those_of_pyriemann(name: str) -> None:
    x, y = covariances(3), covariances()
    expected = getattr(peer_tangent, f"log_map_{name}")(x.numpy(), y.numpy())
    assert_equals_peer(METRICS[name][0].logmap(y, x), expected)


@pytest.mark.parametrize("name", ["logchol", "logeuclid"])
def test_inner_products_and_transports_are_those_of_pyriemann(name: str) -> None:
    x, y, u, v = covariances(), covariances(), symmetric(3), symmetric(3)
    manifold = METRICS[name][0]
    expected = getattr(peer_tangent, f"innerproduct_{name}")(u.numpy(), v.numpy(), x.numpy())
    torch.testing.assert_close(manifold.inner(x, u, v), torch.as_tensor(expected))
    moved = getattr(peer_tangent, f"transport_{name}")(u.numpy(), x.numpy(), y.numpy())
    torch.testing.assert_close(manifold.transp(x, y, u), torch.as_tensor(moved))


# --- accuracy ---


@by_name
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gap", [1.0, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10])
def test_distances_of_close_pairs_are_exact_to_rounding(name: str, dtype: torch.dtype, gap: float) -> None:
    manifold, exactly = METRICS[name]
    eps = torch.finfo(dtype).eps
    for _ in range(3):
        a, b = pair(10.0, max(gap, 4 * eps), dtype=dtype)
        expected = exactly(a, b)
        # far pairs have larger condition numbers, and all pairs are by differences of coordinates until 1e-3
        single, all_pairs = (1000 if gap == 1 else 40), (1000 if gap >= 1e-2 else 40)
        for value in (manifold.dist(a, b), manifold.dist(b, a)):
            assert abs(value.item() - expected) <= single * eps * expected
        assert abs(manifold.cdist(a[None], b[None]).item() - expected) <= all_pairs * eps * expected


@by_name
@pytest.mark.parametrize(("condition", "gap"), [(1e4, 1e-2), (1e4, 1e-8), (1e8, 1e-2), (1e8, 1e-6)])
def test_distances_of_ill_conditioned_pairs(name: str, condition: float, gap: float) -> None:
    manifold, exactly = METRICS[name]
    a, b = pair(condition, gap)
    expected = exactly(a, b)
    digits = 1e-13 if name == "wasserstein" else 1e-15 * condition
    assert abs(manifold.dist(a, b).item() - expected) <= digits * expected


@by_manifold
def test_logarithms_of_close_pairs_have_the_length_of_the_distance(manifold: Manifold) -> None:
    for gap in (1e-3, 1e-9, 1e-13):
        a, b = pair(10.0, gap)
        torch.testing.assert_close(
            manifold.norm(a, manifold.logmap(a, b)), manifold.dist(a, b), rtol=1e-13, atol=0
        )


# --- closed forms ---


@by_manifold
@pytest.mark.parametrize("dtype", DTYPES)
def test_positive_numbers(manifold: Manifold, dtype: torch.dtype) -> None:
    a, b = torch.tensor([[4.0]], dtype=dtype), torch.tensor([[25.0]], dtype=dtype)
    forms: dict[type[Manifold], tuple[float, float]] = {
        LogCholeskySPD: (math.log(2.5), 10.0),
        LogEuclideanSPD: (2 * math.log(2.5), 10.0),
        BuresWassersteinSPD: (3.0, 12.25),
    }
    distance, middle = forms[type(manifold)]
    torch.testing.assert_close(manifold.dist(a, b), torch.tensor(distance, dtype=dtype))
    torch.testing.assert_close(manifold.geodesic(0.5, a, b), torch.tensor([[middle]], dtype=dtype))
    torch.testing.assert_close(manifold.mean(torch.stack([a, b])), torch.tensor([[middle]], dtype=dtype))


@by_manifold
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_at_a_multiple_of_the_identity(manifold: Manifold, dtype: torch.dtype) -> None:
    twice = 2 * torch.eye(3, dtype=dtype)
    other = covariances(n=3, dtype=dtype) + 0.5 * torch.eye(3, dtype=dtype)
    values, vectors = torch.linalg.eigh(other)
    point = twice.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(manifold.dist2(point, other), point)
    if isinstance(manifold, LogEuclideanSPD):
        expected = math.log(2) * torch.eye(3, dtype=dtype) - (vectors * values.log()) @ vectors.mT
    elif isinstance(manifold, BuresWassersteinSPD):
        expected = torch.eye(3, dtype=dtype) - (vectors * (values / 2).sqrt()) @ vectors.mT
    else:
        factor = torch.linalg.cholesky(other)
        below = (-math.sqrt(2) * factor).tril(-1)
        ratio = (twice.diagonal().sqrt().log() - factor.diagonal().log()) / 2
        expected = sym(below) + torch.diag(ratio)
    torch.testing.assert_close(gradient, expected)


@by_manifold
def test_the_gradient_of_half_the_squared_distance_is_minus_the_logarithm(manifold: Manifold) -> None:
    x, y = covariances(3), covariances(3)
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(0.5 * manifold.dist2(point, y).sum(), point)
    torch.testing.assert_close(manifold.egrad2rgrad(x, gradient), -manifold.logmap(x, y))


@by_manifold
@pytest.mark.parametrize("dtype", DTYPES)
def test_distances_to_oneself_are_zero_with_zero_gradients(manifold: Manifold, dtype: torch.dtype) -> None:
    x = torch.cat([covariances(2, dtype=dtype), 2 * torch.eye(4, dtype=dtype)[None]]).requires_grad_()
    y = x.detach().clone().requires_grad_()
    for value in (manifold.dist(x, y), manifold.dist2(x, y), manifold.cdist(x, y).diagonal()):
        assert value.abs().max() == 0
        assert all(gradient.abs().max() == 0 for gradient in torch.autograd.grad(value.sum(), (x, y)))
    assert manifold.logmap(x, y).abs().max() == 0


@by_manifold
def test_gradients_of_all_pairs_are_those_of_each(manifold: Manifold) -> None:
    x, y = covariances(2, 5), covariances(4)
    y[0], y[1] = x[0, 0], x[0, 1] + 1e-7 * torch.eye(4)
    x, y = x.requires_grad_(), y.requires_grad_()
    weight = torch.randn(2, 5, 4, dtype=torch.float64)
    pairs, rows = manifold.cdist(x, y), manifold.dist(x.unsqueeze(2), y)
    torch.testing.assert_close(pairs, rows, rtol=1e-12, atol=1e-15)
    for actual, expected in zip(
        torch.autograd.grad((weight * pairs).sum(), (x, y)),
        torch.autograd.grad((weight * rows).sum(), (x, y)),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)


@by_manifold
def test_all_pairs_of_one_set_are_symmetric_with_the_gradient_of_two_sets(manifold: Manifold) -> None:
    x = covariances(6).requires_grad_()
    weight = torch.randn(6, 6, dtype=torch.float64)
    once, twice = manifold.cdist(x, x), manifold.cdist(x, x.clone())
    assert once.diagonal().abs().max() == 0
    torch.testing.assert_close(once, once.mT)
    torch.testing.assert_close(once, twice)
    torch.testing.assert_close(
        *(torch.autograd.grad((weight * value).sum(), x)[0] for value in (once, twice))
    )


@by_manifold
@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0)])
def test_pairs_of_empty_sets(manifold: Manifold, n: int, m: int) -> None:
    assert manifold.cdist(covariances(2, n), covariances(m)).shape == (2, n, m)
    assert manifold.cdist(covariances(0, 3), covariances(0, 2)).shape == (0, 3, 2)
    assert manifold.mean(covariances(0, 3)).shape == (0, 4, 4)


# --- invariances ---


@pytest.mark.parametrize("manifold", [LogEuclideanSPD(), BuresWassersteinSPD()], ids=repr)
def test_distances_and_means_turn_with_the_coordinates(manifold: Manifold) -> None:
    x = covariances(5)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    turned = sym(rotation @ x @ rotation.mT)
    torch.testing.assert_close(manifold.cdist(turned, turned), manifold.cdist(x, x))
    torch.testing.assert_close(manifold.mean(turned), rotation @ manifold.mean(x) @ rotation.mT)


def test_log_euclidean_distances_are_invariant_under_scaling_and_inversion() -> None:
    x = covariances(5)
    distances = LogEuclideanSPD().cdist(x, x)
    torch.testing.assert_close(LogEuclideanSPD().cdist(7 * x, 7 * x), distances)
    inverse = sym(torch.linalg.inv(x))
    torch.testing.assert_close(LogEuclideanSPD().cdist(inverse, inverse), distances)


def test_log_cholesky_distances_are_invariant_under_its_group() -> None:
    x, factor = covariances(5), torch.linalg.cholesky(covariances())
    factors = torch.linalg.cholesky(x)
    diagonal = torch.diag_embed(factors.diagonal(dim1=-2, dim2=-1) * factor.diagonal())
    product = factors.tril(-1) + factor.tril(-1) + diagonal
    moved = product @ product.mT
    torch.testing.assert_close(LogCholeskySPD().cdist(moved, moved), LogCholeskySPD().cdist(x, x))


def test_bures_wasserstein_distances_scale_with_the_root() -> None:
    x = covariances(5)
    spd = BuresWassersteinSPD()
    torch.testing.assert_close(spd.cdist(1e-20 * x, 1e-20 * x), 1e-10 * spd.cdist(x, x), atol=0, rtol=1e-12)


@pytest.mark.parametrize("manifold", [LogCholeskySPD(), LogEuclideanSPD()], ids=repr)
def test_determinants_do_not_swell(manifold: Manifold) -> None:
    a, b = covariances(), covariances()
    middle = manifold.geodesic(0.5, a, b).logdet()
    torch.testing.assert_close(middle, 0.5 * (a.logdet() + b.logdet()))


@pytest.mark.parametrize("manifold", [LogCholeskySPD(), LogEuclideanSPD()], ids=repr)
def test_transport_does_not_depend_on_the_way(manifold: Manifold) -> None:
    x, y, z, v = covariances(), covariances(), covariances(), symmetric()
    around = manifold.transp(y, z, manifold.transp(x, y, v))
    torch.testing.assert_close(around, manifold.transp(x, z, v))
    torch.testing.assert_close(manifold.transp(z, x, around), v)


# --- means ---


@by_manifold
def test_batched_means_are_those_of_each_problem(manifold: Manifold) -> None:
    x = covariances(3, 2, 5)
    x[0, 0] = torch.stack([pair(1e5, 1.0)[0] for _ in range(5)])
    weights = torch.rand(3, 2, 5, dtype=torch.float64)
    together = manifold.mean(x, weights)
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(together[i, j], manifold.mean(x[i, j], weights[i, j]))


@by_manifold
def test_several_sets_of_weights_for_each_set_of_points(manifold: Manifold) -> None:
    x, weights = covariances(2, 1, 5), torch.rand(2, 3, 5, dtype=torch.float64)
    means = manifold.mean(x, weights)
    assert means.shape == (2, 3, 4, 4)
    torch.testing.assert_close(means[1, 2], manifold.mean(x[1, 0], weights[1, 2]))


@by_manifold
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_result_of_a_mean_says_how_good_it_is(manifold: Manifold, dtype: torch.dtype) -> None:
    x, weights = covariances(3, 6, dtype=dtype), torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0], dtype=dtype)
    x[:, 5] = 1e3 * torch.eye(4)
    result = manifold.solve_mean(x, weights)
    assert result.mean.dtype == dtype
    assert result.converged.all()
    assert result.unique.all()
    assert result.residual.shape == (3,)
    assert result.residual.max() <= 200 * torch.finfo(dtype).eps
    farthest = manifold.dist(result.mean.unsqueeze(1), x[:, :5]).amax(-1)
    torch.testing.assert_close(result.radius, farthest)
    assert (result.iterations == 0).all() == (not isinstance(manifold, BuresWassersteinSPD))


@by_manifold
def test_means_are_differentiable_in_points_and_weights(manifold: Manifold) -> None:
    x = covariances(2, 3, n=2).requires_grad_()
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64, requires_grad=True)

    def mean(x: Tensor, weights: Tensor) -> Tensor:
        return manifold.mean(sym(x), weights)

    assert torch.autograd.gradcheck(mean, (x, weights), atol=1e-6)


@by_manifold
def test_the_mean_minimises_the_sum_of_squares(manifold: Manifold) -> None:
    x, weights = covariances(6), torch.rand(6, dtype=torch.float64)
    mean = manifold.mean(x, weights)

    def spread(m: Tensor) -> Tensor:
        return (weights * manifold.dist2(m.unsqueeze(-3), x)).sum(-1)

    nearby = manifold.retr(mean, 0.02 * symmetric(50) @ torch.eye(4, dtype=torch.float64))
    assert (spread(nearby) > spread(mean)).all()


# --- errors ---

OPERATIONS: dict[str, Callable[[Manifold, Tensor], Tensor]] = {
    "dist": lambda manifold, x: manifold.dist(x, x),
    "cdist": lambda manifold, x: manifold.cdist(x, x),
    "logmap": lambda manifold, x: manifold.logmap(x, x),
    "mean": lambda manifold, x: manifold.mean(x),
}


@by_manifold
@pytest.mark.parametrize("operation", OPERATIONS)
def test_matrices_that_are_not_positive_definite_are_named(manifold: Manifold, operation: str) -> None:
    x = covariances(5)
    x[3] = torch.diag(torch.tensor([1.0, 2.0, -0.25, 3.0]))
    with pytest.raises(NotOnManifoldError, match=r"matrix \[3\] of \(5,\).*-2\.5e-01"):
        OPERATIONS[operation](manifold, x)


def test_exact_values_come_from_many_digits() -> None:
    a, b = torch.tensor([[2.0]]), torch.tensor([[8.0]])
    assert abs(spd_samples.log_euclidean(a, b) - mpmath.log(4)) < 1e-15
    assert abs(spd_samples.log_cholesky(a, b) - mpmath.log(2)) < 1e-15
    assert abs(spd_samples.bures_wasserstein(a, b) - mpmath.sqrt(2)) < 1e-15


@pytest.mark.parametrize("condition", [1e6, 1e8, 1e12])
@pytest.mark.parametrize(
    "spd", [AffineInvariantSPD(), LogEuclideanSPD(), LogCholeskySPD(), BuresWassersteinSPD()], ids=repr
)
def test_float32_matrices_beyond_its_rounding_are_points_once_projected(
    spd: Manifold, condition: float
) -> None:
    basis, _ = torch.linalg.qr(torch.randn(6, 10, 10, dtype=torch.float64))
    eigenvalues = torch.logspace(0, -math.log10(condition), 10, dtype=torch.float64)
    x = spd.projx(((basis * eigenvalues) @ basis.mT).float())
    torch.linalg.cholesky(x.double())  # exists
    pairwise = spd.cdist(x, x)
    results = (pairwise, spd.mean(x), spd.logmap(x[0], x), spd.expmap(x[0], spd.logmap(x[0], x)))
    assert all(bool(result.isfinite().all()) for result in results)
    assert spd.check_point_on_manifold(results[1])
