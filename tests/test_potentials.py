"""Potentials of a probe, of directions, of several potentials, and of a network."""

import copy
import warnings

import pytest
import torch
from fairness_cases import gendered_embeddings
from torch import Tensor, nn

from geowarp.errors import FairnessWarning, GeowarpError, NonFiniteError
from geowarp.manifolds import Euclidean, FairnessWarped
from geowarp.metrics import attention_gap, ect
from geowarp.nn import (
    FisherPotential,
    LearnedPotential,
    LinearPotential,
    ParityPotential,
    StackedPotential,
)

TAU = 0.5


def _linear(directions: Tensor) -> LinearPotential:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FairnessWarning)
        return LinearPotential(directions)


def _jacobian(potential: nn.Module, x: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(potential, x)  # type: ignore[no-any-return]


def test_fisher_potential_is_the_fisher_information_of_the_probe() -> None:
    probe = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    x = torch.randn(3, dtype=torch.float64)
    scores = torch.autograd.functional.jacobian(lambda y: probe(y).log_softmax(-1), x)  # d log p_c
    expected = scores.mT @ (probe(x).softmax(-1)[:, None] * scores)
    found = _jacobian(FisherPotential(probe), x)
    torch.testing.assert_close(found.mT @ found, expected)


def test_fisher_potential_of_a_certain_probe_has_a_gradient() -> None:
    x = torch.tensor([[1e4, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(FisherPotential(nn.Identity())(x).sum(), x)
    assert gradient.isfinite().all()
    with pytest.raises(GeowarpError, match="two or more classes"):
        FisherPotential(nn.Linear(2, 1))(torch.zeros(3, 2))


def test_linear_potential_warns_and_is_a_mahalanobis_distance() -> None:
    directions = torch.randn(2, 3, 2, dtype=torch.float64)
    with pytest.warns(FairnessWarning, match="enlarges the bias; use ParityPotential"):
        potential = LinearPotential(directions)
    x, y = torch.randn(2, 5, 3, 2, dtype=torch.float64)
    weights = torch.tensor([0.5, 2.0], dtype=torch.float64)
    rows = directions.flatten(1)
    matrix = torch.eye(6, dtype=rows.dtype) + rows.mT @ (weights[:, None] * rows)
    step = (x - y).flatten(1)
    expected = ((step @ matrix) * step).sum(-1)
    found = FairnessWarped(Euclidean(2), potential, weights).dist2(x, y, mode="chord")
    torch.testing.assert_close(found, expected)
    with pytest.raises(GeowarpError, match=r"those of the directions are \(3, 2\)"):
        potential(torch.zeros(3))
    with pytest.raises(GeowarpError, match="K at least 1"):
        LinearPotential(torch.zeros(0, 3))


def test_stretching_the_direction_of_a_bias_enlarges_it_and_parity_removes_it() -> None:
    female, male, x = gendered_embeddings()
    linear = _linear(torch.eye(8, dtype=x.dtype)[:1])
    probe = nn.Linear(8, 2).double()
    nn.init.zeros_(probe.weight)
    with torch.no_grad():
        probe.weight[:, 0] = torch.tensor([2.0, -2.0])
    softmax = ParityPotential([female, male], Euclidean(1), 0.25, "softmax", TAU, radius=0.1)
    mean = ParityPotential([female, male], Euclidean(1), 0.25, radius=0.1)

    def measures(potential: nn.Module, alpha: float) -> tuple[float, float]:
        metric = FairnessWarped(Euclidean(1), potential, alpha)

        def distance(a: Tensor, b: Tensor) -> Tensor:
            return metric.cdist(a, b, mode="chord")

        gap = attention_gap(x, [female, male], TAU, distance=distance).mean
        return gap, ect(x, [female, male], distance=distance)

    gap, coherence = measures(linear, 0.0)
    gaps, coherences = zip(*(measures(linear, alpha) for alpha in (0.5, 1.0, 4.0)), strict=True)
    assert gap < gaps[0] < gaps[1] < gaps[2]
    assert min(coherence, *coherences[:2]) > coherences[2]
    assert measures(FisherPotential(probe), 0.5)[0] > gap
    assert measures(softmax, 0.25)[0] < 1e-10 < 0.1 < gap
    assert measures(mean, 0.25)[1] > 1 - 1e-9


@pytest.mark.parametrize(
    ("directions", "message"),
    [
        (torch.ones(2, 3, dtype=torch.long), "floating-point"),
        (torch.ones(0, 3), "K at least 1"),
        (torch.full((1, 3), torch.inf), "infinite or not a number"),
    ],
)
def test_linear_potential_refuses(directions: Tensor, message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        LinearPotential(directions)


def test_potentials_keep_the_dtype_of_points_and_take_no_points() -> None:
    female, male, x = (rows.float() for rows in gendered_embeddings(6))
    parity = ParityPotential([female, male], Euclidean(1), 0.25)
    potentials = [_linear(female[:2]), LearnedPotential(parity, hidden=(4,))]
    for potential in potentials:
        values = potential(x)
        assert potential(x[:0]).shape == (0, values.shape[-1])
        torch.testing.assert_close(potential(x.bfloat16()).float(), values, atol=0.2, rtol=0.1)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(potential(x), values, rtol=0, atol=0)
        half = copy.deepcopy(potential).half()(x.half())
        assert half.dtype == torch.float16
        torch.testing.assert_close(half.float(), values, atol=1e-2, rtol=1e-2)
        with pytest.raises(GeowarpError, match=r"the dtype torch\.float64"):
            potential(x.double())


def test_learned_potential_is_trained_in_any_precision_and_mode() -> None:
    female, male, x = (rows.bfloat16() for rows in gendered_embeddings(6))

    def trained() -> list[float]:
        torch.manual_seed(0)
        parity = ParityPotential([female, male], Euclidean(1), 0.25, "softmax", TAU)
        return LearnedPotential(parity, hidden=(4,)).fit(x, epochs=3)

    losses = trained()
    assert losses[0] < 1e-9  # an affine map has parity at 6 points of 8 dimensions
    with torch.autocast("cpu", torch.bfloat16):
        assert trained() == losses
    potential = LearnedPotential(_parity(female.double(), male.double()), hidden=(4,))
    with torch.inference_mode():
        assert len(potential.fit(x.double(), epochs=1)) == 2
    assert not potential(x.double()).is_inference()


def test_stacked_potential_adds_values_and_weights() -> None:
    female, male, x = gendered_embeddings(6)
    first = ParityPotential([female, male], Euclidean(1), 0.25)
    second = ParityPotential([female[:1], male[:1], x[:1]], Euclidean(1), 0.5)
    stacked = StackedPotential(first, second)
    torch.testing.assert_close(stacked(x), torch.cat([first(x), second(x)], -1))
    assert (stacked.alpha, stacked.outputs) == ((0.25, 0.5, 0.5), 3)
    assert len(stacked.state_dict()) == 4
    metric = FairnessWarped(Euclidean(1), stacked)
    expected = (x[0] - x[1]).square().sum()
    for potential in (first, second):
        expected = expected + potential.alpha * (potential(x[0]) - potential(x[1])).square().sum()
    torch.testing.assert_close(metric.dist2(x[0], x[1], mode="chord"), expected)
    assert StackedPotential(first, torch.sin).alpha is None
    with pytest.raises(GeowarpError, match="one or more"):
        StackedPotential()


def _parity(female: Tensor, male: Tensor) -> ParityPotential:
    return ParityPotential([female, male], Euclidean(1), 0.25, "softmax", TAU, radius=0.1)


def test_learned_potential_lowers_the_gap_and_spares_neutral_pairs() -> None:
    female, male, x = gendered_embeddings()
    pairs = torch.stack([x[::2], x[1::2]], 1)

    def fitted(penalty: float) -> tuple[float, float]:
        torch.manual_seed(0)
        potential = LearnedPotential(_parity(female, male), hidden=(16,))
        losses = potential.fit(x, pairs, penalty=penalty, epochs=80, learning_rate=3e-3)
        assert len(losses) == 81
        assert min(losses) < 0.8 * losses[0]
        metric = FairnessWarped(Euclidean(1), potential)
        gap = attention_gap(
            x, [female, male], TAU, distance=lambda a, b: metric.cdist(a, b, mode="chord")
        ).mean
        steps = (potential(pairs[:, 0]) - potential(pairs[:, 1])).square().sum(-1)
        return gap, float(steps.detach().square().mean())

    base = attention_gap(x, [female, male], TAU, distance=torch.cdist).mean
    (free, wide), (bound, narrow) = fitted(0.0), fitted(1.0)
    assert free < 0.05 * base
    assert bound < 0.1 * base
    assert narrow < 0.5 * wide


def test_learned_potential_shows_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    female, male, x = gendered_embeddings(6)
    LearnedPotential(_parity(female, male), hidden=(4,)).fit(x, epochs=3, verbose=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "loss" in shown


def test_learned_potential_starts_at_the_closed_form() -> None:
    female, male, x = gendered_embeddings()
    parity = ParityPotential([female, male], Euclidean(1), 0.25, radius=0.1)  # affine in flat space
    potential = LearnedPotential(parity)
    assert len(potential.fit(x, tau=TAU, epochs=0)) == 1
    torch.testing.assert_close(potential(x), parity(x))
    torch.testing.assert_close(potential(female), torch.ones(4, 1, dtype=x.dtype))
    assert bool(potential.fitted)


def test_learned_potential_refuses_and_keeps_what_it_had() -> None:
    female, male, x = gendered_embeddings(4)
    potential = LearnedPotential(ParityPotential([female, male], Euclidean(1), 0.25), hidden=(4,))
    for arguments, options, message in [
        ((x,), {}, "tau = None"),
        ((x[0],), {"tau": 1.0}, r"must be \(n, 8\)"),
        ((x, x), {"tau": 1.0}, r"must be \(P, 2, 8\)"),
        ((x,), {"tau": 1.0, "epochs": -1}, "epochs = -1"),
        ((x,), {"tau": 1.0, "learning_rate": 0.0}, "learning_rate = 0.0"),
        ((x,), {"tau": 1.0, "penalty": -1.0}, "penalty = -1.0"),
    ]:
        with pytest.raises(GeowarpError, match=message):
            potential.fit(*arguments, **options)  # type: ignore[arg-type]
    potential.fit(x, tau=1.0, epochs=1)
    before = {key: value.clone() for key, value in potential.state_dict().items()}
    pairs = torch.stack([x, 1e200 * x], 1)
    with pytest.raises(NonFiniteError, match="lower the learning rate"):
        potential.fit(x, pairs, tau=1.0, epochs=3)
    torch.testing.assert_close(potential.state_dict(), before, rtol=0, atol=0)
    with pytest.raises(GeowarpError, match="hidden"):
        LearnedPotential(potential.parity, hidden=(0,))
