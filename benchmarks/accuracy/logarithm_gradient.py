"""The gradient of the matrix logarithm, where eigenvalues repeat or nearly do."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

from geowarp.manifolds.linalg import spectral
from geowarp.manifolds.linalg.eigenfunction import symmetric_function

from . import divided_differences, exact, samples
from .topic import DTYPES, Case, Topic

__all__ = ["TOPICS"]

N = 6
GAPS = {
    "float32": [1e0, 1e-1, 1e-3, 1e-5, 1e-7, 0.0],
    "float64": [1e0, 1e-1, 1e-3, 1e-5, 1e-7, 1e-10, 1e-13, 0.0],
}
REPEATED = 1e-40  # eigenvalues that differ by less, at 60 digits, are equal


def _gradient(function: Callable[[Tensor], Tensor], a: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of ``⟨weight, f(A)⟩``."""
    point = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((weight * function(point)).sum(), point)
    return 0.5 * (gradient + gradient.mT)


def through_eigh(a: Tensor, weight: Tensor) -> Tensor:
    """Autograd through the eigenvectors."""

    def logarithm(point: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(point)
        result: Tensor = (vectors * values.log()[..., None, :]) @ vectors.mT
        return result

    return _gradient(logarithm, a, weight)


def daleckii_krein(quotient: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The formula of Daleckii and Krein with the divided differences."""

    def gradient(a: Tensor, weight: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(a)
        factors = quotient(*torch.broadcast_tensors(values[..., :, None], values[..., None, :]))
        result: Tensor = vectors @ (factors * (vectors.mT @ weight @ vectors)) @ vectors.mT
        return result

    return gradient


def shipped(a: Tensor, weight: Tensor) -> Tensor:
    """As geowarp computes it."""
    return _gradient(lambda point: symmetric_function(point, spectral.log), a, weight)


def derivative(a: Tensor, weight: Tensor) -> list[Any]:
    """Return the exact gradient, by the same formula at 60 digits."""
    values, vectors = mp.eigsy(exact.matrix(a))
    inner = vectors.T * exact.matrix(weight) * vectors
    for i in range(N):
        for j in range(N):
            inner[i, j] *= _quotient(values[i], values[j])
    return exact.entries(vectors * inner * vectors.T)


def _quotient(x: Any, y: Any) -> Any:
    return 1 / x if abs(x - y) < REPEATED else (mp.log(x) - mp.log(y)) / (x - y)


def matrices(count: int) -> Iterator[Case]:
    """Make matrices with four of six eigenvalues within each relative gap; gap 0 is twice the identity."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        for gap in GAPS[name]:
            steps = torch.rand(count, 4, generator=source, dtype=torch.float64)
            far = torch.tensor([0.5, 4.0], dtype=torch.float64).expand(count, 2)
            a = samples.with_eigenvalues(source, torch.cat([2 * (1 + gap * steps), far], -1))
            if gap == 0:
                a = 2 * torch.eye(N, dtype=torch.float64).repeat(count, 1, 1)
            weight = samples.symmetric(samples.normal(source, count, N, N))
            label = f"{gap:.0e}" if gap else "0: A = 2 I"
            yield Case({"dtype": name, "gap": label}, (a.to(dtype), weight.to(dtype)))


TOPICS = [
    Topic(
        name="logarithm-gradient",
        title="Gradient of the matrix logarithm, four of six eigenvalues within a relative gap",
        why=(
            "Autograd through eigenvectors divides by the gaps, and by zero at repeated eigenvalues. "
            "The formula of Daleckii and Krein does not, and with closed divided differences its "
            "error does not depend on the gap."
        ),
        candidates={
            "autograd of eigh": through_eigh,
            "threshold 100 eps": daleckii_krein(divided_differences.threshold(torch.log, torch.reciprocal)),
            "threshold eps^1/3": daleckii_krein(
                divided_differences.root_threshold(torch.log, torch.reciprocal)
            ),
            "Daleckii–Krein, artanh": daleckii_krein(divided_differences.log_by_atanh),
            "geowarp": shipped,
        },
        shipped="geowarp",
        cases=matrices,
        exact=derivative,
        normwise=True,
    )
]
