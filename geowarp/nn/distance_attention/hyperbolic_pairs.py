"""The logits of hyperbolic distances: a block is one matrix product and few operations on each entry."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import Lorentz, PoincareBall
from ...manifolds.linalg.hyperbolic import widen
from ...manifolds.linalg.threads import is_concrete
from .pair_logits import Block, PairLogits, Workspace, learned_tensors
from .scores import DistanceScore, Score, SquaredDistance
from .unit_hyperboloid import cosh_and_factor, is_hyperbolic, radius_squared, unit_hyperboloid

__all__ = ["HyperbolicPairs", "hyperbolic_pairs"]

_PAIRS = 1 << 19  # few operations take less time than it takes to start them
_PAIRS_ELSEWHERE = 1 << 25
_ERROR = 1e-5  # of a logit, above which products are computed in double precision


class HyperbolicPairs(PairLogits):
    """A score of the distances ``√k arcosh(−⟨x, y⟩)`` of points of the unit hyperboloid.

    Args:
        score: of the distance.
        root: ``√k``, of one entry.
        query: ``[x_0, −x_s]``, ``(P, N, 1 + n)``.
        key: ``[y_0, y_s]``, ``(P, M, 1 + n)``; the products of these vectors are ``−⟨x, y⟩``.
        dtype: of the logits; the products have that of the vectors.

    Example:
        >>> from geowarp.manifolds import PoincareBall
        >>> x = torch.tensor([[[0.0], [0.5]]])
        >>> pairs = hyperbolic_pairs(PoincareBall(), SquaredDistance(), x, x, torch.ones(1), torch.float32)
        >>> pairs.block(pairs.query, pairs.key).logits
        tensor([[[-0.0000, -1.2069],
                 [-1.2069, -0.0000]]])
    """

    def __init__(
        self, score: DistanceScore, root: Tensor, query: Tensor, key: Tensor, dtype: torch.dtype
    ) -> None:
        self.score, self.query, self.key, self.dtype = score, query, key, dtype
        self.parameters = (root,)

    def pairs(self) -> int:
        """Return half a million, on other devices more."""
        return _PAIRS if self.query.device.type == "cpu" else _PAIRS_ELSEWHERE

    def bounded(self) -> bool:
        """Return whether it is the score of the squared distance."""
        return type(self.score) is SquaredDistance

    def block(self, query: Tensor, key: Tensor) -> Block:
        """Return the block, with the arcs that its gradients are made of."""
        return _Arcs(self, query, key)

    def scaled(self, query: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function of keys that gives the logits times the scale, on memory of its own."""
        (root,) = self.parameters
        arcs = _rounded_arcs(query, self.dtype) if query.dtype != self.dtype else _arcs(query)
        unit = math.log(2) * root  # arcs are in base 2
        if not self.bounded():
            return lambda key: self.score.of_distance(arcs(key).mul_(unit)).mul_(scale)
        factor = -scale * unit.square()
        if not is_concrete(factor) or bool((factor != factor[:1]).any()):
            return lambda key: arcs(key).square_().mul_(factor)
        zero, number = scale.new_zeros(()), float(factor[:1])

        def logits(key: Tensor) -> Tensor:
            arc = arcs(key)
            return torch.addcmul(zero, arc, arc, value=number, out=arc)

        return logits

    def rise(self, query: Tensor, key: Tensor) -> Tensor:
        """Return ``cosh(arc) − 1`` of a block, rounded after the subtraction."""
        return torch.bmm(query, key.mT).sub_(1).to(self.dtype).clamp_min_(0)


def _arcs(query: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function of keys that gives ``log2(z + √(z² − 1))`` of the products z."""
    workspace, minus_one = Workspace(), query.new_full((), -1.0)

    def arcs(key: Tensor) -> Tensor:
        cosh, arc = workspace.pair(query, key.shape[1])
        torch.bmm(query, key.mT, out=cosh).clamp_min_(1)
        return torch.addcmul(minus_one, cosh, cosh, out=arc).sqrt_().add_(cosh).log2_()

    return arcs


def _rounded_arcs(query: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return the same for products of more digits than the arcs, which are rounded less 1."""
    products, rounded, base = Workspace(), Workspace(), 1 / math.log(2)
    like = query.new_empty(1, dtype=dtype).expand(query.shape)

    def arcs(key: Tensor) -> Tensor:
        product, _ = products.pair(query, key.shape[1])
        rise, arc = rounded.pair(like, key.shape[1])
        rise.copy_(torch.bmm(query, key.mT, out=product).sub_(1)).clamp_min_(0)
        torch.addcmul(rise, rise, rise, value=0.5, out=arc).sqrt_()  # sinh(arc) / √2
        return torch.add(rise, arc, alpha=math.sqrt(2), out=arc).log1p_().mul_(base)

    return arcs


class _Arcs(Block):
    def __init__(self, pairs: HyperbolicPairs, query: Tensor, key: Tensor) -> None:
        (root,) = pairs.parameters
        self.pairs, self.query, self.key = pairs, query, key
        rise = pairs.rise(query, key)
        self.sinh = torch.addcmul(2 * rise, rise, rise).sqrt_()
        self.arc = rise.add_(self.sinh).log1p_()
        self.logits = pairs.score.of_distance(root * self.arc)

    def gradients(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (root,) = self.pairs.parameters
        slope = grad * self.pairs.score.slope(root * self.arc)
        of_root = (slope * self.arc).sum().expand(root.shape) if root.requires_grad else None
        apart = self.sinh > 0
        along = torch.where(apart, slope / torch.where(apart, self.sinh, 1), self._limit(grad))
        across = (along * root).to(self.query.dtype)
        return across @ self.key, across.mT @ self.query, of_root

    def _limit(self, grad: Tensor) -> Tensor | float:
        """Return the quotient at equal points, where gradients of points depend on it by rounding only."""
        (root,) = self.pairs.parameters
        return -2 * root * grad if self.pairs.bounded() else 0.0


def hyperbolic_pairs(
    manifold: geoopt.Manifold, score: Score, query: Tensor, key: Tensor, scale: Tensor, dtype: torch.dtype
) -> HyperbolicPairs | None:
    """Return the pairs of points ``(P, N, *point)`` and ``(P, M, *point)`` if space and score allow it.

    A product is wrong by the rounding unit times ``x_0 y_0``, which is ``exp(2r)/4`` at distances r of the
    unit hyperboloid. On the CPU, products are computed in double precision where a logit would be wrong by
    more than 1e-5 in single precision. Elsewhere they have the dtype of the points. A distance is wrong by
    the root of that near 0: a score that is not smooth there takes double precision always, and if that is
    the dtype, None.

    Args:
        manifold: of the points.
        score: of the pairs.
        query: ``(P, N, *point)``.
        key: ``(P, M, *point)``.
        scale: ``1/τ``, ``(P, 1, 1)``.
        dtype: of the logits.
    """
    if not (is_hyperbolic(manifold) and isinstance(score, DistanceScore)) or learned_tensors(score):
        return None  # what a score learns has its gradient from blocks with a graph
    smooth = type(score) is SquaredDistance
    if dtype == torch.float64 and not smooth:
        return None
    square = torch.as_tensor(radius_squared(manifold), dtype=dtype, device=query.device).reshape(1)
    wide = not smooth or _needs_double(manifold, query, key, square * scale)
    product = None if wide else dtype
    x = unit_hyperboloid(manifold, query, product, mirrored=True)
    return HyperbolicPairs(score, square.sqrt(), x, unit_hyperboloid(manifold, key, product), dtype)


@torch.no_grad()
def _needs_double(manifold: Lorentz | PoincareBall, query: Tensor, key: Tensor, scale: Tensor) -> bool:
    if scale.dtype != torch.float32 or not is_concrete(query) or 0 in (query.numel(), key.numel()):
        return False
    x, y = (cosh_and_factor(manifold, widen(p), p.dtype)[0].amax() for p in (query, key))
    return bool(2 * torch.finfo(scale.dtype).eps * x * y * scale.amax() > _ERROR)
