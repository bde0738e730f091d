"""One step of a Riemannian optimiser: against torch, geoopt, formulas, and one point at a time."""

import copy
import pickle
from typing import Any

import geoopt
import pytest
import torch
from optim_cases import MANIFOLDS, OPTIMIZERS, Maker, momentum, points, run
from torch import nn

from geowarp import ManifoldParameter
from geowarp.manifolds import (
    QR,
    Cayley,
    Euclidean,
    Manifold,
    Polar,
    Sphere,
    Stiefel,
)
from geowarp.optim import RiemannianAdam, RiemannianSGD

# --- parameters without a manifold ---

ADAM = [{}, {"amsgrad": True}, {"weight_decay": 0.1}, {"maximize": True}, {"foreach": True}, {"fused": True}]
SGD = [
    *({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "dampening": 0.5}),
    *({"weight_decay": 0.1, "momentum": 0.5}, {"maximize": True}, {"foreach": True, "momentum": 0.9}),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [(RiemannianAdam, torch.optim.AdamW, o) for o in ADAM]
    + [(RiemannianSGD, torch.optim.SGD, o) for o in SGD],
    ids=str,
)
def test_without_a_manifold_it_is_torch(ours: Maker, theirs: Any, options: dict[str, Any]) -> None:
    parameters = [
        nn.Parameter(torch.randn(4, 3)),
        nn.Parameter(torch.randn(5)),
        nn.Parameter(torch.randn(())),
    ]
    parameters.append(ManifoldParameter(torch.randn(4), manifold=Euclidean(1)))
    others = [nn.Parameter(p.detach().clone()) for p in parameters]
    run(ours(parameters, lr=1e-2, **options), parameters, 50)
    run(theirs(others, lr=1e-2, **({"weight_decay": 0.0} | options)), others, 50)
    for p, q in zip(parameters, others, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-6, atol=1e-6)


# --- parameters with a manifold ---


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_on_stiefel_equals_geoopt(amsgrad: bool) -> None:
    ours = points(Stiefel(), 3)
    theirs = [geoopt.ManifoldParameter(p.detach().clone(), geoopt.EuclideanStiefel()) for p in ours]
    run(RiemannianAdam(ours, lr=0.05, amsgrad=amsgrad), ours, 50)
    run(geoopt.optim.RiemannianAdam(theirs, lr=0.05, amsgrad=amsgrad), theirs, 50)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_steps_on_a_manifold_of_geoopt(amsgrad: bool) -> None:
    ball = geoopt.PoincareBall()
    start = [0.3 * torch.randn(4, 3, dtype=torch.float64) / 3 for _ in range(3)]
    ours, theirs = ([geoopt.ManifoldParameter(x.clone(), ball) for x in start] for _ in range(2))
    run(RiemannianAdam(ours, lr=0.01, amsgrad=amsgrad), ours, 20)
    run(geoopt.optim.RiemannianAdam(theirs, lr=0.01, amsgrad=amsgrad), theirs, 20)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-10, atol=1e-10)


def test_equal_manifolds_of_geoopt_are_stacked() -> None:
    points = [geoopt.ManifoldParameter(torch.zeros(3), geoopt.PoincareBall(c=c)) for c in (1.0, 1.0, 0.5)]
    for x in points:
        x.grad = torch.ones(3)
    optimizer = RiemannianAdam(points)
    optimizer.step()
    moments = [optimizer.state[x]["exp_avg"] for x in points]
    storages = [m.untyped_storage().data_ptr() for m in moments]
    assert storages[0] == storages[1] != storages[2]


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_on_the_sphere_is_its_formula(nesterov: bool) -> None:
    sphere = Sphere()
    (x,) = points(sphere, 1)
    y, buffer, target = x.detach().clone(), torch.zeros(6, 3, dtype=torch.float64), torch.randn(6, 3)
    optimizer = RiemannianSGD([x], lr=0.1, momentum=0.9, nesterov=nesterov)
    for _ in range(5):
        optimizer.zero_grad()
        (x * target).sum().backward()
        optimizer.step()
        g = sphere.egrad2rgrad(y, target.double())
        buffer = 0.9 * buffer + g
        moved = sphere.expmap(y, -0.1 * (g + 0.9 * buffer if nesterov else buffer))
        y, buffer = moved, sphere.transp(y, moved, buffer)
    torch.testing.assert_close(x.detach(), y)


def test_dampening_starts_at_the_second_step() -> None:
    manifold = Stiefel()
    ours, flat = points(manifold, 2), RiemannianSGD
    a, b = ours[0], ManifoldParameter(ours[0].detach().clone(), manifold=manifold)
    run(flat([a], lr=0.1, momentum=0.9, dampening=0.5), [a], 1)
    run(flat([b], lr=0.1, momentum=0.9), [b], 1)
    torch.testing.assert_close(a.detach(), b.detach())


@pytest.mark.parametrize("maker", OPTIMIZERS)
@pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)
def test_stacked_equals_one_by_one(maker: Maker, manifold: Manifold) -> None:
    together = points(manifold, 4)
    alone = [ManifoldParameter(p.detach().clone(), manifold=manifold) for p in together]
    apart = [ManifoldParameter(p.detach().clone(), manifold=manifold) for p in together]
    run(maker(together, lr=0.05, **momentum(maker)), together, 8)
    run(maker(apart, lr=0.05, foreach=False, **momentum(maker)), apart, 8)
    optimizers = [maker([p], lr=0.05, **momentum(maker)) for p in alone]

    class Several:
        def zero_grad(self) -> None:
            [o.zero_grad() for o in optimizers]

        def step(self) -> None:
            [o.step() for o in optimizers]

    run(Several(), alone, 8)  # type: ignore[arg-type]
    for p, q, r in zip(together, alone, apart, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(p.detach(), r.detach(), rtol=1e-12, atol=1e-12)
        manifold.assert_check_point_on_manifold(p.detach(), atol=1e-12)


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_points_of_several_kinds_in_one_model(maker: Maker) -> None:
    parameters: list[Any] = [
        *points(Stiefel(), 2),
        *points(Sphere(), 2),
        *points(Stiefel(), 1, torch.float32),
    ]
    parameters.append(nn.Parameter(torch.randn(4)))
    parameters.append(ManifoldParameter(Stiefel().random(2, 5, 2), manifold=Stiefel()))
    apart = [copy.deepcopy(p) for p in parameters]
    run(maker(parameters, lr=0.05, **momentum(maker)), parameters, 5)
    for i, p in enumerate(apart):
        generator = torch.Generator().manual_seed(1)
        optimizer = maker([p], lr=0.05, **momentum(maker))
        for _ in range(5):
            noise = [torch.randn(q.shape, generator=generator, dtype=q.dtype) for q in parameters]
            optimizer.zero_grad()
            ((p * noise[i]).sum() + p.cos().sum()).backward()
            optimizer.step()
        torch.testing.assert_close(p.detach(), parameters[i].detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_parameters_without_a_gradient_wait(maker: Maker) -> None:
    """A parameter that gets its gradient every other step moves as if it were alone."""
    both = points(Stiefel(), 2)
    lone = ManifoldParameter(both[1].detach().clone(), manifold=Stiefel())
    target = torch.randn(6, 3, dtype=torch.float64)
    optimizer, other = (maker(ps, lr=0.05, **momentum(maker)) for ps in (both, [lone]))
    for i in range(6):
        optimizer.zero_grad()
        loss = (both[0] * target).sum()
        if i % 2:
            loss = loss + (both[1] * target).sum()
            other.zero_grad()
            (lone * target).sum().backward()
            other.step()
        before = both[1].detach().clone()
        loss.backward()
        optimizer.step()
        assert i % 2 or torch.equal(both[1], before)
    torch.testing.assert_close(both[1].detach(), lone.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("maker", OPTIMIZERS)
@pytest.mark.parametrize(
    "options", [{}, {"nesterov": True}, {"weight_decay": 0.1}, {"maximize": True}], ids=str
)
def test_gradients_are_not_mutated(maker: Maker, options: dict[str, Any]) -> None:
    if "nesterov" in options and maker is RiemannianAdam:
        options = {"amsgrad": True}
    parameters: list[Any] = [*points(Stiefel(), 1), *points(Sphere(), 2), nn.Parameter(torch.randn(3))]
    optimizer = maker(parameters, lr=0.1, manifold_weight_decay=0.1, **momentum(maker), **options)
    for _ in range(3):
        for p in parameters:
            p.grad = torch.randn_like(p)
        kept = [p.grad.clone() for p in parameters]
        optimizer.step()
        assert all(torch.equal(p.grad, k) for p, k in zip(parameters, kept, strict=True))


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_weight_decay_leaves_constrained_points_alone(maker: Maker) -> None:
    """On a sphere of geoopt's ball, decay would pull to the origin; unasked it does nothing."""
    ball = geoopt.PoincareBall()
    start = torch.tensor([0.5, 0.2], dtype=torch.float64)
    for options, moves in (({"weight_decay": 0.5}, False), ({"manifold_weight_decay": 0.5}, True)):
        x = geoopt.ManifoldParameter(start.clone(), manifold=ball)
        x.grad = torch.zeros_like(start)
        maker([x], lr=0.1, **options).step()
        assert (x.detach().norm() < start.norm() - 1e-3) == moves
    x = points(Stiefel(), 1)[0]
    kept, x.grad = x.detach().clone(), torch.zeros_like(x)
    maker([x], lr=0.1, manifold_weight_decay=0.5).step()
    torch.testing.assert_close(x.detach(), kept)


def test_adam_keeps_one_second_moment_per_point() -> None:
    x = ManifoldParameter(Stiefel().random(5, 7, 3), manifold=Stiefel())
    optimizer = RiemannianAdam([x])
    run(optimizer, [x], 2)
    assert optimizer.state[x]["exp_avg_sq"].shape == (5, 1, 1)
    assert optimizer.state[x]["exp_avg"].shape == (5, 7, 3)


# --- staying on the manifold ---


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_stabilize_projects_points_and_moments(maker: Maker) -> None:
    (x,) = points(Stiefel(), 1, torch.float32)
    optimizer = maker([x], lr=0.1, stabilize=3, **momentum(maker))
    run(optimizer, [x], 2)
    with torch.no_grad():
        x.add_(1e-3)
    run(optimizer, [x], 1)
    assert Stiefel().point_residual(x.detach()) < 1e-6
    state = optimizer.state[x]
    moment = state.get("exp_avg", state.get("momentum_buffer"))
    assert Stiefel().tangent_residual(x.detach(), moment) < 1e-5


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_stabilize_counts_on_after_a_checkpoint(maker: Maker) -> None:
    (x,) = points(Stiefel(), 1, torch.float32)
    optimizer = maker([x], lr=0.1, stabilize=3, **momentum(maker))
    run(optimizer, [x], 2)
    with torch.no_grad():
        x.add_(1e-3)
    resumed = maker([x], lr=0.1, stabilize=3, **momentum(maker))
    resumed.load_state_dict(optimizer.state_dict())
    copied = pickle.loads(pickle.dumps(optimizer))
    run(resumed, [x], 1)
    assert Stiefel().point_residual(x.detach()) < 1e-6
    (y,) = copied.param_groups[0]["params"]
    run(copied, [y], 1)
    assert Stiefel().point_residual(y.detach()) < 1e-6


@pytest.mark.parametrize("retraction", [QR(), Polar(), Cayley()], ids=repr)
@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_float32_drift_over_ten_thousand_noisy_steps(maker: Maker, retraction: Any) -> None:
    stiefel = Stiefel(retraction=retraction)
    x = ManifoldParameter(stiefel.random(20, 5), manifold=stiefel)
    optimizer = maker([x], lr=1e-2, **momentum(maker))
    x.grad = torch.zeros_like(x)
    for _ in range(10_000 if retraction == QR() else 1000):
        x.grad.normal_()
        optimizer.step()
    assert Stiefel().point_residual(x.detach()) < 5e-6
