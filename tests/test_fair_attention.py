"""Attention that is fair to groups: against the softmax written out, and what it promises."""

import copy
import math
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call

from geowarp import GeowarpError
from geowarp.errors import NonFiniteError
from geowarp.manifolds import (
    AffineInvariantSPD,
    Euclidean,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    PoincareBall,
    Sphere,
)
from geowarp.nn import (
    Blockwise,
    ChordalSquaredDistance,
    DotProduct,
    FairAttention,
    FrechetMean,
    ManifoldAttention,
    Score,
    SquaredDistance,
    attention_off,
)
from geowarp.nn.distance_attention import function
from geowarp.nn.fairness.fair_attention import _checked_labels

DOUBLE = torch.float64
CHORDAL = ChordalSquaredDistance()
KINDS: list[tuple[Manifold, tuple[int, ...] | None, Score]] = [
    (Euclidean(1), None, SquaredDistance()),
    (Lorentz(2.0), None, CHORDAL),
    (PoincareBall(0.7), None, CHORDAL),
    (LogEuclideanSPD(), (3, 3), SquaredDistance()),
    (AffineInvariantSPD(), (2, 2), SquaredDistance()),
    (Lorentz(), None, SquaredDistance()),
    (Euclidean(1), None, DotProduct()),
]
IDS = [f"{manifold!r}-{score!r}" for manifold, _, score in KINDS]
MASK = torch.tensor([True] * 6 + [False] + [True] * 6)
LABELS = torch.tensor([-1, -1, 0, 0, 1, 1, 1, 2, 2, 2, 2, -1, -1])


def made(index: int, mode: Any = "mean", alpha: float = 0.4, **options: Any) -> FairAttention:
    """Return a module of two heads with temperatures 0.5 and 2, and three groups."""
    manifold, shape, score = KINDS[index]
    tau = torch.tensor([0.5, 2.0])
    attention = ManifoldAttention(
        manifold, 8, 2, point_shape=shape, score=score, tau=tau, dtype=DOUBLE, **options
    )
    groups = {name: torch.randn(n, 8, dtype=DOUBLE) for name, n in (("a", 2), ("b", 3), ("c", 4))}
    return FairAttention(attention, groups, alpha, mode)


def sequence(fair: FairAttention, *batch: int) -> Tensor:
    """Return tokens of which those between two at each end are the members."""
    ends = [torch.randn(*batch, 2, 8, dtype=DOUBLE) for _ in range(2)]
    return torch.cat([ends[0], fair.members.expand(*batch, 9, 8), ends[1]], -2)


def logits_written_out(fair: FairAttention, x: Tensor, mode: str) -> Any:
    """Return the logits of one sequence by numpy: equations of parity solved by least squares."""
    attention, sizes = fair.attention, [2, 3, 4]
    q, k = attention.points(x, x)
    members = attention.key(attention.manifold, fair.members)
    tau = attention.temperature.tau.detach().numpy()[:, None, None]
    prototypes, bounds = fair.prototypes.numpy(), np.cumsum([0, *sizes])

    def scores(one: Tensor, two: Tensor) -> Any:
        return attention.score.logits(attention.manifold, one, two).detach().numpy()

    def solve(s: Any, t: Any) -> Any:
        parts = [s[a:b] for a, b in pairwise(bounds)]
        level = [p.mean() if mode == "mean" else t * np.log(np.exp(p / t).sum()) for p in parts]
        # level_g − α‖b − P_g‖² = c for all g: linear in b and c + α‖b‖²
        left = np.concatenate([2 * fair.alpha * prototypes, -np.ones((3, 1))], 1)
        right = [fair.alpha * p @ p - height for p, height in zip(prototypes, level, strict=True)]
        return np.linalg.lstsq(left, np.array(right), rcond=None)[0][:-1]

    def heights(points: Tensor) -> Any:
        return np.array(
            [[solve(s, t.item()) for s in head] for head, t in zip(scores(points, members), tau, strict=True)]
        )

    of_queries = heights(q)
    of_keys = np.zeros_like(of_queries) if isinstance(attention.score, DotProduct) else heights(k)
    for place, label in enumerate(LABELS):
        if label >= 0:
            of_keys[:, place] = prototypes[label]
    gap = np.square(of_queries[:, :, None] - of_keys[:, None]).sum(-1)
    return (scores(q, k) - fair.alpha * gap) / tau


@pytest.mark.parametrize("mode", ["mean", "softmax"])
@pytest.mark.parametrize("index", range(len(KINDS)), ids=IDS)
def test_it_is_the_softmax_written_out_and_fair(index: int, mode: Any) -> None:
    fair = made(index, mode)
    x = sequence(fair)
    logits = logits_written_out(fair, x, mode)
    terms = np.where(MASK, np.exp(logits - logits.max(-1, keepdims=True)), 0)
    weights = torch.from_numpy(terms / terms.sum(-1, keepdims=True))
    options: dict[str, Any] = {"key_groups": LABELS, "mask": MASK[None]}
    torch.testing.assert_close(fair.attention_weights(x, **options), weights, atol=1e-12, rtol=1e-12)
    values = fair.attention.value(x).unflatten(-1, (2, 4)).transpose(0, 1)
    expected = fair.attention.output((weights @ values).transpose(0, 1).flatten(1))
    torch.testing.assert_close(fair(x, **options), expected, atol=1e-12, rtol=1e-12)
    single = fair.float()(x.float(), **options).detach()
    rounding = 4 * torch.finfo(torch.float32).eps * (1 + np.abs(logits).max())
    assert (single - expected.detach()).abs().max() < rounding * max(
        1.0, float(expected.detach().abs().max())
    )


@pytest.mark.parametrize("index", [0, 2, 6])
def test_parity_is_exact_over_the_members_and_follows_training(index: int) -> None:
    fair = made(index, "softmax")
    x = sequence(fair, 3)

    def gap(**options: Any) -> float:
        weights = fair.attention_weights(x, **options)
        mass = torch.stack([weights[..., group == LABELS].sum(-1) for group in range(3)], -1)
        return float((mass / mass.sum(-1, keepdim=True) - 1 / 3).abs().max())

    with torch.no_grad():
        assert gap(key_groups=LABELS) < 1e-10
        for parameter in fair.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        assert gap(key_groups=LABELS) < 1e-10
        fair.alpha = 0.0
        assert gap(key_groups=LABELS) > 0.02


@pytest.mark.parametrize("index", range(len(KINDS)), ids=IDS)
def test_alpha_0_is_the_attention_bit_for_bit_and_off_is_uniform(index: int) -> None:
    fair = made(index, alpha=0.0)
    x = sequence(fair, 2)
    labels, options = LABELS.expand(2, -1), {"mask": MASK[None], "is_causal": True}
    assert torch.equal(fair(x, key_groups=labels, **options), fair.attention(x, **options))
    with attention_off(made(index)) as off:
        weights = off.attention_weights(x, key_groups=labels)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 13))


@pytest.mark.parametrize("index", [1, 5])
def test_gradients_are_those_of_the_matrix(index: int) -> None:
    fair = made(index)
    blocks = made(index, method=Blockwise(pairs=16))
    blocks.load_state_dict(fair.state_dict())
    x, key = sequence(fair, 2).requires_grad_(), sequence(fair, 1)
    bias = torch.randn(2, 13, 13, dtype=DOUBLE)
    options: dict[str, Any] = {
        "query_groups": LABELS,
        "key_groups": LABELS.expand(2, -1),
        "is_causal": True,
        "bias": bias[:, None],
    }
    found = [(m(x, key, **options), [x, *m.parameters()]) for m in (fair, blocks)]
    cotangent = torch.randn_like(found[0][0])
    first, second = ([out, *torch.autograd.grad(out, leaves, cotangent)] for out, leaves in found)
    torch.testing.assert_close(first, second, atol=1e-10, rtol=1e-8)
    key_weight = [name for name, _ in fair.named_parameters()].index("attention.key.linear.weight")
    assert first[2 + key_weight].abs().max() > 1e-3


@pytest.mark.parametrize("index", [3, 5, 6])
def test_gradients_are_finite_differences(index: int) -> None:
    """Of features and all parameters, τ among them, also through the members."""
    fair = made(index, "softmax")
    names, parameters = zip(*fair.named_parameters(), strict=True)
    options = {"key_groups": LABELS, "query_groups": LABELS.roll(3), "is_causal": True}

    def output(x: Tensor, *values: Tensor) -> Tensor:
        result: Tensor = functional_call(fair, dict(zip(names, values, strict=True)), (x,), options)
        return result

    inputs = (sequence(fair).requires_grad_(), *parameters)
    assert gradcheck(output, inputs, fast_mode=True, nondet_tol=1e-10)


def test_members_among_queries_keep_to_their_group() -> None:
    fair = made(0, alpha=3.0)
    x = sequence(fair)
    plain, labelled = (
        fair.attention_weights(x, key_groups=LABELS, query_groups=groups) for groups in (None, LABELS)
    )
    same = LABELS[:, None] == LABELS
    inside = (LABELS >= 0)[:, None] & same
    assert bool((labelled[:, inside] > plain[:, inside]).all())
    assert torch.equal(labelled[:, LABELS < 0], plain[:, LABELS < 0])


def test_means_of_points_take_the_queries_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = ManifoldAttention(Sphere(), 8, 2, aggregation=FrechetMean(1), dtype=DOUBLE)
    groups = {name: torch.randn(2, 8, dtype=DOUBLE) for name in "ab"}
    fair, x = FairAttention(attention, groups, 0.3), torch.randn(5, 8, dtype=DOUBLE)
    whole = fair(x)
    monkeypatch.setattr(function, "_PAIRS", 24)
    torch.testing.assert_close(fair(x), whole)


@pytest.mark.parametrize("options", [{"batch_first": True}, {}, {"kdim": 5, "vdim": 3, "bias": False}])
def test_it_takes_the_place_of_multi_head_attention(options: dict[str, Any]) -> None:
    existing = nn.MultiheadAttention(8, 2, dtype=DOUBLE, **options)
    query = torch.randn(4, 6, 8, dtype=DOUBLE)
    key = torch.randn(4, 6, existing.kdim, dtype=DOUBLE)
    value = torch.randn(4, 6, existing.vdim, dtype=DOUBLE)
    groups = {name: torch.randn(2, existing.kdim, dtype=DOUBLE) for name in "ab"}
    fair = FairAttention.from_attention(existing, groups, alpha=0.0)
    expected, weights = existing(query, key, value, average_attn_weights=False)
    torch.testing.assert_close(fair(query, key, value), expected)
    torch.testing.assert_close(fair.attention_weights(query, key), weights)
    fair.alpha = 0.5
    labels = torch.tensor([0, 1, -1, -1, -1, -1])[: weights.shape[-1]]
    changed = fair.attention_weights(query, key, key_groups=labels)
    ratio = (changed / weights)[..., 2:]
    torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio))  # between the others nothing changes
    assert not torch.allclose(fair(query, key, value, key_groups=labels), expected)


@pytest.mark.parametrize("index", [0, 5, 6])
def test_no_keys_and_none_that_may_be_seen(index: int) -> None:
    """All members hidden, or all keys: finite outputs and gradients, and no weight where nothing is seen."""
    fair = made(index)
    x = sequence(fair).requires_grad_()
    for mask in (LABELS < 0, LABELS < -1):
        output = fair(x, key_groups=LABELS, mask=mask[None])
        weights = fair.attention_weights(x, key_groups=LABELS, mask=mask[None])
        (grad,) = torch.autograd.grad(output.sum(), x)
        assert bool(output.isfinite().all() and grad.isfinite().all())
        assert torch.equal(weights == 0, ~mask.expand_as(weights))
    assert fair(x, x[:0], key_groups=LABELS[:0]).isfinite().all()
    assert fair(x[:0], x, query_groups=LABELS[:0], key_groups=LABELS).shape == (0, 8)
    assert fair(x[2:3], key_groups=LABELS[2:3]).shape == (1, 8)


def test_labels_of_any_integers_and_batch() -> None:
    fair = made(0)
    x = sequence(fair, 3)
    expected = fair(x, key_groups=LABELS)
    for dtype in (torch.int8, torch.int32):
        assert torch.equal(fair(x, key_groups=LABELS.to(dtype).expand(3, -1)), expected)
    members = LABELS[2:11]
    assert torch.equal(
        fair(x[:, 2:11], key_groups=members.to(torch.uint8)), fair(x[:, 2:11], key_groups=members)
    )
    for batch in ((2,), (5, 3)):
        with pytest.raises(GeowarpError, match=r"key_groups is \(.*it needs a tensor of integers \(3, 13\)"):
            fair(x, key_groups=LABELS.expand(*batch, -1))


def test_half_precision_leaves_parity_as_exact_as_points_are() -> None:
    """Points are in single precision there: the three prototypes must be, too, and after a return."""
    fair = made(0, "softmax").bfloat16()
    for module in (fair, fair.float()):
        x = module.members
        weights = module.attention_weights(x, key_groups=LABELS[2:11])
        masses = torch.stack([part.sum(-1) for part in weights.split([2, 3, 4], -1)], -1)
        assert (masses / masses.sum(-1, keepdim=True) - 1 / 3).abs().max() < 1e-5


def test_copies_are_the_same() -> None:
    fair = made(1)
    x = sequence(fair)
    expected = fair(x, key_groups=LABELS)
    for copied in (copy.deepcopy(fair), pickle.loads(pickle.dumps(fair))):
        assert torch.equal(copied(x, key_groups=LABELS), expected)


def test_labels_do_not_interrupt_compilation() -> None:
    def labels(x: Tensor) -> Tensor | None:
        return _checked_labels("key", x, (2, 13), 3)

    compiled = torch.compile(labels, backend="eager", fullgraph=True)
    found = compiled(LABELS.to(torch.int8))
    assert found is not None
    assert torch.equal(found, LABELS)


@pytest.mark.slow
def test_it_compiles_as_a_whole() -> None:
    fair = made(1).float()
    x = sequence(made(1)).float()
    compiled = torch.compile(fair, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, key_groups=LABELS), fair(x, key_groups=LABELS))


def test_frozen_weights_and_evaluation_stay() -> None:
    existing = nn.MultiheadAttention(8, 2).eval()
    existing.in_proj_weight.requires_grad_(False)
    fair = FairAttention.from_attention(existing, {name: torch.randn(2, 8) for name in "ab"}, 0.3)
    assert not fair.training
    frozen = [name for name, parameter in fair.named_parameters() if not parameter.requires_grad]
    assert frozen == [f"attention.{name}.weight" for name in ("query.linear", "key.linear", "value")]


def test_settings_pass_through() -> None:
    fair = made(1)
    x = sequence(fair, 2)
    taus = fair.calibrate(x)
    torch.testing.assert_close(taus, fair.attention.calibrate(x))
    assert torch.equal(
        FairAttention.from_attention(
            fair.attention, {"a": x[0], "b": x[1]}, 1.0
        ).attention.query.linear.weight,
        fair.attention.query.linear.weight,
    )
    copy = made(1)
    copy.load_state_dict(fair.state_dict())
    assert torch.equal(copy(x), fair(x))
    half = made(0).bfloat16()
    assert half(x.bfloat16(), key_groups=LABELS).dtype == torch.bfloat16
    assert "a: 2, b: 3, c: 4; alpha=0.4, mode='mean'" in repr(fair)
    assert fair(x[:0]).shape == (0, 13, 8)


def test_refusals() -> None:
    attention = ManifoldAttention(Euclidean(1), 8, 2)
    groups = {"she": torch.randn(2, 8), "he": torch.randn(2, 8)}
    for changed, message in (
        ({"groups": {"she": groups["she"]}}, "two or more"),
        ({"groups": list(groups.values())}, "groups is a list"),
        ({"groups": {**groups, "x": [[0.0] * 8]}}, "'x' are no tensor"),
        ({"alpha": torch.tensor(0.3, requires_grad=True)}, "is a number"),
        ({"groups": {**groups, "x": torch.zeros(0, 8)}}, r"'x' are \(0, 8\)"),
        ({"groups": {**groups, "x": torch.zeros(2, 7)}}, r"'x' are \(2, 7\)"),
        ({"alpha": -0.1}, r"alpha = -0\.1"),
        ({"alpha": math.nan}, "alpha = nan"),
        ({"mode": "median"}, "mode = 'median'"),
    ):
        with pytest.raises(GeowarpError, match=message):
            FairAttention(attention, **{"groups": groups, "alpha": 1.0, **changed})  # type: ignore[arg-type]
    with pytest.raises(NonFiniteError, match="'he'"):
        FairAttention(attention, {**groups, "he": torch.full((1, 8), math.inf)}, 1.0)
    fair, x = FairAttention(attention, groups, 1.0), torch.randn(3, 8)
    for labels in (
        torch.tensor([0, 2, -1]),
        torch.tensor([0, -2, 1]),
        torch.zeros(4, dtype=torch.int64),
        torch.zeros(3),
        torch.zeros(3, dtype=torch.complex64),
        [0, 1, 0],
    ):
        with pytest.raises(GeowarpError, match="key_groups"):
            fair(x, key_groups=labels)
    with pytest.raises(GeowarpError, match="alpha = -1"):
        fair.alpha = -1.0
    assert fair.alpha == 1
    for existing, message in (
        (nn.MultiheadAttention(8, 2, dropout=0.1), r"dropout = 0\.1"),
        (nn.MultiheadAttention(8, 2, add_zero_attn=True), "add_zero_attn"),
        (nn.Linear(8, 8), "Linear is no attention"),
    ):
        with pytest.raises(GeowarpError, match=message):
            FairAttention.from_attention(existing, groups, 1.0)  # type: ignore[arg-type]
