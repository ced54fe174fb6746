"""Commands below one name: the one that is asked for, or help on all of them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tyro

Commands = Mapping[str, Callable[..., Any]]


def run_command(
    prog: str, commands: Commands, description: str, arguments: Sequence[str]
) -> None:
    """Runs the command that comes first; without one, shows what there are.

    Args:
      prog: what comes before the name of a command.
      commands: functions by name; their parameters are the flags.
      description: of all of them, for `--help`.
      arguments: of the command line, after `prog`.
    """
    name, *rest = arguments or ["--help"]
    if name in commands:
        tyro.cli(commands[name], prog=f"{prog} {name}", args=rest)
    else:
        _show_all(prog, commands, description, [name, *rest])


def _show_all(
    prog: str, commands: Commands, description: str, arguments: Sequence[str]
) -> None:
    """Help on all commands, a line each; or the error that there is no such one."""
    app = tyro.extras.SubcommandApp()
    for name, command in commands.items():

        def brief() -> None:
            pass

        brief.__doc__ = inspect.cleandoc(command.__doc__ or "").partition("\n")[0]
        app.command(name=name)(brief)
    app.cli(prog=prog, description=description, args=arguments)
