"""Products against their components one by one, geoopt's own product, and finite differences."""

import copy
import io
import pickle
from typing import Any

import geoopt
import pytest
import torch
from torch import Tensor

from geowarp import GeowarpError, NotOnManifoldError
from geowarp.errors import UnavailableError
from geowarp.manifolds import (
    Euclidean,
    Grassmann,
    Manifold,
    Oblique,
    Polar,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
)

Parts = list[tuple[geoopt.Manifold, tuple[int, ...]]]

OWN: Parts = [(Sphere(), (4,)), (Euclidean(2), (2, 3)), (SpecialOrthogonal(), (3, 3)), (Oblique(), (3, 2))]
MIXED: Parts = [
    (geoopt.PoincareBall(), (3,)),
    (Sphere(), (4,)),
    (geoopt.SphereExact(), (3,)),
    (Euclidean(), (2,)),
]
BATCHES: list[tuple[int, ...]] = [(), (3,), (2, 3)]


def product_of(parts: Parts, dtype: torch.dtype = torch.float64) -> ProductManifold:
    product: ProductManifold = ProductManifold(*parts).to(dtype)
    return product


def points(product: ProductManifold, batch: tuple[int, ...], count: int) -> list[Tensor]:
    return [product.random(*batch, product.n_elements, dtype=torch.float64).clone() for _ in range(count)]


def flat(tensors: list[Tensor], parts: Parts) -> Tensor:
    return torch.cat([t.flatten(t.ndim - len(s)) for t, (_, s) in zip(tensors, parts, strict=True)], -1)


@pytest.mark.parametrize("parts", [OWN, MIXED], ids=["own", "mixed"])
@pytest.mark.parametrize("batch", BATCHES)
def test_every_operation_is_that_of_the_components(parts: Parts, batch: tuple[int, ...]) -> None:
    product = product_of(parts)
    x, y, u, v = points(product, batch, 4)
    u, v = product.proju(x, u), product.proju(x, v)

    def each(name: str, *tensors: Tensor) -> list[Any]:
        unpacked = (product.unpack_tensor(tensor) for tensor in tensors)
        columns = zip(product.manifolds, *unpacked, strict=True)
        return [getattr(manifold, name)(*arguments) for manifold, *arguments in columns]

    for name, arguments in [
        *(
            ("projx", (x + u,)),
            ("proju", (x, y)),
            ("egrad2rgrad", (x, y)),
            ("retr", (x, u)),
            ("expmap", (x, u)),
        ),
        *(("logmap", (x, y)), ("transp", (x, y, v))),
    ]:
        result = getattr(product, name)(*arguments)
        torch.testing.assert_close(result, flat(each(name, *arguments), parts))
        assert result.is_contiguous()
    for name in ("retr_transp", "expmap_transp"):
        for result, expected in zip(
            getattr(product, name)(x, u, v), zip(*each(name, x, u, v), strict=True), strict=True
        ):
            torch.testing.assert_close(result, flat(list(expected), parts))
    distances = each("dist", x, y)
    squares = torch.stack(
        [distance.square()[..., None].flatten(len(batch)).sum(-1) for distance in distances]
    )
    torch.testing.assert_close(product.dist2(x, y), squares.sum(0))
    torch.testing.assert_close(product.dist(x, y), squares.sum(0).sqrt())
    torch.testing.assert_close(product.norm(x, product.logmap(x, y)), product.dist(x, y))
    product.assert_check_point_on_manifold(x)
    product.assert_check_vector_on_tangent(x, u)
    assert product.point_residual(x).shape == product.tangent_residual(x, u).shape == batch
    assert product.inner(x, u, v, keepdim=True).shape == product.dist(x, y, keepdim=True).shape == (*batch, 1)


def test_agrees_with_the_product_of_geoopt() -> None:
    parts: Parts = [
        (geoopt.SphereExact(), (4,)),
        (geoopt.PoincareBall().double(), (3,)),
        (geoopt.Euclidean(1), (2,)),
    ]
    ours, theirs = ProductManifold(*parts), geoopt.ProductManifold(*parts)
    x, y, u = points(ours, (5,), 3)
    u = theirs.proju(x, u)
    torch.testing.assert_close(ours.proju(x, u), u)
    torch.testing.assert_close(ours.dist(x, y), theirs.dist(x, y))
    torch.testing.assert_close(ours.inner(x, u), theirs.inner(x, u))
    torch.testing.assert_close(ours.component_inner(x, u), theirs.component_inner(x, u))
    torch.testing.assert_close(ours.retr_transp(x, u, u)[1], theirs.retr_transp(x, u, u)[1])
    assert ours.slices == theirs.slices
    assert ours.n_elements == theirs.n_elements == x.shape[-1]
    torch.testing.assert_close(ours.take_submanifold_value(x, 1), theirs.take_submanifold_value(x, 1))


def test_empty_batches_and_broadcasting() -> None:
    product = product_of(OWN)
    x = product.random(0, product.n_elements, dtype=torch.float64).clone()
    assert (
        product.projx(x).shape == product.retr(x, x).shape == product.component_inner(x, x).shape == x.shape
    )
    assert product.dist(x, x).shape == product.inner(x, x).shape == (0,)
    assert product.cdist(x[:, None], x[:, None]).shape == (0, 1, 1)
    product.assert_check_point_on_manifold(x)
    a, b = points(product, (2, 1), 1)[0], points(product, (3,), 1)[0]
    assert product.dist(a, b).shape == product.inner(a, b).shape == (2, 3)
    assert product.logmap(a, b).shape == product.component_inner(a, b).shape == (2, 3, product.n_elements)
    packed = product.pack_point(*(part[0] if i else part for i, part in enumerate(product.unpack_tensor(b))))
    assert packed.shape == b.shape


def test_copies_of_a_manifold_in_one_component() -> None:
    """Three points of a sphere as one component are the three components."""
    parts: Parts = [(Sphere(), (3, 4)), (Euclidean(1), (2,))]
    one = ProductManifold(*parts)
    many = ProductManifold(*[(Sphere(), (4,))] * 3, (Euclidean(1), (2,)))
    x, y, u = points(one, (5,), 3)
    u = one.proju(x, u)
    torch.testing.assert_close(one.dist(x, y), many.dist(x, y))
    torch.testing.assert_close(one.cdist(x, y), many.cdist(x, y))
    torch.testing.assert_close(one.component_inner(x, u), many.component_inner(x, u))
    torch.testing.assert_close(one.mean(x), many.mean(x))
    torch.testing.assert_close(one.mean(x, torch.rand(2, 5)).shape, torch.Size([2, 14]))
    assert one.dim((14,)) == many.dim((14,)) == 11


@pytest.mark.parametrize(("parts", "tolerance"), [(OWN, 1e-14), (MIXED, 1e-12)], ids=["own", "mixed"])
def test_pairwise_distances_and_means(parts: Parts, tolerance: float) -> None:
    product = product_of(parts)
    centre = points(product, (), 1)[0]
    noise = torch.randn(2, 5, product.n_elements, dtype=torch.float64)
    x = product.expmap(centre, 0.2 * product.proju(centre, noise))
    torch.testing.assert_close(product.cdist(x, x[:, :3]), product.dist(x[:, :, None], x[:, None, :3]))
    weights = torch.rand(2, 5, dtype=torch.float64)
    mean = product.mean(x, weights)
    total = (weights[..., None] * product.logmap(mean[:, None], x)).sum(1)
    torch.testing.assert_close(total, torch.zeros_like(total), atol=tolerance, rtol=0)
    middle = product.geodesic(0.5, x[:, 0], x[:, 1])
    torch.testing.assert_close(product.mean(x[:, :2]), middle, atol=tolerance, rtol=0)


def test_gradients_at_generic_and_equal_points() -> None:
    product = product_of(OWN)
    x, y = points(product, (2,), 2)
    zero = torch.zeros_like(x, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda u: product.dist(product.expmap(x, product.proju(x, u)), y), (zero,)
    )
    assert torch.autograd.gradcheck(
        lambda u: product.dist2(product.expmap(x, product.proju(x, u)), x), (zero,)
    )
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(product.dist(point, x).sum(), point)
    assert not gradient.any()
    near = product.expmap(
        x[:, None], 0.3 * product.proju(x[:, None], torch.randn(2, 3, x.shape[-1]).double())
    )
    moved = near.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda a: product.mean(product.projx(a)), (moved,), fast_mode=True)


def test_random_origin_and_projection_are_on_the_manifold() -> None:
    product = ProductManifold(*OWN, (Stiefel(), (4, 2)), (Grassmann(), (4, 2)), (geoopt.Stiefel(), (4, 2)))
    for dtype in (torch.float32, torch.float64):
        a, b = (
            product.random(3, product.n_elements, dtype=dtype, generator=torch.Generator().manual_seed(1))
            for _ in range(2)
        )
        assert torch.equal(a, b)
        assert a.manifold == product  # type: ignore[attr-defined]
        origin = product.origin(2, product.n_elements, dtype=dtype)
        for point in (a, origin, product.projx(torch.randn(3, product.n_elements, dtype=dtype))):
            assert point.dtype == dtype
            product.assert_check_point_on_manifold(point)
    state = torch.random.get_rng_state()
    product.random(product.n_elements, generator=torch.Generator().manual_seed(1))
    assert torch.equal(state, torch.random.get_rng_state())


def test_second_moment_of_adam_is_one_number_for_each_component() -> None:
    product = ProductManifold((Sphere(), 3), (Euclidean(1), 2))
    parameter = geoopt.ManifoldParameter(product.random(7, 5))
    optimizer = geoopt.optim.RiemannianAdam([parameter], lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        ((parameter - 1) * torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0])).square().sum().backward()
        optimizer.step()
    moment = optimizer.state[parameter]["exp_avg_sq"]
    assert torch.equal(moment[:, :1].expand(7, 3), moment[:, :3])
    assert torch.equal(moment[:, 3], moment[:, 4])
    assert (moment[:, 0] != moment[:, 3]).all()
    product.assert_check_point_on_manifold(parameter.detach())


def test_equality_and_hash_are_by_value() -> None:
    def ball(c: float, learnable: bool = False) -> geoopt.Manifold:
        return geoopt.PoincareBall(c=c, learnable=learnable)

    sphere = (Sphere(), 3)
    assert ProductManifold(sphere, (Stiefel(), (4, 2))) == ProductManifold(
        (Sphere(), (3,)), (Stiefel(), (4, 2))
    )
    different = [
        ProductManifold(sphere),
        ProductManifold((Sphere(), 4)),
        ProductManifold(sphere, sphere),
        ProductManifold((Stiefel(), (4, 2))),
        ProductManifold((Stiefel(retraction=Polar()), (4, 2))),
        ProductManifold((ball(1.0), 3)),
        ProductManifold((ball(2.0), 3)),
        ProductManifold((geoopt.Scaled(Sphere(), 2.0), 3)),
        ProductManifold((geoopt.Scaled(Sphere(), 3.0), 3)),
        ProductManifold((geoopt.Euclidean(1), (3, 3))),
        ProductManifold((geoopt.Euclidean(2), (3, 3))),
        ProductManifold((ball(1.0, learnable=True), 3)),
    ]
    assert len(set(different)) == len(different)
    assert ProductManifold((ball(2.0), 3)) == ProductManifold((ball(2.0), 3))
    assert hash(ProductManifold((ball(2.0), 3))) == hash(ProductManifold((ball(2.0), 3)))
    nested = ProductManifold((different[0], 3), (Euclidean(), 2))
    assert nested == ProductManifold((ProductManifold(sphere), 3), (Euclidean(), 2))
    learnable = ball(1.0, learnable=True)
    assert ProductManifold((learnable, 3)) == ProductManifold((learnable, 3))
    assert repr(different[2]) == "ProductManifold((Sphere(), (3,)), (Sphere(), (3,)))"


def test_copying_pickling_and_conversion() -> None:
    product = ProductManifold((geoopt.PoincareBall(c=0.5), 3), *OWN)
    parameter = geoopt.ManifoldParameter(product.random(2, product.n_elements))
    for other in (
        copy.deepcopy(product),
        pickle.loads(pickle.dumps(product)),
        copy.deepcopy(parameter).manifold,
    ):
        assert other == product
        assert hash(other) == hash(product)
        torch.testing.assert_close(
            other.dist(parameter[0], parameter[1]), product.dist(parameter[0], parameter[1])
        )
    buffer = io.BytesIO()
    torch.save(product, buffer)
    assert torch.load(io.BytesIO(buffer.getvalue()), weights_only=False) == product
    double = copy.deepcopy(product).double()
    assert {tensor.dtype for tensor in double.manifolds.parameters()} == {torch.float64}


def test_equal_components_are_one_module_so_that_conversion_reaches_all() -> None:
    class Curved(Sphere):
        """A manifold with a buffer, as those with a curvature have."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("curvature", torch.ones(()))

    product = ProductManifold((Curved(), 3), (Curved(), 4)).double()
    assert all(manifold.curvature.dtype == torch.float64 for manifold in product.manifolds)


def test_compiles_in_one_graph_and_computes_half_in_single() -> None:
    product = ProductManifold((Sphere(), 3), (Stiefel(), (4, 2)), (Euclidean(1), 2))
    x, y = product.random(5, 13).clone(), product.random(5, 13).clone()
    compiled = torch.compile(
        lambda a, b: product.inner(a, product.retr(a, product.proju(a, b))), fullgraph=True, backend="eager"
    )
    torch.testing.assert_close(compiled(x, y), product.inner(x, product.retr(x, product.proju(x, y))))
    spheres = ProductManifold((Sphere(), 3), (Oblique(), (2, 2)))
    a, b = spheres.random(5, 7).clone(), spheres.random(5, 7).clone()
    distance = torch.compile(lambda a, b: spheres.dist(a, b), fullgraph=True, backend="eager")
    torch.testing.assert_close(distance(a, b), spheres.dist(a, b))
    half = spheres.dist(a.bfloat16(), b.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, spheres.dist(a.bfloat16().float(), b.bfloat16().float()).bfloat16())


def test_errors_name_the_component() -> None:
    product = ProductManifold((Sphere(), 3), (geoopt.Stiefel(), (4, 2)))
    x = product.random(2, 11).clone()
    with pytest.raises(UnavailableError, match=r"component 1, .*has no dist2; use a manifold of geowarp"):
        product.dist(x, x)
    with pytest.raises(UnavailableError, match=r"component 1, .*has no logmap"):
        product.mean(x)
    with pytest.raises(GeowarpError, match=r"component 0 has shape \(2,\); it must end in \(3,\)"):
        product.pack_point(torch.zeros(2), torch.zeros(4, 2))
    with pytest.raises(GeowarpError, match="1 tensors were given, for 2 components"):
        product.pack_point(torch.zeros(3))
    with pytest.raises(GeowarpError, match=r"component 1, .*more columns than rows"):
        ProductManifold((Sphere(), 3), (Stiefel(), (2, 4)))
    with pytest.raises(GeowarpError, match="0 components"):
        ProductManifold()
    with pytest.raises(GeowarpError, match=r"shape is \(5,\); a packed point is \(..., 11\)"):
        product.random(5)
    x[1, 0] += 1
    with pytest.raises(NotOnManifoldError, match=r"component 0, Sphere\(\): departure of the point is \d"):
        product.assert_check_point_on_manifold(x)
    with pytest.raises(NotOnManifoldError, match=r"component 0, Sphere\(\): departure from the tangent"):
        product.assert_check_vector_on_tangent(product.projx(x), product.projx(x))

    class Bare(Sphere):
        logmap = Manifold.logmap

    with pytest.raises(UnavailableError, match=r"component 0, .*has no logmap; move along retr"):
        ProductManifold((Bare(), 3)).logmap(x[:, :3], x[:, :3])
    with pytest.raises(GeowarpError, match="batch shapes"):
        ProductManifold.from_point(Sphere().random(2, 3), Sphere().random(3, 3), batch_dims=1)
