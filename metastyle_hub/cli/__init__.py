"""The `metastyle` command: `commands.py` has its parser and what needs no network, the other modules the rest."""

from metastyle_hub.cli.commands import main

__all__ = ["main"]
