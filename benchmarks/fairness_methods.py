"""The methods of the table: each makes an embedding of one of word vectors."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from fairness_baselines import hard_debias, inlp, leace, principal_differences, project
from fairness_fields import RADIUS, Embedding, coordinates, warp
from fairness_measures import Words
from torch import Tensor

from geowarp._extras import import_extra
from geowarp.errors import FairnessWarning
from geowarp.nn import (
    FisherPotential,
    LinearPotential,
    ParityPotential,
    ReflectionPotential,
    StackedPotential,
    WarpedScore,
)

Space = Callable[[Tensor], Embedding]
Method = Callable[[], Embedding]
STRENGTHS = {"mean": (0.05, 0.25, 1.0), "softmax": (0.05, 0.25)}
ALPHA = 0.1
LINEAR = (1.0, 4.0)
SQUARED, FISHER = 10.0, 1.0
DIRECTIONS = (1, 3, 8)
REFLECTED = (1, 8)


def methods(words: Words, space: Space) -> Iterator[tuple[str, Method]]:
    """Yield the name of each method with what makes its embedding."""
    rows = words.vectors.rows
    base = space(rows)
    yield "base", lambda: base
    for name, removed in removals(words):
        yield name, partial(_removed, space, removed)
    for alpha in LINEAR:
        yield f"linear potential, α={alpha:g}", partial(linear, base, words, alpha)
    yield f"squared potential, α={SQUARED:g}", partial(squared, base, words, SQUARED)
    yield f"Fisher potential, α={FISHER:g}", partial(fisher, base, words, FISHER)
    for mode, strengths in STRENGTHS.items():
        for alpha in strengths:
            yield f"parity {mode}, α={alpha:g}", partial(parity, base, words, alpha, mode)
    yield f"parity mean, α={ALPHA:g}, all pairs", partial(parity, base, words, ALPHA, "mean", words.pairs.mT)
    for number in REFLECTED:
        name = f"reflection, {number}"
        yield name, partial(reflection, base, words, number)
        for mode in STRENGTHS:
            made = partial(reflection_and_parity, base, words, number, ALPHA, mode)
            yield f"{name} + parity {mode}, α={ALPHA:g}", made


def removals(words: Words) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Yield the methods that remove something from the vectors, by name."""
    rows, pairs = words.vectors.rows, words.pairs
    definitional = words.vectors.pair_places(words.lists.training_pairs(definitional=True))
    yield "projection, definitional", lambda: project(rows, principal_differences(rows, definitional, 1))
    for number in DIRECTIONS:
        yield f"projection, {number}", partial(_projection, rows, pairs, number)
    axis = principal_differences(rows, pairs, 1)
    yield "hard debias", lambda: hard_debias(rows, axis, words.gendered, pairs)
    labels = (words.bias[words.fitted] > 0).long()
    yield "LEACE", lambda: leace(rows, words.fitted, labels)
    yield "INLP", lambda: inlp(rows, words.fitted, labels)


def linear(base: Embedding, words: Words, alpha: float) -> Embedding:
    """Return words warped along the direction of gender itself."""
    axis = principal_differences(words.vectors.rows, words.pairs, 1)
    entries = base.points.shape[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FairnessWarning)
        potential = LinearPotential(torch.nn.functional.pad(axis, (entries - axis.shape[-1], 0)))
    return warp(base, potential, alpha)


def squared(base: Embedding, words: Words, alpha: float) -> Embedding:
    """Return words warped along the square of their coordinate of gender."""
    axis = principal_differences(words.vectors.rows, words.pairs, 1)
    return warp(base, lambda points: (coordinates(base.base, points) @ axis.mT).square(), alpha)


def fisher(base: Embedding, words: Words, alpha: float) -> Embedding:
    """Return words warped by the Fisher information of a logistic probe of the pairs."""
    rows = words.vectors.rows[words.pairs.mT.flatten()]
    labels = torch.arange(2).repeat_interleave(len(words.pairs))
    found = import_extra("sklearn.linear_model", "bench", "the Fisher potential").LogisticRegression()
    found.fit(rows.numpy(), labels.numpy())
    weight, bias = (torch.as_tensor(part).to(rows) for part in (found.coef_, found.intercept_))

    def probe(points: Tensor) -> Tensor:
        logit = coordinates(base.base, points) @ weight.mT + bias
        return torch.cat([-0.5 * logit, 0.5 * logit], -1)

    return warp(base, FisherPotential(probe), alpha)


def parity(
    base: Embedding,
    words: Words,
    alpha: float,
    mode: str,
    groups: Sequence[Tensor] | Tensor | None = None,
) -> Embedding:
    """Return words warped for parity to groups; held out words have the value of their gender.

    They are labelled, as the list of gendered words of hard debiasing labels them, but the values of neutral
    words do not depend on them.
    """
    sides = words.groups if groups is None else groups
    tau = words.tau if mode == "softmax" else None
    potential = ParityPotential([base.points[side] for side in sides], base.base, alpha, mode, tau)  # type: ignore[arg-type]
    return labelled(warp(base, potential, alpha), (*words.held_out, *words.groups), alpha)


def labelled(warped: Embedding, sides: Sequence[Tensor], alpha: float) -> Embedding:
    """Return an embedding in which male and female words, in turn, have the values 1 and −1 of parity."""
    for place, side in enumerate(sides):
        height = (-1) ** place * alpha**0.5
        warped = warped.with_heights(side, torch.full((len(side), 1), height))
    return warped


def reflection(base: Embedding, words: Words, number: int) -> Embedding:
    """Return words warped by the reflection of gender in a number of directions."""
    return warp(base, _reflection(base, words, number), 1.0)


def reflection_and_parity(base: Embedding, words: Words, number: int, alpha: float, mode: str) -> Embedding:
    """Return words warped by the reflection, and for parity of what it leaves to the groups.

    Gendered words that are in no group have the value 0 of parity: they are neither lifted nor do they lift.
    """
    mirror = _reflection(base, words, number)
    members = [base.points[side] for side in words.groups]
    tau = words.tau if mode == "softmax" else None
    rest = ParityPotential(members, base.base, alpha, mode, tau, score=WarpedScore(mirror, 1.0))  # type: ignore[arg-type]
    weights = torch.tensor([1.0] * mirror.outputs + [alpha], dtype=torch.float64)
    warped = warp(base, StackedPotential(mirror, rest), weights)
    others = words.gendered.clone()
    others[torch.cat(words.groups)] = False
    changed = warped.heights[others].clone()
    changed[:, -1] = 0
    return warped.with_heights(others.nonzero()[:, 0], changed)


def _reflection(base: Embedding, words: Words, number: int) -> ReflectionPotential:
    pairs, gendered = base.points[words.pairs], base.points[words.gendered]
    number = min(number, len(pairs))
    return ReflectionPotential(pairs, base.base, number, gendered=gendered, radius=RADIUS)


def _projection(rows: Tensor, pairs: Tensor, number: int) -> Tensor:
    return project(rows, principal_differences(rows, pairs, number))


def _removed(space: Space, removed: Callable[[], Tensor]) -> Embedding:
    return space(removed())
