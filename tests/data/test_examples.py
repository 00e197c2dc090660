"""The example pictures must open, be worth using, stay small, and come out the same when repainted."""

import doctest
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metastyle_hub import examples
from metastyle_hub.data.examples import PICTURES, example, example_photos, example_styles

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
PICTURE_NAMES = [*example_styles(), *example_photos()]


def pixels(path: Path, side: int | None = None) -> np.ndarray:
    """The picture's values in 0..255, resized to a square if a side is given."""
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
        return np.asarray(rgb.resize((side, side)) if side else rgb, np.float32)


def test_there_are_enough_of_them_in_order():
    assert len(example_styles()) >= 12
    assert 5 <= len(example_photos()) <= 7
    assert list(example_styles()) == sorted(example_styles())
    assert list(example_photos()) == sorted(example_photos())
    assert not set(example_styles()) & set(example_photos())


@pytest.mark.parametrize("name", PICTURE_NAMES)
def test_every_picture_opens_and_has_a_sensible_size(name):
    path = example(name)
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "JPEG" and picture.mode == "RGB"
        assert min(picture.size) >= 256 and max(picture.size) <= 1024
    assert path.stat().st_size <= 180_000


@pytest.mark.parametrize("name", example_styles())
def test_styles_have_colour_or_contrast_and_texture_all_over(name):
    picture = pixels(example(name))
    assert picture.std() > 35
    # A style is its texture: most patches of 32 x 32 must hold some, so that no empty area dominates.
    grey = picture.mean(-1)[: len(picture) // 32 * 32, : picture.shape[1] // 32 * 32]
    patches = grey.reshape(grey.shape[0] // 32, 32, -1, 32).std((1, 3))
    assert (patches > 5).mean() > 0.85


def test_styles_differ_from_each_other_in_their_colours():
    def histogram(path: Path) -> np.ndarray:
        values = pixels(path, 96).reshape(-1, 3)
        counts = np.histogramdd(values, bins=4, range=[(0, 256)] * 3)[0].ravel()
        return counts / counts.sum()

    histograms = {name: histogram(path) for name, path in example_styles().items()}
    for (a, first), (b, second) in itertools.combinations(histograms.items(), 2):
        assert np.minimum(first, second).sum() < 0.8, f"{a} and {b} share their palette"


def test_all_pictures_together_stay_small():
    assert sum(path.stat().st_size for path in PICTURES.rglob("*") if path.is_file()) <= 3_000_000


def test_every_photo_has_its_licence():
    licences = (PICTURES / "LICENSES.md").read_text(encoding="utf-8")
    for name in example_photos():
        row = next(line for line in licences.splitlines() if f"`photos/{name}.jpg`" in line)
        assert any(terms in row for terms in ("CC0", "CC BY", "Public domain"))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError) as caught:
        example("mona_lisa")
    sentence = str(caught.value)
    assert "'mona_lisa'" in sentence and sentence.endswith(".") and "\n" not in sentence
    assert all(name in sentence for name in PICTURE_NAMES)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(examples).failed == 0


def test_painting_twice_gives_the_same_picture(tmp_path):
    for run in ("first", "second"):
        command = [
            sys.executable,
            str(SCRIPTS / "paint_examples.py"),
            "--only",
            "mosaic_sun",
            "--size",
            "128",
        ]
        subprocess.run([*command, "--out", str(tmp_path / run)], check=True, capture_output=True)
    first, second = (tmp_path / run / "mosaic_sun.jpg" for run in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert pixels(first).shape == (128, 128, 3)
    assert pixels(first).std() > 35
