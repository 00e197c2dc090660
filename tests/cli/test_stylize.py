"""`metastyle stylize` handles files, folders and patterns with one or several styles."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import tiny
from command_line import refused, run
from PIL import Image

from metastyle_hub import MetaStyle


def test_stylize_one_photo_into_one_file(home):
    assert run("stylize", "photo.png", "-s", "starry", "-o", "out/deep/out.png") == 0
    style = MetaStyle.from_pretrained("starry")
    assert np.array_equal(np.asarray(Image.open("out/deep/out.png")), np.asarray(style.stylize("photo.png")))


def test_options_change_the_output(home):
    variants = {
        "plain": [], "half": ["--strength", "0.5"], "small": ["--size", "20"], "colors": ["--preserve-color"]
    }  # fmt: skip
    for name, options in variants.items():
        assert run("stylize", "photo.png", "-s", "starry", "-o", f"{name}.png", *options) == 0
    assert Image.open("small.png").size == (30, 20)
    assert len({Path(f"{name}.png").read_bytes() for name in variants}) == 4


def test_stylize_folders_and_patterns_in_several_styles(home):
    for name in ("holiday/a.jpg", "holiday/b.png", "more/c1.png", "more/c2.png", "more/d.png"):
        Path(name).parent.mkdir(exist_ok=True)
        tiny.image(tiny.content(40, 60)).save(name)
    assert run("stylize", "holiday", "more/c*.png", "photo.png", "-s", "starry", "-s", "wave", "-o", "results") == 0
    names = ["a_starry.jpg", "b_starry.png", "c1_starry.png", "c2_starry.png", "photo_starry.png"]
    assert sorted(p.name for p in Path("results").iterdir()) == sorted(
        [*names, *(n.replace("starry", "wave") for n in names)]
    )
    absolute = str(home / "more" / "*.png")
    assert run("stylize", absolute, "-s", "starry", "-o", "others") == 0
    assert len(list(Path("others").iterdir())) == 3


def test_photos_of_one_name_from_several_folders_do_not_overwrite_each_other(home):
    for i, name in enumerate(("one/sea.png", "two/sea.png", "two/deep/sea.png")):
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        tiny.image(tiny.content(40, 60, seed=i)).save(name)
    assert run("stylize", "one", "two", "-s", "starry", "-o", "results") == 0
    assert len({p.read_bytes() for p in Path("results").rglob("*.png")}) == 3


def test_styles_of_one_name_from_several_folders_are_all_used(home):
    shutil.copytree("starry", "other/wave")
    assert run("stylize", "photo.png", "-s", "wave", "-s", "other/wave", "-o", "results") == 0
    assert len({p.read_bytes() for p in Path("results").rglob("*.png")}) == 2


def test_names_that_meet_when_put_together_do_not_overwrite_each_other(home):
    for i, name in enumerate(("a.png", "a_x.png", "A.png")):
        tiny.image(tiny.content(40, 60, seed=i)).save(name)
    for name, style in (("x_starry", "wave"), ("starry", "starry")):
        shutil.copytree(style, f"other/{name}")
    assert (
        run("stylize", "a.png", "a_x.png", "A.png", "-s", "other/x_starry", "-s", "other/starry", "-o", "results") == 0
    )
    names = [p.name.lower() for p in Path("results").iterdir()]
    assert len(names) == len(set(names)) == 6  # also where large and small letters are one


def test_a_pattern_takes_no_folders_along(home):
    Path("holiday/photos").mkdir(parents=True)
    tiny.image(tiny.content(40, 60)).save("holiday/photo.png")
    assert run("stylize", "holiday/*", "-s", "starry", "-s", "wave", "-o", "results") == 0
    assert sorted(p.name for p in Path("results").iterdir()) == ["photo_starry.png", "photo_wave.png"]


def test_two_stars_in_a_pattern(home):
    Path("ph/deep").mkdir(parents=True)
    for name in ("ph/a.png", "ph/deep/b.png"):
        tiny.image(tiny.content(40, 60)).save(name)
    assert run("stylize", "ph/**.png", "-s", "starry", "-o", "here") == 0
    assert [p.name for p in Path("here").iterdir()] == ["a_starry.png"]
    assert run("stylize", "ph/**/*.png", "-s", "starry", "-o", "below") == 0
    assert sorted(p.name for p in Path("below").iterdir()) == ["a_starry.png", "b_starry.png"]


def test_an_image_named_twice_is_stylized_once(home):
    Path("ph").mkdir()
    for name in ("b", "a"):
        tiny.image(tiny.content(40, 60)).save(f"ph/{name}.png")
    names = ["ph/b.png", "ph", "ph/*.png", str(home / "ph" / "a.png"), "./ph/a.png"]
    assert run("stylize", *names, "-s", "starry", "-o", "out") == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["a_starry.png", "b_starry.png"]
    assert run("stylize", "photo.png", "photo.png", "-s", "starry", "-o", "one.png") == 0


def test_an_existing_folder_is_one_whatever_its_name(home):
    Path("trip.2024").mkdir()
    assert run("stylize", "photo.png", "style0.png", "-s", "starry", "-o", "trip.2024") == 0
    assert sorted(p.name for p in Path("trip.2024").iterdir()) == ["photo_starry.png", "style0_starry.png"]


def test_a_bad_file_does_not_cost_the_rest_of_the_batch(home, capsys):
    Path("holiday").mkdir()
    for name in ("a", "c"):
        tiny.image(tiny.content(40, 60)).save(f"holiday/{name}.png")
    Path("holiday/b.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    sentence = refused(capsys, "stylize", "holiday", "-s", "starry", "-o", "results")
    assert "1 of 3" in sentence and "b.png" in sentence
    assert sorted(p.name for p in Path("results").iterdir()) == ["a_starry.png", "c_starry.png"]


def test_transparency_goes_through(home):
    photo = tiny.image(tiny.content(40, 60)).convert("RGBA")
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save("logo.png")
    assert run("stylize", "logo.png", "-s", "starry", "-o", "out.png") == 0
    assert Image.open("out.png").mode == "RGBA"
