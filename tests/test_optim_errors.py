"""What the optimisers refuse, and what they must not do silently."""

import copy
import warnings
from typing import Any

import geoopt
import pytest
import torch
from optim_cases import OPTIMIZERS, Maker, momentum, points, run
from torch import nn

from geowarp import (
    GeowarpError,
    ManifoldParameter,
    NonFiniteError,
    NotOnManifoldError,
    constrain,
    unconstrain,
)
from geowarp.manifolds import (
    QR,
    Cayley,
    Grassmann,
    Manifold,
    Polar,
    Sphere,
    Stiefel,
)
from geowarp.optim import RiemannianAdam, RiemannianOptimizer, RiemannianSGD, param_groups

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


# --- edits from outside between steps ---


def stepped(maker: Maker, parameters: list[Any], **options: Any) -> RiemannianOptimizer:
    optimizer = maker(parameters, lr=0.05, **options)
    run(optimizer, parameters, 1)
    return optimizer


@pytest.mark.parametrize("maker", OPTIMIZERS)
@pytest.mark.parametrize("factor", [1.001, 1.1, 2.0, 3.0, 10.0])
def test_a_point_moved_off_its_manifold_comes_back(maker: Maker, factor: float) -> None:
    (x,) = points(Stiefel(), 1, torch.float32)
    optimizer = stepped(maker, [x], **momentum(maker))
    before = x.detach().clone()
    with torch.no_grad():
        x.mul_(factor)
    run(optimizer, [x], 1)
    assert Stiefel().point_residual(x.detach()) < 2e-6
    assert (x.detach() - before).norm() < 0.5


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_edited_state_is_taken(maker: Maker) -> None:
    """Cleared or replaced state counts, as it does for torch's optimisers."""
    name = "exp_avg" if maker is RiemannianAdam else "momentum_buffer"
    x, y = points(Stiefel(), 2)
    optimizer = stepped(maker, [x, y], **momentum(maker))
    optimizer.state[x][name] = torch.zeros_like(x)
    optimizer.step()
    assert optimizer.state[x][name].norm() < optimizer.state[y][name].norm()
    optimizer.state.clear()
    optimizer.step()
    assert optimizer.state[x]["step"] == 1


def test_hyper_parameters_that_are_switched_on_later() -> None:
    x, y = points(Stiefel(), 2)
    with torch.no_grad():
        y.copy_(x)
    late, early = stepped(RiemannianSGD, [x]), stepped(RiemannianSGD, [y], momentum=0.9)
    late.param_groups[0]["momentum"] = 0.9
    early.state.clear()
    for optimizer, p in ((late, x), (early, y)):
        run(optimizer, [p], 3, seed=3)
    torch.testing.assert_close(x.detach(), y.detach(), rtol=1e-12, atol=1e-12)
    adam = stepped(RiemannianAdam, [x])
    adam.param_groups[0]["amsgrad"] = True
    run(adam, [x], 2)
    assert "max_exp_avg_sq" in adam.state[x]


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_conversions_after_the_first_step(maker: Maker) -> None:
    net = nn.ModuleList([constrain(nn.Linear(3, 4), "weight", Sphere()) for _ in range(2)])
    weights = [layer.get_parameter("weight") for layer in net]
    optimizer = stepped(maker, weights)
    net[1].double()
    weights[1].grad = torch.randn(4, 3, dtype=torch.float64)
    optimizer.step()
    assert Sphere().point_residual(weights[1].detach()).max() < 1e-13
    net.bfloat16()
    for w in weights:
        w.grad = torch.zeros_like(w)
    with pytest.raises(GeowarpError, match="bfloat16"):
        optimizer.step()


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_a_constraint_that_comes_or_goes_after_the_optimiser(maker: Maker) -> None:
    layer = nn.Linear(3, 2)
    optimizer = maker([layer.weight], lr=0.1)
    constrain(layer, "weight", Sphere())
    layer.weight.grad = torch.randn(2, 3)
    optimizer.step()
    Sphere().assert_check_point_on_manifold(layer.weight.detach())
    unconstrain(layer, "weight")
    with pytest.raises(GeowarpError, match=r"was on Sphere\(\) and has no manifold any more"):
        optimizer.step()


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_groups_are_not_mutated_and_not_half_added(maker: Maker) -> None:
    x = nn.Parameter(Stiefel().random(6, 3).detach().clone())
    groups = [{"params": [x], "manifold": Stiefel()}]
    first, second = maker(groups, lr=0.1), maker(groups, lr=0.1)
    for optimizer in (first, second):
        x.grad = torch.randn(6, 3)
        optimizer.step()
        Stiefel().assert_check_point_on_manifold(x.detach())
    with pytest.raises(GeowarpError, match="constrain the parameter anew"):
        first.add_param_group({"params": points(Stiefel(), 1), "manifold": Sphere()})
    assert len(first.param_groups) == 1
    first.step()


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_parameters_with_permuted_batch_dimensions(maker: Maker) -> None:
    base = Stiefel().random(2, 3, 6, 2, dtype=torch.float64).detach()
    strided = ManifoldParameter(base.transpose(0, 1).contiguous().transpose(0, 1), manifold=Stiefel())
    plain = ManifoldParameter(base.clone(), manifold=Stiefel())
    for p in (strided, plain):
        run(maker([p], lr=0.05, **momentum(maker)), [p], 5)
    torch.testing.assert_close(strided.detach(), plain.detach(), rtol=1e-12, atol=1e-12)


# --- numbers out of range ---


@pytest.mark.parametrize("maker", OPTIMIZERS)
@pytest.mark.parametrize("manifold", [Stiefel(), Grassmann(), Sphere()], ids=repr)
def test_an_overflow_is_named(maker: Maker, manifold: Manifold) -> None:
    (x,) = points(manifold, 1, torch.float32)
    optimizer = maker([x], lr=0.01)
    x.grad = torch.full_like(x, 1e20)
    x.grad[0] = 0
    before = x.detach().clone()
    with pytest.raises(NonFiniteError, match="overflows; scale the loss down"):
        optimizer.step()
    assert torch.equal(x, before)
    with torch.no_grad():
        x.fill_(torch.nan)
    x.grad = torch.ones_like(x)
    with pytest.raises(GeowarpError, match=r"nan|not finite"):
        optimizer.step()


@pytest.mark.parametrize("lr", [1e4, 1e9])
@pytest.mark.parametrize("retraction", [QR(), Polar(), Cayley()], ids=repr)
def test_absurd_steps_stay_on_the_manifold(retraction: Any, lr: float) -> None:
    stiefel = Stiefel(retraction=retraction)
    x = ManifoldParameter(stiefel.random(20, 5), manifold=stiefel)
    x.grad = torch.randn(20, 1) @ torch.randn(1, 5)
    RiemannianSGD([x], lr=lr).step()
    assert stiefel.point_residual(x.detach()) < 5e-6


def test_the_gradient_of_lorentz_is_not_mutated() -> None:
    lorentz = geoopt.Lorentz()
    x = geoopt.ManifoldParameter(lorentz.origin(4), manifold=lorentz)
    x.grad = torch.tensor([1.0, 2.0, 3.0, 4.0])
    RiemannianAdam([x], lr=0.1).step()
    assert x.grad.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_sparse_gradients_of_flat_parameters_and_contradictions() -> None:
    table = nn.Embedding(4, 3, sparse=True)
    with torch.sparse.check_sparse_tensor_invariants():
        table(torch.tensor([1])).sum().backward()
    with pytest.raises(GeowarpError, match="sparse"):
        RiemannianAdam(table.parameters()).step()
    for options in ({"lr": torch.tensor([0.1, 0.2])}, {"foreach": True, "fused": True}, {"stabilize": 2.5}):
        with pytest.raises(GeowarpError, match=next(iter(options))):
            RiemannianSGD(points(Sphere(), 1), **({"lr": 0.1} | options))
