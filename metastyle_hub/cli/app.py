"""`metastyle space`: the Gradio app on this machine."""

from __future__ import annotations

import argparse
import importlib.util

from metastyle_hub.cli.options import add_device
from metastyle_hub.errors import AppError, MetaStyleError

__all__ = ["configure_space"]

_PORT = 7870  # of the browser page
_DESCRIPTION = """Serve the Gradio app on this machine: adapt, compare, mix, stylize videos. It needs no GPU and no
network, but Gradio: pip install 'metastyle-hub[app]'

    metastyle space
    metastyle space --host 0.0.0.0 --port 8000       # also for the other machines of the local network
    metastyle space --browser                        # the page that computes in the visitor's own browser"""


def configure_space(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `space`."""
    parser.description = _DESCRIPTION
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also serve anybody, through a tunnel of Gradio")
    parser.add_argument(
        "--browser",
        action="store_true",
        help="serve the page that computes in the visitor's own browser, without Gradio",
    )
    add_device(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    if args.browser:
        _serve_browser_page(args.host, _PORT if args.port is None else args.port)
        return
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


def _serve_browser_page(host: str, port: int) -> None:
    from metastyle_hub.cli.site import site_server
    from metastyle_hub.export.site import build_site

    site = build_site()
    try:
        server = site_server(site, host, port)
    except OSError as error:
        raise AppError(f"The page cannot be served on {host}, port {port} ({error}); choose another port.") from None
    with server:
        print(f"The page computes in the visitor's browser: http://{host}:{server.server_port}")
        server.serve_forever()
