"""One positive number for each head, learned as its logarithm."""

import math

import torch
from torch import Tensor, nn

from ...errors import GeowarpError

__all__ = ["Temperature"]


class Temperature(nn.Module):
    """Temperatures τ > 0, ``(heads,)``, that scores are divided by: ``τ = exp(logarithm)``.

    Steps of an optimiser are relative to τ, and lead to no negative one. τ is in float32 at least, since half
    precision has no numbers below 6e-8 or above 65504.

    Args:
        heads: how many.
        initial: of all heads, or ``(heads,)``.
        device: of the parameter.
        dtype: of the parameter.

    Raises:
        GeowarpError: for a temperature that is not positive and finite.

    Example:
        >>> temperature = Temperature(2, 0.5)
        >>> temperature(), temperature.set_(torch.tensor([1.0, 4.0])).tau
        (tensor([0.5000, 0.5000], grad_fn=<ExpBackward0>), tensor([1., 4.], grad_fn=<ExpBackward0>))
    """

    def __init__(
        self,
        heads: int,
        initial: float | Tensor = 1.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if heads < 1:
            raise GeowarpError(f"Temperature: heads = {heads}; it takes at least one")
        self.logarithm = nn.Parameter(torch.zeros(heads, device=device, dtype=dtype))
        self.set_(initial)

    @property
    def tau(self) -> Tensor:
        """The temperatures, ``(heads,)``, through which gradients flow."""
        return self.logarithm.to(torch.promote_types(self.logarithm.dtype, torch.float32)).exp()

    def forward(self) -> Tensor:
        """Return the temperatures, ``(heads,)``."""
        return self.tau

    @torch.no_grad()
    def set_(self, value: float | Tensor) -> "Temperature":
        """Set the temperatures to a number, or to ``(heads,)``, and return the module.

        Raises:
            GeowarpError: for another shape, and a temperature that is not positive and finite, which leave
                the temperatures as they were.
        """
        heads = self.logarithm.shape[0]
        device = value.device if isinstance(value, Tensor) else "cpu"
        tau = torch.as_tensor(value, dtype=torch.float64, device=device)
        if tau.shape not in ((), (heads,)):
            raise GeowarpError(
                f"Temperature: tau has shape {tuple(tau.shape)}; {heads} heads need ({heads},)"
            )
        wrong = ~((tau > 0) & (tau < math.inf))
        if bool(wrong.any()):
            head = f" of head {int(wrong.nonzero()[0])}" if tau.ndim else ""
            raise GeowarpError(
                f"Temperature: tau{head} = {float(tau[wrong][0])}; it must be positive and finite, of the "
                "size of the scores that it divides"
            )
        self.logarithm.copy_(tau.log())
        return self

    def extra_repr(self) -> str:
        """Return the number of heads, for ``repr``."""
        return f"heads={self.logarithm.shape[0]}"
