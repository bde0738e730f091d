"""The Stein divergence of positive definite matrices, and the mean that belongs to it."""

from ..manifolds import spd
from ..manifolds.spd import AffineInvariantSPD
from .arrays import Array, accepts_arrays, tensors
from .pairwise import check_sets
from .validation import check_batches, check_pair, check_points

__all__ = ["stein_divergence", "stein_divergence_pairwise", "stein_mean"]


@accepts_arrays
def stein_divergence(x: Array, y: Array) -> Array:
    """Return the Stein divergence ``log det((x + y)/2) − ½ log det(x y)``, ``(...)``.

    Also called S-divergence or symmetric log-det divergence. Its square root is a metric, and it is ``d²/8``
    to second order, d the affine-invariant distance. It needs Cholesky factors only. Gradients are exact, and
    0 where x equals y; differentiable twice.

    Args:
        x: positive definite, ``(..., n, n)``, a tensor or a numpy array.
        y: positive definite, ``(..., n, n)``; the batch dimensions broadcast.

    Raises:
        GeowarpError: for shapes or dtypes that do not fit together.
        NotOnManifoldError: for a matrix that is not positive definite, with its smallest eigenvalue.
        NonFiniteError: for a matrix that is infinite or not a number.

    References:
        Sra, Positive definite matrices and the S-divergence, Proc. AMS 144 (2016), theorem 3.1.

    Example:
        >>> stein_divergence(torch.eye(2), 4 * torch.eye(2))
        tensor(0.4463)
    """
    first, second = tensors(x, y)
    check_pair(AffineInvariantSPD(), first, second)
    check_batches("stein_divergence", first.shape[:-2], second.shape[:-2])
    divergence: Array = tensors(spd.stein_divergence(first, second))
    return divergence


@accepts_arrays
def stein_divergence_pairwise(x: Array, y: Array | None = None) -> Array:
    """Return ``stein_divergence`` of all pairs, ``(..., N, M)``.

    Args:
        x: positive definite, ``(..., N, n, n)``, a tensor or a numpy array.
        y: positive definite, ``(..., M, n, n)``; by default x, which takes half the work.

    Raises:
        GeowarpError: for shapes or dtypes that do not fit together.
        NotOnManifoldError: for a matrix that is not positive definite, with its smallest eigenvalue.
        NonFiniteError: for a matrix that is infinite or not a number.

    Example:
        >>> stein_divergence_pairwise(torch.tensor([[[1.0]], [[4.0]]]))
        tensor([[0.0000, 0.2231],
                [0.2231, 0.0000]])
    """
    first, second = tensors(x, x if y is None else y)
    check_sets("stein_divergence_pairwise", AffineInvariantSPD(), first, second)
    divergence: Array = tensors(spd.stein_divergence_pairwise(first, None if second is first else second))
    return divergence


@accepts_arrays
def stein_mean(x: Array, weights: Array | None = None) -> Array:
    """Return the mean ``argmin_m Σ w_i stein_divergence(m, x_i)``, for a batch of problems at once.

    Also called log-det or Bhattacharyya mean: the only m with ``m⁻¹ = Σ w_i ((m + x_i) / 2)⁻¹``. Close to
    the affine-invariant mean, at the cost of Cholesky factors only. Differentiable once in points and
    weights, by the implicit function theorem.

    Args:
        x: positive definite, ``(..., N, n, n)``, a tensor or a numpy array.
        weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default. Their batch
            dimensions broadcast with those of x.

    Returns:
        ``(..., n, n)``.

    Raises:
        GeowarpError: for negative weights, weights that sum to 0, or no points.
        NotOnManifoldError: for a matrix that is not positive definite, with its smallest eigenvalue.
        NonFiniteError: for points or weights that are infinite or not a number.

    Warns:
        NumericalWarning: where a search did not converge.

    References:
        Sra, Positive definite matrices and the S-divergence, Proc. AMS 144 (2016), section 4.

    Example:
        >>> stein_mean(torch.stack([torch.eye(2), 16 * torch.eye(2)]))
        tensor([[4., 0.],
                [0., 4.]])
    """
    points, given = tensors(x, weights)
    check_points(AffineInvariantSPD(), points)
    mean: Array = tensors(spd.stein_mean(points, given))
    return mean
