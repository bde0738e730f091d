"""What every way to compute attention keeps: symmetries, secrets, digits, memory and dtypes."""

import math
from typing import Any

import pytest
import torch
from attention_distance_cases import CASES, Case, Inputs, Largest, random_points
from torch import Tensor, nn

from geowarp.manifolds import (
    SPSD,
    AffineInvariantSPD,
    BuresWassersteinSPD,
    Euclidean,
    Grassmann,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    PoincareBall,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
)
from geowarp.nn import (
    Blockwise,
    ChordalSquaredDistance,
    Distance,
    DistanceScore,
    Fused,
    InverseLogDistance,
    Reference,
    Score,
    SquaredDistance,
    manifold_attention,
)
from geowarp.nn.distance_attention.methods import Method

DOUBLE = torch.float64
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
HIDDEN = torch.tensor([[True, True, False, True, False]])


def ways(case: Case) -> list[Method]:
    return [Reference(), Blockwise(pairs=16), *([Fused()] if case.has_features else [])]


def attend(inputs: Inputs, method: Method | None, **options: Any) -> Tensor:
    q, k, v, tau = inputs.q, inputs.k, inputs.v, inputs.tau
    return manifold_attention(q, k, v, inputs.manifold, tau, score=inputs.score, method=method, **options)


@every_case
def test_order_of_tokens_does_not_matter(case: Case) -> None:
    inputs = Inputs(case)
    rows, columns = torch.tensor([2, 0, 3, 1]), torch.tensor([4, 2, 0, 1, 3])
    axis = -inputs.manifold.ndim - 1
    for method in ways(case):
        out = attend(inputs, method)
        moved = Inputs(case)
        moved.manifold, moved.tau = inputs.manifold, inputs.tau
        moved.q, moved.k = inputs.q.index_select(axis, rows), inputs.k.index_select(axis, columns)
        moved.v = inputs.v.index_select(-2, columns)
        expected = out.index_select(-2, rows)
        torch.testing.assert_close(attend(moved, method), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("hidden", [{"mask": HIDDEN}, {"is_causal": True}], ids=["mask", "causal"])
@every_case
def test_hidden_keys_do_not_matter(case: Case, hidden: dict[str, Any]) -> None:
    inputs, changed = Inputs(case), Inputs(case)
    changed.manifold, changed.q, changed.tau = inputs.manifold, inputs.q, inputs.tau
    rows, axis = (4 if "mask" in hidden else 2), -inputs.manifold.ndim - 1
    places = torch.tensor([2, 4] if "mask" in hidden else [2, 3, 4])
    seen = torch.tensor([place for place in range(5) if place not in places])
    changed.k = changed.k.detach().index_copy(axis, seen, inputs.k.detach().index_select(axis, seen))
    changed.v = changed.v.detach().index_copy(-2, seen, inputs.v.detach().index_select(-2, seen))
    for method in ways(case):
        out = attend(inputs, method, **hidden)[..., :rows, :]
        same = attend(changed, method, **hidden)[..., :rows, :]
        torch.testing.assert_close(same, out, atol=1e-10, rtol=0)
        of_keys, of_values = torch.autograd.grad(out.sum(), (inputs.k, inputs.v), materialize_grads=True)
        for gradient in (of_keys.index_select(axis, places), of_values[:, places]):
            torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)


@pytest.mark.parametrize("method", [None, Fused()])
def test_hidden_keys_far_away_leave_the_digits_of_the_others(method: Method | None) -> None:
    q, k, v = torch.randn(4, 3), torch.randn(5, 3), torch.randn(5, 2)
    expected = manifold_attention(q, k[:3], v[:3], Euclidean(1))
    k[3:] = 1e6
    mask = torch.tensor([[[True, True, True, False, False]], [[False] * 5]])
    found = manifold_attention(q, k, v, Euclidean(1), mask=mask, method=method)
    torch.testing.assert_close(found[0], expected)
    assert found[1].eq(0).all()


def test_points_far_from_zero_keep_their_digits() -> None:
    x, v = torch.randn(6, 3) + 300, torch.randn(6, 2)
    exact = manifold_attention(x.double(), x.double(), v.double(), Euclidean(1), method=Reference())
    found = manifold_attention(x, x, v, Euclidean(1), method=Fused())
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=0)


def rotation(n: int) -> Tensor:
    turn: Tensor = SpecialOrthogonal().random(n, n, dtype=DOUBLE).as_subclass(Tensor)
    return turn


def boost(x: Tensor) -> Tensor:
    """Return points of ``Lorentz`` with a boost in two directions."""
    for axis, rapidity in ((1, 0.7), (2, -0.4)):
        matrix = torch.eye(x.shape[-1], dtype=DOUBLE)
        matrix[0, 0] = matrix[axis, axis] = math.cosh(rapidity)
        matrix[0, axis] = matrix[axis, 0] = math.sinh(rapidity)
        x = x @ matrix
    return x


def isometries() -> list[tuple[Case, Any]]:
    turn, other, general = rotation(4), rotation(3), torch.randn(3, 3, dtype=DOUBLE)
    halves = torch.block_diag(rotation(2), rotation(2))
    ball, step = PoincareBall(0.5), torch.tensor([0.3, -0.5, 0.2], dtype=DOUBLE)
    chordal = ChordalSquaredDistance()
    return [
        (Case(lambda: Euclidean(1), (3,)), lambda x: x @ other + 5),
        (Case(AffineInvariantSPD, (3, 3)), lambda x: general @ x @ general.mT),
        (Case(LogEuclideanSPD, (3, 3)), lambda x: other @ x @ other.mT),
        (Case(BuresWassersteinSPD, (3, 3), InverseLogDistance()), lambda x: other @ x @ other.mT),
        (Case(Grassmann, (4, 2)), lambda x: turn @ x @ rotation(2)),
        (Case(Grassmann, (4, 2), chordal), lambda x: turn @ x @ rotation(2)),
        (Case(lambda: SPSD(2), (4, 2)), lambda x: halves @ x @ rotation(2)),
        (Case(Sphere, (4,)), lambda x: x @ turn),
        (Case(Stiefel, (4, 2), chordal), lambda x: turn @ x),
        (Case(SpecialOrthogonal, (3, 3)), lambda x: rotation_pair(x, other)),
        (Case(lambda: PoincareBall(0.5), (3,)), lambda x: ball.mobius_add(step, x)),
        (Case(lambda: PoincareBall(0.5), (3,), chordal), lambda x: ball.mobius_add(step, x)),
        (Case(lambda: Lorentz(2.0), (4,)), boost),
        (Case(lambda: Lorentz(2.0), (4,), chordal), boost),
    ]


def rotation_pair(x: Tensor, turn: Tensor) -> Tensor:
    return turn @ x @ turn.mT @ turn.mT


@pytest.mark.parametrize("index", range(len(isometries())))
def test_isometries_of_queries_and_keys_together_change_nothing(index: int) -> None:
    case, isometry = isometries()[index]
    inputs = Inputs(case)
    q, k = inputs.q.detach(), inputs.k.detach()
    for method in ways(case):
        options: dict[str, Any] = {"score": case.score, "method": method}
        out = manifold_attention(q, k, inputs.v, inputs.manifold, inputs.tau, **options)
        moved = isometry(q), isometry(k)
        same = manifold_attention(*moved, inputs.v, inputs.manifold, inputs.tau, **options)
        torch.testing.assert_close(same, out, atol=1e-9, rtol=0)


# digits


def far_points(manifold: Lorentz | PoincareBall, radius: float) -> Tensor:
    """Return 8 points about so far from the origin, of which each second one is close to the one before."""
    directions = nn.functional.normalize(torch.randn(4, 3, dtype=DOUBLE), dim=-1)
    directions = directions + 1e-4 * torch.randn(2, 4, 3, dtype=DOUBLE)
    tangents = radius * directions.transpose(0, 1).reshape(8, 3)
    if isinstance(manifold, Lorentz):
        tangents = nn.functional.pad(tangents, (1, 0))
    points: Tensor = manifold.expmap0(tangents)
    return points.float()


def exact_squares(manifold: Lorentz | PoincareBall, x: Tensor) -> Tensor:
    """Return all squared distances of float32 points in closed form, in double precision."""
    x = x.double()
    apart = (x[:, None] - x).square()
    if isinstance(manifold, Lorentz):
        space = x[:, 1:]
        time = (1 + space.square().sum(-1)).sqrt()
        rise = (apart[..., 1:].sum(-1) - (time[:, None] - time).square()) / 2
    else:
        gaps = 1 - x.square().sum(-1)
        rise = 2 * apart.sum(-1) / (gaps[:, None] * gaps)
    return (1 + rise).acosh().square()


@pytest.mark.parametrize("radius", [6.0, 8.0])
@pytest.mark.parametrize("manifold", [Lorentz(), PoincareBall()], ids=["Lorentz", "PoincareBall"])
@pytest.mark.parametrize("score", [SquaredDistance(), Distance()], ids=repr)
def test_digits_far_from_the_origin_in_single_precision(
    score: DistanceScore, manifold: Lorentz | PoincareBall, radius: float
) -> None:
    x, v = far_points(manifold, radius), torch.randn(8, 2)
    exact = score.of_distance(exact_squares(manifold, x).sqrt())
    expected = exact.softmax(-1) @ v.double()
    for method in (Blockwise(), Blockwise(pairs=5), Reference()):
        found = manifold_attention(x, x, v, manifold, score=score, method=method)
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("manifold", [Lorentz(), PoincareBall()], ids=["Lorentz", "PoincareBall"])
def test_gradients_at_equal_points_far_from_the_origin(manifold: Lorentz | PoincareBall) -> None:
    found: list[tuple[Tensor, ...]] = []
    for method, dtype in ((Reference(), DOUBLE), (Blockwise(pairs=9), DOUBLE), (Blockwise(), torch.float32)):
        torch.default_generator.manual_seed(1)
        q, k = (far_points(manifold, 4.0).to(dtype).requires_grad_() for _ in range(2))
        k = q.detach().clone().requires_grad_()
        v = torch.randn(8, 2, dtype=torch.float32).to(dtype)
        out = manifold_attention(q, k, v, manifold, method=method)
        gradients = torch.autograd.grad(out[:, 0].sum(), (q, k))
        found.append(tuple(manifold.egrad2rgrad(q.detach(), g).double() for g in gradients))
    for slow, fast, single in zip(*found, strict=True):
        norm = slow.abs().max()
        assert norm > 0
        torch.testing.assert_close(fast / norm, slow / norm, atol=1e-8, rtol=0)
        torch.testing.assert_close(single / norm, slow / norm, atol=1e-4, rtol=0)


@pytest.mark.parametrize("manifold", [Lorentz(), PoincareBall()], ids=["Lorentz", "PoincareBall"])
@pytest.mark.parametrize("tau", [0.1, 1e-2, 1e-4])
def test_weights_whose_sum_underflows(tau: float, manifold: Manifold) -> None:
    shape = (4,) if isinstance(manifold, Lorentz) else (3,)
    q, k = random_points(manifold, shape, 4), random_points(manifold, shape, 5)
    v, mask = torch.randn(5, 2, dtype=DOUBLE), torch.ones(4, 5, dtype=torch.bool)
    mask[1], mask[2, 1:] = False, False
    for options in ({}, {"mask": mask}, {"is_causal": True}):
        slow = manifold_attention(q, k, v, manifold, tau, method=Reference(), **options)
        fast = manifold_attention(q, k, v, manifold, tau, method=Blockwise(pairs=6), **options)
        torch.testing.assert_close(fast, slow, atol=1e-9, rtol=0)
        single = manifold_attention(
            q.float(), k.float(), v.float(), manifold, tau, method=Blockwise(), **options
        )
        assert single.isfinite().all()
        assert single.abs().max() <= v.abs().max() + 1e-5
        assert (single.eq(0).all(-1) == slow.eq(0).all(-1)).all()


def test_weights_whose_sum_has_few_digits() -> None:
    radius = torch.tensor([3.0, 3.02, 3.05, 3.1], dtype=DOUBLE)
    k = Lorentz().expmap0(nn.functional.pad(torch.diag(radius), (1, 0)))
    q, v = Lorentz().origin(1, 5, dtype=DOUBLE).as_subclass(Tensor), torch.randn(4, 2, dtype=DOUBLE)
    expected = manifold_attention(q, k, v, Lorentz(), 0.09, method=Reference())  # weights of exp(−100)
    found = manifold_attention(q.float(), k.float(), v.float(), Lorentz(), 0.09, method=Blockwise())
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=0)


# memory


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"mask": torch.rand(1, 600) < 0.5},
        {"bias": torch.randn(1, 600, requires_grad=True)},
        {
            "mask": torch.rand(1, 600) < 0.5,
            "is_causal": True,
            "bias": torch.randn(1, 600, requires_grad=True),
        },
    ],
    ids=["all", "causal", "padding", "bias", "everything"],
)
@pytest.mark.parametrize(
    ("manifold", "score", "method"),
    [
        (Euclidean(1), SquaredDistance(), None),
        (Sphere(), ChordalSquaredDistance(), None),
        (Lorentz(), SquaredDistance(), None),
        (PoincareBall(), Distance(), Blockwise()),
        (Sphere(), SquaredDistance(), Blockwise(pairs=20_000)),
    ],
    ids=["flat", "chordal", "Lorentz", "PoincareBall", "Sphere"],
)
def test_no_matrix_of_pairs(
    manifold: Manifold, score: Score, method: Method | None, options: dict[str, Any]
) -> None:
    q, k = (random_points(manifold, (3,), n, dtype=torch.float32).requires_grad_() for n in (700, 600))
    v = torch.randn(600, 3, requires_grad=True)
    with Largest() as largest:
        out = manifold_attention(q, k, v, manifold, score=score, method=method, **options)
        out.sum().backward()
    assert 600 * 3 <= largest.entries < 700 * 600 / 4
    with Largest() as largest:
        manifold_attention(q, k, v, manifold, score=score, method=Reference(), **options)
    assert largest.entries >= 700 * 600


# dtypes


def test_autocast_changes_nothing() -> None:
    for case in (CASES[0], CASES[3], CASES[6], CASES[11]):
        inputs = Inputs(case, torch.float32)
        for method in ways(case):
            results = []
            for enabled in (False, True):
                with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                    out = manifold_attention(
                        inputs.q, inputs.k, inputs.v, inputs.manifold, inputs.tau, method=method
                    )
                results.append((out, *torch.autograd.grad(out.sum(), (inputs.q, inputs.k))))
            for plain, low in zip(*results, strict=True):
                assert torch.equal(plain, low)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(half: torch.dtype) -> None:
    for manifold, shape in ((Euclidean(1), (3,)), (PoincareBall(), (3,)), (LogEuclideanSPD(), (2, 2))):
        q, k = (random_points(manifold, shape, 6).to(half) for _ in range(2))
        v = torch.randn(6, 2).to(half)
        expected = manifold_attention(q.float(), k.float(), v.float(), manifold, method=Reference())
        for method in (None, Blockwise(pairs=9)):
            found = manifold_attention(q, k, v, manifold, method=method)
            assert found.dtype == half
            torch.testing.assert_close(found.float(), expected, atol=2 * torch.finfo(half).eps, rtol=0)


def test_dtype_of_the_scores() -> None:
    x, v = 1e4 + torch.randn(6, 3), torch.randn(6, 2)
    wide = manifold_attention(x, x, v, Euclidean(1), score_dtype=DOUBLE)
    assert wide.dtype == torch.float32
    exact = manifold_attention(x.double(), x.double(), v.double(), Euclidean(1), method=Reference())
    torch.testing.assert_close(wide, exact.float(), atol=1e-6, rtol=0)
    near = torch.randn(6, 3)
    low = manifold_attention(near, near, v, Euclidean(1), score_dtype=torch.bfloat16)
    assert low.dtype == torch.float32
    full = manifold_attention(near, near, v, Euclidean(1))
    assert 1e-4 < (low - full).abs().max() < 0.3
