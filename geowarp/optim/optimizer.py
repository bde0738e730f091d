"""What Riemannian optimisers share: which parameter is on which manifold, batches, checks and checkpoints."""

import abc
import math
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo  # torch.compiler.disable, without importing Dynamo at once
from torch.optim.optimizer import Optimizer

from ..errors import GeowarpError, NonFiniteError, NotOnManifoldError
from ..manifolds.record import generation, point_error
from .batch import Batch, FlatBatch, State, gather
from .kernel import Slope
from .resolve import Manifolds, name_of, refuse_other_manifolds, resolve

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
        self._manifolds: Manifolds = {}
        self._active: list[int] = []
        self._steps = self._generation = 0
        if defaults.get("differentiable"):
            raise GeowarpError(
                "differentiable=True: the step works in place; unroll it with a manifold's retr"
            )
        super().__init__(params, defaults)

    # --- must be defined ---

    @abc.abstractmethod
    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the state of a batch with the hyper-parameters of ``group``."""

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
            GeowarpError: where the group's manifold is not the one that a parameter has; nothing is added.
        """
        super().add_param_group(dict(param_group))
        try:
            self._manifolds = resolve(self.param_groups, self._manifolds)
        except GeowarpError:
            self.param_groups.pop()
            raise
        self._plan = None

    @_disable_dynamo
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient. Under ``torch.compile`` it runs as it is, uncompiled.

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
        packed: dict[str, Any] = super().state_dict()
        packed["state"] = {key: _own(state) for key, state in packed["state"].items()}
        for group, live in zip(packed["param_groups"], self.param_groups, strict=True):
            group.pop("manifold", None)
            manifolds = (self._manifolds[p] for p in live["params"])
            group["manifolds"] = [None if m is None else repr(m) for m in manifolds]
        return packed | {"steps": self._steps}  # by which ``stabilize`` counts

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict; the manifolds stay those of this optimiser.

        Raises:
            GeowarpError: where a parameter had another kind of manifold, or lost or gained one. Nothing has
                changed then.
        """
        refuse_other_manifolds(self.param_groups, self._manifolds, state_dict["param_groups"])
        given = [group.get("manifold") for group in self.param_groups]
        super().load_state_dict(state_dict)
        self._steps = int(state_dict.get("steps", 0))
        for group, manifold in zip(self.param_groups, given, strict=True):
            group.pop("manifolds", None)
            group.pop("manifold", None)
            if manifold is not None:
                group["manifold"] = manifold
        self._manifolds = resolve(self.param_groups, {})

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return state | {"state": {p: _own(own) for p, own in state["state"].items()}, "_steps": self._steps}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.state = defaultdict(dict, self.state)
        self._plan, self._active, self._generation = None, [], 0
        self._steps = state.get("_steps", 0)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        self._manifolds = resolve(self.param_groups, {})

    # --- the step ---

    def _batches(self) -> tuple[list[FlatBatch], list[Batch]]:
        """Return the batches of parameters that have a gradient now, grouped anew only where that changed."""
        self._steps += 1
        if generation() != self._generation:
            self._generation, manifolds = generation(), resolve(self.param_groups, self._manifolds)
            self._plan = self._plan if manifolds == self._manifolds else None
        parameters = [p for group in self.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters]
        active = [0 if g is None else id(p) for p, g in zip(parameters, gradients, strict=True)]
        if self._plan is None or active != self._active or not all(map(self._fits, self._plan[1])):
            self._regroup()
            self._active = active
        assert self._plan is not None
        for batch in self._plan[1]:
            batch.collect(gradients)
        return self._plan

    def _fits(self, batch: Batch) -> bool:
        return batch.fits(self.state, self._state_names(batch.group))

    def _regroup(self) -> None:
        old, self._plan = self._plan, None
        for batch in () if old is None else old[1]:
            batch.release_state(self.state)
        self._manifolds = resolve(self.param_groups, self._manifolds)
        flat, batches = gather(self.param_groups, self._manifolds, partial(name_of, self.param_groups))
        for batch in batches:
            points = batch.points()
            self._refuse_off_manifold(batch, points)
            batch.take_state(self.state, self._fresh_state(batch, points))
        self._plan = flat, batches

    def _refuse_off_manifold(self, batch: Batch, points: Tensor) -> None:
        new = [i for i, p in enumerate(batch.parameters) if not self.state.get(p)]
        if new and point_error(batch.manifold, points[new]) is not None:
            errors = ((point_error(batch.manifold, points[i], batch.names[i])) for i in new)
            raise NotOnManifoldError(next(error for error in errors if error is not None))

    def _refuse_non_finite(self, batches: list[Batch], slopes: list[Slope]) -> None:
        """Look once, for all batches together; while a CUDA graph is captured nothing is looked at."""
        if not slopes or _capturing(slopes[0].squared):
            return
        device = slopes[0].squared.device
        total = slopes[0].squared.sum()
        for slope in slopes[1:]:
            total = total + slope.squared.sum().to(device)
        if math.isfinite(total.real.item()):
            return
        for batch in batches:
            _refuse(
                batch, "gradient", batch.gradients(), "find the cause with torch.autograd.detect_anomaly()"
            )
            _refuse(batch, "value", batch.points(), "load a checkpoint from before")
        for batch, slope in zip(batches, slopes, strict=True):
            _refuse(batch, "squared norm of the gradient", slope.squared, "it overflows; scale the loss down")

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


def check_common(group: dict[str, Any], name: str, nonnegative: tuple[str, ...]) -> None:
    """Check the hyper-parameters that all Riemannian optimisers have, and that some are not negative.

    Raises:
        GeowarpError: for a negative one of ``nonnegative``, a ``stabilize`` that is no whole number above 0,
            a learning rate of several numbers, or ``foreach`` and ``fused`` together.

    Example:
        >>> check_common({"stabilize": 10, "lr": 0.1}, "RiemannianSGD", ("lr",))
    """
    every, lr = group["stabilize"], group["lr"]
    if every is not None and not (isinstance(every, int) and every >= 1):
        raise GeowarpError(f"{name}: stabilize = {every} must be a whole number of at least 1, or None")
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise GeowarpError(f"{name}: lr has {lr.numel()} elements; give one number")
    for key in nonnegative:
        if not group[key] >= 0:
            raise GeowarpError(f"{name}: {key} = {group[key]} must be 0 or more")
    if group.get("foreach") and group.get("fused"):
        raise GeowarpError(f"{name}: foreach and fused cannot both be True; leave one out")


def _capturing(gradient: Tensor) -> bool:
    return gradient.is_cuda and torch.cuda.is_current_stream_capturing()


def _own(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state whose tensors are no views of a batch, so that saving one does not save all."""
    return {
        name: value.clone() if isinstance(value, Tensor) and _is_part(value) else value
        for name, value in state.items()
    }


def _is_part(tensor: Tensor) -> bool:
    return tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size()


def _refuse(batch: Batch, what: str, values: Tensor, remedy: str) -> None:
    finite = values.isfinite().flatten(1).all(1).tolist()
    for name, fine in zip(batch.names, finite, strict=True):
        if not fine:
            raise NonFiniteError(
                f"{what} of parameter {name!r} on {batch.manifold!r} is not finite; nothing moved; {remedy}"
            )
