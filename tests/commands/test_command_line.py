"""`jaxvae` and `python -m jaxvae`, and what the errors of the library and of its commands speak of."""

import ast
import re
import subprocess
import sys

import pytest

import jaxvae
from jaxvae.commands.advice import command_line, with_options
from jaxvae.errors import InputError, Remedy
from tests.command_line import ROOT

COMMAND_MODULES = [ROOT / "jaxvae" / "__main__.py", *(ROOT / "jaxvae" / "commands").glob("*.py")]
LIBRARY = sorted({*(ROOT / "jaxvae").rglob("*.py")} - {*COMMAND_MODULES})
COMMANDS = ("sweep", "evaluate", "report")


def given(*arguments):
    """What came of a command: its exit code, output and errors."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_help_lists_the_commands_and_the_version_is_the_packages():
    code, printed, err = given("-m", "jaxvae", "--help")
    assert (code, err) == (0, "")
    assert printed.startswith("usage: python -m jaxvae ")
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w", printed, re.MULTILINE)
    assert given("-m", "jaxvae", "--version") == (0, f"jaxvae {jaxvae.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["swep"], "invalid choice: 'swep'"),
        (["--fresh"], "COMMAND"),
        (["sweep", "--fresch"], "unrecognized arguments: --fresch"),
        (["evaluate"], "the following arguments are required: RUN"),
        (["report", "nowhere"], "nowhere is no folder"),
    ],
)
def test_what_is_no_command_is_one_line_and_exit_2(arguments, says):
    code, printed, err = given("-m", "jaxvae", *arguments)
    assert (code, printed) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_called_what_its_user_called_it(name):
    for start, line in (
        (["-m", "jaxvae", name], f"python -m jaxvae {name}"),
        (["-m", f"experiments.{name}"], f"python -m experiments.{name}"),
        (["-c", "from jaxvae.__main__ import script; script()", name], f"jaxvae {name}"),  # as the installed one does
    ):
        code, printed, err = given(*start, "--help")
        assert (code, err) == (0, "")
        assert printed.startswith(f"usage: {line} ")
        assert f"\n  {line} results/mnist" in printed or f"\n  {line} --" in printed  # an example
        assert "%(prog)" not in printed


@pytest.mark.parametrize("module", ["jaxvae", *(f"experiments.{name}" for name in (*COMMANDS, "published"))])
def test_help_imports_nothing_that_takes_its_time(module):
    code, _, err = given("-X", "importtime", "-m", module, "--help")
    assert code == 0
    imported = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert "jaxvae.commands.sweep" in imported
    slow = {"jax", "flax", "numpy", "scipy", "matplotlib", "rich", "psutil", "jaxvae.config", "multiprocessing"}
    assert not slow & imported


def test_a_module_of_a_command_imports_none_that_will_import_jax():
    """`jaxvae.config` and all above it are imported within functions, when JAX's environment is set."""
    for path in COMMAND_MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("jaxvae."):
                assert node.module.split(".")[1] in {"errors", "system", "commands"}, path


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def literals(path):
    """Texts in the code, without docstrings."""
    tree = ast.parse(path.read_text())
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_library_speaks_of_no_option_and_no_command(path):
    for text in literals(path):
        assert not re.search(r"(^|[^\w-])--[a-z]|experiments\.|command again", text), text


def test_a_command_says_each_remedy_in_its_own_words():
    for remedy in Remedy:
        assert with_options(remedy) != remedy
        assert not [other for other in Remedy if other != remedy and other in remedy]  # whichever comes first
    error = InputError(f"a is damaged; {Remedy.START_ANEW}, or {Remedy.ANOTHER_FOLDER}")
    assert str(error) == "a is damaged; pass fresh=True to start anew, or choose another folder"
    assert with_options(str(error)) == "a is damaged; use --fresh to start anew, or choose another --out"
    assert command_line("sweep") == "jaxvae sweep"
    assert with_options(f"a is no run; {Remedy.STUDY} trains runs") == "a is no run; `jaxvae sweep` trains runs"
