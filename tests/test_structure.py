"""The design's order of folders, held against the imports in the code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# lowest first: a folder imports from those before it alone, and only names that their __init__ lists
FOLDERS = [
    "errors", "values", "jax_settings", "parts", "naming", "formats", "system", "data", "nn", "models", "schedules",
    "objectives", "optimisers", "stopping", "config", "training", "runs", "evaluation", "results", "figures", "page",
    "study", "search", "sklearn", "commands", "__main__",
]  # fmt: skip
WITHOUT_JAX = ("errors.py", "values.py", "system", "data", "results/claims.py", "figures/plotting.py",
               "figures/pictures.py", "figures/settings_map.py", "figures/animation.py", "evaluation/records.py",
               "evaluation/metrics.py",
               "evaluation/code_metrics.py", "evaluation/likelihood_metrics.py", "evaluation/codes.py",
               "runs/manifest.py", "__main__.py")  # fmt: skip
MODULES = sorted((ROOT / "jaxvae").rglob("*.py"))


def place(path):
    """The folder of a module, or itself where it lies at the top."""
    return path.relative_to(ROOT / "jaxvae").parts[0].removesuffix(".py")


def imports(path):
    """(module, name or None) of every import in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def offered(folder):
    """What a folder's __init__ lists in __all__."""
    tree = ast.parse((ROOT / "jaxvae" / folder / "__init__.py").read_text())
    lists = [node for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
    return set(ast.literal_eval(lists[0].value))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_folders_import_downwards_and_what_is_offered(path):
    own = place(path)
    if own == "__init__":
        return
    assert own in FOLDERS, f"{own} has no place in the design"
    for module, name in imports(path):
        parts = module.split(".")
        assert parts[0] not in {"experiments", "tests", "benchmarks"}
        if parts[0] != "jaxvae":
            continue
        names = [name] if len(parts) == 1 else parts[1:]
        folder = names[0]
        if folder == own or folder == "__version__":
            continue
        assert FOLDERS.index(folder) < FOLDERS.index(own), f"{own} imports {folder}"
        if (ROOT / "jaxvae" / folder).is_dir():
            assert len(parts) <= 2, f"{module} is not the folder's own list of names"
            assert len(parts) == 1 or name in offered(folder), f"{folder} does not offer {name}"


def test_modules_that_need_no_jax_have_none():
    for place in WITHOUT_JAX:
        path = ROOT / "jaxvae" / place
        for module in [path] if path.is_file() else path.rglob("*.py"):
            assert not {"jax", "flax", "optax"} & {name.split(".")[0] for name, _ in imports(module)}, module


def test_files_stay_readable():
    for path in (path for folder in ("jaxvae", "experiments", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")):
        assert len(path.read_text().splitlines()) <= 300, path
        assert path.stem not in {"utils", "types", "helpers", "common"}
