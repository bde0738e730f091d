"""The Birkhoff polytope against brute force, closed forms, an isometric embedding and finite differences."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import geowarp
from geowarp import GeowarpError, NotOnManifoldError, UnavailableError
from geowarp.manifolds import BirkhoffPolytope

DTYPES = [torch.float32, torch.float64]
BATCHES: list[tuple[int, ...]] = [(), (3,), (0,), (2, 3)]
BIRKHOFF = BirkhoffPolytope()


def points(*size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return BIRKHOFF.random(*size, dtype=dtype).detach().clone()


def tangent(x: Tensor) -> Tensor:
    u: Tensor = BIRKHOFF.proju(x, torch.randn_like(x))
    return u


def vertices(n: int, dtype: torch.dtype) -> Tensor:
    eye = torch.eye(n, dtype=dtype)
    return torch.stack([eye, eye.roll(1, 0), eye.flip(0)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_steps_of_any_length_land(dtype: torch.dtype, batch: tuple[int, ...], n: int) -> None:
    x = points(*batch, n, n, dtype=dtype)
    u, bound = tangent(x), torch.full(batch, 16 * torch.finfo(dtype).eps, dtype=dtype)
    torch.testing.assert_close(BIRKHOFF.retr(x, 0 * u), x)
    for length in (1e-3, 0.1, 1.0, 30.0, 1e6, 1e30):
        y = BIRKHOFF.retr(x, length * u)
        assert y.shape == x.shape
        assert bool((y > 0).all())
        assert bool((BIRKHOFF.point_residual(y) <= bound).all())
        moved = BIRKHOFF.retr_transp(x, length * u, u)[1]
        assert bool((BIRKHOFF.tangent_residual(y, moved) <= 20 * bound * (1 + BIRKHOFF.norm(x, u))).all())
    BIRKHOFF.assert_check_point_on_manifold(x)
    BIRKHOFF.assert_check_vector_on_tangent(x, u)


def test_metric_projection_and_gradient_in_closed_form() -> None:
    """On 2 x 2 matrices ``[[p, 1 − p], [1 − p, p]]`` all is known."""
    p = 0.3
    x = torch.tensor([[p, 1 - p], [1 - p, p]], dtype=torch.float64)
    e = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    length = 2 / p + 2 / (1 - p)
    torch.testing.assert_close(BIRKHOFF.inner(x, e), torch.tensor(length).double())
    w = torch.randn(2, 2, dtype=torch.float64)
    torch.testing.assert_close(BIRKHOFF.proju(x, w), e * (w * e / x).sum() / length)
    torch.testing.assert_close(BIRKHOFF.egrad2rgrad(x, w), e * (w * e).sum() / length)
    odds = p / (1 - p) * math.exp(0.1 / p + 0.1 / (1 - p))
    q = odds / (1 + odds)
    torch.testing.assert_close(BIRKHOFF.retr(x, 0.1 * e)[0, 0], torch.tensor(q).double())


def test_projection_is_not_the_gradient_and_is_idempotent() -> None:
    x, w = points(4, 5, 5), torch.randn(4, 5, 5, dtype=torch.float64)
    u = BIRKHOFF.proju(x, w)
    torch.testing.assert_close(BIRKHOFF.proju(x, u), u, rtol=0, atol=1e-13)
    assert bool(((BIRKHOFF.egrad2rgrad(x, w) - u).abs() > 0.01).any())
    normal = w - u
    torch.testing.assert_close(BIRKHOFF.inner(x, normal, u), torch.zeros(4).double(), rtol=0, atol=1e-12)


def test_gradient_is_the_steepest_direction_of_a_function() -> None:
    x, target = points(4, 4), torch.randn(4, 4, dtype=torch.float64)
    variable = x.clone().requires_grad_()
    (euclidean,) = torch.autograd.grad(((variable - target) ** 2).sum(), variable)
    gradient = BIRKHOFF.egrad2rgrad(x, euclidean)
    for _ in range(5):
        u, h = tangent(x), 1e-6
        ahead, behind = (((BIRKHOFF.retr(x, s * u) - target) ** 2).sum() for s in (h, -h))
        torch.testing.assert_close(
            BIRKHOFF.inner(x, gradient, u), (ahead - behind) / (2 * h), rtol=1e-7, atol=1e-8
        )


def test_retraction_is_of_first_order_with_the_score_as_velocity() -> None:
    x = points(6, 3, 3)
    u = 0.1 * tangent(x)
    errors = [(BIRKHOFF.retr(x, t * u) - x - t * u).norm() for t in (1e-2, 1e-3, 1e-4)]
    for coarse, fine in itertools.pairwise(errors):
        assert 1.9 < math.log10(float(coarse / fine)) < 2.1


def test_transport_is_the_projection_in_the_embedding_and_never_longer() -> None:
    x, y = points(50, 4, 4), points(50, 4, 4)
    v = tangent(x)
    moved = BIRKHOFF.transp(x, y, v)
    assert bool((BIRKHOFF.norm(y, moved) <= BIRKHOFF.norm(x, v) * (1 + 1e-12)).all())
    torch.testing.assert_close(BIRKHOFF.transp(x, x, v), v, rtol=0, atol=1e-12)
    basis = torch.zeros(16, 4, 4, dtype=torch.float64)
    basis.view(16, 16).fill_diagonal_(1)
    span = BIRKHOFF.proju(y[0], basis).flatten(1) / y[0].sqrt().flatten()
    frame = np.linalg.svd(span.numpy().T)[0][:, :9]
    expected = frame @ (frame.T @ (v[0] / x[0].sqrt()).flatten().numpy())
    np.testing.assert_allclose((moved[0] / y[0].sqrt()).flatten().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 3, 10])
def test_everything_is_finite_and_tangent_at_vertices(dtype: torch.dtype, n: int) -> None:
    x = vertices(n, dtype).requires_grad_()
    w, eps = torch.randn(3, n, n, dtype=dtype), torch.finfo(dtype).eps
    interior = BIRKHOFF.projx(x)
    assert bool((interior > 0).all())
    torch.testing.assert_close(interior, x, rtol=0, atol=2 * eps**0.75)
    for point in (x, interior):
        u = BIRKHOFF.proju(point, w)
        assert bool((BIRKHOFF.tangent_residual(point, u) <= 20 * n * eps).all())
        assert bool((BIRKHOFF.tangent_residual(point, BIRKHOFF.egrad2rgrad(point, w)) <= 20 * n * eps).all())
        y = BIRKHOFF.retr(point, u)
        assert bool((BIRKHOFF.point_residual(y) <= 16 * eps).all())
        values = (BIRKHOFF.inner(point, u, w), BIRKHOFF.transp(point, y, u), BIRKHOFF.transp(y, point, u), y)
        assert all(bool(value.isfinite().all()) for value in values)
        (gradient,) = torch.autograd.grad(torch.stack([value.square().sum() for value in values]).sum(), x)
        assert bool(gradient.isfinite().all())


def test_projection_of_nonnegative_matrices() -> None:
    torch.testing.assert_close(BIRKHOFF.projx(torch.zeros(3, 3)), torch.full((3, 3), 1 / 3))
    x, a, b = points(4, 3, 3), *(torch.rand(2, 4, 3, dtype=torch.float64) * 1e-8 + 1e-12)
    torch.testing.assert_close(BIRKHOFF.projx(a[..., None] * x * b[..., None, :]), x)
    torch.testing.assert_close(BIRKHOFF.projx(x), x)
    sign = torch.tensor([[2.0, -1.0], [-1.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(BIRKHOFF.projx(sign), torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-11)


def test_projection_is_the_nearest_in_relative_entropy() -> None:
    x = torch.rand(4, 4, dtype=torch.float64)
    y = BIRKHOFF.projx(x)

    def entropy(z: Tensor) -> Tensor:
        return (z * (z / x).log()).sum()

    for _ in range(20):
        assert entropy(BIRKHOFF.retr(y, 0.01 * tangent(y))) > entropy(y)


def test_what_is_not_a_point_or_tangent_is_refused_with_the_number() -> None:
    for bad, number in [([[2.0, -1.0], [-1.0, 2.0]], "1.4e"), ([[0.6, 0.5], [0.4, 0.5]], "1.4e-01")]:
        with pytest.raises(NotOnManifoldError, match=number):
            BIRKHOFF.assert_check_point_on_manifold(torch.tensor(bad))
    x = points(3, 3)
    with pytest.raises(NotOnManifoldError, match="tangent space"):
        BIRKHOFF.assert_check_vector_on_tangent(x, x)
    with pytest.raises(GeowarpError, match=r"\(2, 3\) is not the shape of a square matrix"):
        BIRKHOFF.random(2, 3)


def test_what_has_no_closed_form_says_what_to_use() -> None:
    x, y = points(2, 3, 3)
    for operation in (BIRKHOFF.expmap, BIRKHOFF.logmap, BIRKHOFF.dist, BIRKHOFF.dist2):
        with pytest.raises(UnavailableError, match=r"no closed form; .*(retr|proju|chord)"):
            operation(x, y)
    with pytest.raises(UnavailableError, match="no logmap"):
        BIRKHOFF.mean(torch.stack([x, y]))


def test_chord_is_the_distance_of_near_points() -> None:
    x = points(3, 3)
    u = 1e-4 * tangent(x)
    y = BIRKHOFF.retr(x, u)
    chord = 2 * (x.sqrt() - y.sqrt()).norm(dim=(-2, -1))
    torch.testing.assert_close(chord, BIRKHOFF.norm(x, u), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["RiemannianSGD", "RiemannianAdam"])
def test_optimisation_finds_the_best_permutation(name: str) -> None:
    cost = torch.tensor([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]], dtype=torch.float64)
    parameter = geowarp.ManifoldParameter(BIRKHOFF.origin(3, 3, dtype=torch.float64), manifold=BIRKHOFF)
    options = {"momentum": 0.9} if name == "RiemannianSGD" else {}
    optimizer = getattr(geowarp.optim, name)([parameter], lr=0.1, **options)
    for _ in range(300):
        optimizer.zero_grad()
        (cost * parameter).sum().backward()
        optimizer.step()
    best = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(parameter.detach().clone(), best, rtol=0, atol=1e-6)
    assert float(BIRKHOFF.point_residual(parameter.detach())) < 1e-14
