"""Semidefinite matrices of fixed rank against their two factors, finite differences and invariances."""

import math

import pytest
import torch
from pyriemann.geometry.distance import distance_riemann
from pyriemann.geometry.mean import mean_riemann
from torch import Tensor

from geowarp import GeowarpError, NotOnManifoldError
from geowarp.manifolds import SPSD, Grassmann
from geowarp.manifolds.spd import (
    AffineInvariantSPD,
    BuresWassersteinSPD,
    LogCholeskySPD,
    LogEuclideanSPD,
    SymmetricPositiveDefinite,
)
from geowarp.manifolds.spsd_alignment import aligned_factor, principal_factor

DTYPES = [torch.float32, torch.float64]
BATCHES: list[tuple[int, ...]] = [(), (3,), (0,), (2, 3)]
METRICS = [AffineInvariantSPD(), LogEuclideanSPD(), LogCholeskySPD(), BuresWassersteinSPD()]
SHAPES = [(5, 2), (4, 1), (7, 3), (3, 3)]


def points(manifold: SPSD, *size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return manifold.random(*size, dtype=dtype).detach().clone()


def tangent(manifold: SPSD, x: Tensor, length: float = 0.3) -> Tensor:
    u: Tensor = manifold.proju(x, torch.randn_like(x))
    return u * length / u.square().sum((-2, -1), keepdim=True).sqrt()


def rotations(x: Tensor) -> Tensor:
    q: Tensor
    q, _ = torch.linalg.qr(torch.randn(*x.shape[:-2], x.shape[-1], x.shape[-1], dtype=x.dtype))
    return q


def close(actual: Tensor, expected: Tensor, eps: float = 500) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=eps * torch.finfo(expected.dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("shape", SHAPES)
def test_components_are_canonical(dtype: torch.dtype, batch: tuple[int, ...], shape: tuple[int, int]) -> None:
    manifold, r = SPSD(shape[1]), shape[1]
    y = points(manifold, *batch, *shape, dtype=dtype)
    u, s = manifold.components(y)
    top, eye = u[..., :r, :], torch.eye(r, dtype=dtype).expand(*batch, r, r)
    close(u.mT @ u, eye)
    close(top, top.mT)
    assert bool((torch.linalg.eigvalsh(top) > 0).all())
    close(u @ s @ u.mT, manifold.to_matrix(y))
    close(manifold.to_matrix(manifold.from_components(u, s)), manifold.to_matrix(y))
    for mine, again in zip(manifold.components(y @ rotations(y)), (u, s), strict=True):
        close(mine, again, 5000)
    close(manifold.to_matrix(manifold.from_matrix(y @ y.mT)), y @ y.mT)


@pytest.mark.parametrize("spd", METRICS, ids=lambda spd: spd.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_everything_is_that_of_the_two_factors(
    spd: SymmetricPositiveDefinite, shape: tuple[int, int]
) -> None:
    manifold, subspaces, weight = SPSD(shape[1], spd=spd, weight=0.7), Grassmann(), 0.7
    x, y = (points(manifold, 6, *shape) for _ in range(2))
    (u, s), (v, t) = manifold.components(x), manifold.components(y)
    z, w = tangent(manifold, x), tangent(manifold, x)
    (delta, d), (epsilon, e) = aligned_factor(x).split(z), aligned_factor(x).split(w)
    close(manifold.dist2(x, y), subspaces.dist(u, v).square() + weight * spd.dist(s, t).square(), 5000)
    close(manifold.inner(x, z, w), subspaces.inner(u, delta, epsilon) + weight * spd.inner(s, d, e), 5000)

    def expect(point: Tensor, basis: Tensor, definite: Tensor) -> None:
        top = basis[..., : shape[1], :]
        left, _, right = torch.linalg.svd(top)
        aligned = basis @ (left @ right).mT
        close(manifold.to_matrix(point), aligned @ definite @ aligned.mT, 5000)

    expect(manifold.expmap(x, z), subspaces.expmap(u, delta), spd.expmap(s, d))
    expect(manifold.geodesic(0.3, x, y), subspaces.geodesic(0.3, u, v), spd.geodesic(0.3, s, t))
    logarithm = aligned_factor(x).split(manifold.logmap(x, y))
    close(logarithm[0], subspaces.logmap(u, v), 1e5)
    close(logarithm[1], spd.logmap(s, t), 1e5)
    moved = aligned_factor(y).split(manifold.transp(x, y, z))
    close(moved[0], subspaces.transp(u, v, delta), 1e5)
    close(moved[1], spd.transp(s, t, d), 1e5)


@pytest.mark.parametrize("shape", SHAPES)
def test_tangent_vectors_are_derivatives_of_the_components(shape: tuple[int, int]) -> None:
    """Δ and D of Z are the derivatives of the aligned subspace and of S, Ω that of the alignment."""
    manifold = SPSD(shape[1])
    y = points(manifold, 8, *shape)
    z, factor = tangent(manifold, y), aligned_factor(y)
    delta, change = factor.split(z)
    close(factor.join(delta, change), z, 5000)
    h = 1e-4
    ahead, behind, far, back = (manifold.components(y + t * z) for t in (h, -h, 2 * h, -2 * h))
    basis, definite = (
        (8 * (a - b) - (f - k)) / (12 * h) for a, b, f, k in zip(ahead, behind, far, back, strict=True)
    )
    normal = basis - factor.basis @ (factor.basis.mT @ basis)
    torch.testing.assert_close(normal, delta, rtol=0, atol=1e-9)
    torch.testing.assert_close(definite, change, rtol=0, atol=1e-9)
    moved = (manifold.to_matrix(y + h * z) - manifold.to_matrix(y - h * z)) / (2 * h)
    torch.testing.assert_close(moved, z @ y.mT + y @ z.mT, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_is_the_steepest_direction_of_a_function_of_the_matrix(shape: tuple[int, int]) -> None:
    manifold = SPSD(shape[1], weight=2.0)
    y, target = points(manifold, 4, *shape), torch.randn(4, shape[0], shape[0], dtype=torch.float64)
    variable = y.clone().requires_grad_()
    ((manifold.to_matrix(variable) - target) ** 2).sum().backward()
    assert variable.grad is not None
    gradient = manifold.egrad2rgrad(y, variable.grad)
    for _ in range(3):
        z, h = tangent(manifold, y, 1.0), 1e-5
        ahead, behind = (
            ((manifold.to_matrix(manifold.expmap(y, s * z)) - target) ** 2).sum((-2, -1)) for s in (h, -h)
        )
        torch.testing.assert_close(
            manifold.inner(y, gradient, z), (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_functions_of_points_do_not_depend_on_the_factor(shape: tuple[int, int]) -> None:
    manifold = SPSD(shape[1])
    x, y = (points(manifold, 5, *shape) for _ in range(2))
    p, q = rotations(x), rotations(y)
    z, w = tangent(manifold, x), tangent(manifold, x)
    close(manifold.dist(x @ p, y @ q), manifold.dist(x, y), 5000)
    close(manifold.cdist(x @ p, y), manifold.cdist(x, y @ q), 5000)
    close(manifold.inner(x @ p, z @ p, w @ p), manifold.inner(x, z, w), 5000)
    close(manifold.expmap(x @ p, z @ p), manifold.expmap(x, z) @ p, 5000)
    close(manifold.retr(x @ p, z @ p), manifold.retr(x, z) @ p, 5000)
    close(manifold.logmap(x @ p, y @ q), manifold.logmap(x, y) @ p, 1e5)
    close(manifold.transp(x @ p, y @ q, z @ p), manifold.transp(x, y, z) @ q, 1e5)
    close(manifold.egrad2rgrad(x @ p, z @ p), manifold.egrad2rgrad(x, z) @ p, 1e5)
    centre, other = manifold.mean(torch.stack([x, y], 1)), manifold.mean(torch.stack([x @ p, y @ q], 1))
    close(manifold.to_matrix(other), manifold.to_matrix(centre), 1e5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_point_in_two_factors_is_at_distance_0(dtype: torch.dtype) -> None:
    manifold = SPSD(2)
    x = points(manifold, 20, 6, 2, dtype=dtype)
    same = x @ rotations(x)
    assert float(manifold.dist(x, same).max()) < 1000 * torch.finfo(dtype).eps
    assert float(manifold.norm(x, manifold.logmap(x, same)).max()) < 1000 * torch.finfo(dtype).eps
    assert float(manifold.dist(x, x).max()) < 10 * torch.finfo(dtype).eps


def test_triangle_inequality_far_apart() -> None:
    manifold = SPSD(2)
    x, y, z = points(manifold, 3, 200, 5, 2) * torch.rand(3, 200, 1, 1, dtype=torch.float64).exp().pow(4)
    assert bool((manifold.dist(x, z) <= manifold.dist(x, y) + manifold.dist(y, z) + 1e-12).all())


def test_full_rank_is_the_affine_invariant_metric() -> None:
    manifold, spd = SPSD(3), AffineInvariantSPD()
    x = points(manifold, 5, 3, 3)
    matrices = manifold.to_matrix(x)
    close(manifold.components(x)[0], torch.eye(3, dtype=torch.float64).expand(5, 3, 3))
    close(manifold.dist(x[0], x[1]), spd.dist(matrices[0], matrices[1]), 5000)
    expected = distance_riemann(matrices[0].numpy(), matrices[1].numpy())
    assert abs(float(manifold.dist(x[0], x[1])) - float(expected)) < 1e-12
    z = tangent(manifold, x)
    change = z @ x.mT + x @ z.mT
    close(manifold.inner(x, z), spd.inner(matrices, change), 5000)
    close(manifold.to_matrix(manifold.expmap(x, z)), spd.expmap(matrices, change), 5000)
    mean = manifold.to_matrix(manifold.mean(x)).numpy()
    expected = mean_riemann(matrices.numpy(), tol=1e-13, maxiter=200)
    torch.testing.assert_close(torch.from_numpy(mean), torch.from_numpy(expected), rtol=0, atol=1e-10)
    assert manifold.dim((3, 3)) == spd.dim((3, 3)) == 6


def test_mean_is_that_of_the_factors_with_weights_and_gradients() -> None:
    manifold = SPSD(2)
    centre = points(manifold, 3, 1, 5, 2)
    x = manifold.expmap(centre, 0.3 * manifold.proju(centre, torch.randn(3, 6, 5, 2, dtype=torch.float64)))
    weights = torch.rand(3, 6, dtype=torch.float64)
    result = manifold.solve_mean(x, weights)
    assert result.mean.shape == (3, 5, 2)
    assert bool(result.converged.all())
    assert float(result.residual.max()) < 1e-12
    torch.testing.assert_close(result.radius, manifold.dist(result.mean[:, None], x).amax(-1))
    u, s = manifold.components(x)
    basis, definite = manifold.components(result.mean)
    torch.testing.assert_close(Grassmann().dist(basis, Grassmann().mean(u, weights)), torch.zeros(3).double())
    torch.testing.assert_close(definite, AffineInvariantSPD().mean(s, weights))
    both = torch.stack([weights, weights.flip(-1)], -2)
    torch.testing.assert_close(manifold.mean(x[:, None], both)[:, 0], result.mean)
    x = x[0].detach().requires_grad_()

    def projected(points: Tensor) -> Tensor:
        return manifold.to_matrix(manifold.mean(points, weights[0]))

    torch.autograd.gradcheck(projected, (x,), fast_mode=True, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_repeated_eigenvalues_have_exact_gradients(dtype: torch.dtype) -> None:
    manifold = SPSD(2)
    x = (2 * torch.eye(5, dtype=dtype)[:, :2]).requires_grad_()
    y = 3 * torch.eye(5, dtype=dtype)[:, :2]
    (gradient,) = torch.autograd.grad(manifold.dist2(x, y), x)
    expected = 8 * math.log(2 / 3) / 2 * torch.eye(5, dtype=dtype)[:, :2]  # of 2 (2 log(a/3))²
    torch.testing.assert_close(gradient, expected)
    for value in (manifold.dist(x, x.detach()), manifold.dist2(x, x.detach())):
        (gradient,) = torch.autograd.grad(value, x)
        close(gradient, torch.zeros_like(x), 10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_subspaces_orthogonal_to_the_base_are_finite(dtype: torch.dtype) -> None:
    """The alignment is not unique there, in one direction or in two."""
    manifold, eye = SPSD(2), torch.eye(5, dtype=dtype)
    y = points(manifold, 5, 2, dtype=dtype)
    scale = torch.tensor([3.0, 0.2], dtype=dtype)
    for start in (eye[:, 2:4], eye[:, [0, 3]], eye[:, 2:4] * scale, eye[:, [4, 1]] * scale):
        x = start.clone().requires_grad_()
        z, w = tangent(manifold, start), tangent(manifold, y)
        values = [
            *(manifold.inner(x, z), manifold.expmap(x, z), manifold.retr(x, z), manifold.dist(x, y)),
            *(manifold.logmap(x, y), manifold.logmap(y, x), manifold.transp(x, y, z)),
            *(manifold.transp(y, x, w), manifold.egrad2rgrad(x, z), manifold.proju(x, z)),
        ]
        for value in values:
            assert bool(value.isfinite().all())
            (gradient,) = torch.autograd.grad(value.square().sum(), x, retain_graph=True)
            assert bool(gradient.isfinite().all())
        close(aligned_factor(start).join(*aligned_factor(start).split(z)), z)


@pytest.mark.parametrize("dtype", DTYPES)
def test_projection_raises_what_is_rank_deficient(dtype: torch.dtype) -> None:
    manifold = SPSD(2)
    y = points(manifold, 4, 5, 2, dtype=dtype)
    torch.testing.assert_close(manifold.projx(y), y, rtol=0, atol=0)
    flat = torch.randn(4, 5, 1, dtype=dtype) @ torch.randn(4, 1, 2, dtype=dtype)
    zero = torch.zeros(1, 5, 2, dtype=dtype)
    for low in (flat, zero, 1e-10 * flat):
        raised = manifold.projx(low)
        torch.testing.assert_close(
            manifold.point_residual(low), torch.ones(len(low), dtype=dtype), rtol=0, atol=0.01
        )
        assert bool((manifold.point_residual(raised) == 0).all())
        assert bool(manifold.dist(raised, y[: len(low)]).isfinite().all())
    torch.testing.assert_close(
        manifold.projx(flat), flat, rtol=0, atol=1e-2 if dtype == torch.float32 else 1e-6
    )


def test_matrices_of_a_lower_rank_are_refused_with_the_eigenvalue() -> None:
    manifold = SPSD(2)
    x = torch.stack([torch.diag(torch.tensor([3.0, 2.0, 0.0])), torch.diag(torch.tensor([3.0, -0.5, 0.0]))])
    torch.testing.assert_close(manifold.to_matrix(manifold.from_matrix(x[0])), x[0])
    with pytest.raises(NotOnManifoldError, match=r"matrix \[1\] of \(2,\) .* below 2: .* 0\.0e\+00; use"):
        manifold.from_matrix(x)
    with pytest.raises(GeowarpError, match=r"\(2, 3\) must be \(\.\.\., n, n\)"):
        manifold.from_matrix(torch.zeros(2, 3))
    with pytest.raises(NotOnManifoldError, match="not positive definite"):
        manifold.dist(torch.ones(3, 2), torch.ones(3, 2))
    with pytest.raises(NotOnManifoldError, match=r"departure of the point"):
        manifold.assert_check_point_on_manifold(torch.ones(3, 2))
    with pytest.raises(GeowarpError, match=r"\(3, 1\) must be \(n, 2\) with n >= 2"):
        manifold.random(3, 1)
    for options in ({"rank": 0}, {"rank": 1, "weight": 0.0}, {"rank": 1, "weight": math.inf}):
        with pytest.raises(GeowarpError, match="it must be"):
            SPSD(**options)


def test_gradient_of_the_principal_factor_is_that_of_the_matrix() -> None:
    y = points(SPSD(2), 5, 2)
    x = (y @ y.mT + 0.1 * torch.eye(5, dtype=torch.float64)).requires_grad_()
    y0 = points(SPSD(2), 5, 2)

    def function(matrix: Tensor) -> Tensor:
        return SPSD(2).dist(principal_factor((matrix + matrix.mT) / 2, 2)[0], y0)

    torch.autograd.gradcheck(function, (x,))
    equal = torch.diag(torch.tensor([2.0, 2.0, 0.5, 0.5], dtype=torch.float64)).requires_grad_()
    weights = torch.randn(4, 4, dtype=torch.float64)
    truncated = SPSD(2).to_matrix(SPSD(2).from_matrix(equal))
    (gradient,) = torch.autograd.grad((weights * truncated).sum(), equal)
    h = 1e-6
    direction = torch.randn(4, 4, dtype=torch.float64)
    direction = direction + direction.mT
    with torch.no_grad():
        ahead, behind = (
            (weights * SPSD(2).to_matrix(SPSD(2).from_matrix(equal + s * direction))).sum() for s in (h, -h)
        )
    torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / (2 * h), rtol=1e-7, atol=1e-7)


def test_uniqueness_radius_is_the_smaller_one() -> None:
    assert SPSD(2).uniqueness_radius() == Grassmann().uniqueness_radius() == math.pi / 4


def test_values_that_differ_are_not_equal() -> None:
    assert SPSD(2) == SPSD(2, spd=AffineInvariantSPD(), weight=1)
    different = {SPSD(2), SPSD(3), SPSD(2, weight=2), SPSD(2, spd=LogCholeskySPD())}
    assert len(different) == 4
    assert repr(SPSD(2, weight=2)) == "SPSD(2, spd=AffineInvariantSPD(), weight=2.0)"
