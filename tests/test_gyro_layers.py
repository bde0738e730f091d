"""Homomorphisms, biases, powers and attention of gyrovector spaces."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest
import torch
from gyro_cases import same_points
from torch import Tensor

from geowarp.errors import GeowarpError, UnavailableError
from geowarp.manifolds import (
    SPSD,
    AffineInvariantSPD,
    BuresWassersteinSPD,
    Euclidean,
    Grassmann,
    GyrovectorSpace,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    PoincareBall,
    Sphere,
)
from geowarp.manifolds.parameter import ManifoldParameter
from geowarp.manifolds.spd.flat import FlatSPD
from geowarp.nn.gyro import (
    BlockRotation,
    FactorHomomorphisms,
    GyroBias,
    GyroHomomorphism,
    HomomorphismFamily,
    LinearCoordinates,
    LogarithmCongruence,
    OrthogonalCongruence,
    OrthogonalMap,
    PowerActivation,
)
from geowarp.optim import RiemannianAdam, param_groups

Shape = tuple[int, ...]
Module = TypeVar("Module", bound=torch.nn.Module)


def exact(module: Module) -> Module:
    """Return the module in float64, its parameters on their manifolds to that accuracy."""
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            if isinstance(parameter, ManifoldParameter):
                parameter.copy_(parameter.manifold.projx(parameter))
    return module


@dataclass(frozen=True)
class Layer:
    """A space, the shapes of points and results, a family of homomorphisms, and whether it is isometric."""

    make: Callable[[], GyrovectorSpace]
    shape: Shape
    out: Shape
    isometry: bool
    family: HomomorphismFamily | None = None

    @property
    def name(self) -> str:
        return f"{self.make()!r}-{self.out}-{self.family!r}"

    def hom(self, heads: int | None = None) -> GyroHomomorphism:
        return exact(GyroHomomorphism(self.make(), self.shape, self.out, heads=heads, family=self.family))

    def points(self, *batch: int) -> Tensor:
        space = self.make()
        points = space.random(*batch, *self.shape, dtype=torch.float64).detach().as_subclass(Tensor)
        return space.gyro_scale(0.3, points)


LAYERS = [
    Layer(AffineInvariantSPD, (3, 3), (3, 3), True),
    Layer(LogEuclideanSPD, (3, 3), (3, 3), True, OrthogonalCongruence()),
    Layer(LogEuclideanSPD, (3, 3), (2, 2), False),
    Layer(LogEuclideanSPD, (3, 3), (2, 2), False, LinearCoordinates()),
    Layer(LogCholeskySPD, (3, 3), (4, 4), False),
    Layer(LogCholeskySPD, (3, 3), (3, 3), False, LinearCoordinates()),
    Layer(Grassmann, (5, 2), (5, 2), True),
    Layer(Grassmann, (4, 2), (6, 2), True),
    Layer(lambda: SPSD(2), (5, 2), (5, 2), True),
    Layer(lambda: SPSD(2, spd=LogCholeskySPD()), (4, 2), (5, 2), False),
    Layer(
        lambda: SPSD(2, spd=LogEuclideanSPD()),
        (2, 2),
        (2, 2),
        True,
        FactorHomomorphisms(OrthogonalCongruence()),
    ),
    Layer(lambda: PoincareBall(0.7), (3,), (3,), True),
    Layer(lambda: Lorentz(2.0), (4,), (6,), True),
    Layer(lambda: Euclidean(2), (2, 3), (2, 2), False),
]
each = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)


def assert_same(space: GyrovectorSpace, x: Tensor, y: Tensor, tolerance: float = 1e-10) -> None:
    x, y = same_points(space, x), same_points(space, y)
    torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


@each
def test_homomorphisms(layer: Layer) -> None:
    space, hom, (p, q) = layer.make(), layer.hom(), (layer.points(5) for _ in range(2))
    for parameter in hom.parameters():
        if parameter.ndim and not hasattr(parameter, "manifold"):
            torch.nn.init.normal_(parameter, std=0.5)
    image = hom(space.gyro_add(p, q))
    assert image.shape == (5, *layer.out)
    assert_same(space, image, space.gyro_add(hom(p), hom(q)))
    t = torch.linspace(-1, 1.5, 5, dtype=torch.float64)
    assert_same(space, hom(space.gyro_scale(t, p)), space.gyro_scale(t, hom(p)))
    assert hom.isometry == layer.isometry
    same = torch.allclose(space.dist(hom(p), hom(q)), space.dist(p, q), rtol=1e-10, atol=0)
    assert same == layer.isometry
    assert space.check_point_on_manifold(image)
    if isinstance(space, FlatSPD):
        coordinates = hom.of_coordinates(space.coordinates(p))
        torch.testing.assert_close(coordinates, space.coordinates(hom(p)), atol=1e-9, rtol=1e-9)


@each
def test_heads_are_maps_side_by_side(layer: Layer) -> None:
    space, many, one = layer.make(), layer.hom(heads=3), layer.hom()
    x = layer.points(2, 1, 4)
    images = many(x)
    assert images.shape == (2, 3, 4, *layer.out)
    assert_same(space, many(x.expand(2, 3, 4, *layer.shape)), images)
    for head in range(3):
        one.load_state_dict({name: weight[head] for name, weight in many.state_dict().items()})
        assert_same(space, images[:, head], one(x[:, 0]))
    assert many(x[:0]).shape == (0, 3, 4, *layer.out)
    assert many.float()(x.float()).dtype == torch.float32


def test_other_matrices_are_no_homomorphisms() -> None:
    """The identities fail for a general congruence on the affine-invariant metric: they can fail."""
    space = AffineInvariantSPD()
    p, q = (space.random(3, 3, dtype=torch.float64).detach() for _ in range(2))
    matrix = torch.randn(3, 3, dtype=torch.float64)
    left = matrix @ space.gyro_add(p, q) @ matrix.mT
    right = space.gyro_add(matrix @ p @ matrix.mT, matrix @ q @ matrix.mT)
    assert (left - right).norm() > 0.1 * right.norm()
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    x, y = (Grassmann().random(5, 2, dtype=torch.float64).detach() for _ in range(2))
    subspaces = Grassmann()
    assert (
        subspaces.dist(rotation @ subspaces.gyro_add(x, y), subspaces.gyro_add(rotation @ x, rotation @ y))
        > 0.1
    )


@each
def test_bias_and_power(layer: Layer) -> None:
    space, x = layer.make(), layer.points(4)
    bias = GyroBias(space, layer.shape).double()
    assert_same(space, bias(x), x)
    point = layer.points()
    with torch.no_grad():
        bias.point.copy_(point)
    assert_same(space, bias(x), space.gyro_add(point, x))
    torch.testing.assert_close(space.dist(bias(x), bias(x.flip(0))), space.dist(x, x.flip(0)))
    identity = space.identity_element(*layer.shape, dtype=torch.float64)
    assert_same(space, PowerActivation(space, 0.3)(x), space.geodesic(0.3, identity, x))
    learned = PowerActivation(space, 0.5, learnable=True)
    learned(x).square().sum().backward()
    (power,) = learned.parameters()
    assert power.grad is not None
    assert bool(power.grad.isfinite())


def test_powers_of_matrices() -> None:
    x = LogEuclideanSPD().random(4, 3, 3, dtype=torch.float64).detach()
    for space in (LogEuclideanSPD(), AffineInvariantSPD()):
        torch.testing.assert_close(PowerActivation(space, 2.0)(x), x @ x)
        torch.testing.assert_close(PowerActivation(space, -1.0)(x), torch.linalg.inv(x))
    assert PowerActivation(AffineInvariantSPD(), 0.5, learnable=True)(x.half()).dtype == torch.half


@each
def test_training_reaches_every_weight(layer: Layer) -> None:
    space = layer.make()
    net = torch.nn.Sequential(layer.hom(2), GyroBias(space, layer.out).double())
    optimizer = RiemannianAdam(param_groups(net), lr=0.1)
    x = layer.points(1, 6)
    target = space.random(2, 6, *layer.out, dtype=torch.float64).detach().as_subclass(Tensor)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = space.dist2(net(x), target).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        if parameter.shape[-2:] != (1, 1):  # an orthogonal matrix of one entry cannot move
            assert not torch.equal(before[name], parameter), name
        if hasattr(parameter, "manifold"):
            parameter.manifold.assert_check_point_on_manifold(parameter.detach())


def test_errors_of_layers() -> None:
    for make in (GyroHomomorphism, GyroBias):
        with pytest.raises(
            UnavailableError, match=r"BuresWassersteinSPD.* has no gyrovector operations.*Affine"
        ):
            make(BuresWassersteinSPD(), (3, 3))
        with pytest.raises(GeowarpError, match="not square"):
            make(LogEuclideanSPD(), (3, 2))
        with pytest.raises(GeowarpError, match=r"\(4, 2, 2\) and must be \(..., 3, 3\)"):
            make(LogEuclideanSPD(), (3, 3))(torch.eye(2).expand(4, 2, 2))
    with pytest.raises(UnavailableError, match="Sphere"):
        PowerActivation(Sphere(), 0.5)
    with pytest.raises(GeowarpError, match="finite"):
        PowerActivation(Euclidean(1), float("nan"))
    with pytest.raises(UnavailableError, match="no homomorphisms"):
        GyroHomomorphism(SPSD(1, spd=BuresWassersteinSPD()), (3, 1))
    with pytest.raises(GeowarpError, match="heads = 0"):
        GyroHomomorphism(PoincareBall(), (3,), heads=0)
    with pytest.raises(GeowarpError, match=r"must be .*2 or 1, N, 3"):
        GyroHomomorphism(PoincareBall(), (3,), heads=2)(torch.zeros(3, 4, 3))
    with pytest.raises(GeowarpError, match="homomorphisms of LogEuclideanSPD, LogCholeskySPD, not of Affine"):
        GyroHomomorphism(AffineInvariantSPD(), (3, 3), family=LogarithmCongruence())
    with pytest.raises(GeowarpError, match=r"homomorphisms of AffineInvariantSPD, .* not of LogCholesky"):
        GyroHomomorphism(
            SPSD(1, spd=LogCholeskySPD()), (3, 1), family=FactorHomomorphisms(OrthogonalCongruence())
        )
    with pytest.raises(GeowarpError, match=r"LinearCoordinates.* is no HomomorphismFamily; give a value"):
        GyroHomomorphism(LogEuclideanSPD(), (3, 3), family=LinearCoordinates)  # type: ignore[arg-type]
    with pytest.raises(GeowarpError, match=r"out_shape = \(5, 3\) .* must be \(3, 3\)$"):
        GyroHomomorphism(Grassmann(), (3, 3), (5, 3))
    with pytest.raises(GeowarpError, match="not maps of coordinates"):
        GyroHomomorphism(AffineInvariantSPD(), (3, 3)).of_coordinates(torch.eye(3))
    for space, shape, out, family in (
        (AffineInvariantSPD(), (3, 3), (2, 2), OrthogonalCongruence()),
        (Grassmann(), (5, 2), (4, 2), BlockRotation()),
        (Grassmann(), (5, 2), (5, 1), BlockRotation()),
        (Lorentz(), (4,), (3,), OrthogonalMap()),
    ):
        with pytest.raises(GeowarpError, match="out_shape"):
            GyroHomomorphism(space, shape, out, family=family)
