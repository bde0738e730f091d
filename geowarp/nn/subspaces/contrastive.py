"""The contrastive loss of subspaces seen in several views."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg import full_precision
from ...metrics.subspace_distance import Chordal, SubspaceDistance
from ...metrics.subspace_pairs import all_pairs
from .projector_gram import projector_gram
from .views import stack_views

__all__ = ["GrassmannContrastiveLoss", "check_temperature"]


class GrassmannContrastiveLoss(nn.Module):
    """The contrastive loss that pulls the views of a sample together and pushes different samples apart.

    Of anchors ``a = (v, i)``, the subspace of sample i in view v, positives ``P(a)``, its V − 1 other views,
    and logits ``l_ab = −d(a, b)²/τ``, it is the mean over all V B anchors of

    ``log Σ_{b ≠ a} exp l_ab − 1/(V − 1) Σ_{p ∈ P(a)} l_ap``.

    It depends on the spans only, and its gradient turns with a basis. With two views of lines and the chordal
    distance it is the NT-Xent loss of SimCLR, of the squared cosine.

    For ``Chordal()`` all squared distances ``k − ‖xᵀy‖_F²`` come from one product of the bases; they lie
    between 0 and k, to which the temperature compares. That the bases are orthonormal is not checked.

    Args:
        temperature: τ, positive.
        distance: ``Chordal()``, the projection metric ``‖xxᵀ − yyᵀ‖_F / √2``; ``Geodesic()``; or any other
            ``SubspaceDistance``.

    Shape:
        Orthonormal bases ``(V, B, n, k)``, or V tensors ``(B, n, k)``, to a scalar; V and B at least 2.

    Raises:
        GeowarpError: for a temperature that is not positive; in a call, for fewer than two views or samples
            and shapes that do not fit together.

    References:
        Khosla et al., Supervised contrastive learning, NeurIPS 2020, equation 2; Chen, Kornblith, Norouzi,
        Hinton, A simple framework for contrastive learning of visual representations, ICML 2020; Wang, Li,
        Hu, Wu, Bao, Deep Grassmannian multiview subspace clustering with contrastive learning, Electron. Res.
        Arch. 32 (2024).

    Example:
        >>> loss = GrassmannContrastiveLoss(temperature=0.5)
        >>> lines = torch.eye(3)[:2, :, None]
        >>> loss([lines, lines])  # log(1 + 2 exp(-2))
        tensor(0.2395)
        >>> loss([lines, lines.flip(0)])
        tensor(2.2395)
    """

    def __init__(self, temperature: float = 1.0, distance: SubspaceDistance | None = None) -> None:
        super().__init__()
        self.temperature = check_temperature(type(self).__name__, temperature)
        self.distance = Chordal() if distance is None else distance
        if not isinstance(self.distance, SubspaceDistance):
            raise GeowarpError(
                f"{type(self).__name__}: the distance is {distance!r}; it must be one of subspaces, "
                "such as Chordal()"
            )

    def forward(self, views: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the loss of ``(V, B, n, k)``, a scalar."""
        name = type(self).__name__
        bases = stack_views(name, views, "n, k")
        _check_sizes(name, bases)
        loss: Tensor = _loss(bases, self.distance, self.temperature)
        return loss

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"temperature={self.temperature:g}, distance={self.distance!r}"


def check_temperature(name: str, temperature: float) -> float:
    """Return the temperature, a positive number, or raise.

    Example:
        >>> check_temperature("loss", 0.0)
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: loss: the temperature is 0.0; it must be positive and finite
    """
    number = float(temperature)
    if not 0 < number < math.inf:
        raise GeowarpError(f"{name}: the temperature is {temperature}; it must be positive and finite")
    return number


def _check_sizes(name: str, bases: Tensor) -> None:
    _, samples, n, k = bases.shape
    if samples < 2:
        raise GeowarpError(f"{name}: the views have {samples} samples; the loss compares at least 2")
    if not 1 <= k <= n:
        raise GeowarpError(f"{name}: the bases are {n} x {k}; they need 1 to n columns, .mT swaps the sides")


@full_precision
def _loss(bases: Tensor, distance: SubspaceDistance, temperature: float) -> Tensor:
    views, samples = bases.shape[:2]
    logits = _squares(bases.flatten(0, 1), distance) / -temperature
    itself = torch.eye(views * samples, dtype=torch.bool, device=bases.device)
    normaliser = logits.masked_fill(itself, -math.inf).logsumexp(-1)
    of_sample = logits.view(views, samples, views, samples).diagonal(dim1=1, dim2=3)
    same_view = torch.eye(views, dtype=torch.bool, device=bases.device)[..., None]
    positive = of_sample.masked_fill(same_view, 0).sum(1) / (views - 1)
    return normaliser.mean() - positive.mean()


def _squares(bases: Tensor, distance: SubspaceDistance) -> Tensor:
    """Return the squared distances of all pairs, ``(N, N)``; those of a basis and itself mean nothing."""
    if isinstance(distance, Chordal):
        return bases.shape[-1] - projector_gram(bases)
    table = all_pairs(distance, bases, bases, symmetric=True)
    finite = table.isfinite()  # Martin's distance can be infinite, and then has no gradient
    return torch.where(finite, table, 0).square().masked_fill(~finite, math.inf)
