"""GrNet and its heads against explicit computation, their invariance, and training on a toy problem."""

import copy
import io
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from jacobians import assert_jacobian
from subspace_cases import assert_invariant, largest_tensor, orthogonal, projector, subspaces
from torch import Tensor, nn

from geowarp.errors import GeowarpError
from geowarp.manifolds import Grassmann, Stiefel
from geowarp.manifolds.parameter import named_manifolds
from geowarp.metrics import Chordal, Geodesic, SubspaceDistance
from geowarp.nn.subspaces import (
    EmbeddingClassifier,
    GrNet,
    Pooling,
    ProjectionBlock,
    ProjectionMap,
    ProjectionPooling,
    RowPooling,
    SubspaceClassifier,
)
from geowarp.optim import RiemannianAdam, param_groups

NETS: dict[str, Callable[[], GrNet]] = {
    "no block": lambda: GrNet(12, 2, 3),
    "rows": lambda: GrNet(12, 2, 3, widths=(12, 6), maps=3),
    "maps": lambda: GrNet(12, 2, 3, widths=(8, 6), maps=3, pooling=ProjectionPooling()),
    "no pooling": lambda: GrNet(12, 2, 3, widths=(6,), maps=3, pooling=None),
    "distances": lambda: GrNet(12, 2, 3, widths=(8,), maps=3, head=SubspaceClassifier),
    "one distance": lambda: GrNet(12, 2, 3, head=partial(SubspaceClassifier, distance=Chordal())),
}
every_net = pytest.mark.parametrize("build", NETS.values(), ids=NETS.keys())


def sets(count: int, m: int = 4, n: int = 12, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return data matrices ``(count, n, m)``, with singular values well apart."""
    x = torch.randn(count, n, m, dtype=torch.float64) * torch.tensor([4.0, 2.0, 0.5, 0.2])[:m]
    return x.to(dtype)


def explicit_span(x: Tensor, k: int) -> Tensor:
    basis: Tensor = torch.linalg.svd(x, full_matrices=False)[0][..., :k]
    return basis


def explicit_logits(net: GrNet, x: Tensor, pooled: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the logits through n x n projectors; ``pooled`` of those of the maps, ``(..., maps, n, n)``."""
    spans = projector(explicit_span(x, net.k)).unsqueeze(-3)
    for block in net.blocks:
        assert isinstance(block, ProjectionBlock)
        rows = block.map.weight.detach().mT
        mapped = rows @ torch.linalg.eigh(spans)[1][..., -net.k :]
        q = explicit_span(mapped, net.k)
        spans = projector(torch.linalg.eigh(pooled(projector(q)))[1][..., -net.k :])
    head = net.head
    assert isinstance(head, EmbeddingClassifier)
    i, j = torch.triu_indices(*spans.shape[-2:])
    scale = torch.where(i == j, math.sqrt(0.5), torch.ones(len(i), dtype=x.dtype))
    logits: Tensor = head.linear((scale * spans[..., i, j]).flatten(-2))
    return logits


def test_logits_are_those_of_explicit_projectors() -> None:
    pooled: dict[str, Callable[[Tensor], Tensor]] = {
        "no block": lambda p: p,
        "rows": lambda p: F.avg_pool2d(p, 2),
        "maps": lambda p: p.mean(-3, keepdim=True),
        "no pooling": lambda p: p,
    }
    x = sets(5)
    for name, pool in pooled.items():
        net = NETS[name]().double()
        torch.testing.assert_close(net(x), explicit_logits(net, x, pool), atol=1e-11, rtol=1e-9)


def test_blocks_with_row_pooling_are_one_map() -> None:
    """√2 times the means of two rows has orthonormal rows, as have products of such matrices."""
    net = NETS["rows"]().double()
    product = torch.eye(12, dtype=torch.float64).expand(3, 12, 12)
    for block in net.blocks:
        assert isinstance(block, ProjectionBlock)
        product = math.sqrt(2) * (block.map.weight.detach().mT @ product).unflatten(-2, (-1, 2)).mean(-2)
    single = GrNet(12, 2, 3, widths=(3,), maps=3, pooling=None).double()
    single.head.load_state_dict(net.head.state_dict())
    single.blocks.load_state_dict({"0.map.weight": product.mT})
    torch.testing.assert_close(product @ product.mT, torch.eye(3).double().expand(3, 3, 3), atol=1e-6, rtol=0)
    x = sets(5)
    torch.testing.assert_close(single(x), net(x), atol=1e-12, rtol=1e-10)


@every_net
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_logits_do_not_depend_on_the_basis(
    build: Callable[[], GrNet], dtype: torch.dtype, atol: float
) -> None:
    net, x = build().to(dtype), sets(20, dtype=dtype)
    logits = net(x)
    assert logits.shape == (20, 3)
    assert logits.dtype == dtype
    for mixed in (x @ orthogonal(20, k=4, dtype=dtype), x.flip(-1), -x):
        torch.testing.assert_close(net(mixed), logits, atol=atol, rtol=0)
    assert (net(x.flip(-2)) - logits).abs().max() > 1e-3  # it does depend on the subspace


@every_net
def test_gradients_do_not_depend_on_the_basis(build: Callable[[], GrNet]) -> None:
    """Neither those of the parameters, nor, turned back, those of the sets."""
    net, x, labels = build().double(), sets(6), torch.arange(6) % 3
    q = orthogonal(6, k=4)
    gradients = []
    for data, back in ((x, torch.eye(4, dtype=x.dtype)), (x @ q, q.mT)):
        leaf = data.clone().requires_grad_()
        loss = F.cross_entropy(net(leaf), labels)
        of_data, *of_parameters = torch.autograd.grad(loss, [leaf, *net.parameters()])
        gradients.append([of_data @ back, *of_parameters])
    for one, other in zip(*gradients, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-8)


@every_net
def test_gradients_against_differences(build: Callable[[], GrNet]) -> None:
    assert_jacobian(build().double(), sets(2).requires_grad_())


@every_net
def test_batches(build: Callable[[], GrNet]) -> None:
    net, x = build(), sets(6, dtype=torch.float32)
    torch.testing.assert_close(net(x.unflatten(0, (2, 3))), net(x).unflatten(0, (2, 3)))
    torch.testing.assert_close(net(x[0]), net(x)[0])
    torch.testing.assert_close(net(x.mT.contiguous().mT), net(x))
    empty = net(x[:0])
    assert empty.shape == (0, 3)
    empty.sum().backward()


@every_net
def test_state_and_manifolds(build: Callable[[], GrNet]) -> None:
    net, other, x = build(), build(), sets(4, dtype=torch.float32)
    assert not torch.equal(net(x), other(x))
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(net(x), other(x))
    groups = {str(group["manifold"]): [name for name, _ in group["params"]] for group in param_groups(net)}
    blocks = [f"blocks.{i}.map.weight" for i in range(len(net.blocks))]
    assert groups.get(str(Stiefel()), []) == blocks
    on_grassmann = isinstance(net.head, SubspaceClassifier)
    assert groups.get(str(Grassmann()), []) == ["head.class_subspaces"] * on_grassmann


def toy(per_class: int, noise: float = 0.15) -> tuple[Tensor, Tensor]:
    """Return sets of four vectors about one of three planes of R^12, and the planes' numbers."""
    planes = subspaces(3, 12, 2).float()
    labels = torch.arange(3).repeat(per_class)
    x = planes[labels] @ torch.randn(len(labels), 2, 4)
    return x + noise * torch.randn_like(x), labels


@every_net
def test_training(build: Callable[[], GrNet]) -> None:
    x, labels = toy(20)
    net = build()
    optimizer = RiemannianAdam(param_groups(net), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
    assert (net(x).argmax(-1) == labels).all()
    for name, manifold in named_manifolds(net):
        point = net.get_parameter(name).detach().as_subclass(Tensor)
        assert (point.mT @ point - torch.eye(point.shape[-1])).abs().max() < 1e-5
        assert manifold.check_point_on_manifold(point)


def test_parts_of_a_net() -> None:
    pooling = ProjectionPooling(Geodesic())
    net = GrNet(10, 2, 3, widths=(8, 6), maps=3, pooling=pooling, input_map=nn.Identity())
    x = subspaces(5, 10, 2).float()
    assert net.subspaces(x).shape == (5, 1, 6, 2)
    assert net(x).shape == (5, 3)
    copies = [block.pooling for block in net.blocks if isinstance(block, ProjectionBlock)]
    assert len({id(pooling), *map(id, copies)}) == 3
    deficient = GrNet(10, 2, 3, input_map=ProjectionMap(2, allow_deficient=True))
    assert deficient(torch.ones(10, 4)).isfinite().all()
    assert copy.deepcopy(net)(x).equal(net(x))


@pytest.mark.parametrize("pooling", [RowPooling(2), ProjectionPooling(), None], ids=repr)
def test_nothing_is_larger_than_the_parameters(pooling: Pooling | None) -> None:
    net = GrNet(60, 3, 4, widths=(8,), maps=1, pooling=pooling, head=SubspaceClassifier).double()
    assert largest_tensor(net, sets(1, 3, 60)) <= 60 * 8


def test_errors_of_grnet() -> None:
    with pytest.raises(GeowarpError, match="k = 10 must be at least 1 and below n = 10"):
        GrNet(10, 10, 3)
    with pytest.raises(GeowarpError, match=r"block 2 of width 4 leaves 2 rows .* dimension k = 2"):
        GrNet(10, 2, 3, widths=(8, 4))
    with pytest.raises(GeowarpError, match="width = 12 must be between 1 and n = 10"):
        GrNet(10, 2, 3, widths=(12,))
    with pytest.raises(GeowarpError, match="size = 2 does not divide the 7 rows"):
        GrNet(10, 2, 3, widths=(7,))
    with pytest.raises(GeowarpError, match="maps = 0"):
        GrNet(10, 2, 3, widths=(8,), maps=0)
    with pytest.raises(GeowarpError, match=r"shape \(5, 9, 4\); it needs \(\.\.\., 10, m\)"):
        GrNet(10, 2, 3)(torch.randn(5, 9, 4))
    with pytest.raises(GeowarpError, match="rank of the data is 1, below k = 2"):
        GrNet(10, 2, 3)(torch.ones(10, 4))


# --- SubspaceClassifier ---


@pytest.mark.parametrize("distance", [Geodesic(), Chordal()], ids=repr)
def test_logits_are_squared_distances(distance: SubspaceDistance) -> None:
    head = SubspaceClassifier(7, 2, 4, distance=distance, temperature=0.5).double()
    head.load_state_dict({**head.state_dict(), "class_subspaces": subspaces(4, 7, 2)})
    u = subspaces(5, 3, 7, 2)
    expected = torch.stack([distance(u, c).square() for c in head.class_subspaces.detach()], -1)
    torch.testing.assert_close(head(u), -expected / head.temperature, atol=1e-13, rtol=1e-10)
    torch.testing.assert_close(head(u), -2 * expected)
    several = SubspaceClassifier(7, 2, 4, maps=3, distance=distance, learn_temperature=False).double()
    several.load_state_dict({**several.state_dict(), "class_subspaces": subspaces(4, 3, 7, 2)})
    each = [distance(u, c).square().sum(-1) for c in several.class_subspaces.detach()]
    torch.testing.assert_close(several.squared_distances(u), torch.stack(each, -1), atol=1e-13, rtol=1e-10)
    assert several(u[0, 0].expand(3, 7, 2)).shape == (4,)
    assert head(u[:0]).shape == (0, 3, 4)
    assert several(u[:0]).shape == (0, 4)


@pytest.mark.parametrize("distance", [Geodesic(), Chordal()], ids=repr)
def test_gradients_of_squared_distances(distance: SubspaceDistance) -> None:
    head = SubspaceClassifier(6, 2, 3, maps=2, distance=distance, temperature=0.7).double()
    u = subspaces(2, 6, 2)
    assert_invariant(head, u)
    assert_jacobian(lambda a: head(a + a @ (torch.eye(2).double() - a.mT @ a) / 2), u.requires_grad_())
    near = head.class_subspaces.detach()[1].as_subclass(Tensor).clone().requires_grad_()
    logits = head(near)
    assert logits[1].abs() < 1e-12
    gradient = torch.autograd.grad(logits[1], (near, head.class_subspaces, head.log_temperature))
    assert all(part.abs().max() < 1e-7 for part in gradient)  # 0 at the class subspace itself


def test_the_temperature_is_learned() -> None:
    """The derivative of ``−d² / τ`` in log τ is ``d² / τ``."""
    head, u = SubspaceClassifier(6, 2, 3, temperature=0.7), subspaces(6, 2).float()
    logit = head(u)[0]
    (gradient,) = torch.autograd.grad(logit, head.log_temperature)
    torch.testing.assert_close(gradient, -logit)
    torch.testing.assert_close(head.temperature, torch.tensor(0.7))
    fixed = SubspaceClassifier(6, 2, 3, temperature=0.7, learn_temperature=False)
    assert [name for name, _ in fixed.named_parameters()] == ["class_subspaces"]
    assert fixed.state_dict().keys() == head.state_dict().keys()


def test_errors_of_the_classifier() -> None:
    with pytest.raises(GeowarpError, match="k = 5 must be between 1 and n = 4"):
        SubspaceClassifier(4, 5, 3)
    with pytest.raises(GeowarpError, match="num_classes = 0"):
        SubspaceClassifier(4, 2, 0)
    with pytest.raises(GeowarpError, match=r"temperature = 0\.0 must be positive"):
        SubspaceClassifier(4, 2, 3, temperature=0.0)
    with pytest.raises(GeowarpError, match=r"shape \(6, 2\); it needs \(\.\.\., 4, 2\)"):
        SubspaceClassifier(4, 2, 3)(subspaces(6, 2).float())
    with pytest.raises(GeowarpError, match=r"needs \(\.\.\., 3, 4, 2\)"):
        SubspaceClassifier(4, 2, 3, maps=3)(subspaces(2, 4, 2).float())
