"""Riemannian optimisers against torch's own, geoopt's, and the rules of the optimiser contract."""

import copy
import io
import warnings
from collections.abc import Callable
from typing import Any

import geoopt
import pytest
import torch
from torch import Tensor, nn

from geowarp import GeowarpError, ManifoldParameter, NonFiniteError, NotOnManifoldError, constrain
from geowarp.manifolds import (
    QR,
    CanonicalMetric,
    Cayley,
    Euclidean,
    Exponential,
    Grassmann,
    Manifold,
    Polar,
    Sphere,
    Stiefel,
)
from geowarp.optim import RiemannianAdam, RiemannianOptimizer, RiemannianSGD, param_groups

Maker = Callable[..., RiemannianOptimizer]
OPTIMIZERS: list[Maker] = [RiemannianAdam, RiemannianSGD]
MANIFOLDS: list[Manifold] = [
    *(Sphere(), Grassmann(), Stiefel(), Stiefel(CanonicalMetric(), Cayley())),
    *(Stiefel(retraction=Polar()), Stiefel(CanonicalMetric(), Exponential())),
]


def momentum(maker: Maker, value: float = 0.9) -> dict[str, Any]:
    return {"momentum": value} if maker is RiemannianSGD else {}


def points(manifold: Manifold, count: int, dtype: torch.dtype = torch.float64) -> list[ManifoldParameter]:
    return [ManifoldParameter(manifold.random(6, 3, dtype=dtype), manifold=manifold) for _ in range(count)]


def run(optimizer: torch.optim.Optimizer, parameters: list[Any], steps: int, seed: int = 1) -> None:
    """Minimise the same random linear and quadratic functions for every optimiser that is compared."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        noise = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        loss = torch.stack([(p * n).sum() + p.cos().sum() for p, n in zip(parameters, noise, strict=True)])
        loss.sum().backward()
        optimizer.step()


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


# --- the contract of torch.optim.Optimizer ---


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_closure_runs_with_gradients_enabled(maker: Maker) -> None:
    (x,) = points(Stiefel(), 1)
    optimizer = maker([x], lr=0.05)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = x[0].sum()
        loss.backward()
        return loss

    with torch.no_grad():
        first = optimizer.step(closure)
    for _ in range(20):
        last = optimizer.step(closure)
    assert last < first


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_tensor_learning_rate_and_scheduler(maker: Maker) -> None:
    ours, others = points(Stiefel(), 2), points(Stiefel(), 0)
    others = [ManifoldParameter(p.detach().clone(), manifold=Stiefel()) for p in ours]
    a = maker(ours, lr=torch.tensor(0.05, dtype=torch.float64), **momentum(maker))
    b = maker(others, lr=0.05, **momentum(maker))
    for optimizer, parameters in ((a, ours), (b, others)):
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5**t)
        for i in range(4):
            run(optimizer, parameters, 1, seed=i)
            scheduler.step()
    torch.testing.assert_close(ours[0].detach(), others[0].detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_hooks_and_maximize(maker: Maker) -> None:
    x, y = points(Sphere(), 2)
    with torch.no_grad():
        y.copy_(x)
    calls: list[str] = []
    up, down = maker([x], lr=0.1, maximize=True), maker([y], lr=0.1)
    up.register_step_pre_hook(lambda *_: calls.append("before"))
    up.register_step_post_hook(lambda *_: calls.append("after"))
    x.grad, y.grad = torch.ones_like(x), -torch.ones_like(y)
    up.step()
    down.step()
    assert calls == ["before", "after"]
    torch.testing.assert_close(x.detach(), y.detach())


@pytest.mark.parametrize("maker", OPTIMIZERS)
@pytest.mark.parametrize("amsgrad", [False, True])
def test_state_dict_round_trip_with_weights_only(maker: Maker, amsgrad: bool) -> None:
    options = momentum(maker) | ({"amsgrad": amsgrad} if maker is RiemannianAdam else {})
    parameters: list[Any] = [*points(Stiefel(), 2), *points(Sphere(), 1), nn.Parameter(torch.randn(3))]
    others = [copy.deepcopy(p) for p in parameters]
    optimizer, other = maker(parameters, lr=0.05, **options), maker(others, lr=0.7, **options)
    run(optimizer, parameters, 5)
    buffer = io.BytesIO()
    torch.save({"model": [p.detach() for p in parameters], "optimizer": optimizer.state_dict()}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    with torch.no_grad():
        for p, q in zip(others, saved["model"], strict=True):
            p.copy_(q)
    other.load_state_dict(saved["optimizer"])
    for o, ps in ((optimizer, parameters), (other, others)):
        run(o, ps, 5, seed=2)
    for p, q in zip(parameters, others, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_deepcopy_and_add_param_group(maker: Maker) -> None:
    parameters = points(Stiefel(), 2)
    optimizer = maker(parameters[:1], lr=0.05, **momentum(maker))
    run(optimizer, parameters[:1], 2)
    parameters, optimizer = copy.deepcopy((parameters, optimizer))
    optimizer.add_param_group({"params": parameters[1:], "lr": 0.01})
    run(optimizer, parameters, 2)
    for p in parameters:
        assert Stiefel().point_residual(p.detach()) < 1e-13


def test_a_state_dict_with_other_manifolds_is_refused() -> None:
    x, y = points(Stiefel(), 1)[0], nn.Parameter(torch.randn(6, 3))
    state = RiemannianAdam([x]).state_dict()
    with pytest.raises(GeowarpError, match=r"parameter 0 of group 0 is on no manifold, .* Stiefel"):
        RiemannianAdam([y]).load_state_dict(state)
    with pytest.raises(GeowarpError, match="on no manifold"):
        RiemannianAdam([x]).load_state_dict(torch.optim.AdamW([y]).state_dict())
    RiemannianAdam([y]).load_state_dict(torch.optim.AdamW([y]).state_dict())
    canonical = ManifoldParameter(x.detach().clone(), manifold=Stiefel(CanonicalMetric()))
    with pytest.warns(UserWarning, match="goes on on"):
        RiemannianAdam([canonical]).load_state_dict(state)


def test_a_state_of_another_kind_is_refused() -> None:
    (x,) = points(Stiefel(), 1)
    plain = nn.Parameter(x.detach().clone())
    adam = torch.optim.AdamW([plain])
    run(adam, [plain], 1)
    state = adam.state_dict()
    state["param_groups"][0]["manifolds"] = [repr(Stiefel())]
    optimizer = RiemannianAdam([x])
    optimizer.load_state_dict(state)
    with pytest.raises(GeowarpError, match=r"exp_avg_sq.*\(6, 3\), not \(1, 1\)"):
        run(optimizer, [x], 1)


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_the_groups_manifold_and_the_parameters(maker: Maker) -> None:
    x = nn.Parameter(Stiefel().random(6, 3).detach().clone())
    optimizer = maker([{"params": [x], "manifold": Stiefel()}], lr=0.1)
    run(optimizer, [x], 3)
    Stiefel().assert_check_point_on_manifold(x.detach())
    with pytest.raises(GeowarpError, match="constrain the parameter anew"):
        maker([{"params": points(Stiefel(), 1), "manifold": Sphere()}], lr=0.1)


def test_param_groups() -> None:
    net = nn.Sequential(constrain(nn.Linear(3, 2), "weight", Sphere()), nn.Linear(2, 2))
    groups = param_groups(net, Sphere={"lr": 0.5}, Euclidean={"weight_decay": 0.1})
    optimizer = RiemannianAdam(groups, lr=0.1)
    flat, sphere = optimizer.param_groups
    assert (flat["lr"], flat["weight_decay"], sphere["lr"], sphere["weight_decay"]) == (0.1, 0.1, 0.5, 0.0)
    assert flat["param_names"] == ["0.bias", "1.weight", "1.bias"]
    assert sphere["manifolds"] == [Sphere()]
    with pytest.raises(
        GeowarpError, match=r"no parameter is on Stiefel; there are: \['Euclidean', 'Sphere'\]"
    ):
        param_groups(net, Stiefel={"lr": 1.0})


# --- what must not happen silently ---


@pytest.mark.parametrize("maker", OPTIMIZERS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite(maker: Maker, bad: float) -> None:
    net = nn.Module()
    net.a, net.b = points(Stiefel(), 2)
    net.c = nn.Parameter(torch.randn(3))
    optimizer = maker(net.parameters(), lr=0.1, **momentum(maker))
    run(optimizer, list(net.parameters()), 1)
    kept = copy.deepcopy((list(net.parameters()), optimizer.state_dict()["state"]))
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    net.b.grad[2, 1] = bad
    with pytest.raises(NonFiniteError, match=r"Module\.b"):
        optimizer.step()
    assert all(torch.equal(p, k) for p, k in zip(net.parameters(), kept[0], strict=True))
    for now, before in zip(optimizer.state_dict()["state"].values(), kept[1].values(), strict=True):
        for name in before:
            assert torch.equal(now[name], before[name])
    named = maker(param_groups(net), lr=0.1)
    with pytest.raises(NonFiniteError, match="'b'"):
        named.step()


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_a_point_off_its_manifold_is_refused(maker: Maker) -> None:
    x = nn.Module()
    x.w = points(Stiefel(), 1)[0]
    with torch.no_grad():
        x.w.mul_(2)
    x.w.grad = torch.zeros_like(x.w)
    with pytest.raises(NotOnManifoldError, match=r"Module\.w.*projx"):
        maker(x.parameters(), lr=0.1).step()


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_half_precision_and_sparse_gradients_are_refused(maker: Maker) -> None:
    x = ManifoldParameter(Sphere().random(4, 3), manifold=Sphere())
    with torch.sparse.check_sparse_tensor_invariants():
        x.grad = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1, 3), (4, 3))
    with pytest.raises(GeowarpError, match="sparse"):
        maker([x], lr=0.1).step()
    net = nn.Module()
    net.x = ManifoldParameter(Sphere().random(4, 3), manifold=Sphere())
    net.bfloat16()
    net.x.grad = torch.zeros_like(net.x)
    with pytest.raises(GeowarpError, match=r"bfloat16.*float32.*autocast"):
        maker(net.parameters(), lr=0.1).step()


@pytest.mark.parametrize(
    ("maker", "options"),
    [
        (RiemannianAdam, {"lr": -1.0}),
        (RiemannianAdam, {"betas": (1.0, 0.9)}),
        (RiemannianAdam, {"eps": -1e-8}),
        (RiemannianAdam, {"weight_decay": -1.0}),
        (RiemannianAdam, {"stabilize": 0}),
        (RiemannianAdam, {"differentiable": True}),
        (RiemannianSGD, {"lr": -1.0}),
        (RiemannianSGD, {"momentum": -0.5}),
        (RiemannianSGD, {"nesterov": True}),
        (RiemannianSGD, {"stabilize": -3}),
    ],
    ids=str,
)
def test_bad_hyper_parameters(maker: Maker, options: dict[str, Any]) -> None:
    with pytest.raises(GeowarpError, match=next(iter(options))):
        maker(points(Sphere(), 1), **options)


def test_grad_scaler_skips_steps_that_are_not_finite() -> None:
    (x,) = points(Stiefel(), 1, torch.float32)
    optimizer = RiemannianAdam([x], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    kept = x.detach().clone()
    for bad in (True, False):
        optimizer.zero_grad()
        loss = (x * torch.tensor(torch.inf if bad else 1.0)).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(x, kept) == bad
    assert scaler.get_scale() < 4.0


@pytest.mark.parametrize("maker", OPTIMIZERS)
@pytest.mark.parametrize("manifold", [Stiefel(), Sphere(), Grassmann()], ids=repr)
def test_a_compiled_step_equals_the_eager_one(maker: Maker, manifold: Manifold) -> None:
    torch.compiler.reset()
    eager, compiled = points(manifold, 3), points(manifold, 3)
    with torch.no_grad():
        for p, q in zip(eager, compiled, strict=True):
            q.copy_(p)
    plain: list[Any] = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    a = maker([*eager, plain[0]], lr=0.05, **momentum(maker))
    b = maker([*compiled, plain[1]], lr=0.05, **momentum(maker))
    step = torch.compile(b.step, backend="eager")
    for i in range(3):
        for optimizer, parameters in ((a, [*eager, plain[0]]), (b, [*compiled, plain[1]])):
            generator = torch.Generator().manual_seed(i)
            for p in parameters:
                p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                optimizer.step() if optimizer is a else step()
    torch.testing.assert_close(plain[0], plain[1])
    for p, q in zip(eager, compiled, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_one_point_compiled_and_with_strides(maker: Maker) -> None:
    torch.compiler.reset()
    (x,) = points(Stiefel(), 1)
    strided = ManifoldParameter(x.detach().mT.contiguous().mT, manifold=Stiefel())
    alone = ManifoldParameter(x.detach().clone(), manifold=Stiefel())
    assert not strided.is_contiguous()
    optimizers = [maker([p], lr=0.05, **momentum(maker)) for p in (x, strided, alone)]
    steps = [optimizers[0].step, optimizers[1].step, torch.compile(optimizers[2].step, backend="eager")]
    for _ in range(3):
        gradient = torch.randn_like(x)
        for p, step in zip((x, strided, alone), steps, strict=True):
            p.grad = gradient.clone()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                step()
            assert torch.equal(p.grad, gradient)
    torch.testing.assert_close(strided.detach(), x.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(alone.detach(), x.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_parameters_replaced_in_a_group(maker: Maker) -> None:
    """As some wrappers do after they have moved a model."""
    old, new = points(Stiefel(), 2), points(Stiefel(), 3)
    optimizer = maker(old, lr=0.1)
    run(optimizer, old, 1)
    for replacement in (new[:2], new):
        optimizer.param_groups[0]["params"] = replacement
        kept = [p.detach().clone() for p in replacement]
        run(optimizer, replacement, 1)
        for p, before in zip(replacement, kept, strict=True):
            assert not torch.equal(p, before)
            Stiefel().assert_check_point_on_manifold(p.detach(), atol=1e-12)


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
