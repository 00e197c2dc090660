"""The app as a server of the Model Context Protocol: each call is complete, and nobody gets what is another's."""

from __future__ import annotations

import base64
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[app]'")
pytest.importorskip("mcp", reason="the MCP server needs gradio[mcp]: pip install '.[app]'")

from app_helpers import CONTENT, FRAMES, OTHER_STYLE, STYLE
from gradio_client import Client, handle_file
from mcp_client import address_of, agent, call, data_url
from videos import write_video

from metastyle_hub.app.files import ImageUpload, shrink
from metastyle_hub.data.examples import example
from metastyle_hub.images.io import save_image


def image_of(content: Any) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(content.data))).convert("RGB")


def test_every_tool_is_described_and_named_as_its_endpoint(url):
    tools, _ = agent(url)
    named = Client(url, verbose=False).view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {f"/{tool.name}" for tool in tools} == set(named)
    for tool in tools:
        assert tool.description
        for name, schema in tool.inputSchema["properties"].items():
            assert schema["type"] in ("string", "integer", "number", "boolean"), (tool.name, name)
            assert schema["description"], (tool.name, name)
            assert schema.get("enum", ["any"]), (tool.name, name)


def test_every_tool_returns_the_file_that_it_promises(url, tmp_path):
    content, glass = data_url(CONTENT), data_url(STYLE)
    style = address_of(*call(url, "adapt", style_image=glass, steps=1, trainable="norm"))
    mix = address_of(*call(url, "interpolate", first=style, second=style, weight=0.5))
    for address in (style, mix):
        with urlopen(address) as answer:
            assert zipfile.is_zipfile(BytesIO(answer.read()))
    image, where = call(url, "apply_style", content_image=content, style=mix)
    with urlopen(address_of(where)) as answer:
        assert image_of(image).size == Image.open(BytesIO(answer.read())).size == Image.open(CONTENT).size
    image, _ = call(url, "stylize", content_image=content, style_image=glass, steps=0, trainable="norm", size=64)
    assert max(image_of(image).size) == 64
    video = data_url(write_video(tmp_path / "walk.mp4", FRAMES), "video/mp4")
    with urlopen(address_of(*call(url, "stylize_video", video=video, style=style, short_side=180))) as answer:
        assert answer.read(12)[4:8] == b"ftyp"
    assert call(url, "styles")[0].text == "[]"


def test_an_agent_passes_an_address_on(url):
    """Agents upload a file with a tool of Gradio's own, and pass the address that it returns."""
    boundary = "--7d\r\nContent-Disposition: form-data; name=files; filename=cat.jpg\r\n\r\n"
    body = boundary.encode() + CONTENT.read_bytes() + b"\r\n--7d--\r\n"
    request = Request(f"{url}gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=7d"})
    with urlopen(request) as answer:
        address = f"{url}gradio_api/file={json.load(answer)[0]}"
    style = address_of(*call(url, "adapt", style_image=address, steps=0))
    given = {"content_image": address, "size": 64}
    for style_given in ({"style": style}, {"style_file": style}):
        assert max(image_of(call(url, "apply_style", **given, **style_given)[0]).size) == 64
    for nowhere in (f"{url}gradio_api/file=/etc/passwd", f"{url}gradio_api/nothing.jpg", "http://localhost/a.jpg"):
        _, (result,) = agent(url, ("apply_style", {"content_image": nowhere, "style": style}))
        assert result.isError and Path(nowhere).name in result.content[0].text
        assert "/etc" not in result.content[0].text


def test_nothing_of_the_page_is_a_tool(url):
    tools, results = agent(url, ("show_step", {"step": 0}), ("rename", {"name": "a"}), ("style_file", {"step": 0}))
    assert not {"show_step", "rename", "style_file"} & {tool.name for tool in tools}
    assert all(result.isError for result in results)


def test_programs_and_agents_at_the_same_time_get_their_own(studio, url, tmp_path):
    """Each has a photo and a style of its own; its result is that of the library for these two."""
    photos = [example(name) for name in ("cat", "temple", "flower", "coffee")]
    styles = [STYLE, OTHER_STYLE, OTHER_STYLE, STYLE]
    options = {"steps": 1, "trainable": "norm", "size": 96}

    def result(number: int) -> Image.Image:
        given = {"content_image": photos[number], "style_image": styles[number]}
        if number % 2:
            files = {name: handle_file(path) for name, path in given.items()}
            path = Client(url, verbose=False).predict(**files, **options, api_name="/stylize")
            return Image.open(path)
        urls = {name: data_url(path) for name, path in given.items()}
        with urlopen(address_of(call(url, "stylize", **urls, **options)[1])) as answer:
            return Image.open(BytesIO(answer.read()))

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(result, range(len(photos))))
    expected = []
    for photo, style in zip(photos, styles, strict=True):
        alone = studio.base.adapt(Image.open(style), config=studio.config, steps=1, trainable="norm", progress=False)
        save_image(alone.stylize(shrink(ImageUpload(photo, "photo").load(), 96)), tmp_path / "alone.jpg")
        expected.append(np.asarray(Image.open(tmp_path / "alone.jpg"), int))
    for number, image in enumerate(together):
        assert image.size == expected[number].shape[1::-1]
        assert np.abs(np.asarray(image, int) - expected[number]).max() <= 2, photos[number].name
