"""Folders at scale: runs continue, take their share, spare their own results, and name what they leave out."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
from command_line import refused, run
from PIL import Image
from tqdm import tqdm

from metastyle_hub import MetaStyle


def photos(folder: str, names: str, size: tuple[int, int] = (24, 36)) -> None:
    for i, name in enumerate(names.split()):
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        tiny.image(tiny.content(*size, seed=i)).save(path)


def contents(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_sub_folders_are_kept(home):
    photos("holiday", "a.png sea/a.png sea/deep/b.png")
    assert run("stylize", "holiday", "-s", "starry", "-o", "results") == 0
    assert set(contents("results")) == {"a_starry.png", "sea/a_starry.png", "sea/deep/b_starry.png"}


@pytest.mark.parametrize("out", ["holiday/results", "holiday", "."])
def test_a_second_run_stylizes_the_same_photos(home, out):
    photos("holiday", "a.png b.jpg sea/c.webp")
    before = contents("holiday")
    assert run("stylize", "holiday", "-s", "starry", "-o", out) == 0
    first = contents(out)
    assert run("stylize", "holiday", "-s", "starry", "-o", out) == 0
    assert contents(out) == first
    assert run("stylize", "holiday", "-s", "wave", "-o", "others") == 0
    assert set(contents("others")) == {"a_wave.png", "b_wave.jpg", "sea/c_wave.webp"}
    assert before.items() <= contents("holiday").items()


def test_a_run_continues_where_it_was_stopped(home):
    photos("holiday", "a.png b.jpg c.webp")
    assert run("stylize", "holiday", "-s", "starry", "-o", "results") == 0
    whole, times = contents("results"), {}
    Path("results/a_starry.png").unlink()
    data = Path("results/b_starry.jpg").read_bytes()
    Path("results/b_starry.jpg").write_bytes(data[: len(data) // 2])
    times = Path("results/c_starry.webp").stat().st_mtime_ns
    assert run("stylize", "holiday", "-s", "starry", "-o", "results") == 0
    assert contents("results") == whole
    assert Path("results/c_starry.webp").stat().st_mtime_ns == times, "what is done and whole stays"
    assert run("stylize", "holiday", "-s", "starry", "-o", "results", "--overwrite") == 0
    assert Path("results/c_starry.webp").stat().st_mtime_ns > times and contents("results") == whole


def test_what_a_result_depends_on_makes_it_again(home):
    photos("holiday", "a.png b.png")
    assert run("stylize", "holiday", "-s", "starry", "-o", "results") == 0
    first = contents("results")
    assert run("stylize", "holiday", "-s", "starry", "-o", "results", "--strength", "0.5") == 0
    second = contents("results")
    assert all(first[name] != second[name] for name in first)
    photos("holiday", "b.png")  # another photo under this name
    assert run("stylize", "holiday", "-s", "starry", "-o", "results", "--strength", "0.5") == 0
    third = contents("results")
    assert third["a_starry.png"] == second["a_starry.png"] and third["b_starry.png"] != second["b_starry.png"]


def test_every_process_takes_its_share_and_together_they_do_what_one_does(home, monkeypatch):
    photos("holiday", "a.png b.jpg sea/a.png sea/c.png d.png")
    assert run("stylize", "holiday", "-s", "starry", "-s", "wave", "-o", "one") == 0
    shares = []
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert run("stylize", "holiday", "-s", "starry", "-s", "wave", "-o", "two") == 0
        shares.append(len(contents("two")))
    assert shares == [5, 10]
    assert contents("two") == contents("one")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX")
def test_killed_at_random_moments_and_started_again_it_gives_the_same_files(home):
    photos("holiday", " ".join(f"{i}.png" for i in range(12)))
    arguments = ("stylize", "holiday", "-s", "starry", "-o")
    started = time.perf_counter()
    assert run(*arguments, "straight") == 0
    seconds, delays = time.perf_counter() - started, random.Random(0)
    for _ in range(6):
        if (pid := os.fork()) == 0:
            tqdm.set_lock(threading.RLock())  # its own one is shared with this process, and a kill may leave it locked
            os.close(2)
            os._exit(run(*arguments, "broken"))
        time.sleep(delays.uniform(0, seconds / 3))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert run(*arguments, "broken") == 0
    whole = contents("broken")
    assert contents("straight").items() <= whole.items()
    assert all(Path(name).name.startswith(".") for name in whole.keys() - contents("straight").keys())


def test_every_file_that_is_left_out_is_named_with_its_reason(home, capsys):
    photos("holiday", "a.png b.jfif")
    Path("holiday/c.nef").write_bytes(b"II*\0raw")
    Path("holiday/d.png").write_bytes(b"no image")
    Path("holiday/notes.txt").write_text("not an image")
    Path("holiday/e.png").symlink_to("gone.png")
    capsys.readouterr()
    assert run("stylize", "holiday", "-s", "starry", "-o", "results") == 2
    told = capsys.readouterr().err
    lines = [line for line in told.splitlines() if line.startswith("left out: ")]
    assert sorted(line.split(": ")[1] for line in lines) == [f"holiday/{name}" for name in ("c.nef", "d.png", "e.png")]
    assert "3 of 5" in told.splitlines()[-1]
    assert set(contents("results")) == {"a_starry.png", "b_starry.jfif"}


def test_a_huge_photo_is_one_line_without_a_warning_of_pillow(home, capsys, recwarn):
    photos("holiday", "a.png")
    Image.new("1", (10_000, 10_000)).save("holiday/huge.png")
    recwarn.clear()
    assert "10000x10000" in refused(capsys, "stylize", "holiday", "-s", "starry", "-o", "results")
    assert not [warning for warning in recwarn if issubclass(warning.category, Image.DecompressionBombWarning)]


def test_long_names_are_cut_and_stay_distinct(home):
    long = ["x" * 248 + ".png", "x" * 247 + "y.png", "é" * 120 + ".png"]
    photos("holiday", " ".join(long))
    assert run("stylize", "holiday", "-s", "starry", "-o", "results") == 0
    results = contents("results")
    assert len(results) == 3 and all(name.endswith("_starry.png") for name in results)


def test_a_name_that_is_not_utf8(home, capfd):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        photos("holiday", name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    Path("holiday", os.fsdecode(b"\xff.png")).write_bytes(b"no image")
    assert run("stylize", "holiday", "-s", "starry", "-o", "results") == 2
    assert [os.fsencode(name) for name in contents("results")] == [b"caf\xe9_starry.png"]


@pytest.mark.parametrize("out", ["photo.png", "./photo.png", "link.png"])
def test_an_output_never_overwrites_its_image(home, capsys, out):
    Path("link.png").symlink_to("photo.png")
    before = Path("photo.png").read_bytes()
    assert "overwrite" in refused(capsys, "stylize", "photo.png", "-s", "starry", "-o", out)
    assert "overwrite" in refused(
        capsys, "interpolate", "starry", "wave", "--content", "photo.png", "-o", out, "--weights", "1", "0"
    )
    assert Path("photo.png").read_bytes() == before and Path("link.png").is_symlink()


def test_an_output_in_a_folder_never_overwrites_a_photo(home, capsys):
    photos("holiday", "a.png a_starry.png")
    before = contents("holiday")
    assert "a_starry.png" in refused(capsys, "stylize", "holiday", "-s", "starry", "-o", "holiday")
    assert contents("holiday") == before


def test_standard_input_and_output(home, monkeypatch, capfdbinary):
    expected = np.asarray(MetaStyle.from_pretrained("starry").stylize("photo.png"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("photo.png").read_bytes())))
    assert run("stylize", "-", "-s", "starry", "-o", "-") == 0
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(capfdbinary.readouterr().out))), expected)
    assert run("stylize", "photo.png", "-s", "starry", "-o", "-") == 0
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(capfdbinary.readouterr().out))), expected)
    assert not Path("-").exists()


def test_an_empty_standard_input_is_one_sentence(home, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert "input" in refused(capsys, "stylize", "-", "-s", "starry", "-o", "out.png")


def test_16_bits_a_channel(home, capsys):
    photos("holiday", "a.png b.jpg")
    assert run("stylize", "holiday", "-s", "starry", "-o", "deep", "--bit-depth", "16") == 0
    assert set(contents("deep")) == {"a_starry.png", "b_starry.png"}
    assert Path("deep/a_starry.png").read_bytes()[24] == 16
    plain = np.asarray(MetaStyle.from_pretrained("starry").stylize("holiday/a.png")).astype(int)
    assert np.abs(np.asarray(Image.open("deep/a_starry.png")).astype(int) - plain).max() <= 1
    before = contents("deep")
    assert run("stylize", "holiday", "-s", "starry", "-o", "deep", "--bit-depth", "16") == 0
    assert contents("deep") == before
    assert "out.jpg" in refused(capsys, "stylize", "photo.png", "-s", "starry", "-o", "out.jpg", "--bit-depth", "16")


def test_masks_on_the_command_line(home, capsys):
    mask = Image.fromarray(np.where(np.arange(60) < 30, 255, 0).astype(np.uint8)[None].repeat(40, 0))
    mask.save("left.png")
    mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("right.png")
    regions = ("-s", "starry", "--mask", "left.png", "-s", "wave", "--mask", "right.png", "--feather", "0")
    assert run("stylize", "photo.png", *regions, "-o", "out.png") == 0
    result = np.asarray(Image.open("out.png"))
    for half, name in ((slice(0, 30), "starry"), (slice(30, 60), "wave")):
        assert np.array_equal(
            result[:, half], np.asarray(MetaStyle.from_pretrained(name).stylize("photo.png"))[:, half]
        )
    assert run("stylize", "photo.png", "style0.png", *regions, "-o", "several") == 0
    assert set(contents("several")) == {"photo_starry_wave.png", "style0_starry_wave.png"}
    assert "2 masks" in refused(
        capsys, "stylize", "photo.png", "-s", "wave", "--mask", "a", "--mask", "b", "-o", "out.png"
    )
