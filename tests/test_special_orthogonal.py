"""Rotations against scipy, pymanopt, prescribed angles, finite differences and invariances."""

import math

import geoopt
import numpy as np
import pytest
import torch
from pymanopt.manifolds import SpecialOrthogonalGroup
from scipy.linalg import expm, logm
from scipy.spatial.transform import Rotation
from scipy.stats import kstest
from torch import Tensor

from geowarp import GeowarpError, NotOnManifoldError
from geowarp.manifolds import QR, Cayley, Exponential, Polar, Retraction, SpecialOrthogonal, Stiefel

PI = math.pi
DTYPES = [torch.float32, torch.float64]
BATCHES: list[tuple[int, ...]] = [(), (3,), (0,), (2, 3)]
RETRACTIONS: list[Retraction] = [QR(), Polar(), Cayley(), Exponential()]
UNIQUE = [(1, ()), (2, (1.0,)), (3, (0.0,)), (3, (1e-3,)), (3, (2.0,)), (3, (PI - 1e-3,)), (3, (PI - 1e-9,))]
UNIQUE += [
    (4, (1.0, 1.0)),
    (4, (2.5, 2.5)),
    (5, (1e-4, 3.0)),
    (6, (0.5, 1.5, 2.5)),
    (7, (1.0, 1.0, PI - 1e-6)),
]
UNIQUE += [(12, (0.3, 0.6, 1.0, 1.4, 1.9, 2.4)), (6, (2.9, 2.9, 2.9))]
HALF_TURNS = [
    (2, (PI,)),
    (3, (PI,)),
    (4, (PI, PI)),
    (5, (1.0, PI)),
    (6, (PI, PI, 1e-5)),
    (6, (PI - 1e-9, PI, 2.0)),
]


def planes(n: int, angles: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Return a rotation by these angles and its logarithm, both block diagonal."""
    rotation, logarithm = torch.eye(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
    for i, angle in enumerate(angles):
        block = slice(2 * i, 2 * i + 2)
        cosine, sine = math.cos(angle), math.sin(angle)
        rotation[block, block] = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
        logarithm[block, block] = torch.tensor([[0.0, -angle], [angle, 0.0]], dtype=torch.float64)
    return rotation, logarithm


def rotation_by(n: int, angles: tuple[float, ...], *batch: int) -> tuple[Tensor, Tensor]:
    """Return rotations by these angles in random planes, and their logarithms."""
    rotation, logarithm = planes(n, angles)
    q = torch.linalg.qr(torch.randn(*batch, n, n, dtype=torch.float64)).Q
    return q @ rotation @ q.mT, q @ logarithm @ q.mT


def pair(*size: int, dtype: torch.dtype = torch.float64, length: float = 1.0) -> tuple[Tensor, Tensor]:
    x = SpecialOrthogonal().random(*size, dtype=dtype).clone()
    u = SpecialOrthogonal().proju(x, torch.randn_like(x))
    return x, length * u / torch.linalg.matrix_norm(u, keepdim=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("n", [2, 3, 6])
def test_exp_and_log_are_inverse(dtype: torch.dtype, batch: tuple[int, ...], n: int) -> None:
    rotations = SpecialOrthogonal()
    x, u = pair(*batch, n, n, dtype=dtype, length=2.5)
    y = rotations.expmap(x, u)
    assert y.dtype == dtype
    assert y.is_contiguous()
    rotations.assert_check_point_on_manifold(y)
    tolerance = 50 * torch.finfo(dtype).eps
    torch.testing.assert_close(rotations.logmap(x, y), u, atol=tolerance, rtol=0)
    torch.testing.assert_close(
        rotations.dist(x, y), torch.full(batch, 2.5, dtype=dtype), atol=tolerance, rtol=0
    )
    assert rotations.dist(x, y, keepdim=True).shape == (*batch, 1, 1)


@pytest.mark.parametrize(("n", "angles"), UNIQUE)
def test_logarithm_and_distance_of_prescribed_angles(n: int, angles: tuple[float, ...]) -> None:
    rotations = SpecialOrthogonal()
    rotation, logarithm = rotation_by(n, angles, 10)
    eye = torch.eye(n, dtype=torch.float64).expand_as(rotation)
    torch.testing.assert_close(rotations.logmap(eye, rotation), logarithm, atol=3e-14, rtol=0)
    size = math.sqrt(2 * sum(angle**2 for angle in angles))
    torch.testing.assert_close(
        rotations.dist(eye, rotation), torch.full((10,), size, dtype=torch.float64), atol=1e-14, rtol=0
    )


@pytest.mark.parametrize(("n", "angles"), HALF_TURNS)
def test_a_half_turn_has_one_of_its_logarithms(n: int, angles: tuple[float, ...]) -> None:
    rotations = SpecialOrthogonal()
    for rotation in (rotation_by(n, angles, 10)[0], planes(n, angles)[0]):
        eye = torch.eye(n, dtype=torch.float64).expand_as(rotation)
        u = rotations.logmap(eye, rotation)
        torch.testing.assert_close(torch.linalg.matrix_exp(u), rotation, atol=2e-14, rtol=0)
        torch.testing.assert_close(rotations.norm(eye, u), rotations.dist(eye, rotation))
        rotations.assert_check_vector_on_tangent(eye, u, atol=1e-13)
        point = rotation.clone().requires_grad_()
        (rotations.logmap(eye, point).sum() + rotations.dist(eye, point).sum()).backward()
        assert point.grad is not None
        assert point.grad.isfinite().all()


@pytest.mark.parametrize(("dtype", "angle"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_small_angles_are_accurate_to_a_few_eps(dtype: torch.dtype, angle: float) -> None:
    x, y = torch.eye(3, dtype=dtype), torch.eye(3, dtype=dtype)
    y[0, 1], y[1, 0] = -angle, angle
    exact = y[1, 0].item()
    bound = 8 * torch.finfo(dtype).eps * exact
    assert abs(SpecialOrthogonal().dist(x, y).item() - math.sqrt(2) * exact) <= bound
    assert abs(SpecialOrthogonal().logmap(x, y)[1, 0].item() - exact) <= bound
    assert abs(SpecialOrthogonal().cdist(x[None], y[None]).item() - math.sqrt(2) * exact) <= bound


@pytest.mark.parametrize("length", [1e-3, 0.01, 0.03, 0.3, 3.0])
@pytest.mark.parametrize("batch", [(), (1,), (2,)])
def test_one_small_step_is_as_accurate_as_many(length: float, batch: tuple[int, ...]) -> None:
    x, u = pair(*batch, 3, 3, length=length)
    expected = x.numpy() @ expm(np.swapaxes(x.numpy(), -1, -2) @ u.numpy())
    np.testing.assert_allclose(SpecialOrthogonal().expmap(x, u), expected, atol=1e-15)
    leaf = u.clone().requires_grad_()
    SpecialOrthogonal().expmap(x, leaf).backward(torch.ones_like(x))
    step = 1e-3 * SpecialOrthogonal().proju(x, torch.randn_like(x))
    ahead, behind = (SpecialOrthogonal().expmap(x, u + s * step).sum() for s in (1, -1))
    assert leaf.grad is not None
    torch.testing.assert_close((leaf.grad * step).sum(), (ahead - behind) / 2, atol=1e-9, rtol=0)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_scipy_and_pymanopt_agree(n: int) -> None:
    rotations, other = SpecialOrthogonal(), SpecialOrthogonalGroup(n)
    x, u = pair(n, n, length=2.0)
    y = rotations.random(n, n, dtype=torch.float64).clone()
    a, b = x.numpy(), y.numpy()
    np.testing.assert_allclose(rotations.expmap(x, u), a @ expm(a.T @ u.numpy()), atol=1e-13)
    np.testing.assert_allclose(rotations.logmap(x, y), a @ logm(a.T @ b).real, atol=1e-11)
    np.testing.assert_allclose(rotations.dist(x, y), other.dist(a, b), rtol=1e-11)
    np.testing.assert_allclose(rotations.mean(torch.stack([x, y])), other.pair_mean(a, b), atol=1e-11)
    assert rotations.dim((n, n)) == other.dim


def test_three_dimensions_equal_scipy_rotations() -> None:
    rotations = SpecialOrthogonal()
    a, b = (rotations.random(50, 3, 3, dtype=torch.float64).clone() for _ in range(2))
    between = Rotation.from_matrix((a.mT @ b).numpy())
    np.testing.assert_allclose(rotations.dist(a, b) / math.sqrt(2), between.magnitude(), atol=1e-14)
    vector = between.as_rotvec()
    logarithm = (a.mT @ rotations.logmap(a, b)).numpy()
    axis = np.stack([logarithm[:, 2, 1], logarithm[:, 0, 2], logarithm[:, 1, 0]], -1)
    np.testing.assert_allclose(axis, vector, atol=1e-12)


def test_the_metric_is_that_of_stiefel_and_bi_invariant() -> None:
    rotations, stiefel = SpecialOrthogonal(), Stiefel()
    x, u = pair(4, 5, 5)
    v, p = rotations.proju(x, torch.randn_like(x)), rotations.random(5, 5, dtype=torch.float64)
    y = rotations.expmap(x, 0.5 * u)
    torch.testing.assert_close(rotations.inner(x, u, v), stiefel.inner(x, u, v))
    torch.testing.assert_close(rotations.proju(x, v + x), stiefel.proju(x, v + x))
    torch.testing.assert_close(y, stiefel.expmap(x, 0.5 * u))
    torch.testing.assert_close(rotations.dist(p @ x, p @ y), rotations.dist(x, y))
    torch.testing.assert_close(rotations.dist(x @ p, y @ p), rotations.dist(x, y))
    torch.testing.assert_close(rotations.dist(x.mT, y.mT), rotations.dist(x, y))
    torch.testing.assert_close(rotations.logmap(x @ p, y @ p), rotations.logmap(x, y) @ p)


def test_transport_is_parallel() -> None:
    """Isometric, tangent, carries the geodesic, and agrees with many short projections along it."""
    rotations = SpecialOrthogonal()
    x, u = pair(3, 4, 4)
    v = rotations.proju(x, torch.randn_like(x))
    y = rotations.expmap(x, u)
    moved = rotations.transp(x, y, v)
    rotations.assert_check_vector_on_tangent(y, moved)
    torch.testing.assert_close(rotations.norm(y, moved), rotations.norm(x, v))
    torch.testing.assert_close(rotations.transp(x, y, u), -rotations.logmap(y, x))
    for mine, other in zip(rotations.expmap_transp(x, u, v), (y, moved), strict=True):
        torch.testing.assert_close(mine, other)
    gaps = []
    for steps in (100, 200):
        path = v
        for i in range(1, steps + 1):
            path = rotations.proju(rotations.expmap(x, i / steps * u), path)
        gaps.append((path - moved).abs().max().item())
    assert gaps[0] < 0.01
    assert 1.9 < gaps[0] / gaps[1] < 2.1


@pytest.mark.parametrize(("n", "angles"), [*UNIQUE[1:], (3, (0.0,)), (4, (0.0, 0.0)), (5, (1e-9, 1.0))])
def test_gradients(n: int, angles: tuple[float, ...]) -> None:
    if any(PI - angle < 1e-4 for angle in angles):
        pytest.skip("the difference quotient would cross a half turn")
    rotations = SpecialOrthogonal()
    rotation, _ = rotation_by(n, angles)
    x = rotations.random(n, n, dtype=torch.float64).clone()
    y = x @ rotation
    zero = torch.zeros(2, n, n, dtype=torch.float64, requires_grad=True)

    def moved(u: Tensor) -> tuple[Tensor, Tensor]:
        return rotations.expmap(x, rotations.proju(x, u[0])), rotations.expmap(y, rotations.proju(y, u[1]))

    assert torch.autograd.gradcheck(lambda u: rotations.logmap(*moved(u)), (zero,), fast_mode=True)
    assert torch.autograd.gradcheck(lambda u: rotations.transp(*moved(u), x), (zero,), fast_mode=True)
    assert torch.autograd.gradcheck(lambda u: rotations.dist2(*moved(u)), (zero,), fast_mode=True)
    if any(angle > 1e-3 for angle in angles):
        assert torch.autograd.gradcheck(lambda u: rotations.dist(*moved(u)), (zero,), fast_mode=True)


def test_gradient_of_distance_is_zero_at_equal_points() -> None:
    x = SpecialOrthogonal().random(4, 4, dtype=torch.float64).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(SpecialOrthogonal().dist(x, x.detach()), x)
    assert not gradient.any()


@pytest.mark.parametrize("determinant", [1.0, -1.0])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_projection_is_the_nearest_rotation(n: int, determinant: float) -> None:
    rotations = SpecialOrthogonal()
    matrix = torch.randn(20, n, n, dtype=torch.float64)
    matrix[..., 0] *= (determinant * torch.linalg.det(matrix).sign())[:, None]
    projected = rotations.projx(matrix)
    rotations.assert_check_point_on_manifold(projected)
    u, _, vt = np.linalg.svd(matrix.numpy())
    sign = np.ones((20, n))
    sign[:, -1] = np.linalg.det(u @ vt)
    np.testing.assert_allclose(projected, u * sign[:, None, :] @ vt, atol=1e-13)
    others = rotations.expmap(projected, 0.1 * rotations.proju(projected, torch.randn_like(projected)))
    nearest = torch.linalg.matrix_norm(projected - matrix)
    assert (nearest <= torch.linalg.matrix_norm(others - matrix) + 1e-12).all()
    if n > 1:
        assert torch.autograd.gradcheck(rotations.projx, (matrix[:2].requires_grad_(),))


def test_gradient_of_the_projection_at_rotations() -> None:
    x = SpecialOrthogonal().random(2, 4, 4, dtype=torch.float64).clone().requires_grad_()
    assert torch.autograd.gradcheck(SpecialOrthogonal().projx, (x,))
    assert SpecialOrthogonal().projx(torch.zeros(3, 3)).isfinite().all()


def test_random_rotations_are_uniform() -> None:
    """The angle of a uniform rotation of space has density (1 − cos θ)/π."""
    rotations = SpecialOrthogonal()
    x = rotations.random(5000, 3, 3, dtype=torch.float64)
    rotations.assert_check_point_on_manifold(x)
    angle = rotations.dist(torch.eye(3, dtype=torch.float64), x) / math.sqrt(2)
    assert kstest(angle.numpy(), lambda t: (t - np.sin(t)) / np.pi).pvalue > 1e-3
    plane = rotations.random(5000, 2, 2, dtype=torch.float64)
    turn = torch.atan2(plane[:, 1, 0], plane[:, 0, 0]) / (2 * math.pi) + 0.5
    assert kstest(turn.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("retraction", RETRACTIONS, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_retractions_end_in_rotations_and_are_first_order(retraction: Retraction, dtype: torch.dtype) -> None:
    rotations = SpecialOrthogonal(retraction)
    x, u = pair(7, 4, 4, dtype=dtype, length=3.0)
    rotations.assert_check_point_on_manifold(rotations.retr(x, u))
    if dtype == torch.float64:
        gaps = [(rotations.retr(x, t * u) - rotations.expmap(x, t * u)).norm().item() for t in (1e-2, 1e-3)]
        assert gaps[1] < 1e-13 or np.log10(gaps[0] / gaps[1]) > 1.9


def test_cdist_broadcasting_compile_and_half_precision() -> None:
    rotations = SpecialOrthogonal()
    x, y = rotations.random(2, 5, 3, 3).clone(), rotations.random(1, 4, 3, 3).clone()
    torch.testing.assert_close(rotations.cdist(x, y), rotations.dist(x[:, :, None], y[:, None]))
    u = rotations.logmap(x[:, :1], y)
    assert rotations.transp(x[:, :1], y, rotations.proju(x[:, :1], u)).shape == (2, 4, 3, 3)
    compiled = torch.compile(
        lambda a, b: rotations.dist(a, rotations.retr(b, rotations.logmap(b, a))),
        fullgraph=True,
        backend="eager",
    )
    a, b = x[:, :4], y.expand(2, 4, 3, 3).contiguous()
    torch.testing.assert_close(compiled(a, b), rotations.dist(a, rotations.retr(b, rotations.logmap(b, a))))
    half = x.bfloat16()
    assert rotations.dist(half, y.bfloat16()[:, :1]).dtype == torch.bfloat16
    assert rotations.check_point_on_manifold(half, atol=0.1)
    assert (rotations.point_residual(-half) > 1.9).all()


def test_optimisation_in_geoopt_solves_the_orthogonal_procrustes_problem() -> None:
    matrix = 2 * SpecialOrthogonal().random(4, 4) + 0.3 * torch.randn(4, 4)
    parameter = geoopt.ManifoldParameter(SpecialOrthogonal().random(4, 4))
    optimizer = geoopt.optim.RiemannianSGD([parameter], lr=0.1, momentum=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        (parameter - matrix).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(parameter.detach(), SpecialOrthogonal().projx(matrix), atol=1e-4, rtol=0)


def test_identity_origin_and_errors() -> None:
    rotations = SpecialOrthogonal()
    assert rotations == SpecialOrthogonal(QR())
    assert rotations != SpecialOrthogonal(Polar())
    assert repr(rotations) == "SpecialOrthogonal(QR())"
    assert torch.equal(rotations.origin(2, 3, 3), torch.eye(3).expand(2, 3, 3))
    with pytest.raises(NotOnManifoldError, match=r"2\.0e\+00.*projx"):
        rotations.assert_check_point_on_manifold(torch.diag(torch.tensor([1.0, -1.0])))
    with pytest.raises(GeowarpError, match=r"\(3, 2\) is not square.*Stiefel"):
        rotations.random(3, 2)
