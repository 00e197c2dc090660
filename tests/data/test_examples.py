"""The example images open, are useful, stay small, and come out the same if they are drawn again."""

import itertools
from pathlib import Path

import draw_example_styles
import numpy as np
import pytest
from PIL import Image

import metastyle_hub
from metastyle_hub.data.examples import example, example_contents, example_styles
from metastyle_hub.errors import SettingError

FOLDER = Path(metastyle_hub.__file__).parent / "example_images"
NAMES = [*example_styles(), *example_contents()]


def pixels(path: Path, side: int | None = None) -> np.ndarray:
    """The image's values in 0..255, resized to a square if a side is given."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
        return np.asarray(rgb.resize((side, side)) if side else rgb, np.float32)


def test_there_are_enough_of_them_in_order():
    assert len(example_styles()) >= 12
    assert 5 <= len(example_contents()) <= 7
    assert list(example_styles()) == sorted(example_styles())
    assert list(example_contents()) == sorted(example_contents())
    assert not set(example_styles()) & set(example_contents())


@pytest.mark.parametrize("name", NAMES)
def test_every_image_opens_and_has_a_sensible_size(name):
    path = example(name)
    with Image.open(path) as image:
        image.load()
        assert image.format == "JPEG" and image.mode == "RGB"
        assert min(image.size) >= 256 and max(image.size) <= 1024
    assert path.stat().st_size <= 180_000


@pytest.mark.parametrize("name", example_styles())
def test_styles_have_color_or_contrast_and_texture_everywhere(name):
    image = pixels(example(name))
    assert image.std() > 35
    # A style is its texture: most patches of 32 x 32 must have some, so that no empty area dominates.
    gray = image.mean(-1)[: len(image) // 32 * 32, : image.shape[1] // 32 * 32]
    patches = gray.reshape(gray.shape[0] // 32, 32, -1, 32).std((1, 3))
    assert (patches > 5).mean() > 0.85


def test_styles_differ_from_each_other_in_their_colors():
    def histogram(path: Path) -> np.ndarray:
        values = pixels(path, 96).reshape(-1, 3)
        counts = np.histogramdd(values, bins=4, range=[(0, 256)] * 3)[0].ravel()
        return counts / counts.sum()

    histograms = {name: histogram(path) for name, path in example_styles().items()}
    for (a, first), (b, second) in itertools.combinations(histograms.items(), 2):
        assert np.minimum(first, second).sum() < 0.8, f"{a} and {b} share their palette"


def test_all_images_together_stay_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 3_000_000


def test_every_content_image_has_its_license():
    licenses = (FOLDER / "LICENSES.md").read_text(encoding="utf-8")
    for name in example_contents():
        row = next(line for line in licenses.splitlines() if f"`content/{name}.jpg`" in line)
        assert any(terms in row for terms in ("CC0", "CC BY", "Public domain"))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(SettingError) as error:
        example("mona_lisa")
    sentence = str(error.value)
    assert "'mona_lisa'" in sentence and sentence.endswith(".") and "\n" not in sentence
    assert all(name in sentence for name in NAMES)


def test_every_style_has_a_drawing():
    assert list(example_styles()) == sorted(draw_example_styles.DRAWINGS)


def test_drawing_twice_gives_the_same_bytes(tmp_path):
    for run in ("first", "second"):
        draw_example_styles.main(["--only", "mosaic_sun", "--size", "128", "--out", str(tmp_path / run)])
    first, second = (tmp_path / run / "mosaic_sun.jpg" for run in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert pixels(first).shape == (128, 128, 3)
    assert pixels(first).std() > 35


def test_the_shipped_drawings_are_those_of_the_script(tmp_path):
    draw_example_styles.main(["--only", "stained_glass", "--size", "128", "--out", str(tmp_path)])
    small, shipped = (pixels(path, 64) for path in (tmp_path / "stained_glass.jpg", example("stained_glass")))
    assert np.abs(small - shipped).mean() < 20  # one composition at every size


def test_a_size_too_small_to_draw_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        draw_example_styles.main(["--size", "32", "--out", str(tmp_path)])
    assert error.value.code == 2 and "32" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
