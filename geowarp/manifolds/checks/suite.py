"""All checks, what a manifold claims beyond the contract, and one call that runs everything."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import ConformanceError
from . import distance, geodesic, gradients, mean, retraction, runtime, tangent, tensors, transport, values

__all__ = ["CHECKS", "Claims", "Result", "check_manifold", "checks", "run_check"]

Check = Callable[..., float | None]

CHECKS: tuple[Check, ...] = tuple(
    getattr(module, name)
    for module in (
        tangent,
        retraction,
        geodesic,
        distance,
        transport,
        mean,
        tensors,
        gradients,
        runtime,
        values,
    )
    for name in module.__all__
)


@dataclass(frozen=True)
class Claims:
    """What a manifold claims beyond the contract, and how precisely it is to be checked.

    Args:
        radius: length of tangent vectors, in the norm of the entries, within which the exponential map is
            injective.
        order: 2 where the retraction is of second order.
        isometric: whether ``transp`` is an isometry.
        orthogonal: whether ``proju`` is the orthogonal projection of the entries.
        difference: what is 0 for two tensors that stand for one point.
        tolerances: by name of a check, in rounding units of the dtype, in place of the check's default.

    Example:
        >>> Claims(radius=3.0, tolerances={"check_gradient_duality": 4.0}).order
        1
    """

    radius: float = 0.5
    order: int = 1
    isometric: bool = False
    orthogonal: bool = True
    difference: Callable[[Tensor, Tensor], Tensor] = torch.sub
    tolerances: Mapping[str, float] = field(default_factory=dict)

    def include(self, check: Check) -> bool:
        """Return whether the check is of something that every manifold has or that is claimed.

        Example:
            >>> Claims().include(transport.check_transport_isometric)
            False
        """
        if check is transport.check_transport_isometric:
            return self.isometric
        return self.orthogonal or check is not tangent.check_projection_orthogonal


@dataclass(frozen=True)
class Result:
    """The outcome of one check: ``"passed"``, ``"failed"`` or ``"absent"`` for want of an operation.

    Example:
        >>> print(Result("check_random", "passed", None, ""))
        check_random                          passed
    """

    name: str
    status: str
    value: float | None
    message: str

    def __str__(self) -> str:
        value = "" if self.value is None else f"{self.value:.1e}"
        return f"{self.name:<38}{self.status:<8}{value:<10}{self.message}".rstrip()


def run_check(
    check: Check, manifold: geoopt.Manifold, x: Tensor, claims: Claims | None = None
) -> float | None:
    """Return what one check measures, given those of the claims that it takes.

    Raises:
        ConformanceError: where the manifold violates the property.
        NotImplementedError: where it has not the operation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> run_check(distance.check_distance_zero, Sphere(), Sphere().random(3))
        0.0
    """
    claims = Claims() if claims is None else claims
    options = {"radius": claims.radius, "order": claims.order, "difference": claims.difference}
    if check.__name__ in claims.tolerances:
        options["tolerance"] = claims.tolerances[check.__name__] * torch.finfo(x.dtype).eps
    taken = inspect.signature(check).parameters
    return check(manifold, x.detach().clone(), **{key: options[key] for key in options if key in taken})


def checks(manifold: geoopt.Manifold, x: Tensor, claims: Claims | None = None) -> Iterator[Result]:
    """Run, one after another, all checks that apply to the manifold at points x.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> print(next(checks(Sphere(), torch.tensor([1.0, 0.0]))))
        check_dimension                       passed  0.0e+00
    """
    for check in CHECKS:
        name, value, status, message = check.__name__, None, "passed", ""
        if not (Claims() if claims is None else claims).include(check):
            continue
        try:
            value = run_check(check, manifold, x, claims)
        except NotImplementedError as error:
            status, message = "absent", str(error)
        except ConformanceError as error:
            status, message = "failed", str(error)
        except Exception as error:  # the manifold's own
            status, message = "failed", f"{type(error).__name__}: {error}"
        yield Result(name, status, value, message)


def check_manifold(
    manifold: geoopt.Manifold,
    *shape: int,
    dtype: torch.dtype | None = None,
    claims: Claims | None = None,
) -> str:
    """Run all checks at random points and return a table of what they measured.

    Args:
        manifold: a manifold, geoopt's or one's own.
        shape: of the points, batch dimensions first. Gradients are compared with difference quotients, entry
            by entry: keep it small.
        dtype: float32 or float64.
        claims: what the manifold claims beyond the contract.

    Raises:
        ConformanceError: where a check fails, with the table.
        NotImplementedError: where the manifold has no ``random``; ``checks`` takes points instead.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> claims = Claims(order=2, isometric=True)
        >>> print(check_manifold(Euclidean(1), 2, 3, dtype=torch.float64, claims=claims)[:90])
        check_dimension                       passed  0.0e+00
        check_gradient_duality ...
    """
    results = list(checks(manifold, manifold.random(*shape, dtype=dtype), claims))
    table = "\n".join(map(str, results))
    failed = sum(result.status == "failed" for result in results)
    if failed:
        raise ConformanceError(f"{manifold!r}: {failed} of {len(results)} checks failed\n{table}")
    return table
