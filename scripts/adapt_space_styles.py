"""Learn the built-in styles of the page: one small folder for every example style, on the current base.

python space/make_styles.py            # again after every change of the base; a minute a style on a CPU
"""

from __future__ import annotations

import sys
from pathlib import Path

from metastyle_hub import MetaStyle
from metastyle_hub.data.examples import example_styles

HERE = Path(__file__).resolve().parent


def main() -> int:
    base = MetaStyle.from_pretrained(device="auto")
    for name, picture in example_styles().items():
        style = base.adapt(picture)
        folder = style.save_pretrained(HERE / "styles" / name)
        print(f"{folder}: {style.config.steps} steps", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
