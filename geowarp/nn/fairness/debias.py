"""From embeddings and groups of words to a metric under which all words are equally far from all groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds import Euclidean, FairnessWarped
from ...metrics.arrays import Array, accepts_arrays, tensors
from ...metrics.validation import check_points
from ..distance_attention.distances import all_distances
from .groups import nearest_apart
from .parity import ParityMode
from .parity_potential import ParityPotential
from .report import BiasReport, measure_bias
from .vocabulary import Vocabulary, Words, read_vocabulary

__all__ = ["Debiased", "debias"]


@dataclass(frozen=True)
class Debiased:
    """A metric of parity, its chord distance, and what it changes.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.2, 1.0], [-0.3, 1.0]])
        >>> debiased = debias(x, {"she": [0], "he": [1]}, alpha=0.25)
        >>> debiased.distance(x[2:], x[:2]).square()
        tensor([[2.4500, 2.4500],
                [2.7000, 2.7000]])
    """

    metric: FairnessWarped
    report: BiasReport

    @property
    def potential(self) -> ParityPotential:
        """The potential that stretches the metric."""
        potential = self.metric.potential
        assert isinstance(potential, ParityPotential)
        return potential

    def distance(self, x: Array, y: Array) -> Array:
        """Return all chord distances ``(..., n, m)`` of ``(..., n, *point)`` and ``(..., m, *point)``."""
        return _chords(self.metric, x, y)


def debias(
    embeddings: Tensor | np.ndarray[Any, Any],
    groups: Mapping[str, Words],
    alpha: float = 0.25,
    *,
    vocabulary: Vocabulary | None = None,
    base: geoopt.Manifold | None = None,
    mode: ParityMode = "mean",
    tau: float | None = None,
    targets: Words | None = None,
    radius: float | None = None,
) -> Debiased:
    """Return a metric on the space of embeddings under which words are equally far from all groups.

    The base metric, stretched by a ``ParityPotential`` of the groups; the embeddings themselves stay what
    they are, and so does what a probe can read from them. With distances of unit vectors, parity of the mean
    squared distance is parity of the mean cosine; embeddings are taken as they are, so divide them by their
    norms before where that is meant. Members of groups keep their differences.

    Args:
        embeddings: ``(V, *point)``, a tensor or a numpy array.
        groups: two or more lists of words, by name, or of places in the embeddings.
        alpha: the weight of the potential, positive; see ``ParityPotential``.
        vocabulary: the words in the order of the embeddings, or the place of each word. Needed for words.
        base: the manifold of the embeddings; flat vectors by default.
        mode: "mean", parity of mean squared distances, or "softmax", of attention mass, which needs τ.
        tau: the temperature of attention. For the report it is by default a quarter of the mean squared
            distance of targets and members.
        targets: words or places that the report measures; by default all that are in no group.
        radius: of the gate about members, see ``ParityPotential``; by default the largest one that leaves all
            targets outside, for which parity is then exact. A target on a member counts as one.

    Raises:
        GeowarpError: for words that are not in the vocabulary (all are named, with the nearest spellings),
            words without a vocabulary, a word in two groups or in a group and the targets, empty groups or
            targets, and settings as ``ParityPotential``.
        NonFiniteError: for embeddings that are infinite or not a number.
        NotOnManifoldError: for other embeddings that are not on the base.

    Example:
        >>> words = ["she", "he", "nurse", "engineer", "banana"]
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.4, 1.0], [-0.3, 1.0], [0.0, 2.0]])
        >>> debiased = debias(x, {"female": ["she"], "male": ["he"]}, vocabulary=words)
        >>> print(debiased.report)
        3 targets; groups: female 1, male 1; alpha = 0.25, tau = 0.7708
                        before    after
        attention gap   0.4763   0.0000
        ECT             0.5000   1.0000
        raw gap         0.4667   0.0000
    """
    base = Euclidean(1) if base is None else base
    points = _read(embeddings, base)
    members, others = _places(groups, targets, vocabulary, len(points))
    sets = {name: points[places] for name, places in members.items()}
    potential = ParityPotential(sets, base, alpha, mode, tau, radius=radius)
    if radius is None:
        radius = min(potential.radius, nearest_apart(base, points[others], potential.members))
        potential = ParityPotential(sets, base, alpha, mode, tau, radius=radius)
    metric = FairnessWarped(base, potential)
    return Debiased(metric, _report(metric, points[others], tau))


@accepts_arrays
def _chords(metric: FairnessWarped, x: Array, y: Array) -> Array:
    first, second = tensors(x, y)
    chords: Array = tensors(metric.cdist(first, second, mode="chord"))
    return chords


def _read(embeddings: Any, base: geoopt.Manifold) -> Tensor:
    points: Any = torch.from_numpy(np.array(embeddings)) if isinstance(embeddings, np.ndarray) else embeddings
    check_points(base, points, "embeddings")
    if points.ndim != base.ndim + 1:
        raise GeowarpError(
            f"debias: the embeddings have the shape {tuple(points.shape)}; they must be (V, *point) with "
            f"points of {base.ndim} dimensions"
        )
    tensor: Tensor = points.detach()
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _places(
    groups: Mapping[str, Words], targets: Words | None, vocabulary: Vocabulary | None, size: int
) -> tuple[dict[str, list[int]], list[int]]:
    places = read_vocabulary(vocabulary, size)
    wanted = {f"group {name!r}": words for name, words in groups.items()}
    found = places.find(wanted | ({} if targets is None else {"targets": targets}))
    others = found.pop("targets", None)
    owners: dict[int, str] = {}
    for name, members in found.items():
        for place in members:
            if owners.setdefault(place, name) != name:
                raise GeowarpError(
                    f"debias: {places.name(place)} is in {owners[place]} and {name}; it can be in one only"
                )
    if others is None:
        others = [place for place in range(size) if place not in owners]
    for place in others:
        if place in owners:
            raise GeowarpError(
                f"debias: {places.name(place)} is in the targets and in {owners[place]}; members keep their "
                "bias, leave it out of the targets"
            )
    if not others:
        raise GeowarpError("debias: there are no targets to report on; every embedding is in a group")
    return dict(zip(groups, found.values(), strict=True)), others


@torch.no_grad()
def _report(metric: FairnessWarped, targets: Tensor, tau: float | None) -> BiasReport:
    potential, base = metric.potential, metric.base
    assert isinstance(potential, ParityPotential)
    groups = potential.members.split(potential.sizes)

    def plain(x: Tensor, y: Tensor) -> Tensor:
        return all_distances(base, x, y)

    def warped(x: Tensor, y: Tensor) -> Tensor:
        return metric.cdist(x, y, mode="chord")

    if tau is None:
        tau = float(plain(targets, potential.members).square().mean()) / 4
    before, after = (measure_bias(targets, groups, tau, distance) for distance in (plain, warped))
    sizes = dict(zip(potential.names, potential.sizes, strict=True))
    return BiasReport(before, after, sizes, len(targets), potential.alpha, tau)
