"""Grassmann against scipy, pymanopt, finite differences and invariance under a change of basis."""

import numpy as np
import pytest
import torch
from pymanopt.manifolds import Grassmann as PymanoptGrassmann
from scipy.linalg import subspace_angles
from torch import Tensor

from geowarp.manifolds import QR, Cayley, Exponential, Grassmann, Polar, Stiefel

BATCHES: list[tuple[int, ...]] = [(), (3,), (0,), (2, 3)]


def point_and_tangent(*size: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    x = Grassmann().random(*size, dtype=dtype).clone()
    u = Grassmann().proju(x, torch.randn_like(x))
    return x, u / torch.linalg.matrix_norm(u, keepdim=True)


def random_basis_change(*size: int) -> Tensor:
    q: Tensor = torch.linalg.qr(torch.randn(*size, dtype=torch.float64)).Q
    return q


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", BATCHES)
def test_exp_and_log_are_inverse(dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    grassmann = Grassmann()
    x, u = point_and_tangent(*batch, 7, 3, dtype=dtype)
    y = grassmann.expmap(x, u)
    assert y.dtype == dtype
    assert y.is_contiguous()
    tolerance = 50 * torch.finfo(dtype).eps
    torch.testing.assert_close(grassmann.logmap(x, y), u, atol=tolerance, rtol=0)
    torch.testing.assert_close(grassmann.dist(x, y), torch.ones(batch, dtype=dtype), atol=tolerance, rtol=0)
    assert grassmann.dist(x, y, keepdim=True).shape == (*batch, 1, 1)


def test_distance_equals_scipy_and_pymanopt() -> None:
    x, y = Grassmann().random(9, 4, dtype=torch.float64), Grassmann().random(9, 4, dtype=torch.float64)
    angles = subspace_angles(x.numpy(), y.numpy())
    distance = Grassmann().dist(x, y).item()
    np.testing.assert_allclose(distance, np.linalg.norm(angles), rtol=1e-14)
    np.testing.assert_allclose(distance, PymanoptGrassmann(9, 4).dist(x.numpy(), y.numpy()), rtol=1e-12)


@pytest.mark.parametrize(("dtype", "angle"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_small_angles_are_accurate_to_a_few_eps(dtype: torch.dtype, angle: float) -> None:
    x = torch.eye(5, 2, dtype=dtype)
    y = x.clone()
    y[2, 0] = angle
    exact = torch.tensor(angle, dtype=dtype).item()
    assert abs(Grassmann().dist(x, y).item() - exact) <= 4 * torch.finfo(dtype).eps * exact


@pytest.mark.parametrize("angle", [1e-3, 0.5, 1.0, 1.5, 1.5707, np.pi / 2])
def test_every_angle_is_accurate_to_a_few_eps(angle: float) -> None:
    x = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    y = torch.tensor([[np.cos(angle)], [np.sin(angle)]], dtype=torch.float64)
    assert abs(Grassmann().dist(x, y).item() - angle) <= 1e-15


def test_invariance_under_a_change_of_basis() -> None:
    grassmann = Grassmann()
    (x, u), q, r = point_and_tangent(7, 3), random_basis_change(3, 3), random_basis_change(3, 3)
    y = grassmann.random(7, 3, dtype=torch.float64)
    torch.testing.assert_close(grassmann.dist(x @ q, y @ r), grassmann.dist(x, y))
    torch.testing.assert_close(grassmann.logmap(x @ q, y @ r), grassmann.logmap(x, y) @ q)
    torch.testing.assert_close(grassmann.expmap(x @ q, u @ q), grassmann.expmap(x, u) @ q)
    torch.testing.assert_close(grassmann.transp(x @ q, y @ r, u @ q), grassmann.transp(x, y, u) @ r)


def test_transport_is_an_isometry_that_carries_the_geodesic() -> None:
    grassmann = Grassmann()
    x, u = point_and_tangent(5, 7, 3)
    _, v = x, grassmann.proju(x, torch.randn_like(x))
    y = grassmann.expmap(x, u) @ random_basis_change(5, 3, 3)
    moved = grassmann.transp(x, y, v)
    grassmann.assert_check_vector_on_tangent(y, moved)
    torch.testing.assert_close(grassmann.norm(y, moved), grassmann.norm(x, v))
    torch.testing.assert_close(grassmann.transp(x, y, u), -grassmann.logmap(y, x))


@pytest.mark.parametrize("spectrum", [(0.0, 0.0, 0.0), (0.4, 0.4, 0.4), (0.3, 0.3, 0.9), (0.2, 0.5, 1.1)])
def test_gradients_at_zero_repeated_and_generic_angles(spectrum: tuple[float, ...]) -> None:
    grassmann = Grassmann()
    x, u = torch.eye(7, 3, dtype=torch.float64), torch.zeros(7, 3, dtype=torch.float64)
    u[3:6] = torch.diag(torch.tensor(spectrum, dtype=torch.float64))
    y = grassmann.expmap(x, u)
    step = u.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: grassmann.expmap(x, grassmann.proju(x, w)), (step,))
    zero = torch.zeros_like(u, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda w: grassmann.logmap(x, grassmann.expmap(y, grassmann.proju(y, w))), (zero,)
    )
    if any(spectrum):
        assert torch.autograd.gradcheck(
            lambda w: grassmann.dist(x, grassmann.expmap(y, grassmann.proju(y, w))), (zero,)
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(5, 2), (40, 8), (3, 3)])
def test_distance_and_its_gradient_are_zero_at_equal_points(
    size: tuple[int, int], dtype: torch.dtype
) -> None:
    x = Grassmann().random(4, *size, dtype=dtype).clone().requires_grad_()
    y = x.detach().clone().requires_grad_()
    for distance in (Grassmann().dist(x, y), Grassmann().cdist(x, y).diagonal()):
        assert distance.max() < 100 * torch.finfo(dtype).eps ** 2
        for grad in torch.autograd.grad(distance.sum(), (x, y)):
            assert torch.equal(grad, torch.zeros_like(x))


@pytest.mark.parametrize("retraction", [Polar(), Cayley(), Exponential()], ids=repr)
def test_retractions_follow_the_geodesic_to_second_order(retraction: Polar | Cayley | Exponential) -> None:
    grassmann = Grassmann(retraction)
    x, u = point_and_tangent(7, 3)
    gaps = [grassmann.dist(grassmann.retr(x, t * u), grassmann.expmap(x, t * u)).item() for t in (0.1, 0.01)]
    assert gaps[1] < 1e-14 or 2.9 < np.log10(gaps[0] / gaps[1]) < 3.1


def test_large_and_thin_and_cdist_and_compile() -> None:
    grassmann = Grassmann()
    x, u = point_and_tangent(20_000, 4)
    torch.testing.assert_close(grassmann.dist(x, grassmann.expmap(x, u)).item(), 1.0)
    a, b = grassmann.random(4, 6, 2).clone(), grassmann.random(3, 6, 2).clone()
    torch.testing.assert_close(grassmann.cdist(a, b)[1, 2], grassmann.dist(a[1], b[2]))
    compiled = torch.compile(lambda p, q: grassmann.dist(p, q), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(a[:3], b), grassmann.dist(a[:3], b))
    assert Grassmann() == Grassmann()
    assert Grassmann().egrad2rgrad(x, u).shape == x.shape


def test_grassmann_is_no_stiefel() -> None:
    assert not isinstance(Grassmann(), Stiefel)
    x, u = point_and_tangent(3, 7, 2)
    torch.testing.assert_close(Grassmann(QR(passes=1)).retr(x, u), Grassmann().retr(x, u))
    torch.testing.assert_close(Grassmann().inner(x, u, keepdim=True), torch.ones_like(x[:, :1, :1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_pairs_have_the_accuracy_of_single_distances(dtype: torch.dtype) -> None:
    grassmann = Grassmann()
    x, u = point_and_tangent(4, 8, 3)
    lengths = torch.tensor([0.0, 1e-9, 1e-4, 1e-2, 0.1, 0.25, 0.4, 1.0]).double()
    y = grassmann.expmap(x[0], lengths[:, None, None] * u[0]) @ random_basis_change(8, 3, 3)
    x, y = x.to(dtype), y.to(dtype)
    pairs = grassmann.cdist(x, y)
    single = torch.stack([torch.stack([grassmann.dist(a, b) for b in y]) for a in x])
    torch.testing.assert_close(pairs, single, rtol=40 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)
    assert pairs.dtype == dtype
    assert pairs.is_contiguous()


@pytest.mark.parametrize(("batch", "other"), [((), ()), ((2,), ()), ((2, 1), (3,)), ((0,), ())])
@pytest.mark.parametrize(("n_x", "n_y"), [(3, 2), (0, 2), (3, 0)])
def test_all_pairs_broadcast(batch: tuple[int, ...], other: tuple[int, ...], n_x: int, n_y: int) -> None:
    x, y = Grassmann().random(*batch, n_x, 6, 2).clone(), Grassmann().random(*other, n_y, 6, 2).clone()
    pairs = Grassmann().cdist(x, y)
    assert pairs.shape == (*torch.broadcast_shapes(batch, other), n_x, n_y)
    torch.testing.assert_close(pairs, Grassmann().dist(x[..., :, None, :, :], y[..., None, :, :, :]))


@pytest.mark.parametrize("size", [(7, 3), (4, 3), (3, 3), (5, 1)])
def test_gradients_of_all_pairs_equal_those_of_single_distances(size: tuple[int, int]) -> None:
    grassmann = Grassmann()
    x = grassmann.random(2, 3, *size, dtype=torch.float64).clone()
    near = grassmann.expmap(x[:, :1], grassmann.proju(x[:, :1], 1e-3 * torch.randn_like(x[:, :1])))
    y = torch.cat([x[:, :2], near, grassmann.random(2, 1, *size, dtype=torch.float64)], dim=1)
    x.requires_grad_()
    y.requires_grad_()
    weight = torch.randn(2, 3, 4, dtype=torch.float64)
    pairs = torch.autograd.grad((weight * grassmann.cdist(x, y)).sum(), (x, y))
    single = torch.autograd.grad((weight * grassmann.dist(x[:, :, None], y[:, None])).sum(), (x, y))
    for a, b in zip(pairs, single, strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


def test_all_pairs_compile_in_one_graph() -> None:
    torch.compiler.reset()
    x = Grassmann().random(3, 6, 2).clone()
    compiled = torch.compile(lambda a, b: Grassmann().cdist(a, b), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, x), Grassmann().cdist(x, x))


def test_a_set_with_itself_is_the_table_of_two_sets() -> None:
    x = Grassmann().random(2, 7, 9, 3, dtype=torch.float64).detach().as_subclass(torch.Tensor)
    x[:, 1] = Grassmann().projx(x[:, 0] + 1e-6 * torch.randn_like(x[:, 0]))
    weight = torch.randn(2, 7, 7, dtype=torch.float64)
    one, copy, other = (x.clone().requires_grad_() for _ in range(3))
    table, expected = Grassmann().cdist(one, one), Grassmann().cdist(copy, other)
    torch.testing.assert_close(table, expected)
    (gradient,) = torch.autograd.grad((weight * table).sum(), one)
    first, second = torch.autograd.grad((weight * expected).sum(), (copy, other))
    torch.testing.assert_close(gradient, first + second)
