"""The `lobtuna` command: one file a command; heavy imports happen inside each, so that `--help` answers at once."""

import importlib
import os
import sys
from importlib.metadata import version as package
from typing import Annotated

import typer

from search.cli.help import Group
from search.cli.manual import COMMANDS
from search.errors import EXPECTED, RunNotStoredError, told
from search.work.exits import exit_of


def _print_version(wanted: bool) -> None:
    """Print the versions that a bug report should name, and exit."""
    if wanted:
        python = ".".join(map(str, sys.version_info[:3]))
        print(f"lobtuna {package('lobtuna')}, optuna {package('optuna')}, python {python}")
        raise typer.Exit


app = typer.Typer(
    name="lobtuna",
    cls=Group,
    epilog="lobtuna demo",
    add_completion=True,  # lobtuna --install-completion
    pretty_exceptions_enable=False,  # a bug keeps its plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Search, train, ensemble and ship order-book forecasters as one Optuna study."""


for _name in (name for names in COMMANDS.values() for name in names):
    importlib.import_module(f"search.cli.{_name}").register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit 0: done; 1: an expected failure, printed in one line; 2: usage; 69: the same as 1,
    where a worker could not store its finished run."""
    try:
        app(args=arguments)
    except EXPECTED as error:
        print(f"lobtuna: {told(error)}", file=sys.stderr)
        sys.exit(exit_of(error) if isinstance(error, RunNotStoredError) else 1)
    except BrokenPipeError:  # `lobtuna rank | head` closes our stdout: not a failure, and nothing left to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
