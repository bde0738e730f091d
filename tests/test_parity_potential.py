"""The potential of parity: equal distances by definition, its gate, its derivatives, and what it refuses."""

import copy
import pickle
from typing import Any

import geoopt
import numpy as np
import pytest
import torch
from fairness_cases import SPACES, mass_gap, mean_gap, points
from jacobians import assert_jacobian, assert_second_derivatives
from torch import Tensor

from geowarp.errors import GeowarpError, NonFiniteError, NotOnManifoldError
from geowarp.manifolds import Euclidean, FairnessWarped, Lorentz, PoincareBall, Sphere
from geowarp.nn import ChordalSquaredDistance, ParityPotential
from geowarp.nn.fairness.gate import gate
from geowarp.nn.fairness.parity import group_divergences, parity_prototypes, parity_values


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_prototypes_are_a_regular_simplex(groups: int) -> None:
    rows = parity_prototypes(groups, dtype=torch.float64)
    cosine = -1 / (groups - 1)
    expected = torch.full((groups, groups), cosine, dtype=torch.float64).fill_diagonal_(1)
    torch.testing.assert_close(rows @ rows.mT, expected)


@pytest.mark.parametrize("weights", [[0.3], [0.3, 2.0, 0.7]])
def test_values_solve_the_linear_equations(weights: list[float]) -> None:
    prototypes = parity_prototypes(4, dtype=torch.float64).numpy()
    divergences = np.arange(20.0).reshape(5, 4) ** 1.5 % 3
    alpha = np.broadcast_to(weights, 3)
    squares = (alpha * prototypes**2).sum(-1)
    right = (divergences + squares)[:, 1:] - (divergences + squares)[:, :1]
    expected = np.linalg.solve(2 * (prototypes[1:] - prototypes[:1]) * alpha, right.T).T
    given = torch.tensor(weights, dtype=torch.float64) if len(weights) > 1 else weights[0]
    found = parity_values(torch.tensor(divergences), given, torch.tensor(prototypes))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def _groups(name: str, sizes: tuple[int, ...]) -> list[Tensor]:
    return [points(name, size) for size in sizes]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(
    ("sizes", "mode"), [((3, 2), "softmax"), ((2, 1, 4), "mean"), ((2, 1, 4), "softmax")]
)
def test_all_groups_are_equally_far_under_the_chord_distance(
    name: str, sizes: tuple[int, ...], mode: Any
) -> None:
    space, _ = SPACES[name]
    groups, x = _groups(name, sizes), points(name, 30)
    potential = ParityPotential(groups, space, 0.375, mode, tau=0.8)
    metric = FairnessWarped(space, potential)
    away = torch.cat([space.dist(x[:, None], g) for g in groups], -1).amin(-1) >= potential.radius
    assert away.sum() > 5
    x = x[away]
    base = [torch.stack([space.dist(x, y) for y in group], -1) for group in groups]
    warped = [torch.stack([metric.dist(x, y, mode="chord") for y in group], -1) for group in groups]
    measure = mean_gap if mode == "mean" else lambda distances: mass_gap(distances, 0.8)
    assert measure(base) > 0.1
    assert measure(warped) < 1e-10


def test_manifolds_of_geoopt() -> None:
    groups, x = _groups("Lorentz", (2, 3)), points("Lorentz", 5)
    spaces = Lorentz(1.3), geoopt.Lorentz(1.3).double()
    own, other = (ParityPotential(groups, space, 0.5) for space in spaces)
    torch.testing.assert_close(other(x.requires_grad_()), own(x.detach()), rtol=1e-6, atol=1e-6)


def test_parity_of_another_score() -> None:
    groups, x = _groups("PoincareBall", (2, 3)), points("PoincareBall", 20)
    ball, score = PoincareBall(0.7), ChordalSquaredDistance()
    potential = ParityPotential(groups, ball, 0.4, score=score, radius=0)
    steps = [0.4 * (potential(x) - p).square() for p in potential.prototypes]
    warped = [(step - score.logits(ball, x, y)).sqrt() for step, y in zip(steps, groups, strict=True)]
    assert mean_gap(warped) < 1e-12


def test_neutral_distances_grow_in_inverse_proportion_to_alpha() -> None:
    groups, x = _groups("Lorentz", (2, 2, 2)), points("Lorentz", 2)
    space, _ = SPACES["Lorentz"]
    square = space.dist2(x[0], x[1])
    grown = []
    for alpha in (0.1, 1.0, 10.0):
        metric = FairnessWarped(space, ParityPotential(groups, space, alpha, radius=0))
        grown.append(metric.dist2(x[0], x[1], mode="chord") - square)
    torch.testing.assert_close(grown[0], 10 * grown[1])
    torch.testing.assert_close(grown[1], 10 * grown[2])


@pytest.mark.parametrize("name", SPACES)
def test_members_have_their_vertex_and_no_slope(name: str) -> None:
    space, _ = SPACES[name]
    groups = _groups(name, (2, 3, 1))
    potential = ParityPotential(groups, space, 0.4)
    owners = potential.prototypes.repeat_interleave(torch.tensor([2, 3, 1]), 0)
    torch.testing.assert_close(potential(torch.cat(groups)), owners, atol=1e-13, rtol=0)
    x = torch.cat(groups).requires_grad_()
    values = potential(x)
    torch.testing.assert_close(values.detach(), owners, atol=1e-13, rtol=0)
    (slope,) = torch.autograd.grad(values.sum(), x, create_graph=name != "Grassmann")
    assert slope.abs().max() < 1e-6
    if name != "Grassmann":
        (second,) = torch.autograd.grad(slope.square().sum() + slope.sum(), x)
        assert second.isfinite().all()


def test_gate_has_compact_support() -> None:
    squares = 2 * torch.rand(7, 5, dtype=torch.float64)
    expected = 1 - (1 - (1 - squares.clamp(max=1.44) / 1.44) ** 3).prod(-1)
    torch.testing.assert_close(gate(squares, 1.2), expected)
    assert not gate(torch.full((3, 2), 1.44), 1.2).any()


def test_parity_holds_exactly_from_the_radius_on() -> None:
    groups = [torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])]
    potential = ParityPotential(groups, Euclidean(1), 1.0)
    assert potential.radius == 1
    outside, inside = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.9]])
    assert torch.equal(potential(outside), potential.parity(outside))
    assert not torch.allclose(potential(inside), potential.parity(inside))


@pytest.mark.parametrize(
    "name", ["Euclidean", "PoincareBall", "Lorentz", "LogEuclideanSPD", "AffineInvariantSPD"]
)
def test_derivatives_of_first_and_second_order(name: str) -> None:
    space, shape = SPACES[name]
    groups = _groups(name, (2, 1))
    potential = ParityPotential(groups, space, 0.4, "softmax", 0.8)
    near = points(name, 1)
    if name != "Lorentz":  # a point within the gate, by a straight line in a convex set
        near = groups[0][:1] + 0.3 * potential.radius * (near - groups[0][:1])

    def values(x: Tensor) -> Tensor:
        b: Tensor = potential(0.5 * (x + x.mT) if len(shape) == 2 else x)
        return b

    x = torch.cat([near, points(name, 1)]).requires_grad_()
    assert_jacobian(values, x)
    assert_second_derivatives(values, x)


def test_hessian_of_the_squared_hyperbolic_distance_at_a_member() -> None:
    ball, y = PoincareBall(0.7), points("PoincareBall", 1)
    potential = ParityPotential([y, -y], ball, 0.25, radius=0)  # 4 alpha = 1: b = d²(x, y) − d²(x, −y)

    def first(x: Tensor) -> Tensor:
        square: Tensor = potential(x).squeeze() + ball.dist2(x, -y[0])
        return square

    found = torch.autograd.functional.hessian(first, y[0])
    factor = 2 / (1 - 0.7 * y.square().sum())
    torch.testing.assert_close(found, 2 * factor**2 * torch.eye(3, dtype=y.dtype))


@pytest.mark.parametrize("name", ["Euclidean", "PoincareBall", "Lorentz"])
@pytest.mark.parametrize("apart", [0.0, 1e-7, 1e-2])
def test_values_do_not_depend_on_whether_a_gradient_is_recorded(name: str, apart: float) -> None:
    space, _ = SPACES[name]
    groups = _groups(name, (2, 2))
    potential = ParityPotential(groups, space, 1e-6, radius=0)
    x = space.projx(groups[0] + apart * torch.randn_like(groups[0]))
    recorded = potential(x.clone().requires_grad_()).detach()
    torch.testing.assert_close(recorded, potential(x), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_batches_and_dtypes(dtype: torch.dtype) -> None:
    groups = [x.to(dtype) for x in _groups("Euclidean", (2, 3, 2))]
    potential = ParityPotential(groups, Euclidean(1), 0.4, "softmax", 0.8)
    x = points("Euclidean", 6).to(dtype)
    values = potential(x)
    assert values.dtype == dtype
    torch.testing.assert_close(potential(x.reshape(2, 3, 4).mT.contiguous().mT), values.reshape(2, 3, 2))
    torch.testing.assert_close(potential(x[0]), values[0])
    assert potential(x[:0].requires_grad_()).shape == (0, 2)


def test_copies_and_compilation() -> None:
    groups, x = _groups("Lorentz", (2, 3)), points("Lorentz", 4)
    potential = ParityPotential(groups, Lorentz(1.3), 0.4, "softmax", 0.8)
    for same in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
        assert torch.equal(same(x), potential(x))
    compiled = torch.compile(potential, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), potential(x))


def test_values_of_extreme_weights_and_temperatures() -> None:
    groups, x = [torch.randn(2, 3), torch.randn(2, 3)], torch.randn(4, 3)
    nearest = torch.stack([torch.cdist(x, group).square().amin(-1) for group in groups], -1)
    cold = ParityPotential(groups, Euclidean(1), 1.0, "softmax", 1e-30).parity(x)
    torch.testing.assert_close(cold[:, 0], (nearest[:, 0] - nearest[:, 1]) / 4)
    mean = ParityPotential(groups, Euclidean(1), 1.0).parity(x)
    hot = ParityPotential([rows.double() for rows in groups], Euclidean(1), 1.0, "softmax", 1e6)
    torch.testing.assert_close(hot.parity(x.double()).float(), mean, rtol=1e-4, atol=1e-4)
    for alpha in (1e-30, 1e30):
        found = ParityPotential(groups, Euclidean(1), alpha).parity(x)
        torch.testing.assert_close(found * alpha, mean)


def test_members_move_and_are_stored() -> None:
    potential = ParityPotential({"a": torch.zeros(1, 2), "b": torch.ones(2, 2)}, Euclidean(1), 0.5)
    other = ParityPotential([torch.ones(1, 2), torch.zeros(2, 2)], Euclidean(1), 0.5)
    other.load_state_dict(copy.deepcopy(potential.state_dict()))
    x = torch.randn(3, 2)
    torch.testing.assert_close(other.parity(x), potential.parity(x))
    assert potential.double()(x.double()).dtype == torch.float64
    assert potential.names == ("a", "b")
    assert potential.outputs == 1


PAIR = [torch.zeros(1, 2), torch.ones(2, 2)]


@pytest.mark.parametrize(
    ("groups", "options", "message"),
    [
        (PAIR[:1], {}, "1 group is given"),
        ([PAIR[0], torch.zeros(0, 2)], {}, "group '1' is empty"),
        (
            {"a": PAIR[1], "b": torch.ones(1, 2)},
            {},
            "member 0 of group 'a' and member 0 of group 'b'",
        ),
        ([PAIR[0], torch.ones(1, 3)], {}, r"\(2,\).*\(3,\)"),
        ([PAIR[0], torch.ones(1, 2).double()], {}, "float32.*float64"),
        ([PAIR[0], torch.ones(2)], {}, r"it must be \(n, \*point\)"),
        (PAIR, {"alpha": 0.0}, "alpha = 0.0"),
        (PAIR, {"alpha": float("nan")}, "alpha = nan"),
        (PAIR, {"alpha": torch.ones(2)}, r"alpha has the shape \(2,\); it is one number"),
        (PAIR, {"mode": "softmax"}, "needs tau"),
        (PAIR, {"mode": "softmax", "tau": torch.tensor(-1.0)}, "tau = -1.0"),
        (PAIR, {"mode": "median"}, "mode = 'median'"),
        (PAIR, {"mode": "softmax", "tau": 0.0}, "tau = 0.0"),
        (PAIR, {"radius": 1.0}, "radius = 1.0; it must be from 0 to 0.7071"),
    ],
)
def test_refusals(groups: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        ParityPotential(groups, Euclidean(1), **({"alpha": 1.0} | options))


def test_members_must_be_points() -> None:
    with pytest.raises(NonFiniteError, match="group 'b'"):
        ParityPotential({"a": torch.zeros(1, 2), "b": torch.tensor([[0.0, torch.nan]])}, Euclidean(1), 1.0)
    with pytest.raises(NotOnManifoldError, match="group '1'"):
        ParityPotential([torch.eye(2)[:1], torch.ones(1, 2)], Sphere(), 1.0)
    with pytest.raises(GeowarpError, match="the points have the shape"):
        ParityPotential(PAIR, Euclidean(1), 1.0)(torch.zeros(3))
    with pytest.raises(GeowarpError, match="groups = 1"):
        parity_prototypes(1)
    with pytest.raises(GeowarpError, match="last dimension must be 2"):
        parity_values(torch.zeros(3), 1.0, parity_prototypes(2))
    with pytest.raises(GeowarpError, match="mode"):
        group_divergences([torch.zeros(1)], "other")  # type: ignore[arg-type]
