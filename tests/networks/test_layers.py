"""Reflection padding is torch's, and so is its gradient, once and twice; instance norm and noise are their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metastyle_hub.networks.layers import (
    NOISE_PERIOD,
    ConvNorm,
    InstanceNorm,
    ReflectionConv2d,
    ResidualBlock,
    binomial_filter,
    noise_field,
    random_noise_offset,
    reflection_pad,
)

DOUBLE = torch.float64


@pytest.mark.parametrize("margin", [1, 2, 4])
@pytest.mark.parametrize("size", [(5, 9), (6, 5), (64, 48)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_padding_and_its_gradient_are_those_of_torch(margin, size, layout):
    x = torch.randn(2, 3, *size, dtype=DOUBLE).contiguous(memory_format=layout).requires_grad_()
    padded, theirs = reflection_pad(x, margin), F.pad(x, (margin,) * 4, mode="reflect")
    assert torch.equal(padded, theirs)
    upstream = torch.randn_like(padded)
    found, expected = (torch.autograd.grad(y, x, upstream, retain_graph=True)[0] for y in (padded, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_finite_differences_once_and_twice():
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)

    def cubed(x):  # padding is linear: only what follows it has a second derivative
        return reflection_pad(x, 2).pow(3)

    torch.autograd.gradcheck(cubed, x)
    torch.autograd.gradgradcheck(cubed, x)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_a_convolution_is_that_of_torch_with_the_same_weights(kernel, stride):
    ours = ReflectionConv2d(3, 4, kernel, stride).double()
    theirs = torch.nn.Conv2d(3, 4, kernel, stride, kernel // 2, padding_mode="reflect").double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 16, 20, dtype=DOUBLE)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_binomial_filter_is_a_convolution_with_1_2_1_of_each_channel(layout):
    x = torch.randn(2, 3, 7, 9, dtype=DOUBLE).contiguous(memory_format=layout)
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=DOUBLE) / 16
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    for channel in range(3):
        alone = F.conv2d(padded[:, channel : channel + 1], kernel[None, None])
        torch.testing.assert_close(binomial_filter(x)[:, channel : channel + 1], alone)


def test_a_convolution_may_have_a_kernel_for_each_image():
    conv, x = ReflectionConv2d(3, 4, 3, 2).double(), torch.rand(2, 3, 8, 12, dtype=DOUBLE)
    weights, biases = torch.randn(2, 4, 3, 3, 3, dtype=DOUBLE), torch.randn(2, 4, dtype=DOUBLE)
    together = torch.func.functional_call(conv, {"weight": weights, "bias": biases}, (x,))
    for i in range(2):
        alone = torch.func.functional_call(conv, {"weight": weights[i], "bias": biases[i]}, (x[i : i + 1],))
        torch.testing.assert_close(together[i : i + 1], alone)


# --- instance norm


def test_instance_norm_is_its_formula():
    norm = InstanceNorm(5).double()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 2, 5))
        norm.bias.copy_(torch.linspace(3, -3, 5))
    x = torch.randn(2, 5, 7, 9, dtype=DOUBLE) * 3 + 1
    mean = x.mean((2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((2, 3), keepdim=True)
    weight, bias = norm.weight.view(1, 5, 1, 1), norm.bias.view(1, 5, 1, 1)
    expected = weight * (x - mean) / (variance + 1e-5).sqrt() + bias
    torch.testing.assert_close(norm(x), expected)
    norm.eval()
    torch.testing.assert_close(norm(x), expected)
    bias_map = torch.randn(1, 5, 7, 9, dtype=DOUBLE)
    torch.testing.assert_close(norm(x, bias_map), expected - bias + bias * bias_map)
    torch.testing.assert_close(norm(x, torch.ones_like(x)), expected)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("own", [False, True], ids=["one style", "a style each"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("size", [(24, 20), (368, 360)], ids=["small", "large"])
def test_values_and_gradients_of_instance_norm_are_those_of_its_formula(batch, own, layout, size):
    """Small and large images are computed in two ways; the gradients are of image, weights and biases."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=DOUBLE)

    x, upstream = ((2 * normal(batch, 4, *size) + 10).contiguous(memory_format=layout) for _ in range(2))
    values = [x, *(normal(batch, 4) if own else normal(4) for _ in range(2))]
    found = []
    for by_hand in (True, False):
        image, weight, bias = (v.clone().requires_grad_() for v in values)
        if by_hand:
            variance, mean = torch.var_mean(image, (2, 3), correction=0, keepdim=True)
            result = weight[..., None, None] * (image - mean) / (variance + 1e-5).sqrt() + bias[..., None, None]
        else:
            norm, given = InstanceNorm(4), {"weight": weight, "bias": bias}
            result = torch.func.functional_call(norm, given, (image,))
            with_map = torch.func.functional_call(norm, given, (image, torch.ones_like(x)))
            torch.testing.assert_close(with_map, result)
        found.append([result, *torch.autograd.grad(result, (image, weight, bias), upstream)])
    for ours, expected in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-7, atol=1e-7)


def test_a_block_is_convolution_norm_and_relu():
    block, x = ConvNorm(3, 4, 3, stride=2).double(), torch.randn(2, 3, 8, 8, dtype=DOUBLE)
    activations: list[torch.Tensor] = []
    made = block(x, activations=activations)
    torch.testing.assert_close(activations[0], block.conv(x))
    torch.testing.assert_close(made, block.norm(block.conv(x)).relu())
    plain = ConvNorm(3, 4, 3, stride=2, relu=False).double()
    plain.load_state_dict(block.state_dict())
    torch.testing.assert_close(plain(x), block.norm(block.conv(x)))


def test_a_residual_block_adds_its_input():
    block, x = ResidualBlock(4).double(), torch.randn(2, 4, 8, 8, dtype=DOUBLE)
    first, second = block.first, block.second
    expected = x + second.norm(second.conv(first.norm(first.conv(x)).relu()))
    torch.testing.assert_close(block(x), expected)


# --- noise


@pytest.mark.parametrize("offset", [(0, 0), (2, 3), (NOISE_PERIOD - 2, 5), (3 * NOISE_PERIOD + 1, 700), (-4, -1)])
def test_windows_show_one_field(offset):
    whole = noise_field(3, 20, 24, offset)
    assert whole.shape == (1, 3, 20, 24)
    for top, left in ((0, 0), (7, 0), (6, 11)):
        window = noise_field(3, 13, 9, (offset[0] + top, offset[1] + left))
        assert torch.equal(window, whole[..., top : top + 13, left : left + 9])


def test_a_window_may_be_larger_than_the_period_of_the_field():
    large = noise_field(1, NOISE_PERIOD + 8, 2 * NOISE_PERIOD + 4)
    assert torch.equal(large[..., NOISE_PERIOD:, :], large[..., :8, :])
    assert torch.equal(large[..., NOISE_PERIOD : 2 * NOISE_PERIOD], large[..., :NOISE_PERIOD])


def test_the_noise_is_white_with_mean_0_and_variance_1():
    x = noise_field(8, NOISE_PERIOD, NOISE_PERIOD)[0].double()
    error = 5 / NOISE_PERIOD  # five standard deviations of a mean over that many samples
    assert float(x.mean((1, 2)).abs().max()) < error
    assert float((x.square().mean((1, 2)) - 1).abs().max()) < error
    for dy, dx in ((0, 1), (1, 0), (1, 1), (2, 0), (0, 3)):
        assert float((x * x.roll((dy, dx), (1, 2))).mean((1, 2)).abs().max()) < error
    between = torch.corrcoef(x.flatten(1)) - torch.eye(8)
    assert float(between.abs().max()) < error


def test_the_noise_is_the_same_on_every_machine():
    expected = torch.tensor([[-0.82579976, -0.69804716], [-1.53573072, 1.21356988]])
    torch.testing.assert_close(noise_field(2, 1, 2)[0, :, 0], expected, rtol=0, atol=1e-6)


def test_offsets_are_drawn_from_the_whole_field():
    rng = np.random.default_rng(0)
    offsets = np.array([random_noise_offset(rng) for _ in range(2000)])
    assert offsets.min() >= 0 and offsets.max() < NOISE_PERIOD
    assert len(np.unique(offsets[:, 0])) == len(np.unique(offsets[:, 1])) == NOISE_PERIOD


def test_noise_first_used_in_inference_mode_serves_training_later():
    with torch.inference_mode():
        noise_field(37, 2, 2)
    bias = torch.ones(37, 1, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad((bias * noise_field(37, 2, 2)).sum(), bias)
    torch.testing.assert_close(gradient, noise_field(37, 2, 2).sum((0, 2, 3))[:, None, None])
