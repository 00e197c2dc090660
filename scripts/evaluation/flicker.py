"""Measure how much stylized videos flicker, frame by frame, with temporal smoothing, and along the optical flow.

    python scripts/evaluation/flicker.py -s space/styles/mosaic_sun clip.mp4 photo.jpg --frames 24 --size 180

Of a photo a camera that pans is simulated, with the noise of a sensor (2 levels), whose true flow is known. The warp
error is the mean difference, in levels of 255, of an output and the one before it, warped along the flow of the content
video, where the flow is consistent in both directions. That flow is Farneback's, another method than that of the
smoothing. Sharpness is the mean difference of neighboring pixels.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metastyle_hub import MetaStyle, VideoConfig
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.video.flow import sample, warp_state
from metastyle_hub.video.frames import Frame
from metastyle_hub.video.reader import open_video
from metastyle_hub.video.temporal import TemporalState, temporal_smoothing

_PAN = (1.7, 0.6)  # pixels a frame, right and down
_NOISE = 2 / 255
_SETTLED = 5  # frames after which smoothing has its full effect

Flow = tuple[Tensor, Tensor]  # (1, 2, H, W) in pixels, and (1, 1, H, W) where it is known


def panned(photo: Tensor, frames: int, size: int) -> tuple[list[Tensor], list[Flow]]:
    """Return the frames of a simulated pan, and its true flow."""
    margin = [int(side * frames) + 1 for side in _PAN]
    image = resize_short_side(photo, size + margin[1])
    height, width = size, image.shape[-1] - margin[0]
    generator, result = torch.Generator().manual_seed(0), []
    for t in range(frames):
        shift = torch.tensor([_PAN[0] * t, _PAN[1] * t]).view(1, 2, 1, 1).expand(1, 2, *image.shape[-2:])
        part = sample(image, shift)[..., :height, :width]
        result.append((part + _NOISE * torch.randn(part.shape, generator=generator)).clamp(0, 1))
    known = torch.ones(1, 1, height, width)
    known[..., -6:] = known[..., -6:, :] = 0
    flow = torch.tensor(_PAN).view(1, 2, 1, 1).expand(1, 2, height, width)
    return result, [(flow, known)] * (frames - 1)


def farneback(frames: list[Tensor]) -> list[Flow]:
    """Return the flow from every frame to the one before it."""
    cv2: Any = importlib.import_module("cv2")

    def gray(image: Tensor) -> np.ndarray[Any, Any]:
        return cv2.cvtColor((image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), cv2.COLOR_RGB2GRAY)

    def flow(first: Tensor, second: Tensor) -> Tensor:
        field = cv2.calcOpticalFlowFarneback(gray(first), gray(second), None, 0.5, 4, 15, 4, 7, 1.5, 0)
        return torch.from_numpy(field).permute(2, 0, 1)[None]

    result = []
    for before, now in pairwise(frames):
        back, forth = flow(now, before), flow(before, now)
        there = sample(forth, back)
        same = (now - sample(before, back)).abs().amax(1, keepdim=True) < 25 / 255
        result.append((back, (((back + there).norm(dim=1, keepdim=True) < 1) & same).float()))
    return result


def smoothed(
    frames: list[Tensor], stylized: list[Tensor], move: Callable[[TemporalState, Tensor], TemporalState]
) -> list[Tensor]:
    """Return the outputs of temporal smoothing with the default settings."""
    config, state, outputs = VideoConfig(), None, []
    for frame, image in zip(frames, stylized, strict=True):
        state = state and move(state, frame)
        state = temporal_smoothing(state, frame, image, config.motion_threshold / 255, config.blend)
        outputs.append(state.output)
    return outputs


def warp_error(outputs: list[Tensor], flows: list[Flow]) -> float:
    """Return the mean warp error in levels of 255."""
    errors = []
    for (before, now), (flow, known) in list(zip(pairwise(outputs), flows, strict=True))[_SETTLED:]:
        difference = (now - sample(before, flow)).abs().mean(1, keepdim=True)
        errors.append(float((difference * known).sum() / known.sum()) * 255)
    return float(np.mean(errors))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, help="videos, and photos to pan over")
    parser.add_argument("-s", "--style", action="append", required=True, help="folder of a style, repeatable")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=180, help="pixels of the short side")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| style | source | | warp error | of that of static regions | sharpness |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for folder in args.style:
        style = MetaStyle.from_pretrained(folder, device="cpu")
        for source in args.sources:
            if source.suffix.lower() in (".jpg", ".jpeg", ".png"):
                frames, flows = panned(to_tensor(load_image(source)), args.frames, args.size)
            else:
                with closing(open_video(source)) as video:
                    parts = (part.image for part in video if isinstance(part, Frame))
                    frames = [resize_short_side(image, args.size) for image in islice(parts, args.frames)]
                flows = farneback(frames)
            stylized = [style.stylize(frame) for frame in frames]
            ways = {
                "no smoothing": stylized,
                "static regions": smoothed(frames, stylized, lambda state, frame: state),
                "optical flow": smoothed(frames, stylized, warp_state),
            }
            errors = {name: warp_error(outputs, flows) for name, outputs in ways.items()}
            for name, outputs in ways.items():
                sharp = 255 * float((outputs[-1].diff(dim=-1)).abs().mean())
                row = f"{errors[name]:.2f} | {errors[name] / errors['static regions']:.2f} | {sharp:.1f}"
                print(f"| {Path(folder).name} | {source.stem} | {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
