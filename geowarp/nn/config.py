"""The sizes of a BDH language model, and what its factors and its synapses are."""

from dataclasses import dataclass

from ..errors import GeowarpError

__all__ = ["BDHConfig"]

_SIZES = ("n_layer", "n_embd", "n_head", "mlp_internal_dim_multiplier", "vocab_size", "segment_length")
_CHOICES = {
    "factors": ("stiefel", "euclidean"),
    "synapse": ("hebbian", "decay", "delta", "gated_delta"),
    "decay": ("constant", "learned", "input"),
    "residual": ("d", "n"),
}


@dataclass(frozen=True)
class BDHConfig:
    """Sizes of a ``BDH`` model; the first six fields, their order and defaults are the official model's.

    Args:
        n_layer: how often the one set of weights is applied, L.
        n_embd: the width d of the residual stream, and the rank of the three factors.
        dropout: probability with which an entry of the gated product is dropped in training.
        n_head: how many heads the neurons are divided among, h.
        mlp_internal_dim_multiplier: neurons per dimension: n = multiplier · d over all heads.
        vocab_size: number of tokens; 256 for bytes.
        factors: ``"stiefel"`` for orthonormal factors, ``"euclidean"`` for the official model.
        diagonal: whether each Stiefel factor has a learned diagonal; without effect on Euclidean ones.
        synapse: how the state learns: ``"hebbian"``, the official model's; ``"decay"``, which also forgets;
            ``"delta"``, driven by the error of its own prediction; ``"gated_delta"``, both.
        decay: of the synapses that forget: ``"constant"`` or ``"learned"`` per head, or ``"input"``, learned
            as a function of the input.
        residual: ``"d"`` for the residual stream of the official model, of d features; ``"n"`` for that of
            the paper's equation 8, of n neurons.
        rotary_widths: widths of the blocks of a head's neurons that have rotary frequencies of their own;
            by default one block of all. A merged model has one per model.
        segment_length: positions that are computed at once; longer inputs are computed in segments.
        checkpoint: whether training keeps only the input of each layer in each segment, and computes the
            rest again in the backward pass; by default where there is more than one segment.

    Raises:
        GeowarpError: where a value is out of range or the sizes do not divide, with the number.

    Example:
        >>> BDHConfig(n_embd=64, mlp_internal_dim_multiplier=16).n_neurons
        1024
    """

    n_layer: int = 6
    n_embd: int = 256
    dropout: float = 0.1
    n_head: int = 4
    mlp_internal_dim_multiplier: int = 128
    vocab_size: int = 256
    factors: str = "stiefel"
    diagonal: bool = True
    synapse: str = "hebbian"
    decay: str = "learned"
    residual: str = "d"
    rotary_widths: tuple[int, ...] = ()
    segment_length: int = 512
    checkpoint: bool | None = None

    @property
    def n_neurons(self) -> int:
        """The number n of neurons of all heads."""
        return self.n_embd * self.mlp_internal_dim_multiplier

    @property
    def neurons_per_head(self) -> int:
        """The number N = n / h of neurons of one head."""
        return self.n_neurons // self.n_head

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotary_widths", tuple(self.rotary_widths))  # JSON has lists only
        for name in _SIZES:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise GeowarpError(f"BDHConfig: {name} = {value!r} must be a positive integer")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise GeowarpError(
                    f"BDHConfig: {name} = {getattr(self, name)!r} is none of {', '.join(choices)}"
                )
        if not 0 <= self.dropout < 1:
            raise GeowarpError(f"BDHConfig: dropout = {self.dropout} must be in [0, 1)")
        if self.n_neurons % (2 * self.n_head):
            raise GeowarpError(
                f"BDHConfig: n_embd x mlp_internal_dim_multiplier = {self.n_neurons} neurons do not divide "
                f"into n_head = {self.n_head} heads with an even number each; rotations turn pairs"
            )
        if self.rotary_widths and not self._blocks_fit():
            raise GeowarpError(
                f"BDHConfig: rotary_widths = {self.rotary_widths} must be even, positive and add up to the "
                f"{self.neurons_per_head} neurons of a head"
            )

    def _blocks_fit(self) -> bool:
        widths = self.rotary_widths
        return all(w > 0 and w % 2 == 0 for w in widths) and sum(widths) == self.neurons_per_head
