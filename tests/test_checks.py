"""Every check fails on a manifold that is broken in exactly the way it looks for, and on no other account."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from geowarp.errors import ConformanceError, GeowarpError
from geowarp.manifolds import Euclidean, Sphere, checks
from geowarp.manifolds.checks import CHECKS, Claims, check_manifold, run_check

CLAIMS = Claims(radius=1.0, order=2, isometric=True)


def broken(**methods: Callable[..., Any]) -> Sphere:
    """Return a sphere with other methods, as they are: without the wrapper that every geowarp class has."""
    kind = type("Broken", (Sphere,), {"name": "Broken"})
    for name, method in methods.items():
        setattr(kind, name, method)
    sphere: Sphere = kind()
    return sphere


class Flat(Euclidean):
    """With gradients twice as long."""

    name = "Broken"

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        return 2 * super().egrad2rgrad(x, u)


class Identical(Sphere):
    """Equal to itself alone."""

    name = "Broken"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def away(x: Tensor) -> Tensor:
    """Return a tensor that differs from x visibly but keeps shape and dtype."""
    return x + 0.01 * torch.ones_like(x)


def touched(self: Sphere, x: Tensor, u: Tensor) -> Tensor:
    u.mul_(1)
    return Sphere.proju(self, x, u)


def squared(self: Sphere, x: Tensor, u: Tensor, *, keepdim: bool = False) -> Tensor:
    return Sphere.inner(self, x, u, keepdim=keepdim)


def acos_dist(self: Sphere, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
    angle: Tensor = (x * y).sum(-1, keepdim=keepdim).clamp(-1 + 1e-7, 1 - 1e-7).acos()
    return angle


def lopsided_dist(self: Sphere, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
    return Sphere.dist(self, x, y, keepdim=keepdim) * (1 + 0.01 * x.sum(-1, keepdim=keepdim))


def squared_dist(self: Sphere, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
    return Sphere.dist(self, x, y, keepdim=keepdim) ** 2


def flat_dist(self: Sphere, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
    chord: Tensor = torch.linalg.vector_norm(x - y, dim=-1, keepdim=keepdim)
    return chord


def unsafe_dist(self: Sphere, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
    return (x - y).square().sum(-1, keepdim=keepdim).sqrt()


def branching_dist(self: Sphere, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
    distance: Tensor = Sphere.dist(self, x, y, keepdim=keepdim)
    return distance if bool(distance.sum() > 0) else -distance


def autocast_proju(self: Sphere, x: Tensor, u: Tensor) -> Tensor:
    return u - (u[..., None, :] @ x[..., None]).squeeze(-1) * x


def float_proju(self: Sphere, x: Tensor, u: Tensor) -> Tensor:
    return Sphere.proju(self, x.float(), u.float())


def only_in_double(self: Sphere, x: Tensor, u: Tensor) -> Tensor:
    if x.dtype == torch.bfloat16:
        raise KeyError(x.dtype)
    return Sphere.expmap(self, x, u)


def detached_expmap(self: Sphere, x: Tensor, u: Tensor) -> Tensor:
    return Sphere.expmap(self, x, u) + 0 * u - (u - u.detach())


def unsafe_expmap(self: Sphere, x: Tensor, u: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(u, dim=-1, keepdim=True)
    far = x * norm.cos() + u * norm.sin() / norm
    return torch.where(norm > 0, far, x + u)


def viewing(self: Sphere, x: Tensor, u: Tensor) -> Tensor:
    return Sphere.proju(self, x.reshape(-1, 3), u.reshape(-1, 3)).view(-1, *x.shape[1:])


def flattening(self: Sphere, x: Tensor, u: Tensor) -> Tensor:
    return Sphere.proju(self, x, u.reshape(u.shape[0], -1).reshape(u.shape))


def oblique_proju(self: Sphere, x: Tensor, u: Tensor) -> Tensor:
    along = away(x)
    return u - along * ((x * u).sum(-1, keepdim=True) / (x * along).sum(-1, keepdim=True))


def strided(self: Sphere, x: Tensor, u: Tensor) -> Tensor:
    return Sphere.proju(self, x, u) if x.is_contiguous() else 2 * Sphere.proju(self, x, u)


def unbroadcast_inner(self: Sphere, x: Tensor, u: Tensor, v: Any = None, *, keepdim: bool = False) -> Tensor:
    return (u * (u if v is None else v)).sum(-1, keepdim=keepdim)


def flat_keepdim(self: Sphere, x: Tensor, u: Tensor, v: Any = None, *, keepdim: bool = False) -> Tensor:
    return Sphere.inner(self, x, u, v)


def uneven_inner(self: Sphere, x: Tensor, u: Tensor, v: Any = None, *, keepdim: bool = False) -> Tensor:
    v = u if v is None else v
    even: Tensor = Sphere.inner(self, x, u, v, keepdim=keepdim)
    extra: Tensor = (u[..., :1] * v[..., 1:2]).sum(-1, keepdim=keepdim)
    return even + extra


def fixed_random(
    self: Sphere, *size: Any, dtype: Any = None, device: Any = None, generator: Any = None
) -> Tensor:
    return Sphere.random(self, *size, dtype=dtype, generator=torch.Generator().manual_seed(0))


def global_random(
    self: Sphere, *size: Any, dtype: Any = None, device: Any = None, generator: Any = None
) -> Tensor:
    return Sphere.random(self, *size, dtype=dtype)


def random_origin(self: Sphere, *size: Any, dtype: Any = None) -> Tensor:
    return Sphere.random(self, *size, dtype=dtype)


S = Sphere
BROKEN: dict[str, list[Sphere]] = {
    "check_dimension": [broken(dim=lambda self, shape: shape[-1])],
    "check_gradient_duality": [broken(egrad2rgrad=lambda self, x, u: 2 * S.proju(self, x, u))],
    "check_gradient_tangent": [broken(egrad2rgrad=lambda self, x, u: u)],
    "check_inner_product": [broken(inner=uneven_inner), broken(norm=squared)],
    "check_projection_idempotent": [broken(proju=lambda self, x, u: 2 * S.proju(self, x, u))],
    "check_projection_linear": [broken(proju=lambda self, x, u: S.proju(self, x, u.abs()))],
    "check_projection_orthogonal": [broken(proju=oblique_proju)],
    "check_projection_tangent": [broken(proju=lambda self, x, u: u)],
    "check_exponential_order": [broken(expmap=lambda self, x, u: S.expmap(self, x, 2 * u))],
    "check_retraction_lands": [
        broken(retr=lambda self, x, u: x + u),
        broken(expmap=lambda self, x, u: S.projx(self, away(x) + u)),
    ],
    "check_retraction_order": [
        broken(retr=lambda self, x, u: S.expmap(self, x, 2 * u)),
        broken(retr=lambda self, x, u: S.expmap(self, x, u * (1 + u.square().sum(-1, keepdim=True).sqrt()))),
    ],
    "check_exponential_inverts_logarithm": [broken(logmap=lambda self, x, y: S.proju(self, x, y - x))],
    "check_logarithm_inverts_exponential": [broken(logmap=lambda self, x, y: S.proju(self, x, y - x))],
    "check_geodesic": [
        broken(geodesic=lambda self, t, x, y: S.projx(self, (1 - t) * x + t * y)),
        broken(geodesic=lambda self, t, x, y: S.geodesic(self, 1 - t, x, y)),
    ],
    "check_geodesic_length": [broken(dist=flat_dist), broken(dist=acos_dist)],
    "check_geodesic_speed": [broken(expmap=lambda self, x, u: S.projx(self, x + u))],
    "check_distance_squared": [broken(dist2=S.dist)],
    "check_distance_symmetric": [
        broken(dist=lopsided_dist),
        broken(dist=lambda self, x, y, keepdim=False: 0 * S.dist(self, x, y, keepdim=keepdim)),
    ],
    "check_distance_zero": [broken(dist=acos_dist), broken(dist=unsafe_dist)],
    "check_pairwise_distance": [broken(cdist=lambda self, x, y: torch.cdist(x, y))],
    "check_triangle_inequality": [broken(dist=squared_dist)],
    "check_transport_identity": [broken(transp=lambda self, x, y, v: -S.transp(self, x, y, v))],
    "check_transport_isometric": [broken(transp=lambda self, x, y, v: S.proju(self, y, v))],
    "check_transport_linear": [broken(transp=lambda self, x, y, v: S.transp(self, x, y, v.abs()))],
    "check_transport_tangent": [broken(transp=lambda self, x, y, v: v)],
    "check_transport_with_step": [
        broken(retr_transp=lambda self, x, u, v: (S.projx(self, x + u), S.retr_transp(self, x, u, v)[1])),
        broken(retr_transp=lambda self, x, u, v: (S.retr(self, x, u), v)),
        broken(transp_follow_retr=lambda self, x, u, v: v),
        broken(expmap_transp=lambda self, x, u, v: (S.retr(self, x, u), -S.retr_transp(self, x, u, v)[1])),
    ],
    "check_mean_midpoint": [broken(mean=lambda self, x, weights=None: x[..., 0, :])],
    "check_mean_stationary": [broken(mean=lambda self, x, weights=None: S.projx(self, x.mean(-2)))],
    "check_broadcasting": [broken(inner=unbroadcast_inner), broken(proju=viewing)],
    "check_contiguous": [broken(proju=lambda self, x, u: S.proju(self, x, u).mT.contiguous().mT)],
    "check_dtype": [broken(proju=float_proju)],
    "check_empty_batch": [broken(proju=flattening)],
    "check_inputs_unchanged": [broken(proju=touched)],
    "check_shapes": [broken(inner=flat_keepdim), broken(retr=lambda self, x, u: S.retr(self, x, u)[None])],
    "check_strided_inputs": [broken(proju=strided)],
    "check_gradients": [broken(expmap=detached_expmap)],
    "check_gradients_at_coincidence": [broken(expmap=unsafe_expmap)],
    "check_norm_gradient_at_zero": [broken(norm=lambda self, x, u, keepdim=False: u.square().sum(-1).sqrt())],
    "check_autocast": [broken(proju=autocast_proju)],
    "check_compile": [broken(dist=branching_dist)],
    "check_half_precision": [broken(expmap=only_in_double), broken(proju=lambda self, x, u: u.float())],
    "check_equality": [Identical()],
    "check_optimizers": [broken(retr=lambda self, x, u: x + u)],
    "check_origin": [broken(origin=random_origin)],
    "check_random": [
        broken(random=fixed_random),
        broken(random=lambda self, *size, dtype=None: torch.zeros(size, dtype=dtype)),
        broken(random=lambda self, *size, dtype=None: S.random(self, *size)),
        broken(random=lambda self, *size, dtype=None: S.random(self, 3, 3, dtype=dtype)),
    ],
    "check_random_generator": [
        broken(random=global_random),
        broken(random=lambda self, *size, dtype=None: None),
    ],
}


def test_every_check_has_a_broken_manifold() -> None:
    assert {check.__name__ for check in CHECKS} == set(BROKEN)
    assert {f"{check.__name__}" for check in CHECKS} <= set(checks.__all__)


@pytest.mark.parametrize(
    ("check", "manifold"),
    [
        pytest.param(check, manifold, id=f"{check.__name__}-{number}")
        for check in CHECKS
        for number, manifold in enumerate(BROKEN[check.__name__])
    ],
)
def test_check_fails_on_the_broken_and_passes_on_the_healthy(
    check: checks.suite.Check, manifold: Sphere
) -> None:
    x = Sphere().random(4, 3, dtype=torch.float64)
    run_check(check, Sphere(), x, CLAIMS)
    with pytest.raises(ConformanceError, match="Broken"):
        run_check(check, manifold, x, CLAIMS)


def test_all_checks_at_once_and_the_table_of_failures() -> None:
    table = check_manifold(Euclidean(1), 2, 3, claims=Claims(order=2, isometric=True))
    assert len(table.splitlines()) == len(CHECKS)
    with pytest.raises(
        ConformanceError, match=r"1 of \d+ checks failed[\s\S]*check_gradient_duality +failed"
    ):
        check_manifold(Flat(1), 2, 3)
    assert issubclass(ConformanceError, GeowarpError)
    assert issubclass(ConformanceError, AssertionError)


def test_absent_operations_are_reported_as_such() -> None:
    def absent(*arguments: Any) -> Tensor:
        raise NotImplementedError("no logarithm")

    manifold = broken(logmap=absent)
    type(manifold).mean = None  # type: ignore[assignment,method-assign]
    with pytest.raises(NotImplementedError):
        run_check(checks.check_logarithm_inverts_exponential, manifold, Sphere().random(3))
    results = {r.name: r for r in checks.checks(manifold, Sphere().random(3).detach().clone())}
    assert results["check_logarithm_inverts_exponential"].status == "absent"
    assert results["check_mean_midpoint"].message == "Broken() has no mean"


def test_tolerances_and_claims_reach_the_checks() -> None:
    x = Sphere().random(4, 3, dtype=torch.float64)
    manifold = broken(egrad2rgrad=lambda self, x, u: (1 + 1e-10) * Sphere.proju(self, x, u))
    with pytest.raises(ConformanceError, match=r"e-1\d exceeds 2\.2e-14"):
        run_check(checks.check_gradient_duality, manifold, x)
    run_check(checks.check_gradient_duality, manifold, x, Claims(tolerances={"check_gradient_duality": 1e7}))
    names = {r.name for r in checks.checks(Euclidean(1), x, Claims(orthogonal=False))}
    assert not names & {"check_projection_orthogonal", "check_transport_isometric"}


def test_infinite_and_missing_numbers_violate_every_tolerance() -> None:
    manifold = broken(egrad2rgrad=lambda self, x, u: torch.full_like(x, torch.nan))
    with pytest.raises(ConformanceError, match="inf exceeds"):
        checks.check_gradient_duality(manifold, Sphere().random(4, 3), tolerance=1e3)
