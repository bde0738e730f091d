"""Principal angles and distances of subspaces against their explicit definitions, scipy and mpmath."""

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from geowarp.errors import GeowarpError, NotOnManifoldError
from geowarp.manifolds import Grassmann
from geowarp.metrics import (
    Asimov,
    BinetCauchy,
    Chordal,
    FubiniStudy,
    Geodesic,
    Martin,
    Procrustes,
    Projection,
    Spectral,
    SubspaceDistance,
    principal_angles,
)

ALL: list[SubspaceDistance] = [
    Asimov(),
    BinetCauchy(),
    Chordal(),
    FubiniStudy(),
    Geodesic(),
    Martin(),
    Procrustes(),
    Projection(),
    Spectral(),
]
every = pytest.mark.parametrize("distance", ALL, ids=repr)
OF_ANGLES: dict[SubspaceDistance, Callable[[np.ndarray], float]] = {
    Asimov(): lambda t: t.max(),
    BinetCauchy(): lambda t: math.sqrt(1 - np.prod(np.cos(t) ** 2)),
    Chordal(): lambda t: math.sqrt((np.sin(t) ** 2).sum()),
    FubiniStudy(): lambda t: math.acos(np.prod(np.cos(t))),
    Geodesic(): lambda t: math.sqrt((t**2).sum()),
    Martin(): lambda t: math.sqrt(-np.log(np.cos(t) ** 2).sum()),
    Procrustes(): lambda t: 2 * math.sqrt((np.sin(t / 2) ** 2).sum()),
    Projection(): lambda t: math.sin(t.max()),
    Spectral(): lambda t: 2 * math.sin(t.max() / 2),
}


def bases(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return Grassmann().random(*shape, dtype=dtype).detach().as_subclass(Tensor)


def rotated(angles: list[float], n: int, extra: int = 0) -> tuple[Tensor, Tensor]:
    """Return bases in general position of R^n with these principal angles, the second of ``extra`` more."""
    k = len(angles)
    frame, theta = bases(n, n), torch.tensor(angles, dtype=torch.float64)
    x, normal, more = frame.split([k, k, n - 2 * k], 1)
    y = torch.cat([x * theta.cos() + normal * theta.sin(), more[:, :extra]], 1)
    return x @ bases(k, k), y @ bases(k + extra, k + extra)


@every
def test_explicit_definitions(distance: SubspaceDistance) -> None:
    x, y = bases(7, 3), bases(7, 3)
    turn, _ = scipy.linalg.orthogonal_procrustes(y.numpy(), x.numpy())
    difference, projectors = x - y @ torch.from_numpy(turn), x @ x.mT - y @ y.mT
    angles, determinant = scipy.linalg.subspace_angles(x.numpy(), y.numpy()), torch.linalg.det(x.mT @ y)
    expected = {
        Asimov(): angles.max(),
        BinetCauchy(): (1 - determinant**2).sqrt(),
        Chordal(): torch.linalg.matrix_norm(projectors) / math.sqrt(2),
        FubiniStudy(): determinant.abs().arccos(),
        Geodesic(): np.linalg.norm(angles),
        Martin(): (-torch.logdet(x.mT @ y @ y.mT @ x)).sqrt(),
        Procrustes(): torch.linalg.matrix_norm(difference),
        Projection(): torch.linalg.matrix_norm(projectors, 2),
        Spectral(): torch.linalg.matrix_norm(difference, 2),
    }
    assert abs(distance(x, y).item() - float(expected[distance])) < 1e-13


@every
@pytest.mark.parametrize(("k", "m"), [(1, 4), (3, 4), (4, 2), (3, 6)])
def test_different_dimensions(distance: SubspaceDistance, k: int, m: int) -> None:
    x, y = bases(5, 7, k), bases(5, 7, m)
    for i in range(5):
        angles = scipy.linalg.subspace_angles(x[i].numpy(), y[i].numpy())
        assert abs(distance(x, y)[i].item() - OF_ANGLES[distance](angles)) < 1e-12
    small, large = (x, y) if k <= m else (y, x)
    nearest = Grassmann().projx(large @ large.mT @ small)  # of the subspaces of the larger one
    torch.testing.assert_close(distance(x, y), distance(small, nearest), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(distance.pairwise(x, y).diagonal(), distance(x, y), rtol=1e-12, atol=1e-12)
    inside = large[..., :2] @ bases(2, 1)
    assert distance(inside, large).max() < 1e-14


def exact_angles(x: Tensor, y: Tensor) -> list[mpmath.mpf]:
    """Return the angles of the spans of the given entries, ascending, with 50 digits."""
    with mpmath.workdps(50):
        a, b = (mpmath.qr(mpmath.matrix(m.tolist()), mode="skinny")[0] for m in (x, y))
        sines = mpmath.svd_r(b - a * (a.T * b), compute_uv=False)
        return sorted(mpmath.asin(min(s, mpmath.mpf(1))) for s in sines)


@pytest.mark.parametrize(
    "angles", [[1e-12, 1e-10, 0.3], [1e-9, 1e-8, 1e-7], [0.2, math.pi / 2 - 1e-9, math.pi / 2 - 1e-10]]
)
def test_every_angle_is_accurate(angles: list[float]) -> None:
    x = torch.eye(6, 3, dtype=torch.float64)
    theta = torch.tensor(angles, dtype=torch.float64)
    y = torch.cat([theta.cos().diag(), theta.sin().diag()])
    for a, b in ((x, y), (y, x)):
        result, exact = principal_angles(a, b), exact_angles(a, b)
        error = [abs(float(r - e)) / max(float(e), 1e-6) for r, e in zip(result.tolist(), exact, strict=True)]
        assert max(error) < 1e-15
    x, y = rotated(angles, 9)
    torch.testing.assert_close(principal_angles(x, y), theta, rtol=0, atol=4e-15)


def exact_distance(distance: SubspaceDistance, angles: list[mpmath.mpf]) -> float:
    """Return what the definition gives with 50 digits."""
    with mpmath.workdps(50):
        product, largest = mpmath.fprod(map(mpmath.cos, angles)), max(angles)
        exact = {
            Asimov(): largest,
            BinetCauchy(): mpmath.sqrt(1 - product**2),
            Chordal(): mpmath.sqrt(sum(mpmath.sin(t) ** 2 for t in angles)),
            FubiniStudy(): mpmath.acos(product),
            Geodesic(): mpmath.sqrt(sum(t**2 for t in angles)),
            Martin(): mpmath.sqrt(-2 * mpmath.log(product)),
            Procrustes(): 2 * mpmath.sqrt(sum(mpmath.sin(t / 2) ** 2 for t in angles)),
            Projection(): mpmath.sin(largest),
            Spectral(): 2 * mpmath.sin(largest / 2),
        }
        return float(exact[distance])


@pytest.mark.parametrize("scale", [1e-2, 1e-4, 1e-8, 1e-12])
@every
def test_small_distances_are_accurate(distance: SubspaceDistance, scale: float) -> None:
    x = bases(8, 3)
    u = Grassmann().proju(x, torch.randn(8, 3, dtype=torch.float64))
    y = Grassmann().projx(x + scale * u) if scale > 1e-6 else x + scale * u
    expected = exact_distance(distance, exact_angles(x, y))
    for value in (distance(x, y), distance.pairwise(x[None], y[None])):
        assert abs(value.item() / expected - 1) < 1e-14


def test_angles_of_scipy() -> None:
    for k, m in ((1, 1), (3, 3), (2, 5), (5, 2)):
        x, y = bases(4, 9, k), bases(9, m)
        angles = principal_angles(x, y)
        assert angles.shape == (4, min(k, m))
        for i in range(4):
            expected = np.sort(scipy.linalg.subspace_angles(x[i].numpy(), y.numpy()))
            np.testing.assert_allclose(angles[i].numpy(), expected, atol=1e-14)


def slope(f: Callable[[Tensor], Tensor], x: Tensor, u: Tensor, step: float = 1e-4) -> Tensor:
    """Return the derivative of f along the geodesic from x in the direction u, by differences of order 4."""
    times = step * torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=x.dtype).reshape(4, *[1] * u.dim())
    values = f(Grassmann().expmap(x, times * u))
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)


def check_gradient(f: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, tolerance: float) -> None:
    a, b = (m.clone().requires_grad_() for m in (x, y))
    at_x, at_y = torch.autograd.grad(f(a, b).sum(), (a, b))
    u, v = (Grassmann().proju(m, torch.randn(3, *m.shape, dtype=m.dtype)) for m in (x, y))
    left, right = slope(lambda m: f(m, y), x, u), slope(lambda m: f(x, m), y, v)
    assert left.shape == right.shape == (3,)
    assert ((at_x * u).sum((-2, -1)) - left).abs().max() < tolerance
    assert ((at_y * v).sum((-2, -1)) - right).abs().max() < tolerance
    assert (x.mT @ at_x).abs().max() < 1e-12
    assert (y.mT @ at_y).abs().max() < 1e-12


def table(distance: SubspaceDistance, x: Tensor, y: Tensor) -> Tensor:
    """Return the entries of tables of one row and column."""
    return distance.pairwise(x.unsqueeze(-3), y.unsqueeze(-3)).squeeze((-2, -1))


@every
@pytest.mark.parametrize(
    ("angles", "extra"), [([0.3, 0.7, 1.1], 0), ([0.2, 0.2, 0.9], 0), ([0.0, 0.4, 1.2], 0), ([0.5, 0.8], 2)]
)
def test_gradients(distance: SubspaceDistance, angles: list[float], extra: int) -> None:
    x, y = rotated(angles, 9, extra)
    check_gradient(distance, x, y, 1e-8)
    check_gradient(distance, y, x, 1e-8)
    check_gradient(lambda a, b: table(distance, a, b), x, y, 1e-8)


@every
def test_gradients_at_repeated_angles_of_smooth_distances(distance: SubspaceDistance) -> None:
    if isinstance(distance, Asimov | Projection | Spectral):
        x, y = rotated([0.3, 0.6, 0.6], 9)  # the largest one is repeated: a subgradient
        a = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(distance(a, y), a)
        for _ in range(20):
            u = Grassmann().proju(x, torch.randn_like(x))
            forward = (distance(Grassmann().expmap(x, 1e-6 * u), y) - distance(x, y)) / 1e-6
            assert (gradient * u).sum() <= forward + 1e-5
        unit = {Asimov: 1.0, Projection: math.cos(0.6), Spectral: math.cos(0.3)}[type(distance)]
        assert abs(torch.linalg.matrix_norm(gradient).item() - unit) < 1e-12
    else:
        check_gradient(distance, *rotated([0.6, 0.6, 0.6], 9), 1e-8)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_at_equal_subspaces_is_zero(distance: SubspaceDistance, dtype: torch.dtype) -> None:
    x = bases(6, 3, dtype=dtype)
    for y in (x.clone(), x @ bases(3, 3, dtype=dtype), x[:, :2]):
        a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
        for value in (distance(a, b), distance.pairwise(a[None], b[None])):
            assert value.max() < 8 * torch.finfo(dtype).eps
            for gradient in torch.autograd.grad(value.sum(), (a, b)):
                assert (gradient == 0).all()
    assert distance(x, x.clone()) == 0


@every
def test_orthogonal_subspaces(distance: SubspaceDistance) -> None:
    eye = torch.eye(6, dtype=torch.float64)
    for y in (eye[:, 3:], eye[:, 2:5]):
        a, b = eye[:, :3].clone().requires_grad_(), y.clone().requires_grad_()
        for value in (distance(a, b), distance.pairwise(a[None], b[None])):
            largest = {Martin: math.inf, BinetCauchy: 1.0, FubiniStudy: math.pi / 2}.get(type(distance))
            assert largest is None or value.item() == pytest.approx(largest)
            for gradient in torch.autograd.grad(value.sum(), (a, b)):
                assert gradient.isfinite().all()
                if isinstance(distance, BinetCauchy | Martin | Chordal):
                    smooth = gradient if isinstance(distance, BinetCauchy | Martin) else gradient[3:, :1]
                    assert (smooth == 0).all()


@every
def test_the_gradient_of_a_small_distance_is_right(distance: SubspaceDistance) -> None:
    x = bases(8, 2)
    u = Grassmann().proju(x, torch.randn(8, 2, dtype=torch.float64))
    y = Grassmann().expmap(x, 1e-7 * u)
    a = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(distance(a, y), a)
    left, sizes, right = torch.linalg.svd(u, full_matrices=False)
    single = isinstance(distance, Asimov | Projection | Spectral)
    expected = left[:, :1] @ right[:1] if single else u / torch.linalg.vector_norm(sizes)
    torch.testing.assert_close(gradient, -expected, rtol=0, atol=1e-6)


def test_gradients_of_single_angles() -> None:
    x, y = rotated([0.2, 0.7, 1.3], 9, 1)
    for j in range(3):
        check_gradient(lambda a, b, j=j: principal_angles(a, b)[..., j], x, y, 1e-8)  # type: ignore[misc]
    check_gradient(lambda a, b: principal_angles(a, b).cos().prod(-1), *rotated([0.4, 0.4, 0.9], 7), 1e-8)
    small = torch.tensor([1e-9, 1e-7], dtype=torch.float64)
    x = torch.eye(4, 2, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(
        principal_angles(x, torch.cat([small.cos().diag(), small.sin().diag()]))[0], x
    )
    torch.testing.assert_close(
        gradient, -torch.eye(4, dtype=torch.float64)[:, 2:3] * torch.eye(2)[:1].double()
    )
    (gradient,) = torch.autograd.grad(principal_angles(x, x.detach()).sum(), x)
    assert (gradient == 0).all()


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pairwise_is_each_pair(distance: SubspaceDistance, dtype: torch.dtype) -> None:
    x, y = bases(2, 5, 8, 3, dtype=dtype), bases(2, 4, 8, 3, dtype=dtype)
    y[:, 0], y[:, 1] = x[:, 2], Grassmann().retr(x[:, 1], 1e-3 * torch.randn(2, 8, 3, dtype=dtype))
    a, b = (m.clone().requires_grad_() for m in (x, y))
    table, rows = distance.pairwise(a, b), distance(a[:, :, None], b[:, None])
    tolerance = 200 * torch.finfo(dtype).eps
    torch.testing.assert_close(table, rows, rtol=tolerance, atol=tolerance)
    weights = torch.randn_like(table)
    pairs = zip(
        torch.autograd.grad((weights * table).sum(), (a, b)),
        torch.autograd.grad((weights * rows).sum(), (a, b)),
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=10 * tolerance)


@every
def test_all_pairs_of_one_set(distance: SubspaceDistance) -> None:
    x = bases(40, 8, 3)
    a, b, c = (x.clone().requires_grad_() for _ in range(3))
    table, general = distance.pairwise(a), distance.pairwise(b, c)
    torch.testing.assert_close(table, general, rtol=1e-13, atol=1e-13)
    assert torch.equal(table, table.mT)
    assert (table.diagonal() == 0).all()
    weights = torch.randn_like(table)
    (whole,) = torch.autograd.grad((weights * table).sum(), a)
    first, second = torch.autograd.grad((weights * general).sum(), (b, c))
    torch.testing.assert_close(whole, first + second, rtol=1e-11, atol=1e-11)


@every
def test_distances_are_values_of_subspaces(distance: SubspaceDistance) -> None:
    x, y = bases(3, 1, 6, 2), bases(4, 6, 2)
    value = distance(x, y)
    assert value.shape == (3, 4)
    torch.testing.assert_close(distance(y, x), value, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(distance(x @ bases(2, 2), y @ bases(2, 2)), value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(distance(x.mT.contiguous().mT, y), value)
    assert torch.equal(distance(x[:0], y), torch.zeros(0, 4, dtype=torch.float64))
    assert distance.pairwise(x[:, :0], y).shape == (3, 0, 4)
    assert distance.pairwise(y, y[:0]).shape == (4, 0)
    assert distance == type(distance)()
    assert hash(distance) == hash(type(distance)())
    half = distance(x.bfloat16(), y.bfloat16())
    assert half.dtype == torch.bfloat16
    array = distance(x.numpy(), y.numpy())
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, value.numpy())
    np.testing.assert_allclose(distance.pairwise(y.numpy()), distance.pairwise(y).numpy(), atol=1e-13)


@every
def test_distances_compile_and_ignore_autocast(distance: SubspaceDistance) -> None:
    x, y = bases(3, 6, 2, dtype=torch.float32), bases(3, 6, 2, dtype=torch.float32)
    torch.compiler.reset()
    for function in (distance, distance.pairwise):
        expected = function(x, y)
        compiled = torch.compile(function, fullgraph=True, backend="eager")(x, y)
        torch.testing.assert_close(compiled, expected, rtol=1e-5, atol=1e-6)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(function(x, y), expected)


@pytest.mark.parametrize("spread", [0.3, 1e-3, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clusters_keep_their_digits(spread: float, dtype: torch.dtype) -> None:
    centre = bases(1, 9, 3, dtype=dtype)
    u = Grassmann().proju(centre, torch.randn(30, 9, 3, dtype=dtype))
    x, eps = Grassmann().expmap(centre, spread * u / 3), torch.finfo(dtype).eps
    for left in (x[:12], x[:12] @ bases(12, 3, 3, dtype=dtype)):  # other bases: rounded to eps each
        a, b = left.clone().requires_grad_(), x[12:].clone().requires_grad_()
        table, rows = Chordal().pairwise(a, b), Chordal()(a[:, None], b)
        tolerance = 100 * eps * (1 if left.data_ptr() == x.data_ptr() else 1 + 1 / spread)
        torch.testing.assert_close(table, rows, rtol=tolerance, atol=0)
        for one, other in zip(
            torch.autograd.grad(table.sum(), (a, b)), torch.autograd.grad(rows.sum(), (a, b)), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=30 * tolerance)


def test_large_sets_are_computed_in_blocks() -> None:
    x, y = bases(300, 6, 2), bases(700, 6, 3)
    a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
    table = Chordal().pairwise(a, b)
    expected = (2 - torch.einsum("inp,jnq->ijpq", a, b).square().sum((-2, -1))).clamp_min(0).sqrt()
    torch.testing.assert_close(table, expected, rtol=1e-12, atol=1e-12)
    for one, other, m in zip(
        torch.autograd.grad(table.sum(), (a, b)),
        torch.autograd.grad(expected.sum(), (a, b)),
        (x, y),
        strict=True,
    ):
        torch.testing.assert_close(one, Grassmann().proju(m, other), rtol=1e-9, atol=1e-9)


def test_errors_say_what_is_wrong() -> None:
    x = torch.eye(4)[:, :2]
    with pytest.raises(NotOnManifoldError, match=r"\by\b.*manifold"):
        Chordal()(x, 2 * x)
    with pytest.raises(GeowarpError, match=r"R\^4 and y in R\^3"):
        principal_angles(x, torch.eye(3)[:, :2])
    with pytest.raises(GeowarpError, match=r"\(4, 2\); it needs \(..., N, n, k\)"):
        Spectral().pairwise(x)
    with pytest.raises(GeowarpError, match=r"float32.*float64"):
        Geodesic()(x, x.double())
    with pytest.raises(GeowarpError, match=r"\(2, 4\)"):
        Geodesic()(x, x.mT)
    with pytest.raises(GeowarpError, match="numpy array"):
        Geodesic()(x.numpy(), x)  # type: ignore[type-var]
