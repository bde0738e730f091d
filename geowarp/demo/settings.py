"""The sizes and learning rates of the demonstration."""

from dataclasses import dataclass, field

from ..nn import BDHConfig

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What both models have in common, and the learning rate of each.

    A step of Riemannian Adam on a Stiefel point has a length of about its learning rate, all entries
    together, and the point has length √d: a column turns by about ``factor_rate / √d`` radians.
    Nine settings of the rates were tried on the Stiefel side and eight on the Euclidean one, in runs of 100
    and 250 steps on the default text with one seed, one or two rates changed at a time. Those kept are the
    best after 250 steps; after 100, factors at 1 and a rest at 4.5e-2 were better by 0.01 bits per byte, and
    Euclidean ones at 1.6e-2 by 0.04. The rate of diagonals and the weight decay are from Hebbian synapses.

    Args:
        config: the model, with Stiefel factors.
        context: length T of a training window.
        batch: windows per step.
        evaluations: how often the models are judged.
        windows: validation windows, at most.
        factor_rate: learning rate of the Stiefel factors.
        diagonal_rate: of the learned diagonals, which are not decayed.
        rest_rate: of embedding and head beside Stiefel factors.
        flat_rate: of embedding, head and factors of the Euclidean model.
        synapse_rate: of the decays and strengths of the synapses of both, which are not decayed.
        weight_decay: decoupled, of embeddings and head, and of the Euclidean factors.
        warmup: share of the steps in which the learning rates rise; afterwards they fall linearly.
        final_rate: share of the learning rates that is left at the end.
    """

    config: BDHConfig = field(
        default_factory=lambda: BDHConfig(
            n_layer=3,
            n_embd=64,
            dropout=0.0,
            n_head=4,
            mlp_internal_dim_multiplier=16,
            synapse="gated_delta",
        )
    )
    context: int = 128
    batch: int = 8
    evaluations: int = 20
    windows: int = 64
    factor_rate: float = 0.5
    diagonal_rate: float = 1e-2
    rest_rate: float = 3e-2
    flat_rate: float = 3.2e-2
    synapse_rate: float = 0.3
    weight_decay: float = 0.1
    warmup: float = 0.05
    final_rate: float = 0.1

    def rate_at(self, step: int, steps: int) -> float:
        """Return the share of the learning rates that step number ``step`` of ``steps`` has.

        Example:
            >>> [round(Settings().rate_at(step, 101), 2) for step in (0, 5, 53, 100)]
            [0.17, 1.0, 0.55, 0.11]
        """
        rise = max(1, round(self.warmup * steps))
        if step < rise:
            return (step + 1) / (rise + 1)
        return 1 - (1 - self.final_rate) * (step - rise) / max(1, steps - rise)
