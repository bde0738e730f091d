"""A fitted model in one safetensors file: tensors, and the rest as JSON in its metadata."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._extras import import_extra
from ..errors import GeowarpError

__all__ = ["Record", "read_record", "write_record"]

_FORMAT, _VERSION = "geowarp.cluster", 1


@dataclass(frozen=True, eq=False)
class Record:
    """What a file holds: the name of the model, its tensors by name, and values that JSON can hold.

    Example:
        >>> Record("Model", {"weight": torch.zeros(2)}, {"n_clusters": 3}).values["n_clusters"]
        3
    """

    model: str
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with a prefix, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def write_record(path: str | os.PathLike[str], record: Record) -> None:
    """Write a record; an error on the way leaves a file of that name as it was.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "model.safetensors")
        >>> write_record(path, Record("Model", {"weight": torch.zeros(2)}, {"n_clusters": 3}))
        >>> read_record(path, "Model").tensors
        {'weight': tensor([0., 0.])}
    """
    save = import_extra("safetensors.torch", "cluster", "save").save
    target = Path(path)
    metadata = {
        "format": _FORMAT,
        "version": str(_VERSION),
        "model": record.model,
        "values": json.dumps(dict(record.values)),
    }
    content = save({name: _plain(tensor) for name, tensor in record.tensors.items()}, metadata=metadata)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def read_record(path: str | os.PathLike[str], model: str) -> Record:
    """Return the record of a model that ``write_record`` wrote.

    Raises:
        GeowarpError: where the file is damaged, is of another kind or model, or of another version.
        FileNotFoundError: where there is none.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "model.safetensors")
        >>> write_record(path, Record("Model", {}, {"n_clusters": 3}))
        >>> read_record(path, "Model").values
        {'n_clusters': 3}
    """
    safetensors = import_extra("safetensors", "cluster", "load")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {os.fspath(path)}")
    try:
        with safetensors.safe_open(os.fspath(path), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise GeowarpError(
            f"{os.fspath(path)} is damaged, or no safetensors file: {error}; save the model again"
        ) from error
    if metadata.get("format") != _FORMAT or metadata.get("model") != model:
        found = metadata.get("model") or metadata.get("format") or "another program"
        raise GeowarpError(f"{os.fspath(path)} is a file of {found}, not one that {model}.save wrote")
    if metadata.get("version") != str(_VERSION):
        raise GeowarpError(
            f"{os.fspath(path)} has the format version {metadata.get('version')}, and this geowarp reads "
            f"{_VERSION}; update geowarp"
        )
    try:
        values = json.loads(metadata["values"])
    except (KeyError, ValueError) as error:
        raise GeowarpError(f"{os.fspath(path)} is damaged: {error}; save the model again") from error
    return Record(model, tensors, values)


def _plain(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU that shares memory with no other tensor."""
    return tensor.detach().as_subclass(torch.Tensor).cpu().clone(memory_format=torch.contiguous_format)
