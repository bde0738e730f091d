"""Checks of the shapes of points that layers are given."""

from torch import Tensor

from ...errors import GeowarpError

__all__ = ["check_points"]


def check_points(
    name: str, x: Tensor, point_shape: tuple[int, ...], heads: int | None = None, *, tokens: bool = False
) -> None:
    """Raise GeowarpError where x is not ``(..., *point)``, with heads ``(..., heads or 1, N, *point)``.

    With ``tokens``, where it is not ``(..., N, *point)``.

    Example:
        >>> import torch
        >>> check_points("layer", torch.zeros(4, 2, 5, 3, 3), (3, 3), heads=2)
        >>> try:
        ...     check_points("layer", torch.zeros(4, 3, 5, 3, 3), (3, 3), heads=2)
        ... except GeowarpError as error:
        ...     print(error)
        layer: the input has shape (4, 3, 5, 3, 3) and must be (..., 2 or 1, N, 3, 3)
    """
    size = len(point_shape)
    fits = x.ndim >= size and tuple(x.shape[x.ndim - size :]) == point_shape
    if tokens:
        fits = fits and x.ndim > size
    elif fits and heads is not None:
        fits = x.ndim >= size + 2 and x.shape[-size - 2] in (1, heads)
    if not fits:
        batch = "..., N" if tokens else "..." if heads is None else f"..., {heads} or 1, N"
        wanted = ", ".join([batch, *map(str, point_shape)])
        raise GeowarpError(f"{name}: the input has shape {tuple(x.shape)} and must be ({wanted})")
