"""Images in, images of the same size and kind out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from metastyle_hub import MetaStyle, interpolate
from metastyle_hub.errors import ImageError, SettingError
from metastyle_hub.images.io import to_tensor
from metastyle_hub.images.transforms import preserve_color
from metastyle_hub.networks.param_groups import is_norm_parameter


def equal(first: Image.Image, second: Image.Image) -> bool:
    return first.size == second.size and first.tobytes() == second.tobytes()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (3, 200), (33, 47), (64, 64), (101, 50)])
def test_the_result_has_the_size_of_the_content_image(style, size):
    content = tiny.image(tiny.content(*size))
    result = style.stylize(content)
    assert result.size == content.size == (size[1], size[0]) and result.mode == "RGB"


def test_images_come_in_any_form(style, tmp_path):
    pixels = tiny.content(40, 60)
    path = tmp_path / "photo.png"
    tiny.image(pixels).save(path)
    forms = (path, str(path), tiny.image(pixels), pixels, (pixels / 255).astype(np.float32))
    results = [style.stylize(content) for content in forms]
    assert all(isinstance(r, Image.Image) and equal(r, results[0]) for r in results)


def test_tensors_keep_their_shape(style):
    batch = tiny.contents(2, 40)
    result = style.stylize(batch)
    assert result.shape == batch.shape and result.dtype == torch.float32
    assert float(result.min()) >= 0 and float(result.max()) <= 1 and not result.requires_grad
    assert style.stylize(batch[0]).shape == (3, 40, 40)
    torch.testing.assert_close(style.stylize(batch[0]), result[0], rtol=0, atol=1e-5)


def test_uint8_tensors_give_float_tensors(style):
    pixels = torch.from_numpy(np.stack([tiny.content(32, 40, seed=i) for i in range(2)])).permute(0, 3, 1, 2)
    result = style.stylize(pixels)
    assert result.shape == pixels.shape and result.dtype == torch.float32
    assert torch.equal(result, style.stylize(pixels / 255))
    assert torch.equal(style.stylize(pixels[0]), style.stylize(pixels[0] / 255))


def test_tensors_and_images_agree(style):
    pixels = tiny.content(40, 60)
    as_image = to_tensor(style.stylize(tiny.image(pixels)))
    torch.testing.assert_close(as_image, style.stylize(tiny.tensor(pixels)), rtol=0, atol=0.51 / 255)


def test_a_list_gives_a_list(style):
    contents = [tiny.image(tiny.content(20, 30)), tiny.tensor(tiny.content(40, 24))[0], tiny.contents(2, 32)]
    for given in (contents, tuple(contents)):
        first, second, third = style.stylize(given)
        assert first.size == (30, 20) and second.shape == (3, 40, 24) and third.shape == (2, 3, 32, 32)
        assert equal(first, style.stylize(contents[0]))
    assert style.stylize([]) == []


def test_transparency_is_kept(style):
    content = tiny.image(tiny.content(40, 60)).convert("RGBA")
    alpha = Image.linear_gradient("L").resize(content.size)
    content.putalpha(alpha)
    result = style.stylize(content)
    assert result.mode == "RGBA" and np.array_equal(np.asarray(result)[..., 3], np.asarray(alpha))
    assert equal(result.convert("RGB"), style.stylize(content.convert("RGB")))
    assert style.stylize(content, size=20).size == (30, 20)


def test_exif_orientation_is_applied(style, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    tiny.image(tiny.content(20, 32)).save(path, exif=exif)
    assert style.stylize(path).size == (20, 32)


def test_stylizing_twice_is_bit_identical_and_leaves_the_content_unchanged(style):
    content = tiny.tensor(tiny.content(40, 60))
    before = content.clone()
    first, second = style.stylize(content), style.stylize(content)
    assert torch.equal(first, second) and torch.equal(content, before)
    first.zero_()
    assert not torch.equal(first, style.stylize(content))


@pytest.mark.parametrize("content", ["missing.jpg", 3, None, torch.rand(2, 3), torch.full((3, 8, 8), 2.0)])
def test_images_that_cannot_be_used_are_refused(style, content):
    with pytest.raises(ImageError):
        style.stylize(content)


def test_threads_may_stylize_in_different_styles(base, style):
    content = tiny.contents(1)
    models = [base, style, interpolate([base, style], [0.5, 0.5])] * 4
    expected = [m.stylize(content) for m in models]
    with ThreadPoolExecutor(4) as executor:
        for _ in range(5):
            for made, right in zip(executor.map(lambda m: m.stylize(content), models), expected, strict=True):
                assert torch.equal(made, right)


# --- strength, size, color


def test_strength_interpolates_from_the_base_to_the_style(base, style):
    content = tiny.tensor(tiny.content(40, 60))
    full, none, half = (style.stylize(content, strength=s) for s in (1.0, 0.0, 0.5))
    assert torch.equal(full, style.stylize(content))
    assert torch.equal(none, base.stylize(content))
    middle = {name: (p + base.state_dict()[name]) / 2 for name, p in style.state_dict().items()}
    between = MetaStyle.from_parameters(middle, tiny.NETWORK)
    torch.testing.assert_close(half, between.stylize(content), rtol=0, atol=1e-4)
    assert float((half - full).abs().max()) > 1e-3 < float((half - none).abs().max())


def test_strength_is_the_weight_of_the_style(base, style):
    quarter = {n: 0.25 * p + 0.75 * base.state_dict()[n] for n, p in style.state_dict().items()}
    content = tiny.contents(1)
    expected = MetaStyle.from_parameters(quarter, tiny.NETWORK).stylize(content)
    torch.testing.assert_close(style.stylize(content, strength=0.25), expected, rtol=0, atol=1e-4)
    assert torch.equal(base.stylize(content, strength=0.25), base.stylize(content))


def test_a_strength_above_1_extrapolates(style, base):
    further = {n: 1.4 * p - 0.4 * base.state_dict()[n] for n, p in style.state_dict().items()}
    content = tiny.contents(1)
    expected = MetaStyle.from_parameters(further, tiny.NETWORK).stylize(content)
    torch.testing.assert_close(style.stylize(content, strength=1.4), expected, rtol=0, atol=1e-4)


def test_strength_changes_only_norms_in_a_norm_style(base, norm_style):
    content = tiny.tensor(tiny.content(40, 60))
    middle = {
        name: (p + base.state_dict()[name]) / 2 if is_norm_parameter(name) else p
        for name, p in norm_style.state_dict().items()
    }
    between = MetaStyle.from_parameters(middle, tiny.NETWORK)
    torch.testing.assert_close(norm_style.stylize(content, strength=0.5), between.stylize(content), rtol=0, atol=1e-4)


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan"), float("inf"), None, "1", True, (1,)])
def test_a_strength_out_of_range_is_refused(style, strength):
    with pytest.raises(SettingError) as error:
        style.stylize(tiny.content(), strength=strength)
    assert "strength" in str(error.value) and repr(strength) in str(error.value)
    assert isinstance(error.value, ValueError)


def test_numpy_numbers_are_numbers(style):
    content = tiny.contents(1)
    assert torch.equal(style.stylize(content, strength=np.float32(0.5)), style.stylize(content, strength=0.5))
    assert style.stylize(content, size=np.int64(16)).shape == (1, 3, 16, 16)


def test_size_is_the_short_side_of_the_result(style):
    assert style.stylize(tiny.image(tiny.content(40, 60)), size=20).size == (30, 20)
    assert style.stylize(tiny.image(tiny.content(60, 40)), size=80).size == (80, 120)
    assert style.stylize(tiny.contents(2, 40), size=24).shape == (2, 3, 24, 24)


@pytest.mark.parametrize("size", [0, -3, 2.5, "20", True, (32, 32), [32]])
def test_a_size_that_is_no_positive_whole_number_is_refused(style, size):
    with pytest.raises(SettingError) as error:
        style.stylize(tiny.content(), size=size)
    assert "size" in str(error.value) and repr(size) in str(error.value)


def test_the_colors_of_the_content_can_be_preserved(style):
    content = tiny.tensor(tiny.content(40, 60))
    result = style.stylize(content, preserve_color=True)
    assert torch.equal(result, preserve_color(style.stylize(content), content))
    assert float((result - style.stylize(content)).abs().mean()) > 1e-3
    small = style.stylize(tiny.image(tiny.content(40, 60)), preserve_color=True, size=20)
    assert small.size == (30, 20)


# --- a style for each image


def test_every_image_of_a_list_may_have_its_own_style(base, style, norm_style, decoder_style):
    styles = [style, norm_style, base, decoder_style]
    contents = [tiny.image(tiny.content(20, 30, seed=i)) for i in range(3)] + [tiny.contents(1)[0]]
    together = base.stylize(contents, styles=styles, strength=0.7)
    for made, content, own in zip(together, contents, styles, strict=True):
        alone = own.stylize(content, strength=0.7)
        if isinstance(made, torch.Tensor):
            torch.testing.assert_close(made, alone, rtol=0, atol=1e-5)
        else:
            assert equal(made, alone)


def test_every_image_of_a_batch_may_have_its_own_style(base, style, norm_style):
    batch = tiny.contents(3)
    made = style.stylize(batch, styles=[norm_style, style, base])
    assert made.shape == batch.shape
    for image, content, own in zip(made, batch, (norm_style, style, base), strict=True):
        torch.testing.assert_close(image, own.stylize(content), rtol=0, atol=1e-5)
    pixels = (batch * 255).round().to(torch.uint8)
    assert base.stylize(pixels, styles=[base] * 3).dtype == torch.float32
    assert base.stylize(batch[:0], styles=[]).shape == (0, 3, 32, 32)
    assert base.stylize(pixels[:0], styles=[]).dtype == torch.float32
    assert base.stylize([], styles=[]) == []


def test_styles_may_be_given_by_their_folder(base, style, norm_style, tmp_path):
    folder = norm_style.save_pretrained(tmp_path / "norm")
    content = tiny.image(tiny.content(20, 30))
    first, second = base.stylize([content] * 2, styles=[style, folder])
    assert equal(first, style.stylize(content)) and equal(second, norm_style.stylize(content))


def test_styles_that_do_not_fit_are_refused(base, style):
    other = MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK, name="another base")
    for content, styles in (
        ([tiny.content()] * 2, [style]),
        (tiny.contents(2), [style] * 3),
        (tiny.content(), [style]),
        (tiny.contents(1)[0], [style]),
        ([tiny.content()], [other]),
    ):
        with pytest.raises(SettingError):
            base.stylize(content, styles=styles)
