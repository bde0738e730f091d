"""Homomorphisms of subspaces, and of semidefinite matrices of fixed rank."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds import SPSD, Grassmann, GyrovectorSpace
from ...manifolds.linalg import full_precision, newton_schulz
from ...manifolds.linalg.broadcasting import broadcast_shapes
from .definite_homomorphisms import definite_family
from .homomorphism_family import HomomorphismFamily, orthonormal

__all__ = ["BlockRotation", "FactorHomomorphisms"]

_DEFINITE = "definite_"


@dataclass(frozen=True)
class BlockRotation(HomomorphismFamily):
    """``span(x) ↦ span(diag(O_k, O_{n−k}) x)`` with orthogonal blocks, an isometry of Grassmann.

    The rotations of R^n that leave the first k axes among themselves; others move E and are no homomorphisms.
    To larger spaces R^m the second block, ``(m − k, n − k)``, has orthonormal columns.

    References:
        Wang, Hu, Song, Wu, Sebe, Chen, Towards a general attention framework on gyrovector spaces for matrix
        manifolds, NeurIPS (2025).

    Example:
        >>> weights = BlockRotation().weights(Grassmann(), (5, 2), (6, 2), ())
        >>> {name: tuple(weight.shape) for name, weight in weights.items()}
        {'top': (2, 2), 'rest': (4, 3)}
    """

    spaces: ClassVar[tuple[type[GyrovectorSpace], ...]] = (Grassmann,)

    def isometric(self, manifold: GyrovectorSpace) -> bool:
        """Return True."""
        return True

    def weights(
        self,
        manifold: GyrovectorSpace,
        point_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        heads: tuple[int, ...],
    ) -> dict[str, nn.Parameter]:
        """Return the points ``top`` and, for n > k, ``rest`` of Stiefel."""
        (n, k), (m, rank) = point_shape, out_shape
        if rank != k or m < n or (n == k and m > n):
            larger = ", or of more rows" if n > k else ""
            raise GeowarpError(
                f"{self!r}: out_shape = {out_shape} for points {point_shape}; it must be ({n}, {k}){larger}"
            )
        top = {"top": orthonormal(heads, k, k)}
        return {**top, "rest": orthonormal(heads, m - k, n - k)} if n > k else {**top}

    def apply(
        self, manifold: GyrovectorSpace, weights: Mapping[str, Tensor], x: Tensor, out_shape: tuple[int, ...]
    ) -> Tensor:
        """Return ``diag(O_k, O_{n−k}) x``."""
        image: Tensor = _turned(weights["top"], weights.get("rest"), x)
        return image


@full_precision
def _turned(top: Tensor, rest: Tensor | None, x: Tensor) -> Tensor:
    k = x.shape[-1]
    first = top @ x[..., :k, :]
    turned = first if rest is None else torch.cat([first, rest @ x[..., k:, :]], dim=-2)
    return newton_schulz(turned)


@dataclass(frozen=True)
class FactorHomomorphisms(HomomorphismFamily):
    """``U S Uᵀ ↦ (R U O_rᵀ) hom(S) (R U O_rᵀ)ᵀ``, with ``R = diag(O_r, O_{n−r})``, of semidefinite matrices.

    Subspace and definite matrix are mapped one by one: ``R U O_rᵀ`` is the aligned basis of the rotated
    subspace, and hom one of a family of the metric of the definite matrices, by default ``O S Oᵀ`` or
    ``φ⁻¹(M φ(S) Mᵀ)``.

    Args:
        definite: the family of the definite matrices.

    References:
        Wang, Hu, Song, Wu, Sebe, Chen, Towards a general attention framework on gyrovector spaces for matrix
        manifolds, NeurIPS (2025).

    Example:
        >>> FactorHomomorphisms().isometric(SPSD(2))
        True
    """

    definite: HomomorphismFamily | None = None
    spaces: ClassVar[tuple[type[GyrovectorSpace], ...]] = (SPSD,)

    def isometric(self, manifold: GyrovectorSpace) -> bool:
        """Return whether the maps of the definite matrices are isometries."""
        family, metric = self._of_definite(manifold)
        return family.isometric(metric)

    def weights(
        self,
        manifold: GyrovectorSpace,
        point_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        heads: tuple[int, ...],
    ) -> dict[str, nn.Parameter]:
        """Return those of ``BlockRotation``, and those of the definite matrices, ``definite_...``."""
        family, metric = self._of_definite(manifold)
        square = (point_shape[-1], point_shape[-1])
        subspace = BlockRotation().weights(Grassmann(), point_shape, out_shape, heads)
        definite = family.weights(metric, square, square, heads)
        return {**subspace, **{_DEFINITE + name: weight for name, weight in definite.items()}}

    def apply(
        self, manifold: GyrovectorSpace, weights: Mapping[str, Tensor], x: Tensor, out_shape: tuple[int, ...]
    ) -> Tensor:
        """Return a factor of the image."""
        assert isinstance(manifold, SPSD)
        family, metric = self._of_definite(manifold)
        basis, definite = manifold.components(x)
        turned = _turned(weights["top"], weights.get("rest"), basis) @ weights["top"].mT
        own = {name.removeprefix(_DEFINITE): w for name, w in weights.items() if name.startswith(_DEFINITE)}
        moved = family.apply(metric, own, definite, tuple(definite.shape[-2:]))
        batch = broadcast_shapes(turned.shape[:-2], moved.shape[:-2])
        return manifold.from_components(turned.expand(*batch, *turned.shape[-2:]), moved)

    def check_space(self, manifold: GyrovectorSpace) -> None:
        """Raise GeowarpError for another space, or a metric of definite matrices without homomorphisms."""
        super().check_space(manifold)
        self._of_definite(manifold)

    def _of_definite(self, manifold: GyrovectorSpace) -> tuple[HomomorphismFamily, GyrovectorSpace]:
        assert isinstance(manifold, SPSD)
        family, metric = definite_family(manifold.spd)
        if self.definite is None:
            return family, metric
        self.definite.check_space(metric)
        return self.definite, metric
