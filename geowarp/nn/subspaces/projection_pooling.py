"""The mean of subspaces as a layer: over the maps of a network, or over a set."""

from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds import Grassmann
from ...manifolds.linalg import full_precision
from ...manifolds.linalg.leading_subspace import leading_eigenvectors, leading_left_singular_vectors
from ...manifolds.linalg.mean_projector import MeanProjector, dominant_eigenspace
from ...manifolds.weights import normalized_weights
from ...metrics import Chordal, Geodesic, SubspaceDistance
from .finite_input import require_finite

__all__ = ["ProjectionPooling"]

_CHORDAL = Chordal()
_SMALL = 512  # n up to which an n x n eigendecomposition is faster than iterations, there and back
_KARCHER = Grassmann()


class ProjectionPooling(nn.Module):
    """The subspace with the least ``Σ w_i d(m, x_i)²``: of bases ``(..., N, n, k)`` one, ``(..., n, k)``.

    With ``Chordal()`` it is spanned by the k leading eigenvectors of the mean of the projectors,
    ``Σ w_i x_i x_iᵀ``: pooling over maps and the eigenvectors after it in one, a global minimum. With
    ``Geodesic()`` it is the Karcher mean, by iteration, and its gradient comes from implicit differentiation.
    Nothing larger than the input is formed.

    Both are functions of the spans alone, and so are their gradients. That of the chordal mean is finite
    where its k-th and next eigenvalue are equal and the mean is not unique.

    Args:
        distance: d, ``Chordal()`` or ``Geodesic()``.
        dim: the dimension that counts the subspaces, before the last two.
        keepdim: whether it stays, with size 1.

    Raises:
        GeowarpError: for a distance without a mean, or a dimension of the bases themselves.

    References:
        Huang, Wu, Van Gool, Building deep networks on Grassmann manifolds, AAAI (2018), section 3.3; Karcher,
        Riemannian center of mass and mollifier smoothing, Comm. Pure Appl. Math. 30 (1977).

    Example:
        >>> x = torch.eye(3)[:, :2].repeat(4, 1, 1)
        >>> mean = ProjectionPooling()(x)
        >>> mean @ mean.mT
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 0.]])
    """

    def __init__(
        self, distance: SubspaceDistance = _CHORDAL, dim: int = -3, *, keepdim: bool = False
    ) -> None:
        super().__init__()
        if type(distance) not in _MEANS:
            raise GeowarpError(f"ProjectionPooling: {distance!r} has no mean; use Chordal() or Geodesic()")
        if dim in (-1, -2):
            raise GeowarpError(f"ProjectionPooling: dim = {dim} is one of the bases; use -3 or one before it")
        self.distance, self.dim, self.keepdim = distance, dim, keepdim

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the mean of ``x (..., N, n, k)`` over ``dim``, ``(..., n, k)``.

        Args:
            x: orthonormal bases.
            weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default. Their batch
                dimensions broadcast with those of x.

        Raises:
            GeowarpError: for no subspaces, or weights that are negative or sum to 0.
            NonFiniteError: for bases that are infinite or not a number.
        """
        dim = self.dim + x.ndim if self.dim < 0 else self.dim
        if not 0 <= dim < x.ndim - 2:
            raise GeowarpError(
                f"ProjectionPooling: dim = {self.dim} counts no subspaces in the shape {tuple(x.shape)}"
            )
        points = x.movedim(dim, -3)
        if points.shape[-3] == 0:
            raise GeowarpError(f"ProjectionPooling: no subspaces in the shape {tuple(x.shape)}, dim {dim}")
        require_finite("ProjectionPooling", x)
        mean: Tensor = _MEANS[type(self.distance)](points, weights)
        return mean.unsqueeze(dim - x.ndim) if self.keepdim else mean

    def pooled_shape(self, maps: int, n: int) -> tuple[int, int]:
        """Return how many maps and rows are left of bases ``(..., maps, n, k)``."""
        return 1, n

    def extra_repr(self) -> str:
        """Return the settings, for ``repr``."""
        return f"{self.distance!r}, dim={self.dim}, keepdim={self.keepdim}"


@full_precision
def _chordal(x: Tensor, weights: Tensor | None) -> Tensor:
    count, n, k = x.shape[-3:]
    w = x.new_full((count,), 1 / count) if weights is None else normalized_weights(x, weights, 2)
    columns, scale = MeanProjector.of(x, w)
    scale = scale[..., None, :]
    if count * k < n and not w.requires_grad:  # the root has no derivative at weights of 0
        return leading_left_singular_vectors(columns * scale.sqrt(), k).basis
    if count * k < n or n > _SMALL:
        return dominant_eigenspace(x, w).basis
    return leading_eigenvectors((columns * scale) @ columns.mT, k).basis


@full_precision
def _karcher(x: Tensor, weights: Tensor | None) -> Tensor:
    return _KARCHER.mean(x, weights)


_MEANS = {Chordal: _chordal, Geodesic: _karcher}
