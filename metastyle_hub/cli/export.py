"""`metastyle export`: ONNX graphs for the browser page."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from metastyle_hub.artifacts.config import BaseReference
from metastyle_hub.errors import ExportError, SettingError
from metastyle_hub.hub.download import EMBEDDED, load_artifact

__all__ = ["configure_export"]

_DESCRIPTION = """Export to ONNX: one style as a model that maps images to images, or all that the browser page needs,
adaptation included. It needs onnx and onnxruntime: pip install 'metastyle-hub[export]'

    metastyle export starry -o starry.onnx
    metastyle export --browser starry wave -o model"""


def configure_export(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `export`."""
    parser.description = _DESCRIPTION
    parser.add_argument("styles", nargs="*", metavar="STYLE", help="folders or Hub repos of styles")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .onnx file, or the folder of --browser")
    parser.add_argument("--browser", action="store_true", help="write the folder that the browser page loads")
    parser.add_argument("--base", default=str(EMBEDDED), help="with --browser: folder or Hub repo of another base")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")):
        raise ExportError("Export needs onnx and onnxruntime; run: pip install 'metastyle-hub[export]'.")
    if args.browser:
        _export_browser(args)
    else:
        raise SettingError("not yet")


def _export_browser(args: argparse.Namespace) -> None:
    from metastyle_hub.export.browser import export_browser

    base = load_artifact(args.base)
    reference = None
    if base.origin.folder != EMBEDDED:
        reference = BaseReference(base.fingerprint, base.origin.repo_id or "unshared", base.origin.commit)
    styles = {Path(source).name: load_artifact(source) for source in args.styles}
    folder = export_browser(base, styles, args.out, reference=reference)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB, base {base.config.name}, {len(styles)} styles")
