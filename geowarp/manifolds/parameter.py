"""Parameters on manifolds, and where a parameter's manifold is recorded."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError, NotOnManifoldError
from .record import constraints_by_id, forget, mark, point_error, recorded, set_record

__all__ = [
    "ManifoldParameter",
    "constrain",
    "manifold_of",
    "named_manifolds",
    "project_state_dict",
    "unconstrain",
]


class ManifoldParameter(geoopt.ManifoldParameter):  # type: ignore[misc]
    """A ``torch.nn.Parameter`` that is a point of a manifold, checked at construction.

    A module that owns it records the manifold by the parameter's name, so that it is still known after the
    conversions in which a tensor subclass loses its class.

    Args:
        data: the point ``(..., *point)``; a ``geoopt.ManifoldTensor`` brings its manifold along.
        manifold: a manifold of geowarp or geoopt; by default that of ``data``.
        requires_grad: as for ``torch.nn.Parameter``.

    Raises:
        NotOnManifoldError: where ``data`` is not on the manifold, with the size of the violation.
        ValueError: where ``data`` brings another manifold than the one given, or none is known.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> ManifoldParameter(torch.tensor([0.6, 0.8]), manifold=Sphere())
        Parameter on Sphere() containing:
        Parameter(ManifoldParameter([0.6000, 0.8000], requires_grad=True))
    """

    def __new__(
        cls, data: Tensor, manifold: geoopt.Manifold | None = None, requires_grad: bool = True
    ) -> "ManifoldParameter":
        """Check the point and share its storage, as ``torch.nn.Parameter`` does."""
        known = getattr(data, "manifold", None)
        if manifold is None:
            manifold = known
        if manifold is None:
            raise GeowarpError("ManifoldParameter: no manifold; give manifold=..., as in manifold=Stiefel()")
        if known is not None and manifold != known:
            raise GeowarpError(
                f"ManifoldParameter: the data is a point of {known!r}, not of {manifold!r}; "
                "pass data.detach().clone() to reinterpret it"
            )
        plain = data.detach().as_subclass(Tensor)
        manifold.assert_check_point(plain)
        error = point_error(manifold, plain)
        if error is not None:
            raise NotOnManifoldError(error)
        return cls._wrap(plain, manifold, requires_grad)

    @classmethod
    def _wrap(cls, data: Tensor, manifold: geoopt.Manifold, requires_grad: bool) -> "ManifoldParameter":
        parameter: ManifoldParameter = Tensor._make_subclass(cls, data, requires_grad)
        parameter.manifold = manifold
        return parameter

    def __deepcopy__(self, memo: dict[int, Any]) -> "ManifoldParameter":
        if id(self) not in memo:
            data = self.detach().clone(memory_format=torch.preserve_format)
            manifold = copy.deepcopy(self.manifold, memo)  # may be a learnable one of the same module
            memo[id(self)] = self._wrap(data, manifold, self.requires_grad)
        copied: ManifoldParameter = memo[id(self)]
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        plain = torch.nn.Parameter(self.detach().as_subclass(Tensor), self.requires_grad)
        return _rebuild, (type(self), plain, self.manifold)


def _rebuild(cls: type[ManifoldParameter], plain: Tensor, manifold: geoopt.Manifold) -> ManifoldParameter:
    return cls._wrap(plain.detach(), manifold, plain.requires_grad)


def constrain(
    module: torch.nn.Module, name: str, manifold: geoopt.Manifold, *, project: bool = True
) -> torch.nn.Module:
    """Put the parameter ``name`` of an existing module on a manifold, in place.

    The parameter stays the same object, so ties with other modules, hooks and references to it hold. Build
    the optimiser afterwards.

    Args:
        module: the module that owns the parameter.
        name: its name there, without dots.
        manifold: a manifold of geowarp or geoopt.
        project: move the parameter to the manifold with ``projx``; otherwise it must be there already.

    Returns:
        The module.

    Raises:
        GeowarpError: where the module has no such parameter, or its shape is not that of a point.
        NotOnManifoldError: where the parameter is off the manifold and ``project`` is False.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> layer = constrain(torch.nn.Linear(3, 2), "weight", Sphere())
        >>> torch.allclose(layer.weight.norm(dim=-1), torch.ones(2))
        True
    """
    parameter = module._parameters.get(name)
    if parameter is None:
        names = ", ".join(module._parameters) or "none"
        raise GeowarpError(f"constrain: {type(module).__name__} owns no parameter {name!r}; it owns: {names}")
    ok, reason = manifold._check_shape(tuple(parameter.shape), name)
    if not ok:
        raise GeowarpError(f"constrain: {manifold!r}: {reason}")
    point = parameter.detach().as_subclass(Tensor)
    if project and not point.is_meta:
        projected = manifold.projx(point)
        error = point_error(manifold, projected, name)
        if error is None:
            point.copy_(projected)
    else:
        error = point_error(manifold, point, name)
    if error is not None:
        raise NotOnManifoldError(error)
    mark(parameter, manifold)
    set_record(module, name, manifold)
    return module


def unconstrain(module: torch.nn.Module, name: str) -> torch.nn.Module:
    """Lift the constraint of the parameter ``name``: it becomes a plain parameter with the same values.

    It does so in all modules that share it. Build the optimiser afterwards.

    Args:
        module: the module that owns the parameter.
        name: its name there.

    Returns:
        The module.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> layer = constrain(torch.nn.Linear(3, 2), "weight", Sphere())
        >>> dict(named_manifolds(unconstrain(layer, "weight")))
        {}
    """
    set_record(module, name, None)
    parameter = module._parameters.get(name)
    if parameter is not None:
        forget(parameter)
    if parameter is not None and hasattr(parameter, "manifold"):
        del parameter.manifold
        parameter.__class__ = torch.nn.Parameter
    return module


def named_manifolds(module: torch.nn.Module) -> Iterator[tuple[str, geoopt.Manifold]]:
    """Yield the qualified name and the manifold of every constrained parameter, each parameter once.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> net = torch.nn.Sequential(constrain(torch.nn.Linear(3, 2), "weight", Sphere()))
        >>> list(named_manifolds(net))
        [('0.weight', Sphere())]
    """
    seen: set[int] = set()
    for name, parameter, manifold in _constrained(module):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            yield name, manifold


def _constrained(module: torch.nn.Module) -> Iterator[tuple[str, Tensor, geoopt.Manifold]]:
    for prefix, owner in module.named_modules(remove_duplicate=False):
        record = recorded(owner)
        for name, parameter in owner._parameters.items():
            manifold = record.get(name, getattr(parameter, "manifold", None))
            if parameter is not None and manifold is not None:
                yield f"{prefix}.{name}" if prefix else name, parameter, manifold


def manifold_of(parameter: Tensor) -> geoopt.Manifold | None:
    """Return the manifold of a parameter, from itself or from the module that owns it; None without one.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> layer = constrain(torch.nn.Linear(3, 2), "weight", Sphere())
        >>> manifold_of(layer.weight), manifold_of(layer.bias)
        (Sphere(), None)
    """
    own = getattr(parameter, "manifold", None)
    if own is not None:
        return own
    where = constraints_by_id().get(id(parameter))
    return None if where is None else where.manifold


def project_state_dict(module: torch.nn.Module, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``state_dict`` with the entries of constrained parameters projected to their manifolds.

    For a checkpoint that was trained without constraints, averaged, or stored in half precision. The
    projected entries have the dtype of the module's parameters; nothing is changed in place.

    Args:
        module: the module that the result is for.
        state_dict: what ``load_state_dict`` would take.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> layer = constrain(torch.nn.Linear(2, 1, bias=False), "weight", Sphere())
        >>> layer.load_state_dict(project_state_dict(layer, {"weight": torch.tensor([[3.0, 4.0]])}))
        <All keys matched successfully>
        >>> layer.weight.detach()
        tensor([[0.6000, 0.8000]])
    """
    projected = dict(state_dict)
    for name, parameter, manifold in _constrained(module):
        entry = projected.get(name)
        if isinstance(entry, Tensor):
            projected[name] = manifold.projx(entry.detach().as_subclass(Tensor).to(parameter.dtype))
    return projected
