"""Stiefel against scipy, pymanopt, the n x n Cayley transform and finite differences."""

import numpy as np
import pytest
import torch
from pymanopt.manifolds import Stiefel as PymanoptStiefel
from scipy.linalg import expm
from torch import Tensor

from geowarp.manifolds import (
    QR,
    AlphaMetric,
    CanonicalMetric,
    Cayley,
    EuclideanMetric,
    Exponential,
    Polar,
    Retraction,
    Stiefel,
    StiefelMetric,
)

METRICS: list[StiefelMetric] = [EuclideanMetric(), CanonicalMetric(), AlphaMetric(0.4)]
RETRACTIONS: list[Retraction] = [QR(), QR(passes=1), Polar(), Cayley(), Exponential()]
BATCHES: list[tuple[int, ...]] = [(), (3,), (0,), (2, 3)]


def point_and_tangent(
    stiefel: Stiefel, *size: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    x = stiefel.random(*size, dtype=dtype).clone()
    return x, stiefel.proju(x, torch.randn_like(x))


@pytest.mark.parametrize("metric", METRICS, ids=repr)
@pytest.mark.parametrize("batch", BATCHES)
def test_gradient_duality_and_projection(metric: StiefelMetric, batch: tuple[int, ...]) -> None:
    stiefel = Stiefel(metric)
    x, v = point_and_tangent(stiefel, *batch, 7, 3)
    g = torch.randn_like(x)
    torch.testing.assert_close(stiefel.inner(x, stiefel.egrad2rgrad(x, g), v), (g * v).sum((-2, -1)))
    torch.testing.assert_close(stiefel.proju(x, v), v)
    assert stiefel.inner(x, v, keepdim=True).shape == (*batch, 1, 1)


@pytest.mark.parametrize("retraction", RETRACTIONS, ids=repr)
@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_retraction_is_first_order(metric: StiefelMetric, retraction: Retraction) -> None:
    stiefel = Stiefel(metric, retraction)
    x, u = point_and_tangent(stiefel, 7, 3)
    t = torch.tensor([1e-2, 1e-3], dtype=torch.float64)
    error = torch.stack([(stiefel.retr(x, s * u) - x - s * u).norm() for s in t])
    assert 1.9 < (error[0] / error[1]).log10() < 2.1


@pytest.mark.parametrize("retraction", RETRACTIONS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("size", [(7, 3), (4, 4), (5, 1)])
def test_retraction_stays_on_the_manifold(
    retraction: Retraction, dtype: torch.dtype, batch: tuple[int, ...], size: tuple[int, int]
) -> None:
    stiefel = Stiefel(retraction=retraction)
    x, u = point_and_tangent(stiefel, *batch, *size, dtype=dtype)
    if retraction == QR(passes=1):
        u = u / torch.linalg.matrix_norm(u, keepdim=True)
    before = x.clone(), u.clone()
    y = stiefel.retr(x, u)
    assert y.dtype == dtype
    assert y.is_contiguous()
    assert y.shape == x.shape
    assert (stiefel.point_residual(y) < 20 * torch.finfo(dtype).eps).all()
    assert torch.equal(x, before[0])
    assert torch.equal(u, before[1])
    strided = x.mT.contiguous().mT
    torch.testing.assert_close(stiefel.retr(strided, u), y)


@pytest.mark.parametrize("retraction", RETRACTIONS, ids=repr)
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_gradient_of_retraction(retraction: Retraction, start: float) -> None:
    stiefel = Stiefel(CanonicalMetric(), retraction)
    x, u = point_and_tangent(stiefel, 5, 2)
    step = (start * u).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: stiefel.retr(x, stiefel.proju(x, w)), (step,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(5, 6, 2), (3, 64, 8), (2, 40, 32), (1, 7, 7), (2, 2, 90, 12)])
def test_one_pass_qr_of_small_steps_is_householder_qr_to_a_few_eps(
    size: tuple[int, ...], dtype: torch.dtype
) -> None:
    stiefel = Stiefel(retraction=QR(passes=1))
    x, u = point_and_tangent(stiefel, *size)
    u = u / torch.linalg.matrix_norm(u, keepdim=True)
    q, r = torch.linalg.qr(x + u)
    peer = q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    error = stiefel.retr(x.to(dtype), u.to(dtype)).double() - peer
    assert torch.linalg.matrix_norm(error).max() < 3 * size[-1] * torch.finfo(dtype).eps


def test_passes_of_qr() -> None:
    assert Stiefel(retraction=QR(passes=1)) != Stiefel()
    assert repr(QR()) == "QR()"
    assert repr(QR(passes=1)) == "QR(passes=1)"
    with pytest.raises(ValueError, match="passes = 0"):
        QR(passes=0)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_points_and_vectors_broadcast(metric: StiefelMetric) -> None:
    stiefel = Stiefel(metric)
    x, u = stiefel.random(3, 1, 6, 2).clone(), torch.randn(4, 6, 2)
    for operation in (stiefel.proju, stiefel.egrad2rgrad, stiefel.inner):
        single = torch.stack([torch.stack([operation(a[0], b) for b in u]) for a in x])
        torch.testing.assert_close(operation(x, u), single)
    torch.testing.assert_close(stiefel.inner(x, u, u), stiefel.inner(x, u))
    assert stiefel.transp(x, x[0], u[0]).shape == (3, 1, 6, 2)
    assert stiefel.inner(x, u[0], keepdim=True).shape == (3, 1, 1, 1)


def test_gradient_of_projx_is_finite_at_orthonormal_points() -> None:
    stiefel = Stiefel()
    x = stiefel.random(5, 3, dtype=torch.float64).clone().requires_grad_()
    assert torch.autograd.gradcheck(stiefel.projx, (x,))


def test_qr_and_polar_equal_pymanopt() -> None:
    x, u = point_and_tangent(Stiefel(), 9, 4)
    peer_qr = PymanoptStiefel(9, 4, retraction="qr").retraction(x.numpy(), u.numpy())
    peer_polar = PymanoptStiefel(9, 4, retraction="polar").retraction(x.numpy(), u.numpy())
    np.testing.assert_allclose(Stiefel(retraction=QR()).retr(x, u), peer_qr, atol=1e-13)
    np.testing.assert_allclose(Stiefel(retraction=Polar()).retr(x, u), peer_polar, atol=1e-13)


def test_euclidean_exponential_equals_pymanopt() -> None:
    x, u = point_and_tangent(Stiefel(), 9, 4)
    peer = PymanoptStiefel(9, 4).exp(x.numpy(), u.numpy())
    np.testing.assert_allclose(Stiefel().expmap(x, u), peer, atol=1e-13)


def test_canonical_exponential_is_a_rotation_by_the_lifted_generator() -> None:
    stiefel = Stiefel(CanonicalMetric())
    x, u = point_and_tangent(stiefel, 9, 4)
    lifted = u - 0.5 * x @ (x.mT @ u)
    generator = lifted @ x.mT - x @ lifted.mT
    np.testing.assert_allclose(stiefel.expmap(x, u), expm(generator.numpy()) @ x.numpy(), atol=1e-12)
    eye = torch.eye(9, dtype=torch.float64)
    cayley = torch.linalg.solve(eye - generator / 2, (eye + generator / 2) @ x)
    torch.testing.assert_close(Stiefel(retraction=Cayley()).retr(x, u), cayley)


@pytest.mark.parametrize(("dtype", "length"), [(torch.float32, 0.5), (torch.float64, 0.04)])
@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_exponential_of_one_point_is_that_of_a_batch(
    metric: StiefelMetric, dtype: torch.dtype, length: float
) -> None:
    stiefel = Stiefel(metric)
    x, u = point_and_tangent(stiefel, 5, 3, dtype=dtype)
    u = u * (length / u.norm())
    batch = stiefel.expmap(torch.stack([x, x]), torch.stack([u, u]))[0]
    torch.testing.assert_close(stiefel.expmap(x, u), batch, atol=4 * torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_geodesics_have_constant_speed(metric: StiefelMetric) -> None:
    stiefel = Stiefel(metric)
    x, u = point_and_tangent(stiefel, 8, 3)

    def curve(t: Tensor) -> Tensor:
        y: Tensor = stiefel.expmap(x, t * u)
        return y

    one = torch.ones((), dtype=torch.float64)
    point, velocity = torch.autograd.functional.jvp(curve, one, one)
    torch.testing.assert_close(stiefel.norm(point, velocity), stiefel.norm(x, u))


def test_large_and_thin_runs_without_an_n_by_n_matrix() -> None:
    stiefel = Stiefel(CanonicalMetric(), Cayley())
    x, u = point_and_tangent(stiefel, 200_000, 4, dtype=torch.float32)
    stiefel.assert_check_point_on_manifold(stiefel.retr(x, 0.1 * u))


def test_values_and_bad_input() -> None:
    assert Stiefel(CanonicalMetric()) == Stiefel(CanonicalMetric())
    assert Stiefel(CanonicalMetric()) != Stiefel()
    assert len({Stiefel(), Stiefel(EuclideanMetric(), QR())}) == 1
    assert repr(Stiefel()) == "Stiefel(EuclideanMetric(), QR())"
    with pytest.raises(ValueError, match="more columns than rows"):
        Stiefel().random(3, 5)
    with pytest.raises(ValueError, match=r"-1\.5"):
        AlphaMetric(-1.5)


@pytest.mark.parametrize("retraction", RETRACTIONS, ids=repr)
def test_retraction_compiles_in_one_graph(retraction: Retraction) -> None:
    torch.compiler.reset()
    stiefel = Stiefel(retraction=retraction)
    x, u = point_and_tangent(stiefel, 2, 6, 3)
    compiled = torch.compile(lambda a, b: stiefel.retr(a, b), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, u), stiefel.retr(x, u))
