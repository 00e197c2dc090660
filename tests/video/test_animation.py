"""Animations: cut off, transparent, of every format, with their loops and the duration of every frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image, features
from videos import mux

from metastyle_hub import ImageError, VideoConfig
from metastyle_hub.video.frames import Frame
from metastyle_hub.video.reader import open_video
from metastyle_hub.video.stylize import stylize_video

IMAGES = [Image.fromarray(tiny.content(32, 48, seed=i)) for i in range(6)]
FORMATS = [".gif", ".webp", ".png", pytest.param(".avif", marks=pytest.mark.skipif(not features.check("avif"),
           reason="Pillow is built without AVIF"))]  # fmt: skip


def save(path: Path, images: list[Image.Image] = IMAGES, **options: object) -> Path:
    images[0].save(path, save_all=True, append_images=images[1:], **{"duration": 100, **options})
    return path


def copy(source: Path, target: Path, **options: object) -> list[Frame]:
    for _ in stylize_video(lambda image: image, source, target, VideoConfig(motion_threshold=0, crf=0), **options):
        pass
    return frames_of(target)


def frames_of(path: Path) -> list[Frame]:
    video = open_video(path)
    frames = [part for part in video if isinstance(part, Frame)]
    video.close()
    return frames


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_there_of_a_cut_off_animation_is_stylized(tmp_path: Path, suffix: str):
    data = save(tmp_path / f"in{suffix}", lossless=True).read_bytes()
    for share in (0.02, 0.1, 0.5, 0.8, 0.99):
        (tmp_path / f"cut{suffix}").write_bytes(data[: int(len(data) * share)])
        try:
            frames = copy(tmp_path / f"cut{suffix}", tmp_path / "out.webp")
        except ImageError as error:  # of formats that decode only as a whole, or the first frame is damaged
            assert "cut" in str(error)
            assert suffix in (".webp", ".avif") or share < 0.2
        else:
            assert 1 <= len(frames) <= 6 and (share < 0.5 or len(frames) >= 2)


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_transparency_stays(tmp_path: Path, source: str, target: str):
    images = []
    for i in range(4):
        alpha = np.zeros((32, 48), np.uint8)
        alpha[:, 10 * i : 10 * i + 16] = 255  # a bar that moves: what was opaque becomes transparent
        image = IMAGES[i].copy()
        image.putalpha(Image.fromarray(alpha))
        images.append(image)
    path = save(tmp_path / f"in{source}", images, disposal=2 if source == ".gif" else 1, lossless=True, quality=100)
    frames = copy(path, tmp_path / f"out{target}")
    assert len(frames) == 4
    for i, frame in enumerate(frames):
        assert frame.alpha is not None
        opaque = torch.zeros(32, 48, dtype=torch.bool)
        opaque[:, 10 * i : 10 * i + 16] = True
        assert ((frame.alpha[0, 0] > 0.5) == opaque).float().mean() > 0.97
        image = tiny.tensor(np.array(IMAGES[i]))
        assert (frame.image - image)[..., 10 * i + 2 : 10 * i + 14].abs().mean() < 0.08


def test_colors_under_transparent_pixels_do_not_matter(tmp_path: Path):
    for name, color in (("a", (200, 0, 0, 0)), ("b", (0, 255, 255, 0))):
        save(tmp_path / f"{name}.png", [Image.new("RGBA", (32, 32), color), IMAGES[0].resize((32, 32)).convert("RGBA")])
    first, second = (frames_of(tmp_path / f"{name}.png") for name in "ab")
    assert all(torch.equal(a.image, b.image) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("loop", [0, 3, 1])
@pytest.mark.parametrize("source", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("target", [".gif", ".webp", ".png"])
def test_the_number_of_loops_stays(tmp_path: Path, source: str, target: str, loop: int):
    # of a GIF, the number of repetitions; without one it is shown once
    stated = {} if source == ".gif" and loop == 1 else {"loop": loop - 1 if source == ".gif" and loop else loop}
    path = save(tmp_path / f"in{source}", **stated)
    assert open_video(path).loop == loop
    copy(path, tmp_path / f"out{target}")
    assert open_video(tmp_path / f"out{target}").loop == loop


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_last_frame_stays_as_long(tmp_path: Path, suffix: str):
    path = save(tmp_path / f"in{suffix}", duration=[100, 100, 100, 100, 100, 1700])
    assert [float(frame.duration or 0) for frame in copy(path, tmp_path / f"out{suffix}")] == [*[0.1] * 5, 1.7]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("count", [1, 6])
def test_the_last_frame_stays_as_long_in_a_video(tmp_path: Path, suffix: str, count: int):
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
    path = save(tmp_path / "in.gif", IMAGES[:count], duration=[*[100] * (count - 1), 1700])
    copy(path, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert container.duration / av.time_base == pytest.approx(0.1 * (count - 1) + 1.7, abs=0.01)


def test_frames_that_state_no_duration_take_100_ms_as_in_browsers(tmp_path: Path):
    path = save(tmp_path / "in.gif", duration=[0, 10, 20, 30, 40, 50])
    assert [float(frame.duration or 0) for frame in frames_of(path)] == [0.1, 0.1, 0.02, 0.03, 0.04, 0.05]


def test_the_image_for_programs_without_animations_is_no_frame(tmp_path: Path):
    path = tmp_path / "in.png"
    Image.new("RGB", (48, 32), "red").save(path, save_all=True, append_images=IMAGES, default_image=True, duration=100)
    video = open_video(path)
    assert video.count == 6 and len(frames_of(path)) == 6
    assert torch.equal(frames_of(path)[0].image, tiny.tensor(np.array(IMAGES[0])))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_video_becomes_an_animation_and_back(tmp_path: Path, suffix: str):
    pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
    source = mux(tmp_path / "in.mp4", [np.asarray(image) for image in IMAGES])
    frames = copy(source, tmp_path / f"out{suffix}", size=16)
    assert [frame.image.shape[-2:] for frame in frames] == [(16, 24)] * 6
    back = copy(tmp_path / f"out{suffix}", tmp_path / "back.mp4")
    assert [float(frame.start) for frame in back] == pytest.approx([i / 10 for i in range(6)], abs=0.002)
