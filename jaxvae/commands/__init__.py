"""What is given on a command line: options become calls of the library, its errors one line and an exit code.

Nothing here imports JAX, or a module that does, before a command has set JAX's environment.
"""

from jaxvae.commands import evaluate, report, search, sweep
from jaxvae.commands.advice import command_line
from jaxvae.commands.command import Parser, add_debug, guarded, leave, set_environment, start_jax

__all__ = [
    "Parser", "add_debug", "command_line", "evaluate", "guarded", "leave", "report", "search", "set_environment",
    "start_jax", "sweep",
]  # fmt: skip
