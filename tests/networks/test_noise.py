"""The noise that strokes begin with: one endless field, the same everywhere and always."""

import numpy as np
import pytest
import torch

from metastyle_hub.networks.noise import PERIOD, noise_field, random_noise_offset


@pytest.mark.parametrize("corner", [(0, 0), (2, 3), (PERIOD - 2, 5), (3 * PERIOD + 1, 700), (-4, -1)])
def test_windows_show_one_field(corner):
    whole = noise_field(3, 20, 24, corner)
    assert whole.shape == (1, 3, 20, 24)
    for top, left in ((0, 0), (7, 0), (6, 11)):
        window = noise_field(3, 13, 9, (corner[0] + top, corner[1] + left))
        assert torch.equal(window, whole[..., top : top + 13, left : left + 9])


def test_a_window_may_be_larger_than_the_field_s_period():
    large = noise_field(1, PERIOD + 8, 2 * PERIOD + 4)
    assert torch.equal(large[..., PERIOD:, :], large[..., :8, :])
    assert torch.equal(large[..., PERIOD : 2 * PERIOD], large[..., :PERIOD])


def test_it_is_white_with_mean_0_and_variance_1():
    x = noise_field(8, PERIOD, PERIOD)[0].double()
    error = 5 / PERIOD  # five standard deviations of a mean over that many samples
    assert float(x.mean((1, 2)).abs().max()) < error
    assert float((x.square().mean((1, 2)) - 1).abs().max()) < error
    for dy, dx in ((0, 1), (1, 0), (1, 1), (2, 0), (0, 3)):
        assert float((x * x.roll((dy, dx), (1, 2))).mean((1, 2)).abs().max()) < error
    between = torch.corrcoef(x.flatten(1)) - torch.eye(8)
    assert float(between.abs().max()) < error


def test_it_is_the_same_on_every_machine():
    expected = torch.tensor([[-0.82579976, -0.69804716], [-1.53573072, 1.21356988]])
    torch.testing.assert_close(noise_field(2, 1, 2)[0, :, 0], expected, rtol=0, atol=1e-6)


def test_what_learns_draws_its_place_from_the_whole_field():
    rng = np.random.default_rng(0)
    corners = np.array([random_noise_offset(rng) for _ in range(2000)])
    assert corners.min() >= 0 and corners.max() < PERIOD
    assert len(np.unique(corners[:, 0])) == len(np.unique(corners[:, 1])) == PERIOD


def test_noise_first_asked_for_in_inference_mode_serves_training_later():
    with torch.inference_mode():
        noise_field(37, 2, 2)
    shift = torch.ones(37, 1, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad((shift * noise_field(37, 2, 2)).sum(), shift)
    assert torch.equal(gradient, noise_field(37, 2, 2).sum((0, 2, 3))[:, None, None])
