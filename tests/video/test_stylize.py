"""Every frame of a video is stylized at its time, upright, with the audio; files are complete or absent."""

from __future__ import annotations

import logging
import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor
from videos import write_video

from metastyle_hub import MetaStyle, SettingError, VideoConfig, VideoError
from metastyle_hub.cli import main
from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import ImageLimits
from metastyle_hub.video.frames import Frame
from metastyle_hub.video.reader import open_video
from metastyle_hub.video.stylize import stylize_video
from metastyle_hub.video.writer import VideoWriter

av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")

EXACT = VideoConfig(motion_threshold=0, crf=0)
IMAGES = [tiny.content(seed=i) for i in range(6)]


def frames_of(path: Path) -> list[Frame]:
    video = open_video(path)
    frames = [part for part in video if isinstance(part, Frame)]
    video.close()
    return frames


def audio_of(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(bytes(packet) for packet in container.demux(audio=0))


def identity(image: Tensor) -> Tensor:
    return image


def copy(source: Path, target: Path, config: VideoConfig = EXACT) -> Path:
    """The video, with frames that no network has changed."""
    for _ in stylize_video(identity, source, target, config):
        pass
    return target


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "walk.mp4", IMAGES)


# ---- videos


def test_every_frame_is_stylized_at_its_time_and_the_audio_is_copied(base: MetaStyle, video: Path, tmp_path: Path):
    steps = list(base.stylize_video_iter(video, tmp_path / "out.mp4", config=EXACT))
    assert [(step.index, step.count) for step in steps] == [(i, 6) for i in range(1, 7)]
    read, written = frames_of(video), frames_of(tmp_path / "out.mp4")
    assert [frame.start for frame in written] == [Fraction(i, 10) for i in range(6)]
    for before, step, after in zip(read, steps, written, strict=True):
        assert torch.equal(step.image, base.stylize(before.image))
        # color is stored at half the size, so only means are equal
        assert (step.image.mean((2, 3)) - after.image.mean((2, 3))).abs().max() < 0.01
    assert len(audio_of(video)) > 100 and audio_of(tmp_path / "out.mp4") == audio_of(video)


def test_colors_are_preserved(tmp_path: Path):
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 80, 30), (255, 255, 255), (0, 0, 0)]
    source = write_video(tmp_path / "in.mkv", [np.full((32, 32, 3), c, np.uint8) for c in colors], audio=None)
    copy(source, tmp_path / "out.mp4")
    for before, after in zip(frames_of(source), frames_of(tmp_path / "out.mp4"), strict=True):
        assert (before.image - after.image).abs().max() < 0.012
    with av.open(str(tmp_path / "out.mp4")) as written:
        frame = next(written.decode(video=0))
        assert (frame.colorspace, frame.color_range, frame.format.name) == (1, 1, "yuv420p")  # BT.709, for players


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv"])
def test_irregular_frame_times_come_back_exactly(tmp_path: Path, suffix: str):
    times = [Fraction(ms, 1000) for ms in (0, 50, 401, 457, 1203, 61_007)]
    source = write_video(tmp_path / "in.mkv", IMAGES, times, audio=None)
    assert [frame.start for frame in frames_of(source)] == times
    assert [frame.start for frame in frames_of(copy(source, tmp_path / f"out{suffix}"))] == times


@pytest.mark.parametrize("ticks", [24_000, 30_000, 90_000])
def test_times_finer_than_a_millisecond_come_back_exactly(tmp_path: Path, ticks: int):
    step = {24_000: 1001, 30_000: 1001, 90_000: 1}[ticks]  # 23.976 and 29.97 frames per second, and the finest
    times = [Fraction(step * i, ticks) for i in (0, 1, 2, 5, 6, 1000)]
    source = write_video(tmp_path / "in.mp4", IMAGES, times, audio=None, ticks=ticks)
    assert [frame.start for frame in frames_of(source)] == times
    written = [frame.start for frame in frames_of(copy(source, tmp_path / "out.mp4"))]
    # the written ticks are 1/90000 s: exact where the rate divides them, else the nearest
    assert [round(90_000 * time) for time in times] == [90_000 * time for time in written]


def test_the_times_of_long_videos_come_back_exactly(video: Path, tmp_path: Path):
    source = open_video(video)
    tick = Fraction(1, 90_000)
    times = [i * (7_000 + tick) for i in range(5)]  # more ticks than 31 bits hold
    writer = VideoWriter(tmp_path / "out.mp4", source, crf=18)
    for image, time in zip(IMAGES, times, strict=False):
        writer.add(Frame(tiny.tensor(image), time))
    assert writer.finish()
    source.close()
    assert [frame.start for frame in frames_of(tmp_path / "out.mp4")] == times


def test_times_count_from_the_beginning_of_the_video(tmp_path: Path):
    late = write_video(tmp_path / "late.mp4", IMAGES, [5 + i / 10 for i in range(6)], audio=None)
    for path in (late, copy(late, tmp_path / "out.mp4")):
        assert [frame.start for frame in frames_of(path)] == [Fraction(i, 10) for i in range(6)]


def test_video_and_audio_stay_synchronous(tmp_path: Path):
    late = write_video(tmp_path / "late.mkv", IMAGES, [0.5 + i / 10 for i in range(6)])  # the audio starts at once
    copy(late, tmp_path / "out.mp4")
    for file in (late, tmp_path / "out.mp4"):
        with av.open(str(file)) as container:
            packets = [packet for packet in container.demux() if packet.pts is not None]
            first = {packet.stream.type: float(packet.pts * packet.time_base) for packet in reversed(packets)}
        assert first["video"] - first["audio"] == pytest.approx(0.5, abs=0.03), file.name


def test_rotated_videos_of_phones_are_upright(tmp_path: Path):
    source = write_video(tmp_path / "in.mp4", IMAGES[:2], audio=None)
    stored = frames_of(source)[0].image
    data = source.read_bytes()
    box = data.index(b"tkhd")
    straight = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    rotated = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)  # a quarter to the right
    at = data.index(straight, box)
    source.write_bytes(data[:at] + rotated + data[at + len(rotated) :])
    upright = frames_of(source)[0].image
    assert torch.equal(upright, torch.rot90(stored, -1, (2, 3)))


def test_odd_sides_lose_a_line_and_size_is_the_short_side(tmp_path: Path):
    source = write_video(tmp_path / "in.mkv", [tiny.content(49, 63)] * 2, audio=None)
    copy(source, tmp_path / "odd.mp4", VideoConfig())
    assert frames_of(tmp_path / "odd.mp4")[0].image.shape[-2:] == (48, 62)
    for step in stylize_video(identity, source, tmp_path / "small.mp4", size=24):
        assert step.image.shape[-2:] == (24, 31)


def test_only_the_first_frames_are_stylized(video: Path, tmp_path: Path):
    steps = list(stylize_video(identity, video, tmp_path / "out.mp4", max_frames=2))
    assert [step.count for step in steps] == [2, 2] and len(frames_of(tmp_path / "out.mp4")) == 2


# ---- complete or absent


def test_a_stopped_video_keeps_its_frames_so_far(video: Path, tmp_path: Path):
    steps = stylize_video(identity, video, tmp_path / "out.mp4")
    next(steps), next(steps)
    assert not (tmp_path / "out.mp4").exists()
    steps.close()  # type: ignore[attr-defined]
    assert len(frames_of(tmp_path / "out.mp4")) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "walk.mp4"]


def test_a_failure_keeps_the_old_file_and_leaves_no_other(video: Path, tmp_path: Path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"before")
    calls = iter([True, False])

    def fails(image: Tensor) -> Tensor:
        if not next(calls):
            raise RuntimeError("no")
        return image

    with pytest.raises(RuntimeError):
        list(stylize_video(fails, video, target))
    assert target.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "walk.mp4"]


def test_an_interrupted_download_is_stylized_as_far_as_possible(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    images = [tiny.content(seed=i) for i in range(20)]
    source = write_video(tmp_path / "in.mkv", images, audio=None)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        steps = list(stylize_video(identity, source, tmp_path / "out.mp4"))
    assert 0 < len(steps) < 20 and len(frames_of(tmp_path / "out.mp4")) == len(steps)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif", ".webp"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, suffix: str):
    resource = pytest.importorskip("resource", reason="this system has no limits of a process")
    source = write_video(tmp_path / "in.mkv", [tiny.content(96, 128, seed=i) for i in range(12)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))  # bytes of a file
    try:
        with pytest.raises(VideoError) as error:
            copy(source, tmp_path / f"out{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"out{suffix}" in str(error.value) and [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


# ---- errors


@pytest.mark.parametrize(
    ("source", "target", "value"),
    [
        ("none.mp4", "out.mp4", "none.mp4"),
        ("text.mp4", "out.mp4", "text.mp4"),
        ("tone.m4a", "out.mp4", "tone.m4a"),
        ("walk.mp4", "out.avi", ".mp4, .m4v"),
        ("walk.mp4", "walk.mp4", "walk.mp4"),
        ("walk.mp4", "walk.mp4/out.mp4", "walk.mp4/out.mp4"),
    ],
)
def test_a_video_that_cannot_be_used_is_one_sentence(video: Path, tmp_path: Path, source: str, target: str, value: str):
    (tmp_path / "text.mp4").write_text("not a video")
    with av.open(str(tmp_path / "tone.m4a"), "w", format="mp4") as tone:
        stream = tone.add_stream("aac", rate=44100, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44100
        tone.mux(stream.encode(samples))
        tone.mux(stream.encode(None))
    with pytest.raises(VideoError) as error:
        stylize_video(identity, tmp_path / source, tmp_path / target)  # at once, before the first frame
    assert value in str(error.value) and str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_frames_of_too_many_pixels_are_refused_before_they_are_decoded(video: Path, tmp_path: Path, suffix: str):
    images = [Image.fromarray(image) for image in IMAGES]
    images[0].save(tmp_path / "walk.gif", save_all=True, append_images=images[1:])
    with pytest.raises(ImageError) as error:
        open_video(tmp_path / f"walk{suffix}", ImageLimits(max_pixels=48 * 64 - 1))
    assert "64x48" in str(error.value)
    open_video(tmp_path / f"walk{suffix}", ImageLimits(max_pixels=48 * 64)).close()


@pytest.mark.parametrize("option", ["size", "max_frames"])
def test_options_out_of_range_are_refused(video: Path, tmp_path: Path, option: str):
    with pytest.raises(SettingError) as error:
        stylize_video(identity, video, tmp_path / "out.mp4", **{option: 0})
    assert option in str(error.value) and "0" in str(error.value)


def test_without_pyav_a_video_is_one_sentence_and_an_animation_works(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    images = [Image.fromarray(image) for image in IMAGES]
    images[0].save(tmp_path / "in.gif", save_all=True, append_images=images[1:], duration=70)
    assert len(list(stylize_video(identity, tmp_path / "in.gif", tmp_path / "out.webp"))) == 6
    for source, target in ((video, "out.gif"), (tmp_path / "in.gif", "out.mp4")):
        with pytest.raises(VideoError) as error:
            stylize_video(identity, source, tmp_path / target)
        assert "metastyle-hub[video]" in str(error.value)


# ---- animations


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_keep_their_frames_and_times(tmp_path: Path, suffix: str):
    images = [Image.fromarray(image) for image in IMAGES]
    times = [100, 50, 200, 50, 70, 130]
    images[0].save(tmp_path / f"in{suffix}", save_all=True, append_images=images[1:], duration=times)
    frames = frames_of(copy(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"))
    assert [round(1000 * frame.duration) for frame in frames if frame.duration] == times
    for frame, image in zip(frames, IMAGES, strict=True):
        assert (frame.image - tiny.tensor(image)).abs().mean() < 0.06  # of 256 colors in a GIF


def test_a_video_becomes_a_gif_of_the_same_length(tmp_path: Path):
    times = [i / 15 for i in range(9)]  # 66.7 ms, which a GIF stores as 60 or 70
    source = write_video(tmp_path / "in.mkv", [tiny.content(seed=i) for i in range(9)], times, audio=None)
    copy(source, tmp_path / "out.gif", VideoConfig())
    starts = [float(frame.start) for frame in frames_of(tmp_path / "out.gif")]
    assert starts == pytest.approx(times, abs=0.006)


def test_transparent_pixels_of_an_animation_become_white(tmp_path: Path):
    clear = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    clear.save(tmp_path / "in.webp", save_all=True, append_images=[Image.new("RGBA", (32, 32), (0, 90, 0, 255))])
    first, second = frames_of(tmp_path / "in.webp")
    assert first.image.min() == 1 and second.image[0, 0].max() < 0.05


# ---- the command


def test_the_command_stylizes_a_video(base: MetaStyle, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    base.save_pretrained(tmp_path / "base")
    words = ["video", str(video), "-s", str(tmp_path / "base"), "-o", str(tmp_path / "out.mp4"), "--size", "32"]
    assert main([*words, "--device", "cpu", "--max-frames", "3"]) == 0
    assert "out.mp4: 3 frames" in capsys.readouterr().out
    assert [frame.image.shape[-2] for frame in frames_of(tmp_path / "out.mp4")] == [32, 32, 32]
    assert main([*words, "--device", "cpu", "--motion-threshold", "300"]) == 2
    assert "300" in capsys.readouterr().err
