"""Scores of the chord distance of a warped manifold: attention that follows a potential."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..._geoopt import geoopt
from ..._warn import warn
from ...errors import FairnessWarning, GeowarpError
from ...manifolds import FairnessWarped
from ...manifolds.linalg.threads import is_concrete
from ...manifolds.warped.potential import check_values
from ..distance_attention.scores import Score, SquaredDistance
from .alpha import Alpha, checked_alphas
from .heights import Heights, HeightScore

__all__ = ["WarpedScore"]

Potential = Callable[[Tensor], Tensor]
_SCORE = SquaredDistance()


class WarpedScore(HeightScore, nn.Module):
    """A score less ``Σ_i α_i (b_i(q) − b_i(k))²``: with ``−d²``, minus the squared chord of a warped space.

    That is the distance in the surrounding space of the graph ``x ↦ (x, √α b(x))``, whose induced metric is
    ``g + Σ α_i db_i ⊗ db_i``. Relative to the score alone, the weight of a pair before normalisation falls by
    the factor ``exp(−Σ α_i Δb_i² / τ)``, and not at all where its potentials are equal.

    Where the score has ``features``, so has this one, with K + 1 entries more: attention is one fused kernel
    on Euclidean space and the flat metrics of definite matrices, and on hyperbolic space with
    ``ChordalSquaredDistance()``, whose parity potential is
    ``ParityPotential(..., score=ChordalSquaredDistance())``. Scores without, such as the geodesic distance
    of ``AffineInvariantSPD`` or ``Lorentz``, go in blocks with memory O(N + M); potentials are computed once
    for every point, and not for every block. With d = 64, K = 1, 16 members and N = 4096 a fused call took
    1.21 to 1.32 times as long as dot products of 64 dimensions, of which 1.1 to 1.2 are those of 72, the next
    multiple of 8 (CPU, float32, Euclidean and hyperbolic, with and without gradients).

    Args:
        potential: b, of points ``(..., *point)``, with values ``(..., K)``. Parameters of a module learn.
        alpha: α, a number or ``(K,)``, not negative, or a tensor that may take a gradient; by default
            ``potential.alpha``. With 0 it is the score, bit for bit.
        score: on the manifold; on a ``FairnessWarped`` one, on its base.

    Raises:
        GeowarpError: for a negative α, none where the potential has none, and a potential that is not
            callable, or whose values are not ``(..., K)`` of the dtype of the points.

    Warns:
        FairnessWarning: for an α other than that which the potential was made for.

    References:
        Hartmann, Girolami, Klami, Warped geometric information on the optimisation of Euclidean functions,
        arXiv:2308.08305 (2023), for the metric.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> from geowarp.nn import manifold_attention
        >>> x = torch.tensor([[1.0], [2.0], [-2.0]])
        >>> score = WarpedScore(torch.square, alpha=0.25)
        >>> score.logits(Euclidean(1), x, x)
        tensor([[ -0.0000,  -3.2500, -11.2500],
                [ -3.2500,  -0.0000, -16.0000],
                [-11.2500, -16.0000,  -0.0000]])
        >>> manifold_attention(x, x, x, Euclidean(1), tau=4.0, score=score)
        tensor([[ 1.1753],
                [ 1.6464],
                [-1.7650]])
    """

    score: Score

    def __init__(self, potential: Potential, alpha: Alpha | None = None, score: Score = _SCORE) -> None:
        super().__init__()
        if not isinstance(score, Score):
            raise GeowarpError(f"WarpedScore: the score {score!r} is no Score; such are SquaredDistance()")
        if not callable(potential):
            raise GeowarpError(f"WarpedScore: the potential {potential!r} is no function of points")
        if alpha is None and getattr(potential, "alpha", None) is None:
            raise GeowarpError(f"WarpedScore: {type(potential).__name__} has no alpha; give one")
        self.potential, self.score = potential, score
        self._given = None if alpha is None else checked_alphas("WarpedScore", alpha)
        self._manifold: FairnessWarped | None = None
        _warn_of_another(potential, self.alpha)

    @classmethod
    def of(cls, manifold: FairnessWarped, score: Score = _SCORE) -> "WarpedScore":
        """Return the score of a warped manifold, whose α it follows where that is learned.

        Example:
            >>> from geowarp.manifolds import Euclidean, FairnessWarped
            >>> line, x = FairnessWarped(Euclidean(1), torch.square, alpha=0.25), torch.tensor([[1.0], [2.0]])
            >>> WarpedScore.of(line).logits(line, x, x)
            tensor([[-0.0000, -3.2500],
                    [-3.2500, -0.0000]])
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FairnessWarning)  # the manifold has said so
            made = cls(manifold.potential, manifold.alpha, score)
        made._given, made._manifold = None, manifold
        return made

    @property
    def alpha(self) -> Tensor:
        """α, a number or ``(K,)``."""
        source: Any = self.potential if self._manifold is None else self._manifold
        value = source.alpha if self._given is None else self._given
        return value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)

    def base(self, manifold: geoopt.Manifold) -> geoopt.Manifold:
        """Return the base of a ``FairnessWarped`` manifold, and any other manifold itself."""
        return manifold.base if isinstance(manifold, FairnessWarped) else manifold

    def heights(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Heights | None:
        """Return b of queries and of keys, and α; None where that is 0, and takes no gradient."""
        alpha = self.alpha
        if not alpha.requires_grad and is_concrete(alpha) and not bool(alpha.any()):
            return None
        alpha = alpha.to(q)
        first = self._values(manifold, q, alpha)
        return Heights(first, first if k is q else self._values(manifold, k, alpha), alpha)

    def extra_repr(self) -> str:
        """Return the settings, for ``repr``."""
        potential = "" if isinstance(self.potential, nn.Module) else f"potential={self.potential!r}, "
        return f"{potential}alpha={self.alpha.tolist()}, score={self.score!r}"

    def _values(self, manifold: geoopt.Manifold, x: Tensor, alpha: Tensor) -> Tensor:
        entries = alpha.shape[0] if alpha.ndim else None
        return check_values("WarpedScore", self.potential(x), x, int(manifold.ndim), entries)


def _warn_of_another(potential: Potential, alpha: Tensor) -> None:
    own = getattr(potential, "alpha", None)
    if own is None or not is_concrete(alpha):
        return
    first = alpha.detach().double().cpu()
    second = torch.as_tensor(own, dtype=torch.float64, device="cpu").detach()
    fits = first.shape == second.shape or not (first.ndim and second.ndim)
    if first.any() and not (fits and bool((first == second).all())):
        warn(
            f"WarpedScore: alpha = {first.tolist()}, and {type(potential).__name__} was made for "
            f"{second.tolist()}: its parity does not hold; leave alpha out, or make the potential with it",
            FairnessWarning,
        )
