"""Clusters that are subspaces, their consensus, and the agreement of neighbours."""

import pytest
import torch
from jacobians import assert_jacobian
from subspace_cases import assert_invariant, projector, subspaces
from torch import Tensor

from geowarp import named_manifolds
from geowarp.errors import GeowarpError, NonFiniteError
from geowarp.manifolds import Grassmann
from geowarp.nn import ClusterSubspaces, NeighborConsistencyLoss
from geowarp.optim import RiemannianAdam, param_groups

DTYPES = (torch.float32, torch.float64)
VIEWS = pytest.mark.parametrize("views", [None, 3], ids=["shared", "own"])


def head(
    views: int | None = None, n: int = 6, k: int = 2, dtype: torch.dtype = torch.float64
) -> ClusterSubspaces:
    """Return four clusters, orthonormal to the rounding of the dtype."""
    clusters = ClusterSubspaces(n, k, 4, views).to(dtype)
    with torch.no_grad():
        clusters.subspaces.copy_(subspaces(*clusters.subspaces.shape, dtype=dtype))
    return clusters


def distances(bases: Tensor, clusters: Tensor) -> Tensor:
    """Return squared chordal distances ``(V, B, K)`` by explicit projectors."""
    difference = projector(bases)[:, :, None] - projector(clusters)[:, None]
    return difference.square().sum((-2, -1)) / 2


def mean_projectors(bases: Tensor, labels: Tensor, cluster: int, shared: bool) -> Tensor:
    members = projector(bases[:, labels == cluster])
    return members.mean((0, 1))[None] if shared else members.mean(1)


@VIEWS
@pytest.mark.parametrize("dtype", DTYPES)
def test_distances_are_those_of_projectors(views: int | None, dtype: torch.dtype) -> None:
    clusters, bases = head(views, dtype=dtype), subspaces(3, 5, 6, 2, dtype=dtype)
    expected = distances(bases, clusters.subspaces.detach())
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(clusters.squared_distances(bases), expected, atol=20 * eps, rtol=20 * eps)
    clusters.log_temperature.data.fill_(0.7)
    logits = -expected / clusters.log_temperature.detach().exp()
    torch.testing.assert_close(clusters(bases), logits, atol=20 * eps, rtol=20 * eps)
    assert clusters(bases).dtype == dtype


@VIEWS
def test_logits_depend_on_spans_only(views: int | None) -> None:
    clusters, bases = head(views), subspaces(3, 5, 6, 2)
    assert_invariant(clusters, bases)
    assert_invariant(lambda moved: clusters(moved.mT.contiguous().mT), bases)

    def of_clusters(points: Tensor) -> Tensor:
        moved: Tensor = torch.func.functional_call(clusters, {"subspaces": points}, (bases,))
        return moved

    assert_invariant(of_clusters, clusters.subspaces.detach())


@VIEWS
def test_gradients(views: int | None) -> None:
    clusters, bases = head(views, n=4), subspaces(3, 2, 4, 2)

    def logits(moved: Tensor) -> Tensor:
        return torch.stack([clusters(part) for part in moved]) if moved.dim() == 5 else clusters(moved)

    assert_jacobian(logits, bases.requires_grad_())
    point = clusters.subspaces.detach().requires_grad_()
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def of_parameters(point: Tensor, temperature: Tensor) -> Tensor:
        changed = {"subspaces": point, "log_temperature": temperature}
        value: Tensor = torch.func.functional_call(clusters, changed, (bases.detach(),))
        return value

    assert torch.autograd.gradcheck(of_parameters, (point, temperature))


def test_shared_consensus_is_the_distance_of_the_mean_projector() -> None:
    """The sum over V views is V times it, up to a constant of the sample."""
    clusters, bases = head(), subspaces(3, 5, 6, 2)
    mean = projector(bases).mean(0)
    of_mean = (mean[:, None] - projector(clusters.subspaces.detach()[0])).square().sum((-2, -1)) / 2
    rest = clusters.squared_distances(bases).sum(0) - 3 * of_mean
    assert (rest.amax(-1) - rest.amin(-1)).abs().max() < 1e-13
    assert rest.min() > 0.1
    difference = rest[:, 0] - 3 * (2 - mean.square().sum((-2, -1))) / 2
    assert difference.abs().max() < 1e-13


@VIEWS
@pytest.mark.parametrize("samples", [3, 40])
def test_clusters_are_fitted_to_chordal_means(views: int | None, samples: int) -> None:
    clusters, bases = head(views, n=30), subspaces(3, samples, 30, 2)
    before = clusters.subspaces.detach().clone()
    labels = torch.arange(samples) % 3  # without the last cluster
    version = clusters.subspaces._version
    clusters.fit_clusters(bases, labels)
    assert clusters.subspaces._version > version  # so that autograd knows of it
    for cluster in range(3):
        mean = mean_projectors(bases, labels, cluster, views is None)
        leading = torch.linalg.eigh(mean)[1][..., -2:]
        found = clusters.subspaces.detach()[:, cluster]
        torch.testing.assert_close(projector(found), projector(leading), atol=1e-12, rtol=0)
    assert torch.equal(clusters.subspaces[:, 3], before[:, 3])
    own = distances(bases, clusters.subspaces.detach()).sum(0)[torch.arange(samples), labels].mean()
    torch.testing.assert_close(clusters.temperature.detach(), own / 4)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("k", [2, 6])
def test_members_that_coincide(dtype: torch.dtype, k: int) -> None:
    clusters, bases = head(2, k=k, dtype=dtype), subspaces(2, 4, 6, k, dtype=dtype)
    members = bases.repeat_interleave(3, 1)
    clusters.fit_clusters(members, torch.arange(4).repeat_interleave(3))
    assert clusters.temperature > 0
    logits = clusters(members.requires_grad_())
    assert logits.isfinite().all()
    logits.sum(0).softmax(-1)[:, 0].sum().backward()
    assert members.grad is not None
    assert members.grad.isfinite().all()
    if k < 6:
        assert torch.equal(logits.sum(0).argmax(-1), torch.arange(4).repeat_interleave(3))


def test_no_samples_change_nothing() -> None:
    clusters = head()
    before = {name: value.clone() for name, value in clusters.state_dict().items()}
    clusters.fit_clusters(torch.zeros(3, 0, 6, 2).double(), torch.zeros(0, dtype=torch.int64))
    assert all(torch.equal(value, before[name]) for name, value in clusters.state_dict().items())
    assert clusters(torch.zeros(3, 0, 6, 2).double()).shape == (3, 0, 4)


def nan_at_the_end() -> Tensor:
    bases = subspaces(3, 4, 6, 2)
    bases[2, 3] = torch.nan
    return bases


LABELS = torch.arange(4)
WRONG = [
    (
        subspaces(3, 4, 6, 2),
        LABELS.double(),
        r"shape \(4,\) and the dtype torch.float64; an integer from 0 to 3",
    ),
    (subspaces(3, 4, 6, 2), LABELS > 1, "dtype torch.bool"),
    (subspaces(3, 4, 6, 2), LABELS + 1, "an integer from 0 to 3 is needed for each of 4 samples"),
    (subspaces(3, 4, 6, 2), LABELS - 1, "an integer from 0 to 3"),
    (subspaces(3, 4, 6, 2), LABELS[:3], r"labels have the shape \(3,\)"),
    (subspaces(2, 4, 6, 2), LABELS, r"bases have the shape \(2, 4, 6, 2\); it needs \(3, B, 6, 2\)"),
    (subspaces(3, 4, 6, 3), LABELS, r"bases have the shape \(3, 4, 6, 3\)"),
    (subspaces(4, 6, 2), LABELS, r"bases have the shape \(4, 6, 2\)"),
    (nan_at_the_end(), LABELS, "not finite"),
]


@pytest.mark.parametrize(("bases", "labels", "message"), WRONG)
def test_what_cannot_be_fitted_changes_nothing(bases: Tensor, labels: Tensor, message: str) -> None:
    clusters = head(3)
    before = {name: value.clone() for name, value in clusters.state_dict().items()}
    with pytest.raises(GeowarpError, match=message) as raised:
        clusters.fit_clusters(bases, labels)
    assert isinstance(raised.value, NonFiniteError) == message.startswith("not finite")
    assert all(torch.equal(value, before[name]) for name, value in clusters.state_dict().items())
    if "bases" in message:
        with pytest.raises(GeowarpError, match=message):
            clusters(bases)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((4, 5, 3), "k = 5 must be between 1 and n = 4"),
        ((4, 0, 3), "k = 0"),
        ((4, 2, 1), "num_clusters = 1 must be at least 2"),
        ((4, 2, 3, 0), "views = 0 at least 1, or None"),
    ],
)
def test_sizes(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        ClusterSubspaces(*sizes)
    assert repr(head(3)) == "ClusterSubspaces(n=6, k=2, num_clusters=4, views=3)"
    assert "views=None" in repr(head())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    clusters, bases = head(3, dtype=torch.float32), subspaces(3, 8, 6, 2, dtype=torch.float32)
    expected = clusters(bases)
    rough = torch.finfo(dtype).eps * 8
    with torch.autocast("cpu", dtype=dtype):
        torch.testing.assert_close(clusters(bases), expected, atol=1e-6, rtol=1e-5)
        assert clusters(bases.to(dtype)).dtype == torch.float32
    clusters.to(dtype)
    logits = clusters(bases.to(dtype))
    assert logits.dtype == dtype
    torch.testing.assert_close(logits, expected, atol=rough, rtol=rough, check_dtype=False)
    clusters.fit_clusters(bases.to(dtype), torch.arange(8) % 4)
    assert clusters.subspaces.dtype == dtype
    assert clusters.temperature.isfinite()


@VIEWS
def test_clusters_stay_subspaces(views: int | None) -> None:
    clusters, bases = head(views), subspaces(3, 12, 6, 2)
    labels = torch.arange(12) % 4
    optimizer = RiemannianAdam(param_groups(clusters), lr=0.1)
    losses = []
    for step in range(8):
        if step == 4:  # between two steps of one optimiser
            clusters.fit_clusters(bases, labels)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(clusters(bases).sum(0), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        found = clusters.subspaces.detach()
        torch.testing.assert_close(found.mT @ found, torch.eye(2).double().expand(*found.shape[:2], 2, 2))
    assert losses[3] < losses[0]
    assert losses[-1] < losses[4] < losses[3]
    assert dict(named_manifolds(clusters)) == {"subspaces": Grassmann()}


def test_state_comes_back() -> None:
    first, second, bases = head(3), head(3), subspaces(3, 4, 6, 2)
    first.fit_clusters(bases, LABELS)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(bases), first(bases))
    assert dict(named_manifolds(second)) == {"subspaces": Grassmann()}


def test_neighbours_agree_as_loops_say() -> None:
    first, second = torch.randn(2, 5, 7, 4, dtype=torch.float64)
    q, r = first.softmax(-1), second.softmax(-1)
    terms = [
        -torch.stack([q[b, i, c] * r[b, i, c] for c in range(4)]).sum().log()
        for b in range(5)
        for i in range(7)
    ]
    loss = NeighborConsistencyLoss()
    torch.testing.assert_close(loss(q, r), torch.stack(terms).mean())
    torch.testing.assert_close(loss.of_logits(first, second), loss(q, r))
    torch.testing.assert_close(loss.of_logits(first + 9, second - 5), loss(q, r))


@pytest.mark.parametrize("certain", [200.0, 2000.0])
def test_certain_and_different_neighbours_are_drawn_together(certain: float) -> None:
    """Their probabilities of one cluster vanish in float32, and with them the gradient of the softmax."""
    first = torch.tensor([[certain, 0.0, 0.0]], requires_grad=True)
    second = torch.tensor([[0.0, certain, 0.0]], requires_grad=True)
    loss = NeighborConsistencyLoss()
    of_assignments = loss(first.softmax(-1), second.softmax(-1))
    assert of_assignments.isfinite()
    (gradient,) = torch.autograd.grad(of_assignments, first)
    assert torch.equal(gradient, torch.zeros(1, 3))
    of_logits = loss.of_logits(first, second)
    assert of_logits.item() == pytest.approx(certain - torch.tensor(2.0).log().item())
    gradients = torch.autograd.grad(of_logits, [first, second])
    expected = torch.tensor([[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0]])
    torch.testing.assert_close(torch.cat(gradients), expected, atol=1e-4, rtol=0)


def test_gradients_of_agreement() -> None:
    logits = torch.randn(2, 3, 4, dtype=torch.float64).requires_grad_()
    loss = NeighborConsistencyLoss()
    assert torch.autograd.gradcheck(lambda x: loss(*x.softmax(-1)), logits)
    assert torch.autograd.gradcheck(lambda x: loss.of_logits(*x), logits)
    for half in (torch.float16, torch.bfloat16):
        value = loss.of_logits(*logits.to(half))
        assert value.dtype == half
        torch.testing.assert_close(value, loss.of_logits(*logits), atol=0.03, rtol=0, check_dtype=False)


def test_each_sample_needs_one_neighbour() -> None:
    for function in (NeighborConsistencyLoss(), NeighborConsistencyLoss().of_logits):
        with pytest.raises(GeowarpError, match=r"shapes \(3, 2\) and \(4, 2\); each sample needs one"):
            function(torch.zeros(3, 2), torch.zeros(4, 2))
