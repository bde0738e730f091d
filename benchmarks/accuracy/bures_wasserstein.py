"""The Bures–Wasserstein distance ``min_Q ‖A^{1/2} − B^{1/2} Q‖``."""

from collections.abc import Iterator
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

from geowarp.manifolds import BuresWassersteinSPD

from . import exact, samples
from .spd import factor, power
from .topic import DTYPES, Case, Topic

__all__ = ["TOPICS"]

N = 6
CONDITIONS = [1e2, 1e4]
PERTURBATIONS = {
    "float32": [None, 1e-1, 1e-2, 1e-3, 1e-4],
    "float64": [None, 1e-1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10],
}


def trace_formula(a: Tensor, b: Tensor) -> Tensor:
    """``√(tr A + tr B − 2 tr (A^{1/2} B A^{1/2})^{1/2})``."""
    root = power(a, 0.5)
    cross: Tensor = torch.linalg.eigvalsh(root @ b @ root).clamp_min(0).sqrt().sum(-1)
    traces = (a + b).diagonal(dim1=-2, dim2=-1).sum(-1)
    return (traces - 2 * cross).clamp_min(0).sqrt()


def _procrustes(x: Tensor, y: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(y.mT @ x)
    distance: Tensor = torch.linalg.matrix_norm(x - y @ (u @ vh))
    return distance


def procrustes_of_roots(a: Tensor, b: Tensor) -> Tensor:
    """``‖A^{1/2} − B^{1/2} Q‖``, Q the polar factor of ``B^{1/2} A^{1/2}``."""
    return _procrustes(power(a, 0.5), power(b, 0.5))


def procrustes_of_cholesky(a: Tensor, b: Tensor) -> Tensor:
    """``‖L_A − L_B Q‖``, Q the polar factor of ``L_Bᵀ L_A``."""
    return _procrustes(factor(a), factor(b))


def sylvester(a: Tensor, b: Tensor) -> Tensor:
    """``‖L⁻ᵀ Y‖``, where ``R Y + Y LᵀL = Lᵀ (B − A) L`` and ``R = (Lᵀ B L)^{1/2}``, ``A = L Lᵀ``.

    With the singular values r and right vectors V of ``L_Bᵀ L``, and the singular values s and left vectors U
    of L, that is the norm of ``(Vᵀ Lᵀ (B − A) U)_ij / (r_i + s_j²)``.
    """
    lower = factor(a)
    vectors, s, _ = torch.linalg.svd(lower)
    _, r, vh = torch.linalg.svd(factor(b).mT @ lower)
    right = vh @ (lower.mT @ (b - a) @ vectors)
    distance: Tensor = torch.linalg.matrix_norm(right / (r[..., :, None] + s.square()[..., None, :]))
    return distance


def distance(a: Tensor, b: Tensor) -> list[Any]:
    """Return the exact distance, by the trace formula."""
    p, q = exact.matrix(a), exact.matrix(b)
    root = exact.apply(p, mp.sqrt)
    cross = mp.eigsy(root * q * root, eigvals_only=True)
    traces = sum(p[i, i] + q[i, i] for i in range(p.rows))
    return [mp.sqrt(traces - 2 * sum(map(mp.sqrt, cross)))]


def perturbations(count: int) -> Iterator[Case]:
    """Make pairs of independent matrices, and pairs at relative perturbations."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        for condition in CONDITIONS:
            for size in PERTURBATIONS[name]:
                a = samples.spd(source, count, N, condition).to(dtype)
                far = samples.spd(source, count, N, condition)
                b = (samples.spd_near(source, a.double(), size) if size else far).to(dtype)
                labels = {"condition": f"{condition:.0e}", "perturbation": f"{size:.0e}" if size else "far"}
                yield Case({"dtype": name, **labels}, (a, b))


TOPICS = [
    Topic(
        name="bures-wasserstein",
        title="Bures–Wasserstein distance, by condition number and relative perturbation",
        why=(
            "The trace formula gives d² as a difference of traces, so that d loses half of all digits. "
            "Aligned factors K O − C lose the digits of a difference of factors. One Newton step for E "
            "= K O − C in E Cᵀ + C Eᵀ + E Eᵀ = B − A, where only A is subtracted from B, restores them, "
            "from the same decomposition. Solving a Sylvester equation for B − A does as well for close "
            "pairs, worse for distant ones, and needs two decompositions."
        ),
        candidates={
            "trace formula": trace_formula,
            "Procrustes of roots": procrustes_of_roots,
            "Procrustes of Cholesky factors": procrustes_of_cholesky,
            "Sylvester of B − A": sylvester,
            "geowarp": BuresWassersteinSPD().dist,
        },
        shipped="geowarp",
        cases=perturbations,
        exact=distance,
    )
]
