"""`metastyle info` and `convert`: what a folder or repo holds; networks of other projects."""

from __future__ import annotations

import argparse
from pathlib import Path

from metastyle_hub.artifacts.convert import convert_johnson
from metastyle_hub.hub.download import EMBEDDED, load_artifact
from metastyle_hub.model import MetaStyle

__all__ = ["configure_convert", "configure_info"]

_INFO = """Describe what a folder or Hub repo holds and where it came from. It needs no base and no device.

    metastyle info starry
    metastyle info me/starry-night --json"""

_CONVERT = """Convert a .pth file of the PyTorch examples' fast_neural_style. Only tensors are read, never code; the
output of the network stays the same.

    metastyle convert candy.pth -o candy
    metastyle stylize photo.jpg -s candy -o out.png"""


def configure_info(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `info`."""
    parser.description = _INFO
    parser.add_argument("source", nargs="?", help="folder or Hub repo (default: the base in the package)")
    parser.add_argument("--json", action="store_true", help="print config.json only")
    parser.set_defaults(run=_info)


def configure_convert(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `convert`."""
    parser.description = _CONVERT
    parser.add_argument("file", help="the .pth file")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="folder for the result")
    parser.add_argument("--name", help="a name (default: that of the file)")
    parser.set_defaults(run=_convert)


def _info(args: argparse.Namespace) -> None:
    artifact = load_artifact(args.source or EMBEDDED)
    config, base = artifact.config, artifact.config.base_model
    if not args.json:
        print(f"{config.name or artifact.origin}: a {config.kind}, from {artifact.origin}")
        if base is not None:
            revision = f"@{base.revision[:12]}" if base.revision else ""
            print(f"of the base {base.fingerprint} ({base.repo_id}{revision})")
        else:
            print(f"fingerprint {artifact.fingerprint}")
        if artifact.predictor is not None:
            print("with a style predictor: adaptation starts from its prediction")
    print(config.to_json(), end="")


def _convert(args: argparse.Namespace) -> None:
    artifact = convert_johnson(args.file, args.name)
    model = MetaStyle(artifact.config, artifact.parameters)
    model.save_pretrained(args.out)
    print(f"{args.out}: {model!r}")
    print(f"Next: metastyle stylize PHOTO -s {args.out} -o out.png")
