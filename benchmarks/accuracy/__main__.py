"""Entry point of ``python benchmarks/accuracy``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from accuracy.command import main

    main()
