"""From views of a sample to subspaces and clusters, and the objective that trains them."""

import copy
import itertools
from typing import Any

import pytest
import torch
from subspace_cases import orthogonal, projector
from torch import Tensor, nn

from geowarp import named_manifolds
from geowarp.errors import GeowarpError
from geowarp.manifolds import Grassmann, Stiefel
from geowarp.metrics import Chordal
from geowarp.nn import (
    ClusterContrastiveLoss,
    CosineSimilarity,
    GrassmannContrastiveLoss,
    ImageEncoder,
    MultiviewClusteringLoss,
    MultiviewOutput,
    MultiviewSubspaceNetwork,
    NeighborConsistencyLoss,
    balance,
)
from geowarp.nn.subspaces.encoders import make_encoder
from geowarp.optim import RiemannianAdam, param_groups

Shapes = list[tuple[int, ...]]
CASES: dict[str, tuple[Shapes, dict[str, Any]]] = {
    "vectors": ([(5,), (7,)], {}),
    "images": ([(1, 9, 9)] * 3, {}),
    "mixed": ([(9, 8), (5,), (3, 6, 6)], {}),
    "shared vectors": ([(5,), (5,)], {"shared_encoder": True}),
    "own images": ([(9, 9)] * 2, {"shared_encoder": False}),
}
EVERY = pytest.mark.parametrize(("shapes", "settings"), CASES.values(), ids=CASES)


def network(shapes: Shapes, dtype: torch.dtype = torch.float32, **settings: Any) -> MultiviewSubspaceNetwork:
    return MultiviewSubspaceNetwork(shapes, 3, **settings).to(dtype)


def samples(shapes: Shapes, count: int = 6, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(count, *shape).to(dtype) for shape in shapes]


def assert_finite(model: nn.Module, output: MultiviewOutput) -> None:
    loss = MultiviewClusteringLoss()(output)
    loss.backward()
    assert all(part.isfinite().all() for part in (*output, loss))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@EVERY
def test_output(shapes: Shapes, settings: dict[str, Any]) -> None:
    model = network(shapes, torch.float64, **settings)
    output = model(samples(shapes, dtype=torch.float64))
    u = output.subspaces
    assert u.shape == (len(shapes), 6, 16, 4)
    torch.testing.assert_close(u.mT @ u, torch.eye(4).double().expand(len(shapes), 6, 4, 4))
    torch.testing.assert_close(output.assignments, output.logits.softmax(-1))
    logits = sum(output.logits[view] for view in range(len(shapes)))
    torch.testing.assert_close(output.consensus, torch.as_tensor(logits).softmax(-1))
    torch.testing.assert_close(output.logits, model.clusters(u))
    assert_finite(model, output)


@EVERY
def test_distances_of_the_embedding(shapes: Shapes, settings: dict[str, Any]) -> None:
    model = network(shapes, torch.float64, **settings)
    output = model(samples(shapes, dtype=torch.float64))
    u, found = output.subspaces, torch.cdist(output.embedding, output.embedding)
    first, second = u[:, :, None], u[:, None]
    squares = Chordal()(first, second).square().sum(0)
    mean = projector(u).mean(0)
    of_means = (mean[:, None] - mean).square().sum((-2, -1)) / 2
    expected = of_means if model.shared else squares
    torch.testing.assert_close(found.square(), expected, atol=1e-10, rtol=1e-9)
    assert model.shared == (len(model.encoders) == 1)


@EVERY
def test_samples_do_not_mix(shapes: Shapes, settings: dict[str, Any]) -> None:
    model, views = network(shapes, torch.float64, **settings), samples(shapes, dtype=torch.float64)
    whole, order = model(views), torch.tensor([4, 1, 5])
    for some in (order, order[:1], order[:0]):
        part = model([view[some] for view in views])
        torch.testing.assert_close(part.consensus, whole.consensus[some])
        torch.testing.assert_close(part.embedding, whole.embedding[some], atol=1e-9, rtol=1e-9)
        assert part.subspaces.shape == (len(shapes), len(some), 16, 4)


@EVERY
def test_views_do_not_mix(shapes: Shapes, settings: dict[str, Any]) -> None:
    model, views = network(shapes, torch.float64, **settings), samples(shapes, dtype=torch.float64)
    before = model(views).assignments
    views[-1] = views[-1] + 1
    after = model(views).assignments
    torch.testing.assert_close(after[:-1], before[:-1])
    assert (after[-1] - before[-1]).abs().max() > 1e-4
    if model.shared:  # whichever view it comes from
        turned = model(views[::-1]).assignments
        torch.testing.assert_close(turned.flip(0), after)


def test_channels_and_places_do_not_mix() -> None:
    """The reference code read the memory of (channels, places) as (places, channels), without a transpose."""
    encoder = ImageEncoder(1, 16).double()
    image = torch.zeros(1, 1, 28, 28).double()
    image[..., 12:16, 8:12] = torch.randn(4, 4)
    features = encoder(image)
    assert features.shape == (1, 16, 49)
    places = (features - encoder(torch.zeros_like(image))).unflatten(-1, (7, 7)).abs().amax((0, 1))
    assert places[3, 2] > 1e-3
    outside = torch.ones(7, 7, dtype=torch.bool)
    outside[2:5, 1:4] = False  # what two convolutions see
    assert places[outside].max() == 0
    turned = encoder(image.roll(8, -1)).unflatten(-1, (7, 7))  # by two places: a column moves, as a whole
    torch.testing.assert_close(turned[..., 1:6, 3:6], features.unflatten(-1, (7, 7))[..., 1:6, 1:4])


def test_a_permutation_of_places_changes_no_subspace() -> None:
    model = network([(1, 28, 28)] * 2, torch.float64)
    matrices = model.encoders[0](torch.randn(3, 1, 28, 28).double())
    permuted = matrices[..., torch.randperm(49)]
    torch.testing.assert_close(
        projector(model.modelling(permuted)), projector(model.modelling(matrices)), atol=1e-9, rtol=0
    )
    u = model.modelling(matrices)
    left = torch.linalg.svd(matrices)[0][..., :4]  # of the features, not of the places
    torch.testing.assert_close(projector(u), projector(left), atol=1e-9, rtol=0)
    mapped = model.re_orth(model.full_rank_map(u @ orthogonal(3, k=4)))
    torch.testing.assert_close(
        projector(mapped), projector(model.re_orth(model.full_rank_map(u))), atol=1e-9, rtol=0
    )


def test_features_are_those_of_plain_layers() -> None:
    encoder, images = ImageEncoder(2, 8, hidden=4), torch.randn(3, 2, 28, 28)
    steps = [encoder.first, nn.ReLU(), nn.MaxPool2d(2), encoder.second, nn.ReLU(), nn.MaxPool2d(2)]
    features = nn.Sequential(*steps)(images)
    assert features.shape == (3, 8, 7, 7)
    torch.testing.assert_close(encoder(images), features.reshape(3, 8, 49))
    large = torch.randn(3, 2, 29, 57)
    features = nn.Sequential(*steps[:2], nn.MaxPool2d(2, ceil_mode=True), *steps[3:5])(large)
    pooled = nn.AdaptiveAvgPool2d(7)(nn.MaxPool2d(2, ceil_mode=True)(features))
    torch.testing.assert_close(encoder(large), pooled.flatten(2))


TINY = [(1, 1), (1, 2), (2, 2), (3, 3), (1, 9), (4, 4), (5, 7), (7, 7), (12, 12), (13, 17), (28, 9), (31, 33)]


@pytest.mark.parametrize("size", TINY, ids=str)
@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "colour"])
def test_images_of_any_size_have_a_subspace(size: tuple[int, int], channels: tuple[int, ...]) -> None:
    """Their places determine all of it: a rank below k would leave a part to rounding."""
    shape = (*channels, *size)
    model, views = network([shape, shape]), samples([shape, shape], 4)
    values = torch.linalg.svdvals(model.encoders[0](views[0]))
    assert (values[:, 3] > 1e-3 * values[:, 0]).all()
    assert_finite(model, model(views))


def test_an_encoder_needs_a_sample_that_it_knows() -> None:
    for shape in ((), (1, 2, 3, 4), (0,), (3, 0, 4)):
        with pytest.raises(GeowarpError, match=r"a sample has the shape .*; vectors \(d,\) and images"):
            make_encoder(shape, 8, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_that_are_all_zero(dtype: torch.dtype) -> None:
    model, changed = network([(9, 9), (5,)], dtype), ("second.bias", "layers.4.weight", "layers.4.bias")
    with torch.no_grad():
        for name, parameter in model.encoders.named_parameters():
            if name.endswith(changed):
                parameter.fill_(-100 if "second" in name else 0)  # ReLU then gives nothing
    views = samples([(9, 9), (5,)], dtype=dtype)
    assert all(not encode(view).any() for encode, view in zip(model.encoders, views, strict=True))
    assert_finite(model, model(views))


def test_samples_that_are_alike() -> None:
    for shapes, settings in CASES.values():
        model = network(shapes, **settings)
        assert_finite(model, model([torch.zeros(4, *shape) for shape in shapes]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", ["vectors", "images"])
def test_half_precision(dtype: torch.dtype, case: str) -> None:
    shapes, settings = CASES[case]
    model, views = network(shapes, **settings), samples(shapes)
    expected = model(views).consensus
    tolerance = 8 * torch.finfo(dtype).eps
    with torch.autocast("cpu", dtype=dtype):
        output = model(views)
    torch.testing.assert_close(output.consensus, expected, atol=tolerance, rtol=0)
    assert_finite(model, output)
    model.zero_grad()
    output = model.to(dtype)([view.to(dtype) for view in views])
    assert all(part.dtype == dtype for part in output)
    torch.testing.assert_close(output.consensus, expected, atol=tolerance, rtol=0, check_dtype=False)
    assert_finite(model, output)


@EVERY
def test_copies_and_states(shapes: Shapes, settings: dict[str, Any]) -> None:
    model, views = network(shapes, **settings), samples(shapes)
    other = network(shapes, **settings)
    assert not torch.equal(other(views).consensus, model(views).consensus)
    other.load_state_dict(model.state_dict())
    expected = {"full_rank_map.weight": Stiefel(), "clusters.subspaces": Grassmann()}
    for twin in (other, copy.deepcopy(model), copy.deepcopy(model).double().float()):
        torch.testing.assert_close(twin(views).consensus, model(views).consensus)
        assert dict(named_manifolds(twin)) == expected
        for module in twin.modules():
            if isinstance(module, nn.Conv2d):
                assert module.weight.is_contiguous(memory_format=torch.channels_last)


def test_training_keeps_the_manifolds() -> None:
    model, views = network([(5,), (7,)]), samples([(5,), (7,)], 20)
    optimizer = RiemannianAdam(param_groups(model), lr=1e-2)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = MultiviewClusteringLoss()(model(views))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for point in (model.full_rank_map.weight, model.clusters.subspaces):
        gram = point.detach().mT @ point.detach()
        torch.testing.assert_close(gram, torch.eye(gram.shape[-1]).expand_as(gram), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore")  # of what is compiled
def test_compiles_as_one_graph() -> None:
    shapes, _ = CASES["mixed"]
    model, views = network(shapes), samples(shapes)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    output, expected = compiled(views), model(views)
    for name in ("consensus", "assignments", "logits", "embedding"):
        torch.testing.assert_close(getattr(output, name), getattr(expected, name), atol=1e-5, rtol=1e-5)
    assert_finite(model, MultiviewOutput(*output))


WRONG: list[tuple[Shapes, dict[str, Any], str]] = [
    ([(5,)], {}, "there are 1 views; it needs at least 2"),
    ([(5,), (6,)], {"shared_encoder": True}, "cannot share an encoder"),
    ([(5,), (6,)], {"subspace_dim": 16}, "subspace_dim = 16, ambient_dim = 16 and rows = 32 must be"),
    ([(5,), (6,)], {"ambient_dim": 33}, "ambient_dim = 33"),
    ([(5,), (6,)], {"subspace_dim": 0}, "subspace_dim = 0"),
    ([(9, 9), (6,)], {"subspace_dim": 50, "ambient_dim": 60, "rows": 60}, "subspace_dim = 50 .* 49 places"),
    ([(5,), (1, 2, 3, 4)], {}, r"a sample has the shape \(1, 2, 3, 4\)"),
]


@pytest.mark.parametrize(("shapes", "settings", "message"), WRONG)
def test_what_does_not_fit_together(shapes: Shapes, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        network(shapes, **settings)


def test_views_of_other_shapes() -> None:
    model = network([(5,), (7,)])
    for views, message in (
        ([torch.zeros(2, 5)], r"shapes \[\(5,\)\]; it was built for \[\(5,\), \(7,\)\]"),
        ([torch.zeros(2, 7), torch.zeros(2, 5)], "it was built for"),
        ([torch.zeros(2, 5), torch.zeros(3, 7)], r"the views have \[2, 3\] samples"),
        ([torch.zeros(()), torch.zeros(2, 7)], "it was built for"),
    ):
        with pytest.raises(GeowarpError, match=message):
            model(views)


def an_output() -> MultiviewOutput:
    model = network([(5,), (7,)], torch.float64)
    output: MultiviewOutput = model(samples([(5,), (7,)], 8, torch.float64))
    return MultiviewOutput(*(part.detach() for part in output))


NEIGHBORS = torch.tensor([1, 0, 3, 2, 4, 6, 5, 7])
NAMES = ("consistency_weight", "balance_weight", "contrastive_weight", "cluster_weight")


def terms(output: MultiviewOutput) -> list[Tensor]:
    return [
        NeighborConsistencyLoss()(output.consensus, output.consensus[NEIGHBORS]),
        balance(output.consensus),
        GrassmannContrastiveLoss(0.7)(output.subspaces),
        ClusterContrastiveLoss(0.3, CosineSimilarity())(output.assignments),
    ]


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (0.5, 2, 3, 0.25), (0, 1, 0, 2), (0, 0, 0, 1)])
def test_the_loss_is_the_sum_of_its_parts(weights: tuple[float, ...]) -> None:
    output, given = an_output(), dict(zip(NAMES, weights, strict=True))
    loss = MultiviewClusteringLoss(**given, temperature=0.7, cluster_temperature=0.3)
    parts = sum(weight * term for weight, term in zip(weights, terms(output), strict=True))
    torch.testing.assert_close(loss(output, NEIGHBORS), torch.as_tensor(parts))
    assert repr(loss).startswith(f"MultiviewClusteringLoss(\n  consistency_weight={weights[0]:g}")


def test_terms_of_weight_0_are_not_computed() -> None:
    output = an_output()
    broken = output._replace(
        subspaces=torch.full((2, 8, 16, 4), torch.nan), assignments=output.assignments * torch.nan
    )
    loss = MultiviewClusteringLoss(contrastive_weight=0, cluster_weight=0)
    torch.testing.assert_close(loss(broken, NEIGHBORS), loss(output, NEIGHBORS))
    none = MultiviewClusteringLoss(**dict.fromkeys(NAMES, 0))
    logits = output.logits.clone().requires_grad_()
    none(output._replace(logits=logits)).backward()  # nothing to learn, and no error
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_the_order_of_a_batch_does_not_matter() -> None:
    output, order = an_output(), torch.randperm(8)
    permuted = MultiviewOutput(
        output.assignments[:, order],
        output.consensus[order],
        output.subspaces[:, order],
        output.embedding[order],
        output.logits[:, order],
    )
    place = torch.argsort(order)
    loss = MultiviewClusteringLoss()
    torch.testing.assert_close(loss(permuted, place[NEIGHBORS[order]]), loss(output, NEIGHBORS))
    assert (loss(permuted, NEIGHBORS) - loss(output, NEIGHBORS)).abs() > 1e-6


def test_a_sample_is_its_own_neighbour_by_default() -> None:
    output, loss = an_output(), MultiviewClusteringLoss()
    torch.testing.assert_close(loss(output), loss(output, torch.arange(8)))


@pytest.mark.parametrize(
    ("name", "weight"), list(itertools.product(NAMES, [-1.0, float("inf"), float("nan")]))
)
def test_weights_are_finite_and_not_negative(name: str, weight: float) -> None:
    with pytest.raises(GeowarpError, match=f"{name} = {weight} must be finite, 0 or more"):
        MultiviewClusteringLoss(**{name: weight})
