"""The contrastive loss of clusters, whose assignments are made in several views, and what goes with it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg import full_precision
from .contrastive import check_temperature
from .views import stack_views

__all__ = [
    "ClusterContrastiveLoss",
    "CosineSimilarity",
    "DotSimilarity",
    "balance",
    "target_distribution",
]

Similarity = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DotSimilarity:
    """``x_i · x_j`` of all pairs of vectors, ``(..., M, B)`` to ``(..., M, M)``.

    Example:
        >>> DotSimilarity()(torch.tensor([[3.0, 0.0], [3.0, 4.0]]))
        tensor([[ 9.,  9.],
                [ 9., 25.]])
    """

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the similarity of all pairs."""
        return vectors @ vectors.mT


@dataclass(frozen=True)
class CosineSimilarity:
    """``x_i · x_j / (‖x_i‖ ‖x_j‖)`` of all pairs of vectors, 0 where one of them is 0.

    Vectors whose squares underflow are 0.

    Example:
        >>> CosineSimilarity()(torch.tensor([[3.0, 0.0], [3.0, 4.0], [0.0, 0.0]]))
        tensor([[1.0000, 0.6000, 0.0000],
                [0.6000, 1.0000, 0.0000],
                [0.0000, 0.0000, 0.0000]])
    """

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the similarity of all pairs."""
        norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        unit = vectors / torch.where(norm > math.sqrt(torch.finfo(norm.dtype).tiny), norm, 1)
        return unit @ unit.mT


class ClusterContrastiveLoss(nn.Module):
    """InfoNCE of clusters: each is alike in two views, and unlike every other cluster.

    A cluster in a view is the vector of its B soft assignments, a column of ``(B, K)``. Of a pair of views it
    compares all 2K columns; the positive of a column is that of the same cluster in the other view, and its
    negatives are the other 2K − 2. The loss is the cross-entropy of similarities divided by the temperature,
    its mean over the columns and over all pairs of views.

    Args:
        temperature: positive.
        similarity: ``DotSimilarity()``, which grows with the batch, ``CosineSimilarity()``, or any function
            of vectors ``(M, B)`` that returns the similarity of all pairs, ``(M, M)``.
        sharpen: whether the assignments are first replaced by their ``target_distribution``.

    Shape:
        Soft assignments ``(V, B, K)``, or V tensors ``(B, K)``, to a scalar; V and K at least 2.

    Raises:
        GeowarpError: for a temperature that is not positive; in a call, for fewer than two views or clusters
            and shapes that do not fit together.

    References:
        Li, Hu, Liu, Peng, Zhou, Peng, Contrastive clustering, AAAI 2021; Chen, Mao, Woo, Peng,
        Deep multiview clustering by contrasting cluster assignments, ICCV 2023.

    Example:
        >>> loss = ClusterContrastiveLoss()
        >>> clusters = torch.eye(3)
        >>> loss([clusters, clusters])  # log(e + 4) - 1
        tensor(0.9048)
        >>> loss([clusters, clusters.roll(1, 0)])
        tensor(1.9048)
    """

    def __init__(
        self, temperature: float = 1.0, similarity: Similarity | None = None, sharpen: bool = False
    ) -> None:
        super().__init__()
        self.temperature = check_temperature(type(self).__name__, temperature)
        self.similarity = DotSimilarity() if similarity is None else similarity
        if not callable(self.similarity):
            raise GeowarpError(
                f"{type(self).__name__}: the similarity is {similarity!r}; it must be a function such as "
                "CosineSimilarity()"
            )
        self.sharpen = sharpen

    def forward(self, views: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the loss of ``(V, B, K)``, a scalar."""
        name = type(self).__name__
        assignments = stack_views(name, views, "K")
        if assignments.shape[-1] < 2:
            raise GeowarpError(f"{name}: there are {assignments.shape[-1]} clusters; it compares at least 2")
        loss: Tensor = _loss(assignments, self.similarity, self.temperature, self.sharpen)
        return loss

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"temperature={self.temperature:g}, similarity={self.similarity!r}, sharpen={self.sharpen}"


@full_precision
def _loss(assignments: Tensor, similarity: Similarity, temperature: float, sharpen: bool) -> Tensor:
    views, _, clusters = assignments.shape
    if sharpen:
        assignments = target_distribution(assignments)
    logits = similarity(assignments.mT.flatten(0, 1)) / temperature
    itself = torch.eye(views * clusters, dtype=torch.bool, device=logits.device)
    table = logits.masked_fill(itself, -torch.inf).reshape(views, clusters, views, clusters)
    in_view = table.logsumexp(-1).transpose(1, 2)  # [v, w, k]: column k of view v and all columns of view w
    own = in_view.diagonal(dim1=0, dim2=1).T[:, None]
    positive = logits.reshape(table.shape).diagonal(dim1=1, dim2=3)
    terms = torch.logaddexp(own, in_view) - positive
    other_view = ~torch.eye(views, dtype=torch.bool, device=logits.device)
    return terms[other_view].mean()


@full_precision
def target_distribution(assignments: Tensor) -> Tensor:
    """Return assignments sharpened towards the confident ones, with clusters of equal weight.

    ``q_ik²/f_k`` divided by its sum over k, with ``f_k = Σ_i q_ik`` of the batch. A cluster of no mass stays
    one.

    Args:
        assignments: q, soft assignments ``(..., B, K)``, rows that sum to 1.

    References:
        Xie, Girshick, Farhadi, Unsupervised deep embedding for clustering analysis, ICML 2016, equation 3.

    Example:
        >>> target_distribution(torch.tensor([[0.8, 0.2], [0.4, 0.6]]))
        tensor([[0.9143, 0.0857],
                [0.2286, 0.7714]])
    """
    mass = assignments.sum(-2, keepdim=True)
    weight = assignments * (assignments / torch.where(mass > torch.finfo(mass.dtype).tiny, mass, 1))
    total = weight.sum(-1, keepdim=True)
    return weight / torch.where(total > 0, total, 1)


@full_precision
def balance(assignments: Tensor) -> Tensor:
    """Return ``Σ_k π_k log π_k`` of the mean assignment π, ``(...)``: −log K if even, 0 if one takes all.

    The negative entropy of the sizes of the clusters; added to a loss, it keeps them from being empty. Where
    one is empty the gradient, infinite there, is that of the least positive size.

    Args:
        assignments: soft assignments ``(..., B, K)``, rows that sum to 1.

    References:
        Li, Hu, Liu, Peng, Zhou, Peng, Contrastive clustering, AAAI 2021.

    Example:
        >>> balance(torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]))
        tensor(-0.6931)
    """
    size = assignments.mean(-2)
    return (size * size.clamp_min(torch.finfo(size.dtype).tiny).log()).sum(-1)
