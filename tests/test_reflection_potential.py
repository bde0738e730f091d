"""The mirror image of a bias: its distances in closed form, its gate, and what it refuses."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from fairness_cases import SPACES, gendered_embeddings, mean_gap, points
from jacobians import assert_jacobian
from torch import Tensor

from geowarp.errors import GeowarpError, NonFiniteError, NotOnManifoldError
from geowarp.manifolds import Euclidean, FairnessWarped, Lorentz, PoincareBall, Sphere
from geowarp.nn import ParityPotential, ReflectionPotential, StackedPotential, WarpedScore, manifold_attention

C = 0.7


def _pairs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return pairs ``(4, 2, 8)``, and neutral points ``(60, 8)``."""
    female, male, x = gendered_embeddings()
    pairs = torch.stack([female, male], 1)
    pairs = torch.nn.functional.normalize(pairs + 0.1 * torch.randn_like(pairs), dim=-1)
    return pairs.to(dtype), x.to(dtype)


def _coordinates(pairs: Tensor, count: int) -> np.ndarray[Any, Any]:
    return np.linalg.svd((pairs[:, 0] - pairs[:, 1]).numpy(), full_matrices=False)[2][:count]


@pytest.mark.parametrize("directions", [1, 3])
def test_distances_in_flat_space_against_numpy(directions: int) -> None:
    pairs, x = _pairs()
    y = pairs.flatten(0, 1)
    potential = ReflectionPotential(pairs, Euclidean(1), directions, scale=C, radius=1e-3)
    metric = FairnessWarped(Euclidean(1), potential)
    axes = _coordinates(pairs, directions)
    f, h = x.numpy() @ axes.T, y.numpy() @ axes.T
    level = C**2 * (h**2).sum(-1).max()
    neutralised = x.numpy() - f @ axes
    expected = ((neutralised[:, None] - y.numpy()) ** 2).sum(-1)
    expected += (1 + 1 / C**2) * (f**2).sum(-1)[:, None] + level
    squares = metric.cdist(x, y, mode="chord").square()
    np.testing.assert_allclose(squares.numpy(), expected, rtol=1e-9)
    between = ((x[:, None] - x) ** 2).sum(-1).numpy() + ((f[:, None] - f) ** 2).sum(-1) / C**2
    np.testing.assert_allclose(metric.cdist(x, x, mode="chord").numpy() ** 2, between, atol=1e-12)
    rise = np.sqrt(np.maximum(level - C**2 * (h**2).sum(-1), 0))
    own = ((y[:, None] - y) ** 2).sum(-1).numpy() + C**2 * ((h[:, None] - h) ** 2).sum(-1)
    own += (rise[:, None] - rise) ** 2
    np.testing.assert_allclose(metric.cdist(y, y, mode="chord").numpy() ** 2, own, atol=1e-7)


def test_attention_of_neutral_points_is_that_after_projection() -> None:
    pairs, x = _pairs()
    y, values = pairs.flatten(0, 1), torch.randn(8, 8, dtype=torch.float64)
    potential = ReflectionPotential(pairs, Euclidean(1), 2, radius=1e-3)
    score = WarpedScore(potential)
    assert score.alpha == potential.alpha == 1
    axes = torch.from_numpy(_coordinates(pairs, 2))
    removed, of_keys = (rows - rows @ axes.mT @ axes for rows in (x, y))
    found = manifold_attention(x, y, values, Euclidean(1), tau=0.5, score=score)
    # keys are of length 1, so the squared distance of a neutralised point is 2 - 2⟨Px, Py⟩ and its own terms
    expected = (2 * removed @ of_keys.mT / 0.5).softmax(-1) @ values
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["PoincareBall", "Lorentz", "AffineInvariantSPD", "LogEuclideanSPD"])
def test_neutral_and_gendered_points_on_manifolds(name: str) -> None:
    space, _ = SPACES[name]
    pairs, x, y = points(name, 6).unflatten(0, (3, 2)), points(name, 7), points(name, 4)
    potential = ReflectionPotential(pairs, space, 2, gendered=y, scale=C, radius=1e-6)
    f, h = potential.coordinates(x), potential.coordinates(y)
    origin = space.origin(*x.shape[1:], dtype=x.dtype).as_subclass(Tensor)
    torch.testing.assert_close(  # orthonormal coordinates of logarithms: no longer than they are
        potential.coordinates(space.expmap(origin, 0.5 * space.logmap(origin, x))), 0.5 * f
    )
    assert (f.norm(dim=-1) <= space.dist(origin, x) + 1e-9).all()
    expected = space.dist(x[:, None], y).square() + 2 * f @ h.mT
    expected = expected + f.square().sum(-1, keepdim=True) / C**2 + potential.level.square()
    metric = FairnessWarped(space, potential)
    torch.testing.assert_close(metric.cdist(x, y, mode="chord").square(), expected, rtol=1e-6, atol=1e-6)


def test_parity_on_top_is_exact() -> None:
    pairs, x = _pairs()
    groups, ball = [0.5 * side for side in pairs.unbind(1)], PoincareBall()
    mirror = ReflectionPotential(0.5 * pairs, ball, 2, radius=1e-3)
    rest = ParityPotential(groups, ball, 0.2, score=WarpedScore(mirror), radius=1e-3)
    both = StackedPotential(mirror, rest)
    assert both.alpha == (1.0, 1.0, 1.0, 0.2)
    metric = FairnessWarped(ball, both)
    squares = [metric.cdist(0.5 * x, group, mode="chord") for group in groups]
    assert mean_gap(squares) < 1e-10
    alone = FairnessWarped(ball, mirror)
    assert mean_gap([alone.cdist(0.5 * x, group, mode="chord") for group in groups]) > 1e-3


def test_lists_and_what_is_on_none() -> None:
    pairs, x = _pairs()
    listed, other = x[:20], x[20:]
    opens = ReflectionPotential(pairs, Euclidean(1), gendered=listed, radius=1e-3)
    closes = ReflectionPotential(pairs, Euclidean(1), neutral=listed, radius=1e-3)
    ones, zeros = torch.ones(20, dtype=x.dtype), torch.zeros(20, dtype=x.dtype)
    assert torch.equal(opens.gate(listed), ones)
    assert torch.equal(closes.gate(listed), zeros)
    assert not opens.gate(other).any()
    assert (closes.gate(other) == 1).all()
    for potential in (opens, closes):
        assert (potential.gate(pairs) == 1).all()
    away = ReflectionPotential(pairs, Euclidean(1), level=opens.level.item() + 1)
    lengths = away(pairs).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, opens.level.item() + 1))


def test_the_gate_is_half_as_wide_as_points_are_apart() -> None:
    pair, far = torch.tensor([[0.0, 0.0], [0.0, 6.0]]), torch.tensor([[3.0, 0.0], [3.0, 0.0]])
    potential = ReflectionPotential(pair[None], Euclidean(1), gendered=far)
    assert potential.radius == 1.5
    x = torch.tensor([[1.5, 0.0], [0.0, 0.75]])
    torch.testing.assert_close(potential.gate(x), torch.tensor([0.0, 0.75**3]))
    assert len(potential.listed) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_batches_and_dtypes(dtype: torch.dtype) -> None:
    pairs, x = _pairs(dtype)
    potential = ReflectionPotential(pairs, Euclidean(1), 2)
    values = potential(x[:6])
    assert values.dtype == dtype
    assert values.shape == (6, potential.outputs)
    torch.testing.assert_close(potential(x[:6].reshape(2, 3, 8).mT.contiguous().mT), values.reshape(2, 3, 3))
    torch.testing.assert_close(potential(x[0]), values[0])
    assert potential(x[:0].requires_grad_()).shape == (0, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(potential(x[:6]), values)


def test_derivatives_also_at_gendered_points() -> None:
    pairs, x = _pairs()
    potential = ReflectionPotential(pairs, Euclidean(1), 2, level=3.0, radius=1.0)
    near = pairs[0, 0] + 0.2 * torch.randn(1, 8, dtype=x.dtype)
    assert 0 < potential.gate(near) < 1
    assert_jacobian(potential, torch.cat([near, x[:1]]).requires_grad_())
    at = pairs.flatten(0, 1).requires_grad_()
    default = ReflectionPotential(pairs, Euclidean(1), 2)
    (slope,) = torch.autograd.grad(default(at).sum(), at)
    assert slope.isfinite().all()


def test_state_and_copies() -> None:
    pairs, x = _pairs()
    potential, other = (ReflectionPotential(rows, Euclidean(1), 2) for rows in (pairs, pairs.flip(0) + 1))
    other.load_state_dict(potential.state_dict())
    for same in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
        assert torch.equal(same(x), potential(x))
    torch.testing.assert_close(other.coordinates(x), potential.coordinates(x))
    assert torch.equal(other.listed, potential.listed)
    compiled = torch.compile(potential, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), potential(x))
    single = copy.deepcopy(potential).float()
    torch.testing.assert_close(single(x.float()), potential(x).float(), rtol=1e-4, atol=1e-4)


PAIR = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]], [[2.0, 1.0], [-2.0, 1.0]]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": PAIR[:, 0]}, r"they must be \(P, 2, \*point\)"),
        ({"pairs": PAIR[:0]}, "P at least 1"),
        ({"directions": 0}, "directions = 0; with 2 pairs it must be from 1 to 2"),
        ({"directions": 3}, "directions = 3; with 2 pairs it must be from 1 to 2"),
        ({"directions": 2}, "the pairs differ in 1 only"),
        ({"pairs": PAIR[:, :1].expand(2, 2, 2)}, "the pairs differ in 0 only"),
        ({"gendered": torch.ones(0, 2)}, "group 'gendered' is empty"),
        ({"gendered": torch.ones(1, 3)}, r"\(2,\).*\(3,\)"),
        ({"gendered": torch.ones(1, 2), "neutral": torch.ones(1, 2)}, "both given"),
        (
            {"neutral": PAIR[0]},
            "member 0 of group 'pairs' and member 0 of group 'neutral' are the same point",
        ),
        ({"scale": 0.0}, "scale = 0.0"),
        ({"radius": -1.0}, "radius = -1.0"),
        ({"level": 1.0}, "level = 1.0; it must be finite and at least 1.7"),
        ({"origin": torch.zeros(3)}, "origin"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    others = {name: value for name, value in options.items() if name != "pairs"}
    with pytest.raises(GeowarpError, match=message):
        ReflectionPotential(options.get("pairs", PAIR), Euclidean(1), **others)


def test_points_are_checked() -> None:
    with pytest.raises(NonFiniteError, match="pairs"):
        ReflectionPotential(torch.nan * PAIR, Euclidean(1))
    with pytest.raises(NotOnManifoldError, match="pairs"):
        ReflectionPotential(PAIR, Sphere())
    with pytest.raises(NonFiniteError, match="neutral"):
        ReflectionPotential(PAIR, Euclidean(1), neutral=torch.full((1, 2), torch.inf))
    potential = ReflectionPotential(PAIR, Euclidean(1))
    for x in (torch.zeros(3), torch.zeros(2, dtype=torch.float64), torch.zeros(())):
        with pytest.raises(GeowarpError, match=r"those of the pairs are \(2,\) and torch.float32"):
            potential(x)


def test_coordinates_about_another_origin() -> None:
    pairs = Lorentz().projx(torch.randn(3, 2, 4, dtype=torch.float64))
    potential = ReflectionPotential(pairs, Lorentz(), 2, origin=pairs[0, 0])
    torch.testing.assert_close(potential.coordinates(pairs[0, 0]), torch.zeros(2, dtype=pairs.dtype))
