"""The endpoints for programs over HTTP: each is described, keeps its promise, and refuses bad input in one sentence."""

from __future__ import annotations

import re
import shutil
import struct
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[app]'")

from app_helpers import CONTENT, FRAMES, OTHER_STYLE, ROOT, STYLE, adapt, images
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from videos import write_video

from metastyle_hub.app.endpoints import Size
from metastyle_hub.app.files import MAX_PIXELS, ImageUpload
from metastyle_hub.app.session import MAX_STEPS
from metastyle_hub.images.decoding import has_heif
from metastyle_hub.images.io import save_image

DOCS = ROOT / "docs" / "space.md"


def endpoints(client: Client) -> dict:
    return client.view_api(return_format="dict", print_info=False)["named_endpoints"]


def same_image(path: str, image: Image.Image, folder: Path) -> bool:
    """Whether a file holds what `save_image` makes of an image."""
    save_image(image, folder / "expected.jpg")
    return Path(path).read_bytes() == (folder / "expected.jpg").read_bytes()


# ---- what they promise


def test_every_parameter_has_a_type_and_a_description(client):
    for name, endpoint in endpoints(client).items():
        assert endpoint["description"] and endpoint["returns"], name
        for parameter in endpoint["parameters"]:
            assert parameter["python_type"]["type"] not in ("", "Any"), (name, parameter)
            assert parameter["python_type"]["description"], (name, parameter)
            choices = parameter["type"].get("enum", ["any"])
            assert choices and {type(c).__name__[:3] for c in choices} <= {parameter["type"].get("type", "")[:3]} | {
                "str"
            }


def test_an_adapted_style_is_a_file_that_other_endpoints_take(studio, client, tmp_path):
    path = adapt(client, 3, "all")
    style = studio.unpack(Path(path))
    assert (style.config.steps, style.config.trainable, style.name) == (3, "all", "stained glass")
    options = {"strength": 0.5, "preserve_color": True}
    given = {"content_image": handle_file(CONTENT), "style_file": handle_file(path)}
    result = client.predict(**given, **options, api_name="/apply_style")
    assert same_image(result, style.stylize(Image.open(CONTENT), **options), tmp_path)
    assert Path(result).name == "cat-in-stained-glass.jpg"


def test_several_images_of_one_style_are_adapted_to_together(studio, client):
    two = {"style_image": handle_file(STYLE), "style_image_2": handle_file(OTHER_STYLE)}
    path = client.predict(**two, steps=1, trainable="norm", name="both <b>", api_name="/adapt")
    style, alone = studio.unpack(Path(path)), studio.unpack(Path(adapt(client, 1)))
    assert style.name == "both b" and Path(path).name == "both-b.zip"
    assert style.config.style_sha256 != alone.config.style_sha256
    assert not tiny.same(style.state_dict(), alone.state_dict())


def test_an_image_is_stylized_like_another_at_its_own_size_or_one_that_is_asked_for(client, tmp_path):
    Image.effect_noise((1000, 40), 90).convert("RGB").save(tmp_path / "wide.png")
    given = images(content=tmp_path / "wide.png")
    result = client.predict(**given, steps=1, trainable="norm", api_name="/stylize")
    assert Image.open(result).size == (1000, 40)
    result = client.predict(**given, steps=0, size=500, api_name="/stylize")
    assert Image.open(result).size == (500, 20)


def test_a_larger_image_is_shrunk_only_if_that_is_asked_for(client, tmp_path):
    side = int(MAX_PIXELS**0.5) + 100
    Image.new("RGB", (side, side), "teal").save(tmp_path / "large.jpg")
    given = images(content=tmp_path / "large.jpg")
    with pytest.raises(AppError) as error:
        client.predict(**given, steps=0, api_name="/stylize")
    assert "large.jpg" in str(error.value) and f"{side**2 / 1e6:.0f}" in str(error.value)
    assert Image.open(client.predict(**given, steps=0, size=64, api_name="/stylize")).size == (64, 64)


def test_styles_are_interpolated(studio, client):
    first, second = (adapt(client, 2, style=style) for style in (STYLE, OTHER_STYLE))
    files = {"first_file": handle_file(first), "second_file": handle_file(second)}
    mix = studio.unpack(Path(client.predict(**files, weight=0.25, api_name="/interpolate")))
    assert [part["weight"] for part in mix.config.mix] == [0.75, 0.25]
    first_alone = studio.unpack(Path(client.predict(**files, weight=0, api_name="/interpolate")))
    assert tiny.same(first_alone.state_dict(), studio.unpack(Path(first)).state_dict())


def test_all_images_of_a_zip_are_stylized(studio, client, tmp_path):
    path = adapt(client, 1)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        file.write(CONTENT, "a/one.jpg")
        file.write(OTHER_STYLE, "b\\one.jpg")
        file.writestr("words.txt", "no image")
        file.writestr("__MACOSX/._one.jpg", "hidden")
    given = {"content_images": handle_file(tmp_path / "photos.zip"), "style_file": handle_file(path)}
    with zipfile.ZipFile(client.predict(**given, size=100, api_name="/apply_style_to_all")) as file:
        *images, notes = file.namelist()
        assert [Image.open(file.open(name)).width for name in images] == [100, 100]
        assert b"words.txt" in file.read(notes) and len(file.read(notes).splitlines()) == 1


def test_a_video_is_stylized_with_its_sound(client, tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
    style = handle_file(adapt(client, 1))
    video = handle_file(write_video(tmp_path / "walk.mp4", FRAMES))
    path = client.predict(video=video, style_file=style, short_side=180, api_name="/stylize_video")
    with av.open(path) as stylized:
        assert stylized.streams.video[0].height == 180 and stylized.streams.audio
        assert sum(1 for _ in stylized.decode(video=0)) == 4


def test_a_program_follows_the_progress(client):
    job = client.submit(style_image=handle_file(STYLE), steps=40, trainable="all", api_name="/adapt")
    units = []
    while not job.done():
        units += job.status().progress_data or []
        time.sleep(0.05)
    assert zipfile.is_zipfile(job.result())
    assert {unit.length for unit in units} == {40} and max(unit.index for unit in units) > 0


def test_styles_of_the_hub_are_found_and_used_by_their_repo(studio, client, hub, tmp_path):
    style = studio.unpack(Path(adapt(client, 1)))
    style.push_to_hub("me/glass", token=hub.token)
    (found,) = client.predict(search="glass", api_name="/hub_styles")
    assert found["repo_id"] == "me/glass" and found["author"] == "me"
    result = client.predict(content_image=handle_file(CONTENT), style="me/glass", api_name="/apply_style")
    assert same_image(result, style.stylize(Image.open(CONTENT)), tmp_path)


# ---- what they refuse


@pytest.mark.parametrize(
    ("endpoint", "name", "value"),
    [
        ("/adapt", "steps", MAX_STEPS + 1),
        ("/adapt", "steps", "many"),
        ("/adapt", "steps", 1.5),
        ("/adapt", "trainable", "everything"),
        ("/stylize", "strength", 1.01),
        ("/stylize", "size", -1),
        ("/stylize", "size", Size.__metadata__[0].metadata[1].le + 1),
        ("/stylize", "preserve_color", "perhaps"),
        ("/apply_style", "style", "no such style"),
        ("/apply_style", "style", "/etc"),
        ("/apply_style", "style", "http://127.0.0.1/gradio_api/file=/etc/passwd.zip"),
        ("/apply_style", "style", ""),
    ],
)
def test_a_wrong_value_gets_a_sentence(client, endpoint, name, value):
    given = {"style_image": handle_file(STYLE), "content_image": handle_file(CONTENT)}
    known = {parameter["parameter_name"] for parameter in endpoints(client)[endpoint]["parameters"]}
    with pytest.raises(AppError) as error:
        client.predict(**{k: v for k, v in given.items() if k in known}, **{name: value}, api_name=endpoint)
    sentence = str(error.value)
    assert sentence.endswith(".") and "Traceback" not in sentence
    assert name in sentence or Path(str(value)).name in sentence


def bad_images(folder: Path) -> list[Path]:
    """Files that are no image, or too large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0))
    bomb += chunk(b"IDAT", zlib.compress(bytes(1_000_000))) + chunk(b"IEND", b"")
    files = {
        "words.png": b"these are words",
        "empty.jpg": b"",
        "cut.jpg": CONTENT.read_bytes()[:3000],
        "bomb.png": bomb,
        "scans.jpg": CONTENT.read_bytes()[:-2] + 200 * b"\xff\xda\x00\x02" + b"\xff\xd9",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def test_a_bad_image_gets_a_sentence_in_the_words_of_a_visitor(client, tmp_path):
    for path in bad_images(tmp_path):
        with pytest.raises(AppError) as error:
            client.predict(**images(content=path), steps=1, trainable="norm", api_name="/stylize")
        sentence = str(error.value)
        assert path.name in sentence and sentence.endswith("."), (path.name, sentence)
        assert "/" not in sentence and "max_" not in sentence, sentence


@pytest.mark.parametrize("name", ["text.mp4", "nothing.mp4"])
def test_a_bad_video_gets_a_sentence_without_a_path(client, tmp_path, name):
    (tmp_path / name).write_bytes(b"no video" if name == "text.mp4" else b"")
    style = handle_file(adapt(client, 0))
    with pytest.raises(AppError) as error:
        client.predict(video=handle_file(tmp_path / name), style_file=style, api_name="/stylize_video")
    assert name in str(error.value) and "/" not in str(error.value)


def test_uncommon_images_are_stylized(client, tmp_path):
    gray = np.linspace(0, 60000, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(gray).save(tmp_path / "gray16.png")
    clear = Image.fromarray(np.dstack([tiny.content(), np.full((48, 64), 90, np.uint8)]), "RGBA")
    clear.save(tmp_path / "clear.png")
    frames = [Image.fromarray(tiny.content(seed=i)) for i in range(3)]
    frames[0].save(tmp_path / "animated.gif", save_all=True, append_images=frames[1:])
    turned = Image.fromarray(tiny.content())
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    for path in sorted(tmp_path.iterdir()):
        options = {"steps": 0, "trainable": "norm", "api_name": "/stylize"}
        result = client.predict(**images(content=path), **options)
        assert Image.open(result).size == ((48, 64) if path.name == "turned.jpg" else (64, 48)), path.name


# ---- nobody gets what is another's


def test_a_job_that_is_cancelled_frees_the_worker_for_the_next_in_the_queue(url, watch):
    first, second = Client(url, verbose=False), Client(url, verbose=False)
    style = handle_file(STYLE)
    job = first.submit(style_image=style, steps=200, trainable="all", api_name="/adapt")
    while len(job.outputs()) < 3:
        time.sleep(0.05)
    steps, closed = watch.jobs[-1]
    other = second.submit(style_image=style, steps=1, trainable="norm", api_name="/adapt")
    time.sleep(0.3)
    assert not other.done()
    job.cancel()
    assert closed.wait(60) and steps[-1] < 200
    assert zipfile.is_zipfile(other.result(timeout=60))
    assert watch.jobs[-1][0] == [0, 1]


# ---- the docs


def test_the_examples_in_the_docs_run(url, hub, studio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, image in (("photo.jpg", CONTENT), ("wave.jpg", STYLE), ("glass.jpg", OTHER_STYLE)):
        shutil.copyfile(image, tmp_path / name)
    write_video(tmp_path / "walk.mp4", FRAMES)
    for path, address in ((DOCS, "http://127.0.0.1:7860"), (ROOT / "space" / "README.md", "user/space")):
        names: dict = {}
        for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            code = block.replace(address, url).replace("steps=100", "steps=2")
            exec(compile(code, str(path), "exec"), names)
        assert Image.open(names["image"]).width in (400, Image.open(CONTENT).width)
        assert zipfile.is_zipfile(names["style"])


def test_the_docs_name_every_endpoint_and_its_parameters(client):
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    documented = {line.split("`")[1] for line in lines if line.startswith("| `/")}
    assert documented == set(endpoints(client))
    for name, endpoint in endpoints(client).items():
        row = next(line for line in lines if line.startswith(f"| `{name}`"))
        for parameter in endpoint["parameters"]:
            assert f"`{parameter['parameter_name']}`" in row, (name, parameter["parameter_name"])


def test_an_upload_is_seen_as_the_image_that_it_is(tmp_path):
    if not has_heif():
        pytest.skip("pillow-heif is not installed: pip install '.[app]'")
    image = Image.fromarray(tiny.content(height=96, width=128))
    for suffix in (".heic", ".avif", ".tif", ".png"):
        image.save(tmp_path / f"photo{suffix}")
        upload = ImageUpload(tmp_path / f"photo{suffix}", "photo")
        shown = Image.open(upload.web_file())
        assert upload.load().size == shown.size == image.size
        assert shown.format == {".avif": "AVIF", ".png": "PNG"}.get(suffix, "JPEG")
        assert np.abs(np.asarray(upload.load(), int) - np.asarray(image, int)).mean() < 12
