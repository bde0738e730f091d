"""The warped metric: its tensor, its chords and bounds, α = 0, learning, optimisers, and what it refuses."""

import copy
import math
import warnings
from collections.abc import Callable

import geoopt
import pytest
import torch
from torch import Tensor
from warped_cases import BASES, Base, Waves

from geowarp import ManifoldParameter
from geowarp.errors import FairnessWarning, GeowarpError, PerformanceWarning, UnavailableError
from geowarp.manifolds import ConformalWarped, Euclidean, FairnessWarped, PoincareBall, Sphere
from geowarp.nn import ChordalSquaredDistance
from geowarp.optim import RiemannianAdam, RiemannianSGD

every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())


def basis(base: Base, x: Tensor) -> Tensor:
    """Return a basis of the tangent space at one point, ``(dim, *point)``, orthonormal in the base metric."""
    vectors: list[Tensor] = []
    while len(vectors) < base.manifold.dim(base.shape):
        u = base.tangent(x)
        for _ in range(2):
            for v in vectors:
                u = u - base.manifold.inner(x, u, v, keepdim=True) * v
        vectors.append(u / base.manifold.norm(x, u, keepdim=True))
    return torch.stack(vectors)


def gram(base: Base, alpha: float | tuple[float, float], x: Tensor, vectors: Tensor) -> Tensor:
    warped = base.warped(alpha)
    axis = -len(base.shape) - 1
    products: Tensor = warped.inner(x, vectors.unsqueeze(axis), vectors)
    return products


@every_base
def test_the_metric_adds_squares_of_slopes(base: Base) -> None:
    alpha, x = (2.0, 0.5), base.points(1)[0]
    vectors = basis(base, x)
    step = 1e-6
    ahead, behind = (base.potential()(base.manifold.retr(x, s * vectors)) for s in (step, -step))
    slopes = (ahead - behind) / (2 * step)
    expected = torch.eye(len(vectors)).double() + (slopes * torch.tensor(alpha)) @ slopes.T
    metric = gram(base, alpha, x, vectors)
    torch.testing.assert_close(metric, expected, rtol=0, atol=1e-8)
    eigenvalues = torch.linalg.eigvalsh(metric)
    assert eigenvalues.min() > 1 - 1e-12
    assert int((eigenvalues > 1 + 1e-9).sum()) <= 2


@every_base
def test_gradients_are_those_of_the_dense_inverse(base: Base) -> None:
    x, warped = base.points(1)[0], base.warped((2.0, 0.5))
    vectors, covector = basis(base, x), torch.randn(base.shape, dtype=torch.float64)
    gradient = warped.egrad2rgrad(x, covector)
    pairing = (vectors * covector).flatten(1).sum(1)
    dense = torch.linalg.solve(gram(base, (2.0, 0.5), x, vectors), pairing)
    torch.testing.assert_close(gradient, torch.tensordot(dense, vectors, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(warped.inner(x, gradient, vectors), pairing, rtol=0, atol=1e-12)


@every_base
def test_without_alpha_it_is_the_base_bit_for_bit(base: Base) -> None:
    warped, plain = base.warped(0.0), base.manifold
    x = base.points(3)
    u, v, w = (base.tangent(x, 0.3) for _ in range(3))
    y = plain.retr(x, u + v)
    calls: list[tuple[str, tuple[Tensor, ...]]] = [
        *((name, (x, y)) for name in ("dist", "dist2", "cdist", "logmap")),
        *((name, (x, u)) for name in ("expmap", "retr", "egrad2rgrad", "norm", "inner", "proju")),
        ("inner", (x, u, v)),
        ("transp", (x, y, u)),
        ("mean", (x,)),
        ("christoffel", (x, u, v)),
        ("riemann", (x, u, v, w)),
    ]
    for name, arguments in calls:
        expected = getattr(plain, name)(*arguments)
        assert torch.equal(getattr(warped, name)(*arguments), expected), name
    assert all(torch.equal(part, plain.dist(x, y)) for part in warped.dist(x, y, return_bounds=True))


@every_base
def test_chords_are_a_metric_of_the_product(base: Base) -> None:
    x = base.points(1)
    x = base.manifold.retr(x, base.tangent(x.expand(6, *base.shape), 0.7))
    warped = base.warped((2.0, 0.5))
    heights = base.potential()(x) * torch.tensor([2.0, 0.5]).double().sqrt()
    base_squares = base.manifold.dist2(x.unsqueeze(1), x.unsqueeze(0))
    expected = (base_squares + (heights[:, None] - heights).square().sum(-1)).sqrt()
    table = warped.cdist(x, x, mode="chord")
    torch.testing.assert_close(table, expected, rtol=1e-10, atol=1e-7)
    pairs = warped.dist(x[:3], x[3:], mode="chord")
    torch.testing.assert_close(pairs, expected[:3, 3:].diagonal(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(warped.dist2(x[:3], x[3:], mode="chord"), pairs.square())
    assert bool((table[:, None] <= table[:, :, None] + table[None] + 1e-9).all())


def test_distances_grow_with_alpha() -> None:
    base = BASES["Poincare"]
    x, y = base.points(5), base.points(5)
    for mode in ("chord", "geodesic", "upper"):
        lengths = torch.stack([base.warped(a).dist(x, y, mode=mode) for a in (0.0, 0.5, 2.0, 8.0)])
        assert bool((lengths.diff(dim=0) > 0).all()), mode


def test_an_isometry_that_carries_the_potential_along_changes_no_distance() -> None:
    base = BASES["Sphere"]
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    potential = base.potential()
    moved = FairnessWarped(Sphere(), lambda x: potential(x @ rotation), 2.0)
    x, y = base.points(4), base.points(4)
    for mode in ("chord", "geodesic", "upper"):
        expected = base.warped().dist(x, y, mode=mode)
        torch.testing.assert_close(moved.dist(x @ rotation.T, y @ rotation.T, mode=mode), expected)


def test_an_affine_potential_is_a_mahalanobis_distance() -> None:
    a = torch.randn(2, 5, dtype=torch.float64)
    warped = FairnessWarped(Euclidean(1), lambda x: x @ a.T + 1, (3.0, 0.5))
    x, y = torch.randn(2, 4, 5, dtype=torch.float64)
    metric = torch.eye(5).double() + a.T @ torch.diag(torch.tensor([3.0, 0.5]).double()) @ a
    difference = y - x
    expected = torch.einsum("bi,ij,bj->b", difference, metric, difference).sqrt()
    distances = warped.dist(x, y, return_bounds=True)
    assert isinstance(distances, tuple)
    for distance in distances:
        torch.testing.assert_close(distance, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(warped.logmap(x, y), difference, rtol=0, atol=1e-9)


@pytest.mark.parametrize("optimizer", [RiemannianSGD, RiemannianAdam])
def test_it_trains_to_where_the_flat_one_does(optimizer: Callable[..., torch.optim.Optimizer]) -> None:
    base = BASES["Sphere"]
    warped = base.warped()
    matrix = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]).double())
    x = ManifoldParameter(base.points(3), manifold=warped)
    search = optimizer([x], lr=0.1)
    for _ in range(150):
        search.zero_grad()
        loss = (x @ matrix * x).sum()
        loss.backward()
        search.step()
    torch.testing.assert_close((x @ matrix * x).sum(-1), torch.ones(3).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(3).double())


def test_adam_measures_gradients_in_the_warped_norm() -> None:
    base = BASES["Euclidean"]
    point, gradient = base.points(1), torch.randn(1, 5, dtype=torch.float64)
    warped = base.warped(5.0)
    x = ManifoldParameter(point.clone(), manifold=warped)
    x.grad = gradient
    adam = RiemannianAdam([x], lr=0.01, betas=(0.0, 0.0))
    adam.step()
    natural = warped.egrad2rgrad(point, gradient)
    expected = point - 0.01 * natural / warped.norm(point, natural, keepdim=True)
    torch.testing.assert_close(x.detach(), expected, rtol=0, atol=1e-8)


def test_alpha_is_learned() -> None:
    base = BASES["Euclidean"]
    x, y = base.points(4), base.points(4)
    target = base.warped((3.0, 0.25)).dist(x, y, mode="chord")
    learned = FairnessWarped(base.manifold, base.potential(), (1.0, 1.0), learnable=True).double()
    search = torch.optim.Adam(learned.parameters(), lr=0.05)
    for _ in range(600):
        search.zero_grad()
        (learned.dist(x, y, mode="chord") - target).square().sum().backward()
        search.step()
    torch.testing.assert_close(learned.alpha.detach(), torch.tensor([3.0, 0.25]).double(), rtol=0.02, atol=0)


@every_base
def test_single_precision_batches_and_strides(base: Base) -> None:
    warped = base.warped()
    x, u = base.points(2, 3), base.tangent(base.points(2, 3))
    u = base.manifold.proju(x, u)
    single = (x.float(), u.float())
    for name in ("inner", "egrad2rgrad"):
        exact, rounded = getattr(warped, name)(x, u), getattr(warped, name)(*single)
        assert rounded.dtype == torch.float32
        torch.testing.assert_close(rounded.double(), exact, rtol=2e-4, atol=2e-4)
        strided = getattr(warped, name)(x.transpose(0, 1), u.transpose(0, 1)).transpose(0, 1)
        torch.testing.assert_close(strided, exact)
        assert getattr(warped, name)(x[:0], u[:0]).shape == exact[:0].shape
    assert warped.dist(x[:0], x[:0]).shape == (0, 3)
    assert warped.expmap(x[:0], u[:0]).shape == x[:0].shape


def test_a_base_of_geoopt() -> None:
    potential = Waves(3, 1)
    ours, theirs = (
        FairnessWarped(b, potential, 1.0) for b in (PoincareBall(), geoopt.PoincareBall().double())
    )
    x, y = (0.4 * torch.rand(2, 3, dtype=torch.float64) for _ in range(2))
    for mode in ("chord", "geodesic", "upper"):
        torch.testing.assert_close(theirs.dist(x, y, mode=mode), ours.dist(x, y, mode=mode))
    torch.testing.assert_close(theirs.cdist(x, y, mode="chord"), ours.cdist(x, y, mode="chord"))
    torch.testing.assert_close(theirs.egrad2rgrad(x, y), ours.egrad2rgrad(x, y))
    assert bool((theirs.point_residual(x) < 1e-12).all())


class _Placeless(geoopt.Euclidean):  # type: ignore[misc]
    def origin(self, *size: int, **options: object) -> Tensor:
        raise NotImplementedError


def test_what_the_base_has_not_is_said_of_the_base() -> None:
    warped = FairnessWarped(_Placeless(1), Waves(3, 1), 1.0)
    with pytest.raises(UnavailableError, match=r"^FairnessWarped: the base Euclidean.* has no origin"):
        warped.origin(3)


def test_equality_is_by_value() -> None:
    base = BASES["Sphere"]
    one, other = base.warped(), base.warped()
    assert one == other
    assert hash(one) == hash(copy.deepcopy(one))
    assert one != base.warped(1.0)
    assert one != FairnessWarped(base.manifold, base.potential(2.0), 2.0)
    assert one != FairnessWarped(Euclidean(1), base.potential(), 2.0)
    learned = FairnessWarped(base.manifold, base.potential(), 2.0, learnable=True)
    assert learned == learned
    assert learned != copy.deepcopy(learned)


def test_parameters_of_a_function_are_found() -> None:
    slope = torch.tensor(2.0, requires_grad=True)
    warped = FairnessWarped(Euclidean(1), lambda x: slope * x[..., :1].square(), 1.0)
    x, u = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 2.0])
    (rate,) = torch.autograd.grad(warped.inner(x, u), slope)
    assert rate.item() == pytest.approx(16.0)  # of 5 + (2 slope)²


def test_a_product_of_two_warped_components() -> None:
    base = BASES["Euclidean"]
    warped = base.warped()
    from geowarp.manifolds import ProductManifold

    product = ProductManifold((warped, 5), (Sphere(), 3))
    x, y = (product.pack_point(base.points(2), BASES["Sphere"].points(2)[:, :3]) for _ in range(2))
    x, y = product.projx(x), product.projx(y)
    parts = zip(product.unpack_tensor(x), product.unpack_tensor(y), strict=True)
    distances = [m.dist(a, b) for m, (a, b) in zip((warped, Sphere()), parts, strict=True)]
    torch.testing.assert_close(product.dist(x, y), torch.stack(distances).square().sum(0).sqrt())


class Flat(torch.nn.Module):
    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :1]


def test_alpha_is_that_of_the_potential() -> None:
    x, y = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert FairnessWarped(Euclidean(1), Flat(0.4)).dist(x, y).item() == pytest.approx(
        math.sqrt(1.4), abs=1e-15
    )
    with pytest.warns(FairnessWarning, match="alpha = 0.5, but the potential was made for 0.4"):
        FairnessWarped(Euclidean(1), Flat(0.4), 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FairnessWarped(Euclidean(1), Flat(0.4), 0.4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FairnessWarped(Sphere, Flat(1.0)), "the base is of the kind Sphere"),
        (lambda: FairnessWarped(Sphere(), 3.0), "the potential is 3.0; give a function"),  # type: ignore[arg-type]
        (lambda: FairnessWarped(Sphere(), Waves(3, 1)), "no alpha was given"),
        (lambda: FairnessWarped(Sphere(), Waves(3, 1), -1.0), "alpha = -1.0; it must be at least 0"),
        (lambda: FairnessWarped(Sphere(), Waves(3, 1), (1.0, math.inf)), "at least 0 and finite"),
        (lambda: FairnessWarped(Sphere(), Waves(3, 1), 0.0, learnable=True), "start above 0"),
        (lambda: FairnessWarped(Sphere(), Waves(3, 1), torch.ones(2, 2)), r"shape \(2, 2\)"),
        (
            lambda: FairnessWarped(Sphere(), Waves(3, 1), 1.0, segments=12),
            "segments = 12; it is a power of 2",
        ),
        (lambda: ConformalWarped(Sphere(), 3.0), "phi is 3.0; give a function"),  # type: ignore[arg-type]
    ],
)
def test_what_no_warped_manifold_is_made_of(make: Callable[[], object], message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        make()


@pytest.mark.parametrize(
    ("potential", "alpha", "message"),
    [
        (lambda x: x[..., 0], 1.0, r"maps points of shape \(4, 3\) to \(4,\); it must return \(4, K\)"),
        (lambda x: x[..., :1], (1.0, 1.0), r"to \(4, 1\); it must return \(4, 2\)"),
        (lambda x: x.double(), 1.0, "returns torch.float64 for points in torch.float32"),
        (lambda x: x.tolist(), 1.0, "returns a list, and not a tensor"),
    ],
)
def test_potentials_that_break_their_promise(
    potential: Callable[[Tensor], Tensor], alpha: float | tuple[float, ...], message: str
) -> None:
    warped = FairnessWarped(Euclidean(1), potential, alpha)
    x = torch.ones(4, 3)
    for operation in (warped.inner, warped.egrad2rgrad, warped.dist):
        with pytest.raises(GeowarpError, match=message):
            operation(x, x)


def test_a_mode_that_there_is_none_of() -> None:
    warped = BASES["Euclidean"].warped()
    with pytest.raises(GeowarpError, match="mode = 'line'; it is one of geodesic, chord, upper"):
        warped.dist(torch.zeros(5), torch.ones(5), mode="line")


def test_many_geodesics_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    base = BASES["Euclidean"]
    warped, x = base.warped(segments=4), base.points(5)
    expected = warped.cdist(x, x)
    monkeypatch.setattr("geowarp.manifolds.warped.fairness._MANY", 20)
    monkeypatch.setattr("geowarp.manifolds.warped.geodesic_solution._BLOCK", 7)
    with pytest.warns(PerformanceWarning, match='25 geodesics are searched for; .* mode="chord"'):
        table = warped.cdist(x, x)
    torch.testing.assert_close(table, expected, rtol=1e-9, atol=0)
    with pytest.raises(UnavailableError, match=r"use WarpedScore.of\(manifold\)"):
        ChordalSquaredDistance().logits(warped, x, x)


def test_second_derivatives_say_that_there_are_none() -> None:
    warped = BASES["Euclidean"].warped(segments=8)
    x, y = (BASES["Euclidean"].points(1).requires_grad_() for _ in range(2))
    for operation in (warped.dist, warped.logmap):
        (slope,) = torch.autograd.grad(operation(x, y).sum(), x, create_graph=True)
        with pytest.raises(UnavailableError, match="only once"):
            torch.autograd.grad(slope.sum(), x)
