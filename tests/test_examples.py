"""Examples in docstrings and in the README run and give what they say."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = [path for path in sorted((ROOT / "jaxvae").rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_of_a_module_give_what_they_say(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted > 0
    assert failed == 0


def test_the_readmes_example_of_own_data_runs():
    """With fewer epochs; its comments say which shapes come out."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Your own data")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    assert "epochs=100" in code
    found = {}
    exec(code.replace("epochs=100", "epochs=1"), found)
    for name, shape in re.findall(r"^(\w+) = .*# \[([\d, ]+)\]", code, re.MULTILINE):
        assert found[name].shape == tuple(map(int, shape.split(","))), name
    assert found["likeness"].mean() == pytest.approx(found["measurements"].mean(), rel=0.2)
