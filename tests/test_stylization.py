"""Images of every size come back in their size; tiles and batches give the result of the whole image alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from metastyle_hub.errors import ImageError, SettingError
from metastyle_hub.networks.inference import infer
from metastyle_hub.networks.param_groups import TRAINABLE, trainable_parameters
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet, transform
from metastyle_hub.stylization import StylizationConfig, stylize, stylize_tensor
from metastyle_hub.tiling import TilingConfig, transform_in_tiles

DOUBLE = torch.float64
NETWORK = TransformerNet(tiny.NETWORK)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 200), (33, 47), (64, 64)])
def test_the_result_has_the_size_of_the_image(size):
    content = tiny.tensor(tiny.content(*size))
    result = stylize_tensor(NETWORK, tiny.parameters(), content)
    assert result.shape == content.shape
    assert float(result.min()) >= 0 and float(result.max()) <= 1


def test_an_image_below_the_threshold_is_transformed_directly():
    contents = tiny.contents(2, 64)
    with torch.no_grad():
        expected = transform(NETWORK, tiny.parameters(), contents)
    assert torch.equal(stylize_tensor(NETWORK, tiny.parameters(), contents, backend="reference"), expected)
    assert torch.equal(
        stylize_tensor(NETWORK, tiny.parameters(), contents), infer(NETWORK, tiny.parameters(), contents)
    )


def test_nothing_requires_a_gradient():
    parameters = {name: p.requires_grad_() for name, p in tiny.parameters().items()}
    contents = tiny.contents(1, 64).requires_grad_()
    assert not stylize_tensor(NETWORK, parameters, contents).requires_grad
    assert not stylize_tensor(NETWORK, parameters, contents, TilingConfig(threshold=0, tile=32)).requires_grad


# --- tiles


@pytest.mark.parametrize("size", [(64, 64), (100, 164), (32, 300), (301, 33)])
@pytest.mark.parametrize("tile", [16, 40, 128])
@pytest.mark.parametrize("config", [NetworkConfig(3, 0, False, "nearest"), NetworkConfig(8, 2)], ids=str)
def test_tiles_give_the_result_of_the_whole_image(size, tile, config):
    network, parameters = TransformerNet(config), tiny.parameters(config=config)
    content = tiny.tensor(tiny.content(*size))
    whole = stylize_tensor(network, parameters, content)
    tiled = stylize_tensor(network, parameters, content, TilingConfig(threshold=0, tile=tile))
    assert tiled.shape == whole.shape and float(whole.std()) > 0.02
    assert float((tiled - whole).abs().max()) < 1e-4


@pytest.mark.parametrize("config", [NetworkConfig(8, 1), NetworkConfig(16, 0, upsampling="nearest")], ids=str)
def test_tiles_are_exact(config):
    """In float64 nothing but a wrong margin, position or statistic could differ from the whole image."""
    network, parameters = TransformerNet(config).double(), tiny.parameters(config=config, dtype=DOUBLE)
    content = tiny.tensor(tiny.content(132, 168), DOUBLE)
    with torch.no_grad():
        whole = transform(network, parameters, content, DOUBLE)
    for tile in (16, 44, 100):
        tiled = transform_in_tiles(network, parameters, content, TilingConfig(tile=tile))
        torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-10)


def test_tiles_share_the_statistics_of_the_whole_image():
    # half of this image is black: tiles normalized by themselves would brighten it
    content = tiny.contents(1, 96)
    content[..., :48] = 0
    parameters = tiny.parameters()
    with torch.no_grad():
        whole = transform(NETWORK, parameters, content)
        alone = torch.cat([transform(NETWORK, parameters, half) for half in content.split(48, -1)], -1)
    tiled = transform_in_tiles(NETWORK, parameters, content, TilingConfig(tile=48))
    assert float((alone - whole).abs().mean()) > 0.01
    assert float((tiled - whole).abs().max()) < 1e-4


def test_networks_that_clamp_do_so_in_tiles():
    network = TransformerNet(tiny.NETWORK, output_activation="clamp")
    content = tiny.contents(1, 64)
    parameters = tiny.parameters()
    tiled = stylize_tensor(network, parameters, content, TilingConfig(threshold=0, tile=32))
    torch.testing.assert_close(tiled, stylize_tensor(network, parameters, content), rtol=0, atol=1e-4)


class ConvolvedImages(TorchFunctionMode):
    """Records the sizes of all inputs of three channels of convolutions."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function is torch.conv2d and arguments[0].shape[1] == 3:
            self.sizes.append(arguments[0].shape[-2:])
        return function(*arguments, **(keywords or {}))


def test_tiles_hold_no_more_pixels_than_a_tile_with_its_margin():
    with ConvolvedImages() as seen:
        transform_in_tiles(NETWORK, tiny.parameters(), tiny.contents(1, 160), TilingConfig(tile=32), "direct")
    # the convolution of full resolution, once for its statistics and once for the next layer; it pads by 4
    assert len(seen.sizes) == 2 * 25 and max(max(size) for size in seen.sizes) == 32 + 2 * 16 + 2 * 4


def test_the_threshold_decides_whether_tiles_are_used():
    content, seen = tiny.contents(1, 64), []
    hook = NETWORK.register_forward_hook(lambda *_: seen.append(1))
    try:
        for threshold, whole in ((64 * 64, 1), (64 * 64 - 1, 0)):
            seen.clear()
            stylize_tensor(NETWORK, tiny.parameters(), content, TilingConfig(threshold, 32), "reference")
            assert len(seen) == whole
    finally:
        hook.remove()


@pytest.mark.parametrize("tile", [0, 8, 30])
def test_tiles_that_the_network_cannot_process_are_refused(tile):
    with pytest.raises(SettingError) as error:
        TilingConfig(tile=tile)
    assert "tile" in str(error.value) and str(tile) in str(error.value)


# --- batches


def test_every_image_of_a_batch_in_its_own_style():
    base, other = tiny.parameters(0), tiny.parameters(1)
    styles = [base, *({**base, **trainable_parameters(other, group)} for group in TRAINABLE)]
    contents = tiny.contents(1).expand(4, -1, -1, -1)
    alone = torch.cat([stylize_tensor(NETWORK, p, contents[:1]) for p in styles])
    for chosen in ([0, 1], [0, 1, 2], [0, 1, 2, 3]):  # norms differ, or the decoder as well, in one pass; or everything
        together = stylize_tensor(NETWORK, [styles[i] for i in chosen], contents[: len(chosen)])
        torch.testing.assert_close(together, alone[chosen], rtol=0, atol=1e-5)
    tiled = stylize_tensor(NETWORK, [styles[0], styles[2]], contents[:2], TilingConfig(threshold=0, tile=16))
    torch.testing.assert_close(tiled, alone[[0, 2]], rtol=0, atol=1e-4)


def test_styles_that_share_their_encoder_go_through_together_and_others_alone():
    base = tiny.parameters(0)
    seen = []
    hook = NETWORK.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    try:
        for group, passes in (("norm", [3]), ("decoder", [3]), ("all", [1, 1, 1])):
            seen.clear()
            styles = [{**base, **trainable_parameters(tiny.parameters(s), group)} for s in range(3)]
            stylize_tensor(NETWORK, styles, tiny.contents(3), backend="reference")
            assert seen == passes
        seen.clear()
        stylize_tensor(NETWORK, [base] * 3, tiny.contents(3), backend="reference")
        assert seen == [3]
    finally:
        hook.remove()


@pytest.mark.parametrize("threshold", [2 * 32 * 32, 3 * 32 * 32 + 5, 100 * 32 * 32])
def test_a_batch_goes_through_in_parts_no_larger_than_the_threshold(threshold):
    base = tiny.parameters(0)
    styles = [{**base, **trainable_parameters(tiny.parameters(s), "decoder")} for s in range(5)]
    contents, seen = tiny.contents(5), []
    hook = NETWORK.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0][:, 0].numel()))
    try:
        made = stylize_tensor(NETWORK, styles, contents, TilingConfig(threshold=threshold), "reference")
    finally:
        hook.remove()
    assert max(seen) <= threshold and sum(seen) == 5 * 32 * 32
    alone = torch.cat([stylize_tensor(NETWORK, s, content[None]) for s, content in zip(styles, contents, strict=True)])
    torch.testing.assert_close(made, alone, rtol=0, atol=1e-5)


# --- images as users have them


def test_images_of_any_kind_and_size_come_back_in_their_order():
    contents = [
        tiny.image(tiny.content(20, 30, seed=0)),
        tiny.content(20, 30, seed=1),
        tiny.tensor(tiny.content(40, 24, seed=2))[0],
        tiny.contents(2, 32),
        tiny.image(tiny.content(20, 30, seed=3)).convert("L"),
    ]
    styles = [tiny.parameters(seed) for seed in range(5)]
    together = stylize(NETWORK, styles, contents)
    assert [type(x) for x in together] == [Image.Image, Image.Image, torch.Tensor, torch.Tensor, Image.Image]
    assert [x.size if isinstance(x, Image.Image) else tuple(x.shape) for x in together] == [
        (30, 20), (30, 20), (3, 40, 24), (2, 3, 32, 32), (30, 20)
    ]  # fmt: skip
    for style, content, stylized in zip(styles, contents, together, strict=True):
        (alone,) = stylize(NETWORK, [style], [content])
        if isinstance(stylized, torch.Tensor):
            torch.testing.assert_close(alone, stylized, rtol=0, atol=1e-5)
        else:
            assert alone.tobytes() == stylized.tobytes()
    for first, second in itertools.pairwise(together[:2]):
        assert first.tobytes() != second.tobytes()


def test_a_uint8_tensor_gives_a_float_tensor():
    pixels = torch.from_numpy(tiny.content(20, 32)).permute(2, 0, 1)
    (stylized,) = stylize(NETWORK, [tiny.parameters()], [pixels])
    assert stylized.shape == (3, 20, 32) and stylized.dtype == torch.float32
    (expected,) = stylize(NETWORK, [tiny.parameters()], [pixels / 255])
    assert torch.equal(stylized, expected)


def test_no_images_give_no_images_and_another_number_of_styles_is_refused():
    assert stylize(NETWORK, [], []) == []
    for count in (0, 1, 3):
        with pytest.raises(SettingError) as error:
            stylize(NETWORK, [tiny.parameters()] * count, [tiny.content()] * 2)
        assert str(count) in str(error.value) and "2" in str(error.value)


def test_the_first_image_that_cannot_be_used_is_named():
    with pytest.raises(ImageError) as error:
        stylize(NETWORK, [tiny.parameters()] * 2, [tiny.content(), "missing.jpg"])
    assert "missing.jpg" in str(error.value)


@pytest.mark.parametrize("size", [0, -3, 1.5, True, "20", (32, 32), float("nan")])
def test_a_size_that_is_no_positive_whole_number_is_refused(size):
    with pytest.raises(SettingError) as error:
        StylizationConfig(size=size)
    assert "size" in str(error.value) and repr(size) in str(error.value)


@pytest.mark.parametrize("options", [{}, {"preserve_color": True}, {"size": 20}])
def test_tensors_that_require_gradients_give_results_without_a_graph(options):
    parameters = {name: p.requires_grad_() for name, p in tiny.parameters().items()}
    images = tiny.contents(1).requires_grad_()
    [stylized] = stylize(NETWORK, [parameters], [images], StylizationConfig(**options))
    assert not stylized.requires_grad and stylized.grad_fn is None


def test_colors_under_transparent_pixels_do_not_matter_and_the_resolution_is_kept():
    results = []
    for hidden in (0, 255):
        pixels = tiny.content()
        pixels[:, :32] = hidden
        photo = Image.fromarray(pixels)
        photo.putalpha(Image.fromarray(np.where(np.arange(64) < 32, 0, 255).astype(np.uint8)[None].repeat(48, 0)))
        photo.info["dpi"] = (300, 300)
        results += stylize(NETWORK, [tiny.parameters()], [photo])
    assert np.array_equal(np.asarray(results[0]), np.asarray(results[1]))
    assert results[0].info["dpi"] == (300, 300)
