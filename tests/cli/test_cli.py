"""The command line does what it says; after a user's mistake it ends with status 2 and one sentence, no stack trace."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image
from safetensors.torch import load_file, save_file

import metastyle_hub
from metastyle_hub import MetaStyle
from metastyle_hub.cli import main

QUICK = ["--steps", "2", "--size", "64", "--style-size", "32", "--batch", "1", "--precision", "float32"]


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    """A folder with a base, two styles adapted by the command itself, a painting and photos."""
    place = tmp_path_factory.mktemp("house")
    MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, name="tiny").save_pretrained(place / "base")
    for i in range(2):
        tiny.image(tiny.style(seed=i)).save(place / f"painting{i}.png")
    tiny.image(tiny.content(40, 60)).save(place / "photo.png")
    for name, parameters in (("starry", "all"), ("wave", "norm")):
        number = "0" if name == "starry" else "1"
        status = main(
            ["adapt", str(place / f"painting{number}.png"), "-o", str(place / name), "--base", str(place / "base"),
             "--parameters", parameters, *QUICK, "--device", "cpu"]
        )  # fmt: skip
        assert status == 0
    return place


@pytest.fixture
def home(house, tmp_path, monkeypatch) -> Path:
    """The same folder to work in and spoil."""
    shutil.copytree(house, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def run(*arguments: object) -> int:
    return main([*map(str, arguments), "--device", "cpu"])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The sentence with which a command is refused."""
    capsys.readouterr()
    assert run(*arguments) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    (sentence,) = [line for line in re.split(r"[\r\n]+", text) if line.startswith("metastyle: ")]
    assert sentence.endswith("."), sentence
    return sentence


# --- adapt


def test_adapt_writes_a_style_that_loads(house):
    style = MetaStyle.from_pretrained(house / "starry")
    assert style.config.steps == 2 and style.config.trainable == "all" and style.name == "painting0"
    assert style.config.adaptation["batch"] == 1 and style.config.adaptation["size"] == 64
    assert MetaStyle.from_pretrained(house / "wave").config.trainable == "norm"


def test_adapt_does_what_the_library_does(home):
    base = MetaStyle.from_pretrained("base")
    settings = {"steps": 2, "size": 64, "style_size": 32, "batch": 1, "precision": "float32", "parameters": "all"}
    assert MetaStyle.from_pretrained("starry").fingerprint == base.adapt("painting0.png", **settings).fingerprint


def test_adapt_says_how_to_go_on_and_shows_a_preview(home, capsys):
    assert run("adapt", "painting0.png", "-o", "new", "--base", "base", "--preview", "photo.png", *QUICK) == 0
    assert "metastyle stylize PHOTO -s new" in capsys.readouterr().out
    assert Image.open("new/preview.jpg").size == (60, 40) and "preview.jpg" in Path("new/README.md").read_text()


def test_adapt_stopped_by_ctrl_c_keeps_what_it_has_learned(home):
    arguments = ["adapt", "painting0.png", "-o", "new", "--base", "base", *QUICK, "--steps", "1000"]
    # a background job of a shell starts with Ctrl-C ignored, and so would its children
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; from metastyle_hub.cli import main; sys.exit(main({arguments!r}))"
    environment = {**os.environ, "PYTHONPATH": str(Path(metastyle_hub.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as running:
        seen = b""
        while not re.search(rb" [1-9]\d*/1000", seen):
            seen += running.stderr.read1()
        running.send_signal(signal.SIGINT)
        printed, _ = running.communicate(timeout=60)
    assert running.returncode == 130 and b"new: " in printed
    assert 0 < MetaStyle.from_pretrained("new").config.steps < 1000


def test_adapt_learns_on_own_photos_and_with_other_weights(home):
    for name, more in (("a", ["--contents", "photo.png"]), ("b", ["--style-weight", "3", "--contents", "."])):
        assert run("adapt", "painting0.png", "-o", name, "--base", "base", *more, *QUICK) == 0
    a, b = MetaStyle.from_pretrained("a"), MetaStyle.from_pretrained("b")
    assert len({a.fingerprint, b.fingerprint, MetaStyle.from_pretrained("starry").fingerprint}) == 3
    assert b.config.adaptation["weights"]["style_weight"] == 3


@pytest.mark.parametrize(
    "card",
    [b"---\ntitle: Notes: monday\n---\n", b"caf\xe9\n", b"---\nMy notes\n---\n", b"---\ndate: 2024-02-30\n---\n"],
)
def test_a_readme_that_is_no_card_costs_nobody_the_style(home, caplog, card):
    Path("new").mkdir()
    Path("new/README.md").write_bytes(card)
    assert run("adapt", "painting0.png", "-o", "new", "--base", "base", *QUICK) == 0
    assert Path("new/README.md").read_bytes() == card and "that file stays as it was" in caplog.text
    assert MetaStyle.from_pretrained("new").config.steps == 2


def test_a_folder_that_a_style_cannot_go_to_is_refused_before_anything_is_learned(home, capsys):
    for name, content in (("config.json", '{"model_type": "bert"}'), ("model.safetensors/x", ""), ("README.md/x", "")):
        Path("mine", name).parent.mkdir(parents=True)
        Path("mine", name).write_text(content)
        before = {p: p.is_file() and p.read_bytes() for p in Path("mine").rglob("*")}
        assert run("adapt", "painting0.png", "-o", "mine", "--base", "base", *QUICK) == 2
        said = capsys.readouterr().err
        assert name.partition("/")[0] in said and "choose another folder" in said and "Traceback" not in said
        assert "step" not in said, "no bar has begun"
        assert {p: p.is_file() and p.read_bytes() for p in Path("mine").rglob("*")} == before
        shutil.rmtree("mine")


# --- stylize


def test_stylize_one_photo_into_one_file(home):
    assert run("stylize", "photo.png", "-s", "starry", "-o", "out/deep/out.png") == 0
    style = MetaStyle.from_pretrained("starry")
    assert np.array_equal(np.asarray(Image.open("out/deep/out.png")), np.asarray(style.stylize("photo.png")))


def test_stylize_looks(home):
    looks = {
        "plain": [], "half": ["--strength", "0.5"], "small": ["--size", "20"], "colours": ["--keep-photo-colors"]
    }  # fmt: skip
    for name, options in looks.items():
        assert run("stylize", "photo.png", "-s", "starry", "-o", f"{name}.png", *options) == 0
    assert Image.open("small.png").size == (30, 20)
    assert len({Path(f"{name}.png").read_bytes() for name in looks}) == 4


def test_stylize_folders_and_patterns_in_several_styles(home):
    for name in ("holiday/a.jpg", "holiday/b.png", "more/c1.png", "more/c2.png", "more/d.png"):
        Path(name).parent.mkdir(exist_ok=True)
        tiny.image(tiny.content(40, 60)).save(name)
    assert run("stylize", "holiday", "more/c*.png", "photo.png", "-s", "starry", "wave", "-o", "results") == 0
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
    assert run("stylize", "photo.png", "-s", "wave", "other/wave", "-o", "results") == 0
    assert len({p.read_bytes() for p in Path("results").rglob("*.png")}) == 2


def test_names_that_meet_when_put_together_do_not_overwrite_each_other(home):
    for i, name in enumerate(("a.png", "a_x.png", "A.png")):
        tiny.image(tiny.content(40, 60, seed=i)).save(name)
    for name, style in (("x_starry", "wave"), ("starry", "starry")):
        shutil.copytree(style, f"other/{name}")
    assert run("stylize", "a.png", "a_x.png", "A.png", "-s", "other/x_starry", "other/starry", "-o", "results") == 0
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


def test_a_photo_that_is_named_twice_is_painted_once(home):
    Path("ph").mkdir()
    for name in ("b", "a"):
        tiny.image(tiny.content(40, 60)).save(f"ph/{name}.png")
    names = ["ph/b.png", "ph", "ph/*.png", str(home / "ph" / "a.png"), "./ph/a.png"]
    assert run("stylize", *names, "-s", "starry", "-o", "out") == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["a_starry.png", "b_starry.png"]
    assert run("stylize", "photo.png", "photo.png", "-s", "starry", "-o", "one.png") == 0


def test_an_existing_folder_is_one_whatever_its_name(home):
    Path("trip.2024").mkdir()
    assert run("stylize", "photo.png", "painting0.png", "-s", "starry", "-o", "trip.2024") == 0
    assert sorted(p.name for p in Path("trip.2024").iterdir()) == ["painting0_starry.png", "photo_starry.png"]


def test_a_bad_file_does_not_cost_the_rest_of_the_batch(home, capsys):
    Path("holiday").mkdir()
    for name in ("a", "c"):
        tiny.image(tiny.content(40, 60)).save(f"holiday/{name}.png")
    Path("holiday/b.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    sentence = refused(capsys, "stylize", "holiday", "-s", "starry", "-o", "results")
    assert "1 of 3 photos" in sentence and "b.png" in sentence
    assert sorted(p.name for p in Path("results").iterdir()) == ["a_starry.png", "c_starry.png"]


def test_transparency_goes_through(home):
    photo = tiny.image(tiny.content(40, 60)).convert("RGBA")
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save("logo.png")
    assert run("stylize", "logo.png", "-s", "starry", "-o", "out.png") == 0
    assert Image.open("out.png").mode == "RGBA"


# --- interpolate


def test_a_strip_between_two_styles(home):
    assert run("interpolate", "starry", "wave", "--content", "photo.png", "-o", "strip.png", "--frames", "3") == 0
    strip = Image.open("strip.png")
    assert strip.width > 3 * 60 and strip.height > 60


def test_one_mix_can_be_saved_and_used(home):
    weights = ["--weights", "0.25", "0.75", "--save", "mix"]
    assert run("interpolate", "starry", "wave", "--content", "photo.png", "-o", "mix.png", *weights) == 0
    mix = MetaStyle.from_pretrained("mix")
    assert np.array_equal(np.asarray(mix.stylize("photo.png")), np.asarray(Image.open("mix.png")))
    assert [part["weight"] for part in mix.config.mix] == [0.25, 0.75]


def test_a_mix_that_cannot_be_saved_is_refused_before_anything_is_written(home, capsys):
    Path("bert").mkdir()
    Path("bert/config.json").write_text('{"model_type": "bert"}')
    arguments = ["interpolate", "starry", "wave", "--content", "photo.png", "-o", "mix.png", "--weights", "0.5", "0.5"]
    assert "is not overwritten" in refused(capsys, *arguments, "--save", "bert")
    assert not Path("mix.png").exists() and len(list(Path("bert").iterdir())) == 1
    Path("photo.png").write_bytes(b"broken")
    refused(capsys, *arguments, "--save", "new")
    assert not Path("new").exists()


def test_a_strip_shows_every_style(home):
    assert run("interpolate", *["starry", "wave"] * 3, "--content", "photo.png", "-o", "long.png") == 0
    assert run("interpolate", "starry", "wave", "--content", "photo.png", "-o", "short.png") == 0
    assert Image.open("long.png").width > 1.4 * Image.open("short.png").width  # 11 pictures and 7


@pytest.mark.parametrize("size", [(2000, 1), (1, 2000)])
def test_a_strip_on_a_photo_as_thin_as_a_line(home, size):
    Image.new("RGB", size, "red").save("thin.png")
    arguments = ["starry", "wave", "--content", "thin.png", "-o", "strip.png", "--frames", "2"]
    assert run("interpolate", *arguments) == 0
    assert Image.open("strip.png").size > (512, 1)


# --- info


@pytest.mark.parametrize("what", ["base", "starry"])
def test_info_tells_what_a_folder_holds(home, capsys, what):
    assert main(["info", what]) == 0
    text = capsys.readouterr().out
    model = MetaStyle.from_pretrained(what)
    assert f"{model.name}: a {model.config.kind}, from {what}" in text and model.base.fingerprint in text
    assert main(["info", what, "--json"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == json.loads(Path(what, "config.json").read_text()) and text.endswith(printed)


def test_info_needs_no_base(home, capsys):
    shutil.rmtree("base")
    assert main(["info", "starry"]) == 0
    assert "a style, from starry" in capsys.readouterr().out


def test_the_base_in_the_package_is_the_default(capsys):
    assert main(["info"]) == 0
    assert MetaStyle.from_pretrained().fingerprint in capsys.readouterr().out


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("adapt missing.jpg -o new --base base", "There is no file 'missing.jpg'"),
        ("adapt base/config.json -o new --base base", "no image"),
        ("adapt painting0.png -o new --base base --steps -1", "steps must be a whole number from 0 to 1000, got -1"),
        ("adapt painting0.png -o new --base base --size 66", "size must be a multiple of 4, got 66"),
        ("adapt painting0.png -o new --base base --style-weight nan", "style_weight must be a number >= 0, got nan"),
        ("adapt painting0.png -o new --base base --contents missing.jpg", "There is no file 'missing.jpg'"),
        ("adapt painting0.png -o new --base none", "none"),
        ("adapt painting0.png -o new --base base --device quantum", "'quantum'"),
        ("stylize photo.png -s none -o out.png", "none"),
        ("stylize photo.png -s holiday -o out.png", "holiday"),
        ("stylize missing.png -s starry -o out.png", "There is no file 'missing.png'"),
        ("stylize holiday -s starry -o results", "There is no image in 'holiday'"),
        ("stylize *.xyz -s starry -o results", "Nothing matches *.xyz"),
        ("stylize photo.png -s starry -o out.xyz", "names no image format to write"),
        ("stylize photo.png -s starry wave -o out.png", "do not fit into the one file out.png"),
        ("stylize photo.png -s starry -o out.png --strength 2", "strength must be from 0 to 1, got 2.0"),
        ("stylize photo.png -s starry -o out.png --size 0", "size must be at least 1"),
        ("stylize photo.png -s starry -o out.png --device cuda:99", "'cuda:99'"),
        ("interpolate starry wave --content photo.png -o m.png --weights 0.5 0.6", "sum to 1, got 0.5, 0.6"),
        ("interpolate starry wave --content photo.png -o m.png --weights 1", "2 styles need 2 weights"),
        ("interpolate starry wave --content missing.png -o m.png", "There is no file 'missing.png'"),
        ("interpolate starry wave --content photo.png -o m.png --frames 1", "--frames must be at least 2, got 1"),
        ("interpolate starry wave --content photo.png -o m.png --save mix", "--save needs --weights"),
        ("interpolate starry --content photo.png -o m.png", "name a second one beside starry"),
        ("interpolate starry wave --content photo.png -o m.xyz", "names no image format to write"),
        ("stylize -s starry photo.png -o out.png", "name the photos before -s"),
        ("adapt https://example.org/a.jpg -o new --base base", "download it first"),
        ("adapt painting0.png -o new --base base --preview missing.jpg", "There is no file 'missing.jpg'"),
        ("demo -o picture", "names no image format to write"),
        ("demo --styles painting0.png missing.jpg -o out.png", "There is no file 'missing.jpg'"),
        ("info holiday", "holiday"),
    ],
)
def test_a_mistake_is_one_sentence(home, capsys, arguments, said):
    Path("holiday").mkdir()
    before = sorted(Path().rglob("*"))
    parts = arguments.split()
    device = [] if "--device" in parts or parts[0] == "info" else ["--device", "cpu"]
    capsys.readouterr()
    assert main([*parts, *device]) == 2
    text = capsys.readouterr().err
    (sentence,) = [line for line in re.split(r"[\r\n]+", text) if line.startswith("metastyle: ")]
    assert said in sentence and sentence.endswith(".") and "Traceback" not in text, text
    assert sorted(Path().rglob("*")) == before, "nothing is left behind"


@pytest.mark.parametrize(
    "arguments", [["stylize", "", "-s", "starry", "-o", "out"], ["stylize", "photo.png", "-s", "starry", "-o", ""]]
)
def test_an_empty_name_is_not_the_current_folder(home, capsys, arguments):
    before = sorted(Path().rglob("*"))
    assert "One of the arguments is empty" in refused(capsys, *arguments)
    assert sorted(Path().rglob("*")) == before


def test_a_loss_that_goes_wrong_leaves_no_folder(home, capsys):
    tensors = load_file("base/model.safetensors")
    huge = {name: p * 1e20 if name.endswith((".scale", "out.weight")) else p for name, p in tensors.items()}
    save_file(huge, "base/model.safetensors")
    assert "The loss became" in refused(capsys, "adapt", "painting0.png", "-o", "new", "--base", "base", *QUICK)
    assert not Path("new").exists()


@pytest.mark.parametrize(
    "arguments", ["", "paint photo.png", "stylize photo.png", "adapt", "adapt x -o y --steps many"]
)
def test_a_wrong_command_line_shows_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "usage: metastyle" in capsys.readouterr().err


def test_somebody_else_s_style_folder_is_refused_with_its_name(home, capsys):
    config = json.loads(Path("starry/config.json").read_text())
    config["base_model"]["fingerprint"] = "0" * 64
    Path("starry/config.json").write_text(json.dumps(config))
    assert "starry" in refused(capsys, "stylize", "photo.png", "-s", "starry", "-o", "out.png")


# --- help


@pytest.mark.parametrize(
    "command", ["adapt", "stylize", "interpolate", "demo", "info", "push", "pull", "list", "convert"]
)
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and f"usage: metastyle {command}" in text
    assert ("--device" in text) == (command in ("adapt", "stylize", "interpolate", "demo"))


def test_a_reader_who_has_seen_enough_is_no_failure():
    code = "import sys; from metastyle_hub.cli import main; sys.stdin.read(); sys.exit(main(['info']))"
    environment = {**os.environ, "PYTHONPATH": str(Path(metastyle_hub.__file__).parent.parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as running:
        running.stdout.close()
        running.stdin.close()
        assert running.stderr.read() == b"" and running.wait() == 1


def test_letters_that_the_terminal_lacks_are_no_failure(home):
    shutil.copytree("starry", "星空")
    done = tiny.python("-m", "metastyle_hub", "info", "星空", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0 and "a style, from \\u661f\\u7a7a" in done.stdout, done.stderr


def test_the_module_runs_as_a_program():
    done = tiny.python("-m", "metastyle_hub", "--help")
    assert done.returncode == 0 and "metastyle stylize photo.jpg" in done.stdout and done.stderr == ""
    for command in ("adapt", "stylize", "interpolate", "info", "demo"):
        assert re.search(rf"^ +{command}\b", done.stdout, re.M)
    wrong = tiny.python("-m", "metastyle_hub", "info", "there/is/none")
    assert wrong.returncode == 2 and wrong.stdout == "" and wrong.stderr.startswith("metastyle: ")
    assert wrong.stderr.count("\n") == 1
