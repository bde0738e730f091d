"""What is done about a bias elsewhere: vectors ``(N, d)`` with a direction or a subspace removed.

All of them return unit rows, so that the Euclidean distance is that of cosines.
"""

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize

from geowarp._extras import import_extra


def principal_differences(rows: Tensor, pairs: Tensor, number: int) -> Tensor:
    """Return principal axes ``(number, d)`` of the differences of pairs ``(P, 2)``, from female to male."""
    differences = rows[pairs[:, 0]] - rows[pairs[:, 1]]
    axes: Tensor = torch.linalg.svd(differences, full_matrices=False).Vh[:number]
    signs = (differences.mean(0) @ axes.mT).sign()
    return axes * signs[:, None]


def project(rows: Tensor, axes: Tensor) -> Tensor:
    """Return all rows without their components along orthonormal axes."""
    return normalize(rows - rows @ axes.mT @ axes, dim=-1)


def hard_debias(rows: Tensor, axis: Tensor, gendered: Tensor, pairs: Tensor) -> Tensor:
    """Neutralise all but the gendered rows, and equalise pairs (Bolukbasi et al., NeurIPS 2016, section 6).

    Args:
        rows: ``(N, d)``, unit.
        axis: ``(1, d)``.
        gendered: ``(N,)``, whether a row keeps its component.
        pairs: ``(P, 2)``, which then differ along the axis alone and are as far from it on both sides.
    """
    result = torch.where(gendered[:, None], rows, project(rows, axis))
    middle = rows[pairs].mean(1)
    across = middle - middle @ axis.mT @ axis
    height = (1 - across.square().sum(-1, keepdim=True)).clamp_min(0).sqrt()
    side = ((rows[pairs[:, 0]] - rows[pairs[:, 1]]) @ axis.mT).sign()
    result[pairs[:, 0]] = across + side * height * axis
    result[pairs[:, 1]] = across - side * height * axis
    return result


def leace(rows: Tensor, fitted: Tensor, labels: Tensor) -> Tensor:
    """Erase the labels ``(F,)`` of the rows ``fitted`` for linear probes (Belrose et al., NeurIPS 2023)."""
    eraser = import_extra("concept_erasure", "bench", "LEACE").LeaceEraser.fit(rows[fitted], labels)
    return normalize(eraser(rows), dim=-1)


def inlp(rows: Tensor, fitted: Tensor, labels: Tensor, rounds: int = 10) -> Tensor:
    """Project to the null space of a linear probe, again and again (Ravfogel et al., ACL 2020)."""
    axes = rows[:0]
    for _ in range(rounds):
        seen = rows[fitted] - rows[fitted] @ axes.mT @ axes
        probe = LogisticRegression(max_iter=1000).fit(seen.numpy(), labels.numpy())
        found = torch.from_numpy(probe.coef_).to(rows)
        axes = torch.linalg.qr(torch.cat([axes, found]).mT).Q.mT
    return project(rows, axes)
