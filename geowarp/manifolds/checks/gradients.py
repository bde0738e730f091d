"""Gradients against difference quotients, at generic and at degenerate points."""

import contextlib
import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from ..._geoopt import geoopt
from ...errors import ConformanceError
from .measure import deviation, direction, near, require, rounding

__all__ = ["check_gradients", "check_gradients_at_coincidence", "check_norm_gradient_at_zero"]

Function = Callable[[Tensor], Tensor]


def _functions(manifold: geoopt.Manifold, x: Tensor, u: Tensor, v: Tensor, y: Tensor) -> dict[str, Function]:
    """Return functions of entries w, at w = 0, whose inputs stay on the manifold and in tangent spaces."""

    def step(w: Tensor) -> Tensor:
        tangent: Tensor = u + manifold.proju(x, w)
        return tangent

    def point(w: Tensor) -> Tensor:
        moved: Tensor = manifold.retr(x, manifold.proju(x, w))
        return moved

    return {
        "retr(x, u + w)": lambda w: manifold.retr(x, step(w)),
        "retr(x + w, u)": lambda w: manifold.retr(point(w), manifold.proju(point(w), u)),
        "expmap(x, u + w)": lambda w: manifold.expmap(x, step(w)),
        "expmap(x + w, u)": lambda w: manifold.expmap(point(w), manifold.proju(point(w), u)),
        "inner(x, u + w, v)": lambda w: manifold.inner(x, step(w), v),
        "inner(x + w, u, v)": lambda w: manifold.inner(point(w), manifold.proju(point(w), u), v),
        "logmap(x, y + w)": lambda w: manifold.logmap(x, manifold.retr(y, manifold.proju(y, w))),
        "logmap(x + w, y)": lambda w: manifold.logmap(point(w), y),
        "transp(x, y + w, v)": lambda w: manifold.transp(x, manifold.retr(y, manifold.proju(y, w)), v),
        "transp(x + w, y, v)": lambda w: manifold.transp(point(w), y, manifold.proju(point(w), v)),
        "dist2(x, y + w)": lambda w: manifold.dist2(x, manifold.retr(y, manifold.proju(y, w))),
    }


def _project(manifold: geoopt.Manifold, x: Tensor, w: Tensor) -> Tensor:
    projected: Tensor = manifold.projx(x + w)
    return projected


def _compare(manifold: geoopt.Manifold, functions: dict[str, Function], x: Tensor) -> None:
    for name, function in functions.items():
        start = torch.zeros_like(x).requires_grad_()
        try:
            gradcheck(function, (start,), fast_mode=True, check_undefined_grad=False)
        except NotImplementedError:
            continue
        except (GradcheckError, RuntimeError) as error:
            raise ConformanceError(f"{manifold!r}: gradient of {name} at w = 0: {error}") from error


def check_gradients(manifold: geoopt.Manifold, x: Tensor, *, radius: float = 0.5, seed: int = 0) -> None:
    """Require that the gradient of every operation is its derivative, at generic points and vectors.

    Runs in float64.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_gradients(Sphere(), Sphere().random(3))
    """
    x = manifold.projx(x.double()).detach()
    y, u = near(manifold, x, seed, radius), direction(manifold, x, seed + 1, 0.5)
    functions = _functions(manifold, x, u, direction(manifold, x, seed + 2), y)
    functions["norm(x, u + w)"] = lambda w: manifold.norm(x, u + manifold.proju(x, w))
    functions["dist(x, y + w)"] = lambda w: manifold.dist(x, manifold.retr(y, manifold.proju(y, w)))
    _compare(manifold, functions, x)


def check_gradients_at_coincidence(manifold: geoopt.Manifold, x: Tensor, *, seed: int = 0) -> None:
    """Require the same of ``u = 0``, ``y = x`` and ``projx`` of points, at x and at the manifold's origin.

    Runs in float64.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> check_gradients_at_coincidence(Euclidean(1), torch.ones(3))
    """
    points = [manifold.projx(x.double()).detach()]
    with contextlib.suppress(NotImplementedError):
        points.append(manifold.origin(*x.shape, dtype=torch.float64).detach().clone())
    for point in points:
        zero, v = torch.zeros_like(point), direction(manifold, point, seed)
        functions = _functions(manifold, point, zero, v, point)
        functions["projx(x + w)"] = functools.partial(_project, manifold, point)
        _compare(manifold, functions, point)


def check_norm_gradient_at_zero(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require that the gradient of ``norm(x, u)`` is 0 at ``u = 0``; return its largest entry.

    ``seed`` has no effect.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_norm_gradient_at_zero(Sphere(), Sphere().random(4, 3))
        0.0
    """
    u = torch.zeros_like(x).requires_grad_()
    (gradient,) = torch.autograd.grad(manifold.norm(x, u).sum(), u)
    value = deviation(gradient, torch.zeros_like(x))
    return require(manifold, "|gradient of norm(x, u) at u = 0|", value, rounding(x, tolerance))
