"""Christoffel symbols against geodesics, curvature against distances, and both against known constants."""

from collections.abc import Callable

import geoopt
import pytest
import torch
from jacobians import assert_jacobian
from torch import Tensor

from geowarp.errors import UnavailableError
from geowarp.manifolds import (
    SPSD,
    AffineInvariantSPD,
    AlphaMetric,
    BirkhoffPolytope,
    BuresWassersteinSPD,
    CanonicalMetric,
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

PRODUCT = ProductManifold((Sphere(), (2, 3)), (PoincareBall(0.5), 2), (Stiefel(), (3, 2)))
CASES: list[tuple[Manifold, tuple[int, ...]]] = [
    (Euclidean(1), (3,)),
    (Sphere(), (4,)),
    (Oblique(), (3, 2)),
    (PoincareBall(0.7), (3,)),
    (Lorentz(2.0), (4,)),
    (AffineInvariantSPD(), (3, 3)),
    (BuresWassersteinSPD(), (3, 3)),
    (LogCholeskySPD(), (3, 3)),
    (LogEuclideanSPD(), (3, 3)),
    (Grassmann(), (5, 2)),
    (SpecialOrthogonal(), (4, 4)),
    (Stiefel(), (5, 2)),
    (Stiefel(CanonicalMetric()), (5, 2)),
    (Stiefel(AlphaMetric(0.4)), (5, 3)),
    (PRODUCT, (14,)),
]
every_manifold = pytest.mark.parametrize(("manifold", "shape"), CASES, ids=[repr(m) for m, _ in CASES])


def sample(manifold: Manifold, shape: tuple[int, ...], count: int, batch: int = 3) -> list[Tensor]:
    """Return points, and as many tangent vectors of norm 1 as asked for."""
    x = manifold.random(batch, *shape, dtype=torch.float64).detach().as_subclass(Tensor)
    vectors = [manifold.proju(x, torch.randn_like(x)) for _ in range(count)]
    return [x, *(v / manifold.norm(x, v, keepdim=True) for v in vectors)]


def extrapolated(function: Callable[[float], Tensor], step: float) -> Tensor:
    """Return the limit at 0 of an even function, to order 6."""
    wide, middle, fine = (function(step / divisor) for divisor in (1, 2, 4))
    first, second = (4 * middle - wide) / 3, (4 * fine - middle) / 3
    return (16 * second - first) / 15


def acceleration(manifold: Manifold, x: Tensor, u: Tensor) -> Tensor:
    def difference(h: float) -> Tensor:
        ends: Tensor = manifold.expmap(x, h * u) + manifold.expmap(x, -h * u)
        return (ends - 2 * x) / h**2

    return extrapolated(difference, 0.05)


@every_manifold
def test_geodesics_accelerate_by_christoffel(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x, u, v = sample(manifold, shape, 2)
    polarised = (acceleration(manifold, x, u + v) - acceleration(manifold, x, u - v)) / 4
    torch.testing.assert_close(manifold.christoffel(x, u, v), -polarised, atol=2e-8, rtol=1e-7)
    torch.testing.assert_close(manifold.christoffel(x, u, v), manifold.christoffel(x, v, u))


@every_manifold
def test_distances_bend_by_the_curvature(manifold: Manifold, shape: tuple[int, ...]) -> None:
    """``d(exp tu, exp tv)² = t² ‖u − v‖² − t⁴/3 ⟨R(u, v)v, u⟩ + O(t⁵)``."""
    x, u, v = sample(manifold, shape, 2)
    flat: Tensor = manifold.inner(x, u - v)

    def bend(t: float) -> Tensor:
        both = [manifold.dist2(manifold.expmap(x, s * u), manifold.expmap(x, s * v)) for s in (t, -t)]
        return 3 * (flat - (both[0] + both[1]) / (2 * t**2)) / t**2

    expected = extrapolated(bend, 0.2)
    actual = manifold.inner(x, manifold.riemann(x, u, v, v), u)
    torch.testing.assert_close(actual, expected, atol=2e-7, rtol=1e-6)
    size = 1 - manifold.inner(x, u, v).square()
    torch.testing.assert_close(manifold.sectional_curvature(x, u + 2 * v, 3 * v), actual / size)


@every_manifold
def test_curvature_is_an_algebraic_curvature_tensor(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x, u, v, w, z = sample(manifold, shape, 4)
    curvature = manifold.riemann
    zero = torch.zeros_like(x)
    assert manifold.tangent_residual(x, curvature(x, u, v, w)).max() < 1e-12

    def close(a: Tensor, b: Tensor) -> None:
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)

    close(curvature(x, u, v, w) + curvature(x, v, u, w), zero)
    close(curvature(x, u, v, w) + curvature(x, v, w, u) + curvature(x, w, u, v), zero)
    close(manifold.inner(x, curvature(x, u, v, w), z), manifold.inner(x, curvature(x, w, z, u), v))
    close(manifold.inner(x, curvature(x, u, v, w), z), -manifold.inner(x, curvature(x, u, v, z), w))


@every_manifold
def test_batches_broadcast_and_may_be_empty(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x, u, v, w = sample(manifold, shape, 3)
    operations: list[tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = [
        (manifold.christoffel, (u, v)),
        (manifold.riemann, (u, v, w)),
    ]
    for operation, arguments in operations:
        table = operation(x[:, None], *(a[:, None] for a in arguments[:-1]), arguments[-1])
        assert table.shape == (3, 3, *shape)
        assert table.is_contiguous()
        torch.testing.assert_close(table[[0, 1, 2], [0, 1, 2]], operation(x, *arguments))
        fixed = operation(x[:1].expand_as(x), *(a[0] for a in arguments))
        torch.testing.assert_close(fixed[2], operation(x[0], *(a[0] for a in arguments)))
        assert operation(x[:0], *(a[:0] for a in arguments)).shape == (0, *shape)
        single = operation(x.float(), *(a.float() for a in arguments))
        torch.testing.assert_close(single, operation(x, *arguments).float(), atol=1e-4, rtol=1e-4)
    assert manifold.sectional_curvature(x[:, None], u, v).shape == (3, 3)


CONSTANT = [
    (Euclidean(2), (2, 2), 0.0),
    (Sphere(), (3,), 1.0),
    (PoincareBall(0.7), (4,), -0.7),
    (Lorentz(4.0), (3,), -0.25),
    (SpecialOrthogonal(), (3, 3), 0.125),
    (Grassmann(), (4, 1), 1.0),
    (LogCholeskySPD(), (3, 3), 0.0),
    (LogEuclideanSPD(), (3, 3), 0.0),
    (Stiefel(CanonicalMetric()), (4, 1), 1.0),
]


@pytest.mark.parametrize(("manifold", "shape", "constant"), CONSTANT, ids=[repr(m) for m, *_ in CONSTANT])
def test_spaces_of_constant_curvature(manifold: Manifold, shape: tuple[int, ...], constant: float) -> None:
    x, u, v = sample(manifold, shape, 2)
    torch.testing.assert_close(manifold.sectional_curvature(x, u, v), torch.full((3,), constant).double())


@pytest.mark.parametrize(
    ("manifold", "x", "u", "v", "extreme"),
    [
        (
            Grassmann(),
            torch.eye(4, 2),
            [[0, 0], [0, 0], [1, 0], [0, 1]],
            [[0, 0], [0, 0], [0, -1], [1, 0]],
            2,
        ),
        (
            Stiefel(CanonicalMetric()),
            torch.eye(3, 2),
            [[0, 1], [-1, 0], [0, 0]],
            [[0, 0], [0, 0], [1, 0]],
            0.25,
        ),
        (Oblique(), torch.eye(2), [[0, 0], [1, 0]], [[0, 1], [0, 0]], 0),
        (AffineInvariantSPD(), torch.eye(2), [[1, 0], [0, -1]], [[0, 1], [1, 0]], -0.5),
        (BuresWassersteinSPD(), torch.eye(2), [[1, 0], [0, -1]], [[0, 1], [1, 0]], 1.5),
    ],
    ids=["Grassmann", "Stiefel", "Oblique", "AffineInvariantSPD", "BuresWassersteinSPD"],
)
def test_planes_of_known_curvature(
    manifold: Manifold, x: Tensor, u: list[list[int]], v: list[list[int]], extreme: float
) -> None:
    curvature = manifold.sectional_curvature(x, torch.tensor(u).float(), torch.tensor(v).float())
    torch.testing.assert_close(curvature, torch.tensor(float(extreme)))


def test_parallel_vectors_span_no_plane() -> None:
    x, u = sample(Sphere(), (4,), 1)
    assert Sphere().sectional_curvature(x, u, 3 * u).isnan().all()
    near = Sphere().sectional_curvature(x, u, u + 1e-6 * Sphere().proju(x, torch.ones_like(x)))
    torch.testing.assert_close(near, torch.ones_like(near), atol=1e-8, rtol=0)


def test_symbols_at_repeated_eigenvalues_and_their_gradients() -> None:
    """At the identity that of the log-Euclidean metric is ``−½ (u v + v u)``, the derivative of exp at 0."""
    _, u, v = sample(LogEuclideanSPD(), (3, 3), 2)
    identity = torch.eye(3, dtype=torch.float64).expand_as(u)
    expected = -0.5 * (u @ v + v @ u)
    torch.testing.assert_close(LogEuclideanSPD().christoffel(identity, u, v), expected)
    x = (identity + torch.diag(torch.tensor([0.0, 0.0, 1.0])))[0]

    def symbols(a: Tensor, b: Tensor) -> Tensor:
        a, b = (part + part.mT for part in (a, b))
        return LogEuclideanSPD().christoffel(x, a, b)

    assert_jacobian(symbols, u[0].requires_grad_(), v[0].requires_grad_())
    point = x.clone().requires_grad_()
    with pytest.raises(UnavailableError, match="no derivative in its matrix"):
        LogEuclideanSPD().christoffel(point, u[0], v[0]).sum().backward()


@pytest.mark.parametrize(
    "manifold", [Sphere(), PoincareBall(), Lorentz(), Stiefel(AlphaMetric(0.4))], ids=repr
)
def test_half_precision_is_computed_in_single(manifold: Manifold) -> None:
    x, u, v = sample(manifold, (4, 2) if manifold.ndim == 2 else (4,), 2)
    halves = [part.to(torch.bfloat16) for part in (x, u, v)]
    symbols = manifold.christoffel(*halves)
    assert symbols.dtype == torch.bfloat16
    torch.testing.assert_close(symbols, manifold.christoffel(*(h.float() for h in halves)).bfloat16())


def test_what_has_no_formula_says_so() -> None:
    points = SPSD(1).random(3, 1), BirkhoffPolytope().random(3, 3)
    for manifold, x in zip((SPSD(1), BirkhoffPolytope()), points, strict=True):
        with pytest.raises(UnavailableError, match="has no christoffel"):
            manifold.christoffel(x, x, x)
    with pytest.raises(UnavailableError, match="has no riemann"):
        SPSD(1).riemann(*[points[0]] * 4)
    product = ProductManifold((geoopt.Sphere(), 3), (Sphere(), 3))
    with pytest.raises(UnavailableError, match=r"component 0, .*Sphere"):
        product.riemann(*[torch.ones(6)] * 4)


def test_curvature_of_hyperbolic_space_is_exact_far_from_the_origin() -> None:
    """In float32, at a distance of 12, where Minkowski products would lose all digits."""
    lorentz = Lorentz()
    x = lorentz.projx(torch.tensor([0.0, 5e4, 6e4]))
    u, v = lorentz.proju(x, torch.tensor([[0.0, 3e4, 1e4], [0.0, 1.0, -2.0]]))
    assert lorentz.sectional_curvature(x, u, v).item() == pytest.approx(-1, rel=1e-4)
    ball, y = PoincareBall(), lorentz.to_poincare(x)
    assert ball.sectional_curvature(y, *torch.eye(2)).item() == pytest.approx(-1, rel=1e-5)
    torch.testing.assert_close(lorentz.christoffel(x, v, v), -lorentz.inner(x, v) * x)
