"""Curvature that is a parameter: gradients through every operation, identity, copies, and training."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import geoopt
import pytest
import torch
from torch import Tensor

from geowarp import ManifoldParameter
from geowarp.manifolds import Lorentz, Manifold, PoincareBall, ProductManifold
from geowarp.optim import RiemannianAdam, RiemannianSGD, param_groups

MODELS = [PoincareBall, Lorentz]


def logarithm(manifold: Manifold) -> torch.nn.Parameter:
    parameter = next(iter(manifold.parameters()))
    assert isinstance(parameter, torch.nn.Parameter)
    return parameter


def constant(manifold: Any) -> Any:
    return manifold.c if isinstance(manifold, PoincareBall) else manifold.k


def size(model: type) -> int:
    return 3 if model is PoincareBall else 4


def operations(manifold: Any, x: Tensor, y: Tensor, v: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return every operation at points that are made of entries which do not depend on the curvature."""
    shared: dict[str, Callable[[], Tensor]] = {
        "projx": lambda: manifold.projx(x),
        "proju": lambda: manifold.proju(x, v),
        "egrad2rgrad": lambda: manifold.egrad2rgrad(x, v),
        "inner": lambda: manifold.inner(x, v, y),
        "norm": lambda: manifold.norm(x, v),
        "expmap": lambda: manifold.expmap(x, v),
        "retr": lambda: manifold.retr(x, v),
        "logmap": lambda: manifold.logmap(x, y),
        "dist": lambda: manifold.dist(x, y),
        "dist2": lambda: manifold.dist2(x, y),
        "cdist": lambda: manifold.cdist(x, y),
        "transp": lambda: manifold.transp(x, y, v),
        "retr_transp": lambda: manifold.retr_transp(x, v, y)[1],
        "geodesic": lambda: manifold.geodesic(0.3, x, y),
        "dist0": lambda: manifold.dist0(x),
        "expmap0": lambda: manifold.expmap0(v),
        "logmap0": lambda: manifold.logmap0(x),
        "transp0": lambda: manifold.transp0(x, v),
        "transp0back": lambda: manifold.transp0back(x, v),
        "gyration": lambda: manifold.gyration(x, y, v),
        "dist2plane": lambda: manifold.dist2plane(x, y, v, scaled=True, signed=True),
    }
    if isinstance(manifold, PoincareBall):
        pairs = ["mobius_add", "mobius_sub", "mobius_coadd", "mobius_cosub", "mobius_pointwise_mul"]
        shared |= {
            "lambda_x": lambda: manifold.lambda_x(x),
            "mobius_scalar_mul": lambda: manifold.mobius_scalar_mul(0.7, x),
            "mobius_matvec": lambda: manifold.mobius_matvec(v[..., None] * x[..., None, :], y),
            "einstein_midpoint": lambda: manifold.einstein_midpoint(x),
            "to_lorentz": lambda: manifold.to_lorentz(x),
            "tangent_to_lorentz": lambda: manifold.tangent_to_lorentz(x, v),
        }
    else:
        pairs = ["gyro_add", "gyro_sub", "gyro_coadd", "gyro_cosub"]
        shared |= {
            "gyro_scalar_mul": lambda: manifold.gyro_scalar_mul(0.7, x),
            "gyro_fn_apply": lambda: manifold.gyro_fn_apply(torch.sin, x),
            "centroid": lambda: manifold.centroid(x),
            "to_poincare": lambda: manifold.to_poincare(x),
            "tangent_to_poincare": lambda: manifold.tangent_to_poincare(x, v),
        }
    return shared | {name: lambda name=name: getattr(manifold, name)(x, y) for name in pairs}


def names(model: type) -> list[str]:
    empty = torch.zeros(0)
    return list(operations(model(), empty, empty, empty))


class Caller(torch.nn.Module):
    def __init__(self, manifold: Manifold, operation: Callable[[], Tensor]) -> None:
        super().__init__()
        self.manifold = manifold
        self.operation = operation

    def forward(self) -> Tensor:
        result: Tensor = self.operation()
        return result


@pytest.mark.parametrize(
    ("model", "name"), [pytest.param(m, name, id=f"{m.__name__}-{name}") for m in MODELS for name in names(m)]
)
def test_gradients_flow_to_the_curvature_through_every_operation(model: type, name: str) -> None:
    manifold = model(0.7, learnable=True).double()
    x, y, v = (0.4 * torch.randn(3, size(model), dtype=torch.float64) for _ in range(3))
    parameter = logarithm(manifold)
    caller = Caller(manifold, operations(manifold, x, y, v)[name])
    (key,) = dict(caller.named_parameters())

    def of_logarithm(value: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(caller, {key: value}, ())
        return result

    assert torch.autograd.gradcheck(of_logarithm, (parameter.detach().clone().requires_grad_(),))
    if model is Lorentz or name not in {"proju", "projx"}:
        (gradient,) = torch.autograd.grad((caller() * torch.randn_like(caller())).sum(), parameter)
        assert gradient.abs() > 0
    torch.testing.assert_close(caller(), operations(model(0.7), x, y, v)[name]())


@pytest.mark.parametrize("model", MODELS)
def test_a_learnable_curvature_equals_only_itself(model: type) -> None:
    manifold, other = model(learnable=True), model(learnable=True)
    assert manifold == manifold
    assert manifold != other
    assert manifold != model()
    assert hash(manifold) == hash(manifold)
    assert {manifold: 1}.get(other) is None
    assert model(0.5) == model(0.5) != model(0.6)
    assert isinstance(constant(model(0.5)), float)
    assert list(model(0.5).parameters()) == []
    assert repr(manifold) == f"{model.__name__}(learnable=True)"
    assert constant(model(0.3, learnable=True)).item() == pytest.approx(0.3)


class Net(torch.nn.Module):
    def __init__(self, model: type) -> None:
        super().__init__()
        self.space = model(0.8, learnable=True)
        self.points = ManifoldParameter(self.space.random(6, size(model)), manifold=self.space)

    def forward(self) -> Tensor:
        distances: Tensor = self.space.cdist(self.points, self.points)
        return distances


@pytest.mark.parametrize("model", MODELS)
def test_copies_pickles_and_state_dicts(model: type) -> None:
    net = Net(model)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin.points.manifold is twin.space
        assert twin.space != net.space
        torch.testing.assert_close(twin(), net())
        with torch.no_grad():
            logarithm(twin.space).add_(1.0)
        assert constant(twin.space) > 2 * constant(net.space)
    other = Net(model)
    with torch.no_grad():
        logarithm(net.space).add_(-0.3)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(), net())
    assert constant(other.space).item() == pytest.approx(0.8 * 0.7408, rel=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_conversions(model: type) -> None:
    net = Net(model)
    before = net()
    assert before.dtype == torch.float32
    net.double()
    assert logarithm(net.space).dtype == torch.float64
    torch.testing.assert_close(net(), before.double(), rtol=1e-5, atol=1e-5)
    single = net.space.dist(net.points.float(), net.points.float().flip(0))
    assert single.dtype == torch.float32
    assert net.space.dist(net.points[0].float(), net.points[1].float()).dtype == torch.float32
    assert net.space.inner(net.points[0].float(), net.points[0].float()).dtype == torch.float32
    net.half()
    assert net.space.dist(net.points.float(), net.points.float()).dtype == torch.float32
    meta = net.to("meta")
    assert logarithm(meta.space).device.type == "meta"


@pytest.mark.parametrize("make", [RiemannianAdam, RiemannianSGD])
@pytest.mark.parametrize("model", MODELS)
def test_points_and_curvature_are_trained_together(model: type, make: Any) -> None:
    net = Net(model).double()
    target = torch.rand(6, 6, dtype=torch.float64) + 0.5
    target = 0.5 * (target + target.mT) * (1 - torch.eye(6))
    optimizer = make(param_groups(net), lr=0.05)
    losses, start = [], constant(net.space).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = (net() - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert net.points.isfinite().all()
        net.space.assert_check_point_on_manifold(net.space.projx(net.points.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert constant(net.space).item() != start
    groups = param_groups(net)
    assert [group["manifold"] for group in groups] == [None, net.space]


def test_a_ball_that_shrinks_below_its_points() -> None:
    ball = PoincareBall(1.0, learnable=True)
    x = ball.projx(torch.tensor([[0.9, 0.0], [0.2, 0.1]]))
    with torch.no_grad():
        logarithm(ball).fill_(torch.tensor(4.0).log())
    assert ball.point_residual(x).tolist() == [pytest.approx(1.8), 0.0]
    assert ball.dist(x[0], x[1]).isfinite()
    moved = ball.retr(x, torch.zeros_like(x))
    assert ball.point_residual(moved).max() == 0
    torch.testing.assert_close(moved[1], x[1])


def test_points_of_two_learnable_spaces_are_not_stepped_together() -> None:
    first, second = PoincareBall(0.5, learnable=True), PoincareBall(4.0, learnable=True)
    points = [ManifoldParameter(m.random(3, 2, dtype=torch.float64), manifold=m) for m in (first, second)]
    optimizer = RiemannianSGD(points, lr=0.1)
    expected = []
    for p in points:
        gradient = torch.ones_like(p)
        p.grad = gradient
        expected.append(p.manifold.retr(p.detach(), -0.1 * p.manifold.egrad2rgrad(p.detach(), gradient)))
    optimizer.step()
    for p, q in zip(points, expected, strict=True):
        torch.testing.assert_close(p.detach(), q)


def test_in_products_and_in_geoopt() -> None:
    ball, space = PoincareBall(0.7, learnable=True), Lorentz(2.0, learnable=True)
    product = ProductManifold((ball, 3), (space, 4))
    x, y = (product.random(5, 7, dtype=torch.float64).detach() for _ in range(2))
    product.dist(x, y).sum().backward()
    for manifold in (ball, space):
        assert logarithm(manifold).grad is not None
        assert logarithm(manifold).grad.abs() > 0  # type: ignore[union-attr]
    assert len(list(product.parameters())) == 2
    assert product != ProductManifold((PoincareBall(0.7, learnable=True), 3), (space, 4))
    parameter = geoopt.ManifoldParameter(ball.random(4, 3), manifold=ball)
    optimizer = geoopt.optim.RiemannianAdam([parameter, *ball.parameters()], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        ball.dist0(parameter).sum().backward()
        optimizer.step()
    ball.assert_check_point_on_manifold(parameter.detach())
