"""The endpoints of the app over HTTP: each is documented, its examples run, and bad input gets one sentence."""

from __future__ import annotations

import json
import re
import struct
import time
import zipfile
import zlib
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import tiny
from PIL import Image

pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[app]'")

from app_helpers import CONTENT, FRAMES, OTHER_STYLE, ROOT, STYLE, adapt, file_of, images, served
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from videos import write_video

from metastyle_hub.app import texts
from metastyle_hub.app.app import build
from metastyle_hub.app.session import THUMBNAIL_SIZE
from metastyle_hub.app.tabs.mix import STRIP_LENGTH

DOCS = ROOT / "docs" / "space.md"


def endpoints(client: Client) -> dict:
    return client.view_api(return_format="dict", print_info=False)["named_endpoints"]


def test_an_adaptation_streams_and_its_style_can_be_used(client):
    job = client.submit(**images(), steps=3, trainable="all", api_name="/adapt")
    outputs = list(job)
    assert len(outputs) >= 4  # the start and steps 0, 1 and 3, which have previews
    preview, _, curve, strip = job.result()[:4]
    assert Image.open(preview).size[0] > 64
    assert "<svg" in curve and strip.count("<figure>") == 3
    pair, caption = client.predict(step=1, strength=0.5, preserve_color=True, api_name="/show_step")
    assert len(pair) == 2 and "step 1 of 3" in caption
    assert zipfile.is_zipfile(file_of(client.predict(step=3, api_name="/style_file")))
    content = handle_file(CONTENT)
    image = client.predict(content_image=content, step=3, strength=1, preserve_color=False, api_name="/image_file")
    assert Image.open(file_of(image)).size == Image.open(CONTENT).size


def test_styles_are_interpolated(client):
    adapt(client)
    adapt(client, style=OTHER_STYLE)
    pair = {"content_image": handle_file(CONTENT), "first": "stained glass", "second": "night swirls"}
    image, text = client.predict(**pair, weight=0.25, api_name="/interpolate")[:2]
    assert Image.open(image).size == Image.open(CONTENT).size and "75% stained glass" in text
    strip = client.predict(**pair, api_name="/interpolation_strip")
    assert str(strip).count("<figure>") == STRIP_LENGTH
    animation = Image.open(file_of(client.predict(**pair, api_name="/interpolation_animation")))
    assert animation.format == "WEBP" and animation.n_frames > 1  # equal neighbors become one
    grid = client.predict(
        content_image=pair["content_image"],
        top_left="stained glass",
        top_right="night swirls",
        bottom_left="night swirls",
        bottom_right="stained glass",
        api_name="/interpolation_grid",
    )
    assert Image.open(grid).width > 4 * THUMBNAIL_SIZE
    kept = client.predict(first="stained glass", second="night swirls", weight=0.5, api_name="/keep_interpolation")
    name = re.search("“(.*)”", kept)[1]
    assert zipfile.is_zipfile(file_of(client.predict(name=name, api_name="/download")))


def test_a_video_is_stylized_with_its_audio(client, tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
    adapt(client, 2)
    video = handle_file(write_video(tmp_path / "walk.mp4", FRAMES))
    job = client.submit(video=video, style="stained glass", size=180, strength=1, api_name="/stylize_video")
    job.result(timeout=60)
    statuses = [status for _, status, *_ in job.outputs()]
    assert "Frame 4 of 4" in " ".join(statuses) and "4 frames" in statuses[-1]
    with av.open(file_of(job.outputs()[-1][2])) as stylized:
        assert stylized.streams.video[0].height == 180 and stylized.streams.audio
        assert sum(1 for _ in stylized.decode(video=0)) == 4


@pytest.mark.parametrize("name", ["text.mp4", "nothing.mp4"])
def test_a_bad_video_gets_a_sentence_without_a_path(client, tmp_path, name):
    adapt(client, 1)
    (tmp_path / name).write_bytes(b"no video" if name == "text.mp4" else b"")
    video = handle_file(tmp_path / name)
    with pytest.raises(AppError) as error:
        client.predict(video=video, style="stained glass", size=180, strength=1, api_name="/stylize_video")
    assert str(error.value).startswith(name)
    assert "/" not in str(error.value).split("convert")[0]


def test_the_styles_of_two_visitors_stay_apart(url):
    mine, theirs = Client(url, verbose=False), Client(url, verbose=False)
    adapt(mine)
    assert zipfile.is_zipfile(file_of(mine.predict(name="stained glass", api_name="/download")))
    with pytest.raises(AppError) as error:
        theirs.predict(name="stained glass", api_name="/download")
    assert "stained glass" in str(error.value)
    with pytest.raises(AppError) as error:
        theirs.predict(step=1, api_name="/style_file")
    assert str(error.value) == texts.NO_JOB


def test_stopping_frees_the_worker_for_the_next_in_the_queue(url, watch):
    first, second = Client(url, verbose=False), Client(url, verbose=False)
    job = first.submit(**images(), steps=200, trainable="all", api_name="/adapt")
    while len(job.outputs()) < 3:
        time.sleep(0.02)
    other = second.submit(**images(), steps=1, trainable="norm", api_name="/adapt")
    time.sleep(0.3)
    assert not other.outputs()
    steps, closed = watch.jobs[-1]
    job.cancel()
    assert closed.wait(60) and steps[-1] < 200
    assert other.result(timeout=60)
    assert watch.jobs[-1][0] == [0, 1]


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
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def test_a_bad_image_gets_a_sentence_without_a_path(client, tmp_path):
    for path in bad_images(tmp_path):
        with pytest.raises(AppError) as error:
            client.predict(**images(content=path), steps=1, trainable="norm", api_name="/adapt")
        sentence = str(error.value)
        assert path.name in sentence and sentence.endswith("."), (path.name, sentence)
        assert "/" not in sentence.replace("8/16", "") and "Traceback" not in sentence, sentence


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
    options = {"steps": 1, "trainable": "norm", "strength": 1, "preserve_color": False}
    for path in sorted(tmp_path.iterdir()):
        result = client.predict(**images(content=path), **options, api_name="/stylize")
        assert Image.open(result).size == ((48, 64) if path.name == "turned.jpg" else (64, 48)), path.name


def test_every_action_is_a_named_endpoint(client):
    names = set(endpoints(client))
    assert {"/adapt", "/show_step", "/compare", "/optimize_pixels", "/interpolate", "/stylize"} <= names
    assert {"/interpolation_strip", "/interpolation_animation", "/interpolation_grid", "/stylize_video"} <= names
    assert not [name for name in names if "lambda" in name or "unnamed" in name]


def test_the_examples_in_the_docs_run(url, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for name, image in (("photo.jpg", CONTENT), ("wave.jpg", STYLE), ("glass.jpg", OTHER_STYLE)):
        (tmp_path / name).write_bytes(image.read_bytes())
    write_video(tmp_path / "walk.mp4", FRAMES)
    names: dict = {}
    for block in blocks:
        exec(compile(block.replace("http://127.0.0.1:7860", url), str(DOCS), "exec"), names)
    assert Image.open(names["result"]).size == Image.open(CONTENT).size
    assert zipfile.is_zipfile(file_of(names["style"]))


def test_the_example_of_the_space_runs(url, tmp_path, monkeypatch):
    text = (ROOT / "space" / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for name, image in (("photo.jpg", CONTENT), ("wave.jpg", STYLE)):
        (tmp_path / name).write_bytes(image.read_bytes())
    names: dict = {}
    exec(compile(block.replace("user/space", url).replace("steps=100", "steps=2"), "README.md", "exec"), names)
    assert "<svg" in names["curve"] and "<figure>" in names["strip"]


def test_the_docs_name_every_endpoint_and_its_parameters(client):
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    documented = {line.split("`")[1] for line in lines if line.startswith("| `/")}
    assert documented == set(endpoints(client))
    for name, endpoint in endpoints(client).items():
        row = next(line for line in lines if line.startswith(f"| `{name}`"))
        for parameter in endpoint["parameters"]:
            assert f"`{parameter['parameter_name']}`" in row, (name, parameter["parameter_name"])


def test_agents_find_every_endpoint_and_the_one_without_a_session(url, client):
    pytest.importorskip("mcp", reason="the MCP server needs gradio[mcp]")
    with urlopen(url + "gradio_api/mcp/schema") as answer:
        tools = {tool["name"]: tool for tool in json.load(answer)}
    assert {f"/{name}" for name in tools} == set(endpoints(client))
    assert all(tool["description"] for tool in tools.values())
    assert {"content_image", "style_image", "steps"} <= set(tools["stylize"]["inputSchema"]["properties"])


def test_a_session_is_deleted_when_its_page_is_gone(studio):
    page = build(studio, forget_after=0)
    with served(page) as url:
        visitor = Client(url, verbose=False)
        adapt(visitor)
        sessions = page.state_holder.session_data
        assert visitor.session_hash in sessions
        visitor.close()
        for _ in range(600):
            if visitor.session_hash not in sessions:
                break
            time.sleep(0.1)
        assert visitor.session_hash not in sessions
