"""From embeddings and groups of words to a metric under which all words are equally far from all groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds import Euclidean, FairnessWarped
from ...metrics.arrays import Array, accepts_arrays, tensors
from ...metrics.validation import check_points
from ..distance_attention.distances import all_distances
from .exempt import ExemptPotential
from .groups import nearest_apart
from .parity import ParityMode
from .parity_potential import ParityPotential
from .potentials import StackedPotential
from .reflection import ReflectionPotential
from .report import BiasReport, measure_bias
from .roles import Pairs, Roles, find_roles
from .score import WarpedScore
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
    potential: ParityPotential
    """The potential of parity: that of the metric, or the last part of it."""

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
    gendered: Words | None = None,
    pairs: Pairs | None = None,
    directions: int = 1,
) -> Debiased:
    """Return a metric on the space of embeddings under which words are equally far from all groups.

    The base metric, stretched by a ``ParityPotential`` of the groups; the embeddings themselves stay what
    they are, and so does what a probe can read from them. With distances of unit vectors, parity of the mean
    squared distance is parity of the mean cosine; embeddings are taken as they are, so divide them by their
    norms before where that is meant. Members of groups keep their differences.

    All other words become as far from one group as from the other, also those that should not be, such as
    "queen". They are to be listed as ``gendered``: the potential is 0 there, so that they keep their
    differences, and other words attend to them as before. With ``pairs``, parity is put on a
    ``ReflectionPotential``: other words then attend to all gendered words, in flat space, as after a
    projection along K directions. So it carries over to words that the groups lack, if they are listed; a
    gendered word that is not becomes more biased.

    Args:
        embeddings: ``(V, *point)``, a tensor or a numpy array.
        groups: two or more lists of words, by name, or of places in the embeddings; each word counts once.
        alpha: the weight of the potential, positive; see ``ParityPotential``.
        vocabulary: the words in the order of the embeddings, or the place of each word. Needed for words.
        base: the manifold of the embeddings; flat vectors by default.
        mode: "mean", parity of mean squared distances, or "softmax", of attention mass, which needs τ.
        tau: the temperature of attention. For the report it is by default a quarter of the mean squared
            distance of targets and members.
        targets: words or places that the report measures; by default all that are neither in a group nor
            gendered.
        radius: of the gate about members, see ``ParityPotential``; by default the largest one that leaves all
            targets outside, for which parity is then exact. A target on a member counts as one.
        gendered: words or places that belong to a group by definition, beside those of the groups and pairs.
        pairs: two words or places each, which differ by the bias alone, for the reflection; all are gendered.
        directions: K, of the reflection.

    Raises:
        GeowarpError: for words that are not in the vocabulary (all are named, with the nearest spellings),
            words without a vocabulary, a word in two groups, in a group and the targets, or gendered and in
            the targets, empty groups or targets, pairs that are none, and settings as ``ParityPotential`` and
            ``ReflectionPotential``.
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
    places = read_vocabulary(vocabulary, len(points))
    roles = find_roles(groups, places, targets=targets, gendered=gendered, pairs=pairs)
    chosen = points[roles.targets]
    mirror = _reflection(points, roles, base, directions)
    score = None if mirror is None else WarpedScore(mirror)
    sets = {name: points[members] for name, members in roles.groups.items()}
    parity = ParityPotential(sets, base, alpha, mode, tau, score=score, radius=radius)
    if radius is None:
        parity.radius = min(parity.radius, nearest_apart(base, chosen, parity.members))
    metric = FairnessWarped(base, _together(mirror, parity, points[roles.exempt], chosen))
    return Debiased(metric, _report(metric, parity, chosen, tau), parity)


def _reflection(
    points: Tensor, roles: Roles, base: geoopt.Manifold, directions: int
) -> ReflectionPotential | None:
    """Return the reflection with a gate that all targets are outside of, if there are pairs."""
    if not roles.pairs:
        return None
    pairs, gendered = points[torch.tensor(roles.pairs)], points[roles.gendered]
    potential = ReflectionPotential(pairs, base, directions, gendered=gendered)
    potential.radius = min(potential.radius, nearest_apart(base, points[roles.targets], gendered))
    return potential


def _together(
    mirror: ReflectionPotential | None, parity: ParityPotential, exempt: Tensor, targets: Tensor
) -> nn.Module:
    rest: nn.Module = parity
    if len(exempt):
        others = torch.cat([targets, parity.members])
        radius = min(nearest_apart(parity.base, points, others) for points in (exempt, parity.members))
        rest = ExemptPotential(parity, parity.base, exempt, radius, parity.alpha)
    return rest if mirror is None else StackedPotential(mirror, rest)


@accepts_arrays
def _chords(metric: FairnessWarped, x: Array, y: Array) -> Array:
    first, second = tensors(x, y)
    chords: Array = tensors(metric.cdist(first, second, mode="chord"))
    return chords


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Return a copy of an array of any byte order and strides."""
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _read(embeddings: Any, base: geoopt.Manifold) -> Tensor:
    points: Any = _tensor(embeddings) if isinstance(embeddings, np.ndarray) else embeddings
    check_points(base, points, "embeddings")
    if points.ndim != base.ndim + 1:
        raise GeowarpError(
            f"debias: the embeddings have the shape {tuple(points.shape)}; they must be (V, *point) with "
            f"points of {base.ndim} dimensions"
        )
    tensor: Tensor = points.detach()
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


@torch.no_grad()
def _report(
    metric: FairnessWarped, potential: ParityPotential, targets: Tensor, tau: float | None
) -> BiasReport:
    base = metric.base
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
