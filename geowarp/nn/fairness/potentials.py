"""Potentials of a probe, of directions, and several potentials as one."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..._warn import warn
from ...errors import FairnessWarning, GeowarpError, NonFiniteError
from ...manifolds.linalg.precision import full_precision
from .like import check_like

__all__ = ["FisherPotential", "LinearPotential", "StackedPotential"]


class FisherPotential(nn.Module):
    """``b(x) = 2 √p(x)``, ``(..., C)``, of the class probabilities p of a probe.

    Its metric ``Σ_c db_c ⊗ db_c`` is the pull-back ``E_c[d log p_c ⊗ d log p_c]`` of the Fisher information,
    and ``‖b(x) − b(y)‖ ≤ √8``. With a probe of a bias it enlarges that bias: a point on the side of one group
    moves away from the other group most. With a linear probe of gender in vectors of word2vec, the attention
    gap of 303 professions (8 words for each gender, τ = 0.5) grew from 0.08 to 0.38 with α = 0.1, and to 0.80
    with α = 1; ``ParityPotential`` makes it 0. It is of use to tell apart what a probe tells apart.

    Args:
        probe: maps points ``(..., *point)`` to logits ``(..., C)``.

    Raises:
        GeowarpError: in ``forward``, for fewer than two classes.

    References:
        Amari, Nagaoka, Methods of information geometry (2000), sections 2.2 and 2.3.

    Example:
        >>> FisherPotential(torch.nn.Identity())(torch.zeros(1, 4))
        tensor([[1., 1., 1., 1.]])
    """

    def __init__(self, probe: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, x: Tensor) -> Tensor:
        """Return ``2 √softmax(probe(x))``."""
        logits = self.probe(x)
        if logits.ndim == 0 or logits.shape[-1] < 2:
            raise GeowarpError(
                f"FisherPotential: the probe returns logits of the shape {tuple(logits.shape)}; it needs two "
                "or more classes in the last dimension"
            )
        return 2 * (0.5 * logits.log_softmax(-1)).exp()


class LinearPotential(nn.Module):
    """``b_k(x) = ⟨a_k, x⟩`` of the entries: the coordinates along K directions. It enlarges a bias.

    In flat space the metric is ``I + Σ α_k a_k a_kᵀ``, a Mahalanobis distance. Stretching the direction of a
    bias is the obvious reading of a metric of fairness, and makes the bias worse: a stereotyped point and its
    group are on the same side, and the other group becomes the one that is far. With the direction of gender
    in vectors of word2vec, the attention gap of 303 professions (8 words for each gender, τ = 0.5) grew from
    0.08 to 0.18 with α = 1, to 0.40 with α = 4, and to 0.77 with α = 16. It is here to be measured against
    ``ParityPotential``, which makes it 0.

    Args:
        directions: ``(K, *point)``.

    Raises:
        GeowarpError: for directions without a dimension of K, or of integers, and for points unlike them.
        NonFiniteError: for directions that are infinite or not a number.

    Warns:
        FairnessWarning: always.

    References:
        Bolukbasi, Chang, Zou, Saligrama, Kalai, Man is to computer programmer as woman is to homemaker?
        Debiasing word embeddings, NeurIPS (2016), section 5, for directions of gender.

    Example:
        >>> import warnings
        >>> from geowarp.errors import FairnessWarning
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", FairnessWarning)
        ...     potential = LinearPotential(torch.tensor([[1.0, 0.0]]))
        >>> potential(torch.tensor([[3.0, 4.0]]))
        tensor([[3.]])
    """

    directions: Tensor

    def __init__(self, directions: Tensor) -> None:
        super().__init__()
        if directions.ndim == 0 or directions.numel() == 0 or not directions.is_floating_point():
            raise GeowarpError(
                f"LinearPotential: the directions have the shape {tuple(directions.shape)} and the dtype "
                f"{directions.dtype}; they must be (K, *point), K at least 1, and floating-point"
            )
        if not bool(directions.isfinite().all()):
            raise NonFiniteError("LinearPotential: the directions are infinite or not a number")
        warn(
            "LinearPotential: a stretch along the direction of a bias moves every point further from the "
            "group that it is far from already, which enlarges the bias; use ParityPotential",
            FairnessWarning,
        )
        self.register_buffer("directions", directions.detach().clone())

    @property
    def outputs(self) -> int:
        """K."""
        return int(self.directions.shape[0])

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Return the coordinates of points ``(..., *point)``: ``(..., K)``."""
        batch = check_like("LinearPotential", x, self.directions, "directions")
        directions = self.directions.to(x.dtype).reshape(self.outputs, -1)
        return x.reshape(*batch, directions.shape[-1]) @ directions.mT


class StackedPotential(nn.Module):
    """Several potentials as one: their values one after the other, such as one of gender and one of age.

    Parity with respect to two potentials is exact for each alone and approximate for both, as the chord
    distance adds the steps of all.

    Args:
        potentials: one or more.

    Raises:
        GeowarpError: for none.

    Example:
        >>> StackedPotential(torch.sin, torch.cos)(torch.tensor([[0.0]]))
        tensor([[0., 1.]])
    """

    def __init__(self, *potentials: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        if not potentials:
            raise GeowarpError("StackedPotential: no potential is given; it needs one or more")
        self.potentials = nn.ModuleList(p if isinstance(p, nn.Module) else _Plain(p) for p in potentials)

    @property
    def alpha(self) -> tuple[float, ...] | None:
        """The weight of each value, where all potentials have one, else None."""
        weights: list[float] = []
        for potential in self.potentials:
            alpha, outputs = getattr(potential, "alpha", None), getattr(potential, "outputs", None)
            if alpha is None or outputs is None:
                return None
            weights.extend(torch.as_tensor(alpha, dtype=torch.float64).expand(outputs).tolist())
        return tuple(weights)

    @property
    def outputs(self) -> int | None:
        """How many values there are, where all potentials say it, else None."""
        counts = [getattr(potential, "outputs", None) for potential in self.potentials]
        return None if None in counts else sum(count for count in counts if count is not None)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values of all potentials at points ``(..., *point)``: ``(..., K_1 + K_2 + ...)``."""
        return torch.cat([potential(x) for potential in self.potentials], -1)


class _Plain(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)
