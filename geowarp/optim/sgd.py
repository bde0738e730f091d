"""Riemannian stochastic gradient descent."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from ..errors import GeowarpError
from .batch import Batch, FlatBatch, State
from .kernel import Slope
from .optimizer import RiemannianOptimizer, check_common

__all__ = ["RiemannianSGD"]


class RiemannianSGD(RiemannianOptimizer):
    r"""Stochastic gradient descent on manifolds, with momentum that is transported.

    With the Riemannian gradient ``g = egrad2rgrad(x, ∂f/∂x)`` at the point x, each step is

    - ``b ← momentum · b + (1 − dampening) g``, at the first step ``b ← g``,
    - ``d = g + momentum · b`` with nesterov, otherwise ``d = b``,
    - ``x ← retr(x, −lr · d)``, and b is transported to the new x, at the latest with the next gradient.

    Parameters without a manifold get exactly ``torch.optim.SGD``.

    Args:
        params: parameters, named parameters or groups, as for torch; see ``param_groups``. A group may name
            its ``manifold``.
        lr: learning rate, a number or a tensor.
        momentum: factor of the momentum.
        dampening: dampening of the momentum.
        weight_decay: torch's L2 penalty on the parameters without a manifold.
        nesterov: Nesterov momentum; needs momentum and no dampening.
        maximize: ascend.
        foreach: False steps every point by itself instead of stacked.
        differentiable: must be False.
        fused: passed on to torch for the parameters without a manifold.
        stabilize: project the points to their manifold and the momentum to their tangent space every so many
            steps; None never does.
        manifold_weight_decay: decoupled decay of the constrained parameters: ``lr`` times this times the
            Riemannian gradient of ``‖x‖² / 2`` is subtracted. It does nothing on Stiefel and on spheres.

    Raises:
        ValueError: for a hyper-parameter out of its range, as torch does.

    References:
        Bonnabel, Stochastic gradient descent on Riemannian manifolds, IEEE Trans. Automat. Control 58 (2013).

    Example:
        >>> from geowarp import ManifoldParameter
        >>> from geowarp.manifolds import Sphere
        >>> x = ManifoldParameter(Sphere().random(3), manifold=Sphere())
        >>> optimizer = RiemannianSGD([x], lr=0.1, momentum=0.5)
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
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        stabilize: int | None = None,
        manifold_weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
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
        return ("step", "momentum_buffer") if group["momentum"] else ()

    def _fresh_state(self, batch: Batch, points: Tensor) -> State:
        if not batch.group["momentum"]:
            return {}
        step = torch.zeros(len(points), dtype=points.dtype, device=points.device)
        buffer = torch.zeros_like(points, memory_format=torch.contiguous_format)
        return {"step": step, "momentum_buffer": buffer}

    def _update(self, batch: Batch, slope: Slope) -> Tensor:
        group, kernel = batch.group, batch.kernel
        moment = batch.state.get("momentum_buffer")
        if moment is None:
            direction = kernel.gradient(slope)
        else:
            kernel.accumulate(slope, moment, group["momentum"], self._share(batch))
            batch.state["step"].add_(1)
            direction = moment
            if group["nesterov"]:
                direction = kernel.gradient(slope).add(moment, alpha=group["momentum"])
        if group["manifold_weight_decay"]:
            decay = kernel.gradient(kernel.slope(slope.points, slope.points))
            direction = direction + group["manifold_weight_decay"] * decay
        return kernel.move(slope.points, direction, -group["lr"], moment)

    def _share(self, batch: Batch) -> float | Tensor:
        """Return the part of the gradient that goes into the momentum: all of it at the first step."""
        dampening, step = batch.group["dampening"], batch.state["step"]
        return batch.per_point(torch.where(step > 0, 1 - dampening, 1.0).to(step.dtype)) if dampening else 1.0

    def _step_flat(self, batch: FlatBatch) -> None:
        group = batch.group
        buffers = [self.state[p].get("momentum_buffer") for p in batch.parameters]
        sgd(
            batch.parameters,
            batch.gradients(),
            buffers,
            has_sparse_grad=any(g.is_sparse for g in batch.gradients()),
            foreach=group["foreach"],
            fused=group["fused"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )
        if group["momentum"]:
            for parameter, buffer in zip(batch.parameters, buffers, strict=True):
                self.state[parameter]["momentum_buffer"] = buffer


def _check_hyper_parameters(group: dict[str, Any]) -> None:
    check_common(group, "RiemannianSGD", ("lr", "momentum", "weight_decay", "manifold_weight_decay"))
    if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
        raise GeowarpError(
            f"RiemannianSGD: nesterov needs momentum above 0 and no dampening, "
            f"not {group['momentum']} and {group['dampening']}"
        )
