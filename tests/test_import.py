"""Importing geowarp is quiet and light."""

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_import_is_quiet_and_lazy() -> None:
    heavy = "{'scipy.optimize', 'matplotlib', 'sklearn'}"
    assert run(f"import geowarp, sys; print(sorted({heavy} & set(sys.modules)))").strip() == "[]"


def test_geoopt_optimisers_load_on_use() -> None:
    code = "import geowarp, geoopt; print(geoopt.optim.RiemannianAdam.__name__)"
    assert run(code).strip() == "RiemannianAdam"


def test_looking_at_all_modules_loads_nothing() -> None:
    look = "inspect.getmodule(inspect.currentframe()); print('scipy.optimize' in sys.modules)"
    assert run(f"import geowarp, inspect, sys; {look}").strip() == "False"


def test_submodules_of_geoopts_optimisers_import() -> None:
    code = (
        "import geowarp; from geoopt.optim.rsgd import RiemannianSGD; from geoopt.optim import RiemannianAdam"
    )
    assert run(code) == ""


def test_import_does_not_load_dynamo() -> None:
    assert run("import geowarp, sys; print('torch._dynamo' in sys.modules)").strip() == "False"
