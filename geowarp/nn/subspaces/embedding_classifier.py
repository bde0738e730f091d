"""A linear classifier of projection matrices."""

from torch import Tensor, nn

from ...errors import GeowarpError
from .projection_embedding import ProjectionEmbedding

__all__ = ["EmbeddingClassifier"]


class EmbeddingClassifier(nn.Module):
    """A linear map of the projectors of bases ``(..., maps, n, k)`` to logits ``(..., num_classes)``.

    The embeddings of the maps, ``n (n + 1) / 2`` numbers each, stand side by side.

    Args:
        n: the size of the vectors.
        k: the dimension of the subspaces.
        num_classes: how many classes.
        maps: how many subspaces an input consists of; None for one, ``(..., n, k)``.

    Raises:
        GeowarpError: for sizes below 1.

    References:
        Huang, Wu, Van Gool, Building deep networks on Grassmann manifolds, AAAI (2018), section 3.4.

    Example:
        >>> EmbeddingClassifier(4, 2, 3)(torch.eye(4)[:, :2]).shape
        torch.Size([3])
    """

    def __init__(self, n: int, k: int, num_classes: int, *, maps: int | None = None) -> None:
        super().__init__()
        if min(n, num_classes, 1 if maps is None else maps) < 1:
            raise GeowarpError(
                f"EmbeddingClassifier: n = {n}, num_classes = {num_classes} and maps = {maps} need 1 or more"
            )
        self.n, self.maps = n, maps
        self.embedding = ProjectionEmbedding()
        self.linear = nn.Linear((1 if maps is None else maps) * n * (n + 1) // 2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of bases ``(..., [maps,] n, k)``, ``(..., num_classes)``.

        Raises:
            GeowarpError: for bases of another size, or another number of them.
        """
        point = (self.n,) if self.maps is None else (self.maps, self.n)
        if tuple(x.shape[-1 - len(point) : -1]) != point:
            raise GeowarpError(
                f"EmbeddingClassifier: the bases have the shape {tuple(x.shape)}; it needs (..., "
                f"{', '.join(map(str, point))}, k)"
            )
        embedded: Tensor = self.embedding(x)
        logits: Tensor = self.linear(embedded if self.maps is None else embedded.flatten(-2))
        return logits
