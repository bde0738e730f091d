"""What the attentions are given: checked, in one dtype of at least float32, with known shapes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import GeowarpError
from ...manifolds.linalg.broadcasting import broadcast_shapes

__all__ = ["Arguments", "prepare"]

FORMS = ("quadratic", "chunked", "recurrent")
READS = ("inclusive", "exclusive")


@dataclass(frozen=True)
class Arguments:
    """The tensors of an attention in one dtype; ``q is k`` where the caller's were.

    Args:
        q: queries ``(..., T, K)``.
        k: keys ``(..., T, K)``.
        v: values ``(..., T, V)``.
        beta: write strengths, broadcastable to ``(..., T)``, or None for the Hebbian rule.
        log_decay: broadcastable to ``(..., T)``, or None.
        state: ``(..., K, V)``, or None for zeros.
        batch: the broadcast leading dimensions.
        exclusive: whether a position reads before it writes.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor | None
    log_decay: Tensor | None
    state: Tensor | None
    batch: torch.Size
    exclusive: bool

    def initial_state(self) -> Tensor:
        """Return the state before the first position, of the full broadcast shape."""
        shape = (*self.batch, self.k.shape[-1], self.v.shape[-1])
        return self.v.new_zeros(shape) if self.state is None else self.state.expand(shape)


def prepare(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | float | None,
    log_decay: Tensor | float | None,
    state: Tensor | None,
    form: str,
    read: str,
    chunk: int | None,
) -> Arguments:
    """Return the arguments of the attention ``name`` in one dtype, or raise for what does not fit."""
    _check_options(name, form, read, chunk)
    _check_shapes(name, q, k, v, state)
    beta, log_decay = _gate(name, "beta", beta, v), _gate(name, "log_decay", log_decay, v)
    rows = [tensor.shape[:-2] for tensor in (q, k, v, state) if tensor is not None]
    rows += [gate.shape[:-1] for gate in (beta, log_decay) if gate is not None]
    batch = _broadcast(name, rows)
    dtype = _common_dtype(name, q, k, v, beta, log_decay, state)
    queries = q.to(dtype)
    keys = queries if k is q else k.to(dtype)
    beta, log_decay, state = (None if x is None else x.to(dtype) for x in (beta, log_decay, state))
    return Arguments(queries, keys, v.to(dtype), beta, log_decay, state, batch, read == "exclusive")


def _common_dtype(name: str, *tensors: Tensor | None) -> torch.dtype:
    dtype = torch.float32
    for tensor in tensors:
        if tensor is not None:
            dtype = torch.promote_types(dtype, tensor.dtype)
    if dtype.is_complex:
        raise GeowarpError(f"{name}: {dtype} has no such form; give real and imaginary parts side by side")
    return dtype


def _check_options(name: str, form: str, read: str, chunk: int | None) -> None:
    if form not in FORMS:
        raise GeowarpError(f"{name}: form = {form!r} is none of {', '.join(FORMS)}")
    if read not in READS:
        raise GeowarpError(f"{name}: read = {read!r} is none of {', '.join(READS)}")
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise GeowarpError(f"{name}: chunk = {chunk} must be an integer of at least 1")


def _check_shapes(name: str, q: Tensor, k: Tensor, v: Tensor, state: Tensor | None) -> None:
    for label, tensor in (("q", q), ("k", k), ("v", v), ("state", state)):
        if tensor is not None and tensor.ndim < 2:
            raise GeowarpError(
                f"{name}: {label} has shape {tuple(tensor.shape)}; it needs two dimensions or more"
            )
    if q.shape[-1] != k.shape[-1] or not q.shape[-2] == k.shape[-2] == v.shape[-2]:
        shapes = ", ".join(f"{label} {tuple(t.shape)}" for label, t in (("q", q), ("k", k), ("v", v)))
        raise GeowarpError(f"{name}: {shapes} do not fit q (..., T, K), k (..., T, K), v (..., T, V)")
    expected = (k.shape[-1], v.shape[-1])
    if state is not None and tuple(state.shape[-2:]) != expected:
        raise GeowarpError(f"{name}: state {tuple(state.shape)} does not end in (K, V) = {expected}")


def _gate(name: str, label: str, gate: Tensor | float | None, v: Tensor) -> Tensor | None:
    if gate is None:
        return None
    if not isinstance(gate, Tensor):
        gate = torch.tensor(float(gate), dtype=torch.promote_types(v.dtype, torch.float32), device=v.device)
    gate = gate.unsqueeze(0) if gate.ndim == 0 else gate
    if gate.shape[-1] not in (1, v.shape[-2]):
        raise GeowarpError(
            f"{name}: {label} {tuple(gate.shape)} does not broadcast to (..., T) with T = {v.shape[-2]}"
        )
    return gate


def _broadcast(name: str, shapes: list[torch.Size]) -> torch.Size:
    try:
        return broadcast_shapes(*shapes)
    except RuntimeError:
        found = ", ".join(str(tuple(shape)) for shape in shapes)
        raise GeowarpError(f"{name}: the leading dimensions {found} do not broadcast") from None
