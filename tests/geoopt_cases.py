"""geoopt's own manifolds, and where each departs from the conformance suite."""

from collections.abc import Callable
from dataclasses import dataclass, field

import geoopt
import torch
from torch import Tensor

from geowarp.manifolds.checks import Claims


@dataclass(frozen=True)
class Case:
    """A manifold of geoopt, made anew at every call, and the size of its random points around the origin."""

    make: Callable[[], geoopt.Manifold]
    shape: tuple[int, ...]
    claims: Claims = field(default_factory=Claims)
    spread: float | None = None

    def points(self, *batch: int) -> Tensor:
        manifold = self.make()
        size = (*batch, *self.shape)
        if self.spread is None:
            points: Tensor = manifold.random(*size, dtype=torch.float64)
        else:
            points = manifold.random_normal(*size, std=self.spread, dtype=torch.float64)
        return points.detach().clone()


@dataclass(frozen=True)
class Known:
    """A check that geoopt 0.5.1 fails, for which manifolds and why."""

    check: str
    manifolds: tuple[str, ...]
    reason: str


SINKHORN = dict.fromkeys(  # geoopt's iteration stops at 1e-5
    (
        "check_broadcasting",
        "check_geodesic_speed",
        "check_gradient_tangent",
        "check_optimizers",
        "check_projection_linear",
        "check_projection_tangent",
        "check_random",
        "check_retraction_lands",
        "check_transport_linear",
        "check_transport_tangent",
        "check_transport_with_step",
    ),
    1e-3 / torch.finfo(torch.float64).eps,
)
ARCCOS = {"check_triangle_inequality": 1e5}
SECOND = Claims(order=2, isometric=True)
STEREOGRAPHIC = {
    "check_distance_symmetric": 1e5,
    "check_geodesic_length": 1e5,
    "check_logarithm_inverts_exponential": 1e5,
    "check_exponential_inverts_logarithm": 1e5,
    "check_triangle_inequality": 1e5,
}
BALL = Claims(radius=0.1, isometric=True, tolerances=STEREOGRAPHIC)
EXACT_BALL = Claims(radius=0.1, order=2, isometric=True, tolerances=STEREOGRAPHIC)

CASES: dict[str, Case] = {
    "Euclidean": Case(lambda: geoopt.Euclidean(1), (3,), Claims(radius=3.0, order=2, isometric=True)),
    "Sphere": Case(geoopt.Sphere, (3,), Claims(order=2, tolerances=ARCCOS)),
    "SphereExact": Case(geoopt.SphereExact, (3,), Claims(order=2, tolerances=ARCCOS)),
    "CanonicalStiefel": Case(geoopt.CanonicalStiefel, (5, 2), Claims(order=2)),
    "EuclideanStiefel": Case(geoopt.EuclideanStiefel, (5, 2)),
    "EuclideanStiefelExact": Case(geoopt.EuclideanStiefelExact, (5, 2), Claims(order=2)),
    "SymmetricPositiveDefinite(AIM)": Case(lambda: geoopt.SymmetricPositiveDefinite("AIM"), (2, 2), SECOND),
    "SymmetricPositiveDefinite(SM)": Case(lambda: geoopt.SymmetricPositiveDefinite("SM"), (2, 2), SECOND),
    "SymmetricPositiveDefinite(LEM)": Case(lambda: geoopt.SymmetricPositiveDefinite("LEM"), (2, 2), SECOND),
    "PoincareBall": Case(lambda: geoopt.PoincareBall().double(), (3,), BALL, 0.3),
    "PoincareBallExact": Case(lambda: geoopt.PoincareBallExact().double(), (3,), EXACT_BALL, 0.3),
    "SphereProjection": Case(lambda: geoopt.SphereProjection().double(), (3,), BALL, 0.3),
    "Lorentz": Case(
        lambda: geoopt.Lorentz().double(), (3,), Claims(order=2, isometric=True, orthogonal=False), 0.3
    ),
    "BirkhoffPolytope": Case(geoopt.BirkhoffPolytope, (3, 3), Claims(orthogonal=False, tolerances=SINKHORN)),
    "ProductManifold": Case(
        lambda: geoopt.ProductManifold((geoopt.Sphere(), 3), (geoopt.EuclideanStiefel(), (3, 2))), (9,)
    ),
    "Scaled": Case(lambda: geoopt.Scaled(geoopt.Sphere(), 2.0), (3,), Claims(tolerances=ARCCOS)),
}
ALL = tuple(CASES)
STIEFEL = ("CanonicalStiefel", "EuclideanStiefel", "EuclideanStiefelExact")
SPD = ("SymmetricPositiveDefinite(AIM)", "SymmetricPositiveDefinite(SM)", "SymmetricPositiveDefinite(LEM)")
BALLS = ("PoincareBall", "PoincareBallExact", "SphereProjection")
SPHERES = ("Sphere", "SphereExact", "Scaled")
NO_LOG = (*STIEFEL, "BirkhoffPolytope", "ProductManifold")

SIGNATURE = "norm(u) lacks the argument x of every other manifold"
INNER = "inner has shape (B, B) for B points"
IGNORES = "a result lacks batch dimensions that only an argument has which it does not depend on"
DOUBLE = "check_vector_on_tangent compares with a float32 zero and raises on float64"
IN_PLACE = "egrad2rgrad changes the sign of its argument in place"
EMPTY = "broadcast_shapes takes 1 over 0"
NORM = "inner ** 0.5 has an infinite slope at 0"
ARCCOSINE = "dist is arccos, clamped 1e-7 before 1 (1e-4 in float32): 4.5e-4 (1.4e-2) at equal points"
DOUBLED = "the part of u in the span of x counts twice"
DIFFERENT = "dist follows the chosen metric; inner, exp, log and transp stay affine-invariant"
STOPS = "Sinkhorn stops at 1e-5, so that errors do not go on falling with the step"
PULLED = "exp divides u by the scale, but the norm of u is not scaled"

KNOWN = [
    Known("check_gradient_duality", BALLS, INNER),
    Known("check_gradient_duality", ("BirkhoffPolytope",), "inner is divided by n, egrad2rgrad is not"),
    Known("check_gradient_tangent", ("Lorentz",), DOUBLE),
    Known("check_inner_product", BALLS, INNER),
    Known("check_inner_product", ("Lorentz",), SIGNATURE),
    Known("check_projection_idempotent", ("CanonicalStiefel",), f"proju is egrad2rgrad: {DOUBLED}"),
    Known("check_projection_idempotent", ("BirkhoffPolytope",), "proju multiplies by x"),
    Known("check_projection_tangent", ("Lorentz",), DOUBLE),
    Known("check_exponential_order", ("CanonicalStiefel",), f"expmap is retr: {DOUBLED}"),
    Known("check_exponential_order", ("Scaled",), PULLED),
    Known("check_exponential_order", ("BirkhoffPolytope",), STOPS),
    Known("check_retraction_order", ("CanonicalStiefel",), DOUBLED),
    Known("check_retraction_order", ("BirkhoffPolytope",), STOPS),
    Known("check_retraction_order", ("Scaled",), PULLED),
    Known(
        "check_retraction_lands",
        ("Lorentz",),
        "‖u‖ is clamped to 1e-8, so that exp_x(0) is not x",
    ),
    Known("check_geodesic_length", SPHERES[:2], "arccos has half the digits at small angles"),
    Known("check_geodesic_length", SPD[1:], DIFFERENT),
    Known("check_geodesic_length", ("Lorentz",), SIGNATURE),
    Known("check_geodesic_length", ("Scaled",), ARCCOSINE),
    Known("check_geodesic_speed", ("CanonicalStiefel",), f"expmap is retr: {DOUBLED}"),
    Known("check_geodesic_speed", ("Lorentz",), SIGNATURE),
    Known("check_geodesic_speed", ("Scaled",), PULLED),
    Known("check_geodesic_speed", ("BirkhoffPolytope",), "expmap is retr"),
    Known("check_distance_zero", SPHERES, ARCCOSINE),
    Known(
        "check_distance_zero",
        ("SymmetricPositiveDefinite(AIM)", "PoincareBall", "PoincareBallExact"),
        "the gradient at equal points is a unit vector of rounding errors",
    ),
    Known("check_distance_zero", ("Lorentz",), "arcosh near 1"),
    Known(
        "check_triangle_inequality",
        ("SymmetricPositiveDefinite(SM)",),
        "dist is the squared divergence",
    ),
    Known("check_transport_tangent", ("Lorentz",), DOUBLE),
    Known("check_transport_identity", ("BirkhoffPolytope",), "transp is proju, which is no projection"),
    Known("check_transport_isometric", BALLS, INNER),
    Known("check_transport_with_step", ("Lorentz",), DOUBLE),
    Known("check_transport_with_step", ("BirkhoffPolytope",), "transp is proju, which is no projection"),
    Known(
        "check_broadcasting",
        ("Euclidean", *SPHERES, "EuclideanStiefel", "EuclideanStiefelExact", *SPD, "BirkhoffPolytope"),
        IGNORES,
    ),
    Known("check_broadcasting", ("CanonicalStiefel",), "retr_transp concatenates u and v unexpanded"),
    Known("check_broadcasting", BALLS, INNER),
    Known(
        "check_broadcasting",
        ("Lorentz",),
        IN_PLACE,
    ),
    Known("check_broadcasting", ("ProductManifold",), "components are split before they are expanded"),
    Known(
        "check_contiguous", ("CanonicalStiefel", "EuclideanStiefel", *SPD), "retr gives column-major results"
    ),
    Known("check_contiguous", ("Lorentz",), SIGNATURE),
    Known("check_dtype", ("Lorentz",), SIGNATURE),
    Known("check_empty_batch", ("Euclidean", *SPHERES, *BALLS), EMPTY),
    Known("check_empty_batch", ("Lorentz",), SIGNATURE),
    Known("check_empty_batch", ("BirkhoffPolytope",), "Sinkhorn takes the maximum of no points"),
    Known("check_empty_batch", ("ProductManifold",), "reshapes no entries to (0, ..., -1)"),
    Known("check_inputs_unchanged", ("Lorentz",), IN_PLACE),
    Known("check_shapes", BALLS, INNER),
    Known("check_shapes", ("Lorentz",), SIGNATURE),
    Known("check_strided_inputs", ("Lorentz",), SIGNATURE),
    Known("check_gradients", ("SphereExact",), "the gradient of exp at u = 0 is NaN"),
    Known("check_gradients", ("EuclideanStiefel",), "retr changes its QR factor in place: no backward"),
    Known("check_gradients", ("Lorentz",), SIGNATURE),
    Known("check_gradients", ("ProductManifold",), "retr of EuclideanStiefel has no backward"),
    Known("check_gradients_at_coincidence", SPHERES, "the gradient of exp at u = 0 is NaN"),
    Known(
        "check_gradients_at_coincidence",
        STIEFEL,
        "the gradient of SVD in projx of orthonormal x is NaN",
    ),
    Known("check_gradients_at_coincidence", SPD, "the gradient of eigh at I is NaN"),
    Known(
        "check_gradients_at_coincidence",
        ("PoincareBall", "PoincareBallExact", "Lorentz"),
        "the gradient of log at y = x is wrong: norms and arguments are clamped",
    ),
    Known(
        "check_gradients_at_coincidence",
        ("BirkhoffPolytope",),
        "proju solves a singular system at the origin I",
    ),
    Known("check_gradients_at_coincidence", ("ProductManifold",), "as of its components"),
    Known(
        "check_norm_gradient_at_zero",
        (*SPHERES, *STIEFEL, *SPD, "BirkhoffPolytope", "ProductManifold"),
        NORM,
    ),
    Known("check_norm_gradient_at_zero", ("Lorentz",), SIGNATURE),
    Known(
        "check_autocast",
        (*STIEFEL, *SPD, "BirkhoffPolytope", "ProductManifold"),
        "matrix products are in bfloat16",
    ),
    Known(
        "check_autocast",
        ("Lorentz",),
        IN_PLACE,
    ),
    Known(
        "check_compile",
        ("SymmetricPositiveDefinite(AIM)", "SymmetricPositiveDefinite(LEM)"),
        "dist calls torch.jit.script",
    ),
    Known("check_compile", (*BALLS, "BirkhoffPolytope"), "a branch depends on the data"),
    Known("check_half_precision", SPHERES, "clamping constants exist for float32 and float64 only"),
    Known(
        "check_half_precision",
        (*STIEFEL, *SPD, "BirkhoffPolytope", "ProductManifold"),
        "decompositions run in the dtype that comes in",
    ),
    Known("check_half_precision", ("Lorentz",), SIGNATURE),
    Known("check_equality", ALL, "manifolds compare by identity: Sphere() != Sphere()"),
    Known("check_origin", SPD, "gives a plain tensor"),
    Known("check_random", SPD, "gives a plain tensor"),
    Known("check_random_generator", tuple(n for n in ALL if n != "Lorentz"), "random takes no generator"),
]
ABSENT: dict[str, tuple[str, ...]] = {
    "check_dimension": ALL,
    "check_geodesic": tuple(name for name in ALL if name not in BALLS),
    "check_mean_midpoint": ALL,
    "check_mean_stationary": ALL,
    "check_pairwise_distance": ALL,
    "check_distance_squared": NO_LOG,
    "check_distance_symmetric": NO_LOG,
    "check_distance_zero": NO_LOG,
    "check_exponential_inverts_logarithm": NO_LOG,
    "check_geodesic_length": NO_LOG,
    "check_logarithm_inverts_exponential": NO_LOG,
    "check_triangle_inequality": NO_LOG,
    "check_transport_identity": ("CanonicalStiefel",),
    "check_transport_linear": ("CanonicalStiefel",),
    "check_transport_tangent": ("CanonicalStiefel",),
    "check_random": ("Lorentz",),
    "check_random_generator": ("Lorentz",),
}
