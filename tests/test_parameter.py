"""A parameter's manifold stays known whatever is done to its module, and its point stays on it."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import geoopt
import pytest
import torch
from torch import Tensor, nn

import geowarp
from geowarp import (
    GeowarpError,
    ManifoldParameter,
    NotOnManifoldError,
    constrain,
    manifold_of,
    named_manifolds,
    project_state_dict,
    unconstrain,
)
from geowarp.manifolds import CanonicalMetric, Sphere, Stiefel
from geowarp.optim import RiemannianAdam


class Net(nn.Module):
    basis: nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        self.basis = ManifoldParameter(Stiefel().random(6, 3), manifold=Stiefel())
        self.head = constrain(nn.Linear(3, 2), "weight", Sphere())
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.tanh(self.inner(x @ self.basis)))
        return y


EXPECTED = {"basis": Stiefel(), "head.weight": Sphere()}


def deepcopied(net: Net, path: Path) -> nn.Module:
    return copy.deepcopy(net)


def pickled(net: Net, path: Path) -> nn.Module:
    module: Net = pickle.loads(pickle.dumps(net))
    return module


def saved_whole(net: Net, path: Path) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    module: Net = torch.load(buffer, weights_only=False)
    return module


def doubled(net: Net, path: Path) -> nn.Module:
    return net.double().float()


def loaded(net: Net, path: Path) -> nn.Module:
    net.load_state_dict(Net().state_dict())
    return net


def loaded_weights_only(net: Net, path: Path) -> nn.Module:
    torch.save(Net().state_dict(), path / "net.pt")
    net.load_state_dict(torch.load(path / "net.pt", weights_only=True))
    return net


def assigned(net: Net, path: Path) -> nn.Module:
    net.load_state_dict(Net().state_dict(), assign=True)
    return net


def emptied(net: Net, path: Path) -> nn.Module:
    state = {k: v.clone() for k, v in net.state_dict().items()}
    net.to("meta").to_empty(device="cpu")
    net.load_state_dict(state)
    return net


def on_meta_and_assigned(net: Net, path: Path) -> nn.Module:
    state = net.state_dict()
    with torch.device("meta"):
        empty = Net()
    empty.load_state_dict(state, assign=True)
    return empty


def swapped(net: Net, path: Path) -> nn.Module:
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        net.double().float().load_state_dict(Net().state_dict())
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    return net


def overwritten(net: Net, path: Path) -> nn.Module:
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        return net.double().float()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def averaged(net: Net, path: Path) -> nn.Module:
    average = torch.optim.swa_utils.AveragedModel(net)
    average.update_parameters(net)
    module: nn.Module = average.module
    return module


def copied_then_emptied(net: Net, path: Path) -> nn.Module:
    return emptied(copy.deepcopy(net), path)


def compiled(net: Net, path: Path) -> nn.Module:
    torch.compiler.reset()
    return torch.compile(net, backend="eager")  # type: ignore[return-value]


def parametrized(net: Net, path: Path) -> nn.Module:
    nn.utils.parametrizations.orthogonal(net.inner)
    return net


def safetensors(net: Net, path: Path) -> nn.Module:
    library = pytest.importorskip("safetensors.torch")
    library.save_model(net, str(path / "net.safetensors"))
    other = Net()
    library.load_model(other, str(path / "net.safetensors"))
    return other


CONVERSIONS: list[Callable[[Net, Path], nn.Module]] = [
    *(deepcopied, pickled, saved_whole, doubled, loaded, loaded_weights_only, assigned, emptied),
    *(on_meta_and_assigned, swapped, overwritten, averaged, copied_then_emptied, compiled, parametrized),
    safetensors,
]


def off_manifold(module: nn.Module) -> Iterator[str]:
    parameters = dict(module.named_parameters())
    for name, manifold in named_manifolds(module):
        if not manifold.check_point_on_manifold(parameters[name].detach()):
            yield name


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")
@pytest.mark.parametrize("grouped", [False, True], ids=["parameters", "param_groups"])
@pytest.mark.parametrize("convert", CONVERSIONS, ids=lambda f: f.__name__)
def test_the_manifold_survives(
    convert: Callable[[Net, Path], nn.Module], grouped: bool, tmp_path: Path
) -> None:
    module = convert(Net(), tmp_path)
    names = {name.removeprefix("_orig_mod."): m for name, m in named_manifolds(module)}
    assert names == EXPECTED
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    params = geowarp.optim.param_groups(module) if grouped else module.parameters()
    optimizer = RiemannianAdam(params, lr=0.1)
    module(torch.randn(5, 6)).square().sum().backward()
    optimizer.step()
    assert list(off_manifold(module)) == []
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(before)


def test_an_optimiser_built_before_a_conversion_stays_on_the_manifold() -> None:
    net = Net()
    optimizer = RiemannianAdam([net.basis], lr=0.1)
    for dtype in (torch.float32, torch.float64):
        net.to(dtype).zero_grad()
        net(torch.randn(5, 6, dtype=dtype)).square().sum().backward()
        optimizer.step()
        assert net.basis.dtype == dtype
        assert Stiefel().point_residual(net.basis.detach()) < 20 * torch.finfo(dtype).eps


def test_a_checkpoint_off_the_manifold_is_refused_with_name_number_and_remedy() -> None:
    net = Net()
    before = net.basis.detach().clone()
    state = net.state_dict() | {"basis": 1.5 * before}
    with pytest.raises(RuntimeError, match=r"2\.2e\+00.*'basis'.*projx.*project_state_dict"):
        net.load_state_dict(state)
    assert torch.equal(net.basis, before)
    with pytest.raises(RuntimeError, match="'basis'"):
        net.load_state_dict(state, assign=True)
    assert dict(named_manifolds(net)) == EXPECTED


def test_every_bad_entry_of_a_checkpoint_is_named() -> None:
    net = Net()
    state = {name: 2 * value for name, value in net.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"(?s)'basis'.*'head\.weight'"):
        net.load_state_dict(state)


def test_project_state_dict_mends_a_checkpoint_and_changes_nothing_in_place() -> None:
    net = Net()
    state = {name: (2 * value).bfloat16() for name, value in net.state_dict().items()}
    kept = state["basis"].clone()
    net.load_state_dict(project_state_dict(net, state))
    assert list(off_manifold(net)) == []
    assert torch.equal(state["basis"], kept)


def test_construction_checks_the_point() -> None:
    with pytest.raises(NotOnManifoldError, match=r"1\.7e\+00, above .*projx"):
        ManifoldParameter(torch.ones(3) * (1 + 3**0.5) / 3**0.5, manifold=Sphere())
    with pytest.raises(NotOnManifoldError, match="nan"):
        ManifoldParameter(torch.full((3,), torch.nan), manifold=Sphere())
    with pytest.raises(ValueError, match="more columns than rows"):
        ManifoldParameter(torch.ones(2, 3), manifold=Stiefel())
    with pytest.raises(GeowarpError, match="no manifold"):
        ManifoldParameter(torch.ones(3))
    with pytest.raises(GeowarpError, match="CanonicalMetric"):
        ManifoldParameter(Stiefel().random(4, 2), manifold=Stiefel(CanonicalMetric()))
    assert ManifoldParameter(Sphere().random(3)).manifold == Sphere()


def test_points_are_checked_in_full_precision_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net = Net()
        net.load_state_dict(Net().state_dict())


def test_it_is_a_parameter_of_geoopt() -> None:
    parameter = ManifoldParameter(Sphere().random(3), manifold=Sphere(), requires_grad=False)
    assert isinstance(parameter, geoopt.ManifoldParameter | nn.Parameter)
    assert not parameter.requires_grad
    assert not copy.deepcopy(parameter).requires_grad
    assert pickle.loads(pickle.dumps(parameter)).manifold == Sphere()
    buffer = io.BytesIO()
    torch.save({"x": parameter.detach()}, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=True)["x"], parameter)


def test_parameters_of_geoopt_are_recorded_too() -> None:
    module = nn.Module()
    ball = geoopt.PoincareBall()
    module.x = geoopt.ManifoldParameter(torch.zeros(3), manifold=ball)
    assert dict(named_manifolds(module)) == {"x": ball}


def test_constrain_keeps_the_parameter_and_its_ties() -> None:
    net = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
    net[1].weight = net[0].weight
    kept = net[0].get_parameter("weight")
    constrain(net[0], "weight", Sphere())
    assert net[1].weight is kept
    assert manifold_of(kept) == Sphere()
    assert [name for name, _ in named_manifolds(net)] == ["0.weight"]


def test_constrain_refuses_what_it_cannot_do() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    with pytest.raises(GeowarpError, match=r"no parameter 'wieght'; it owns: weight, bias"):
        constrain(layer, "wieght", Sphere())
    with pytest.raises(GeowarpError, match="transpose"):
        constrain(layer, "weight", Stiefel())
    with pytest.raises(NotOnManifoldError, match="'weight'"):
        constrain(layer, "weight", Sphere(), project=False)
    assert torch.equal(layer.weight, before)
    assert type(layer.weight) is nn.Parameter
    assert not dict(named_manifolds(layer))


def test_a_plain_parameter_takes_over_the_constraint_of_its_name() -> None:
    net = Net()
    net.basis = nn.Parameter(Stiefel().origin(6, 3).clone())
    assert isinstance(net.basis, ManifoldParameter)
    with pytest.raises(NotOnManifoldError, match="unconstrain"):
        net.basis = nn.Parameter(torch.ones(6, 3))
    unconstrain(net, "basis")
    net.basis = nn.Parameter(torch.ones(6, 3))
    assert dict(named_manifolds(net)) == {"head.weight": Sphere()}


def test_manifold_of() -> None:
    net = Net()
    assert manifold_of(net.basis) == Stiefel()
    assert manifold_of(net.inner.weight) is None
    net.to("meta").to_empty(device="cpu")
    assert type(net.basis) is nn.Parameter
    assert manifold_of(net.basis) == Stiefel()
