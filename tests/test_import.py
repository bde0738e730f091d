"""Importing geowarp is quiet and light."""

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_import_is_quiet_and_lazy_also_when_all_modules_are_looked_at() -> None:
    heavy = "{'scipy.optimize', 'matplotlib', 'sklearn', 'torch._dynamo'}"
    loaded = f"print(sorted({heavy} & set(sys.modules)))"
    look = "inspect.getmodule(inspect.currentframe()); print('scipy.optimize' in sys.modules)"
    assert run(f"import geowarp, sys; {loaded}; import inspect; {look}").split() == ["[]", "False"]


def test_geoopt_optimisers_load_on_use() -> None:
    code = "import geowarp, geoopt; print(geoopt.optim.RiemannianAdam.__name__)"
    assert run(code).strip() == "RiemannianAdam"


def test_submodules_of_geoopts_optimisers_import() -> None:
    code = (
        "import geowarp; from geoopt.optim.rsgd import RiemannianSGD; from geoopt.optim import RiemannianAdam"
    )
    assert run(code) == ""
