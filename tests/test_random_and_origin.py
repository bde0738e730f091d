"""What every manifold gives for ``random`` and ``origin``."""

import pytest
import torch

from geowarp import GeowarpError
from geowarp.manifolds import (
    Euclidean,
    Grassmann,
    Manifold,
    Oblique,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
)

MANIFOLDS: list[Manifold] = [Euclidean(2), Sphere(), Oblique(), Stiefel(), Grassmann()]


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (3,), (0,)])
def test_points_of_the_shape_and_dtype_asked_for(
    manifold: Manifold, dtype: torch.dtype, batch: tuple[int, ...]
) -> None:
    for point in (manifold.random(*batch, 5, 3, dtype=dtype), manifold.origin((*batch, 5, 3), dtype=dtype)):
        assert point.shape == (*batch, 5, 3)
        assert point.dtype == dtype
        assert point.is_contiguous()
        manifold.assert_check_point_on_manifold(point)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)
def test_a_generator_repeats_and_half_precision_is_kept(manifold: Manifold) -> None:
    a, b = (manifold.random(5, 3, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b)
    assert manifold.random(5, 3, dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("manifold", "size", "reason"),
    [
        (Sphere(), (), "a point has 1 dimensions"),
        (Stiefel(), (2, 3), "more columns than rows"),
        (SpecialOrthogonal(), (3, 2), "not square"),
        (ProductManifold((Sphere(), 3)), (4,), "a packed point is"),
    ],
    ids=repr,
)
def test_a_wrong_shape_is_named(manifold: Manifold, size: tuple[int, ...], reason: str) -> None:
    for make in (manifold.random, manifold.origin):
        with pytest.raises(GeowarpError, match=reason):
            make(size)
    for check in (manifold.assert_check_point, manifold.assert_check_vector):
        with pytest.raises(GeowarpError, match=reason):
            check(torch.zeros(size))
    assert not manifold.check_point_on_manifold(torch.zeros(size))
