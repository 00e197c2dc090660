"""Smoothing follows movement: a panned scene flickers less, and what was covered or is new leaves no ghost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.video.flow import has_optical_flow, warp_state
from metastyle_hub.video.temporal import TemporalState, temporal_smoothing

pytestmark = pytest.mark.skipif(not has_optical_flow(), reason="OpenCV is not installed: pip install '.[video]'")

THRESHOLD, BLEND = 10 / 255, 0.9


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    noise = torch.rand(1, 3, height // 6, width // 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def noisy(image: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (image + 2 / 255 * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def amplified(image: Tensor) -> Tensor:
    """Stylize as networks do: noise becomes four times as large."""
    low = F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return (low + 4 * (image - low)).clamp(0, 1)


def smoothed(frames: list[Tensor], *, follow: bool) -> list[Tensor]:
    state, outputs = None, []
    for frame in frames:
        if state is not None and follow:
            state = warp_state(state, frame)
        state = temporal_smoothing(state, frame, amplified(frame), THRESHOLD, BLEND)
        outputs.append(state.output)
    return outputs


def test_a_panned_scene_flickers_less():
    scene = texture(96, 160)
    frames = [noisy(scene[..., 2 * t : 2 * t + 120], t) for t in range(12)]  # 2 pixels a frame

    def shifted(outputs: list[Tensor]) -> list[Tensor]:
        """The same part of the scene in every frame."""
        return [output[..., 24 - 2 * t : 112 - 2 * t] for t, output in enumerate(outputs)]

    def flicker(outputs: list[Tensor]) -> float:
        return float(torch.stack([(a - b).abs().mean() for a, b in pairwise(shifted(outputs))][4:]).mean())

    assert flicker(smoothed(frames, follow=True)) < 0.6 * flicker(smoothed(frames, follow=False))


def test_what_was_covered_leaves_no_ghost():
    background, object = texture(96, 128, 1), 1 - texture(96, 128, 2) * 0.3
    frames, masks = [], []
    for t in range(8):
        mask = torch.zeros(1, 1, 96, 128)
        mask[..., 30:62, 10 + 5 * t : 42 + 5 * t] = 1
        moved = torch.roll(object, 5 * t, -1)
        frames.append(noisy(torch.lerp(background, moved, mask), t))
        masks.append(mask)
    outputs = smoothed(frames, follow=True)
    for t in range(2, 8):
        uncovered = ((masks[t - 1] > 0) & (masks[t] == 0)).expand_as(frames[t])
        error = (outputs[t] - amplified(frames[t])).abs()[uncovered]
        assert error.mean() < 0.05 and error.quantile(0.98) < 0.25
        ghost = (outputs[t] - outputs[t - 1]).abs()[uncovered]
        assert ghost.mean() > 3 * error.mean()  # the object is gone


def test_static_scenes_are_not_resampled():
    wall = texture(64, 96)
    state = temporal_smoothing(None, wall, wall, THRESHOLD, BLEND)
    assert warp_state(state, wall) is state
    moved = warp_state(state, noisy(wall, 1))
    assert torch.equal(moved.reference, wall) and torch.equal(moved.output, wall)


def test_a_cut_is_new_at_once():
    state = temporal_smoothing(None, texture(64, 96, 1), texture(64, 96, 1), THRESHOLD, BLEND)
    second = texture(64, 96, 2)
    state = temporal_smoothing(warp_state(state, second), second, second, THRESHOLD, BLEND)
    assert (state.output - second).abs().mean() < 0.02


@pytest.mark.parametrize("size", [(1, 1), (31, 200), (32, 32), (33, 47), (32, 900), (900, 32)])
def test_frames_of_any_size(size: tuple[int, int]):
    first, second = tiny.tensor(tiny.content(*size)), tiny.tensor(tiny.content(*size, seed=1))
    state = warp_state(TemporalState(first, first), second)
    assert state.reference.shape == state.output.shape == first.shape
    assert np.isfinite(state.output.numpy()).all() and state.output.min() >= 0 and state.output.max() <= 1
