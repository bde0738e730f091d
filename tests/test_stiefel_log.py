"""The Stiefel logarithm and distance against scipy, mpmath, the exponential and finite differences."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from jacobians import assert_jacobian
from mpmath import mp
from pymanopt.manifolds import Stiefel as PymanoptStiefel
from scipy.linalg import expm, logm
from torch import Tensor

from geowarp import NotConvergedError
from geowarp.manifolds import (
    AlphaMetric,
    CanonicalMetric,
    EuclideanMetric,
    Stiefel,
    StiefelMetric,
    stiefel_logarithm,
)
from geowarp.manifolds.linalg.exponential import expm1_stages
from geowarp.manifolds.stiefel_differential import Differential

METRICS: list[StiefelMetric] = [EuclideanMetric(), CanonicalMetric(), AlphaMetric(0.4), AlphaMetric(-0.7)]
SIZES = [(9, 4), (5, 4), (6, 3), (4, 4), (7, 1), (2, 2), (1, 1)]


def pair(
    metric: StiefelMetric, *size: int, length: float | Tensor, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a point, a tangent vector of the length asked for, and the end of its geodesic, in float64."""
    stiefel = Stiefel(metric)
    x = stiefel.random(*size, dtype=torch.float64).clone()
    u = stiefel.proju(x, torch.randn_like(x))
    u = u * (length / stiefel.norm(x, u, keepdim=True).clamp_min(1e-300))
    return x.to(dtype), u.to(dtype), stiefel.expmap(x, u).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_the_logarithm_inverts_the_exponential(
    metric: StiefelMetric, size: tuple[int, int], dtype: torch.dtype
) -> None:
    stiefel = Stiefel(metric)
    length = torch.tensor([0.1, 1.0, 2.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    x, u, y = pair(metric, 3, 5, *size, length=length, dtype=dtype)
    tolerance = 2000 * torch.finfo(dtype).eps
    before = x.clone(), y.clone()
    log = stiefel.logmap(x, y)
    torch.testing.assert_close(log, u, atol=tolerance, rtol=0)
    assert log.dtype == dtype
    assert log.is_contiguous()
    torch.testing.assert_close(stiefel.expmap(x, log), y, atol=tolerance, rtol=0)
    torch.testing.assert_close(stiefel.dist(x, y), stiefel.norm(x, u), atol=tolerance, rtol=0)
    torch.testing.assert_close(stiefel.dist(y, x), stiefel.dist(x, y), atol=tolerance, rtol=0)
    stiefel.assert_check_vector_on_tangent(x, log)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


@pytest.mark.parametrize("size", [(20, 5), (8, 5), (5, 4), (6, 6)])
@pytest.mark.parametrize("metric", METRICS[:3], ids=repr)
def test_it_converges_up_to_most_of_the_injectivity_radius(
    metric: StiefelMetric, size: tuple[int, int]
) -> None:
    length = 0.85 * math.pi * min(1, (1 + metric.alpha) ** -0.5)
    x, u, y = pair(metric, 40, *size, length=length)
    result = stiefel_logarithm(x, y, metric)
    assert result.converged.all()
    assert (result.residual < 1e-12).all()
    torch.testing.assert_close(result.log, u, atol=1e-10, rtol=0)


@pytest.mark.parametrize("batch", [(), (3,), (0,), (2, 3)])
def test_batches_broadcast_and_mix_easy_and_hard_pairs(batch: tuple[int, ...]) -> None:
    stiefel = Stiefel(CanonicalMetric())
    x, _, y = pair(CanonicalMetric(), *batch, 7, 3, length=1.0)
    assert stiefel.dist(x, y).shape == batch
    assert stiefel.dist(x, y, keepdim=True).shape == (*batch, 1, 1)
    assert stiefel.logmap(x, y).shape == x.shape
    if batch == (2, 3):
        mixed = torch.stack([x[0, 0], pair(CanonicalMetric(), 7, 3, length=1e-9)[2], y[1, 1]])
        single = torch.stack([stiefel.dist(x[0, 0], point) for point in mixed])
        torch.testing.assert_close(stiefel.dist(x[0, 0], mixed), single, rtol=1e-13, atol=0)
        iterations = stiefel_logarithm(x[0, 0], mixed, CanonicalMetric()).iterations
        assert iterations[0] == 0
        assert iterations[2] > 3


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_all_pairs_equal_single_distances(metric: StiefelMetric) -> None:
    stiefel = Stiefel(metric)
    x, _, _ = pair(metric, 3, 6, 2, length=1.0)
    y = stiefel.expmap(x[0], stiefel.proju(x[0], 0.3 * torch.randn(2, 4, 6, 2, dtype=torch.float64)))
    x = torch.stack([x[0], y[0, 0], y[1, 1]])
    expected = torch.stack([torch.stack([stiefel.dist(a, b) for b in y[0]]) for a in x])
    torch.testing.assert_close(stiefel.cdist(x, y)[0], expected, atol=1e-14, rtol=1e-12)
    assert stiefel.cdist(x[:0], y).shape == (2, 0, 4)
    torch.testing.assert_close(stiefel.dist2(x[0], y), stiefel.dist(x[0], y) ** 2)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_on_rotations_it_is_the_matrix_logarithm(metric: StiefelMetric) -> None:
    x, _, y = pair(metric, 5, 5, length=1.2)
    generator = logm((x.mT @ y).numpy())
    expected = np.linalg.norm(generator) / math.sqrt(2 * (metric.alpha + 1))
    np.testing.assert_allclose(Stiefel(metric).dist(x, y).item(), expected, rtol=1e-12)
    np.testing.assert_allclose(Stiefel(metric).logmap(x, y), x.numpy() @ generator, atol=1e-12)


def test_canonical_logarithm_generates_the_rotation_and_euclidean_agrees_with_pymanopt() -> None:
    x, _, y = pair(CanonicalMetric(), 9, 4, length=1.5)
    log = Stiefel(CanonicalMetric()).logmap(x, y)
    lifted = log - 0.5 * x @ (x.mT @ log)
    np.testing.assert_allclose(expm((lifted @ x.mT - x @ lifted.mT).numpy()) @ x.numpy(), y, atol=1e-12)
    peer = PymanoptStiefel(9, 4)
    np.testing.assert_allclose(peer.exp(x.numpy(), Stiefel().logmap(x, y).numpy()), y, atol=1e-12)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_close_points_are_accurate_to_a_few_eps(
    metric: StiefelMetric, dtype: torch.dtype, size: float
) -> None:
    x = torch.eye(6, 3, dtype=dtype)
    step = torch.zeros_like(x)
    step[3:] = size * torch.randn(3, 3, dtype=dtype)
    step[:3] = size * torch.tensor([[0, -1, 0.5], [1, 0, 2], [-0.5, -2, 0]], dtype=dtype)
    y = x + step  # adds below the diagonal exactly, and on it by less than an eps
    a, r = (y - x)[:3].double(), (y - x)[3:].double()
    expected = (a.square().sum() / (2 * (metric.alpha + 1)) + r.square().sum()).sqrt().item()
    assert abs(Stiefel(metric).dist(x, y).item() / expected - 1) < 8 * torch.finfo(dtype).eps


def test_distance_at_every_length_equals_mpmath() -> None:
    for length in (1e-8, 1e-3, 0.5, 2.0, 3.1):
        with mp.workdps(40):
            c, s = float(mp.cos(length)), float(mp.sin(length))
        x, y = torch.eye(4, 1, dtype=torch.float64), torch.tensor([[c], [s], [0.0], [0.0]]).double()
        y[:2, 0] = torch.tensor([c, s], dtype=torch.float64)
        for metric in METRICS:
            assert abs(Stiefel(metric).dist(x, y).item() / length - 1) < 1e-14


@pytest.mark.parametrize("size", [(5, 2), (4, 3), (3, 3), (4, 1)])
@pytest.mark.parametrize("metric", METRICS, ids=repr)
@pytest.mark.parametrize("length", [0.0, 1.5])
def test_gradients_of_the_logarithm(metric: StiefelMetric, size: tuple[int, int], length: float) -> None:
    stiefel = Stiefel(metric)
    x, _, y = pair(metric, *size, length=length)
    zero = torch.zeros_like(x, requires_grad=True)
    other = torch.zeros_like(x, requires_grad=True)

    def log(p: Tensor, q: Tensor) -> Tensor:
        value: Tensor = stiefel.logmap(
            stiefel.expmap(x, stiefel.proju(x, p)), stiefel.expmap(y, stiefel.proju(y, q))
        )
        return value

    assert_jacobian(log, zero, other, atol=1e-7)


@pytest.mark.parametrize("size", [(5, 2), (4, 3), (3, 3), (4, 1)])
@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_gradients_of_the_distance(metric: StiefelMetric, size: tuple[int, int]) -> None:
    stiefel = Stiefel(metric)
    x, _, y = pair(metric, 2, *size, length=1.5)
    zero = torch.zeros_like(x, requires_grad=True)
    other = torch.zeros_like(x, requires_grad=True)

    def distance(p: Tensor, q: Tensor) -> Tensor:
        value: Tensor = stiefel.dist(
            stiefel.expmap(x, stiefel.proju(x, p)), stiefel.expmap(y, stiefel.proju(y, q))
        )
        return value

    assert_jacobian(distance, zero, other, atol=1e-7)
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(stiefel.dist(point, y).sum(), point)
    expected = -stiefel.logmap(x, y) / stiefel.dist(x, y, keepdim=True)
    torch.testing.assert_close(stiefel.egrad2rgrad(x, gradient), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coincident_points_have_distance_0_and_gradient_0(dtype: torch.dtype) -> None:
    x = Stiefel().random(2, 6, 3, dtype=dtype).clone().requires_grad_()
    y = x.detach().clone().requires_grad_()
    for metric in METRICS:
        distance = Stiefel(metric).dist(x, y)
        assert torch.equal(distance, torch.zeros(2, dtype=dtype))
        for gradient in torch.autograd.grad(distance.sum(), (x, y)):
            assert torch.equal(gradient, torch.zeros_like(x))
        log = Stiefel(metric).logmap(x, y)
        assert torch.equal(log, torch.zeros_like(x))
        for gradient in torch.autograd.grad(log.sum(), (x, y)):
            assert gradient.isfinite().all()


def test_a_pair_without_a_geodesic_is_named_and_the_rest_is_kept() -> None:
    x, _, y = pair(EuclideanMetric(), 3, 6, 2, length=1.0)
    x[1] = torch.eye(6, 2)
    y[1] = -x[1]
    with pytest.raises(NotConvergedError, match=r"EuclideanMetric.*residual.*for 1 of 3 pairs.*in between"):
        Stiefel().logmap(x, y)
    with pytest.raises(NotConvergedError, match="injectivity radius"):
        Stiefel().dist(x, y)
    result = stiefel_logarithm(x, y, EuclideanMetric())
    assert result.converged.tolist() == [True, False, True]
    assert result.log[1].isnan().all()
    torch.testing.assert_close(result.log[0], Stiefel().logmap(x[0], y[0]))
    limited = stiefel_logarithm(x[0], y[0], EuclideanMetric(), max_iterations=2)
    assert not limited.converged
    assert 1e-6 < limited.residual < 1
    y[1, 0, 0] = torch.nan
    y.requires_grad_()
    result = stiefel_logarithm(x, y, EuclideanMetric())
    assert not result.converged[1]
    (gradient,) = torch.autograd.grad(result.log[::2].sum(), y)
    assert gradient[::2].isfinite().all()


def test_square_points_in_different_components_have_no_path() -> None:
    x = torch.eye(3, dtype=torch.float64)
    with pytest.raises(NotConvergedError, match="determinants have opposite signs"):
        Stiefel().dist(x, torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)))


def test_large_and_thin_and_half_precision() -> None:
    stiefel = Stiefel(CanonicalMetric())
    x = stiefel.random(200_000, 4).clone()
    u = stiefel.proju(x, torch.randn_like(x))
    u = u / stiefel.norm(x, u, keepdim=True)
    y = stiefel.expmap(x, u)
    torch.testing.assert_close(stiefel.dist(x, y), torch.tensor(1.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(stiefel.logmap(x, y), u, atol=1e-6, rtol=0)
    half = stiefel_logarithm(x[:0].bfloat16().new_ones(1, 1), torch.ones(1, 1).bfloat16(), CanonicalMetric())
    assert half.log.dtype == torch.bfloat16
    assert half.iterations.dtype == torch.int64


def _call(operation: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    return operation(x, y)


def test_distance_compiles_in_one_graph_and_gives_nan_where_it_cannot_raise() -> None:
    torch.compiler.reset()
    stiefel = Stiefel()
    x, _, y = pair(EuclideanMetric(), 3, 6, 2, length=1.0)
    for operation in (stiefel.dist, stiefel.logmap):
        compiled = torch.compile(partial(_call, operation), fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x, y), operation(x, y))
        far, start = y.clone(), x.clone()
        far[1], start[1] = -torch.eye(6, 2), torch.eye(6, 2)
        assert compiled(start, far).isnan().reshape(3, -1).all(-1).tolist() == [False, True, False]
    point = x.clone().requires_grad_()
    compiled = torch.compile(partial(_call, stiefel.dist), fullgraph=True, backend="eager")
    (gradient,) = torch.autograd.grad(compiled(point, y).sum(), point)
    (expected,) = torch.autograd.grad(stiefel.dist(point, y).sum(), point)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("size", [1e-12, 0.1, 3.0])
def test_expm1_is_relatively_accurate(size: float) -> None:
    w = torch.randn(5, 5, dtype=torch.float64)
    w = size * (w - w.mT) / torch.linalg.matrix_norm(w - w.mT, 2)
    with mp.workdps(40):
        exact = mp.expm(mp.matrix(w.tolist())) - mp.eye(5)
        expected = torch.tensor(np.array(exact.tolist(), dtype=float).reshape(5, 5))
    assert (expm1_stages(w, 3)[0] - expected).norm() < 4e-16 * expected.norm()


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_the_adjoint_of_the_differential_is_its_adjoint(metric: StiefelMetric) -> None:
    stiefel, eye = Stiefel(metric), torch.eye(5, 3, dtype=torch.float64)
    u, v, w = (stiefel.proju(eye, torch.randn(5, 3, dtype=torch.float64)) for _ in range(3))
    differential = Differential(v, metric.alpha)
    left, right = (differential.apply(u) * w).sum(), (u * differential.adjoint(w)).sum()
    torch.testing.assert_close(left, right)
