"""`metastyle export`: a style as an ONNX file; all graphs of the browser page."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from metastyle_hub.artifacts.config import BaseReference
from metastyle_hub.errors import ExportError, SettingError
from metastyle_hub.hub.download import EMBEDDED, load_artifact
from metastyle_hub.model import MetaStyle

__all__ = ["configure_export"]

_DESCRIPTION = """Export to ONNX: one style as a model that maps images to images, or all that the browser page needs,
adaptation included. It needs onnx and onnxruntime: pip install 'metastyle-hub[export]'

    metastyle export starry -o starry.onnx
    metastyle export starry -o starry_half.onnx --half
    metastyle export --browser starry wave -o model"""


def configure_export(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `export`."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "styles", nargs="*", metavar="STYLE", help="folders or Hub repos of styles; without --browser one"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .onnx file, or the folder of --browser")
    parser.add_argument("--half", action="store_true", help="float16: half the size; for --browser what is stored")
    parser.add_argument("--browser", action="store_true", help="write the folder that the browser page loads")
    parser.add_argument("--base", default=EMBEDDED, help="with --browser: folder or Hub repo of another base")
    parser.add_argument(
        "--steps", type=int, nargs="+", metavar="N", help="with --browser: further lengths of an adaptation to prepare"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")):
        raise ExportError("Export needs onnx and onnxruntime; run: pip install 'metastyle-hub[export]'.")
    if args.browser:
        _export_browser(args)
    elif len(args.styles) == 1:
        _export_style(args)
    else:
        raise SettingError(f"One file holds one style, got {len(args.styles)}; name one, or add --browser.")


def _export_style(args: argparse.Namespace) -> None:
    from metastyle_hub.export.style import export_style

    style = MetaStyle.from_pretrained(args.styles[0])
    file = export_style(style.config, style.state_dict(), args.out, half=args.half)
    print(f"{file}: {style!r}, {file.stat().st_size / 1e6:.1f} MB")
    print("It maps image (1, 3, H, W) to stylized (1, 3, H, W): RGB in [0, 1], H and W multiples of 4 from 32.")


def _export_browser(args: argparse.Namespace) -> None:
    from metastyle_hub.export.browser import DEFAULT_STEPS, export_browser

    base = load_artifact(args.base)
    reference = None
    if base.origin.folder != EMBEDDED:
        reference = BaseReference(base.fingerprint, base.origin.repo_id or "unshared", base.origin.commit)
    styles = {Path(source).name: load_artifact(source) for source in args.styles}
    if len(styles) < len(args.styles):
        raise SettingError(
            f"Two styles of the page would have the same name; {', '.join(args.styles)} must differ in it."
        )
    steps = {*DEFAULT_STEPS, *(args.steps or ())}
    print("Writing and checking the graphs takes a minute or two.", flush=True)
    folder = export_browser(base, styles, args.out, reference=reference, steps=steps, half=args.half)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB, base {base.config.name}, {len(styles)} styles")
