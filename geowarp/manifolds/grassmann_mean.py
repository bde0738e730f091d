"""The objective of the Karcher mean of subspaces, by k x k matrices and two products with all bases."""

import torch
from torch import Tensor

from .descent import State
from .linalg import newton_schulz, safe_sqrt
from .linalg.product import add_product
from .linalg.threads import is_concrete, over_threads
from .linalg.trigonometric import arccos_ratio

__all__ = ["SubspaceVariance"]

_SMALLEST_COSINE = 0.1  # squared, its rounding errors in a Gram matrix still leave all but two digits
_SMALLEST_ANGLE = 0.1  # that its cosine tells to one digit less than the dtype has


class SubspaceVariance:
    """Half of ``Σ w_i dist(m, y_i)²`` on Grassmann, whose gradient is ``−Σ w_i log_m(y_i)``.

    With ``mᵀy_i = U cosΘ Wᵀ`` and ``K_i = W diag(θ / sinθ) Uᵀ`` the logarithm is ``y_i K_i − m mᵀy_i K_i``,
    so that the sum is one product of all bases with the stacked K_i. No n x k logarithm of a point is built.

    Args:
        points: orthonormal bases ``(..., N, n, k)``.
        weights: ``(..., N)``, with sum 1.

    References:
        Bendokat, Zimmermann, Absil, A Grassmann manifold handbook, Adv. Comput. Math. 50 (2024), section 5.

    Example:
        >>> x = torch.eye(2).unsqueeze(-1)
        >>> objective = SubspaceVariance(x, torch.tensor([0.5, 0.5]))
        >>> objective.evaluate(torch.tensor([[1.0], [0.0]])).direction.squeeze().abs()
        tensor([0.0000, 0.7854])
    """

    def __init__(self, points: Tensor, weights: Tensor) -> None:
        self.count, _, self.k = points.shape[-3:]
        self.bases = points.movedim(-3, -2).flatten(-2)
        self.weights = weights[..., None, None]

    def evaluate(self, point: Tensor) -> State:
        """Return the state of a search at a point."""
        cosine, kernels = _kernels(self._blocks(point.mT @ self.bases))
        kernels = self.weights * kernels
        direction = self.bases @ kernels.expand(*kernels.shape[:-3], self.count, -1, -1).flatten(-3, -2)
        direction = self._horizontal(point, self._horizontal(point, direction))
        squares = cosine.clamp(-1, 1).arccos().square().sum(-1, keepdim=True)[..., None]
        variance = (self.weights * squares).sum(-3)
        residual = safe_sqrt(self.inner(point, direction, direction))
        radius = torch.where(self.weights > 0, squares, 0).amax(-3).sqrt()
        length = torch.ones_like(residual)
        return State(point, direction, residual, 0.5 * variance, 1 + variance.sqrt(), length, radius)

    def finish(self, state: State) -> State:
        """Return the state with a radius from the logarithms: cosines do not tell the smallest angles."""
        if is_concrete(state.radius) and bool((state.radius > _SMALLEST_ANGLE).all()):
            return state
        blocks = self._blocks(state.point.mT @ self.bases)
        _, kernels = _kernels(blocks)
        bases = self.bases.unflatten(-1, (self.count, self.k)).movedim(-2, -3)
        logarithms = bases @ kernels - state.point.unsqueeze(-3) @ (blocks @ kernels)
        squares = logarithms.square().sum((-2, -1), keepdim=True)
        return state._replace(radius=torch.where(self.weights > 0, squares, 0).amax(-3).sqrt())

    def move(self, centre: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic along u, and u transported there, in the basis of the end."""
        square, vectors = torch.linalg.eigh(u.mT @ u)
        angle = square.clamp_min(0).sqrt()[..., None, :]
        sinc = torch.sinc(angle / torch.pi)
        cosine, ratio, sine = (
            (vectors * value) @ vectors.mT for value in (angle.cos(), sinc, angle.square() * sinc)
        )
        return newton_schulz(centre @ cosine + u @ ratio), u @ cosine - centre @ sine

    def inner(self, centre: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``tr uᵀv``, ``(..., 1, 1)``."""
        return (u * v).sum((-2, -1), keepdim=True)

    def _blocks(self, product: Tensor) -> Tensor:
        """Return ``(..., N, k, k)`` of ``mᵀ[y_1 ... y_N]``."""
        blocks: Tensor = product.unflatten(-1, (self.count, self.k))
        return blocks.movedim(-2, -3)

    @staticmethod
    def _horizontal(point: Tensor, u: Tensor) -> Tensor:
        return add_product(u, point, point.mT @ u, alpha=-1)


def _kernels(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines of ``C = U cosΘ Wᵀ``, and ``W diag(θ / sinθ) Uᵀ``.

    ``Cᵀ C = W cos²Θ Wᵀ`` gives them at half of the cost of a singular value decomposition, for cosines that
    are not small; a look at them would stop another device.
    """
    if is_concrete(blocks):
        square, w = over_threads(torch.linalg.eigh, blocks.mT @ blocks)
        if bool((square > _SMALLEST_COSINE**2).all()):
            cosine = square.sqrt()
            return cosine, (w * (arccos_ratio(cosine) / cosine)[..., None, :]) @ (blocks @ w).mT
    u, cosine, vh = over_threads(torch.linalg.svd, blocks)
    return cosine, (vh.mT * arccos_ratio(cosine)[..., None, :]) @ u.mT
