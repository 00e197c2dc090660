"""`metastyle completion`: completion of commands, options and file names in a shell."""

from __future__ import annotations

import argparse

import shtab

__all__ = ["configure_completion"]

_DESCRIPTION = """Print a script that lets a shell complete commands, options and file names.

    metastyle completion bash > ~/.local/share/bash-completion/completions/metastyle
    metastyle completion zsh > ~/.zfunc/_metastyle"""


def configure_completion(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `completion`."""
    parser.description = _DESCRIPTION
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="the shell")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from metastyle_hub.cli.main import command_parser

    print(shtab.complete(command_parser(None), args.shell))
