"""Copy a few freely licensed photographs out of scikit-image and scikit-learn, with a note of their licenses.

    pip install scikit-image scikit-learn
    python scripts/collect_example_content.py [--out DIR]

Both packages ship the photographs inside their wheels, so nothing is downloaded. The packages are needed for this
script alone, never by the library. Output: content/*.jpg and LICENSES.md in the folder.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).resolve().parents[1] / "metastyle_hub" / "example_images"
LONG_SIDE = 768

CC0 = "[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/)"
CC_BY = "[CC BY 2.0](https://creativecommons.org/licenses/by/2.0/)"


@dataclass(frozen=True)
class Source:
    """Where a photograph comes from, and its license."""

    package: str
    path: str
    shows: str
    author: str
    source: str
    license: str


# Authors and licenses as the packages state them: scikit-image in the docstrings of
# `skimage.data`, scikit-learn in `sklearn/datasets/images/README.txt`.
SOURCES = {
    "astronaut": Source(
        "skimage",
        "data/astronaut.png",
        "The astronaut Eileen Collins",
        "NASA",
        "[NASA Great Images](https://flic.kr/p/r9qvLn), by way of `skimage.data.astronaut`",
        "Public domain (a work of NASA); the image implies no endorsement by NASA or by the person shown",
    ),
    "cat": Source(
        "skimage", "data/chelsea.png", "Chelsea the cat", "Stéfan van der Walt", "`skimage.data.chelsea`", CC0
    ),
    "coffee": Source(
        "skimage",
        "data/coffee.png",
        "A cup of coffee at the Pikolo Espresso Bar",
        "Rachel Michetti",
        "`skimage.data.coffee`",
        CC0,
    ),
    "flower": Source(
        "sklearn",
        "datasets/images/flower.jpg",
        "A dahlia",
        "vultilion",
        "[Flickr](https://www.flickr.com/photos/vultilion/6056698931/), by way of `sklearn.datasets.load_sample_image`",
        CC_BY,
    ),
    "rocket": Source(
        "skimage",
        "data/rocket.jpg",
        "A Falcon 9 on its pad before the launch of DSCOVR",
        "SpaceX",
        "[SpaceX Photos](https://www.flickr.com/photos/spacexphotos/16511594820/), by way of `skimage.data.rocket`",
        "Public domain (released by SpaceX in 2015)",
    ),
    "temple": Source(
        "sklearn",
        "datasets/images/china.jpg",
        "A pavilion of the Summer Palace in Beijing",
        "danielbuechele",
        "[Flickr](https://www.flickr.com/photos/danielbuechele/6061409035/), by way of "
        "`sklearn.datasets.load_sample_image`",
        CC_BY,
    ),
}

HEAD = """\
# Licenses of the example images

## Styles

Every image in `style/` is drawn from scratch by `scripts/draw_example_styles.py` of this project; none of
them copies an existing work. They are covered by the project's Apache-2.0 license and, at your choice, are
dedicated to the public domain under {cc0}.

## Photographs

The photographs in `content/` were copied by `scripts/collect_example_content.py` out of the packages
[scikit-image](https://scikit-image.org) and [scikit-learn](https://scikit-learn.org). Changes: they were
saved again as JPEG{scaled}; nothing else was altered.

| File | Shows | Author | Source | License |
| --- | --- | --- | --- | --- |
"""

FOOT = """
The CC BY photographs may be shared and changed, also for commercial ends, as long as their author is named
and the license is linked, as above. scikit-learn's note names danielbuechele for `flower.jpg` as well, but
its link leads to the account vultilion, who is therefore named here.
"""


def main(arguments: list[str] | None = None) -> None:
    """Copy the photographs and write their licenses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder to write (default: the package's own)")
    args = parser.parse_args(arguments)
    folder = args.out / "content"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    scaled = False
    for name, source in SOURCES.items():
        package = importlib.util.find_spec(source.package)
        if package is None or package.origin is None:
            parser.error(f"The package {source.package} is not installed; pip install scikit-image scikit-learn.")
        image = Image.open(Path(package.origin).parent / source.path).convert("RGB")
        scaled |= max(image.size) > LONG_SIDE
        image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
        target = folder / f"{name}.jpg"
        image.save(target, quality=88, optimize=True, progressive=True)
        cells = (f"`content/{name}.jpg`", source.shows, source.author, source.source, source.license)
        rows.append(f"| {' | '.join(cells)} |\n")
        print(f"{name:12} {image.width} x {image.height}  {target.stat().st_size / 1000:.0f} kB")
    head = HEAD.format(cc0=CC0, scaled=" and scaled down" if scaled else "")
    (args.out / "LICENSES.md").write_text(head + "".join(rows) + FOOT, encoding="utf-8")


if __name__ == "__main__":
    main()
