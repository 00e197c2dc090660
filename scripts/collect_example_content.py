"""Copy a few freely licensed photographs out of scikit-image and scikit-learn, with a note of their licences.

    pip install scikit-image scikit-learn
    python scripts/gather_photos.py [--out DIR]

Both packages carry the photographs inside their wheels, so nothing is downloaded. They are needed for this
script only, never by the library.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

PICTURES = Path(__file__).resolve().parent.parent / "metastyle_hub" / "pictures"
LONG_SIDE = 768

CC0 = "[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/)"
CC_BY = "[CC BY 2.0](https://creativecommons.org/licenses/by/2.0/)"


@dataclass(frozen=True)
class Photo:
    """Where a photograph comes from, and on what terms it may be passed on."""

    package: str
    path: str
    shows: str
    author: str
    source: str
    licence: str


# The authors and licences are those which the packages state: scikit-image in the docstrings of
# `skimage.data`, scikit-learn in `sklearn/datasets/images/README.txt`.
PHOTOS = {
    "astronaut": Photo(
        "skimage",
        "data/astronaut.png",
        "The astronaut Eileen Collins",
        "NASA",
        "[NASA Great Images](https://flic.kr/p/r9qvLn), by way of `skimage.data.astronaut`",
        "Public domain (a work of NASA); the picture implies no endorsement by NASA or by the person shown",
    ),
    "cat": Photo(
        "skimage",
        "data/chelsea.png",
        "Chelsea the cat",
        "Stéfan van der Walt",
        "`skimage.data.chelsea`",
        CC0,
    ),
    "coffee": Photo(
        "skimage",
        "data/coffee.png",
        "A cup of coffee at the Pikolo Espresso Bar",
        "Rachel Michetti",
        "`skimage.data.coffee`",
        CC0,
    ),
    "flower": Photo(
        "sklearn",
        "datasets/images/flower.jpg",
        "A dahlia",
        "vultilion",
        "[Flickr](https://www.flickr.com/photos/vultilion/6056698931/), by way of `sklearn.datasets.load_sample_image`",
        CC_BY,
    ),
    "rocket": Photo(
        "skimage",
        "data/rocket.jpg",
        "A Falcon 9 on its pad before the launch of DSCOVR",
        "SpaceX",
        "[SpaceX Photos](https://www.flickr.com/photos/spacexphotos/16511594820/), by way of `skimage.data.rocket`",
        "Public domain (released by SpaceX in 2015)",
    ),
    "temple": Photo(
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
# Licences of the example pictures

## Styles

Every picture in `styles/` is painted from scratch by `scripts/paint_examples.py` of this project; none of
them copies an existing work. They are covered by the project's Apache-2.0 licence and, at your choice, are
dedicated to the public domain under {cc0}.

## Photographs

The photographs in `photos/` were copied by `scripts/gather_photos.py` out of the packages
[scikit-image](https://scikit-image.org) and [scikit-learn](https://scikit-learn.org). Changes: they were
saved again as JPEG{scaled}; nothing else was altered.

| File | Shows | Author | Source | Licence |
| --- | --- | --- | --- | --- |
"""

FOOT = """
The CC BY photographs may be shared and changed, also for commercial ends, as long as their author is named
and the licence is linked, as above. scikit-learn's note names danielbuechele for `flower.jpg` as well, but
its link leads to the account vultilion, who is therefore named here.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Gather the example photographs.")
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder for photos/ and LICENSES.md")
    options = parser.parse_args()
    folder = options.out / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    scaled = False
    for name, photo in PHOTOS.items():
        package = importlib.util.find_spec(photo.package)
        if package is None or package.origin is None:
            parser.error(f"the package {photo.package} is needed: pip install scikit-image scikit-learn")
        picture = Image.open(Path(package.origin).parent / photo.path).convert("RGB")
        scaled |= max(picture.size) > LONG_SIDE
        picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
        target = folder / f"{name}.jpg"
        picture.save(target, quality=88, optimize=True, progressive=True)
        cells = (f"`photos/{name}.jpg`", photo.shows, photo.author, photo.source, photo.licence)
        rows.append(f"| {' | '.join(cells)} |\n")
        print(f"{name:12} {picture.width} x {picture.height}  {target.stat().st_size / 1000:.0f} kB")
    head = HEAD.format(cc0=CC0, scaled=" and scaled down" if scaled else "")
    (options.out / "LICENSES.md").write_text(head + "".join(rows) + FOOT, encoding="utf-8")


if __name__ == "__main__":
    main()
