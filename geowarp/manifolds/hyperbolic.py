"""What the models of hyperbolic space share: the constant of curvature, learnable or not."""

import math
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError
from .gyrovector import GyrovectorSpace
from .linalg import full_precision
from .linalg.hyperbolic import Curvature, widen

__all__ = ["HyperbolicSpace", "weighted_sum"]

_COMPUTED = (
    *("dist0", "expmap0", "logmap0", "transp0", "transp0back", "dist2plane", "lambda_x"),
    *("mobius_add", "mobius_sub", "mobius_coadd", "mobius_cosub", "mobius_scalar_mul", "mobius_matvec"),
    *("mobius_pointwise_mul", "mobius_fn_apply", "einstein_midpoint", "to_lorentz", "tangent_to_lorentz"),
    *("gyro_coadd", "gyro_cosub", "gyro_scalar_mul", "gyro_matvec"),
    *("gyro_pointwise_mul", "gyro_fn_apply", "centroid", "to_poincare", "tangent_to_poincare"),
)


def weighted_sum(x: Tensor, weights: Tensor | None) -> Tensor:
    """Return ``Σ w_i x_i``, ``(..., n)``, of ``(..., N, n)`` and ``(..., N)``, by one matrix product.

    Weights are equal by default; float32 ones are raised to the float64 of x.

    Example:
        >>> weighted_sum(torch.eye(2)[None], torch.ones(3, 2)).shape
        torch.Size([3, 2])
    """
    weights = x.new_ones(x.shape[-2:-1]) if weights is None else weights.to(x.dtype)
    if x.ndim > 2 and x.shape[-3] == 1 and weights.ndim > 1:
        return weights @ x.squeeze(-3)
    if x.ndim == 2 and weights.ndim > 1:
        return weights @ x
    return (weights[..., None, :] @ x).squeeze(-2)


class HyperbolicSpace(GyrovectorSpace):
    """A model of hyperbolic space with one positive constant, from which its curvature follows.

    A constant that is learned is the exponential of the parameter ``log_c`` or ``log_k``, and such a manifold
    equals only itself: points of two of them are never stepped as one batch.

    Args:
        constant: positive.
        learnable: whether it is a parameter.

    Raises:
        GeowarpError: for a constant that is not positive or not finite.

    Example:
        >>> from geowarp.manifolds import PoincareBall
        >>> isinstance(PoincareBall(), HyperbolicSpace)
        True
    """

    ndim = 1
    reversible = True
    symbol: str
    curvature: str
    __scaling__ = GyrovectorSpace.__scaling__.copy()
    __scaling__["dist0"] = geoopt.manifolds.base.ScalingInfo(1)
    __scaling__["logmap0"] = geoopt.manifolds.base.ScalingInfo(1)
    __scaling__["expmap0"] = geoopt.manifolds.base.ScalingInfo(u=-1)
    __scaling__["dist2plane"] = geoopt.manifolds.base.ScalingInfo(1)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in set(_COMPUTED) & set(cls.__dict__):
            setattr(cls, name, full_precision(cls.__dict__[name]))

    def __init__(self, constant: float = 1.0, learnable: bool = False) -> None:
        super().__init__()
        value = float(constant)
        if not 0 < value < math.inf:
            raise GeowarpError(
                f"{self.name}: {self.symbol} = {value} is not a positive finite number; the curvature is "
                f"{self.curvature}, and flat space is Euclidean(1)"
            )
        self.learnable = learnable
        self._value = value
        parameter = torch.nn.Parameter(torch.tensor(math.log(value))) if learnable else None
        self.register_parameter(f"log_{self.symbol}", parameter)

    def constants(self) -> tuple[Any, ...]:
        """Return the constant, and where it is learnable what no other manifold has."""
        return (id(self),) if self.learnable else (self._value,)

    def __repr__(self) -> str:
        return f"{self.name}(learnable=True)" if self.learnable else super().__repr__()

    def uniqueness_radius(self) -> float:
        """Return infinity: the curvature is negative."""
        return math.inf

    @torch.no_grad()
    def origin_point(self, shape: tuple[int, ...]) -> Tensor:
        """Return the centre of the model."""
        centre: Tensor = self.projx(torch.zeros(shape, dtype=torch.float64))
        return centre

    def _constant(self) -> Curvature:
        """Return the constant: a number, or a tensor of one, in float64, through which gradients flow."""
        if not self.learnable:
            return self._value
        logarithm: Tensor = getattr(self, f"log_{self.symbol}")
        return widen(logarithm.float() if logarithm.dtype.itemsize < 4 else logarithm).exp()
