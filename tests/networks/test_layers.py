"""Padding by reflection must be torch's, and so must its gradient, once and twice."""

import pytest
import torch
import torch.nn.functional as F

from metastyle_hub.networks.layers import ReflectionConv2d, binomial_filter, reflection_pad


@pytest.mark.parametrize("margin", [1, 2, 4])
@pytest.mark.parametrize("size", [(5, 9), (6, 5), (64, 48)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_padding_and_its_gradient_are_those_of_torch(margin, size, layout):
    x = torch.randn(2, 3, *size).contiguous(memory_format=layout).requires_grad_()
    padded, theirs = reflection_pad(x, margin), F.pad(x, (margin,) * 4, mode="reflect")
    assert torch.equal(padded, theirs)
    upstream = torch.randn_like(padded)
    found, expected = (torch.autograd.grad(y, x, upstream, retain_graph=True)[0] for y in (padded, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)


def test_gradients_are_those_of_finite_differences_once_and_twice():
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)

    def cubed(x):  # padding is linear: only what follows it has a second derivative
        return reflection_pad(x, 2).pow(3)

    torch.autograd.gradcheck(cubed, x)
    torch.autograd.gradgradcheck(cubed, x)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_a_convolution_is_that_of_torch_with_the_same_weights(kernel, stride):
    ours = ReflectionConv2d(3, 4, kernel, stride)
    theirs = torch.nn.Conv2d(3, 4, kernel, stride, kernel // 2, padding_mode="reflect")
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 16, 20)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_binomial_filter_is_a_convolution_with_1_2_1_of_each_channel(layout):
    x = torch.randn(2, 3, 7, 9).contiguous(memory_format=layout)
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    for channel in range(3):
        alone = F.conv2d(padded[:, channel : channel + 1], kernel[None, None])
        torch.testing.assert_close(binomial_filter(x)[:, channel : channel + 1], alone)
