"""Bures–Wasserstein: optimal transport, the bounded retraction, transports of vectors, and the barycentre."""

import mpmath
import pytest
import scipy.linalg
import spd_samples
import torch
from spd_samples import covariances, pair
from torch import Tensor

from geowarp import NumericalWarning
from geowarp.manifolds import BuresWassersteinSPD
from geowarp.manifolds.linalg import sym
from geowarp.manifolds.linalg.lyapunov import lyapunov
from geowarp.manifolds.spd import bures_wasserstein
from geowarp.manifolds.spd.bures_wasserstein_mean import barycentre
from geowarp.manifolds.spd.optimal_transport import couple
from geowarp.manifolds.spd.positive_factor import positive_factor

DTYPES = [torch.float32, torch.float64]
SPD = BuresWassersteinSPD()


def symmetric(*batch: int, n: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return sym(torch.randn(*batch, n, n, dtype=dtype))


# --- optimal transport ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gap", [1.0, 1e-3, 1e-6])
def test_the_transport_map_takes_p_to_q(dtype: torch.dtype, gap: float) -> None:
    p, q = pair(10.0, gap, dtype=dtype)
    coupling = couple(p, q)
    transport_map = torch.eye(4, dtype=dtype) + torch.linalg.solve(
        coupling.factor, coupling.difference, left=False
    )
    torch.testing.assert_close(transport_map, transport_map.mT)
    assert torch.linalg.eigvalsh(transport_map).min() > 0
    torch.testing.assert_close(transport_map @ p @ transport_map, q)


def test_the_transport_map_is_the_geometric_mean_of_the_inverse() -> None:
    p, q = covariances(), covariances()
    root = torch.as_tensor(scipy.linalg.sqrtm(p.numpy()))
    inverse = torch.linalg.inv(root)
    middle = torch.as_tensor(scipy.linalg.sqrtm((root @ q @ root).numpy()))
    log = lyapunov(p, SPD.logmap(p, q)) + torch.eye(4)
    torch.testing.assert_close(log, inverse @ middle @ inverse)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10])
def test_aligned_differences_keep_the_digits_that_the_trace_formula_loses(gap: float) -> None:
    a, b = pair(100.0, gap)
    expected = spd_samples.bures_wasserstein(a, b)
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.sqrt()) @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp_min(0).sqrt().sum()
    trace = (a.trace() + b.trace() - 2 * cross).clamp_min(0).sqrt()
    error, loss = (abs(value.item() - expected) / expected for value in (SPD.dist(a, b), trace))
    assert error <= 1e-14
    assert loss >= min(1e-13, 1e-17 / gap**2)


def test_logarithms_are_exact_to_rounding() -> None:
    a, b = pair(10.0, 1e-9)
    with mpmath.workdps(50):
        p, q = spd_samples.exact(a), spd_samples.exact(b)
        root = spd_samples.spectral(p, mpmath.sqrt)
        inverse = spd_samples.spectral(p, lambda value: 1 / mpmath.sqrt(value))
        middle = spd_samples.spectral(root * q * root, mpmath.sqrt)
        displacement = inverse * middle * inverse - mpmath.eye(4)
        exact = displacement * p + p * displacement
        expected = torch.tensor([[float(exact[i, j]) for j in range(4)] for i in range(4)])
    size = expected.abs().max().item()
    torch.testing.assert_close(SPD.logmap(a, b), expected.double(), rtol=0, atol=1e-6 * size)
    entries = torch.tensor([[float(exact[i, j]) for j in range(4)] for i in range(4)], dtype=torch.float64)
    torch.testing.assert_close(SPD.logmap(a, b), entries, rtol=0, atol=1e-14 * size)


@pytest.mark.parametrize("point", ["generic", "multiples of the identity", "equal"])
def test_gradients_of_the_logarithm(point: str) -> None:
    p = covariances(2, n=3) if point == "generic" else 2 * torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    q = {"generic": covariances(2, n=3), "multiples of the identity": 1.5 * p, "equal": p}[point]
    zeros = tuple(torch.zeros(2, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda u, v: SPD.logmap(p + sym(u), q + sym(v)), zeros)


# --- the metric ---


def test_the_metric_is_that_of_horizontal_lifts() -> None:
    x, u, v = covariances(), symmetric(), symmetric()
    factor = torch.linalg.cholesky(x)
    lifts = [lyapunov(x, vector) @ factor for vector in (u, v)]
    torch.testing.assert_close(SPD.inner(x, u, v), (lifts[0] * lifts[1]).sum())
    torch.testing.assert_close(lifts[0] @ factor.mT + factor @ lifts[0].mT, u)


def test_the_norm_is_the_speed_of_distances() -> None:
    x, u = covariances(), symmetric()
    step = 1e-5
    quotient = SPD.dist(x, x + step * u) / step
    torch.testing.assert_close(quotient, SPD.norm(x, u), rtol=1e-3, atol=0)


# --- exponential and retraction ---


def test_the_exponential_is_inverted_within_its_domain() -> None:
    x = covariances(5)
    displacement = symmetric(5)
    shortest = torch.linalg.eigvalsh(displacement)[..., :1, None]
    inside = displacement * (0.95 / shortest.abs())
    u = inside @ x + x @ inside
    torch.testing.assert_close(SPD.logmap(x, SPD.expmap(x, u)), u)
    torch.testing.assert_close(SPD.dist(x, SPD.expmap(x, u)), SPD.norm(x, u))
    beyond = displacement * (1.5 / shortest.abs())
    v = beyond @ x + x @ beyond
    assert (SPD.norm(x, SPD.logmap(x, SPD.expmap(x, v))) < 0.99 * SPD.norm(x, v)).all()
    SPD.assert_check_point_on_manifold(SPD.expmap(x, v))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1.0, 1e2, 1e6, 1e12])
def test_the_retraction_lands_on_positive_definite_matrices(dtype: torch.dtype, length: float) -> None:
    x = covariances(40, dtype=dtype) + 0.1 * torch.eye(4, dtype=dtype)
    u = length * symmetric(40, dtype=dtype)
    for step in (u, -x * length, x * length):
        SPD.assert_check_point_on_manifold(SPD.retr(x, step))
        torch.linalg.cholesky(SPD.retr(x, step))


def test_the_exponential_leaves_the_manifold_where_the_retraction_does_not() -> None:
    x = torch.eye(2, dtype=torch.float64)
    assert SPD.expmap(x, -2 * x).abs().max() == 0
    torch.linalg.cholesky(SPD.retr(x, -2 * x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_positive_factor_and_its_divided_difference(dtype: torch.dtype) -> None:
    values = torch.tensor([-1e3, -2.0, -0.5, -1e-4, -1e-9, 0.0, 1e-9, 1e-4, 0.3, 7.0], dtype=dtype)
    assert (positive_factor(values) >= 0.25).all()
    assert (positive_factor(values).diff() >= 0).all()
    small = torch.tensor([-1e-2, -1e-3], dtype=torch.float64)
    assert ((positive_factor(small) - 1 - small).abs() <= 2 * small.abs() ** 3).all()

    def exact(x: float) -> mpmath.mpf:
        y = mpmath.mpf(x) * 4 / 3
        return 1 + mpmath.mpf(x) if x >= 0 else mpmath.mpf(1) / 4 + mpmath.mpf(3) / 4 / (1 - y + y * y)

    with mpmath.workdps(60):
        for a in values.tolist():
            for b in values.tolist():
                quotient = (
                    (exact(a) - exact(b)) / (mpmath.mpf(a) - b) if a != b else mpmath.diff(exact, a, h=1e-25)
                )
                pair_of_values = (torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype))
                actual = positive_factor.divided_difference(*pair_of_values).item()
                assert abs(actual - quotient) <= 16 * torch.finfo(dtype).eps * abs(quotient)


# --- transport of vectors ---


def parallel(x: Tensor, y: Tensor, v: Tensor, steps: int = 400) -> Tensor:
    """Return the parallel transport along the geodesic, by the midpoint rule on horizontal lifts.

    Along ``C(t) = (I + t X) C`` the lift Z of v moves by ``Ż = C Ω``, Ω skew such that CᵀZ stays symmetric.
    """
    factor = torch.linalg.cholesky(x)
    velocity = lyapunov(x, SPD.logmap(x, y)) @ factor

    def rate(t: float, z: Tensor) -> Tensor:
        c = factor + t * velocity
        turned: Tensor = c @ lyapunov(c.mT @ c, z.mT @ velocity - velocity.mT @ z)
        return turned

    z, h = lyapunov(x, v) @ factor, 1 / steps
    for i in range(steps):
        z = z + h * rate((i + 0.5) * h, z + 0.5 * h * rate(i * h, z))
    half: Tensor = (factor + velocity) @ z.mT
    return half + half.mT


def test_the_integrated_transport_is_an_isometry_and_carries_the_velocity() -> None:
    x, y, v = covariances(), covariances(), symmetric()
    torch.testing.assert_close(SPD.norm(y, parallel(x, y, v)), SPD.norm(x, v), rtol=1e-4, atol=0)
    along = parallel(x, y, SPD.logmap(x, y))
    torch.testing.assert_close(along, -SPD.logmap(y, x), rtol=1e-4, atol=1e-4)


def test_transport_carries_the_velocity_of_the_geodesic() -> None:
    x, y = covariances(3), covariances(3)
    torch.testing.assert_close(SPD.transp(x, y, SPD.logmap(x, y)), -SPD.logmap(y, x))


def test_transport_is_parallel_where_everything_commutes() -> None:
    basis = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    x, y = (sym((basis * (0.5 + torch.rand(4, dtype=torch.float64))) @ basis.mT) for _ in range(2))
    v, w = (sym((basis * torch.randn(4, dtype=torch.float64)) @ basis.mT) for _ in range(2))
    moved, other = SPD.transp(x, y, v), SPD.transp(x, y, w)
    torch.testing.assert_close(moved, parallel(x, y, v), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(SPD.inner(y, moved, other), SPD.inner(x, v, w))


def test_transport_is_parallel_to_first_order_and_shortens() -> None:
    x, u, v = covariances(), 0.2 * symmetric(), symmetric()
    errors = []
    for t in (1e-2, 1e-3):
        y = SPD.expmap(x, t * u)
        moved = SPD.transp(x, y, v)
        errors.append(SPD.norm(y, moved - parallel(x, y, v)))
        assert SPD.norm(y, moved) < SPD.norm(x, v)
    assert errors[1] < 0.02 * errors[0]


# --- barycentre ---


def test_the_barycentre_solves_its_fixed_point_equation() -> None:
    x, weights = covariances(7), torch.rand(7, dtype=torch.float64)
    mean = SPD.mean(x, weights)
    root = torch.as_tensor(scipy.linalg.sqrtm(mean.numpy()))
    roots = torch.stack([torch.as_tensor(scipy.linalg.sqrtm((root @ p @ root).numpy())) for p in x])
    average = (weights[:, None, None] * roots).sum(0) / weights.sum()
    torch.testing.assert_close(average, mean)


def test_the_barycentre_of_commuting_matrices_averages_roots() -> None:
    x = torch.diag_embed(0.1 + torch.rand(5, 4, dtype=torch.float64))
    torch.testing.assert_close(SPD.mean(x), x.sqrt().mean(0).square())


@pytest.mark.parametrize("dtype", DTYPES)
def test_easy_and_hard_problems_in_one_batch(dtype: torch.dtype) -> None:
    hard = torch.stack([pair(1e4, 1.0, dtype=dtype)[0] for _ in range(6)])
    easy = covariances(dtype=dtype) + 1e-3 * symmetric(6, dtype=dtype)
    same = covariances(dtype=dtype).expand(6, 4, 4)
    result = SPD.solve_mean(torch.stack([hard, easy, same]))
    assert result.converged.all()
    assert result.iterations[0] > result.iterations[1] >= result.iterations[2]
    for i, x in enumerate((hard, easy, same)):
        alone = SPD.solve_mean(x)
        assert alone.iterations == result.iterations[i]
        torch.testing.assert_close(alone.mean, result.mean[i])
    torch.testing.assert_close(result.mean[2], same[0])
    assert result.radius[2] <= 1e-3


def test_a_search_that_is_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.stack([pair(1e4, 1.0)[0] for _ in range(6)])
    weights = torch.full((6,), 1 / 6, dtype=torch.float64)
    assert not barycentre(x, weights, max_iterations=2).converged
    monkeypatch.setattr(
        bures_wasserstein, "barycentre", lambda points, weights: barycentre(points, weights, max_iterations=2)
    )
    with pytest.warns(NumericalWarning, match="1 of 1 means on BuresWassersteinSPD"):
        SPD.mean(x)
