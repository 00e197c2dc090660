"""The `metastyle` command: `main.py` parses, every other module has the commands of one group."""

from metastyle_hub.cli.main import main

__all__ = ["main"]
