"""The `metastyle space` command: the Gradio page on this machine."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from metastyle_hub.errors import MetaStyleError

__all__ = ["SpaceError", "add_space_command", "space_folder"]

_SPACE = """Serves the page of the Space on this machine: adapt, compare, mix. It needs no GPU and no network.

    metastyle space
    metastyle space --host 0.0.0.0 --port 8000       # for the other machines of the house"""


class SpaceError(MetaStyleError, ValueError):
    """The page cannot be served; the sentence says why and what to do."""


def add_space_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `space` to the command line; `command` makes a subcommand."""
    space = command("space", _space, "the same in the browser", _SPACE)
    space.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine)")
    space.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    space.add_argument("--share", action="store_true", help="also reachable for anybody through a tunnel of Gradio's")


def space_folder() -> Path:
    """The folder with the page: that of the checkout which this package is part of.

    Raises:
        SpaceError: the package is not part of a checkout, or Gradio is not installed.
    """
    folder = Path(__file__).resolve().parents[2] / "space"
    if not (folder / "app.py").is_file():
        raise SpaceError(
            f"The page is not part of the installed package ({folder} has no app.py); "
            "clone the repository and run `make space` in it, or open the Space on the Hub."
        )
    if importlib.util.find_spec("gradio") is None:
        raise SpaceError("The page needs gradio, which is not installed; run: pip install 'metastyle-hub[space]'")
    return folder


def _space(args: argparse.Namespace) -> None:
    folder = str(space_folder())
    if folder not in sys.path:
        # the modules of a Space find each other as neighbours, there and here
        sys.path.insert(0, folder)
    import app

    try:
        app.main(args.device, server_name=args.host, server_port=args.port, share=args.share)
    except OSError as error:
        raise SpaceError(
            f"The page cannot be served on {args.host}, port {args.port or 'from 7860'} ({error}); choose another port."
        ) from None
