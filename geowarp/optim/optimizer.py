"""What Riemannian optimisers share: which parameter is on which manifold, batches, checks and checkpoints."""

import abc
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo  # torch.compiler.disable, without importing Dynamo at once
from torch.optim.optimizer import Optimizer

from .._geoopt import geoopt
from ..errors import GeowarpError, NonFiniteError, NotOnManifoldError
from ..manifolds.component import fingerprint
from ..manifolds.record import Constraint, constraints_by_id, point_error
from .batch import Batch, FlatBatch, State, gather
from .kernel import Slope

__all__ = ["RiemannianOptimizer"]


class RiemannianOptimizer(Optimizer, abc.ABC):
    """An optimiser that steps all points of one manifold, shape, dtype and device as one stacked batch.

    A parameter's manifold comes from its group's ``manifold``, from the parameter itself, or from the record
    of the module that owns it. Parameters without one are stepped by torch's own functions. A subclass gives
    the initial state of a batch and its update.

    Example:
        >>> from geowarp.optim import RiemannianSGD
        >>> issubclass(RiemannianSGD, RiemannianOptimizer)
        True
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._plan: tuple[list[FlatBatch], list[Batch]] | None = None
        self._active: list[int] = []
        self._steps = 0
        if defaults.get("differentiable"):
            raise GeowarpError(
                "differentiable=True: the step works in place; unroll it with a manifold's retr"
            )
        super().__init__(params, defaults)

    # --- must be defined ---

    @abc.abstractmethod
    def _fresh_state(self, batch: Batch, points: Tensor) -> State:
        """Return the state of a batch before its first step, ``(B, ...)`` each."""

    @abc.abstractmethod
    def _update(self, batch: Batch, slope: Slope) -> Tensor:
        """Return the moved points, and move the state of the batch along."""

    @abc.abstractmethod
    def _step_flat(self, batch: FlatBatch) -> None:
        """Step the parameters without a manifold in place."""

    # --- torch.optim.Optimizer ---

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its ``manifold`` holds for all its parameters, by default each has its own.

        Raises:
            GeowarpError: where the group's manifold is not the one that a parameter has.
        """
        given = param_group.pop("manifold", None)
        super().add_param_group(param_group)
        where = constraints_by_id()
        group = self.param_groups[-1]
        group["manifolds"] = [_manifold(p, where.get(id(p)), given) for p in group["params"]]
        self._plan = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient.

        Args:
            closure: reevaluates the model and returns the loss; it runs with gradients enabled.

        Returns:
            What ``closure`` returned, or None.

        Raises:
            NonFiniteError: where the gradient of a constrained parameter is not finite; nothing moved then.
            NotOnManifoldError: where a parameter is off its manifold at its first step.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        flat, batches = self._batches()
        slopes = [batch.slope() for batch in batches]
        self._refuse_non_finite(batches, slopes)
        for batch in flat:
            self._step_flat(batch)
        for stacked, slope in zip(batches, slopes, strict=True):
            stacked.write(self._update(stacked, slope))
        self._stabilize(batches)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state dict with the manifolds as text, so that ``weights_only`` can load it."""
        state: dict[str, Any] = super().state_dict()
        for group in state["param_groups"]:
            group["manifolds"] = [None if m is None else repr(m) for m in group["manifolds"]]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict; the manifolds stay those of this optimiser.

        Raises:
            GeowarpError: where a parameter had another kind of manifold, or lost or gained one. Nothing has
                changed then.
        """
        groups = state_dict["param_groups"]
        for index, (live, saved) in enumerate(zip(self.param_groups, groups, strict=False)):
            _refuse_other_manifolds(live["manifolds"], saved.get("manifolds"), index)
        manifolds = [group["manifolds"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, own in zip(self.param_groups, manifolds, strict=True):
            group["manifolds"] = own
        self._plan = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plan, self._active, self._steps = None, [], 0
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    # --- the step ---

    @_disable_dynamo
    def _batches(self) -> tuple[list[FlatBatch], list[Batch]]:
        """Return the batches of parameters that have a gradient now, grouped anew only where that changed."""
        self._steps += 1
        active = [0 if p.grad is None else id(p) for group in self.param_groups for p in group["params"]]
        if self._plan is None or active != self._active or not all(b.fits() for b in self._plan[1]):
            self._plan, self._active = None, active
            self._resolve_replaced()
            flat, batches = gather(self.param_groups, self._name)
            for batch in batches:
                points = batch.points()
                self._refuse_off_manifold(batch, points)
                batch.take_state(self.state, self._fresh_state(batch, points))
            self._plan = flat, batches
        return self._plan

    def _resolve_replaced(self) -> None:
        """Look the manifolds up again in groups whose parameters were replaced by others in number."""
        where = constraints_by_id()
        for group in self.param_groups:
            if len(group["manifolds"]) != len(group["params"]):
                group["manifolds"] = [_manifold(p, where.get(id(p)), None) for p in group["params"]]

    def _refuse_off_manifold(self, batch: Batch, points: Tensor) -> None:
        new = [i for i, p in enumerate(batch.parameters) if not self.state.get(p)]
        if new and point_error(batch.manifold, points[new]) is not None:
            errors = ((point_error(batch.manifold, points[i], batch.names[i])) for i in new)
            raise NotOnManifoldError(next(error for error in errors if error is not None))

    def _refuse_non_finite(self, batches: list[Batch], slopes: list[Slope]) -> None:
        """Look once, for all batches together; under compilation and graph capture nothing is looked at."""
        if not batches or torch.compiler.is_compiling() or _capturing(slopes[0].squared):
            return
        device = slopes[0].squared.device
        if torch.stack([slope.squared.sum().to(device) for slope in slopes]).isfinite().all():
            return
        for batch in batches:
            finite = batch.gradients().isfinite().flatten(1).all(1).tolist()
            for name, fine in zip(batch.names, finite, strict=True):
                if not fine:
                    raise NonFiniteError(
                        f"gradient of parameter {name!r} on {batch.manifold!r} is not finite; nothing moved. "
                        "Skip the step, or look for the cause with torch.autograd.set_detect_anomaly(True)"
                    )

    @_disable_dynamo
    def _stabilize(self, batches: list[Batch]) -> None:
        for batch in batches:
            every = batch.group["stabilize"]
            if every is None or self._steps % every:
                continue
            points = batch.manifold.projx(batch.points())
            batch.write(points)
            for name in ("exp_avg", "momentum_buffer"):
                if name in batch.state:
                    batch.state[name].copy_(batch.manifold.proju(points, batch.state[name]))

    def _name(self, group_index: int, index: int) -> str:
        group = self.param_groups[group_index]
        if "param_names" in group:
            return str(group["param_names"][index])
        where = constraints_by_id().get(id(group["params"][index]))
        if where is not None:
            return f"{type(where.module).__name__}.{where.name}"
        return f"{index} of group {group_index}"


def _capturing(gradient: Tensor) -> bool:
    return gradient.is_cuda and torch.cuda.is_current_stream_capturing()


def _manifold(
    parameter: Tensor, where: Constraint | None, given: geoopt.Manifold | None
) -> geoopt.Manifold | None:
    own = getattr(parameter, "manifold", where.manifold if where is not None else None)
    if given is not None and own is not None and fingerprint(given) != fingerprint(own):
        raise GeowarpError(
            f"the param group's manifold is {given!r}, but its parameter of shape {tuple(parameter.shape)} "
            f"is a point of {own!r}; leave the group's manifold out, or constrain the parameter anew"
        )
    return own if given is None else given


def _kind(text: str | None) -> str | None:
    return None if text is None else text.split("(")[0]


def _refuse_other_manifolds(
    live: list[geoopt.Manifold | None], saved: list[str | None] | None, index: int
) -> None:
    for i, manifold in enumerate(live):
        now = None if manifold is None else repr(manifold)
        before = saved[i] if saved is not None and i < len(saved) else None
        if _kind(now) != _kind(before):
            raise GeowarpError(
                f"parameter {i} of group {index} is on {now or 'no manifold'}, in the state dict on "
                f"{before or 'no manifold'}; build the optimiser from parameters on the same manifold"
            )
        if now != before:
            warnings.warn(
                f"parameter {i} of group {index} was on {before}, and goes on on {now}", stacklevel=3
            )
