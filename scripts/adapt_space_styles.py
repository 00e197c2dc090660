"""Adapt the built-in styles of the Gradio app: one small folder for every example style, on the current base.

python scripts/adapt_space_styles.py        # after every change of the base; half a minute a style on two cores
"""

from __future__ import annotations

import argparse
from pathlib import Path

from metastyle_hub import MetaStyle
from metastyle_hub.data.examples import example_styles

_STYLES = Path(__file__).resolve().parents[1] / "space" / "styles"


def main() -> None:
    """Adapt to every example style and save the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=_STYLES, help="the folder to write (default %(default)s)")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    base = MetaStyle.from_pretrained(device=args.device)
    for name, path in example_styles().items():
        style = base.adapt(path)
        print(f"{style.save_pretrained(args.out / name)}: {style.config.steps} steps", flush=True)


if __name__ == "__main__":
    main()
