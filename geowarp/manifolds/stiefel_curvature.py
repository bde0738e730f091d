"""Christoffel symbols and curvature of the α-metrics of Stiefel, in products of n x k and k x k matrices."""

from torch import Tensor

from .linalg import sym

__all__ = ["christoffel", "riemann"]


def _horizontal(x: Tensor, u: Tensor) -> Tensor:
    return u - x @ (x.mT @ u)


def _ratio(alpha: float) -> float:
    return (2 * alpha + 1) / (2 * (alpha + 1))


def christoffel(x: Tensor, u: Tensor, v: Tensor, alpha: float) -> Tensor:
    """Return ``Γ(u, v) = x sym(uᵀv) − (2α + 1) / (2(α + 1)) (H_u xᵀv + H_v xᵀu)``, ``H_u = u − x xᵀu``.

    References:
        Hüper, Markina, Silva Leite, A Lagrangian approach to extremal curves on Stiefel manifolds,
        J. Geom. Mech. 13 (2021).

    Example:
        >>> x, u = torch.eye(2, 1), torch.tensor([[0.0], [1.0]])
        >>> christoffel(x, u, u, alpha=0.0).squeeze()
        tensor([1., 0.])
    """
    value = x @ sym(u.mT @ v)
    ratio = _ratio(alpha)
    if ratio == 0:
        return value
    return value - ratio * (_horizontal(x, u) @ (x.mT @ v) + _horizontal(x, v) @ (x.mT @ u))


def _along(x: Tensor, t: Tensor, u: Tensor, v: Tensor, alpha: float) -> Tensor:
    """Return ``DΓ[t](u, v)``, the derivative of Γ in x along ``t`` with u and v as they are."""
    value = t @ sym(u.mT @ v)
    ratio = _ratio(alpha)
    return value if ratio == 0 else value - ratio * (_mixed(x, t, u, v) + _mixed(x, t, v, u))


def _mixed(x: Tensor, t: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return the derivative of ``H_u xᵀv`` along ``t``."""
    turned = t @ (x.mT @ u) + x @ (t.mT @ u)
    return _horizontal(x, u) @ (t.mT @ v) - turned @ (x.mT @ v)


def riemann(x: Tensor, u: Tensor, v: Tensor, w: Tensor, alpha: float) -> Tensor:
    """Return ``R(u, v)w = DΓ[u](v, w) − DΓ[v](u, w) + Γ(u, Γ(v, w)) − Γ(v, Γ(u, w))`` of tangent vectors.

    References:
        Nguyen, Curvatures of Stiefel manifolds with deformation metrics, J. Lie Theory 32 (2022).

    Example:
        >>> x, u, v = torch.eye(3)[:, :, None]
        >>> riemann(x, u, v, v, alpha=0.0).squeeze()
        tensor([0., 1., 0.])
    """
    first = _along(x, u, v, w, alpha) + christoffel(x, u, christoffel(x, v, w, alpha), alpha)
    second = _along(x, v, u, w, alpha) + christoffel(x, v, christoffel(x, u, w, alpha), alpha)
    return first - second
