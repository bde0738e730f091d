"""Gyrovector operations of every space: by their definition, the laws, n x n exponentials, and gradients."""

import pytest
import torch
from gyro_cases import GYRO_CASES, GyroCase, same_points
from jacobians import assert_jacobian
from torch import Tensor

from geowarp.errors import GeowarpError, NotOnManifoldError, UnavailableError
from geowarp.manifolds import (
    SPSD,
    AffineInvariantSPD,
    BuresWassersteinSPD,
    Grassmann,
    GrassmannProjectors,
    GyrovectorSpace,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    PoincareBall,
)

each = pytest.mark.parametrize("case", GYRO_CASES, ids=lambda case: case.name)


def assert_close(x: Tensor, y: Tensor, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


def assert_same(space: GyrovectorSpace, x: Tensor, y: Tensor, tolerance: float = 1e-11) -> None:
    assert_close(same_points(space, x), same_points(space, y), tolerance)


@each
def test_closed_forms_are_the_definition(case: GyroCase) -> None:
    space, (x, y) = case.make(), (case.points(5) for _ in range(2))
    t = torch.tensor([1.5, -1.0, 0.0, 0.3, -2.0], dtype=torch.float64)
    identity = case.identity()
    assert_same(space, space.gyro_add(x, y), GyrovectorSpace.gyro_add(space, x, y))
    assert_same(space, space.gyro_scale(t, x), GyrovectorSpace.gyro_scale(space, t, x))
    assert_same(space, space.gyro_neg(x), space.expmap(identity, -space.logmap(identity, x)))
    assert_same(space, space.gyro_sub(x, y), space.gyro_add(x, space.gyro_neg(y)))


@each
def test_laws(case: GyroCase) -> None:
    space, (x, y, z) = case.make(), (case.points(6) for _ in range(3))
    identity, add, negative = case.identity(6), space.gyro_add, space.gyro_neg
    assert_same(space, add(identity, x), x)
    assert_same(space, add(x, identity), x)
    assert_same(space, add(negative(x), x), identity)
    assert_same(space, add(negative(x), add(x, y)), y)
    turned = space.gyration(x, y, z)
    assert_same(space, turned, add(negative(add(x, y)), add(x, add(y, z))))
    assert_same(space, add(x, add(y, z)), add(add(x, y), turned))
    assert_same(space, space.gyration(add(x, y), y, z), turned)
    assert_same(space, space.gyro_scale(0.7, space.gyro_scale(-1.9, x)), space.gyro_scale(-1.33, x))
    assert_same(space, space.gyro_scale(1.2, x), add(space.gyro_scale(0.5, x), space.gyro_scale(0.7, x)))


@each
def test_distances(case: GyroCase) -> None:
    space, (x, y, z) = case.make(), (case.points(6) for _ in range(3))
    identity, close = case.identity(6), assert_close
    distance = space.dist(x, y)
    close(space.dist(identity, space.gyro_add(space.gyro_neg(x), y)), distance)
    close(space.dist(space.gyro_add(z, x), space.gyro_add(z, y)), distance)
    close(space.dist(space.gyration(z, x, x), space.gyration(z, x, y)), distance)
    for t in (-1.0, 0.4, 1.9):
        close(space.dist(identity, space.gyro_scale(t, x)), abs(t) * space.dist(identity, x))


@each
def test_batches_dtypes_and_layouts(case: GyroCase) -> None:
    space = case.make()
    x, y, t = case.points(3, 1), case.points(2), torch.rand(4, 1, 1, dtype=torch.float64)
    total = space.gyro_add(x, y)
    assert total.shape == (3, 2, *case.shape)
    assert_same(space, total[2, 1], space.gyro_add(x[2, 0], y[1]))
    assert space.gyro_sub(x, y).shape == space.gyration(x, y, y).shape == (3, 2, *case.shape)
    scaled = space.gyro_scale(t, x)
    assert scaled.shape == (4, 3, 1, *case.shape)
    assert_same(space, scaled[3, 1, 0], space.gyro_scale(float(t[3]), x[1, 0]))
    empty = x[:0]
    assert space.gyro_add(empty, y).shape == (0, 2, *case.shape)
    assert space.gyro_scale(0.5, empty).shape == space.gyro_neg(empty).shape == (0, 1, *case.shape)
    strided = torch.stack([x, x], -1)[..., 0]
    torch.testing.assert_close(space.gyro_add(strided, y), total)
    assert space.gyro_neg(strided).is_contiguous()
    for dtype, digits in ((torch.float32, 2e-5), (torch.bfloat16, 0.1)):
        near = space.gyro_add(x.to(dtype), y.to(dtype))
        assert near.dtype == space.gyro_scale(0.5, near).dtype == space.gyro_neg(near).dtype == dtype
        assert_same(space, near.double(), total, digits)
    assert case.identity().shape == case.shape
    assert type(case.identity()) is Tensor


@each
def test_gradients_are_right_and_finite_at_the_identity(case: GyroCase) -> None:
    space = case.make()

    def value(x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        x, y = space.projx(x), space.projx(y)
        return same_points(space, space.gyro_add(space.gyro_scale(t[..., 0], x), space.gyro_neg(y)))

    t = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    identity = case.identity()
    general, other = case.points(), case.points()
    for x, y in ((general, other), (identity, identity)):
        assert_jacobian(value, x.clone().requires_grad_(), y.clone().requires_grad_(), t)


def test_wrong_input() -> None:
    bad = -torch.eye(3)
    for space in (AffineInvariantSPD(), LogEuclideanSPD(), LogCholeskySPD()):
        with pytest.raises(NotOnManifoldError, match="not positive definite"):
            space.gyro_add(bad, bad)
        with pytest.raises(NotOnManifoldError, match="not positive definite"):
            space.gyro_scale(0.5, bad)
        with pytest.raises(NotOnManifoldError, match="not finite"):
            space.gyro_scale(0.5, torch.diag(torch.tensor([1.0, torch.inf, 2.0])))
    with pytest.raises(UnavailableError, match="AffineInvariantSPD"):
        SPSD(1, spd=BuresWassersteinSPD()).gyro_neg(torch.ones(3, 1))
    assert not isinstance(BuresWassersteinSPD(), GyrovectorSpace)
    with pytest.raises(GeowarpError, match="at least 1"):
        GrassmannProjectors(0)
    with pytest.raises(GeowarpError, match="must be"):
        GrassmannProjectors(2).identity_element(3, 2)
    for wrong in (torch.eye(2), torch.ones(4, 3)):
        with pytest.raises(GeowarpError, match=r"\(., .\) has no basis of 3 vectors"):
            GrassmannProjectors(3).gyro_neg(wrong)


def test_matrices_definite_to_rounding_have_finite_powers_or_are_refused() -> None:
    """Of condition 2e16 many have a Cholesky factor, and a smallest eigenvalue that is computed negative."""
    scale = torch.logspace(0, -16.3, 6, dtype=torch.float64)
    rotations = torch.linalg.qr(torch.randn(60, 6, 6, dtype=torch.float64))[0]
    for space in (AffineInvariantSPD(), LogEuclideanSPD()):
        for rotation in rotations:
            x = (rotation * scale) @ rotation.mT
            x = 0.5 * (x + x.mT)
            try:
                results = [space.gyro_scale(0.5, x), space.gyro_add(x, x)]
            except NotOnManifoldError:
                continue
            assert all(bool(result.isfinite().all()) for result in results)


def test_names_of_hyperbolic_spaces() -> None:
    ball, lorentz = PoincareBall(0.7), Lorentz(1 / 0.7)
    x, y = (0.4 * torch.randn(4, 3, dtype=torch.float64).tanh() for _ in range(2))
    p, q = ball.to_lorentz(x), ball.to_lorentz(y)
    for of_ball, of_lorentz in (
        (ball.gyro_add(x, y), lorentz.gyro_add(p, q)),
        (ball.gyro_sub(x, y), lorentz.gyro_sub(p, q)),
        (ball.gyro_neg(x), lorentz.gyro_neg(p)),
        (ball.gyro_scale(0.3, x), lorentz.gyro_scale(0.3, p)),
    ):
        torch.testing.assert_close(ball.to_lorentz(of_ball), of_lorentz)
    torch.testing.assert_close(ball.gyro_add(x, y), ball.mobius_add(x, y), atol=0, rtol=0)


# --- Grassmann against n x n matrices ---


def rotation_generator(x: Tensor) -> Tensor:
    """Return the n x n skew-symmetric Ω with ``[Ω, E]`` the logarithm of ``x xᵀ`` at E."""
    n, k = x.shape[-2:]
    lower = Grassmann().logmap(torch.eye(n, k, dtype=x.dtype), x)[..., k:, :]
    omega = torch.zeros(*x.shape[:-2], n, n, dtype=x.dtype)
    omega[..., k:, :k], omega[..., :k, k:] = lower, -lower.mT
    return omega


def random_bases(*shape: int) -> Tensor:
    bases: Tensor = Grassmann().random(*shape, dtype=torch.float64).detach().as_subclass(Tensor)
    return bases


@pytest.mark.parametrize("shape", [(7, 3), (4, 3), (5, 1), (3, 3)])
def test_grassmann_sums_are_matrix_exponentials(shape: tuple[int, int]) -> None:
    x, y = random_bases(6, *shape), random_bases(6, *shape)
    rotation = torch.linalg.matrix_exp(rotation_generator(x))
    torch.testing.assert_close(Grassmann().gyro_add(x, y), rotation @ y, atol=1e-13, rtol=0)
    half = torch.linalg.matrix_exp(0.5 * rotation_generator(x))[..., : shape[1]]
    torch.testing.assert_close(Grassmann().gyro_scale(0.5, x), half, atol=1e-13, rtol=0)


def test_projectors_are_the_subspaces_of_bases() -> None:
    space, projectors = Grassmann(), GrassmannProjectors(2)
    x, y = (space.gyro_scale(0.4, random_bases(4, 6, 2)) for _ in range(2))
    t = torch.tensor([0.3, -0.7, 1.4, 0.0], dtype=torch.float64)
    p, q = space.to_projector(x), space.to_projector(y)
    pairs = (
        (projectors.gyro_add(p, q), space.gyro_add(x, y)),
        (projectors.gyro_sub(p, q), space.gyro_sub(x, y)),
        (projectors.gyro_neg(p), space.gyro_neg(x)),
        (projectors.gyro_scale(t, p), space.gyro_scale(t, x)),
        (projectors.gyration(p, q, p), space.gyration(x, y, x)),
        (projectors.identity_element(4, 6, 6, dtype=p.dtype), space.identity_element(4, 6, 2, dtype=p.dtype)),
    )
    for of_projectors, of_bases in pairs:
        assert_close(of_projectors, space.to_projector(of_bases))
    assert_close(space.to_projector(space.from_projector(p, 2)), p)
    exponential = torch.linalg.matrix_exp(rotation_generator(x))
    assert_close(projectors.gyro_add(p, q), exponential @ q @ exponential.mT)
    assert projectors.gyro_add(p.half(), q.half()).dtype == torch.half
    assert projectors.gyro_scale(t[:, None], p[:0]).shape == (4, 0, 6, 6)


def test_gradients_of_projectors() -> None:
    space, projectors = Grassmann(), GrassmannProjectors(2)

    def value(a: Tensor, b: Tensor) -> Tensor:
        p, q = (space.to_projector(space.projx(basis)) for basis in (a, b))
        total: Tensor = projectors.gyro_add(p, projectors.gyro_scale(0.6, q))
        return total

    identity = space.identity_element(4, 2, dtype=torch.float64)
    general = space.gyro_scale(0.4, random_bases(4, 2))
    for x, y in ((general, identity), (general, general)):
        assert_jacobian(value, x.clone().requires_grad_(), y.clone().requires_grad_())


def test_cut_locus_is_finite() -> None:
    space = Grassmann()
    x = torch.eye(5)[:, 2:4].clone().requires_grad_()  # both principal angles to E are right
    total = space.gyro_sub(space.gyro_add(x, x), x)
    total.sum().backward()
    assert bool(total.isfinite().all())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    torch.testing.assert_close(total.mT @ total, torch.eye(2), atol=1e-5, rtol=0)


def test_the_cayley_transform_is_not_the_exponential() -> None:
    """``(I − Ω)(I + Ω)⁻¹`` is ``exp(−2Ω)`` to second order: wrong in direction, and in length."""
    space, eye = Grassmann(), torch.eye(12, dtype=torch.float64)
    identity = space.identity_element(12, 4, dtype=torch.float64)
    point = random_bases(12, 4)
    x = space.gyro_scale(0.034 / space.dist(identity, point), point)

    def cayley(basis: Tensor, t: float, y: Tensor) -> Tensor:
        omega = t * rotation_generator(basis)
        moved: Tensor = (eye - omega) @ torch.linalg.solve(eye + omega, y)
        return moved

    wrong = space.dist(identity, cayley(x, -1.0, x))  # what −x ⊕ x would be
    torch.testing.assert_close(wrong, torch.tensor(0.102, dtype=torch.float64), atol=1e-4, rtol=0)
    half = space.dist(identity, cayley(x, 0.5, identity)) / space.dist(identity, x)
    torch.testing.assert_close(half, torch.ones_like(half), atol=1e-3, rtol=0)
    assert space.dist(identity, space.gyro_add(space.gyro_neg(x), x)) < 1e-14
    ratio = space.dist(identity, space.gyro_scale(0.5, x)) / space.dist(identity, x)
    torch.testing.assert_close(ratio, 0.5 * torch.ones_like(ratio), atol=1e-12, rtol=0)
