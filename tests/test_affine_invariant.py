"""The affine-invariant metric against mpmath, scipy, pymanopt, pyRiemann and its invariances."""

from typing import Any

import mpmath
import numpy as np
import pymanopt
import pytest
import scipy.linalg
import torch
from jacobians import assert_jacobian, assert_second_derivatives
from pyriemann.geometry.distance import distance_riemann, pairwise_distance
from torch import Tensor
from torch.autograd import gradcheck

from geowarp.errors import GeowarpError, NotOnManifoldError
from geowarp.manifolds.spd import AffineInvariantSPD
from geowarp.manifolds.spd.points import SymmetricPositiveDefinite

SPD = AffineInvariantSPD()
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
SPD_MODULES = "geowarp.manifolds.spd"


def conditioned(*shape: int, condition: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return matrices with eigenvalues from 1 to 1/condition in random bases, a factor of 10^±1 in size."""
    n = shape[-1]
    frame = torch.linalg.qr(torch.randn(*shape, n, dtype=torch.float64))[0]
    values = torch.logspace(0, -1, n, base=condition, dtype=torch.float64)
    x: Tensor = (
        (frame * values) @ frame.mT * 10 ** (2 * torch.rand(*shape[:-1], 1, 1, dtype=torch.float64) - 1)
    )
    return (0.5 * (x + x.mT)).to(dtype)


def spd(*shape: int) -> Tensor:
    x: Tensor = SPD.random(*shape, shape[-1], dtype=torch.float64).detach().clone()
    return x


def symmetric(*shape: int) -> Tensor:
    x = torch.randn(*shape, shape[-1], dtype=torch.float64)
    return x + x.mT


def exact_distance(x: Tensor, y: Tensor) -> Any:
    with mpmath.workdps(60):
        a, b = (mpmath.matrix(matrix.double().tolist()) for matrix in (x, y))
        inverse = mpmath.cholesky(a) ** -1
        values = mpmath.eigsy(inverse * b * inverse.T, eigvals_only=True)
        return mpmath.sqrt(sum(mpmath.log(value) ** 2 for value in values))


def relative_error(x: Tensor, y: Tensor) -> float:
    expected = exact_distance(x, y)
    return float(abs(float(SPD.dist(x, y)) - expected) / expected)


@pytest.mark.parametrize(
    ("dtype", "condition", "error"),
    [
        (torch.float32, 1e2, 1e-7),
        (torch.float32, 1e4, 1e-7),
        (torch.float32, 1e6, 1e-7),
        (torch.float64, 1e1, 1e-14),
        (torch.float64, 1e2, 2e-13),
        (torch.float64, 1e6, 2e-11),
        (torch.float64, 1e10, 2e-7),
    ],
)
def test_distances_of_ill_conditioned_matrices(dtype: torch.dtype, condition: float, error: float) -> None:
    for _ in range(4):
        x, y = conditioned(2, 6, condition=condition, dtype=dtype)
        assert relative_error(x, y) <= error


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("condition", [1e1, 1e3])
def test_distances_of_close_matrices(gap: float, condition: float) -> None:
    x = conditioned(5, condition=condition)
    factor = torch.linalg.cholesky(x)
    y = x + gap * factor @ symmetric(5) @ factor.mT
    y = 0.5 * (y + y.mT)
    assert relative_error(x, y) <= 1e-14 * condition


def test_distance_is_invariant() -> None:
    x, y, g = spd(3, 4), spd(3, 4), torch.randn(4, 4, dtype=torch.float64)
    distance = SPD.dist(x, y)
    torch.testing.assert_close(SPD.dist(g @ x @ g.mT, g @ y @ g.mT), distance)
    torch.testing.assert_close(SPD.dist(x.inverse(), y.inverse()), distance)
    torch.testing.assert_close(
        SPD.dist(x, x / 9), torch.full((3,), 2 * 9.0).double().log().sub(np.log(2)) * 2
    )


def test_distance_equals_those_of_peers() -> None:
    x, y = spd(10, 5), spd(10, 5)
    expected = torch.from_numpy(distance_riemann(x.numpy(), y.numpy()))
    torch.testing.assert_close(SPD.dist(x, y), expected)
    torch.testing.assert_close(SPD.dist2(x, y), expected**2)
    peer = pymanopt.manifolds.SymmetricPositiveDefinite(5)
    assert float(SPD.dist(x[0], y[0])) == pytest.approx(peer.dist(x[0].numpy(), y[0].numpy()))


def test_operations_equal_those_of_scipy() -> None:
    x, y, u, v = spd(4), spd(4), 0.3 * symmetric(4), symmetric(4)
    a, b, du, dv = (tensor.numpy() for tensor in (x, y, u, v))
    root = scipy.linalg.sqrtm(a)
    back = np.linalg.inv(root)
    moved = scipy.linalg.sqrtm(b @ np.linalg.inv(a))
    expected = {
        "expmap": root @ scipy.linalg.expm(back @ du @ back) @ root,
        "logmap": root @ scipy.linalg.logm(back @ b @ back) @ root,
        "transp": moved @ dv @ moved.T,
        "inner": np.trace(np.linalg.solve(a, du) @ np.linalg.solve(a, dv)),
        "retr": a + du + 0.5 * du @ np.linalg.solve(a, du),
        "egrad2rgrad": a @ dv @ a,
    }
    arguments = {"expmap": (x, u), "logmap": (x, y), "transp": (x, y, v), "inner": (x, u, v)}
    arguments |= {"retr": (x, u), "egrad2rgrad": (x, v)}
    for name, value in expected.items():
        result = getattr(SPD, name)(*arguments[name])
        torch.testing.assert_close(result, torch.as_tensor(value))


def test_transports_along_steps_are_isometries() -> None:
    x, u, v, w = spd(3, 4), 0.7 * symmetric(3, 4), symmetric(3, 4), symmetric(3, 4)
    for name in ("retr_transp", "expmap_transp"):
        y, moved = getattr(SPD, name)(x, u, v)
        torch.testing.assert_close(SPD.inner(y, moved, getattr(SPD, name)(x, u, w)[1]), SPD.inner(x, v, w))
    y, moved = SPD.expmap_transp(x, u, v)
    torch.testing.assert_close(moved, SPD.transp(x, y, v))


@DTYPES
def test_gradients_of_distances_at_twice_the_identity(dtype: torch.dtype) -> None:
    y = (torch.eye(3, dtype=dtype) * 2).requires_grad_()
    x = torch.diag(torch.tensor([1.0, 1.0, 8.0], dtype=dtype)).requires_grad_()
    SPD.dist2(x, y).backward()
    half = torch.diag(torch.tensor([2.0, 2.0, 0.25], dtype=torch.float64).log())
    expected = -2 * half @ torch.linalg.inv(x.detach().double()), half.to(dtype)
    torch.testing.assert_close(x.grad, expected[0].to(dtype), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(y.grad, expected[1], rtol=1e-6, atol=1e-7)
    z = (2 * torch.eye(3, dtype=dtype)).requires_grad_()
    SPD.dist(torch.eye(3, dtype=dtype), z).backward()
    torch.testing.assert_close(z.grad, torch.eye(3, dtype=dtype) / (2 * 3**0.5))


@DTYPES
def test_gradient_of_distances_is_zero_at_coincidence(dtype: torch.dtype) -> None:
    x = conditioned(4, 5, condition=100.0, dtype=dtype).requires_grad_()
    for value in (SPD.dist(x, x.detach()), SPD.dist2(x, x.detach()), SPD.cdist(x, x.detach()).diagonal()):
        assert torch.equal(value, torch.zeros(4, dtype=dtype))
        (gradient,) = torch.autograd.grad(value.sum(), x)
        assert torch.equal(gradient, torch.zeros_like(x))


def test_gradients_of_distances_of_close_matrices_are_of_unit_length() -> None:
    x = conditioned(6, 4, condition=10.0)
    y = (x * (1 + 1e-9 * torch.arange(1, 7, dtype=torch.float64)[:, None, None])).requires_grad_()
    (gradient,) = torch.autograd.grad(SPD.dist(x, y).sum(), y)
    expected = 0.5 * torch.linalg.inv(y.detach())
    error = torch.linalg.matrix_norm(gradient - expected) / torch.linalg.matrix_norm(expected)
    assert bool((error < 1e-5).all())  # y is rounded to 1e-16, which is 1e-7 of the difference


def test_gradients_of_first_and_second_order() -> None:
    x, y = spd(2, 3).requires_grad_(), spd(2, 3).requires_grad_()

    def square(a: Tensor, b: Tensor) -> Tensor:
        return SPD.dist2(0.5 * (a + a.mT), 0.5 * (b + b.mT))

    assert_jacobian(square, x, y)
    assert_second_derivatives(square, x, y)
    equal = x.detach().clone().requires_grad_()
    assert_second_derivatives(square, x, equal)
    assert_jacobian(lambda a, b: SPD.dist(0.5 * (a + a.mT), 0.5 * (b + b.mT)), x, y)


def test_gradients_of_wide_pairs() -> None:
    x = conditioned(2, 3, condition=3e3).requires_grad_()
    y = conditioned(2, 3, condition=3e3).requires_grad_()

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return SPD.dist(0.5 * (a + a.mT), 0.5 * (b + b.mT))

    assert gradcheck(distance, (x, y), eps=1e-9, rtol=1e-3, atol=1e-3)
    own = torch.autograd.grad(distance(x, y).sum(), (x, y))
    for gradient, (a, b) in zip(own, ((x, y), (y, x)), strict=True):
        inverse = torch.linalg.inv(a.detach())
        expected = -inverse @ SPD.logmap(a, b).detach() @ inverse / distance(a, b).detach()[:, None, None]
        size = torch.linalg.matrix_norm(expected)
        assert bool((torch.linalg.matrix_norm(gradient - expected) <= 1e-8 * size).all())


def test_pairwise_distances_are_those_of_pairs() -> None:
    x, y = spd(2, 1, 5, 4), spd(3, 7, 4)
    pairs = SPD.dist(x[..., :, None, :, :], y[..., None, :, :, :])
    torch.testing.assert_close(SPD.cdist(x, y), pairs)
    same = SPD.cdist(x, x)
    torch.testing.assert_close(same, SPD.cdist(x, x.clone()), rtol=1e-12, atol=1e-12)
    assert torch.equal(same, same.mT)
    assert torch.equal(same.diagonal(dim1=-2, dim2=-1), torch.zeros(2, 1, 5, dtype=torch.float64))
    peer = torch.from_numpy(pairwise_distance(y[0].numpy(), metric="riemann"))
    torch.testing.assert_close(SPD.cdist(y[0], y[0]), peer)


def test_gradients_of_pairwise_distances() -> None:
    x, y = spd(4, 3).requires_grad_(), spd(2, 3).requires_grad_()

    def both(a: Tensor, b: Tensor) -> Tensor:
        return SPD.cdist(0.5 * (a + a.mT), 0.5 * (b + b.mT))

    def one(a: Tensor) -> Tensor:
        a = 0.5 * (a + a.mT)
        return SPD.cdist(a, a)

    def squares(a: Tensor) -> Tensor:
        a = 0.5 * (a + a.mT)
        return SPD.cdist(a, a)[..., :2, 2:].square()

    assert_jacobian(both, x, y)
    assert_jacobian(one, x)
    assert_second_derivatives(squares, x)
    assert_second_derivatives(both, x, y)


def test_threads_and_blocks_change_no_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    x = conditioned(90, 8, condition=30.0)
    x[:3] = conditioned(3, 8, condition=1e5)
    x.requires_grad_()
    weights = torch.randn(90, 90, dtype=torch.float64)
    results = []
    for count, size in ((1, 1 << 30), (3, 4000), (2, 30_000)):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        monkeypatch.setattr(f"{SPD_MODULES}.pair_function._ENTRIES", size)
        table = SPD.cdist(x, x)
        results.append((table.detach(), *torch.autograd.grad((table * weights).sum(), x)))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-9, atol=1e-9)
    many = SPD.cdist(x.detach().reshape(30, 3, 8, 8), x.detach()[:4])
    torch.testing.assert_close(many.reshape(90, 4), results[0][0][:, :4], rtol=1e-9, atol=1e-9)
    pairs = SPD.dist(x[:, None], x[None])
    torch.testing.assert_close(results[0][0], pairs, rtol=1e-9, atol=1e-9)


def test_distances_where_values_may_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = conditioned(5, 4, condition=300.0).requires_grad_(), conditioned(5, 4, condition=300.0)
    x.data[0] = y[0]
    expected = SPD.dist(x, y), SPD.cdist(x, y)
    slopes = [torch.autograd.grad(value.sum(), x) for value in expected]
    for module in ("affine_invariant_distance", "pair_function", "points"):
        monkeypatch.setattr(f"{SPD_MODULES}.{module}.is_concrete", lambda *_: False)
    results = SPD.dist(x, y), SPD.cdist(x, y)
    torch.testing.assert_close(results, expected)
    torch.testing.assert_close([torch.autograd.grad(value.sum(), x) for value in results], slopes)


@DTYPES
@pytest.mark.parametrize("length", [1e-8, 1.0, 1e3, 1e7])
def test_retraction_lands_however_long_the_step(dtype: torch.dtype, length: float) -> None:
    x = conditioned(50, 6, condition=30.0, dtype=dtype)
    u = SPD.proju(x, torch.randn(50, 6, 6, dtype=dtype)) * length
    rank_one = torch.randn(50, 6, 1, dtype=dtype)
    for tangent in (u, -length * x, -length * rank_one @ rank_one.mT):
        y = SPD.retr(x, tangent)
        assert bool((torch.linalg.cholesky_ex(y)[1] == 0).all())
        SPD.assert_check_point_on_manifold(y)


def test_logarithms_of_matrices_close_and_far() -> None:
    x = conditioned(5, condition=10.0)
    y = x * (1 + 1e-11)
    torch.testing.assert_close(SPD.logmap(x, y), y - x, rtol=1e-9, atol=0)
    far = conditioned(5, condition=1e5).float()
    assert float(SPD.norm(x, SPD.logmap(x, far.double()))) == pytest.approx(float(SPD.dist(x, far.double())))


@DTYPES
def test_projection_gives_positive_definite_matrices_and_leaves_those_alone(dtype: torch.dtype) -> None:
    for n in (1, 2, 3, 10):
        x = torch.randn(200, n, n, dtype=dtype)
        x[0], x[1] = 0, torch.ones(n, n)
        projected = SPD.projx(x)
        assert bool((torch.linalg.cholesky_ex(projected)[1] == 0).all())
        assert torch.equal(projected, SPD.projx(projected))
        torch.testing.assert_close(projected, projected.mT, rtol=0, atol=0)
    good = conditioned(20, 5, condition=1e4, dtype=dtype)
    assert torch.equal(SPD.projx(good), good)


def test_projection_is_the_nearest_semidefinite_matrix() -> None:
    x = symmetric(7, 5)
    values, vectors = torch.linalg.eigh(x)
    nearest = (vectors * values.clamp_min(0)[..., None, :]) @ vectors.mT
    torch.testing.assert_close(SPD.projx(x), nearest, rtol=1e-12, atol=1e-12)
    assert gradcheck(SPD.projx, (x.requires_grad_(),))


def test_random_points_are_well_conditioned() -> None:
    for n in (1, 5, 60):
        x = SPD.random(20, n, n, dtype=torch.float64)
        values = torch.linalg.eigvalsh(x.detach().as_subclass(Tensor))
        assert bool((values[:, -1] / values[:, 0] < 30).all())


def test_errors_name_the_matrix_and_its_smallest_eigenvalue() -> None:
    x = torch.eye(2).expand(2, 3, 2, 2).clone()
    x[1, 0, 1, 1] = -0.25
    for call in (
        lambda: SPD.dist(x, x),
        lambda: SPD.assert_check_point_on_manifold(x),
        lambda: SPD.cdist(x, x),
    ):
        with pytest.raises(NotOnManifoldError, match=r"matrix \[1, 0\] of \(2, 3\).*-2.5e-01.*proj"):
            call()
    with pytest.raises(NotOnManifoldError, match="not finite"):
        SPD.dist(x * torch.nan, x)
    with pytest.raises(GeowarpError, match=r"\(2, 3\) is not square"):
        SPD.random(2, 3)
    assert float(SPD.point_residual(x)[1, 0]) > 1
    assert float(SPD.point_residual(x)[0, 0]) == 0
    with pytest.raises(NotOnManifoldError, match="departure"):
        SPD.assert_check_point_on_manifold(torch.tensor([[1.0, 0.1], [0.0, 1.0]]))


def test_a_second_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(NotOnManifoldError, match="not positive definite"):
        SPD.dist(torch.eye(2), -torch.eye(2))
    with pytest.raises(NotOnManifoldError, match="not positive definite"):
        SPD.cdist(torch.eye(2)[None], -torch.eye(2)[None])


def test_it_is_a_kind_of_positive_definite_matrices() -> None:
    assert issubclass(AffineInvariantSPD, SymmetricPositiveDefinite)
    assert SPD.uniqueness_radius() == float("inf")
    assert AffineInvariantSPD() == SPD


@pytest.mark.parametrize("condition", [1e8, 1e10, 1e12])
def test_logarithms_and_transports_of_ill_conditioned_matrices_agree_with_distances(condition: float) -> None:
    x, y = conditioned(2, 6, condition=condition)
    bound = 100 * condition * torch.finfo(torch.float64).eps
    log, distance = SPD.logmap(x, y), SPD.dist(x, y)
    torch.testing.assert_close(SPD.norm(x, log), distance, rtol=bound, atol=0)
    torch.testing.assert_close(SPD.dist(x, SPD.geodesic(0.5, x, y)), 0.5 * distance, rtol=bound, atol=0)
    torch.testing.assert_close(SPD.norm(y, SPD.transp(x, y, log)), distance, rtol=bound, atol=0)


def test_second_derivative_of_a_wide_pair() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1e-10]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[1e-10, 0.0], [0.0, 1.0]], dtype=torch.float64)
    (slope,) = torch.autograd.grad(SPD.dist2(x, y), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope[0, 0], x)
    expected = torch.tensor(2 * (1 - np.log(1e10)), dtype=torch.float64)  # of log²(x_00 / y_00) at x_00 = 1
    torch.testing.assert_close(curvature[0, 0], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("end", [torch.zeros(2, 2), -torch.eye(2), torch.ones(2, 2)])
def test_the_other_point_is_checked_too(end: Tensor) -> None:
    x = torch.eye(2)
    for operation in (SPD.dist, SPD.logmap, lambda a, b: SPD.transp(a, b, x)):
        with pytest.raises(NotOnManifoldError, match="smallest eigenvalue"):
            operation(x, end)
