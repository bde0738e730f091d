"""Measures of bias against numpy, scipy, loops over all partitions, and closed forms."""

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist as scipy_cdist
from torch import Tensor

from geowarp.errors import GeowarpError, NonFiniteError
from geowarp.manifolds import AffineInvariantSPD, Sphere
from geowarp.metrics import (
    attention_gap,
    ect,
    pairwise_distance,
    probe_leakage,
    ripa,
    semantic_preservation,
    weat,
)
from geowarp.metrics.bias.ranks import pearson


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def cosines(x: Any, y: Any) -> Any:
    x, y = np.asarray(x), np.asarray(y)
    return x @ y.T / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)


def manhattan(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, p=1)


def test_weat_is_the_formula_of_the_paper_over_all_partitions() -> None:
    x, y, a, b = rows(4, 5), rows(3, 5), rows(6, 5), rows(2, 5)
    x += 0.5 * a.mean(0)
    result = weat(x, y, a, b)
    s = [cosines(w, a).mean(1) - cosines(w, b).mean(1) for w in (x, y)]
    gap = s[0].mean() - s[1].mean()
    both = np.concatenate(s)
    splits = [both[list(one)].mean() - np.delete(both, list(one)).mean() for one in combinations(range(7), 4)]
    assert result.exact
    assert result.gap == pytest.approx(gap)
    assert result.effect_size == pytest.approx(gap / both.std(ddof=1))
    assert result.p_value == pytest.approx(np.mean(np.array(splits) >= gap - 1e-12))
    assert weat(x, y, a, b, correction=0).effect_size == pytest.approx(gap / both.std())


def test_p_of_sampled_partitions() -> None:
    x, y, a, b = rows(8, 5), rows(8, 5), rows(6, 5), rows(6, 5)
    exact = weat(x, y, a, b)
    seeded = [
        weat(x, y, a, b, permutations=9000, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert [exact.exact, seeded[0].exact] == [True, False]
    assert seeded[0] == seeded[1] != seeded[2]
    error = 5 * np.sqrt(exact.p_value * (1 - exact.p_value) / 9000)
    assert all(abs(one.p_value - exact.p_value) < error for one in seeded)
    aligned = weat(torch.eye(2)[:1].repeat(30, 1), torch.eye(2)[1:].repeat(30, 1), *torch.eye(2)[:, None])
    assert aligned.p_value == pytest.approx(1 / 20_001)  # the observed partition alone
    assert aligned.gap == 2


def test_the_effect_size_has_no_scale_and_is_at_most_two() -> None:
    a, b = torch.eye(3, dtype=torch.float64)[:1], torch.eye(3, dtype=torch.float64)[1:2]
    x, y = 1 + 0.1 * rows(4, 3), 1 + 0.1 * rows(4, 3)

    def shrunk(one: Tensor, other: Tensor) -> Tensor:
        return (2 - 1e-6 * one @ other.mT).sqrt()

    def plain(one: Tensor, other: Tensor) -> Tensor:
        return (4 - one @ other.mT).sqrt()

    small, large = weat(x, y, a, b, distance=shrunk), weat(x, y, a, b, distance=plain)
    assert small.gap == pytest.approx(1e-6 * large.gap, rel=1e-6)
    assert small.effect_size == pytest.approx(large.effect_size, rel=1e-6)
    assert weat(a, b, a, b, correction=0).effect_size == pytest.approx(2)
    assert np.isnan(weat(a, a, a, b).effect_size)


def test_ect_is_spearman_to_the_mean_vectors() -> None:
    targets, one, other = rows(20, 6), rows(4, 6), rows(7, 6)
    one, other = (torch.nn.functional.normalize(group, dim=-1) for group in (one, other))
    means = [cosines(targets, group.mean(0)[None])[:, 0] for group in (one, other)]
    assert ect(targets, [one, other]) == pytest.approx(stats.spearmanr(*means).statistic)
    third = rows(3, 6)
    pairs = [ect(targets, list(pair)) for pair in combinations([one, other, third], 2)]
    assert ect(targets, [one, other, third]) == min(pairs)
    assert ect(targets, [one, one]) == 1


def test_correlations_share_the_ranks_of_ties() -> None:
    x = torch.tensor([[1.0], [2.0], [2.0], [4.0], [4.0], [4.0]], dtype=torch.float64)
    pairs, human = torch.tensor([[0, i] for i in range(6)]), torch.tensor([3, 1, 1, 2, 5, 4])
    expected = stats.spearmanr(-(x[:, 0] - 1).numpy(), human.numpy()).statistic
    assert semantic_preservation(x, pairs, human, distance=torch.cdist) == pytest.approx(expected)
    assert np.isnan(semantic_preservation(x, pairs, torch.ones(6)))


def test_semantic_preservation_of_pairs_in_blocks() -> None:
    x, pairs, human = rows(50, 4), torch.randperm(1225)[:101], rows(101)
    pairs = torch.combinations(torch.arange(50))[pairs]
    for distance, all_pairs in ((None, cosines(x, x)), (manhattan, -manhattan(x, x).numpy())):
        chosen = all_pairs[pairs[:, 0], pairs[:, 1]]
        expected = stats.spearmanr(chosen, human).statistic
        assert semantic_preservation(x, pairs, human, distance=distance) == pytest.approx(expected)
        arrays = semantic_preservation(x.numpy(), pairs.numpy(), human.numpy(), distance=distance)
        assert arrays == pytest.approx(expected)


def test_ripa() -> None:
    x, first, second = rows(9, 5), rows(4, 5), rows(4, 5)
    direction = (first[0] - second[0]).numpy()
    expected = x.numpy() @ direction / np.linalg.norm(direction)
    np.testing.assert_allclose(ripa(x, first[0], second[0]), expected)
    np.testing.assert_allclose(ripa(x, first[:1], second[:1]), expected)
    moment = (first - second).T @ (first - second)
    axis = np.linalg.eigh(moment.numpy())[1][:, -1]
    axis *= np.sign((first - second).mean(0).numpy() @ axis)
    np.testing.assert_allclose(ripa(x, first, second), x.numpy() @ axis)
    torch.testing.assert_close(ripa(x, second, first), -ripa(x, first, second))
    assert isinstance(ripa(x.numpy(), first.numpy(), second.numpy()), np.ndarray)
    assert ripa(x.bfloat16(), first.bfloat16(), second.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("distance", [None, manhattan])
def test_attention_gap_is_that_of_a_softmax(distance: Callable[[Tensor, Tensor], Tensor] | None) -> None:
    targets, groups, tau = rows(9, 4), [rows(3, 4), rows(5, 4), rows(2, 4)], 0.7
    members = torch.cat(groups)
    squares = 2 - 2 * cosines(targets, members) if distance is None else manhattan(targets, members) ** 2
    weights = np.exp(-np.asarray(squares) / tau)
    shares = np.stack([part.sum(1) for part in np.split(weights, [3, 8], axis=1)], 1)
    shares /= weights.sum(1, keepdims=True)
    score = rows(9)
    result = attention_gap(targets, groups, tau, distance=distance, stereotype=score)
    np.testing.assert_allclose(result.shares, shares)
    np.testing.assert_allclose(result.rows, shares.max(1) - shares.min(1))
    assert result.mean == pytest.approx((shares.max(1) - shares.min(1)).mean())
    assert result.correlation == pytest.approx(stats.pearsonr(shares[:, 0], score.numpy()).statistic)
    two = attention_gap(targets.numpy(), [group.numpy() for group in groups[:2]], tau, distance=distance)
    assert isinstance(two.rows, np.ndarray)
    np.testing.assert_allclose(two.rows, np.abs(two.shares[:, 0] - two.shares[:, 1]))
    assert two.correlation is None


def test_attention_gap_on_manifolds_and_its_gradient() -> None:
    spd = AffineInvariantSPD()
    points = spd.random(6, 3, 3, dtype=torch.float64).detach().as_subclass(Tensor)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return pairwise_distance(spd, x, y)

    gap = attention_gap(points[:2], [points[2:4], points[4:]], 0.5, distance=distance)
    expected = torch.stack([spd.dist2(points[:2, None], y).neg().div(0.5).exp().sum(1)
                            for y in (points[2:4], points[4:])], 1)  # fmt: skip
    torch.testing.assert_close(gap.shares, expected / expected.sum(1, keepdim=True))
    x = rows(2, 3).requires_grad_()
    groups = [rows(2, 3), rows(2, 3)]
    assert torch.autograd.gradcheck(lambda x: attention_gap(x, groups, 0.5).rows, x)
    # the same points seen by both groups
    x = Sphere().random(5, 3, dtype=torch.float64).detach().as_subclass(Tensor)
    assert attention_gap(x, [x, x.flip(0)], 0.1).rows.max() < 1e-14


def test_probes_find_what_is_there_and_no_more() -> None:
    labels = torch.arange(80) % 2
    noise = rows(80, 3)
    blind = probe_leakage(noise, labels)
    assert all(abs(accuracy - 0.5) < 0.2 for accuracy in blind)
    assert blind.majority == 0.5
    apart = probe_leakage(noise + 20 * labels[:, None], labels)
    assert apart[:3] == (1, 1, 1)
    radius = torch.where(labels == 1, 1.0, 4.0)[:, None]
    ring = torch.nn.functional.normalize(noise, dim=-1) * radius  # no hyperplane parts them
    rings = probe_leakage(ring.numpy(), labels.numpy())
    assert rings.rbf > 0.95
    assert rings.linear < 0.75
    assert rings == probe_leakage(ring, ["f" if label else "m" for label in labels])
    assert probe_leakage(ring.reshape(80, 3, 1), labels, folds=3).majority == 0.5


GOOD = torch.eye(3)
WRONG: list[tuple[str, Any, type[GeowarpError]]] = [
    ("has no points", GOOD[:0], GeowarpError),
    (
        r"\[1\] is infinite or not a number \(1 of 2",
        torch.tensor([[1.0, 1, 1], [1, torch.nan, 1]]),
        NonFiniteError,
    ),
    ("is zero, which has no cosine", torch.zeros(2, 3), GeowarpError),
    ("shapes", torch.ones(2, 4), GeowarpError),
    ("has the shape", torch.ones(3), GeowarpError),
    ("dtype", torch.eye(3, dtype=torch.long), GeowarpError),
    ("is a NoneType", None, GeowarpError),
]


@pytest.mark.parametrize(("message", "wrong", "error"), WRONG, ids=[message for message, *_ in WRONG])
def test_wrong_points(message: str, wrong: Any, error: type[GeowarpError]) -> None:
    for call in (
        lambda: weat(GOOD, wrong, GOOD, GOOD),
        lambda: weat(GOOD, GOOD, GOOD, wrong),
        lambda: ect(GOOD, [GOOD, wrong]),
        lambda: attention_gap(wrong, [GOOD, GOOD], 1.0),
    ):
        with pytest.raises(error, match=message):
            call()


def test_errors() -> None:
    with pytest.raises(GeowarpError, match="1 group; it compares at least 2"):
        ect(GOOD, [GOOD])
    with pytest.raises(GeowarpError, match="groups is a Tensor"):
        attention_gap(GOOD, GOOD, 1.0)  # type: ignore[arg-type]
    with pytest.raises(GeowarpError, match=r"tau = -1\.0; it must be positive"):
        attention_gap(GOOD, [GOOD, GOOD], -1.0)
    with pytest.raises(GeowarpError, match=r"stereotype has the shape \(2,\); it needs \(3,\)"):
        attention_gap(GOOD, [GOOD, GOOD], 1.0, stereotype=GOOD[0, :2])
    with pytest.raises(GeowarpError, match=r"returned the shape \(3,\) for 3 and 3 points"):
        ect(GOOD, [GOOD, GOOD], distance=lambda x, y: (x - y).norm(dim=-1))
    with pytest.raises(NonFiniteError, match="the distance returned"):
        ect(GOOD, [GOOD, GOOD], distance=lambda x, y: torch.cdist(x, y) / 0)
    with pytest.raises(GeowarpError, match="a correlation of 1 and 1 values"):
        ect(GOOD[:1], [GOOD, GOOD])
    with pytest.raises(GeowarpError, match="permutations = 0"):
        weat(GOOD, GOOD, GOOD, GOOD, permutations=0)
    with pytest.raises(GeowarpError, match=r"shapes \(3, 3\), \(3, 3\) and \(2, 3\)"):
        ripa(GOOD, GOOD, GOOD[:2])
    with pytest.raises(GeowarpError, match="the same points"):
        ripa(GOOD, GOOD, GOOD)


def test_errors_of_probes_and_pairs() -> None:
    with pytest.raises(GeowarpError, match="4 labels for 3 points"):
        probe_leakage(GOOD, [0, 1, 0, 1])
    with pytest.raises(GeowarpError, match="all labels are 'f'"):
        probe_leakage(GOOD, ["f"] * 3)
    with pytest.raises(GeowarpError, match="5 folds, and the group 'm' has 1 points"):
        probe_leakage(GOOD, ["f", "f", "m"])
    with pytest.raises(GeowarpError, match="has the index 3; x has 3 points"):
        semantic_preservation(GOOD, torch.tensor([[0, 3], [1, 2]]), torch.ones(2))
    with pytest.raises(GeowarpError, match="has the index -1"):
        semantic_preservation(GOOD, torch.tensor([[0, -1], [1, 2]]), torch.ones(2))
    with pytest.raises(GeowarpError, match="no integer"):
        semantic_preservation(GOOD, torch.tensor([[0, 0.5], [1, 2]]), torch.ones(2))
    with pytest.raises(GeowarpError, match=r"scores has the shape \(3,\); it needs \(2,\)"):
        semantic_preservation(GOOD, torch.tensor([[0, 1], [1, 2]]), torch.ones(3))
    with pytest.raises(NonFiniteError, match=r"scores\[0\]"):
        semantic_preservation(GOOD, torch.tensor([[0, 1], [1, 2]]), torch.tensor([torch.nan, 1]))


def test_what_is_not_a_number_is_no_correlation() -> None:
    x, groups = rows(4, 3), [rows(2, 3), rows(2, 3)]
    stereotype = torch.tensor([0.0, 1.0, torch.nan, 2.0])
    with pytest.raises(NonFiniteError, match=r"stereotype\[2\]"):
        attention_gap(x, groups, 1.0, stereotype=stereotype)
    assert math.isnan(pearson(stereotype, torch.arange(4.0)))
    learned = torch.arange(4.0, requires_grad=True)
    expected = np.corrcoef(attention_gap(x, groups, 1.0).shares[:, 0].numpy(), np.arange(4))[0, 1]
    found = attention_gap(x, groups, 1.0, stereotype=learned).correlation
    assert found == pytest.approx(expected)
    for order in ([0, 1, 2], [2, 1, 0]):  # the last group is equally far from all targets
        sets = [[*groups, rows(1, 3)][place] for place in order]
        assert math.isnan(ect(x, sets, distance=lambda a, b: torch.cdist(a, b) * (len(b) > 1)))


@pytest.mark.parametrize("size", [1e-30, 1e-13, 1e30])
def test_cosines_of_very_small_and_large_rows(size: float) -> None:
    x, y, a, b = (torch.randn(3, 4) for _ in range(4))
    small = weat(size * x, size * y, size * a, size * b)
    np.testing.assert_allclose(small.gap, weat(x, y, a, b).gap, rtol=1e-5)


def test_shares_of_any_temperature() -> None:
    x, groups = torch.randn(3, 4), [torch.randn(2, 4), torch.randn(3, 4)]
    nearest = torch.stack([torch.cdist(x, group).amin(-1) for group in groups], -1).argmin(-1)
    cold = attention_gap(x, groups, 1e-40, distance=torch.cdist).shares
    assert torch.equal(cold, torch.nn.functional.one_hot(nearest, 2).float())
    warm = attention_gap(x, groups, 1e30).shares
    torch.testing.assert_close(warm, torch.tensor([0.4, 0.6]).expand(3, 2))


def test_a_distance_may_return_an_array() -> None:
    x, groups = rows(3, 4), [rows(2, 4), rows(3, 4)]
    found = attention_gap(x.numpy(), [group.numpy() for group in groups], 0.5, distance=scipy_cdist)
    np.testing.assert_allclose(found.shares, attention_gap(x, groups, 0.5, distance=torch.cdist).shares)
    with pytest.raises(GeowarpError, match="returned the list"):
        attention_gap(x, groups, 0.5, distance=lambda a, b: [[0.0]])  # type: ignore[arg-type,return-value]


def test_arguments_of_other_kinds() -> None:
    with pytest.raises(GeowarpError, match=r"dtypes torch\.float64 and torch\.float32"):
        ect(GOOD.double(), [GOOD.float(), GOOD.float()])
    with pytest.raises(GeowarpError, match="need one dtype"):
        ripa(GOOD.double(), GOOD.float(), 2 * GOOD.float())
    with pytest.raises(GeowarpError, match="pairs is a list"):
        semantic_preservation(GOOD, [[0, 1], [1, 2]], torch.ones(2))  # type: ignore[type-var]
    with pytest.raises(GeowarpError, match="scores is a list"):
        semantic_preservation(GOOD, torch.tensor([[0, 1], [1, 2]]), [1.0, 2.0])  # type: ignore[type-var]
    with pytest.raises(GeowarpError, match="correction = 2"):
        weat(GOOD, GOOD, GOOD, GOOD, correction=2)
