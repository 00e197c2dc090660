"""`metastyle space`: the Gradio app on this machine."""

from __future__ import annotations

import argparse
import importlib.util

from metastyle_hub.cli.options import add_device
from metastyle_hub.errors import AppError, MetaStyleError

__all__ = ["configure_space"]

_DESCRIPTION = """Serve the Gradio app on this machine: adapt, compare, mix, stylize videos. It needs no GPU and no
network, but Gradio: pip install 'metastyle-hub[app]'

    metastyle space
    metastyle space --host 0.0.0.0 --port 8000       # also for the other machines of the local network"""


def configure_space(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `space`."""
    parser.description = _DESCRIPTION
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also serve anybody, through a tunnel of Gradio")
    add_device(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    if importlib.util.find_spec("gradio") is None:
        raise AppError("The app needs gradio, which is not installed; run: pip install 'metastyle-hub[app]'.")
    from metastyle_hub.app import main

    try:
        main(args.device, server_name=args.host, server_port=args.port, share=args.share)
    except MetaStyleError:
        raise
    except OSError as error:
        raise AppError(
            f"The app cannot be served on {args.host}, port {args.port or 'from 7860'} ({error}); choose another port."
        ) from None
