"""How far methods carry over to gendered words that they have not seen: random splits of all pairs."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from fairness_baselines import principal_differences, project
from fairness_fields import RADIUS, Embedding, JudgedReflection, warp
from fairness_measures import Words
from fairness_methods import ALPHA, DIRECTIONS, REFLECTED, Space, labelled
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from tqdm import tqdm

from geowarp.metrics import attention_gap
from geowarp.nn import ParityPotential, ReflectionPotential

TESTED = 10  # pairs
REFERENCE = "projection, 1"
COLUMNS = ["vectors", "space", "method", "gap", "error", "less than projection, 1", "its error", "wins"]


def held_out_rows(words: Words, space: Space, splits: int) -> list[dict[str, Any]]:
    """Return the attention gap of professions to pairs that were left out: mean and standard error."""
    pairs = words.vectors.pair_places(words.lists.all_pairs())
    gaps: dict[str, list[float]] = defaultdict(list)
    generator = torch.Generator().manual_seed(0)
    for _ in tqdm(range(splits), desc="splits", leave=False):
        order = pairs[torch.randperm(len(pairs), generator=generator)]
        test, train = order[:TESTED].mT, order[TESTED:]
        for name, embedding in _embeddings(words, space, train, test):
            sides = [embedding.packed[side] for side in test]
            targets = embedding.packed[words.professions]
            gap = attention_gap(targets, sides, words.tau, distance=embedding.distance)
            gaps[name].append(gap.mean)
    return [_row(name, found, gaps[REFERENCE]) for name, found in gaps.items()]


def _embeddings(words: Words, space: Space, train: Tensor, test: Tensor) -> Iterator[tuple[str, Embedding]]:
    rows = words.vectors.rows
    base = space(rows)
    yield "base", base
    for number in DIRECTIONS:
        yield f"projection, {number}", space(project(rows, principal_differences(rows, train, number)))
    groups = [base.points[side] for side in train.mT]
    parity = warp(base, ParityPotential(groups, base.base, ALPHA), ALPHA)
    yield "parity, labelled", labelled(parity, (*test, *train.mT), ALPHA)
    yield "parity, not labelled", parity
    for number in REFLECTED:
        yield f"reflection, {number}", _reflection(base, train, words.gendered, number)
    listed = words.gendered & ~_written_alike(words, test)
    yield "reflection, 8, not listed", _reflection(base, train, listed)
    probe = _probe(rows, listed, words.gendered)
    yield "reflection, 8, learned gate", _reflection(base, train, listed, probe=probe)
    probe = _all_but(rows[words.professions])
    yield "reflection, 8, neutral listed", _reflection(base, train, listed, probe=probe)


def _reflection(
    base: Embedding,
    pairs: Tensor,
    gendered: Tensor,
    number: int = 8,
    probe: Callable[[Tensor], Tensor] | None = None,
) -> Embedding:
    number = min(number, len(pairs))
    sets, known = base.points[pairs], base.points[gendered]
    potential = (
        ReflectionPotential(sets, base.base, number, gendered=known, radius=RADIUS)
        if probe is None
        else JudgedReflection(sets, base.base, number, known, probe)
    )
    return warp(base, potential, 1.0)


def _all_but(neutral: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function of rows: 0 at neutral ones and 1 elsewhere."""
    return lambda x: (torch.cdist(x, neutral).amin(-1) > RADIUS).to(x)


def _written_alike(words: Words, test: Tensor) -> Tensor:
    """Return where the words of the test are, in capitals or not, ``(N,)``."""
    held = {words.vectors.words[place].lower() for place in test.flatten().tolist()}
    return torch.tensor([word.lower() in held for word in words.vectors.words])


def _probe(rows: Tensor, gendered: Tensor, left_out: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function of rows: how sure a linear probe is that they are gendered, ``(...)``."""
    seen = gendered | ~left_out
    model = LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced")
    model.fit(rows[seen].numpy(), gendered[seen].numpy())
    weight, bias = torch.from_numpy(model.coef_[0]).to(rows), float(model.intercept_[0])
    return lambda x: (x @ weight + bias).sigmoid()


def _row(name: str, gaps: list[float], reference: list[float]) -> dict[str, Any]:
    less = [other - gap for gap, other in zip(gaps, reference, strict=True)]
    return {
        "method": name,
        "gap": statistics.fmean(gaps),
        "error": _error(gaps),
        "less than projection, 1": statistics.fmean(less),
        "its error": _error(less),
        "wins": statistics.fmean(difference > 0 for difference in less),
    }


def _error(values: list[float]) -> float:
    return float(statistics.stdev(values) / len(values) ** 0.5)
