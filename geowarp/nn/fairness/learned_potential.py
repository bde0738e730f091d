"""A potential that is trained: a network that starts at the closed form of parity."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg.precision import full_precision
from ...metrics.validation import check_points
from .parity_potential import ParityPotential
from .squared_distances import all_squares
from .training import check_training, minimise

__all__ = ["LearnedPotential"]


class LearnedPotential(nn.Module):
    """A network b: M → R^{G−1} on the entries of points, trained for equal attention to every group.

    An affine map plus a network with tanh, so that it has all derivatives. ``fit`` starts it, by regression,
    at the closed form of ``ParityPotential`` at the targets and at ``P_g`` at members of group g. Then it
    minimises

        mean over targets of Σ_{g<h} (p_g − p_h)² + penalty · mean over neutral pairs of ‖b(x) − b(y)‖⁴,

    p_g being the mass of group g under ``exp(−d_c²/τ)`` with ``d_c² = d² + α‖b(x) − b(y)‖²``, so that pairs
    which have nothing to do with the bias keep their distances. The closed form has the smaller gap at the
    points that it is asked about; a network trades some of it for neutral distances, and is as cheap with
    many members as with few. The definition is geowarp's own.

    Args:
        parity: gives the groups, the base, α and τ.
        hidden: the widths of the hidden layers.

    Raises:
        GeowarpError: for a width that is not positive.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> groups = [torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])]
        >>> parity = ParityPotential(groups, Euclidean(1), alpha=1.0, mode="softmax", tau=1.0)
        >>> potential, x = LearnedPotential(parity, hidden=(8,)), torch.randn(20, 2)
        >>> losses = potential.fit(x, epochs=20)
        >>> losses[-1] < losses[0], potential(x).shape
        (True, torch.Size([20, 1]))
    """

    fitted: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, parity: ParityPotential, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        if any(width < 1 for width in hidden):
            raise GeowarpError(f"LearnedPotential: hidden = {tuple(hidden)}; each width must be 1 or more")
        self.parity = parity
        members = parity.members
        dtype, device = members.dtype, members.device
        widths = (members[0].numel(), *hidden)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after, dtype=dtype, device=device), nn.Tanh()]
        last = nn.Linear(widths[-1], self.outputs, dtype=dtype, device=device)
        nn.init.zeros_(last.weight)
        self.network = nn.Sequential(*layers, last)
        self.affine = nn.Linear(widths[0], self.outputs, bias=False, dtype=dtype, device=device)
        self.register_buffer("fitted", torch.tensor(False, device=device))
        self.register_buffer("centre", members.flatten(1).mean(0))
        self.register_buffer("scale", torch.ones((), dtype=dtype, device=device))

    @property
    def alpha(self) -> float:
        """The weight of b in the metric."""
        return self.parity.alpha

    @property
    def outputs(self) -> int:
        """How many values there are, one less than groups."""
        return self.parity.outputs

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Return b of points ``(..., *point)``: ``(..., G − 1)``."""
        point = self.parity.members.shape[1:]
        batch = x.shape[: x.ndim - len(point)]
        if x.shape[len(batch) :] != point:
            raise GeowarpError(
                f"LearnedPotential: the points have the shape {tuple(x.shape)}; those of the groups are "
                f"{tuple(point)}"
            )
        entries = (x.reshape(*batch, -1) - self.centre) / self.scale
        values: Tensor = self.affine(entries) + self.network(entries)
        return values

    def fit(
        self,
        targets: Tensor,
        neutral_pairs: Tensor | None = None,
        *,
        tau: float | None = None,
        penalty: float = 1.0,
        epochs: int = 300,
        learning_rate: float = 1e-2,
        verbose: bool = False,
    ) -> list[float]:
        """Train on all targets at once, and return the loss before each epoch.

        Args:
            targets: ``(n, *point)``, which are to attend to all groups alike.
            neutral_pairs: ``(P, 2, *point)``, which are to keep their distances.
            tau: the temperature of the attention; that of the parity by default.
            penalty: λ, the weight of the neutral pairs.
            epochs: steps of Adam. The first call takes as many for the regression before.
            learning_rate: of the first step.
            verbose: whether to show a progress bar.

        Raises:
            GeowarpError: for targets or pairs of another shape, no targets, no τ, or settings out of range.
            NotOnManifoldError: for points that are not on the base.
            NonFiniteError: for points or a loss that are infinite or not a number.
            MissingExtraError: for ``verbose`` without tqdm.
        """
        tau = self._check(targets, neutral_pairs, tau, penalty)
        check_training("LearnedPotential.fit", epochs, learning_rate)
        targets = targets.detach()
        if not self.fitted:
            self._regress(targets, epochs, learning_rate, verbose)
        with torch.no_grad():
            squares = all_squares(self.parity.score, self.parity.base, targets, self.parity.members)

        def loss() -> Tensor:
            value = self._gap(targets, squares, tau)
            return value if neutral_pairs is None else value + penalty * self._spread(neutral_pairs)

        return minimise(self, loss, epochs, learning_rate, verbose=verbose, name="LearnedPotential.fit")

    def _check(self, targets: Tensor, pairs: Tensor | None, tau: float | None, penalty: float) -> float:
        tau = self.parity.tau if tau is None else tau
        if tau is None or not 0 < tau < float("inf"):
            raise GeowarpError(f"LearnedPotential.fit: tau = {tau}; attention needs a positive temperature")
        if not 0 <= penalty < float("inf"):
            raise GeowarpError(f"LearnedPotential.fit: penalty = {penalty}; it must be 0 or more")
        point = tuple(self.parity.members.shape[1:])
        for name, x, before in (("targets", targets, ("n",)), ("neutral_pairs", pairs, ("P", "2"))):
            if x is None:
                continue
            check_points(self.parity.base, x, name)
            fits = x.ndim == len(before) + len(point) and tuple(x.shape[len(before) :]) == point
            if not fits or x.shape[0] == 0 or (len(before) == 2 and x.shape[1] != 2):
                wanted = ", ".join((*before, *map(str, point)))
                raise GeowarpError(
                    f"LearnedPotential.fit: {name} has the shape {tuple(x.shape)}; it must be ({wanted}), "
                    "with one or more points"
                )
        return tau

    @torch.no_grad()
    def _start(self, x: Tensor, values: Tensor) -> None:
        """Set the affine map to the least squares of values ``(n, K)`` at points."""
        entries = x.flatten(1)
        self.centre.copy_(entries.mean(0))
        spread = (entries - self.centre).square().mean().sqrt()
        self.scale.copy_(torch.where(spread > 0, spread, 1))
        design = torch.cat([(entries - self.centre) / self.scale, torch.ones_like(entries[:, :1])], -1)
        solution = torch.linalg.pinv(design) @ values
        self.affine.weight.copy_(solution[:-1].mT)
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        last.bias.copy_(solution[-1])

    def _regress(self, targets: Tensor, epochs: int, learning_rate: float, verbose: bool) -> None:
        parity, members = self.parity, self.parity.members
        owners = torch.arange(len(parity.sizes), device=members.device).repeat_interleave(
            torch.tensor(parity.sizes, device=members.device)
        )
        with torch.no_grad():
            wanted = parity.parity(targets)
        self._start(torch.cat([targets, members]), torch.cat([wanted, parity.prototypes[owners]]))

        def loss() -> Tensor:
            error: Tensor = (self(targets) - wanted).square().mean()
            held: Tensor = (self(members) - parity.prototypes[owners]).square().mean()
            return error + held

        minimise(self, loss, epochs, learning_rate, verbose=verbose, name="LearnedPotential.fit")
        self.fitted.fill_(True)

    def _gap(self, targets: Tensor, squares: Tensor, tau: float) -> Tensor:
        steps = (self(targets)[:, None] - self(self.parity.members)).square().sum(-1)
        weights = (-(squares + self.alpha * steps) / tau).softmax(-1)
        shares = torch.stack([part.sum(-1) for part in weights.split(self.parity.sizes, -1)], -1)
        groups = shares.shape[-1]  # Σ_{g<h} (p_g − p_h)² = G Σ (p_g − 1/G)²
        gap: Tensor = groups * (shares - 1 / groups).square().sum(-1).mean()
        return gap

    def _spread(self, pairs: Tensor) -> Tensor:
        values = self(pairs)
        spread: Tensor = (values[:, 0] - values[:, 1]).square().sum(-1).square().mean()
        return spread
