"""Principal vectors and angles of pairs of subspaces, in k x k Gram form."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["PrincipalVectors", "largest_angle", "normal_part", "principal_vectors", "separated_angles"]


class PrincipalVectors(NamedTuple):
    """The angles θ of two subspaces, ascending, and the coordinates of the vectors that enclose them.

    Example:
        >>> x, y = torch.eye(3)[:, :2], torch.eye(3)[:, 1:]
        >>> pairs = principal_vectors(x, y)
        >>> (x @ pairs.in_x).abs()
        tensor([[0., 1.],
                [1., 0.],
                [0., 0.]])
    """

    sine: Tensor
    """``sin θ``, ``(..., p)`` with p the smaller of k and l."""
    cosine: Tensor
    """``cos θ``, ``(..., p)``."""
    in_x: Tensor
    """Orthonormal columns V, ``(..., k, p)``: the vectors are those of ``x V``."""
    in_y: Tensor
    """Orthonormal columns U, ``(..., l, p)``: the vectors are those of ``y U``."""


def normal_part(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x − y yᵀx``, the part of x normal to span(y).

    It is that of ``x − y`` where x and y have equally many columns, and so exactly 0 for equal bases.

    Args:
        x: ``(..., n, k)``.
        y: orthonormal columns, ``(..., n, l)``.

    Example:
        >>> normal_part(torch.ones(2, 1), torch.eye(2)[:, :1])
        tensor([[0.],
                [1.]])
    """
    rest = x - y if x.shape[-1] == y.shape[-1] else x
    for _ in range(2):
        rest = rest - y @ (y.mT @ rest)
    return rest


def principal_vectors(x: Tensor, y: Tensor) -> PrincipalVectors:
    """Return the principal angles and vectors of span(x) and span(y), by the SVD of ``yᵀx``.

    Sines and cosines have errors of a few eps. Vectors of angles whose cosines agree to rounding, as those of
    all angles below √eps do, are mixed with each other: sums over the angles of functions of θ² are accurate,
    single angles of that size are not. See ``separated_angles``.

    Args:
        x: orthonormal columns, ``(..., n, k)``.
        y: orthonormal columns, ``(..., n, l)``.

    References:
        Björck, Golub, Numerical methods for computing angles between linear subspaces, Math. Comp. 27 (1973).

    Example:
        >>> x, y = torch.eye(3)[:, :2], torch.eye(3)[:, 1:]
        >>> principal_vectors(x, y).cosine
        tensor([1., 0.])
    """
    u, cosine, vh = torch.linalg.svd(y.mT @ x, full_matrices=False)
    sine = torch.linalg.vector_norm(normal_part(x, y) @ vh.mT, dim=-2)
    return PrincipalVectors(sine, cosine, vh.mT, u)


def _turned(pairs: PrincipalVectors, normal: Tensor, turn: Tensor) -> PrincipalVectors:
    """Return the pairs in the basis ``turn``, ``(..., p, q)``; ``normal`` is that part of x V."""
    sine = torch.linalg.vector_norm(normal @ turn, dim=-2)
    cosine = (pairs.cosine[..., :, None] * turn.square()).sum(-2)
    return PrincipalVectors(sine, cosine, pairs.in_x @ turn, pairs.in_y @ turn)


def _versine(pairs: PrincipalVectors) -> Tensor:
    """Return ``1 − cos θ`` without cancellation."""
    return pairs.sine.square() / (1 + pairs.cosine)


def separated_angles(x: Tensor, y: Tensor) -> PrincipalVectors:
    """Return the principal angles and vectors, each angle on its own accurate at any size.

    The singular values of ``x V − y U`` are ``2 sin(θ/2)``. They separate small angles as well as those near
    π/2, which neither the sines nor the cosines do.

    Example:
        >>> x = torch.eye(4)[:, :2]
        >>> y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1e-5, 0.0], [0.0, 1e-6]])
        >>> separated_angles(x, y).sine
        tensor([1.0000e-06, 1.0000e-05])
    """
    pairs = principal_vectors(x, y)
    normal = normal_part(x, y) @ pairs.in_x
    difference = normal - (y @ pairs.in_y) * _versine(pairs)[..., None, :]
    _, _, vh = torch.linalg.svd(difference, full_matrices=False)
    return _turned(pairs, normal, vh.mT.flip(-1))


def largest_angle(x: Tensor, y: Tensor) -> PrincipalVectors:
    """Return the largest principal angle and its vectors, p = 1, accurate at any size.

    Where several angles are the largest, the vectors are those of one of them.

    Example:
        >>> x, y = torch.eye(3)[:, :2], torch.eye(3)[:, 1:]
        >>> largest_angle(x, y).sine
        tensor([1.])
    """
    pairs = principal_vectors(x, y)
    normal = normal_part(x, y) @ pairs.in_x
    gram = normal.mT @ normal + torch.diag_embed(_versine(pairs).square())
    _, vectors = torch.linalg.eigh(gram)
    return _turned(pairs, normal, vectors[..., -1:])
