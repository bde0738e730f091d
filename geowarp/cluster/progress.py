"""A progress bar over epochs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .._extras import import_extra

__all__ = ["epoch_bar"]


@contextmanager
def epoch_bar(epochs: int, verbose: bool) -> Iterator[Callable[[float], None]]:
    """Give a function to be called with the loss of each epoch; with ``verbose`` it moves a bar on stderr.

    Raises:
        MissingExtraError: for ``verbose`` without tqdm.

    Example:
        >>> with epoch_bar(2, verbose=False) as progress:
        ...     progress(0.5)
    """
    if not verbose:
        yield lambda loss: None
        return
    tqdm = import_extra("tqdm", "cluster", "MultiviewSubspaceClustering(verbose=True)").tqdm
    with tqdm(total=epochs, unit="epoch", dynamic_ncols=True) as bar:

        def advance(loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            bar.update()

        yield advance
