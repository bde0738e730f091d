"""numpy arrays in and out, and the checks of points, against tensors and exact numbers."""

from typing import Any, NamedTuple, cast

import geoopt
import numpy as np
import pytest
import torch
from torch import Tensor

from geowarp import metrics
from geowarp.errors import GeowarpError, NonFiniteError, NotOnManifoldError, UnavailableError
from geowarp.manifolds import (
    AffineInvariantSPD,
    Euclidean,
    Grassmann,
    Manifold,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
)
from geowarp.metrics.arrays import accepts_arrays
from geowarp.metrics.validation import check_pair, check_points


class Pair(NamedTuple):
    total: Any
    parts: Any


@accepts_arrays
def add(x: Any, y: Any = None, *, scale: Any = 1.0) -> Any:
    total = x if y is None else x + y
    return Pair(scale * total, (total > 0, "name"))


@pytest.mark.parametrize(
    ("given", "result"),
    [("f4", "f4"), ("f8", "f8"), ("i4", "f8"), ("u1", "f8"), (">f8", "f8"), (">f4", "f4")],
)
def test_dtype_of_arrays(given: str, result: str) -> None:
    total, (positive, name) = add(np.ones((2, 3), dtype=given), scale=2)
    assert isinstance(total, np.ndarray)
    assert total.dtype == np.dtype(result)
    np.testing.assert_array_equal(total, np.full((2, 3), 2.0))
    assert positive.dtype == np.bool_
    assert name == "name"


def test_named_results_keep_their_type_and_tensors_stay_tensors() -> None:
    assert isinstance(add(np.ones(2)), Pair)
    x = torch.ones(2, requires_grad=True)
    result = add(x, y=x)
    assert result.total is not None
    assert result.total.requires_grad


def test_strange_arrays() -> None:
    x = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(add(x[::-1, ::2]).total, x[::-1, ::2])
    np.testing.assert_array_equal(add(np.asfortranarray(x)).total, x)
    fixed = x.copy()
    fixed.flags.writeable = False
    np.testing.assert_array_equal(add(fixed, y=fixed).total, 2 * x)
    assert add(np.array(3.0)).total.shape == ()
    assert add(np.zeros((0, 3))).total.shape == (0, 3)
    np.testing.assert_array_equal(x, np.arange(12.0).reshape(3, 4))


def test_an_array_beside_a_tensor() -> None:
    with pytest.raises(GeowarpError, match=r"add: x is a numpy array and y a torch tensor; pass torch\.as_"):
        add(np.ones(2), torch.ones(2))
    with pytest.raises(GeowarpError, match=r"scale is a numpy array and x a torch tensor"):
        add(torch.ones(2), scale=np.ones(2))
    for dtype in ("complex128", "object", "U3"):
        with pytest.raises(GeowarpError, match=r"dtype .*astype"):
            add(np.ones(2).astype(dtype))


POINTS: list[tuple[Any, Tensor]] = [
    (Euclidean(0), torch.tensor([1e9, -1.0])),
    (Sphere(), Sphere().random(4, 3, 5)),
    (Grassmann(), Grassmann().random(4, 3, 60, 20)),
    (SpecialOrthogonal(), SpecialOrthogonal().random(3, 4, 4)),
    (ProductManifold((Sphere(), (2, 3)), (Euclidean(1), 2)), torch.zeros(0, 8)),
    (geoopt.PoincareBall(), geoopt.PoincareBall().random(3, 4)),
    (geoopt.Stiefel(), geoopt.Stiefel().random(3, 5, 2)),
]


@pytest.mark.parametrize(("manifold", "x"), POINTS, ids=[type(m).__name__ for m, _ in POINTS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_points_pass(manifold: Any, x: Tensor, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and isinstance(manifold, geoopt.PoincareBall | geoopt.Stiefel):
        dtype = torch.float32
    check_points(manifold, x.to(dtype))
    check_points(manifold, x.to(dtype).requires_grad_())
    check_pair(manifold, x, x.clone())


def test_single_precision_data_in_double_passes() -> None:
    check_points(Grassmann(), Grassmann().random(100, 40).double())


@pytest.mark.parametrize("manifold", [Sphere(), geoopt.Sphere(), Euclidean(1)])
def test_not_a_number_names_the_point(manifold: Any) -> None:
    x = torch.eye(3).expand(2, 3, 3).clone()
    x[1, 2, 0] = torch.nan
    x[1, 0, 0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"x\[1, 0\] is infinite or not a number \(2 of 6 points\)"):
        check_points(manifold, x)


def test_off_the_manifold_names_the_point_and_the_remedy() -> None:
    x = torch.eye(3).expand(2, 3, 3).clone()
    x[1, 2] *= 1.5
    with pytest.raises(
        NotOnManifoldError, match=r"data\[1, 2\] is not on .*\(1 of 6 points\): .* 5\.0e-01, above"
    ):
        check_points(Sphere(), x, "data")
    with pytest.raises(NotOnManifoldError, match=r"project it with Sphere\(\)\.projx\(x\)"):
        check_points(Sphere(), 2 * x[0, 0])
    with pytest.raises(NotOnManifoldError, match=r"x\[1, 2\] is not .*\(1 of 6 points\): .*; project"):
        check_points(geoopt.Sphere(), x)
    scaled = 1e3 * Grassmann().random(5, 2)
    with pytest.raises(NotOnManifoldError, match="x is not on"):
        check_points(Grassmann(), scaled)


@pytest.mark.parametrize("manifold", [AffineInvariantSPD(), geoopt.SymmetricPositiveDefinite()], ids=repr)
def test_not_positive_definite_names_the_matrix_and_its_smallest_eigenvalue(manifold: Any) -> None:
    x = torch.eye(3, dtype=torch.float64).expand(2, 4, 3, 3).clone()
    x[1, 2, 0, 0] = -0.25
    with pytest.raises(NotOnManifoldError, match=r"x\[1, 2\] .*\(1 of 8 .*smallest eigenvalue is -2\.5e-01"):
        check_points(manifold, x)


def test_a_class_is_no_manifold() -> None:
    with pytest.raises(GeowarpError, match=r"of the kind Sphere; it must be an instance"):
        check_points(cast(Any, Sphere), torch.eye(2))
    with pytest.raises(GeowarpError, match="of the kind str"):
        check_points(cast(Any, "sphere"), torch.eye(2))


SPD = AffineInvariantSPD()
TWO, THREE = (torch.eye(2, dtype=torch.float64).expand(batch, 4, 2, 2) for batch in (2, 3))
SUBSPACES = [torch.eye(3)[:, :2].expand(batch, 4, 3, 2) for batch in (2, 3)]


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: metrics.pairwise_distance(SPD, TWO, THREE), id="pairwise_distance"),
        pytest.param(lambda: metrics.nearest(SPD, TWO, THREE), id="nearest"),
        pytest.param(lambda: metrics.gaussian_kernel(SPD, TWO, THREE), id="gaussian_kernel"),
        pytest.param(lambda: metrics.stein_divergence(TWO, THREE), id="stein_divergence"),
        pytest.param(lambda: metrics.stein_divergence_pairwise(TWO, THREE), id="stein_divergence_pairwise"),
        pytest.param(lambda: metrics.geodesic(SPD, 0.5, TWO, THREE), id="geodesic"),
        pytest.param(lambda: metrics.geodesic(SPD, torch.rand(3), TWO, TWO), id="geodesic-1"),
        pytest.param(lambda: metrics.midpoint(SPD, TWO, THREE), id="midpoint"),
        pytest.param(lambda: metrics.frechet_variance(SPD, TWO, mean=THREE[:, 0]), id="frechet_variance"),
        pytest.param(lambda: metrics.recenter(SPD, TWO, mean=THREE[:, 0]), id="recenter"),
        pytest.param(lambda: metrics.whiten(SPD, TWO, target=THREE[:, 0]), id="whiten"),
        pytest.param(lambda: metrics.tangent_pca(SPD, TWO, mean=THREE[:, 0]), id="tangent_pca"),
        pytest.param(lambda: metrics.tangent_pca(SPD, TWO).transform(THREE), id="tangent_pca-1"),
        pytest.param(lambda: metrics.Chordal()(*SUBSPACES), id="Chordal"),
        pytest.param(lambda: metrics.Martin().pairwise(*SUBSPACES), id="Martin"),
        pytest.param(lambda: metrics.principal_angles(*SUBSPACES), id="principal_angles"),
        pytest.param(lambda: metrics.projection_kernel(*SUBSPACES), id="projection_kernel"),
        pytest.param(lambda: metrics.binet_cauchy_kernel(*SUBSPACES), id="binet_cauchy_kernel"),
    ],
)
def test_batches_that_do_not_broadcast(call: Any) -> None:
    with pytest.raises(GeowarpError, match=r"batch dimensions .*\(.*\) of .* do not broadcast"):
        call()


@pytest.mark.parametrize(
    "point",
    [torch.eye(2), torch.eye(3, dtype=torch.float64), -TWO[0, 0]],
    ids=["dtype", "shape", "negative"],
)
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda point: metrics.frechet_variance(SPD, TWO, mean=point), id="frechet_variance-1"),
        pytest.param(lambda point: metrics.recenter(SPD, TWO, mean=point), id="recenter-1"),
        pytest.param(lambda point: metrics.recenter(SPD, TWO, target=point), id="recenter-2"),
        pytest.param(lambda point: metrics.tangent_pca(SPD, TWO, mean=point), id="tangent_pca-2"),
    ],
)
def test_a_given_mean_or_target_fits_the_points(call: Any, point: Tensor) -> None:
    with pytest.raises(GeowarpError, match=r"mean|target"):
        call(point)


@pytest.mark.parametrize("weights", [[1.0] * 4, 1.0, torch.ones(4, dtype=torch.complex64)], ids=str)
def test_weights_are_a_real_tensor(weights: Any) -> None:
    for function in (metrics.frechet_mean, metrics.geometric_median, metrics.frechet_variance):
        with pytest.raises(GeowarpError, match=r"weights (is a|have the dtype)"):
            function(SPD, TWO, weights)


@pytest.mark.parametrize(
    "function",
    [
        *(metrics.pairwise_distance, metrics.gaussian_kernel, metrics.frechet_mean, metrics.geometric_median),
        *(metrics.frechet_variance, metrics.tangent_pca, metrics.recenter, metrics.whiten),
        pytest.param(lambda manifold, x: metrics.nearest(manifold, x, x), id="nearest-1"),
        pytest.param(lambda manifold, x: metrics.midpoint(manifold, x, x), id="midpoint-1"),
        pytest.param(lambda manifold, x: metrics.interpolate(manifold, x, 0.5), id="interpolate"),
    ],
)
def test_an_operation_that_a_manifold_of_geoopt_lacks_is_named(function: Any) -> None:
    with pytest.raises(UnavailableError, match=r"Stiefel.* has no (dist|logmap); use a manifold"):
        function(geoopt.EuclideanStiefel(), torch.eye(3)[:, :2].expand(4, 3, 2))


def test_kind_and_shape() -> None:
    with pytest.raises(GeowarpError, match=r"x has the dtype torch\.int64; convert"):
        check_points(Sphere(), torch.ones(3, dtype=torch.int64))
    with pytest.raises(GeowarpError, match=r"y is a list, neither"):
        check_points(Sphere(), [1.0], "y")
    for manifold in (Grassmann(), geoopt.Stiefel()):
        with pytest.raises(GeowarpError, match=r"Stiefel|Grassmann"):
            check_points(manifold, torch.ones(3))
    with pytest.raises(GeowarpError, match=r"more columns than rows"):
        check_points(Grassmann(), torch.ones(2, 3))
    one = torch.tensor([1.0, 0.0])
    with pytest.raises(GeowarpError, match=r"x have the dtype torch\.float32 and y torch\.float64"):
        check_pair(Sphere(), one, one.double())
    with pytest.raises(GeowarpError, match=r"a have the shape \(2,\) and b \(3,\)"):
        check_pair(Sphere(), one, torch.tensor([1.0, 0.0, 0.0]), ("a", "b"))


@pytest.mark.parametrize("manifold", [Sphere(), geoopt.Sphere()])
def test_skipped_where_no_number_is_known(manifold: Manifold) -> None:
    def function(x: Tensor) -> Tensor:
        check_points(manifold, x)
        return x.sum()

    x = torch.full((2, 3), 5.0)
    torch.compile(function, fullgraph=True, backend="eager")(x)
    torch.func.vmap(function)(x)
    torch.func.grad(function)(x)
    check_points(manifold, x.to("meta"))
    with pytest.raises(NotOnManifoldError):
        function(x)


def test_tensors_go_through_a_compiled_graph() -> None:
    x = torch.ones(3)
    compiled = torch.compile(lambda a: add(a, scale=2.0).total, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), 2 * x)
