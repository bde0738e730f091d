"""Gyrogroup laws in both models, their isometry, and midpoints."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hyperbolic_cases import DTYPES, unit
from torch import Tensor

from geowarp.manifolds import Lorentz, Manifold, PoincareBall

Operation = Callable[..., Tensor]


@dataclass(frozen=True)
class Gyrovectors:
    """A model and its gyrovector operations, under common names."""

    manifold: Manifold
    size: int
    add: Operation
    coadd: Operation
    cosub: Operation
    scale: Operation
    gyration: Operation
    negative: Operation

    def points(self, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return self.manifold.random(*batch, self.size, dtype=dtype).detach().clone()


def poincare(c: float) -> Gyrovectors:
    ball = PoincareBall(c)
    addition = (ball.mobius_add, ball.mobius_coadd, ball.mobius_cosub, ball.mobius_scalar_mul)
    return Gyrovectors(ball, 3, *addition, ball.gyration, torch.neg)


def lorentz(k: float) -> Gyrovectors:
    space = Lorentz(k)
    addition = (space.gyro_add, space.gyro_coadd, space.gyro_cosub, space.gyro_scalar_mul)
    sign = torch.tensor([1.0, -1.0, -1.0, -1.0])
    return Gyrovectors(space, 4, *addition, space.gyration, lambda x: x * sign.to(x))


MODELS = [poincare(1.0), poincare(0.7), lorentz(1.0), lorentz(2.0)]
each = pytest.mark.parametrize("model", MODELS, ids=lambda model: repr(model.manifold))


@each
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_vector_and_its_inverse_add_to_nothing(model: Gyrovectors, dtype: torch.dtype) -> None:
    v = model.points(50, dtype=dtype)
    far = model.manifold.expmap(v, 7 * v)
    origin = model.manifold.origin(50, model.size, dtype=dtype).detach()
    for x in (v, far):
        for total in (model.add(model.negative(x), x), model.add(x, model.negative(x)), model.cosub(x, x)):
            torch.testing.assert_close(total, origin, atol=0, rtol=1e-15)
        torch.testing.assert_close(model.add(origin, x), x)
        torch.testing.assert_close(model.add(x, origin), x)


@each
def test_laws_of_a_gyrovector_space(model: Gyrovectors) -> None:
    a, b, c = (model.points(20) for _ in range(3))
    add, gyration, negative = model.add, model.gyration, model.negative
    same = torch.testing.assert_close
    same(add(negative(a), add(a, b)), b)
    same(add(a, add(b, c)), add(add(a, b), gyration(a, b, c)))
    same(add(add(a, b), c), add(a, add(b, gyration(b, a, c))))
    same(add(a, b), gyration(a, b, add(b, a)))
    same(gyration(a, b, c), add(negative(add(a, b)), add(a, add(b, c))))
    same(gyration(add(a, b), b, c), gyration(a, b, c))
    same(gyration(b, a, gyration(a, b, c)), c)
    same(gyration(a, b, add(b, c)), add(gyration(a, b, b), gyration(a, b, c)))
    same(gyration(a, a, c), c)
    same(model.coadd(a, b), add(a, gyration(a, negative(b), b)))
    same(model.coadd(a, b), model.coadd(b, a))
    same(add(model.coadd(a, b), negative(b)), a)
    same(model.cosub(add(a, b), b), a)
    same(model.cosub(a, b), model.coadd(a, negative(b)))
    same(model.scale(2.0, a), add(a, a))
    same(model.scale(-1.0, a), negative(a))
    same(model.scale(0.7, model.scale(-1.9, a)), model.scale(-1.33, a))
    same(model.scale(1.2, a), add(model.scale(0.5, a), model.scale(0.7, a)))


@each
def test_distances_are_invariant_under_addition_and_gyration(model: Gyrovectors) -> None:
    a, b, c = (model.points(20) for _ in range(3))
    dist = model.manifold.dist
    torch.testing.assert_close(dist(model.add(c, a), model.add(c, b)), dist(a, b))
    torch.testing.assert_close(dist(model.gyration(a, b, c), model.gyration(a, b, a)), dist(c, a))
    origin = model.manifold.origin(20, model.size, dtype=torch.float64).detach()
    torch.testing.assert_close(dist(origin, model.add(model.negative(a), b)), dist(a, b))
    torch.testing.assert_close(
        model.manifold.geodesic(0.3, a, b), model.add(a, model.scale(0.3, model.add(model.negative(a), b)))
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_cancellation_at_radius_eight(dtype: torch.dtype) -> None:
    # One rounding unit of the entries is there a distance of up to exp(8) units.
    bound = 100 * torch.finfo(dtype).eps * torch.tensor(8.0).exp().item()
    for model in MODELS:
        root = model.manifold.constants()[0] ** (-0.5 if model.size == 3 else 0.5)
        direction = torch.cat([torch.zeros(30, model.size - 3), unit(30, 3)], -1).to(dtype)
        a = model.manifold.expmap(
            model.manifold.origin(30, model.size, dtype=dtype).detach(),
            root * (4 if model.size == 3 else 8) * direction,
        )
        b = model.points(30, dtype=dtype)
        back = model.add(model.negative(a), model.add(a, b))
        assert model.manifold.dist(back, b).max() <= bound


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("c", [1.0, 0.7, 4.0])
def test_the_models_are_isometric(c: float, dtype: torch.dtype) -> None:
    ball, space = PoincareBall(c), Lorentz(1 / c)
    x, y, v = (ball.random(4, 5, 3, dtype=dtype).detach().clone() for _ in range(3))
    p, q, u = ball.to_lorentz(x), ball.to_lorentz(y), ball.tangent_to_lorentz(x, v)
    close = torch.testing.assert_close
    space.assert_check_point_on_manifold(p)
    space.assert_check_vector_on_tangent(p, u)
    close(space.to_poincare(p), x)
    close(space.tangent_to_poincare(p, u), v)
    close(space.dist(p, q), ball.dist(x, y))
    close(space.dist0(p), ball.dist0(x))
    close(space.cdist(p, q), ball.cdist(x, y))
    close(space.norm(p, u), ball.norm(x, v))
    close(space.expmap(p, u), ball.to_lorentz(ball.expmap(x, v)), rtol=1e-4, atol=1e-4)
    close(space.logmap(p, q), ball.tangent_to_lorentz(x, ball.logmap(x, y)), rtol=1e-4, atol=1e-5)
    moved = ball.tangent_to_lorentz(y, ball.transp(x, y, v))
    close(space.transp(p, q, u), moved, rtol=1e-4, atol=1e-5)
    close(space.gyro_add(p, q), ball.to_lorentz(ball.mobius_add(x, y)), rtol=1e-4, atol=1e-5)
    close(space.gyro_coadd(p, q), ball.to_lorentz(ball.mobius_coadd(x, y)), rtol=1e-4, atol=1e-5)
    close(space.gyration(p, q, p), ball.to_lorentz(ball.gyration(x, y, x)))
    close(space.gyro_scalar_mul(-0.4, p), ball.to_lorentz(ball.mobius_scalar_mul(-0.4, x)))
    close(space.dist2plane(p, q, ball.tangent_to_lorentz(y, v)), ball.dist2plane(x, y, v))
    for options in ({"signed": True}, {"scaled": True}, {"keepdim": True}):
        close(
            space.dist2plane(p, q, ball.tangent_to_lorentz(y, v), **options),
            ball.dist2plane(x, y, v, **options),
        )
    matrix = torch.randn(2, 3, dtype=dtype)
    wide = space.gyro_matvec(matrix, p)
    tangent = 2 * ball.logmap0(x)  # the conformal factor at the origin is 2
    expected = Lorentz(1 / c).expmap0(torch.cat([torch.zeros_like(x[..., :1]), tangent @ matrix.mT], -1))
    close(wide, expected)
    close(ball.to_lorentz(ball.mobius_matvec(matrix, x)), wide, rtol=1e-4, atol=1e-5)


def test_the_differential_of_the_isometry() -> None:
    ball, space = PoincareBall(0.7), Lorentz(1 / 0.7)
    x, v = (ball.random(3, dtype=torch.float64).detach().clone() for _ in range(2))
    _, expected = torch.autograd.functional.jvp(ball.to_lorentz, x, v)
    torch.testing.assert_close(ball.tangent_to_lorentz(x, v), expected)
    p = ball.to_lorentz(x)
    _, back = torch.autograd.functional.jvp(space.to_poincare, p, expected)
    torch.testing.assert_close(back, v)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_isometry_far_out(dtype: torch.dtype) -> None:
    ball, space = PoincareBall(), Lorentz()
    eps = torch.finfo(dtype).eps
    for radius in (5.0, 10.0, 15.0, 1e3):
        x = ball.expmap0((radius / 2 * unit(20, 3)).to(dtype))
        p = ball.to_lorentz(x)
        gap = 2 * torch.exp(-space.dist0(p))
        torch.testing.assert_close(space.dist0(p), ball.dist0(x), atol=0, rtol=16 * eps / gap.min().item())
        assert (space.to_poincare(p) - x).abs().max() <= 8 * eps
        assert ball.point_residual(space.to_poincare(p)).max() == 0


@pytest.mark.parametrize("c", [1.0, 0.7])
def test_midpoints_agree_minimise_and_lie_midway(c: float) -> None:
    ball, space = PoincareBall(c), Lorentz(1 / c)
    x = ball.random(6, 3, dtype=torch.float64).detach().clone()
    weights = torch.rand(6, dtype=torch.float64)
    m = ball.einstein_midpoint(x, weights)
    torch.testing.assert_close(ball.to_lorentz(m), space.centroid(ball.to_lorentz(x), weights))
    torch.testing.assert_close(ball.einstein_midpoint(x, 3 * weights), m)
    torch.testing.assert_close(ball.einstein_midpoint(x), ball.einstein_midpoint(x, torch.ones(6)))
    point = m.clone().requires_grad_()
    cost = (weights * (0.5 * c**0.5 * ball.dist(point, x)).sinh().square()).sum()
    (gradient,) = torch.autograd.grad(cost, point)
    assert ball.norm(m, ball.egrad2rgrad(m, gradient)) < 1e-14
    half = ball.einstein_midpoint(x[:2])
    torch.testing.assert_close(half, ball.geodesic(0.5, x[0], x[1]))
    torch.testing.assert_close(half, ball.mean(x[:2]))
    shift = ball.random(3, dtype=torch.float64).detach()
    moved = ball.einstein_midpoint(ball.mobius_add(shift, x), weights)
    torch.testing.assert_close(moved, ball.mobius_add(shift, m))


def test_batched_weights_are_one_product() -> None:
    for manifold, midpoint, size in (
        (PoincareBall(), PoincareBall().einstein_midpoint, 3),
        (Lorentz(), Lorentz().centroid, 4),
    ):
        x = manifold.random(2, 1, 5, size, dtype=torch.float64).detach()
        weights = torch.rand(2, 7, 5, dtype=torch.float64)
        together = midpoint(x, weights)
        assert together.shape == (2, 7, size)
        for i in range(2):
            torch.testing.assert_close(midpoint(x[i, 0], weights[i]), together[i])
            for j in range(7):
                torch.testing.assert_close(midpoint(x[i, 0], weights[i, j]), together[i, j])
        torch.testing.assert_close(midpoint(x.expand(2, 7, 5, size), weights), together)
        assert midpoint(x[:, :, :, :].expand(2, 3, 5, size), weights[:1, 0]).shape == (2, 3, size)
        assert midpoint(x.float(), weights.float()).dtype == torch.float32
        torch.testing.assert_close(manifold.mean(x, weights).shape, (2, 7, size))
        assert midpoint(x[:0], weights[:0]).shape == (0, 7, size)


def test_the_mean_of_points_far_out() -> None:
    for manifold, size in ((PoincareBall(), 3), (Lorentz(), 4)):
        origin = manifold.origin(size, dtype=torch.float64).detach()
        far = manifold.expmap(origin, torch.tensor([0.0] * (size - 3) + [3.0, 0.0, 0.0], dtype=torch.float64))
        x = manifold.expmap(far, 0.1 * manifold.proju(far, torch.randn(8, size, dtype=torch.float64)))
        result = manifold.solve_mean(x)
        assert bool(result.converged)
        assert bool(result.unique)
        weights = torch.full((8, 1), 1 / 8, dtype=torch.float64)
        gradient = (weights * manifold.logmap(result.mean, x)).sum(0)
        assert manifold.norm(result.mean, gradient) < 1e-10
