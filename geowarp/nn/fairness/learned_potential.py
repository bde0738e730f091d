"""A potential that is trained: a network that starts at the closed form of parity."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg.precision import autocast_off, full_precision
from ...metrics.inference_mode import outside_inference_mode
from ...metrics.validation import check_points
from .like import check_like, in_single
from .parity import group_divergences
from .parity_potential import ParityPotential, gated
from .training import check_training, minimise

__all__ = ["LearnedPotential"]


class LearnedPotential(nn.Module):
    """A network b: M → R^{G−1} on the entries of points, trained for equal attention to every group.

    An affine map plus a network with tanh, behind the gate of a ``ParityPotential``, so that b is ``P_g`` at
    members of group g. ``fit`` starts it, by regression, at the closed form of parity at the targets. Then it
    minimises

        mean over targets of Σ_{g<h} (p_g − p_h)² + penalty · mean over neutral pairs of ‖b(x) − b(y)‖⁴,

    p_g being the mass of group g under ``exp(−d_c²/τ)`` with ``d_c² = d² + α‖b(x) − P_g‖²``, so that pairs
    which have nothing to do with the bias keep their distances. The closed form has parity everywhere; a
    network gives some of it up for neutral distances. The definition is geowarp's own.

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
        >>> min(losses) <= losses[0], potential(x).shape
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
        dtype, device = in_single(members).dtype, members.device
        widths = (members[0].numel(), *hidden)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after, dtype=dtype, device=device), nn.Tanh()]
        last = nn.Linear(widths[-1], self.outputs, dtype=dtype, device=device)
        nn.init.zeros_(last.weight)
        self.network = nn.Sequential(*layers, last)
        self.affine = nn.Linear(widths[0], self.outputs, bias=False, dtype=dtype, device=device)
        self.register_buffer("fitted", torch.tensor(False, device=device))
        self.register_buffer("centre", in_single(members).flatten(1).mean(0))
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
        check_like("LearnedPotential", x, self.parity.members, "groups")
        return self._gated(x, self.parity.gates(x))

    @outside_inference_mode
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
        """Train on all targets at once, and return the loss before each epoch and after the last.

        The parameters of the smallest loss are kept.

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
        with autocast_off(targets):
            x, pairs = in_single(targets), None if neutral_pairs is None else in_single(neutral_pairs)
            if not self.fitted:
                self._regress(x, epochs, learning_rate, verbose)
            loss = self._loss(x, pairs, tau, penalty)
            return minimise(self, loss, epochs, learning_rate, verbose=verbose, name="LearnedPotential.fit")

    @torch.no_grad()
    def _loss(self, x: Tensor, pairs: Tensor | None, tau: float, penalty: float) -> Callable[[], Tensor]:
        """Return a function that returns the loss; what does not depend on parameters is computed before."""
        parts = self.parity.squares(x).split(self.parity.sizes, -1)
        masses = -group_divergences([-part for part in parts], "softmax", tau) / tau
        gates = self.parity.gates(x)
        gates_of_pairs = None if pairs is None else self.parity.gates(pairs)

        def loss() -> Tensor:
            gap = self._gap(self._gated(x, gates), masses, tau)
            if pairs is None or gates_of_pairs is None:
                return gap
            values = self._gated(pairs, gates_of_pairs)
            return gap + penalty * (values[:, 0] - values[:, 1]).square().sum(-1).square().mean()

        return loss

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
        with torch.no_grad():
            wanted = self.parity.parity(targets)
        self._start(targets, wanted)

        def loss() -> Tensor:
            error: Tensor = (self._network(targets) - wanted).square().mean()
            return error

        minimise(self, loss, epochs, learning_rate, verbose=verbose, name="LearnedPotential.fit")
        self.fitted.fill_(True)

    def _network(self, x: Tensor) -> Tensor:
        entries = x.reshape(*x.shape[: x.ndim - self.parity.members.ndim + 1], self.centre.numel())
        entries = ((entries - self.centre) / self.scale).to(self.affine.weight.dtype)
        values: Tensor = self.affine(entries) + self.network(entries)
        return values.to(x.dtype)

    def _gated(self, x: Tensor, gates: Tensor) -> Tensor:
        return gated(self._network(x), gates, self.parity.prototypes.to(x.dtype))

    def _gap(self, values: Tensor, masses: Tensor, tau: float) -> Tensor:
        steps = (values[..., None, :] - self.parity.prototypes.to(values.dtype)).square().sum(-1)
        shares = (masses - self.alpha * steps / tau).softmax(-1)
        groups = shares.shape[-1]  # Σ_{g<h} (p_g − p_h)² = G Σ (p_g − 1/G)²
        gap: Tensor = groups * (shares - 1 / groups).square().sum(-1).mean()
        return gap
