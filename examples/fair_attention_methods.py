"""The methods that ``fair_attention.py`` compares: what each does to vectors, or to distances."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from fair_attention_data import GROUPS, HELD_OUT, Vectors
from torch import Tensor

from geowarp.errors import FairnessWarning
from geowarp.manifolds import Euclidean, FairnessWarped
from geowarp.nn import LinearPotential, ParityPotential

SPACE = Euclidean(1)
MODES = ("mean", "softmax")


@dataclass(frozen=True)
class Method:
    """What is done about a bias.

    Args:
        name: for the table.
        rows: the vectors after it, in the order of the words.
        metric: stretched, of the distance; flat where there is none.
        labelled: the same metric, told the gender of the words that were held out.
    """

    name: str
    rows: Tensor
    metric: FairnessWarped | None = None
    labelled: FairnessWarped | None = None

    @property
    def points(self) -> Tensor:
        """The points ``(x, √α b(x))`` whose distances count: they are all that a probe can know."""
        if self.metric is None:
            return self.rows
        return torch.cat([self.rows, self.metric.alpha.sqrt() * self.metric.potential_values(self.rows)], -1)


def chords(metric: FairnessWarped | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the distance of all pairs of points."""
    if metric is None:
        return lambda x, y: torch.cdist(x, y)
    return lambda x, y: metric.cdist(x, y, mode="chord")


def gender_direction(vectors: Vectors) -> Tensor:
    """Return the principal axis of the differences of the pairs of the groups, from female to male."""
    male, female = (vectors.of(words) for words in GROUPS.values())
    axis: Tensor = torch.linalg.svd(male - female, full_matrices=False).Vh[0]
    return torch.where((male - female).mean(0) @ axis < 0, -axis, axis)


def projected(rows: Tensor, axis: Tensor) -> Tensor:
    """Return unit vectors without their component along an axis."""
    return torch.nn.functional.normalize(rows - (rows @ axis)[:, None] * axis, dim=-1)


def hard_debiased(vectors: Vectors, axis: Tensor) -> Tensor:
    """Return vectors after "neutralize and equalize" of Bolukbasi et al., NeurIPS (2016)."""
    rows = projected(vectors.rows, axis)
    male, female = ([vectors.places[word] for word in words] for words in GROUPS.values())
    centre = (vectors.rows[male] + vectors.rows[female]) / 2
    centre = centre - (centre @ axis)[:, None] * axis
    half = (1 - centre.square().sum(-1, keepdim=True)).sqrt() * axis
    rows[male], rows[female] = centre + half, centre - half
    return rows


def labelled(potential: ParityPotential, words: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the potential with the value of a group at each of its further words, and no other change."""
    points, sizes = torch.cat(list(words)), torch.tensor([len(group) for group in words])
    values = potential.prototypes.repeat_interleave(sizes, 0)

    def values_of(x: Tensor) -> Tensor:
        same = torch.cdist(x, points, compute_mode="donot_use_mm_for_euclid_dist") == 0
        return torch.where(same.any(-1, keepdim=True), same.to(x.dtype) @ values, potential(x))

    return values_of


def parity(vectors: Vectors, alpha: float, mode: str, tau: float) -> ParityPotential:
    """Return the potential of the groups."""
    groups = {name: vectors.of(words) for name, words in GROUPS.items()}
    return ParityPotential(groups, SPACE, alpha, mode, tau)  # type: ignore[arg-type]


def methods(vectors: Vectors, alphas: Sequence[float], tau: float) -> Iterator[Method]:
    """Yield all methods."""
    rows, axis = vectors.rows, gender_direction(vectors)
    yield Method("as they are", rows)
    yield Method("projected", projected(rows, axis))
    yield Method("hard debiased", hard_debiased(vectors, axis))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FairnessWarning)  # which says what the table shows
        linear = LinearPotential(axis[None])
    yield Method("linear potential, α = 1", rows, FairnessWarped(SPACE, linear, 1.0))
    held_out = [vectors.of(words) for words in HELD_OUT.values()]
    for mode in MODES:
        for alpha in alphas:
            potential = parity(vectors, alpha, mode, tau)
            yield Method(
                f"parity, {mode}, α = {alpha:g}",
                rows,
                FairnessWarped(SPACE, potential),
                FairnessWarped(SPACE, labelled(potential, held_out), alpha),
            )
