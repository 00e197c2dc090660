"""Strokes of another width: from a smaller image up, without losing what the network leaves unchanged."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
import torch.nn.functional as F

from metastyle_hub.errors import SettingError
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet, transform
from metastyle_hub.stylization import StylizationConfig, coarse_to_fine, stylize, stylize_tensor

NETWORK = TransformerNet(tiny.NETWORK)
PARAMETERS = tiny.parameters()


def test_the_smallest_scale_is_one_pass_of_the_network():
    images = tiny.contents(2, 64)
    plain = stylize_tensor(NETWORK, PARAMETERS, images)
    assert torch.equal(coarse_to_fine(NETWORK, PARAMETERS, images, 1.0), plain)


def test_half_of_the_change_at_half_the_size_goes_into_the_full_size():
    images = tiny.contents(1, 128)
    half = resize_short_side(images, 64)
    change = F.interpolate(transform(NETWORK, PARAMETERS, half) - half, size=(128, 128), mode="bilinear")
    expected = transform(NETWORK, PARAMETERS, (images + change / 2).clamp(0, 1))
    torch.testing.assert_close(coarse_to_fine(NETWORK, PARAMETERS, images, 2.0), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", [1.5, 4.0, 16.0])
def test_what_the_network_leaves_unchanged_stays_sharp(scale):
    """A new network with logit skip is the identity, but for the clamp of extreme tones."""
    network = TransformerNet(NetworkConfig(width=8, residual_blocks=1))
    images = 0.1 + 0.8 * tiny.contents(1, 96)
    plain = stylize_tensor(network, network.parameter_dict(), images)
    stylized = coarse_to_fine(network, network.parameter_dict(), images, scale)
    error = (stylized - plain).square().mean()
    assert 10 * math.log10(1 / error) > 10 * math.log10(1 / (plain - images).square().mean()) - 3


def test_by_default_strokes_are_relative_to_images_above_512_pixels():
    small, large = tiny.contents(1, 512), tiny.contents(1, 768)
    assert torch.equal(
        stylize(NETWORK, [PARAMETERS], [small])[0],
        stylize(NETWORK, [PARAMETERS], [small], StylizationConfig(stroke_scale=1))[0],
    )
    by_default = stylize(NETWORK, [PARAMETERS], [large])[0]
    assert torch.equal(by_default, stylize(NETWORK, [PARAMETERS], [large], StylizationConfig(stroke_scale=1.5))[0])
    assert not torch.equal(by_default, stylize(NETWORK, [PARAMETERS], [large], StylizationConfig(stroke_scale=1))[0])


@pytest.mark.parametrize("size", [(16, 200), (33, 40), (300, 70)])
def test_any_shape_comes_back_in_its_size(size):
    images = torch.rand(1, 3, *size)
    assert coarse_to_fine(NETWORK, PARAMETERS, images, 8.0).shape == images.shape


@pytest.mark.parametrize("value", [0, 0.5, 17, math.nan, True, "2"])
def test_other_stroke_scales_are_refused(value):
    with pytest.raises(SettingError) as refused:
        stylize(NETWORK, [PARAMETERS], [tiny.content()], StylizationConfig(stroke_scale=value))
    assert repr(value) in str(refused.value)
