"""Temporal smoothing: static regions flicker less, everything new is shown at once."""

from __future__ import annotations

from itertools import pairwise

import pytest
import tiny
import torch
from torch import Tensor

from metastyle_hub.video.temporal import TemporalState, temporal_smoothing

THRESHOLD, BLEND = 10 / 255, 0.9


def noisy(image: Tensor, seed: int, level: float = 2 / 255) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (image + level * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def amplified(image: Tensor) -> Tensor:
    """Stylize as networks do: every change becomes four times as large."""
    return (0.5 + 4 * (image - 0.5)).clamp(0, 1)


def test_static_regions_flicker_less_than_half_as_much():
    wall = 0.3 + 0.2 * tiny.tensor(tiny.content())
    frames = [noisy(wall, seed) for seed in range(12)]
    state, outputs = None, []
    for frame in frames:
        state = temporal_smoothing(state, frame, amplified(frame), THRESHOLD, BLEND)
        outputs.append(state.output)
    plain = torch.stack([(amplified(a) - amplified(b)).abs().mean() for a, b in pairwise(frames)])
    smoothed = torch.stack([(a - b).abs().mean() for a, b in pairwise(outputs)])
    assert smoothed[3:].mean() < 0.5 * plain.mean()


def test_moving_regions_and_cuts_are_stylized_anew():
    first, second = tiny.tensor(tiny.content(seed=1)), tiny.tensor(tiny.content(seed=1)).clone()
    second[..., 20:40, 30:60] = 1 - second[..., 20:40, 30:60].round()  # large and different
    moved = (second - first).abs().amin(1, keepdim=True) > 0.2
    state = temporal_smoothing(None, first, amplified(first), THRESHOLD, BLEND)
    state = temporal_smoothing(state, second, amplified(second), THRESHOLD, BLEND)
    assert moved.any()
    inside = moved.expand_as(second)
    assert (state.output - amplified(second))[inside].abs().max() < 1e-6
    cut = 1 - first
    state = temporal_smoothing(state, cut, amplified(cut), THRESHOLD, BLEND)
    assert (state.output - amplified(cut)).abs().mean() < 0.01


def test_the_reference_follows_a_slow_change_of_light_within_the_threshold():
    state = None
    for i in range(60):
        frame = torch.full((1, 3, 16, 16), 0.2 + i / 255)
        state = temporal_smoothing(state, frame, frame, THRESHOLD, BLEND)
        assert (state.reference - frame).abs().max() <= THRESHOLD
        assert torch.allclose(state.reference, state.output)  # the output belongs to the reference


def test_the_distance_is_the_mean_over_5_x_5_pixels_of_the_largest_change_of_a_channel():
    before = torch.full((1, 3, 15, 15), 0.5, dtype=torch.float64)
    frame = before.clone()
    frame[0, 1, 7, 7] += 0.1  # a single pixel of one channel: a distance of 0.1 / 25 in a window of 5 x 5
    stylized = torch.ones_like(frame)
    state = temporal_smoothing(TemporalState(before, torch.zeros_like(before)), frame, stylized, 0.01, BLEND)
    weight = torch.full((15, 15), BLEND, dtype=torch.float64)
    weight[5:10, 5:10] = BLEND * (1 - 0.1 / 25 / 0.01)
    assert torch.allclose(state.output, (1 - weight).expand(1, 3, 15, 15), atol=1e-12)
    assert torch.allclose(state.reference, frame + weight * (before - frame), atol=1e-12)


@pytest.mark.parametrize("corner", [(0, 0), (0, 14), (14, 0), (14, 14)])
def test_borders_are_replicated(corner: tuple[int, int]):
    before = torch.full((1, 3, 15, 15), 0.5, dtype=torch.float64)
    frame = before.clone()
    frame[0, :, corner[0], corner[1]] += 0.1  # with its replicas, 9 of the 25 pixels of the corner's window
    state = temporal_smoothing(TemporalState(before, before * 0), frame, torch.ones_like(frame), 0.1, BLEND)
    assert float(state.output[0, 0, corner[0], corner[1]]) == pytest.approx(1 - BLEND * (1 - 9 / 25), abs=1e-12)


def test_a_threshold_of_0_disables_smoothing():
    first, second = (torch.rand(1, 3, 8, 8) for _ in range(2))
    state = temporal_smoothing(None, first, first, 0, BLEND)
    assert temporal_smoothing(state, second, second, 0, BLEND).output is second


def test_the_first_frame_and_another_size_start_anew():
    first, second = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 10, 8)
    state = temporal_smoothing(None, first, first, THRESHOLD, BLEND)
    assert state.output is first
    assert temporal_smoothing(state, second, second, THRESHOLD, BLEND).output is second
