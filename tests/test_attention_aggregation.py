"""Means of attention values: stationarity, closed forms, finite differences, isometries and empty rows."""

import pytest
import torch
from jacobians import assert_jacobian
from torch import Tensor

from geowarp import GeowarpError
from geowarp.manifolds import (
    SPSD,
    AffineInvariantSPD,
    BuresWassersteinSPD,
    Euclidean,
    Grassmann,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    Oblique,
    PoincareBall,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
)
from geowarp.manifolds.karcher_steps import karcher_steps
from geowarp.metrics import chordal_mean
from geowarp.nn.distance_attention.aggregation import (
    Aggregation,
    Centroid,
    FrechetMean,
    LinearValues,
    TangentMean,
)
from geowarp.nn.distance_attention.origin import origin_like

N, M = 3, 4
PRODUCT = ProductManifold((PoincareBall(), (2, 2)), (LogEuclideanSPD(), (2, 2)), (Euclidean(0), 1))
FLAT: list[tuple[Manifold, tuple[int, ...]]] = [
    (Euclidean(0), ()),
    (Euclidean(2), (2, 2)),
    (LogEuclideanSPD(), (3, 3)),
    (LogCholeskySPD(), (3, 3)),
    (ProductManifold((LogCholeskySPD(), (2, 2, 2)), (Euclidean(1), 2)), (10,)),
]
CURVED: list[tuple[Manifold, tuple[int, ...]]] = [
    (Sphere(), (3,)),
    (Oblique(), (3, 2)),
    (Grassmann(), (5, 2)),
    (SpecialOrthogonal(), (3, 3)),
    (PoincareBall(0.7), (3,)),
    (Lorentz(2.0), (4,)),
    (AffineInvariantSPD(), (3, 3)),
    (BuresWassersteinSPD(), (2, 2)),
    (SPSD(2), (4, 2)),
    (PRODUCT, (9,)),
]
CASES = FLAT + CURVED


def names(cases: list[tuple[Manifold, tuple[int, ...]]]) -> list[str]:
    return [f"{manifold!r}-{shape}" for manifold, shape in cases]


cases = pytest.mark.parametrize(("manifold", "shape"), CASES, ids=names(CASES))
curved = pytest.mark.parametrize(("manifold", "shape"), CURVED, ids=names(CURVED))


def values(manifold: Manifold, shape: tuple[int, ...], batch: tuple[int, ...] = (2,)) -> Tensor:
    """Return ``(*batch, M, *shape)`` points around a random one."""
    centre = manifold.random(*batch, 1, *shape, dtype=torch.float64).clone().as_subclass(Tensor)
    noise = torch.randn(*batch, M, *shape, dtype=torch.float64)
    points: Tensor = manifold.expmap(centre, 0.2 * manifold.proju(centre, noise))
    return points


def rows(*batch: int) -> Tensor:
    return torch.randn(*batch, N, M, dtype=torch.float64).softmax(-1)


def same(manifold: Manifold, x: Tensor, y: Tensor, tolerance: float = 1e-12) -> None:
    assert x.shape == y.shape
    distance = manifold.dist(x, y)
    torch.testing.assert_close(distance, torch.zeros_like(distance), atol=tolerance, rtol=0)


@cases
def test_frechet_mean_is_stationary(manifold: Manifold, shape: tuple[int, ...]) -> None:
    v, weights = values(manifold, shape), rows(2)
    mean = FrechetMean().average(manifold, v, weights)
    logarithms = manifold.logmap(mean.unsqueeze(-manifold.ndim - 1), v.unsqueeze(-manifold.ndim - 2))
    total = (weights.reshape(*weights.shape, *[1] * len(shape)) * logarithms).sum(-manifold.ndim - 1)
    assert total.shape == (2, N, *shape)
    torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-11, rtol=0)


@cases
@pytest.mark.parametrize("aggregation", [FrechetMean(), FrechetMean(8), Centroid(), TangentMean()], ids=repr)
def test_one_value_nothing_and_averages_of_vectors(
    manifold: Manifold, shape: tuple[int, ...], aggregation: Aggregation
) -> None:
    v = values(manifold, shape, ()).requires_grad_()
    weights = torch.cat([torch.eye(M)[1:3], torch.zeros(1, M), torch.full((1, M), 1 / M)]).double()
    weights.requires_grad_()
    mean = aggregation.average(manifold, v, weights)
    same(manifold, mean[:2], v[1:3], 2e-7 if isinstance(manifold, Grassmann | SPSD) else 1e-9)
    same(manifold, mean[2], origin_like(manifold, shape, v), 1e-7)
    mean.square().sum().backward()
    for gradient in (v.grad, weights.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
    vectors = aggregation.encode(manifold, v)
    if vectors is not None:
        same(manifold, aggregation.decode(manifold, weights @ vectors, shape), mean, 1e-7)


def matrix_function(x: Tensor, function: str) -> Tensor:
    values, vectors = torch.linalg.eigh(x)
    result: Tensor = vectors @ torch.diag_embed(getattr(values, function)()) @ vectors.mT
    return result


def test_closed_forms_of_the_centroid() -> None:
    weights = rows(2)
    x = values(Lorentz(2.0), (4,))
    same(
        Lorentz(2.0), Centroid().average(Lorentz(2.0), x, weights), Lorentz(2.0).centroid(x[:, None], weights)
    )
    ball = Lorentz(2.0).to_poincare(x)
    midpoint = PoincareBall(0.5).einstein_midpoint(ball[:, None], weights)
    same(PoincareBall(0.5), Centroid().average(PoincareBall(0.5), ball, weights), midpoint)
    x = values(Sphere(), (3,))
    average = weights @ x
    torch.testing.assert_close(
        Centroid().average(Sphere(), x, weights), average / average.norm(dim=-1, keepdim=True)
    )
    x = values(LogEuclideanSPD(), (3, 3))
    logarithm = torch.einsum("bnm,bmij->bnij", weights, matrix_function(x, "log"))
    expected = matrix_function(logarithm, "exp")
    torch.testing.assert_close(Centroid().average(LogEuclideanSPD(), x, weights), expected)
    torch.testing.assert_close(TangentMean().average(AffineInvariantSPD(), x, weights), expected)
    arithmetic = torch.einsum("bnm,bmij->bnij", weights, x)
    torch.testing.assert_close(Centroid().average(AffineInvariantSPD(), x, weights), arithmetic)
    x = values(SPSD(2), (5, 2))
    eigenvalues, vectors = torch.linalg.eigh(torch.einsum("bnm,bmij->bnij", weights, x @ x.mT))
    low_rank = (vectors[..., -2:] * eigenvalues[..., None, -2:]) @ vectors[..., -2:].mT
    mean = Centroid().average(SPSD(2), x, weights)
    torch.testing.assert_close(mean @ mean.mT, low_rank)
    torch.testing.assert_close(LinearValues().average(Sphere(), x[..., 0], weights), weights @ x[..., 0])


@pytest.mark.parametrize(("n", "k"), [(5, 2), (40, 1), (520, 1)])
def test_chordal_mean_of_subspaces_of_every_size(n: int, k: int) -> None:
    x, weights = values(Grassmann(), (n, k)), rows(2)
    mean = Centroid().average(Grassmann(), x, weights)
    same(Grassmann(), mean, chordal_mean(x[:, None], weights), 1e-9)
    assert (Centroid().encode(Grassmann(), x) is None) == (n > 5)
    if n > 5:
        with pytest.raises(GeowarpError, match=r"average\(manifold, v, weights\)"):
            Centroid().decode(Grassmann(), weights, (n, k))


def test_a_product_with_a_part_too_large_to_encode() -> None:
    manifold = ProductManifold((Grassmann(), (2, 30, 1)), (Lorentz(), 3))
    x, weights = values(manifold, (63,)), rows(2)
    assert Centroid().encode(manifold, x) is None
    subspaces, points = manifold.unpack_tensor(x)
    means = manifold.unpack_tensor(Centroid().average(manifold, x, weights))
    same(Lorentz(), means[1], Lorentz().centroid(points[:, None], weights))
    for copy in range(2):
        expected = chordal_mean(subspaces[:, None, :, copy], weights)
        same(Grassmann(), means[0][:, :, copy], expected, 1e-9)


DIFFERENTIATED: list[tuple[Aggregation, Manifold, tuple[int, ...]]] = [
    (FrechetMean(), LogCholeskySPD(), (2, 2)),
    (FrechetMean(), Sphere(), (3,)),
    (FrechetMean(), PoincareBall(0.7), (2,)),
    (FrechetMean(20), AffineInvariantSPD(), (2, 2)),
    (FrechetMean(20), Grassmann(), (4, 1)),
    (Centroid(), Lorentz(2.0), (3,)),
    (Centroid(), PoincareBall(0.7), (2,)),
    (Centroid(), Grassmann(), (4, 2)),
    (Centroid(), Stiefel(), (3, 2)),
    (Centroid(), SPSD(1), (3, 1)),
    (TangentMean(), SpecialOrthogonal(), (3, 3)),
    (TangentMean(), BuresWassersteinSPD(), (2, 2)),
]


@pytest.mark.parametrize(("aggregation", "manifold", "shape"), DIFFERENTIATED)
def test_gradients_in_values_and_weights(
    aggregation: Aggregation, manifold: Manifold, shape: tuple[int, ...]
) -> None:
    def function(v: Tensor, logits: Tensor) -> Tensor:
        point = manifold.projx(v)
        mean = aggregation.average(manifold, point, logits.softmax(-1))
        return mean @ mean.mT if isinstance(manifold, Grassmann | SPSD) else mean

    v = values(manifold, shape, ())[:3].requires_grad_()
    assert_jacobian(function, v, torch.randn(2, 3, dtype=torch.float64, requires_grad=True))


@curved
def test_steps_lead_to_the_mean_and_its_gradient(manifold: Manifold, shape: tuple[int, ...]) -> None:
    v, weights = values(manifold, shape).requires_grad_(), rows(2).requires_grad_()
    exact, stepped = (FrechetMean(steps).average(manifold, v, weights) for steps in (None, 16))
    same(manifold, stepped, exact, 1e-7)
    cotangent = torch.randn_like(exact)
    if isinstance(manifold, Grassmann | SPSD):
        exact, stepped = exact @ exact.mT, stepped @ stepped.mT
        cotangent = torch.randn_like(exact)
    for one, other in zip(
        torch.autograd.grad(exact, (v, weights), cotangent),
        torch.autograd.grad(stepped, (v, weights), cotangent),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_steps_do_not_overshoot_between_points_far_apart() -> None:
    directions = torch.nn.functional.normalize(torch.randn(1, 7, 3, dtype=torch.float64), dim=-1)
    ball = PoincareBall()
    far = ball.expmap0(3 * directions)
    same(
        ball, FrechetMean(60).average(ball, far, rows(1).new_ones(1, 1, 7) / 7), ball.mean(far)[:, None], 1e-8
    )
    spread = torch.diag_embed((4 * torch.randn(6, 3, dtype=torch.float64)).exp())
    rotation = SpecialOrthogonal().random(6, 3, 3, dtype=torch.float64).as_subclass(Tensor)
    spd, matrices = AffineInvariantSPD(), rotation @ spread @ rotation.mT
    expected = spd.mean(matrices)
    same(spd, karcher_steps(spd, matrices, torch.full((6,), 1 / 6, dtype=torch.float64), 80), expected, 1e-7)


@pytest.mark.parametrize("aggregation", [FrechetMean(), FrechetMean(12), Centroid()], ids=repr)
def test_isometries_move_the_mean_along(aggregation: Aggregation) -> None:
    weights = rows(2)
    ball, a = PoincareBall(0.7), torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64)
    v = values(ball, (3,))
    moved = aggregation.average(ball, ball.mobius_add(a, v), weights)
    same(ball, moved, ball.mobius_add(a, aggregation.average(ball, v, weights)), 1e-9)
    turn = SpecialOrthogonal().random(5, 5, dtype=torch.float64).as_subclass(Tensor)
    v = values(Grassmann(), (5, 2))
    moved = aggregation.average(Grassmann(), turn @ v, weights)
    same(Grassmann(), moved, turn @ aggregation.average(Grassmann(), v, weights), 1e-9)
    v = values(AffineInvariantSPD(), (3, 3))
    general = torch.randn(3, 3, dtype=torch.float64)
    moved = aggregation.average(AffineInvariantSPD(), general @ v @ general.mT, weights)
    expected = general @ aggregation.average(AffineInvariantSPD(), v, weights) @ general.mT
    same(AffineInvariantSPD(), moved, expected, 1e-8)


@pytest.mark.parametrize("aggregation", [FrechetMean(), FrechetMean(2), Centroid(), TangentMean()], ids=repr)
@cases
def test_no_values_no_queries_and_no_batch(
    aggregation: Aggregation, manifold: Manifold, shape: tuple[int, ...]
) -> None:
    v, weights = values(manifold, shape).requires_grad_(), rows(2).requires_grad_()
    nothing = aggregation.average(manifold, v[:, :0], weights[..., :0])
    same(manifold, nothing, origin_like(manifold, shape, v).expand(2, N, *shape), 1e-7)
    no_query = aggregation.average(manifold, v, weights[:, :0])
    assert no_query.shape == (2, 0, *shape)
    no_batch = aggregation.average(manifold, v[:0], weights[:0])
    assert no_batch.shape == (0, N, *shape)
    for result in (
        nothing,
        no_query,
        no_batch,
    ):  # other processes may have something: parameters all take part
        for gradient in torch.autograd.grad(result.sum(), (v, weights)):
            assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    for manifold, shape in ((Lorentz(), (4,)), (Grassmann(), (5, 2)), (AffineInvariantSPD(), (2, 2))):
        v, weights = values(manifold, shape), rows(2)
        for aggregation in (FrechetMean(), FrechetMean(2), Centroid(), TangentMean()):
            exact = aggregation.average(manifold, v, weights)
            mean = aggregation.average(manifold, v.to(dtype), weights.to(dtype))
            assert mean.dtype == dtype
            if isinstance(manifold, Grassmann):
                exact, mean = exact @ exact.mT, mean @ mean.mT
            tolerance = 50 * torch.finfo(dtype).eps
            torch.testing.assert_close(mean.double(), exact, atol=tolerance, rtol=tolerance)


def test_a_learned_curvature_has_a_gradient() -> None:
    for aggregation in (FrechetMean(), FrechetMean(2), Centroid(), TangentMean()):
        ball = PoincareBall(0.7, learnable=True).double()
        weights = torch.cat([rows(), torch.zeros(1, M, dtype=torch.float64)])
        aggregation.average(ball, values(PoincareBall(0.7), (3,), ()), weights).sum().backward()
        (parameter,) = ball.parameters()
        assert parameter.grad is not None
        assert parameter.grad.abs() > 0


def test_centroid_by_weights_far_from_the_origin() -> None:
    lorentz = Lorentz()
    centre = lorentz.expmap0(torch.tensor([0.0, 8.0, 0.0]))
    x = lorentz.expmap(centre, lorentz.proju(centre, torch.randn(M, 3)))
    weights = rows().float()
    exact = lorentz.centroid(x[None].double(), weights.double())
    same(lorentz, Centroid().average(lorentz, x, weights).double(), exact, 1e-5)  # averages in float32: 0.2


def test_negative_number_of_steps() -> None:
    with pytest.raises(GeowarpError, match="steps = -1"):
        FrechetMean(-1)
