"""The contract of torch.optim.Optimizer."""

import copy
import io
import pickle
from typing import Any

import geoopt
import pytest
import torch
from optim_cases import OPTIMIZERS, Maker, momentum, points, run
from torch import Tensor, nn

from geowarp import GeowarpError, ManifoldParameter, constrain
from geowarp.manifolds import (
    CanonicalMetric,
    Sphere,
    Stiefel,
)
from geowarp.optim import RiemannianAdam, RiemannianSGD, param_groups

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
    with pytest.raises(GeowarpError, match=r"parameter '0 of group 0' is on no manifold, .* Stiefel"):
        RiemannianAdam([y]).load_state_dict(state)
    RiemannianAdam([y]).load_state_dict(torch.optim.AdamW([y]).state_dict())
    canonical = ManifoldParameter(x.detach().clone(), manifold=Stiefel(CanonicalMetric()))
    with pytest.warns(UserWarning, match="goes on on"):
        RiemannianAdam([canonical]).load_state_dict(state)


def test_a_state_of_another_kind_is_refused() -> None:
    (x,) = points(Stiefel(), 1)
    plain = nn.Parameter(x.detach().clone())
    adam = torch.optim.AdamW([plain])
    run(adam, [plain], 1)
    optimizer = RiemannianAdam([x])
    optimizer.load_state_dict(adam.state_dict())
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
    assert sphere["manifold"] == Sphere()
    with pytest.raises(
        GeowarpError, match=r"no parameter is on Stiefel; there are: \['Euclidean', 'Sphere'\]"
    ):
        param_groups(net, Stiefel={"lr": 1.0})


def test_a_state_dict_of_geoopt_is_taken() -> None:
    """It repeats the second moment over the entries of a point, and counts steps in an int."""
    ours, theirs = points(Stiefel(), 1), points(Stiefel(), 0)
    theirs = [geoopt.ManifoldParameter(p.detach().clone(), geoopt.EuclideanStiefel()) for p in ours]
    peer = geoopt.optim.RiemannianAdam(theirs, lr=0.05)
    run(peer, theirs, 5)
    with torch.no_grad():
        ours[0].copy_(theirs[0])
    optimizer = RiemannianAdam(ours, lr=0.05)
    optimizer.load_state_dict(peer.state_dict())
    for o, ps in ((optimizer, ours), (peer, theirs)):
        run(o, ps, 5, seed=2)
    torch.testing.assert_close(ours[0].detach(), theirs[0].detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_saved_and_released_state_is_no_view_of_a_stack(maker: Maker) -> None:
    parameters = points(Stiefel(), 40)
    optimizer = maker(parameters, lr=0.1, **momentum(maker))
    run(optimizer, parameters, 1)
    raw = sum(t.numel() * t.element_size() for s in optimizer.state.values() for t in s.values())
    assert len(pickle.dumps(optimizer.state_dict())) < 4 * raw + 40 * 2000
    assert len(pickle.dumps(optimizer)) < 8 * raw + 40 * 6000
    for p in parameters[1:]:
        p.grad = None
    optimizer.step()
    for p in parameters:
        for tensor in optimizer.state[p].values():
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


@pytest.mark.parametrize("maker", OPTIMIZERS)
def test_a_pickled_optimiser_goes_on(maker: Maker) -> None:
    parameters = points(Stiefel(), 2)
    optimizer = maker(parameters, lr=0.1, **momentum(maker))
    run(optimizer, parameters, 2)
    again = pickle.loads(pickle.dumps(optimizer))
    copies = again.param_groups[0]["params"]
    for o, ps in ((optimizer, parameters), (again, copies)):
        run(o, ps, 2, seed=5)
    for p, q in zip(parameters, copies, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-12, atol=1e-12)


def test_one_cycle_moves_momentum_and_betas() -> None:
    (x,) = points(Sphere(), 1)
    for optimizer in (RiemannianAdam([x], lr=0.1), RiemannianSGD([x], lr=0.1, momentum=0.9)):
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=5)
        for _ in range(4):
            run(optimizer, [x], 1)
            schedule.step()
        Sphere().assert_check_point_on_manifold(x.detach())
