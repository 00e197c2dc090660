"""Films: every frame at its time, upright, with its sound; still places still; whole files or none."""

from __future__ import annotations

import logging
import re
import struct
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from videos import write_video
from PIL import Image
from torch import Tensor

from metastyle_hub import MetaStyle, SettingError, VideoConfig, VideoError
from metastyle_hub.cli import main
from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import ImageLimits
from metastyle_hub.video.stylize import stylize_video
from metastyle_hub.video.reader import Frame, AudioPacket, open_video
from metastyle_hub.video.temporal import temporal_smoothing

av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")

PLAIN = VideoConfig(still=0, crf=0)


def frames_of(path: Path) -> list[Frame]:
    clip = open_video(path)
    found = [part for part in clip if isinstance(part, Frame)]
    clip.close()
    return found


def sound_of(path: Path) -> bytes:
    with av.open(str(path)) as film:
        return b"".join(bytes(packet) for packet in film.demux(audio=0))


def same(picture: Tensor) -> Tensor:
    return picture


PICTURES = [tiny.content(seed=i) for i in range(6)]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_video(tmp_path / "walk.mp4", PICTURES)


# ---- films


def test_every_frame_is_painted_at_its_time_and_the_sound_goes_along(base: MetaStyle, film: Path, tmp_path: Path):
    steps = list(base.stylize_video_iter(film, tmp_path / "out.mp4", config=PLAIN))
    assert [(step.index, step.count) for step in steps] == [(i, 6) for i in range(1, 7)]
    read, made = frames_of(film), frames_of(tmp_path / "out.mp4")
    assert [frame.start for frame in made] == [Fraction(i, 10) for i in range(6)]
    for before, step, after in zip(read, steps, made, strict=True):
        assert torch.equal(step.picture, base.stylize(before.picture))
        # colour is stored at half the size, so means alone are the same
        assert (step.picture.mean((2, 3)) - after.picture.mean((2, 3))).abs().max() < 0.01
    assert len(sound_of(film)) > 100 and sound_of(tmp_path / "out.mp4") == sound_of(film)


def test_colours_come_back_as_they_went(tmp_path: Path):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 80, 30), (255, 255, 255), (0, 0, 0)]
    source = write_video(tmp_path / "in.mkv", [np.full((32, 32, 3), c, np.uint8) for c in colours], sound=None)
    for _ in stylize_video(same, source, tmp_path / "out.mp4", PLAIN):
        pass
    for before, after in zip(frames_of(source), frames_of(tmp_path / "out.mp4"), strict=True):
        assert (before.picture - after.picture).abs().max() < 0.012
    with av.open(str(tmp_path / "out.mp4")) as made:
        frame = next(made.decode(video=0))
        assert (frame.colorspace, frame.color_range, frame.format.name) == (1, 1, "yuv420p")  # BT.709, for players


def test_frames_of_uneven_length_keep_their_times(tmp_path: Path):
    times = [0, 0.05, 0.4, 0.45, 1.2, 1.25]
    source = write_video(tmp_path / "in.mkv", PICTURES, times, sound=None)
    for _ in stylize_video(same, source, tmp_path / "out.mp4", PLAIN):
        pass
    assert [float(f.start) for f in frames_of(tmp_path / "out.mp4")] == pytest.approx(times, abs=1e-3)


def test_pictures_and_sound_stay_together(tmp_path: Path):
    late = write_video(tmp_path / "late.mkv", PICTURES, [0.5 + i / 10 for i in range(6)])  # the sound begins at once
    for _ in stylize_video(same, late, tmp_path / "out.mp4", PLAIN):
        pass
    for file in (late, tmp_path / "out.mp4"):
        with av.open(str(file)) as made:
            first = {
                p.stream.type: float(p.pts * p.time_base) for p in reversed(list(made.demux())) if p.pts is not None
            }
        assert first["video"] - first["audio"] == pytest.approx(0.5, abs=0.03), file.name


def test_films_of_phones_come_out_upright(tmp_path: Path):
    source = write_video(tmp_path / "in.mp4", PICTURES[:2], sound=None)
    lying = frames_of(source)[0].picture
    data = source.read_bytes()
    box = data.index(b"tkhd")
    straight = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    turned = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)  # a quarter to the right
    at = data.index(straight, box)
    source.write_bytes(data[:at] + turned + data[at + len(turned) :])
    upright = frames_of(source)[0].picture
    assert torch.equal(upright, torch.rot90(lying, -1, (2, 3)))


def test_odd_sides_lose_a_line_and_size_is_the_short_side(tmp_path: Path):
    source = write_video(tmp_path / "in.mkv", [tiny.content(49, 63)] * 2, sound=None)
    for _ in stylize_video(same, source, tmp_path / "odd.mp4"):
        pass
    assert frames_of(tmp_path / "odd.mp4")[0].picture.shape[-2:] == (48, 62)
    for step in stylize_video(same, source, tmp_path / "small.mp4", size=24):
        assert step.picture.shape[-2:] == (24, 31)


def test_the_first_frames_alone(film: Path, tmp_path: Path):
    steps = list(stylize_video(same, film, tmp_path / "out.mp4", frames=2))
    assert [step.count for step in steps] == [2, 2] and len(frames_of(tmp_path / "out.mp4")) == 2


def test_a_sound_that_the_file_cannot_hold_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source = write_video(tmp_path / "in.mkv", PICTURES, sound="pcm_s16le")
    for _ in stylize_video(same, source, tmp_path / "out.mp4"):
        pass
    assert "pcm_s16le" in caplog.text and len(frames_of(tmp_path / "out.mp4")) == 6
    assert not any(isinstance(part, AudioPacket) for part in open_video(tmp_path / "out.mp4"))


# ---- whole or not at all


def test_whoever_stops_early_keeps_what_was_painted(film: Path, tmp_path: Path):
    steps = stylize_video(same, film, tmp_path / "out.mp4")
    next(steps), next(steps)
    assert not (tmp_path / "out.mp4").exists()
    steps.close()
    assert len(frames_of(tmp_path / "out.mp4")) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "walk.mp4"]


def test_a_failure_leaves_nothing_and_what_was_there_before(film: Path, tmp_path: Path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"before")
    calls = iter([True, False])

    def fails(picture: Tensor) -> Tensor:
        if not next(calls):
            raise RuntimeError("no")
        return picture

    with pytest.raises(RuntimeError):
        list(stylize_video(fails, film, target))
    assert target.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "walk.mp4"]


def test_a_download_that_broke_off_is_painted_as_far_as_it_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    pictures = [tiny.content(seed=i) for i in range(20)]
    source = write_video(tmp_path / "in.mkv", pictures, sound=None)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        made = list(stylize_video(same, source, tmp_path / "out.mp4"))
    assert 0 < len(made) < 20 and len(frames_of(tmp_path / "out.mp4")) == len(made)


# ---- what cannot be


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("none.mp4", "out.mp4", "no file .*none.mp4"),
        ("text.mp4", "out.mp4", "no film that can be read"),
        ("tone.m4a", "out.mp4", "no pictures"),
        ("walk.mp4", "out.avi", "kind of film .*\\.mp4"),
        ("walk.mp4", "walk.mp4", "over itself"),
        ("walk.mp4", "walk.mp4/out.mp4", "cannot be written there"),
    ],
)
def test_a_film_that_cannot_be_is_one_sentence(film: Path, tmp_path: Path, source: str, target: str, words: str):
    (tmp_path / "text.mp4").write_text("not a film")
    with av.open(str(tmp_path / "tone.m4a"), "w", format="mp4") as tone:
        heard = tone.add_stream("aac", rate=44100, layout="mono")
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        piece.sample_rate = 44100
        tone.mux(heard.encode(piece))
        tone.mux(heard.encode(None))
    with pytest.raises(VideoError, match=words) as caught:
        stylize_video(same, tmp_path / source, tmp_path / target)  # at once, before the first frame
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_frames_of_too_many_pixels_are_refused_before_they_are_decoded(film: Path, tmp_path: Path, suffix: str):
    images = [Image.fromarray(p) for p in PICTURES]
    images[0].save(tmp_path / "walk.gif", save_all=True, append_images=images[1:])
    with pytest.raises(ImageError, match="pixels"):
        open_video(tmp_path / f"walk{suffix}", ImageLimits(max_pixels=48 * 64 - 1))
    open_video(tmp_path / f"walk{suffix}", ImageLimits(max_pixels=48 * 64)).close()


@pytest.mark.parametrize("settings", [{"size": 0}, {"frames": 0}])
def test_settings_out_of_range_are_refused(film: Path, tmp_path: Path, settings: dict[str, int]):
    with pytest.raises(SettingError, match="at least 1, got 0"):
        stylize_video(same, film, tmp_path / "out.mp4", **settings)


def test_without_pyav_a_film_is_one_sentence_and_an_animation_works(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoError, match=re.escape("metastyle-hub[video]")):
        stylize_video(same, film, tmp_path / "out.gif")
    images = [Image.fromarray(p) for p in PICTURES]
    images[0].save(tmp_path / "in.gif", save_all=True, append_images=images[1:], duration=70)
    assert len(list(stylize_video(same, tmp_path / "in.gif", tmp_path / "out.webp"))) == 6
    with pytest.raises(VideoError, match=re.escape("metastyle-hub[video]")):
        stylize_video(same, tmp_path / "in.gif", tmp_path / "out.mp4")


# ---- animations


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_keep_their_frames_and_times(tmp_path: Path, suffix: str):
    images = [Image.fromarray(p) for p in PICTURES]
    times = [100, 50, 200, 50, 70, 130]
    images[0].save(tmp_path / f"in{suffix}", save_all=True, append_images=images[1:], duration=times)
    for _ in stylize_video(same, tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", PLAIN):
        pass
    made = frames_of(tmp_path / f"out{suffix}")
    assert [round(1000 * frame.lasts) for frame in made if frame.lasts] == times
    for frame, picture in zip(made, PICTURES, strict=True):
        assert (frame.picture - tiny.tensor(picture)).abs().mean() < 0.06  # of 256 colours in a GIF


def test_a_film_becomes_a_gif_of_the_same_length(tmp_path: Path):
    times = [i / 15 for i in range(9)]  # 66.7 ms, of which a GIF knows 60 or 70
    source = write_video(tmp_path / "in.mkv", [tiny.content(seed=i) for i in range(9)], times, sound=None)
    for _ in stylize_video(same, source, tmp_path / "out.gif"):
        pass
    starts = [float(frame.start) for frame in frames_of(tmp_path / "out.gif")]
    assert starts == pytest.approx(times, abs=0.006)


def test_what_is_clear_in_an_animation_is_painted_on_white(tmp_path: Path):
    clear = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    clear.save(tmp_path / "in.webp", save_all=True, append_images=[Image.new("RGBA", (32, 32), (0, 90, 0, 255))])
    first, second = frames_of(tmp_path / "in.webp")
    assert first.picture.min() == 1 and second.picture[0, 0].max() < 0.05


# ---- steady


def noisy(picture: Tensor, seed: int, level: float = 2 / 255) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (picture + level * torch.randn(picture.shape, generator=generator)).clamp(0, 1)


def boiling(picture: Tensor) -> Tensor:
    """A painter as networks are: it makes four times as much of every change."""
    return (0.5 + 4 * (picture - 0.5)).clamp(0, 1)


def test_a_still_place_boils_less_than_half_as_much():
    wall = 0.3 + 0.2 * torch.from_numpy(tiny.content()).permute(2, 0, 1)[None].float() / 255
    frames = [noisy(wall, seed) for seed in range(12)]
    held, shown = None, []
    for frame in frames:
        held = temporal_smoothing(held, frame, boiling(frame), 10 / 255, 0.9)
        shown.append(held.shown)
    plain = torch.stack([(boiling(a) - boiling(b)).abs().mean() for a, b in pairwise(frames)])
    steady = torch.stack([(a - b).abs().mean() for a, b in pairwise(shown)])
    assert steady[3:].mean() < 0.5 * plain.mean()


def test_what_moves_or_is_cut_to_is_painted_anew():
    first, second = tiny.tensor(tiny.content(seed=1)), tiny.tensor(tiny.content(seed=1)).clone()
    second[..., 20:40, 30:60] = 1 - second[..., 20:40, 30:60].round()  # something large and different
    moved = (second - first).abs().amin(1, keepdim=True) > 0.2
    held = temporal_smoothing(temporal_smoothing(None, first, boiling(first), 10 / 255, 0.9), second, boiling(second), 10 / 255, 0.9)
    assert moved.any()
    inside = moved.expand_as(second)
    assert (held.shown - boiling(second))[inside].abs().max() < 1e-6
    cut = 1 - first
    assert (temporal_smoothing(held, cut, boiling(cut), 10 / 255, 0.9).shown - boiling(cut)).abs().mean() < 0.01


def test_a_slow_change_of_light_is_followed_within_the_limit():
    held, still = None, 10 / 255
    for i in range(60):
        frame = torch.full((1, 3, 16, 16), 0.2 + i / 255)
        held = temporal_smoothing(held, frame, frame, still, 0.9)
        assert (held.frame - frame).abs().max() <= still
        assert torch.allclose(held.frame, held.shown)  # what is shown belongs to what is held


def test_nothing_is_held_where_that_is_asked_for():
    first, second = (torch.rand(1, 3, 8, 8) for _ in range(2))
    assert temporal_smoothing(temporal_smoothing(None, first, first, 0, 0.9), second, second, 0, 0.9).shown is second


# ---- the command


def test_the_command_paints_a_film(base: MetaStyle, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    base.save_pretrained(tmp_path / "base")
    words = ["video", str(film), "-s", str(tmp_path / "base"), "-o", str(tmp_path / "out.mp4"), "--size", "32"]
    assert main([*words, "--device", "cpu", "--frames", "3"]) == 0
    assert "out.mp4: 3 frames" in capsys.readouterr().out
    assert [frame.picture.shape[-2] for frame in frames_of(tmp_path / "out.mp4")] == [32, 32, 32]
    assert main([*words, "--device", "cpu", "--still", "300"]) == 2
    assert "still must be" in capsys.readouterr().err
