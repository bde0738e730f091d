"""Results that appear in their folder all together, or not at all."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import GeowarpError

__all__ = ["publish"]


def publish(folder: Path, writers: Mapping[str, Callable[[Path], object]]) -> None:
    """Let each writer write to a temporary name in ``folder``, then rename all files to their names.

    An interruption or an error before the last file is complete leaves the folder as it was.

    Args:
        folder: made if it does not exist.
        writers: file names, and functions that write a file to the path they are given.

    Raises:
        GeowarpError: where the folder or a file cannot be written, with the reason.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> publish(folder, {"hello.txt": lambda path: path.write_text("hello")})
        >>> [path.name for path in folder.iterdir()]
        ['hello.txt']
    """
    made = not folder.exists()
    partial = {name: folder / f".{name}.{os.getpid()}.partial" for name in writers}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, write in writers.items():
            write(partial[name])
        for name, path in partial.items():
            path.replace(folder / name)
    except OSError as error:
        raise GeowarpError(f"cannot write to {folder}: {error.strerror}") from error
    finally:
        if folder.is_dir():
            for path in partial.values():
                path.unlink(missing_ok=True)
            if made and not any(folder.iterdir()):
                folder.rmdir()
