"""From embeddings and words to a metric of parity: its distance, its report, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from fairness_cases import gendered_embeddings, mass_gap
from torch import Tensor

from geowarp.errors import GeowarpError, NonFiniteError
from geowarp.manifolds import Lorentz, PoincareBall
from geowarp.nn import debias

WORDS = ["she", "her", "woman", "girl", "he", "him", "man", "boy"]
GROUPS: dict[str, Any] = {"female": WORDS[:4], "male": WORDS[4:]}


def _embeddings(targets: int = 60) -> tuple[Tensor, list[str]]:
    x = torch.cat(gendered_embeddings(targets))
    return x, WORDS + [f"word{i}" for i in range(targets)]


def test_report_and_distance_against_numpy() -> None:
    x, vocabulary = _embeddings()
    debiased = debias(x, GROUPS, vocabulary=vocabulary, tau=0.5)
    rows = x.numpy()
    squares = ((rows[8:, None] - rows[None, :8]) ** 2).sum(-1)
    means = squares[:, :4].mean(1), squares[:, 4:].mean(1)
    weights = np.exp(-squares / 0.5)
    shares = weights[:, :4].sum(1) / weights.sum(1)
    before = debiased.report.before
    np.testing.assert_allclose(before.attention_gap, np.abs(2 * shares - 1).mean())
    np.testing.assert_allclose(before.raw_gap, np.abs(means[0] - means[1]).mean() / 2)
    lifts = (means[0] - means[1])[:, None] / 1.0 - np.repeat([1, -1], 4)  # 4 alpha = 1
    expected = np.sqrt(squares + 0.25 * lifts**2)
    np.testing.assert_allclose(debiased.distance(rows[8:], rows[:8]), expected)
    torch.testing.assert_close(debiased.distance(x[8:], x[:8]), torch.from_numpy(expected))
    after = debiased.report.after
    assert after.raw_gap < 1e-10
    assert after.ect > 1 - 1e-9 > before.ect
    assert after.attention_gap < 0.2 * before.attention_gap


@pytest.mark.parametrize("base", [PoincareBall(), Lorentz()])
def test_attention_parity_in_hyperbolic_space(base: Any) -> None:
    x, _ = _embeddings()
    x = x if isinstance(base, PoincareBall) else torch.cat([torch.zeros_like(x[:, :1]), x], -1)
    x = base.expmap0(0.5 * x)
    groups: dict[str, Any] = {"a": range(4), "b": torch.arange(4, 6), "c": np.array([6, 7])}
    debiased = debias(x, groups, base=base, mode="softmax", tau=0.5, targets=range(8, 40))
    assert debiased.report.targets == 32
    distances = debiased.distance(x[None, 8:], x[None, :8])[0].split([4, 2, 2], -1)
    assert mass_gap(distances, 0.5) < 1e-10
    assert debiased.report.after.attention_gap < 1e-10 < 0.1 < debiased.report.before.attention_gap


def test_gendered_words_keep_their_differences() -> None:
    x, vocabulary = _embeddings()
    gendered = vocabulary[8:11]
    debiased = debias(x, GROUPS, vocabulary=vocabulary, gendered=gendered)
    assert debiased.report.targets == 57
    assert debiased.report.after.raw_gap < 1e-10
    own, targets, members = x[8:11], x[11:], x[:8]
    torch.testing.assert_close(  # of their value 0 and ±1
        debiased.distance(own, members).square(), torch.cdist(own, members).square() + 0.25
    )
    risen = debiased.distance(targets, own).square() - torch.cdist(targets, own).square()
    torch.testing.assert_close(risen, 0.25 * debiased.potential(targets).square().expand_as(risen))


@pytest.mark.parametrize("mode", ["mean", "softmax"])
def test_reflection_below_parity(mode: Any) -> None:
    x, vocabulary = _embeddings()
    x = x + 0.05 * torch.randn_like(x)
    pairs = [("she", "he"), ("woman", "man"), ("word0", "word1")]
    options: dict[str, Any] = {"vocabulary": vocabulary, "mode": mode, "tau": 0.5}
    debiased = debias(x, GROUPS, gendered=["word2"], pairs=pairs, directions=2, **options)
    sides = x[[0, 2, 8]] - x[[4, 6, 9]]
    axes = torch.from_numpy(np.linalg.svd(sides.numpy(), full_matrices=False)[2][:2])
    own, targets = x[8:11], x[11:]
    removed = targets - targets @ axes.mT @ axes
    squares = debiased.distance(targets, own).square()
    expected = torch.cdist(removed, own).square()
    torch.testing.assert_close(squares - squares[:, :1], expected - expected[:, :1], rtol=1e-6, atol=1e-9)
    after, plain = debiased.report.after, debias(x, GROUPS, **options).report.after
    assert (after.attention_gap if mode == "softmax" else after.raw_gap) < 1e-10
    assert debiased.report.before.attention_gap > 0.05
    assert plain.ect > 0.9


def test_words_given_twice_count_once() -> None:
    x, vocabulary = _embeddings()
    twice = debias(x, GROUPS | {"male": [*GROUPS["male"], "he"]}, vocabulary=vocabulary)
    assert twice.report == debias(x, GROUPS, vocabulary=vocabulary).report


def test_arrays_of_any_layout() -> None:
    x, vocabulary = _embeddings()
    report = debias(x, GROUPS, vocabulary=vocabulary).report
    for rows in (x.numpy().astype(">f8"), x.numpy()[:, ::-1], np.asfortranarray(x.numpy())):
        found = debias(rows, GROUPS, vocabulary=vocabulary).report
        np.testing.assert_allclose([*found.before, *found.after], [*report.before, *report.after], atol=1e-9)


def test_table() -> None:
    x, vocabulary = _embeddings()
    text = str(debias(x.float(), GROUPS, vocabulary=dict(zip(vocabulary, range(68), strict=True))).report)
    first, header, *rows = text.splitlines()
    assert first.startswith("60 targets; groups: female 4, male 4; alpha = 0.25, tau = 0.")
    assert header.split() == ["before", "after"]
    assert [row.rsplit(maxsplit=2)[0] for row in rows] == ["attention gap", "ECT", "raw gap"]
    assert len({len(line) for line in (header, *rows)}) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"groups": {"female": ["shee", "her"], "male": ["hi", "zzz"]}},
            r"3 words are not in the vocabulary: 'shee' of group 'female' \(nearest: 'she'\), 'hi' of group "
            r"'male' \(nearest: 'him'.*, 'zzz' of group 'male';",
        ),
        ({"targets": ["docter"]}, "1 word is not in the vocabulary: 'docter' of targets"),
        ({"vocabulary": None}, "group 'female' has words and there is no vocabulary"),
        ({"vocabulary": ["she"]}, "1 words for 68 embeddings"),
        ({"vocabulary": {"she": 68}}, "'she' at 68, of 68 embeddings"),
        ({"groups": GROUPS | {"male": ["he", "she"]}}, "'she' is in group 'female' and group 'male'"),
        ({"groups": GROUPS | {"male": []}}, "group 'male' is empty"),
        ({"groups": {"female": ["she"]}}, "two or more groups"),
        ({"groups": GROUPS | {"male": [68]}}, "the place 68; 68 embeddings have 0 to 67"),
        ({"groups": GROUPS | {"male": [0.5]}}, "0.5, which is neither a word nor a place"),
        ({"groups": GROUPS | {"male": "he"}}, "is the string 'he'"),
        ({"targets": ["word1", "he"]}, "'he' is in the targets and in group 'male'"),
        ({"targets": []}, "there are no targets"),
        ({"groups": [[0], [1]]}, "must be a mapping"),
        (
            {"targets": ["word1"], "gendered": ["word1"]},
            "'word1' is in the targets and in the gendered words",
        ),
        ({"gendered": ["qeen"]}, "'qeen' of gendered"),
        ({"pairs": [("she", "hee")]}, "'hee' of pairs"),
        ({"pairs": ["she", "he"]}, "pairs has 'she', which is no pair"),
        ({"pairs": []}, "pairs is empty"),
        ({"pairs": [("she", "he")], "directions": 2}, "directions = 2; with 1 pairs it must be from 1 to 1"),
        ({"alpha": -1.0}, "alpha = -1.0"),
        ({"mode": "softmax"}, "needs tau"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    x, vocabulary = _embeddings()
    options: dict[str, Any] = {"groups": GROUPS, "vocabulary": vocabulary} | changes
    with pytest.raises(GeowarpError, match=message):
        debias(x, **options)


def test_embeddings_must_be_finite_rows() -> None:
    x, vocabulary = _embeddings()
    with pytest.raises(GeowarpError, match=r"they must be \(V, \*point\)"):
        debias(x[None], GROUPS, vocabulary=vocabulary)
    x[10, 3] = torch.nan
    with pytest.raises(NonFiniteError, match=r"embeddings\[10\]"):
        debias(x.numpy(), GROUPS, vocabulary=vocabulary)
