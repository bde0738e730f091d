"""Scores of warped manifolds against explicit distances, pair by pair, in every way of attention."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from attention_distance_cases import CLOSED_FORMS, Largest, random_points
from torch import Tensor, nn

from geowarp import GeowarpError
from geowarp.errors import FairnessWarning
from geowarp.manifolds import Euclidean, FairnessWarped, Lorentz, Manifold, PoincareBall, Sphere
from geowarp.nn import (
    Blockwise,
    ChordalSquaredDistance,
    Distance,
    Fused,
    ManifoldAttention,
    Method,
    ParityPotential,
    Reference,
    Score,
    SquaredDistance,
    StackedPotential,
    Uniform,
    WarpedScore,
    attention_off,
    manifold_attention,
    manifold_attention_weights,
)
from geowarp.nn.distance_attention import scores
from geowarp.nn.fairness.wide_squares import wide_squares

DOUBLE, TAU = torch.float64, 1.7
ALPHA = (0.5, 2.0)
CASES = [case for case in CLOSED_FORMS if type(case[2]) in (SquaredDistance, ChordalSquaredDistance)]
IDS = [f"{manifold!r}-{score!r}" for manifold, _, score, _ in CASES]


class Bend(nn.Module):
    """Two bounded functions of the entries of a point."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype = DOUBLE) -> None:
        super().__init__()
        matrix = torch.randn(math.prod(shape), 2, dtype=DOUBLE) / 4
        self.matrix, self.ndim, self.calls = nn.Parameter(matrix.to(dtype)), len(shape), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return (x.flatten(x.ndim - self.ndim) @ self.matrix).tanh()


def written_out(case: Any, potential: Bend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return the averages by numpy, one pair after another."""
    _, _, _, formula = case
    matrix = potential.matrix.detach().double().numpy()

    def height(x: Any) -> Any:
        return np.tanh(x.reshape(-1) @ matrix)

    def logit(x: Any, y: Any) -> float:
        return float(formula(x, y) - np.square(height(x) - height(y)) @ np.array(ALPHA)) / TAU

    rows = [[logit(x, y) for y in k.double().numpy()] for x in q.double().numpy()]
    weights = np.exp(np.array(rows) - np.max(rows, axis=1, keepdims=True))
    return torch.from_numpy(weights / weights.sum(1, keepdims=True)) @ v.double()


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_way_is_the_softmax_of_explicit_distances(case: Any) -> None:
    manifold, shape, inner, _ = case
    points, v = (random_points(manifold, shape, 9), torch.randn(5, 3, dtype=DOUBLE))
    for dtype, tolerance in ((DOUBLE, 1e-12), (torch.float32, 1e-6)):
        potential = Bend(shape, dtype)
        q, k, values = points[:4].to(dtype), points[4:].to(dtype), v.to(dtype)
        expected = written_out(case, potential, q, k, values)
        score = WarpedScore(potential, ALPHA, inner)
        ways: list[Method] = [Reference(), Blockwise(), Blockwise(pairs=4)]
        if inner.features(manifold, q, k) is not None:
            first, _ = score.features(manifold, q, k) or pytest.fail("no features")
            assert first.shape[-1] == inner.features(manifold, q, k)[0].shape[-1] + 3  # K + 1
            ways.append(Fused())
        for way in ways:
            found = manifold_attention(q, k, values, manifold, TAU, score=score, method=way)
            scale = expected.abs().max()
            assert (found.double() - expected).abs().max() < tolerance * max(1.0, float(scale)), (way, dtype)


FUSED: list[tuple[Manifold, tuple[int, ...], Score]] = [
    (Euclidean(1), (3,), SquaredDistance()),
    (PoincareBall(0.5, learnable=True).double(), (3,), ChordalSquaredDistance()),
    (Lorentz(2.0, learnable=True).double(), (4,), SquaredDistance()),
    (Sphere(), (4,), Distance()),
]


@pytest.mark.parametrize(("manifold", "shape", "inner"), FUSED)
def test_gradients_of_all_ways_are_those_of_the_matrix(manifold: Any, shape: Any, inner: Score) -> None:
    """Of points, τ, potentials, α, curvature and biases, with heads, batches, masks and the causal order."""
    alpha = torch.tensor(ALPHA, dtype=DOUBLE, requires_grad=True)
    score = WarpedScore(Bend(shape), alpha, inner)
    q, k = random_points(manifold, shape, 2, 3, 4), random_points(manifold, shape, 2, 1, 5)
    v, tau = torch.randn(3, 5, 2, dtype=DOUBLE), torch.tensor([0.5, 1.0, 2.0], dtype=DOUBLE)
    bias = torch.randn(3, 4, 5, dtype=DOUBLE, requires_grad=True)
    sources = [x.requires_grad_() for x in (q, k, v, tau)] + [alpha, bias, *score.parameters()]
    sources += [parameter for parameter in manifold.parameters() if parameter.requires_grad]
    options: dict[str, Any] = {
        "mask": torch.rand(2, 1, 4, 5) < 0.8,
        "is_causal": True,
        "bias": bias,
        "score": score,
    }
    cotangent = torch.randn(2, 3, 4, 2, dtype=DOUBLE)

    def outcome(way: Method) -> list[Tensor]:
        output = manifold_attention(q, k, v, manifold, tau, method=way, **options)
        grads = list(torch.autograd.grad(output, sources, cotangent))
        return [
            output,
            *(manifold.egrad2rgrad(x.detach(), g) for x, g in zip((q, k), grads, strict=False)),
            *grads[2:],
        ]

    expected = outcome(Reference())
    assert all(part.abs().max() > 1e-6 for part in expected)
    for way in (Blockwise(pairs=6), *([Fused()] if inner.features(manifold, q, k) else [])):
        torch.testing.assert_close(outcome(way), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("manifold", "shape", "inner"), FUSED)
def test_alpha_0_is_the_score_bit_for_bit(manifold: Any, shape: Any, inner: Score) -> None:
    x, v = random_points(manifold, shape, 6), torch.randn(6, 2, dtype=DOUBLE)
    score = WarpedScore(Bend(shape), 0.0, inner)
    assert torch.equal(score.logits(manifold, x, x), inner.logits(manifold, x, x))
    for way in (Reference(), Blockwise(pairs=7), *([Fused()] if inner.features(manifold, x, x) else [])):
        one, other = (manifold_attention(x, x, v, manifold, score=s, method=way) for s in (score, inner))
        assert torch.equal(one, other)


def test_alpha_that_learns_has_a_gradient_at_0() -> None:
    """−Δb² by the softmax: the same as a small α has, in the limit."""
    x, potential = random_points(Euclidean(1), (3,), 5), Bend((3,))

    def gradient(start: float, way: Method) -> Tensor:
        alpha = torch.tensor([start, 1.0], dtype=DOUBLE, requires_grad=True)
        output = manifold_attention(x, x, x, Euclidean(1), score=WarpedScore(potential, alpha), method=way)
        return torch.autograd.grad(output.square().sum(), alpha)[0]

    for way in (Reference(), Blockwise(pairs=6), Fused()):
        torch.testing.assert_close(gradient(0.0, way), gradient(1e-9, Reference()), atol=1e-6, rtol=1e-6)


def test_weights_fall_with_alpha_by_the_gap_and_unrelated_pairs_by_little() -> None:
    """∂ log w / ∂α = −‖Δb‖²/τ before normalisation, and for pairs of equal potential nothing changes."""
    x, tau, step = random_points(Euclidean(1), (3,), 6), 0.8, 1e-4
    potential = Bend((3,))
    x[5] = x[4] + torch.linalg.svd(potential.matrix.detach())[0][:, 2]  # along what b does not see

    def log_weights(alpha: float) -> Tensor:
        return WarpedScore(potential, alpha).logits(Euclidean(1), x, x).detach() / tau

    b = potential(x).detach()
    gap = torch.cdist(b, b).square()
    slope = (log_weights(1 + step) - log_weights(1 - step)) / (2 * step)
    torch.testing.assert_close(slope, -gap / tau, atol=1e-9, rtol=1e-9)
    change = (log_weights(2.0) - log_weights(0.0)).abs()
    assert bool((change <= 2 * gap / tau + 1e-12).all())
    assert change[4, 5] < 1e-12 < change[0, 1]
    weights = [
        manifold_attention_weights(x, x, Euclidean(1), tau, score=WarpedScore(potential, a))
        for a in (0.0, 2.0)
    ]
    spread = 2 * (gap.amax(-1) - gap.amin(-1)) / tau
    assert bool(((weights[1].log() - weights[0].log()).abs().amax(-1) <= spread + 1e-12).all())


@pytest.mark.parametrize(
    ("manifold", "inner"),
    [
        (Euclidean(1), SquaredDistance()),
        (PoincareBall(), ChordalSquaredDistance()),
        (PoincareBall(), SquaredDistance()),
    ],
)
def test_parity_of_the_mass_of_three_groups(manifold: Any, inner: Score) -> None:
    groups = [random_points(manifold, (4,), n) for n in (2, 3, 4)]
    potential = ParityPotential(groups, manifold, 0.3, "softmax", TAU, score=inner, radius=1e-3)
    q, keys = random_points(manifold, (4,), 7), torch.cat(groups)
    masses = []
    for score in (inner, WarpedScore(potential, score=inner)):
        weights = manifold_attention_weights(q, keys, manifold, TAU, score=score)
        parts = weights.split([2, 3, 4], -1)
        masses.append(max(float((part.sum(-1) - 1 / 3).abs().max()) for part in parts))
    assert masses[1] < 1e-10 < 0.05 < masses[0]


def test_blocks_have_little_memory_and_ask_for_each_potential_once() -> None:
    ball, potential = PoincareBall(), Bend((3,))
    q, k = random_points(ball, (3,), 300), random_points(ball, (3,), 400)
    v = torch.randn(400, 2, dtype=DOUBLE)
    score = WarpedScore(potential, 1.0)
    expected = manifold_attention(q, k, v, ball, score=score, method=Reference())
    potential.calls = 0
    with Largest() as largest:
        found = manifold_attention(q, k, v, ball, score=score, method=Blockwise(pairs=512))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    assert potential.calls == 2
    assert largest.entries < 20 * 400


def test_a_score_of_a_module_learns_and_is_turned_off() -> None:
    potential = Bend((4,), torch.float32)
    score = WarpedScore(potential, 0.5)
    attention, x = ManifoldAttention(Euclidean(1), 8, 2, score=score), torch.randn(5, 8)
    attention(x).sum().backward()
    gradient = potential.matrix.grad
    assert gradient is not None
    assert gradient.abs().max() > 0
    with attention_off(attention):
        weights = attention.attention_weights(x)
    torch.testing.assert_close(weights, torch.full_like(weights, 0.2))
    assert attention.score is score
    assert isinstance(score.score, SquaredDistance)
    assert "alpha=0.5" in repr(score)


def test_refusals() -> None:
    x = torch.randn(3, 2)
    assert WarpedScore(torch.square, np.float32(0.5)).alpha == 0.5  # type: ignore[arg-type]
    alphas: tuple[Any, ...] = (
        -1.0,
        (1.0, -2.0),
        math.inf,
        torch.tensor(-1.0),
        torch.ones(1, 1),
        (),
        "a",
        [[1.0]],
    )
    for alpha in alphas:
        with pytest.raises(GeowarpError, match="WarpedScore: alpha = "):
            WarpedScore(torch.square, alpha)
    with pytest.raises(GeowarpError, match="has no alpha"):
        WarpedScore(torch.square)
    with pytest.raises(GeowarpError, match="no function"):
        WarpedScore(1.0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(GeowarpError, match="no Score"):
        WarpedScore(torch.square, 1.0, 2.0)  # type: ignore[arg-type]
    for potential in (lambda x: x[..., 0], lambda x: x[:1], lambda x: None, lambda x: x.double()):
        with pytest.raises(GeowarpError, match="WarpedScore: the potential"):
            WarpedScore(potential, 1.0).logits(Euclidean(1), x, x)  # type: ignore[arg-type]
    with pytest.raises(GeowarpError, match=r"must return \(3, 3\)"):
        WarpedScore(torch.square, [1.0, 2.0, 3.0]).logits(Euclidean(1), x, x)
    parity = ParityPotential([x[:1], x[1:]], Euclidean(1), 0.3)
    with pytest.warns(FairnessWarning, match=r"alpha = 0\.5, and ParityPotential was made for 0\.3"):
        WarpedScore(parity, 0.5)
    with pytest.warns(FairnessWarning, match=r"alpha = \[1\.0, 2\.0\]"):
        WarpedScore(StackedPotential(parity, parity, parity), [1.0, 2.0])


@pytest.mark.parametrize("method", [Reference(), Blockwise(pairs=4), Fused()])
def test_the_score_of_a_warped_manifold_is_minus_its_squared_chord(method: Method) -> None:
    """Its learned α has the same gradient in every way, also where the manifold given is the warped one."""
    warped = FairnessWarped(Euclidean(1), Bend((3,)), ALPHA, learnable=True).double()
    score, x = WarpedScore.of(warped), random_points(Euclidean(1), (3,), 6)
    assert warped.log_alpha is not None
    explicit = warped.dist2(x[:, None], x[None, :], mode="chord")
    torch.testing.assert_close(score.logits(warped, x, x), -explicit)
    cotangent = torch.randn_like(x)
    sources = [warped.log_alpha, *warped.potential.parameters()]
    expected = torch.autograd.grad((-explicit).softmax(-1) @ x, sources, cotangent)
    for manifold in (warped, warped.base):
        found = manifold_attention(x, x, x, manifold, score=score, method=method)
        torch.testing.assert_close(torch.autograd.grad(found, sources, cotangent), expected)


@pytest.mark.parametrize(
    ("manifold", "shape", "inner"),
    [
        (Euclidean(2), (3, 4), SquaredDistance()),
        (Lorentz(2.0), (6,), ChordalSquaredDistance()),
        (PoincareBall(0.7), (6,), ChordalSquaredDistance()),
    ],
)
def test_many_points_in_single_precision_have_all_digits(manifold: Any, shape: Any, inner: Score) -> None:
    """By products, of 300 of them, which give distances of close points and of members, too."""
    members, x = (random_points(manifold, shape, n, dtype=torch.float32) for n in (4, 300))
    x[:4], x[4:8] = members, manifold.projx(members + 1e-4 * torch.randn_like(members))
    squares = wide_squares(inner, manifold, x.requires_grad_(), members)
    assert squares is not None
    wide = x.detach().double().requires_grad_()
    exact = -inner.logits(manifold, wide, members.double())
    assert float(((squares - exact).abs() / (exact + 1e-7)).detach().max()) < 1e-6
    cotangent = torch.rand(300, 4)
    (found,) = torch.autograd.grad(squares, x, cotangent)
    (expected,) = torch.autograd.grad(exact, wide, cotangent.double())
    found, expected = manifold.egrad2rgrad(x.detach(), found), manifold.egrad2rgrad(wide.detach(), expected)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


def test_other_scores_are_no_sums() -> None:
    x = torch.eye(2)
    assert scores.SquaredDistance().parts(Sphere(), x, x) is None
    assert Uniform().rows(0, 1) == Uniform()
