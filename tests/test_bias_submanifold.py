"""Nearest points of principal geodesics and of zero sets, against closed forms."""

import numpy as np
import pytest
import torch
from fairness_cases import SPACES, points
from torch import Tensor

from geowarp.errors import GeowarpError, NotOnManifoldError, NumericalWarning
from geowarp.manifolds import Euclidean, PoincareBall, Sphere
from geowarp.nn import BiasSubmanifold, ParityPotential, PrincipalGeodesics, ZeroSet


def _ball(count: int) -> Tensor:
    """Return points of the 5-dimensional ball, up to 3.7 from the origin."""
    x = torch.randn(count, 5, dtype=torch.float64)
    points: Tensor = 0.95 * torch.rand(count, 1, dtype=x.dtype) * x / x.norm(dim=-1, keepdim=True)
    return points


def test_pairs_in_flat_space_are_the_analysis_of_centred_pairs() -> None:
    pairs = torch.randn(7, 2, 5, dtype=torch.float64)
    plane = BiasSubmanifold.from_pairs(pairs, Euclidean(1), components=2)
    centred = (pairs - pairs.mean(1, keepdim=True)).flatten(0, 1).numpy()
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(plane.variances.numpy(), values[:2] ** 2 / 14)
    np.testing.assert_allclose(plane.explained.numpy(), values[:2] ** 2 / (values**2).sum())
    x, mean = torch.randn(2, 3, 5, dtype=torch.float64), pairs.numpy().mean((0, 1))
    expected = mean + (x.numpy() - mean) @ rows[:2].T @ rows[:2]
    np.testing.assert_allclose(plane.project(x).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(
        plane.distance(x).numpy(), np.linalg.norm(x.numpy() - expected, axis=-1), atol=1e-12
    )


def test_distance_to_a_hyperbolic_geodesic() -> None:
    ball, x = PoincareBall(), _ball(40)
    pair = 0.5 * _ball(2)
    line = BiasSubmanifold.from_pairs(pair[None], ball)
    moved = ball.mobius_add(-line.mean, x)  # the geodesic is now a diameter
    space = 2 * moved / (1 - moved.square().sum(-1, keepdim=True))  # of the hyperboloid
    unit = line.components[0] / line.components[0].norm()
    expected = (space - (space @ unit)[:, None] * unit).norm(dim=-1).asinh()
    torch.testing.assert_close(line.distance(x), expected)
    torch.testing.assert_close(line.distance(pair), torch.zeros(2, dtype=x.dtype), atol=1e-7, rtol=0)


def test_zero_set_of_two_means_is_a_hyperplane() -> None:
    groups = [torch.randn(3, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)]
    plane = BiasSubmanifold.zero_set(ParityPotential(groups, Euclidean(1), 0.3))
    first, second = (part.numpy() for part in groups)
    normal = 2 * (second.mean(0) - first.mean(0))
    offset = (first**2).sum(-1).mean() - (second**2).sum(-1).mean()
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    expected = np.abs(x.numpy() @ normal + offset) / np.linalg.norm(normal)
    np.testing.assert_allclose(plane.distance(x).numpy(), expected, atol=1e-12)


def test_zero_set_of_two_points_is_a_hyperbolic_hyperplane() -> None:
    ball, x, pair = PoincareBall(), _ball(60), 0.5 * _ball(2)
    bisector = BiasSubmanifold.zero_set(ParityPotential(list(pair[:, None]), ball, 0.3))
    middle = ball.geodesic(0.5, pair[0], pair[1])
    expected = ball.dist2plane(x, middle, ball.logmap(middle, pair[1]))
    found = bisector.solve_projection(x)
    assert found.converged.all()
    torch.testing.assert_close(ball.dist(x, found.point), expected)


@pytest.mark.parametrize("name", ["Lorentz", "AffineInvariantSPD"])
def test_no_point_of_a_zero_set_is_nearer(name: str) -> None:
    space, _ = SPACES[name]
    potential = ParityPotential([points(name, 2), points(name, 3), points(name, 2)], space, 0.3)
    zero_set, x = ZeroSet(potential), points(name, 4)
    found = zero_set.solve_projection(x)
    assert found.converged.all()
    assert potential.parity(found.point).abs().max() < 1e-12
    steps = 0.05 * space.proju(found.point, torch.randn(4, *x.shape, dtype=x.dtype))
    if name == "AffineInvariantSPD":
        steps = steps + steps.mT
    others = zero_set.project(space.retr(found.point, steps))
    assert (space.dist(x, others) >= space.dist(x, found.point)).all()


def test_gradient_of_the_distance() -> None:
    space, x = PoincareBall(), _ball(3)
    line = BiasSubmanifold.from_groups([_ball(3), _ball(2)], space)
    zero_set = BiasSubmanifold.zero_set(ParityPotential([_ball(3), _ball(2)], space, 0.3))
    for submanifold in (line, zero_set):
        assert torch.autograd.gradcheck(submanifold.distance, x.requires_grad_(), fast_mode=True)


def test_groups_span_what_their_means_differ_along() -> None:
    groups = [torch.randn(n, 6, dtype=torch.float64) for n in (3, 5, 2)]
    plane = BiasSubmanifold.from_groups(groups, Euclidean(1))
    means = torch.stack([group.mean(0) for group in groups])
    torch.testing.assert_close(plane.project(means), means)
    torch.testing.assert_close(plane.explained.sum(), torch.ones((), dtype=means.dtype))


def test_a_circle_on_the_sphere_and_single_precision() -> None:
    groups = [torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])]
    equator = BiasSubmanifold.from_groups(groups, Sphere())
    latitude = torch.tensor([-0.9, 0.0, 0.4])
    x = torch.stack([latitude.cos() * 0.6, latitude.cos() * 0.8, latitude.sin()], -1)
    torch.testing.assert_close(equator.distance(x), latitude.abs(), atol=1e-6, rtol=1e-5)
    height = ZeroSet(lambda y: y[..., 2:], Sphere())
    torch.testing.assert_close(height.distance(x), latitude.abs(), atol=1e-6, rtol=1e-5)
    for submanifold in (equator, height):
        with torch.inference_mode():
            torch.testing.assert_close(submanifold.distance(x), latitude.abs(), atol=1e-6, rtol=1e-5)
        assert submanifold.project(x[:0]).shape == (0, 3)
        assert submanifold.distance(x[0]).shape == ()


def test_refusals() -> None:
    pairs = torch.randn(3, 2, 4)
    with pytest.raises(GeowarpError, match=r"\(P, 2, \*point\)"):
        BiasSubmanifold.from_pairs(pairs[:, 0], Euclidean(1))
    with pytest.raises(GeowarpError, match="3 groups have from 1 to 2"):
        BiasSubmanifold.from_groups(list(pairs), Euclidean(1), components=3)
    with pytest.raises(GeowarpError, match="n_components is 4"):
        BiasSubmanifold.from_pairs(pairs, Euclidean(1), components=4)
    with pytest.raises(GeowarpError, match="no base"):
        BiasSubmanifold.zero_set(torch.sin)
    with pytest.raises(NotOnManifoldError, match="x is not on the manifold"):
        PrincipalGeodesics(
            Sphere(), torch.eye(3)[0], torch.eye(3)[1:2], torch.ones(1), torch.ones(1)
        ).project(torch.ones(3))
    with pytest.warns(NumericalWarning, match="2 of 2 projections did not converge"):
        ZeroSet(lambda x: 1 + x[..., :1] ** 2, Euclidean(1)).project(torch.randn(2, 3))


def test_no_zero_is_not_taken_for_one() -> None:
    x = torch.randn(3, 2, dtype=torch.float64)
    one = BiasSubmanifold.zero_set(lambda y: 0 * y[..., :1] + 1, Euclidean(1))
    with pytest.warns(NumericalWarning, match="3 of 3 projections did not converge"):
        one.project(x)
    with pytest.raises(GeowarpError, match="shape"):
        BiasSubmanifold.zero_set(lambda y: y[..., 0], Euclidean(1)).project(x)


def test_points_of_other_precisions() -> None:
    pairs, x = torch.randn(4, 2, 3), torch.randn(5, 3)
    line = BiasSubmanifold.from_pairs(pairs, Euclidean(1))
    plane = BiasSubmanifold.zero_set(ParityPotential(list(pairs.unbind(1)), Euclidean(1), 0.3))
    for found in (line, plane):
        half = found.distance(x.bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), found.distance(x), atol=0.1, rtol=0.05)
    own = BiasSubmanifold.from_pairs(pairs.half(), Euclidean(1)).distance(x)
    torch.testing.assert_close(own, line.distance(x), atol=1e-2, rtol=1e-2)
    with pytest.raises(GeowarpError, match=r"those of the components are .* torch\.float32"):
        line.distance(x.double())
