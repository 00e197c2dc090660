"""Every track of audio stays, unchanged where the container holds its codec, and as long as the images."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny
from videos import mux

from metastyle_hub import VideoConfig
from metastyle_hub.video.stylize import stylize_video

av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")

IMAGES = [tiny.content(32, 48, seed=i) for i in range(10)]


def copy(source: Path, target: Path, max_frames: int | None = None) -> Path:
    config = VideoConfig(motion_threshold=0)
    for _ in stylize_video(lambda image: image, source, target, config, max_frames=max_frames):
        pass
    return target


def audio_of(path: Path, track: int = 0) -> tuple[str, float, float, bytes]:
    """Codec, end of the audio, end of the images (seconds) and the packets of a track."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        packets = [packet for packet in container.demux() if packet.size]
        mine = [packet for packet in packets if packet.stream is stream]
        ends = [max(float((p.pts + (p.duration or 0)) * p.time_base) for p in part)
                for part in (mine, [p for p in packets if p.stream.type == "video"])]  # fmt: skip
        assert all(a.dts < b.dts for a, b in pairwise(mine))
        return stream.codec_context.codec.canonical_name, *ends, b"".join(bytes(packet) for packet in mine)


def loudness(path: Path) -> float:
    """RMS of the decoded audio."""
    with av.open(str(path)) as container:
        samples = [frame.to_ndarray().astype(np.float64).ravel() for frame in container.decode(audio=0)]
    values = np.concatenate(samples)
    return float(np.sqrt((values**2).mean()))


@pytest.mark.parametrize(
    ("codec", "source", "target", "written"),
    [
        ("aac", ".ts", ".mkv", "aac"), ("aac", ".ts", ".mp4", "aac"), ("aac", ".flv", ".mov", "aac"),
        ("mp3", ".avi", ".mp4", "mp3"), ("mp3", ".flv", ".mkv", "mp3"), ("mp3", ".mp4", ".mov", "mp3"),
        ("libopus", ".webm", ".mp4", "opus"), ("libopus", ".webm", ".mov", "aac"), ("flac", ".mkv", ".mov", "aac"),
        ("flac", ".mkv", ".mp4", "flac"), ("pcm_s16le", ".mov", ".mov", "pcm_s16le"),
        ("pcm_s16be", ".mov", ".mp4", "aac"), ("pcm_s24le", ".avi", ".mkv", "pcm_s24le"),
        ("mp2", ".ts", ".mkv", "mp2"), ("mp2", ".mkv", ".mp4", "aac"),
        ("wmav2", ".asf", ".mp4", "aac"), ("ac3", ".ts", ".mov", "ac3"), ("alac", ".mov", ".mkv", "alac"),
        ("pcm_mulaw", ".mov", ".mp4", "aac"), ("pcm_u8", ".avi", ".mp4", "aac"),
    ],
)  # fmt: skip
def test_audio_is_copied_or_becomes_aac(tmp_path: Path, codec: str, source: str, target: str, written: str):
    video = {".webm": "libvpx", ".flv": "flv", ".asf": "mpeg4"}.get(source, "libx264")
    path = mux(tmp_path / f"in{source}", IMAGES, codec=video, options={"strict": "-2"}, audio=[(codec, "eng")])
    result = copy(path, tmp_path / f"out{target}")
    name, end, images, data = audio_of(result)
    assert name == written and end == pytest.approx(images, abs=0.15)
    if name == audio_of(path)[0] and source not in (".ts", ".flv"):  # which frame AAC in another way
        assert data[:100] == audio_of(path)[3][:100]
    if written == "aac":
        assert loudness(result) == pytest.approx(0.3 / 2**0.5, rel=0.15)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_all_tracks_stay_with_language_and_default(tmp_path: Path, suffix: str):
    tracks = [("aac", "eng"), ("flac", "deu"), ("mp2", "fra")]
    source = mux(tmp_path / "in.mkv", IMAGES, audio=tracks)
    with av.open(str(copy(source, tmp_path / f"out{suffix}"))) as written:
        streams = written.streams.audio
        # the other code of ISO 639-2 for German, in QuickTime
        assert [stream.language for stream in streams] == ["eng", "ger" if suffix == ".mov" else "deu", "fra"]
        assert [bool(stream.disposition & av.stream.Disposition.default) for stream in streams] == [False, True, False]
    ends = [audio_of(tmp_path / f"out{suffix}", i)[1:3] for i in range(3)]
    assert all(audio == pytest.approx(images, abs=0.15) for audio, images in ends)


@pytest.mark.parametrize("source", ["audio_first.mkv", "fragmented.mp4", "long.mp4"])
@pytest.mark.parametrize("frames", [4, None])
def test_audio_is_as_long_as_the_images(tmp_path: Path, source: str, frames: int | None):
    images = [tiny.content(32, 48, seed=i) for i in range(25)]
    options = {"movflags": "frag_keyframe+empty_moov"} if "frag" in source else {}
    seconds = 4.0 if "long" in source else None
    codec = {"g": "25", "bf": "0"}
    path = tmp_path / source
    mux(path, images, audio=[("aac", "eng")], options=codec, container_options=options, seconds=seconds)
    if "first" in source:
        path = audio_first(path, tmp_path / "sorted.mkv")
    _, audio, video, _ = audio_of(copy(path, tmp_path / "out.mp4", frames))
    assert video == pytest.approx((frames or 25) / 10, abs=0.05) and audio == pytest.approx(video, abs=0.06)


def audio_first(source: Path, target: Path) -> Path:
    """The same packets, all audio before the images."""
    with av.open(str(source)) as read, av.open(str(target), "w", options={"max_interleave_delta": "1"}) as written:
        streams = {s.index: written.add_stream_from_template(s) for s in read.streams}
        packets = sorted((p for p in read.demux() if p.size), key=lambda p: p.stream.type)
        for packet in packets:
            packet.stream = streams[packet.stream.index]
            written.mux(packet)
    return target


def test_stopped_videos_have_audio_as_long_as_the_images(tmp_path: Path):
    images = [tiny.content(32, 48, seed=i) for i in range(25)]
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = mux(
        tmp_path / "in.mp4", images, audio=[("aac", "eng")], options={"g": "25", "bf": "0"}, container_options=options
    )
    steps = stylize_video(lambda image: image, path, tmp_path / "out.mp4")
    for _ in range(6):
        next(steps)
    steps.close()  # type: ignore[attr-defined]
    _, audio, video, _ = audio_of(tmp_path / "out.mp4")
    assert video == pytest.approx(0.6, abs=0.05) and audio == pytest.approx(0.6, abs=0.05)


def test_audio_of_one_channel_without_a_layout_is_converted(tmp_path: Path):
    with av.open(str(tmp_path / "in.avi"), "w") as container:
        video = container.add_stream("mjpeg", rate=10)
        video.height, video.width, video.pix_fmt = 32, 48, "yuvj420p"
        sound = container.add_stream("pcm_s16le", rate=11_000, layout="mono")
        for i, image in enumerate(IMAGES):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = i
            container.mux(video.encode(frame))
        tone = (8000 * np.sin(np.arange(11_000) / 9)).astype(np.int16)[None]
        samples = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        samples.sample_rate, samples.pts = 11_000, 0
        container.mux(sound.encode(samples))
    name, audio, video_end, _ = audio_of(copy(tmp_path / "in.avi", tmp_path / "out.mp4"))
    assert name == "aac" and audio == pytest.approx(video_end, abs=0.15) and loudness(tmp_path / "out.mp4") > 0.1


@pytest.mark.parametrize("source", [".mkv", ".mpg"])
def test_converted_audio_keeps_its_length(tmp_path: Path, source: str):
    codec = {".mkv": ("libx264", "vorbis"), ".mpg": ("mpeg2video", "mp2")}[source]
    images = [tiny.content(32, 48, seed=i) for i in range(10)] * 4
    try:
        path = mux(
            tmp_path / f"in{source}", images, codec=codec[0], options={"strict": "-2"}, audio=[(codec[1], "eng")]
        )
    except (av.FFmpegError, ValueError):
        pytest.skip(f"this FFmpeg does not encode {codec[1]}")
    (tmp_path / f"two{source}").write_bytes(path.read_bytes() * 2)
    _, audio, video, _ = audio_of(copy(tmp_path / f"two{source}", tmp_path / "out.mp4"))
    assert audio == pytest.approx(video, abs=0.15) and video == pytest.approx(8, abs=0.3)
    with av.open(str(tmp_path / "out.mp4")) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples / 48_000 == pytest.approx(8, abs=0.3)  # neither stretched nor full of holes
