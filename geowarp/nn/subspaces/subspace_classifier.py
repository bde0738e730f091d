"""A classifier by the distances to one learnable subspace per class."""

import math

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds import Grassmann
from ...manifolds.linalg import full_precision
from ...manifolds.parameter import ManifoldParameter
from ...metrics import Geodesic, SubspaceDistance
from ...metrics.subspace_pairs import all_pairs
from .finite_input import require_finite

__all__ = ["SubspaceClassifier"]

_GEODESIC = Geodesic()


class SubspaceClassifier(nn.Module):
    """Logits ``−d(U, C_c)² / τ`` of bases ``(..., n, k)``, for subspaces C_c that are learned.

    ``class_subspaces`` are points of Grassmann, ``(num_classes, n, k)``, at random at the start. With maps,
    there is one for each map, ``(num_classes, maps, n, k)``, and the squared distances of the maps add up.

    Args:
        n: the size of the vectors.
        k: the dimension of the subspaces.
        num_classes: how many classes.
        maps: how many subspaces an input consists of, ``(..., maps, n, k)``; None for one, ``(..., n, k)``.
        distance: d, such as ``Geodesic()`` or ``Chordal()``.
        temperature: τ.
        learn_temperature: whether τ is learned, as its logarithm; otherwise it is a buffer.

    Raises:
        GeowarpError: for sizes out of range, or a temperature that is not positive.

    Example:
        >>> head = SubspaceClassifier(6, 2, 3)
        >>> head(head.class_subspaces).argmax(-1)
        tensor([0, 1, 2])
    """

    log_temperature: Tensor

    def __init__(
        self,
        n: int,
        k: int,
        num_classes: int,
        *,
        maps: int | None = None,
        distance: SubspaceDistance = _GEODESIC,
        temperature: float = 1.0,
        learn_temperature: bool = True,
    ) -> None:
        super().__init__()
        _check(n, k, num_classes, maps, temperature)
        self.distance = distance
        shape = (num_classes, n, k) if maps is None else (num_classes, maps, n, k)
        self.class_subspaces = ManifoldParameter(Grassmann().random(*shape), manifold=Grassmann())
        log_temperature = torch.tensor(math.log(temperature))
        if learn_temperature:
            self.log_temperature = nn.Parameter(log_temperature)
        else:
            self.register_buffer("log_temperature", log_temperature)

    @property
    def temperature(self) -> Tensor:
        """τ."""
        return self.log_temperature.exp()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(..., num_classes)`` of orthonormal bases ``(..., [maps,] n, k)``.

        Raises:
            GeowarpError: for bases of another shape.
            NonFiniteError: for bases that are infinite or not a number.
        """
        return -self.squared_distances(x) / self.temperature

    def squared_distances(self, x: Tensor) -> Tensor:
        """Return ``d(U, C_c)²``, ``(..., num_classes)``; with maps, their sum."""
        point = tuple(self.class_subspaces.shape[1:])
        if tuple(x.shape[-len(point) :]) != point:
            raise GeowarpError(
                f"SubspaceClassifier: the bases have the shape {tuple(x.shape)}; it needs (..., "
                f"{', '.join(map(str, point))})"
            )
        require_finite("SubspaceClassifier", x)
        batch, maps = x.shape[: x.ndim - len(point)], math.prod(point[:-2])
        sets, classes = (
            bases.reshape(count, maps, *point[-2:]).movedim(1, 0)
            for bases, count in ((x, batch.numel()), (self.class_subspaces, len(self.class_subspaces)))
        )
        squares: Tensor = _squares(self.distance, sets, classes)
        return squares.reshape(*batch, len(self.class_subspaces))

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        num_classes, *maps, n, k = self.class_subspaces.shape
        return (
            f"n={n}, k={k}, num_classes={num_classes}, maps={maps[0] if maps else None}, "
            f"distance={self.distance!r}, temperature={self.temperature.item():.4g}"
        )


@full_precision
def _squares(distance: SubspaceDistance, x: Tensor, classes: Tensor) -> Tensor:
    """Return ``Σ d²`` over maps of ``(maps, B, n, k)`` and ``(maps, C, n, k)``, ``(B, C)``."""
    return all_pairs(distance, x, classes).square().sum(0)


def _check(n: int, k: int, num_classes: int, maps: int | None, temperature: float) -> None:
    if not 1 <= k <= n:
        raise GeowarpError(f"SubspaceClassifier: k = {k} must be between 1 and n = {n}")
    if num_classes < 1 or (maps is not None and maps < 1):
        raise GeowarpError(
            f"SubspaceClassifier: num_classes = {num_classes} and maps = {maps} need 1 or more"
        )
    if not (temperature > 0 and math.isfinite(temperature)):
        raise GeowarpError(f"SubspaceClassifier: temperature = {temperature} must be positive and finite")
