"""Where the manifolds of a module's parameters are written down: on the module, by parameter name.

A tensor subclass loses its class, and with it the manifold, in ``load_state_dict(assign=True)``, ``to_empty``
and the swap and overwrite modes of ``Module.to``. The record stays, because it belongs to the module.
"""

import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import NotOnManifoldError
from .component import expression

__all__ = ["Constraint", "constraints_by_id", "forget", "generation", "point_error", "recorded", "set_record"]

_KEY = "_manifold_record"


class Constraint(NamedTuple):
    """A manifold, and where the parameter that it constrains is found."""

    module: torch.nn.Module
    name: str
    manifold: geoopt.Manifold


class _Record:
    """The manifolds of one module's parameters. Copies and pickles together with its module."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.manifolds: dict[str, geoopt.Manifold] = {}
        self._attach(module)

    def _attach(self, module: torch.nn.Module) -> None:
        self.module = weakref.ref(module)
        _records.add(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"module": self.module(), "manifolds": self.manifolds}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.manifolds = state["manifolds"]
        self._attach(state["module"])

    def constraints(self) -> Iterator[tuple[Tensor, Constraint]]:
        module = self.module()
        if module is None:
            return
        for name, manifold in self.manifolds.items():
            parameter = module._parameters.get(name)
            if parameter is not None:
                yield parameter, Constraint(module, name, manifold)


_records: "weakref.WeakSet[_Record]" = weakref.WeakSet()
_generation = 0


def generation() -> int:
    """Return a number that grows whenever a constraint is recorded or lifted anywhere.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> before, layer = generation(), torch.nn.Linear(3, 1)
        >>> set_record(layer, "weight", Sphere())
        >>> generation() > before
        True
    """
    return _generation


def recorded(module: torch.nn.Module) -> dict[str, geoopt.Manifold]:
    """Return the manifolds that are recorded on ``module`` itself, by parameter name.

    Example:
        >>> from geowarp import ManifoldParameter
        >>> from geowarp.manifolds import Sphere
        >>> module = torch.nn.Module()
        >>> module.direction = ManifoldParameter(Sphere().random(3), manifold=Sphere())
        >>> recorded(module)
        {'direction': Sphere()}
    """
    record = module.__dict__.get(_KEY)
    return record.manifolds if record is not None else {}


def set_record(module: torch.nn.Module, name: str, manifold: geoopt.Manifold | None) -> None:
    """Record, or with None forget, the manifold of the parameter ``name`` of ``module``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> module = torch.nn.Linear(3, 1)
        >>> set_record(module, "weight", Sphere())
        >>> recorded(module)
        {'weight': Sphere()}
    """
    global _generation
    _generation += 1
    record = module.__dict__.get(_KEY)
    if manifold is None:
        if record is not None:
            record.manifolds.pop(name, None)
        return
    if record is None:
        record = module.__dict__[_KEY] = _Record(module)
        module.register_load_state_dict_pre_hook(_check_state_dict)
    record.manifolds[name] = manifold


def forget(parameter: Tensor) -> None:
    """Lift the constraint of a parameter in every module that owns it.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> layer = torch.nn.Linear(3, 1)
        >>> set_record(layer, "weight", Sphere())
        >>> forget(layer.weight)
        >>> recorded(layer)
        {}
    """
    for record in list(_records):
        for tensor, where in list(record.constraints()):
            if tensor is parameter:
                set_record(where.module, where.name, None)


def constraints_by_id() -> dict[int, Constraint]:
    """Return the constraint of every recorded parameter of every live module, by the tensor's ``id``.

    Example:
        >>> from geowarp import ManifoldParameter
        >>> from geowarp.manifolds import Sphere
        >>> module = torch.nn.Module()
        >>> module.direction = ManifoldParameter(Sphere().random(3), manifold=Sphere())
        >>> constraints_by_id()[id(module.direction)].name
        'direction'
    """
    return {id(parameter): where for record in _records for parameter, where in record.constraints()}


def point_error(manifold: geoopt.Manifold, point: Tensor, name: str | None = None) -> str | None:
    """Return what is wrong with ``point``, with the number and the remedy; None where it is on the manifold.

    The tolerance is 1e-5, or what rounding of that many numbers explains where that is more. A tensor without
    data (on the meta device) is not judged.

    Args:
        manifold: any geoopt or geowarp manifold.
        point: ``(..., *point)``.
        name: the parameter's name, for the text.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> print(point_error(Sphere(), torch.tensor([2.0, 0.0])))
        Sphere(): departure of the point is 1.0e+00, above 1.0e-05; project it with Sphere().projx(x)
    """
    if point.is_meta:
        return None
    with torch.no_grad(), torch.autocast(point.device.type, enabled=False):
        point = point.detach()
        if point.dtype in (torch.float16, torch.bfloat16):
            point = point.float()
        size = torch.Size(point.shape[point.ndim - manifold.ndim :]).numel()
        tolerance = max(1e-5, 4 * torch.finfo(point.dtype).eps * size**0.5)
        ok, reason = manifold.check_point_on_manifold(point, explain=True, atol=tolerance, rtol=tolerance)
    if ok:
        return None
    which = f", for parameter {name!r}" if name else ""
    return f"{manifold!r}: {reason}{which}; project it with {expression(manifold)}.projx(x)"


def _check_state_dict(module: torch.nn.Module, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
    """Refuse points that are off their manifold, in the way torch refuses tensors of a wrong shape."""
    error_messages: list[str] = args[-1]
    for name, manifold in recorded(module).items():
        key, current = prefix + name, module._parameters.get(name)
        point = state_dict.get(key)
        if current is None or not isinstance(point, Tensor) or point.shape != current.shape:
            continue
        error = point_error(manifold, point, key)
        if error is not None:
            error_messages.append(
                f"{error}, or all at once with geowarp.project_state_dict(module, state_dict)."
            )
            state_dict[key] = current.detach()


def _adopt(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
    """Record the manifold of a parameter that is registered, or give it the one that its name has."""
    manifold = getattr(parameter, "manifold", None)
    if isinstance(manifold, geoopt.Manifold):
        set_record(module, name, manifold)
        return
    manifold = recorded(module).get(name)
    if manifold is None or type(parameter) is not torch.nn.Parameter:
        return
    error = point_error(manifold, parameter, name)
    if error is not None:
        raise NotOnManifoldError(
            f"{error}, or lift the constraint with geowarp.unconstrain(module, {name!r})"
        )
    mark(parameter, manifold)


def mark(parameter: torch.nn.Parameter, manifold: geoopt.Manifold) -> None:
    """Turn a plain parameter into a ``ManifoldParameter`` in place: its identity, ties and hooks stay."""
    from .parameter import ManifoldParameter

    parameter.__class__ = ManifoldParameter
    parameter.manifold = manifold  # type: ignore[attr-defined]


torch.nn.modules.module.register_module_parameter_registration_hook(_adopt)
