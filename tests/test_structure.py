"""The design's table of who may import whom, held against the code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# layers as in the design, lowest first; a module may import from lower layers, or what is named beside it
# fmt: off
LAYERS = [
    {"config": [], "machine": ["config"], "interrupts": [], "lock": ["config"], "mesh": ["config"],
     "peers": ["config", "machine"]},
    {"data": ["digits", "published"], "published": ["data"], "digits": [], "distributions": [], "precision": [],
     "records": [], "codes": [], "manifest": []},
    {"conv": [], "dense": [], "networks": ["conv", "dense"], "model": ["networks"], "importance": [], "annealing": []},
    {"objectives": []},
    {"engine": [], "programs": ["engine"], "workers": ["engine", "programs"], "processes": ["workers"],
     "groups": ["engine", "workers"], "sweep": ["engine", "groups", "workers", "processes"],
     "likelihood": ["engine"], "classifier": ["engine"]},
    {"history": [], "checkpoint": ["history"], "trained": ["checkpoint", "history"], "claims": [],
     "evaluation": ["trained"], "grids": ["claims"], "columns": ["claims", "grids"],
     "metrics": ["trained", "history", "grids"]},
    {"plotting": [], "landscape": ["plotting"], "motion": [], "progress": [], "explorer": [],
     "series": ["plotting", "landscape"]},
    {"results": [], "figures": ["results"], "overview": ["results"], "report": ["results", "overview"],
     "resume": ["results"], "summary": ["results"],
     "study": ["results", "figures", "report", "resume", "summary"]},
]
# fmt: on
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
BESIDE = {name: beside for layer in LAYERS for name, beside in layer.items()}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted((ROOT / "jaxvae").glob("*.py")), ids=lambda path: path.stem)
def test_imports_point_down_the_table(path):
    module = path.stem
    if module == "__init__":
        return
    assert module in LEVEL, f"{module} has no place in the design"
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] not in {"experiments", "tests", "benchmarks"}
        if parts[0] == "jaxvae" and len(parts) > 1 and parts[1] in LEVEL:
            assert LEVEL[parts[1]] < LEVEL[module] or parts[1] in BESIDE[module], f"{module} imports {parts[1]}"


def test_rooms_that_need_no_jax_have_none():
    for module in (
        "config",
        "machine",
        "interrupts",
        "lock",
        "manifest",
        "data",
        "published",
        "digits",
        "claims",
        "grids",
        "plotting",
        "landscape",
        "motion",
        "records",
        "codes",
    ):
        assert not {"jax", "flax", "optax"} & {name.split(".")[0] for name in imports(ROOT / "jaxvae" / f"{module}.py")}


def test_files_stay_readable():
    for path in (path for folder in ("jaxvae", "experiments", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")):
        assert len(path.read_text().splitlines()) <= 300, path
        assert path.stem not in {"utils", "types", "helpers", "common"}
