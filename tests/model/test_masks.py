"""Regions of an image with one style or several, and the part of a style image that counts."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from metastyle_hub import interpolate
from metastyle_hub.errors import ImageError, InterpolationError, SettingError
from metastyle_hub.images.masks import blend, load_mask

HEIGHT, WIDTH = 48, 64
PHOTO = tiny.image(tiny.content(HEIGHT, WIDTH))
LEFT = Image.fromarray(np.where(np.arange(WIDTH) < WIDTH // 2, 255, 0).astype(np.uint8)[None].repeat(HEIGHT, 0))
RIGHT = LEFT.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("feather", [0, 0.1])
def test_a_mask_chooses_where_to_stylize(style, feather):
    result, whole = pixels(style.stylize(PHOTO, mask=LEFT, feather=feather)), pixels(style.stylize(PHOTO))
    edge = round(2 * feather * HEIGHT)
    assert np.array_equal(result[:, : WIDTH // 2 - edge], whole[:, : WIDTH // 2 - edge])
    assert np.array_equal(result[:, WIDTH // 2 + edge :], pixels(PHOTO)[:, WIDTH // 2 + edge :])
    low, high = np.minimum(whole, pixels(PHOTO)), np.maximum(whole, pixels(PHOTO))
    assert ((low <= result) & (result <= high)).all()


def test_a_soft_edge_has_no_step():
    black, white = torch.zeros(1, 3, HEIGHT, WIDTH), torch.ones(1, 3, HEIGHT, WIDTH)
    soft = blend(black, [white], [load_mask(LEFT, HEIGHT, WIDTH)], feather=0.2)[0, 0, HEIGHT // 2]
    steps = -soft.diff()
    assert soft[0] == 1 and soft[-1] == 0 and (steps >= -1e-6).all() and steps.max() <= 1 / 9 + 1e-6


def test_several_styles_in_several_regions(base, style, norm_style):
    result = pixels(base.stylize(PHOTO, mask=[LEFT, RIGHT], styles=[style, norm_style], feather=0))
    assert np.array_equal(result[:, : WIDTH // 2], pixels(style.stylize(PHOTO))[:, : WIDTH // 2])
    assert np.array_equal(result[:, WIDTH // 2 :], pixels(norm_style.stylize(PHOTO))[:, WIDTH // 2 :])


def test_overlapping_regions_share(base, style, norm_style):
    everywhere, content = torch.ones(HEIGHT, WIDTH), tiny.contents(1)
    result = base.stylize(content, mask=[everywhere] * 2, styles=[style, norm_style])
    expected = (style.stylize(content) + norm_style.stylize(content)) / 2
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_a_mask_may_be_an_image_of_any_kind_and_size(style):
    expected = pixels(style.stylize(PHOTO, mask=LEFT, feather=0))
    clear = Image.new("RGBA", LEFT.size, "white")
    clear.putalpha(LEFT)
    tensor = torch.from_numpy(np.array(LEFT))
    for mask in (np.array(LEFT), clear, tensor, tensor[None] > 0, (tensor / 255)[None, None], LEFT.convert("1")):
        assert np.array_equal(pixels(style.stylize(PHOTO, mask=mask, feather=0)), expected)
    small = load_mask(LEFT.resize((16, 12), Image.Resampling.NEAREST), HEIGHT, WIDTH)[0, 0]
    assert small.shape == (HEIGHT, WIDTH) and small[:, :28].min() == 1 and small[:, 36:].max() == 0


def test_options_and_kinds_of_content_go_with_masks(style):
    assert style.stylize(PHOTO, mask=LEFT, size=24).size == (32, 24)
    assert style.stylize(tiny.contents(2, 40), mask=LEFT).shape == (2, 3, 40, 40)
    transparent = PHOTO.copy()
    transparent.putalpha(RIGHT)
    assert np.array_equal(pixels(style.stylize(transparent, mask=LEFT))[..., 3], pixels(RIGHT))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mask": [LEFT, RIGHT]}, SettingError),
        ({"mask": []}, SettingError),
        ({"mask": LEFT, "feather": -1}, SettingError),
        ({"mask": "missing.png"}, ImageError),
        ({"mask": torch.zeros(3, 48, 64)}, ImageError),
        ({"mask": torch.full((48, 64), 2.0)}, ImageError),
    ],
    ids=["one style for two", "none", "feather", "missing", "color", "range"],
)
def test_masks_that_do_not_fit_are_refused(style, options, error):
    with pytest.raises(error) as caught:
        style.stylize(PHOTO, **options)
    assert "\n" not in str(caught.value)


def test_a_mask_is_for_one_image(style):
    with pytest.raises(SettingError):
        style.stylize([PHOTO, PHOTO], mask=LEFT)


def test_what_a_style_mask_hides_has_no_influence(base):
    styles = []
    for hidden in (0, 255):
        image = tiny.style(HEIGHT, WIDTH)
        image[:, WIDTH // 2 :] = hidden
        styles.append(base.adapt(image, style_mask=LEFT, config=tiny.QUICK, progress=False))
    assert styles[0].fingerprint == styles[1].fingerprint
    with pytest.raises(ImageError):
        base.adapt(tiny.style(), style_mask=np.zeros((4, 4), np.uint8), config=tiny.QUICK, progress=False)
    with pytest.raises(SettingError):
        base.adapt([tiny.style()], style_mask=[LEFT, RIGHT], config=tiny.QUICK, progress=False)


def test_styles_extrapolate_on_request(style, norm_style):
    mix = interpolate([style, norm_style], [1.4, -0.4], convex=False)
    name = "to_rgb.bias"
    expected = 1.4 * style.state_dict()[name] - 0.4 * norm_style.state_dict()[name]
    torch.testing.assert_close(mix.state_dict()[name], expected)
    assert "-40%" in mix.name
    with pytest.raises(InterpolationError):
        interpolate([style, norm_style], [1.4, -0.4])
