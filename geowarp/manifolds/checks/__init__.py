"""The public conformance suite: what every manifold must satisfy.

Each property is a function ``check_...(manifold, x)`` that raises ``ConformanceError`` with the number, the
tolerance and what is violated, or returns what it measured. ``x`` are points of the manifold with any leading
batch dimensions; other points and tangent vectors are drawn from a seed. Default tolerances are multiples of
the rounding unit of the dtype. They hold for geoopt's manifolds and for one's own alike.

Example:
    >>> from geowarp.manifolds import Sphere
    >>> check_gradient_duality(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
    True
"""

from ...errors import ConformanceError
from .distance import (
    check_distance_squared,
    check_distance_symmetric,
    check_distance_zero,
    check_pairwise_distance,
    check_triangle_inequality,
)
from .geodesic import (
    check_exponential_inverts_logarithm,
    check_geodesic,
    check_geodesic_length,
    check_geodesic_speed,
    check_logarithm_inverts_exponential,
)
from .gradients import check_gradients, check_gradients_at_coincidence, check_norm_gradient_at_zero
from .mean import check_mean_midpoint, check_mean_stationary
from .retraction import check_exponential_order, check_retraction_lands, check_retraction_order
from .runtime import check_autocast, check_compile, check_half_precision
from .suite import CHECKS, Claims, Result, check_manifold, checks, run_check
from .tangent import (
    check_dimension,
    check_gradient_duality,
    check_gradient_tangent,
    check_inner_product,
    check_projection_idempotent,
    check_projection_linear,
    check_projection_orthogonal,
    check_projection_tangent,
)
from .tensors import (
    check_broadcasting,
    check_contiguous,
    check_dtype,
    check_empty_batch,
    check_inputs_unchanged,
    check_shapes,
    check_strided_inputs,
)
from .transport import (
    check_transport_identity,
    check_transport_isometric,
    check_transport_linear,
    check_transport_tangent,
    check_transport_with_step,
)
from .values import check_equality, check_optimizers, check_origin, check_random, check_random_generator

__all__ = [
    "CHECKS",
    "Claims",
    "ConformanceError",
    "Result",
    "check_autocast",
    "check_broadcasting",
    "check_compile",
    "check_contiguous",
    "check_dimension",
    "check_distance_squared",
    "check_distance_symmetric",
    "check_distance_zero",
    "check_dtype",
    "check_empty_batch",
    "check_equality",
    "check_exponential_inverts_logarithm",
    "check_exponential_order",
    "check_geodesic",
    "check_geodesic_length",
    "check_geodesic_speed",
    "check_gradient_duality",
    "check_gradient_tangent",
    "check_gradients",
    "check_gradients_at_coincidence",
    "check_half_precision",
    "check_inner_product",
    "check_inputs_unchanged",
    "check_logarithm_inverts_exponential",
    "check_manifold",
    "check_mean_midpoint",
    "check_mean_stationary",
    "check_norm_gradient_at_zero",
    "check_optimizers",
    "check_origin",
    "check_pairwise_distance",
    "check_projection_idempotent",
    "check_projection_linear",
    "check_projection_orthogonal",
    "check_projection_tangent",
    "check_random",
    "check_random_generator",
    "check_retraction_lands",
    "check_retraction_order",
    "check_shapes",
    "check_strided_inputs",
    "check_transport_identity",
    "check_transport_isometric",
    "check_transport_linear",
    "check_transport_tangent",
    "check_transport_with_step",
    "check_triangle_inequality",
    "checks",
    "run_check",
]
