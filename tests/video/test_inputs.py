"""Videos as people have them: without times, damaged, joined, with covers, in high dynamic range, misnamed."""

from __future__ import annotations

import stat
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from videos import cover_first, mux

from metastyle_hub import VideoConfig, VideoError
from metastyle_hub.images.io import ImageLimits
from metastyle_hub.video.color import linear_to_srgb, to_sdr
from metastyle_hub.video.frames import Frame
from metastyle_hub.video.reader import open_video
from metastyle_hub.video.stylize import VideoStep, stylize_video

av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")

EXACT = VideoConfig(motion_threshold=0, crf=0)
IMAGES = [tiny.content(32, 48, seed=i) for i in range(10)]
B_FRAMES = {"crf": "0", "bf": "2", "b-adapt": "0"}


def frames_of(path: Path, **options: object) -> list[Frame]:
    video = open_video(path, **options)
    frames = [part for part in video if isinstance(part, Frame)]
    video.close()
    return frames


def copy(source: Path | str, target: Path | str) -> list[VideoStep]:
    return list(stylize_video(lambda image: image, source, target, EXACT))


def starts(path: Path) -> list[float]:
    return [float(frame.start) for frame in frames_of(path)]


def without_times(path: Path) -> Path:
    """An AVI whose B-frames have no presentation times."""
    reordered = mux(path.with_suffix(".mkv"), IMAGES, options=B_FRAMES)
    with av.open(str(reordered)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for i, packet in enumerate(packets):
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 10), None, i
            target.mux(packet)
    return path


# ---- times


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_without_times_are_evenly_spaced(tmp_path: Path, suffix: str):
    source = without_times(tmp_path / "in.avi")
    images = [step.image for step in copy(source, tmp_path / f"out{suffix}")]
    assert starts(tmp_path / f"out{suffix}") == pytest.approx([i / 10 for i in range(10)], abs=1e-9)
    order = [min(range(10), key=lambda k: float((image - tiny.tensor(IMAGES[k])).abs().mean())) for image in images]
    assert order == list(range(10))


@pytest.mark.parametrize(("codec", "format"), [("libx264", "h264"), ("mpeg4", "m4v"), ("mpeg2video", "mpeg2video")])
def test_raw_streams_play_at_the_rate_of_their_codec(tmp_path: Path, codec: str, format: str):
    source = mux(tmp_path / "in.raw", IMAGES, codec=codec, rate=24, options={}, format=format)
    copy(source, tmp_path / "out.mp4")
    assert starts(tmp_path / "out.mp4") == pytest.approx([i / 24 for i in range(10)], abs=2e-5)


def test_recordings_joined_byte_by_byte_are_one_video(tmp_path: Path):
    first = mux(tmp_path / "a.ts", IMAGES, audio=[("aac", "eng")])
    second = mux(tmp_path / "b.ts", [np.tile(i, (1, 2, 1)) for i in IMAGES], audio=[("aac", "eng")])
    (tmp_path / "in.ts").write_bytes(first.read_bytes() + second.read_bytes())
    copy(tmp_path / "in.ts", tmp_path / "out.mp4")
    frames = frames_of(tmp_path / "out.mp4")
    assert len(frames) == 20
    assert all(0 < b.start - a.start < 0.3 for a, b in pairwise(frames)) and frames[-1].start < 2.2
    # the second recording is twice as wide: it fits into the first, with bars above and below
    assert {tuple(frame.image.shape[-2:]) for frame in frames} == {(32, 48)}
    assert frames[-1].image[..., :6, :].max() < 0.1 and frames[-1].image[..., 12:20, :].mean() > 0.2
    with av.open(str(tmp_path / "out.mp4")) as written:
        times = [p.pts * p.time_base for p in written.demux(audio=0) if p.size]
    assert all(a < b for a, b in pairwise(times)) and 1.8 < times[-1] < 2.3


def test_a_stream_that_appears_within_the_file_does_no_harm(tmp_path: Path):
    first = mux(tmp_path / "a.ts", IMAGES)
    second = mux(tmp_path / "b.ts", IMAGES, audio=[("aac", "eng"), ("mp2", "deu")])
    (tmp_path / "in.ts").write_bytes(first.read_bytes() * 3 + second.read_bytes())
    assert len(copy(tmp_path / "in.ts", tmp_path / "out.mp4")) == len(frames_of(tmp_path / "out.mp4")) >= 38


# ---- damage


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".avi", ".flv"])
def test_damage_costs_no_frame_before_and_behind_it(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture):
    images = [tiny.content(64, 96, seed=i) for i in range(40)]
    audio = [("aac" if suffix != ".avi" else "mp3", "eng")]
    source = mux(tmp_path / f"in{suffix}", images, options={"g": "5"}, audio=audio)
    data = bytearray(source.read_bytes())
    middle, noise = len(data) // 2, np.random.default_rng(0).bytes(len(data) // 20)
    data[middle : middle + len(noise)] = noise
    source.write_bytes(data)
    steps = copy(source, tmp_path / "out.mp4")
    frames = frames_of(tmp_path / "out.mp4")
    assert 25 < len(steps) == len(frames) <= 40
    last = tiny.tensor(images[-1])
    assert min(float((frame.image - last).abs().mean()) for frame in frames[-2:]) < 0.05
    assert frames[-1].start == pytest.approx(3.9, abs=0.35)


def test_nothing_that_decodes_is_one_sentence(tmp_path: Path):
    source = mux(tmp_path / "in.mkv", IMAGES, codec="mjpeg", pix_fmt="yuvj420p", options={})
    data = source.read_bytes()
    source.write_bytes(data[:600] + b"\0" * (len(data) - 600))
    with pytest.raises(VideoError) as error:
        copy(source, tmp_path / "out.mp4")
    assert "in.mkv" in str(error.value) and not list(tmp_path.glob(".*")) and not (tmp_path / "out.mp4").exists()


# ---- streams


def test_a_cover_image_is_no_video(tmp_path: Path):
    source = cover_first(mux(tmp_path / "in.mp4", IMAGES, audio=[("aac", "eng")], cover=True))
    with av.open(str(source)) as container:
        assert container.streams.video[0].width == 16  # the cover is the first stream
    assert [step.image.shape[-1] for step in copy(source, tmp_path / "out.mp4")] == [48] * 10


@pytest.mark.parametrize(("suffix", "codec"), [(".mp3", "mp3"), (".m4a", "aac"), (".mkv", "flac")])
def test_music_with_a_cover_is_no_video(tmp_path: Path, suffix: str, codec: str):
    format = {".m4a": "mp4"}.get(suffix)
    source = mux(tmp_path / f"in{suffix}", [], audio=[(codec, "eng")], cover=True, seconds=1, format=format)
    with pytest.raises(VideoError) as error:
        open_video(source)
    assert f"in{suffix}" in str(error.value)


def test_a_playlist_opens_no_other_file(tmp_path: Path):
    secret = mux(tmp_path / "secret.ts", IMAGES)
    texts = {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret.name}\n#EXT-X-ENDLIST\n",
        "b.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "c.mkv": f"ffconcat version 1.0\nfile '{secret.name}'\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(VideoError):
            open_video(tmp_path / name)


# ---- names and content


@pytest.mark.parametrize(
    "name", ["2024-05-01T12:30:11.mp4", "-in.mp4", "a%03d.mp4", "pipe:0", "caf\udce9.mp4", "#?&.mp4", "~nobody.mp4"]
)
def test_any_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(tmp_path)
    mux(tmp_path / "in.mp4", IMAGES[:2]).rename(name)
    Path("20:15").mkdir()
    assert len(copy(name, f"20:15/out {Path(name).stem}.mp4")) == 2
    assert len(frames_of(Path(f"20:15/out {Path(name).stem}.mp4"))) == 2
    assert [file.name for file in Path("20:15").iterdir()] == [f"out {Path(name).stem}.mp4"]


def test_the_content_says_what_a_file_is_not_its_name(tmp_path: Path):
    video = mux(tmp_path / "in.mp4", IMAGES).rename(tmp_path / "funny.gif")
    assert len(copy(video, tmp_path / "out.mp4")) == 10
    images = [Image.fromarray(image) for image in IMAGES]
    images[0].save(tmp_path / "in.gif", save_all=True, append_images=images[1:])
    assert len(copy((tmp_path / "in.gif").rename(tmp_path / "in.mp4"), tmp_path / "out.gif")) == 10


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_links_stay_and_write_protected_files_are_refused(tmp_path: Path, suffix: str):
    source, place = mux(tmp_path / "in.mp4", IMAGES[:2]), tmp_path / "disk" / f"out{suffix}"
    place.parent.mkdir()
    place.write_bytes(b"before")
    place.chmod(0o640)
    link = tmp_path / f"link{suffix}"
    link.symlink_to(place)
    copy(source, link)
    assert link.is_symlink() and len(frames_of(place)) == 2 and len(list(place.parent.iterdir())) == 1
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    place.chmod(0o444)
    with pytest.raises(VideoError) as error:
        copy(source, place)
    assert f"out{suffix}" in str(error.value)


@pytest.mark.parametrize("target", ["x" * 300 + ".mp4", "a\0b.mp4", "walk.mp4/out.mp4"])
def test_impossible_targets_are_one_sentence(tmp_path: Path, target: str):
    source = mux(tmp_path / "walk.mp4", IMAGES[:2])
    with pytest.raises(VideoError):
        stylize_video(lambda image: image, source, f"{tmp_path}/{target}")
    with pytest.raises(VideoError):
        open_video(f"{tmp_path}/{target}")


# ---- shape and color


@pytest.mark.parametrize(
    ("aspect", "size"), [("2", (32, 96)), ("8/9", (36, 48)), ("64/45", (32, 68)), ("1/5000", (32, 48))]
)
def test_pixels_become_square(tmp_path: Path, aspect: str, size: tuple[int, int]):
    source = mux(tmp_path / "in.mp4", IMAGES[:2], sample_aspect_ratio=Fraction(aspect))
    assert copy(source, tmp_path / "out.mp4")[0].image.shape[-2:] == size
    assert frames_of(tmp_path / "out.mp4")[0].image.shape[-2:] == size


def test_a_shape_beyond_the_limit_of_pixels_is_ignored(tmp_path: Path):
    source = mux(tmp_path / "in.mp4", IMAGES[:2], sample_aspect_ratio=Fraction(2))
    assert frames_of(source, limits=ImageLimits(max_pixels=48 * 32))[0].image.shape[-2:] == (32, 48)


def pq(nits: float) -> float:
    power = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def test_high_dynamic_range_becomes_srgb():
    gray = [to_sdr(torch.full((1, 3, 1, 1), pq(nits)), 16, 9)[0, :, 0, 0] for nits in (0, 50, 203, 1000, 4000)]
    assert all(torch.allclose(value, value[0], atol=1e-4) for value in gray)  # neutral stays neutral
    assert [float(value[0]) for value in gray] == sorted(float(value[0]) for value in gray)
    # shadows and mid tones are those of a screen whose white is 203 nit
    assert float(gray[1][0]) == pytest.approx(float(linear_to_srgb(torch.tensor(50 / 203))), abs=1e-3)
    assert float(gray[0][0]) < 0.01 and float(gray[2][0]) > 0.94 and float(gray[3][0]) > 0.995
    white = to_sdr(torch.full((1, 3, 1, 1), 0.75), 18, 9)[0, :, 0, 0]  # 75% is the reference white of HLG
    assert torch.allclose(white, gray[2], atol=0.005)


@pytest.mark.parametrize(("transfer", "level"), [(16, pq(203)), (18, 0.75), (1, 1.0)])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_saturated_colors_stay_saturated(transfer: int, level: float, channel: int):
    pixel = torch.zeros(1, 3, 1, 1)
    pixel[:, channel] = level
    sdr = to_sdr(pixel, transfer, 9)[0, :, 0, 0]
    others = [float(sdr[i]) for i in range(3) if i != channel]
    assert float(sdr[channel]) > (0.7 if transfer != 18 else 0.55) and max(others) < 0.1


def test_wide_gamut_is_converted():
    # BT.709 red in P3 and in BT.2020 (BT.2087), linear, then the transfer of sRGB
    for primaries, red in ((12, [0.8225, 0.0332, 0.0171]), (9, [0.6274, 0.0691, 0.0164])):
        pixel = linear_to_srgb(torch.tensor(red)).view(1, 3, 1, 1)
        assert torch.allclose(to_sdr(pixel, 1, primaries).flatten(), torch.tensor([1.0, 0, 0]), atol=0.02)


@pytest.mark.parametrize("transfer", [16, 18])
def test_a_video_in_high_dynamic_range_is_tone_mapped(tmp_path: Path, transfer: int):
    level = pq(203) if transfer == 16 else 0.75
    white = np.full((32, 48, 3), round(65535 * level), np.uint16)
    tags = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    source = mux(tmp_path / "in.mkv", [white] * 3, pix_fmt="yuv420p10le", **tags)
    (image, *_) = [step.image for step in copy(source, tmp_path / "out.mp4")]
    assert image.min() > 0.93
    with av.open(str(tmp_path / "out.mp4")) as written:
        frame = next(written.decode(video=0))
        assert (frame.colorspace, written.streams.video[0].codec_context.color_trc) == (1, 1)
    assert (frames_of(tmp_path / "out.mp4")[0].image - image).abs().max() < 0.02


@pytest.mark.parametrize("flip", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_turned_and_mirrored_videos_are_upright(tmp_path: Path, degrees: int, flip: tuple[bool, bool]):
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"crf": "0"})
        video.height, video.width, video.pix_fmt = 32, 48, "yuv444p"
        video.set_display_rotation(degrees, hflip=flip[0], vflip=flip[1])
        container.mux(video.encode(av.VideoFrame.from_ndarray(IMAGES[0], format="rgb24")))
        container.mux(video.encode(None))
    (frame,) = frames_of(path)
    upright = np.rot90(IMAGES[0], degrees // 90)[:: -1 if flip[1] else 1, :: -1 if flip[0] else 1]
    plain = tiny.tensor(upright.copy())
    assert frame.image.shape == plain.shape and (frame.image - plain).abs().mean() < 0.02


def test_transparent_videos_lie_on_white(tmp_path: Path):
    pixels = np.zeros((32, 48, 4), np.uint8)
    pixels[:, 24:] = (0, 0, 255, 255)  # the left half is transparent black
    with av.open(str(tmp_path / "in.mov"), "w") as container:
        video = container.add_stream("png", rate=10)
        video.height, video.width, video.pix_fmt = 32, 48, "rgba"
        container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
    (frame,) = frames_of(tmp_path / "in.mov")
    assert torch.equal(frame.image[..., :24], torch.ones(1, 3, 32, 24))
    assert torch.equal(frame.image[0, :, 0, 40], torch.tensor([0.0, 0, 1]))
