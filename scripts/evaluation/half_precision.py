"""Measure what half precision costs: the largest and the mean difference from float32, in 8-bit levels, over styles.

python scripts/evaluation/half_precision.py --size 256
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from metastyle_hub import MetaStyle
from metastyle_hub.data.examples import example_contents

STYLES = Path(__file__).parents[2] / "space" / "styles"


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--styles", type=Path, default=STYLES, help="folder of style folders (default: space/styles)")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="short side in pixels (default 256)")
    parser.add_argument("--contents", type=int, default=2, metavar="N", help="example photos to use (default 2)")
    args = parser.parse_args()
    contents = list(example_contents().values())[: args.contents]
    print(f"{'style':24} {'dtype':10} {'largest':>8} {'mean':>6}   (8-bit levels, {len(contents)} photos)")
    for folder in sorted(path for path in args.styles.iterdir() if path.is_dir()):
        style = MetaStyle.from_pretrained(folder)
        reference = [np.asarray(style.stylize(c, size=args.size)).astype(int) for c in contents]
        for dtype in ("bfloat16", "float16"):
            half = style.to(dtype=dtype)
            found = [np.asarray(half.stylize(c, size=args.size)).astype(int) for c in contents]
            differences = [np.abs(a - b) for a, b in zip(found, reference, strict=True)]
            largest, mean = max(int(d.max()) for d in differences), np.mean([d.mean() for d in differences])
            print(f"{folder.name:24} {dtype:10} {largest:8} {mean:6.2f}", flush=True)


if __name__ == "__main__":
    main()
