"""The potential under which every point is equally far from all groups, in closed form."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds.linalg.precision import full_precision
from ..distance_attention.scores import Score, SquaredDistance
from .gate import gate
from .groups import Groups, Members, closest_groups, read_groups
from .like import check_like
from .parity import ParityMode, check_mode, group_divergences, parity_prototypes, parity_values
from .squared_distances import all_squares

__all__ = ["ParityPotential", "gated"]


class ParityPotential(nn.Module):
    """b: M → R^{G−1} that makes the stretched chord distance to G groups equal: mean, or attention mass.

    Members of group g have the value ``P_g``, a vertex of a regular simplex. Any other point x has the one
    value for which, with ``d_c² = d² + α‖b(x) − P_g‖²``, all groups have

    - mode "mean": the same mean of d_c² over their members;
    - mode "softmax": the same mass ``Σ_y exp(−d_c²/τ)``, whatever their sizes are,

    which is ``(mean d²(x, G_1) − mean d²(x, G_2)) / 4α`` for two groups. A point that is close to one group
    moves away from it. Between points that are no members, d_c² exceeds d² by O(1/α) only. As a field, b goes
    from one value to the other through a gate about the members: ``b = Σ_g w_g P_g + (1 − Σ_g w_g) b_parity``
    with ``w_g = 1 − Π_{y in g} (1 − ψ(d(x, y) / radius))``, ψ of compact support. So b is P_g at members,
    and gives exact parity wherever a point is ``radius`` or more from all of them.

    The parity is of the chord distance, ``FairnessWarped.dist(mode="chord")``; a geodesic is longer. It is no
    erasure: b is a function of the point, and a probe may still read the group.

    This potential is geowarp's own. It is inspired by CAFA (Riemannian geometry for fairness in attention
    mechanisms of language models, ICSC 2025), of which the abstract is known.

    Args:
        groups: ``(n_g, *point)`` of two or more groups, by name or in sequence.
        base: the manifold of the points.
        alpha: the weight of b in the metric, positive. Larger: neutral points are left alone more, members
            and neutral points are further apart.
        mode: "mean" or "softmax".
        tau: the temperature of the attention, for "softmax".
        score: its ``logits`` are minus the squared distance that parity is exact for.
        radius: of the gate. Half of the smallest distance between members of different groups by default,
            which is the most; 0 is no gate: members have the value of parity too, and a ``FairnessWarped``
            metric no parity, unless they are told otherwise, as by the labels of ``FairAttention``.

    Raises:
        GeowarpError: for one group, an empty one, a member of two groups, groups of different shapes or
            dtypes, α or τ that are not positive, "softmax" without τ, or too large a radius.
        NonFiniteError: for members that are infinite or not a number.
        NotOnManifoldError: for other members that are not on the base.

    References:
        Hartmann, Girolami, Klami, Warped geometric information on the optimisation of Euclidean functions,
        arXiv:2308.08305 (2023), for the metric that a potential stretches.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> groups = {"she": torch.tensor([[1.0, 0.0]]), "he": torch.tensor([[-1.0, 0.0]])}
        >>> potential = ParityPotential(groups, Euclidean(1), alpha=0.25)
        >>> potential(torch.tensor([[0.0, 2.0], [0.25, 2.0], [1.0, 0.0]])).round(decimals=3)
        tensor([[ 0.],
                [-1.],
                [ 1.]])
    """

    members: Tensor
    prototypes: Tensor

    def __init__(
        self,
        groups: Members,
        base: geoopt.Manifold,
        alpha: float,
        mode: ParityMode = "mean",
        tau: float | None = None,
        *,
        score: Score | None = None,
        radius: float | None = None,
    ) -> None:
        super().__init__()
        tau = None if tau is None else _number("tau", tau)
        check_mode("ParityPotential", mode, tau)
        alpha = _number("alpha", alpha)
        if not (alpha > 0 and math.isfinite(alpha)):
            raise GeowarpError(f"ParityPotential: alpha = {alpha}; parity needs a positive and finite weight")
        read = read_groups("ParityPotential", groups, base)
        self.base, self.alpha, self.mode, self.tau = base, alpha, mode, tau
        self.score = SquaredDistance() if score is None else score
        self.names, self.sizes = read.names, read.sizes
        self.radius = _gate_radius(read, base, self.score, radius)
        self.register_buffer("members", read.members)
        prototypes = parity_prototypes(len(read.names), dtype=read.members.dtype, device=read.members.device)
        self.register_buffer("prototypes", prototypes)

    @property
    def outputs(self) -> int:
        """How many values there are, one less than groups."""
        return len(self.sizes) - 1

    def forward(self, x: Tensor) -> Tensor:
        """Return b of points ``(..., *point)``: ``(..., G − 1)``."""
        values: Tensor = self._values(x, self.radius)
        return values

    def parity(self, x: Tensor) -> Tensor:
        """Return the values of parity, without the gate: ``(..., G − 1)``."""
        values: Tensor = self._values(x, 0.0)
        return values

    def divergences(self, x: Tensor) -> Tensor:
        """Return how far each group is from each point under the base distance, ``(..., G)``."""
        squares: Tensor = self.squares(x)
        return group_divergences([-part for part in squares.split(self.sizes, -1)], self.mode, self.tau)

    @full_precision
    def gates(self, x: Tensor) -> Tensor:
        """Return how much each point is a member of each group, ``(..., G)``: 0 or 1 but near a member."""
        parts = self.squares(x).split(self.sizes, -1)
        if self.radius == 0:
            return torch.stack([torch.zeros_like(part[..., 0]) for part in parts], -1)
        return _gates(parts, self.radius)

    def extra_repr(self) -> str:
        """Return the groups and α, for ``repr``."""
        sizes = ", ".join(f"{name}: {size}" for name, size in zip(self.names, self.sizes, strict=True))
        return f"{sizes}; alpha={self.alpha}, mode={self.mode!r}, tau={self.tau}, radius={self.radius:.4g}"

    @full_precision
    def _values(self, x: Tensor, radius: float) -> Tensor:
        parts = self.squares(x).split(self.sizes, -1)
        prototypes = self.prototypes.to(x.dtype)
        divergences = group_divergences([-part for part in parts], self.mode, self.tau)
        values = parity_values(divergences, self.alpha, prototypes)
        return values if radius == 0 else gated(values, _gates(parts, radius), prototypes)

    @full_precision
    def squares(self, x: Tensor) -> Tensor:
        """Return the squared distances under the score, ``(..., members)``, in the order of the groups."""
        batch = check_like("ParityPotential", x, self.members, "groups")
        members = self.members.to(x.dtype)
        squares = all_squares(self.score, self.base, x.reshape(-1, *members.shape[1:]), members)
        return squares.reshape(*batch, members.shape[0])


def gated(values: Tensor, gates: Tensor, prototypes: Tensor) -> Tensor:
    """Return ``Σ_g w_g P_g + (1 − Σ_g w_g) b``, ``(..., K)``, of b, w ``(..., G)`` and P ``(G, K)``.

    Example:
        >>> gated(torch.tensor([3.0]), torch.tensor([0.0, 0.5]), torch.tensor([[1.0], [-1.0]]))
        tensor([1.])
    """
    return gates @ prototypes + (1 - gates.sum(-1, keepdim=True)) * values


def _number(name: str, value: float | Tensor) -> float:
    if isinstance(value, Tensor) and value.numel() != 1:
        raise GeowarpError(f"ParityPotential: {name} has the shape {tuple(value.shape)}; it is one number")
    return float(value)


def _gates(parts: Sequence[Tensor], radius: float) -> Tensor:
    return torch.stack([gate(part, radius) for part in parts], -1)


def _gate_radius(groups: Groups, base: geoopt.Manifold, score: Score, radius: float | None) -> float:
    largest = closest_groups("ParityPotential", groups, base, score) / 2
    if radius is None:
        return largest
    if not 0 <= radius <= largest * (1 + 1e-6):
        raise GeowarpError(
            f"ParityPotential: radius = {radius}; it must be from 0 to {largest:.4g}, half of the smallest "
            "distance between members of different groups, beyond which the gates of two groups overlap"
        )
    return float(radius)
