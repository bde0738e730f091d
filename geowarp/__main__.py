"""The command line: ``python -m geowarp`` or ``geowarp``."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from . import __version__, manifolds
from .demo.arguments import add_arguments, check_arguments, require_extras
from .errors import GeowarpError

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0; 2 for what the user can put right; 130 for Ctrl-C; 141 where nobody reads the output any more.
    """
    parser = _Parser(prog="geowarp", description="Geometric optimisation for PyTorch.")
    parser.add_argument("--version", action="version", version=f"geowarp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    summary = "train a byte-level BDH on Stiefel manifolds beside the same model in flat space"
    add_arguments(commands.add_parser("demo", help=summary, description=f"{summary.capitalize()}."))
    given = parser.parse_args(argv)
    if given.command is None:
        print(_overview(summary))
        return 0
    try:
        _demo(given)
    except GeowarpError as error:
        print(f"geowarp demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ngeowarp demo: interrupted; nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # as Python's documentation advises: else the flush at exit would fail, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("geowarp demo: nobody reads the output any more; stopped", file=sys.stderr)
        return 141
    return 0


def _demo(given: argparse.Namespace) -> None:
    require_extras()
    arguments = check_arguments(given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a sample may hold what the terminal cannot show
    from .demo.run import run

    run(arguments)


def _overview(summary: str) -> str:
    kinds = (getattr(manifolds, name) for name in manifolds.__all__)
    names = [
        kind.__name__
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, manifolds.Manifold) and kind is not manifolds.Manifold
    ]
    return (
        f"geowarp {__version__}: geometric optimisation for PyTorch\n\n"
        f"commands:\n  demo    {summary}\n\nmanifolds:\n  {', '.join(names)}\n\n"
        "python -m geowarp demo --help lists the options"
    )


if __name__ == "__main__":
    sys.exit(main())
