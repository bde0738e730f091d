"""The sizes of a BDH language model, and what its factors are."""

from dataclasses import dataclass

from ..errors import GeowarpError

__all__ = ["BDHConfig"]

_FACTORS = ("stiefel", "euclidean")
_SIZES = ("n_layer", "n_embd", "n_head", "mlp_internal_dim_multiplier", "vocab_size")


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

    @property
    def n_neurons(self) -> int:
        """The number n of neurons of all heads."""
        return self.n_embd * self.mlp_internal_dim_multiplier

    @property
    def neurons_per_head(self) -> int:
        """The number N = n / h of neurons of one head."""
        return self.n_neurons // self.n_head

    def __post_init__(self) -> None:
        for name in _SIZES:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise GeowarpError(f"BDHConfig: {name} = {value!r} must be a positive integer")
        if not 0 <= self.dropout < 1:
            raise GeowarpError(f"BDHConfig: dropout = {self.dropout} must be in [0, 1)")
        if self.n_neurons % (2 * self.n_head):
            raise GeowarpError(
                f"BDHConfig: n_embd x mlp_internal_dim_multiplier = {self.n_neurons} neurons do not divide "
                f"into n_head = {self.n_head} heads with an even number each; rotations turn pairs"
            )
        if self.factors not in _FACTORS:
            raise GeowarpError(f"BDHConfig: factors = {self.factors!r} is none of {', '.join(_FACTORS)}")
