"""A web server for the browser page, on this machine."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["site_server"]


def site_server(folder: Path, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a folder's files, with the headers that let the page use threads.

    Example::

        with site_server(build_site(), port=7870) as server:
            server.serve_forever()
    """
    return ThreadingHTTPServer((host, port), partial(_Handler, directory=str(folder)))


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012  # the name is that of the base class
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
        ".onnx": "application/octet-stream",
        ".safetensors": "application/octet-stream",
    }

    def end_headers(self) -> None:
        # without isolation there is no SharedArrayBuffer, and so one thread
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "cross-origin")
        self.send_header("Cache-Control", "no-cache")  # asks each time whether a file is newer
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Write no line for each file."""
