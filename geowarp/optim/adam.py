"""Riemannian Adam."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from ..errors import GeowarpError
from .batch import Batch, FlatBatch, State
from .kernel import Slope
from .optimizer import RiemannianOptimizer, check_common

__all__ = ["RiemannianAdam"]


class RiemannianAdam(RiemannianOptimizer):
    r"""Adam on manifolds: the direction is transported, the second moment is one number per point.

    With the Riemannian gradient ``g = egrad2rgrad(x, ∂f/∂x)`` at the point x, each step is

    - ``m ← β₁ m + (1 − β₁) g``, a tangent vector (``exp_avg``),
    - ``v ← β₂ v + (1 − β₂) ⟨g, g⟩_x``, a number (``exp_avg_sq``),
    - ``u = −lr · m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + eps)``, with ``t`` the number of steps,
    - ``x ← retr(x, u)``, and m is transported to the new x, at the latest with the next gradient.

    So ``lr`` is about the length of a step, in the manifold's own unit, whatever the number of entries.
    Parameters without a manifold get exactly ``torch.optim.AdamW``, entry by entry.

    Args:
        params: parameters, named parameters or groups, as for torch; see ``param_groups``. A group may name
            its ``manifold``.
        lr: learning rate, a number or a tensor.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled decay of the parameters without a manifold.
        amsgrad: divide by the largest second moment so far.
        maximize: ascend.
        foreach: False steps every point by itself instead of stacked.
        capturable: passed on to torch; the state of constrained parameters is always on their device.
        differentiable: must be False.
        fused: passed on to torch for the parameters without a manifold.
        stabilize: project the points to their manifold and the moments to their tangent space every so many
            steps; None never does.
        manifold_weight_decay: decoupled decay of the constrained parameters: ``lr`` times this times the
            Riemannian gradient of ``‖x‖² / 2`` is subtracted. It does nothing on Stiefel and on spheres.

    Raises:
        ValueError: for a hyper-parameter out of its range, as torch does.

    References:
        Bécigneul, Ganea, Riemannian adaptive optimization methods, ICLR (2019), section 4; Loshchilov,
        Hutter, Decoupled weight decay regularization, ICLR (2019).

    Example:
        >>> from geowarp import ManifoldParameter
        >>> from geowarp.manifolds import Sphere
        >>> x = ManifoldParameter(Sphere().random(3), manifold=Sphere())
        >>> optimizer = RiemannianAdam([x], lr=0.1)
        >>> for _ in range(200):
        ...     optimizer.zero_grad()
        ...     loss = (x - torch.tensor([0.0, 0.0, 2.0])).square().sum()
        ...     loss.backward()
        ...     optimizer.step()
        >>> torch.allclose(x, torch.tensor([0.0, 0.0, 1.0]), atol=1e-3)
        True
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        stabilize: int | None = None,
        manifold_weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "stabilize": stabilize,
            "manifold_weight_decay": manifold_weight_decay,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, after a look at its hyper-parameters; see ``RiemannianOptimizer.add_param_group``."""
        _check_hyper_parameters({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("step", "exp_avg", "exp_avg_sq") + ("max_exp_avg_sq",) * bool(group["amsgrad"])

    def _fresh_state(self, batch: Batch, points: Tensor) -> State:
        zero = torch.zeros_like(points, memory_format=torch.contiguous_format)
        second = torch.zeros_like(batch.manifold.component_inner(points, zero))
        state = {
            "step": torch.zeros(len(points), dtype=points.dtype, device=points.device),
            "exp_avg": zero,
            "exp_avg_sq": second,
        }
        if batch.group["amsgrad"]:
            state["max_exp_avg_sq"] = second.clone()
        return state

    def _update(self, batch: Batch, slope: Slope) -> Tensor:
        group, state, kernel = batch.group, batch.state, batch.kernel
        beta1, beta2 = group["betas"]
        first, second, step = state["exp_avg"], state["exp_avg_sq"], state["step"]

        kernel.accumulate(slope, first, beta1, 1 - beta1)
        second.lerp_(slope.squared, 1 - beta2)
        step.add_(1)
        if group["amsgrad"]:
            second = torch.maximum(state["max_exp_avg_sq"], second, out=state["max_exp_avg_sq"])

        bias1, bias2 = (batch.per_point(_bias_correction(beta, step)) for beta in (beta1, beta2))
        size = (second / bias2).sqrt_().add_(group["eps"])
        scale = -group["lr"] / (bias1 * size)
        if not group["manifold_weight_decay"]:
            return kernel.move(slope.points, first, scale, first)
        decay = kernel.gradient(kernel.slope(slope.points, slope.points))
        direction = scale * first - group["lr"] * group["manifold_weight_decay"] * decay
        return kernel.move(slope.points, direction, 1.0, first)

    def _step_flat(self, batch: FlatBatch) -> None:
        group = batch.group
        if any(g.is_sparse for g in batch.gradients()):
            raise GeowarpError("RiemannianAdam does not take sparse gradients; use Embedding(sparse=False)")
        states = [self._flat_state(p, group) for p in batch.parameters]
        adamw(
            batch.parameters,
            batch.gradients(),
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [s["max_exp_avg_sq"] for s in states] if group["amsgrad"] else [],
            [s["step"] for s in states],
            foreach=group["foreach"],
            capturable=group["capturable"],
            fused=group["fused"],
            has_complex=any(p.is_complex() for p in batch.parameters),
            amsgrad=group["amsgrad"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )

    def _flat_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            on_device = group["capturable"] or group["fused"]
            state["step"] = torch.zeros(
                (), dtype=torch.float32, device=parameter.device if on_device else "cpu"
            )
            for name in ("exp_avg", "exp_avg_sq") + ("max_exp_avg_sq",) * group["amsgrad"]:
                state[name] = torch.zeros_like(parameter.detach(), memory_format=torch.preserve_format)
        return state


def _bias_correction(beta: float, step: Tensor) -> Tensor:
    """Return ``1 − βᵗ`` without cancellation."""
    return -torch.expm1(step * math.log(beta)) if beta > 0 else torch.ones_like(step)


def _check_hyper_parameters(group: dict[str, Any]) -> None:
    check_common(group, "RiemannianAdam", ("lr", "eps", "weight_decay", "manifold_weight_decay"))
    for i, beta in enumerate(group["betas"]):
        if not 0 <= beta < 1:
            raise GeowarpError(f"RiemannianAdam: betas[{i}] = {beta} must be in [0, 1)")
