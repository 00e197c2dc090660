"""yuv4mpeg through the standard input and output; signals that end the process keep what was stylized."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor
from videos import mux

from metastyle_hub import MetaStyle, VideoConfig, VideoError
from metastyle_hub.signals import Terminated, interruptible
from metastyle_hub.video.frames import Frame
from metastyle_hub.video.reader import open_video
from metastyle_hub.video.stylize import stylize_video

av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")

EXACT = VideoConfig(motion_threshold=0, crf=0)
IMAGES = [tiny.content(33, 47, seed=i) for i in range(6)]


@contextmanager
def standard_input(path: Path) -> Iterator[None]:
    """A pipe with the bytes of a file instead of the standard input."""
    saved = os.dup(0)
    with subprocess.Popen([sys.executable, "-c", "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), "
                           "sys.stdout.buffer)", str(path)], stdout=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout is not None
        os.dup2(process.stdout.fileno(), 0)
        try:
            yield
        finally:
            os.dup2(saved, 0)
            os.close(saved)


def test_a_video_to_the_standard_output_is_yuv4mpeg(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    source = mux(tmp_path / "in.mkv", IMAGES, codec="ffv1", pix_fmt="yuv444p", options={})
    steps = list(stylize_video(lambda image: image, source, "-", EXACT))
    data = capfdbinary.readouterr().out
    assert data.startswith(b"YUV4MPEG2 W47 H33 F10:1 ") and data.count(b"FRAME\n") == 6
    with av.open(BytesIO(data)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for step, frame in zip(steps, frames, strict=True):
        assert (step.image - tiny.tensor(frame)).abs().mean() < 0.03  # color at half the size
    assert not (tmp_path / "-").exists()


def test_times_become_a_constant_rate(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    from videos import write_video

    source = write_video(tmp_path / "in.mkv", IMAGES, [0, 0.1, 0.2, 0.6, 0.61, 0.7], audio=None)
    video = open_video(source)
    rate = float(video.rate)
    video.close()
    list(stylize_video(lambda image: image, source, "-", EXACT))
    assert capfdbinary.readouterr().out.count(b"FRAME\n") == pytest.approx(0.7 * rate + 1, abs=1)


@pytest.mark.parametrize("suffix", [".y4m", ".mkv", ".ts"])
def test_a_video_from_the_standard_input(tmp_path: Path, suffix: str):
    images = [tiny.content(32, 48, seed=i) for i in range(6)]
    codec = ("wrapped_avframe", {}) if suffix == ".y4m" else ("libx264", None)
    source = mux(tmp_path / f"in{suffix}", images, codec=codec[0], options=codec[1])
    with standard_input(source):
        steps = list(stylize_video(lambda image: image, "-", tmp_path / "out.mp4", EXACT))
    assert len(steps) == 6
    for step, image in zip(steps, images, strict=True):
        assert (step.image - tiny.tensor(image)).abs().mean() < 0.04


def test_an_empty_standard_input_is_one_sentence(tmp_path: Path):
    (tmp_path / "empty").write_bytes(b"")
    with standard_input(tmp_path / "empty"), pytest.raises(VideoError) as error:
        stylize_video(lambda image: image, "-", tmp_path / "out.mp4")
    assert "standard input" in str(error.value)


def test_the_command_is_a_filter_of_pipes(base: MetaStyle, tmp_path: Path):
    base.save_pretrained(tmp_path / "base")
    source = mux(tmp_path / "in.y4m", IMAGES[:3], codec="wrapped_avframe", options={})
    command = [sys.executable, "-m", "metastyle_hub", "video", "-", "-s", str(tmp_path / "base"), "-o", "-"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    with source.open("rb") as file:
        done = subprocess.run(
            [*command, "--device", "cpu"], stdin=file, capture_output=True, env=environment, check=True
        )
    with av.open(BytesIO(done.stdout)) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(47, 33)] * 3
    assert b"3 frames" in done.stderr


def test_a_reader_that_closes_the_pipe_ends_it(tmp_path: Path):
    source = mux(tmp_path / "in.mkv", [np.tile(image, (8, 8, 1)) for image in IMAGES])
    reader, writer = os.pipe()
    saved = os.dup(1)
    os.dup2(writer, 1)
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError):
            list(stylize_video(lambda image: image, source, "-", EXACT))
    finally:
        os.dup2(saved, 1)
        os.close(saved), os.close(writer)


@pytest.fixture
def signals_as_in_a_terminal() -> Iterator[None]:
    """Under nohup, or in the background of a shell, they are ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_as_in_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_signal_keeps_the_frames_so_far(tmp_path: Path, number: signal.Signals, suffix: str):
    source, calls = mux(tmp_path / "in.mp4", [tiny.content(32, 48, seed=i) for i in range(8)]), 0

    def stylize_frame(image: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            os.kill(os.getpid(), number)
        return image

    with pytest.raises(KeyboardInterrupt) as stopped, interruptible():
        list(stylize_video(stylize_frame, source, tmp_path / f"out{suffix}", EXACT))
    assert isinstance(stopped.value, Terminated) == (number != signal.SIGINT)
    frames = [part for part in open_video(tmp_path / f"out{suffix}") if isinstance(part, Frame)]
    assert len(frames) == 3 and not list(tmp_path.glob(".*"))
    assert all(torch.isfinite(frame.image).all() for frame in frames)
