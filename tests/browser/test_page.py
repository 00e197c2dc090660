"""The page in a real Chromium, on WebAssembly: what it shows and saves is what the Python library computes."""

from __future__ import annotations

import base64
import io
import zipfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import numpy as np
import pytest
import tiny
from PIL import Image

from metastyle_hub import MetaStyle, interpolate
from metastyle_hub.data.examples import example

SIZE = 128  # pixels of the short side
PHOTO, ARTWORK = example("temple"), example("cut_paper")


class Page:
    """The opened page, and everything that it asked for or complained about."""

    def __init__(self, page) -> None:
        self.page, self.problems, self.hosts = page, [], set()
        page.set_default_timeout(60_000)  # a slow machine is not a broken page
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.context.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.wait("document.body.dataset.ready")

    def wait(self, condition: str) -> None:
        self.page.wait_for_function(condition)

    def text(self, selector: str) -> str:
        return self.page.text_content(selector)

    @contextmanager
    def rendering(self):
        """Wait until the result is rendered once more."""
        idle = "!document.getElementById('view').classList.contains('busy')"
        self.wait(idle)
        before = self.page.get_attribute("#after", "data-rendered") or 0
        yield
        self.wait(f"{idle} && Number(document.getElementById('after').dataset.rendered) > {before}")

    def set(self, selector: str, value: float | str) -> None:
        with self.rendering():
            control = self.page.locator(selector)
            kind = "change" if control.evaluate("e => e.matches('select')") else "input"
            control.evaluate(
                "(e, [value, kind]) => { e.value = value; e.dispatchEvent(new Event(kind)) }", [value, kind]
            )

    def image(self) -> Image.Image:
        data = self.page.evaluate("document.getElementById('after').toDataURL('image/png')")
        return Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB")

    def saved(self, button: str, folder: Path) -> Path:
        """The file that a button saves; a style is unpacked."""
        with self.page.expect_download() as download:
            self.page.locator(button).evaluate("e => e.click()")
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        if path.suffix != ".zip":
            return path
        with zipfile.ZipFile(path) as file:
            file.extractall(folder)
        return path.with_suffix("")


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    yield Page(context.new_page())
    context.close()


def assert_equal(shown: Image.Image, style: MetaStyle, strength: float = 1) -> None:
    """Within one 8-bit level of what Python makes of the photo."""
    expected = style.stylize(PHOTO, size=SIZE, strength=strength)
    assert shown.size == expected.size
    assert np.abs(np.asarray(shown, int) - np.asarray(expected, int)).max() <= 1


def test_styles_strength_and_mixes_are_python_s(page, address, base, styles, tmp_path):
    page.open(address)
    assert page.page.evaluate("crossOriginIsolated")
    page.set("#size", SIZE)
    assert_equal(page.image(), styles["stained_glass"])
    page.set("#strength", 0.6)
    assert_equal(page.image(), styles["stained_glass"], 0.6)
    page.set("#strength", 0)
    assert_equal(page.image(), base)
    page.set("#strength", 1)
    with page.rendering():
        page.page.get_by_text("woodblock waves").first.click()
    assert_equal(page.image(), styles["woodblock_waves"])

    page.set("#first", "night_swirls")
    page.set("#second", "woodblock_waves")
    page.set("#blend", 0.3)
    mix = interpolate([styles["night_swirls"], styles["woodblock_waves"]], [0.7, 0.3])
    assert_equal(page.image(), mix)
    saved = MetaStyle.from_pretrained(page.saved("#save-style", tmp_path))
    assert saved == mix and [part["weight"] for part in saved.config.mix] == pytest.approx([0.7, 0.3])
    for i, name in enumerate(styles):
        page.set(f"#corner-{i}", name)
    page.set("#across", 0.25)
    page.set("#down", 0.5)
    assert_equal(page.image(), interpolate(list(styles.values()), [0.375, 0.125, 0.375, 0.125]))
    assert Image.open(page.saved("#save-image", tmp_path)).size == (SIZE * 3 // 2, SIZE)
    assert page.hosts == {address.split("/")[2]} and not page.problems


def test_an_artwork_is_predicted_refined_saved_and_opened(page, address, base, tmp_path):
    page.open(address)
    page.set("#size", SIZE)
    page.page.set_input_files("#artwork", str(ARTWORK))
    page.wait("document.getElementById('refine-status').textContent.startsWith('Refined')")
    assert page.page.get_attribute("#step", "max") == "4"
    page.set("#step", 0)
    assert_equal(page.image(), base.predict_style(ARTWORK))
    first = MetaStyle.from_pretrained(page.saved("#save-style", tmp_path / "first"))
    assert (first.config.steps, first.config.trainable) == (0, "norm")
    page.set("#step", 4)
    folder = page.saved("#save-style", tmp_path / "refined")
    refined = MetaStyle.from_pretrained(folder)
    assert (refined.config.steps, refined.config.trainable, refined.name) == (4, "decoder", "cut paper")
    assert refined.config.style_sha256 == base.predict_style(ARTWORK).config.style_sha256
    assert refined.config.adaptation["crop_size"] == 64 and refined != first
    assert_equal(page.image(), refined)
    shown = page.image()

    page.page.reload()
    page.wait("document.body.dataset.ready")
    page.set("#size", SIZE)
    with page.rendering():
        page.page.set_input_files("#zip", str(folder.with_suffix(".zip")))
    assert np.array_equal(page.image(), shown)
    assert not page.problems


def test_bad_files_give_one_sentence_and_nothing_is_lost(page, address, base, styles, tmp_path):
    other = MetaStyle.from_parameters({name: p + 1 for name, p in base.state_dict().items()}, base.config.architecture)
    files = {"text.jpg": b"no image", "text.zip": b"no archive"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    Image.new("1", (9000, 9000)).save(tmp_path / "large.png")
    tiny.random_style(other, tmp_path / "foreign")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as file:
        for path in (tmp_path / "foreign").iterdir():
            file.write(path, path.name)
    page.open(address)
    before = page.image()
    for control, status, name in (
        ("#photo", "status", "text.jpg"), ("#photo", "status", "large.png"), ("#artwork", "status", "text.jpg"),
        ("#zip", "keep-status", "text.zip"), ("#zip", "keep-status", "foreign.zip"),
    ):  # fmt: skip
        page.page.evaluate("id => document.getElementById(id).textContent = ''", status)
        page.page.set_input_files(control, str(tmp_path / name))
        page.wait(f"document.getElementById('{status}').textContent.startsWith('{name}')")
    assert base.fingerprint[:12] in page.text("#keep-status")
    assert np.array_equal(page.image(), before) and not page.problems


def test_a_style_of_the_hub_is_asked_for_only_when_it_is_named(page, address, styles, tmp_path):
    folder, commit = styles["mosaic_sun"].save_pretrained(tmp_path), "a" * 40

    def answer(route):
        name = route.request.url.rpartition("/")[2]
        headers = {"access-control-allow-origin": "*"}
        if "me/mosaic" not in route.request.url:
            route.fulfill(status=404, headers=headers)
        elif "/api/models/" in route.request.url:
            route.fulfill(json={"sha": commit}, headers=headers)
        else:
            assert f"/resolve/{commit}/" in route.request.url
            route.fulfill(body=(folder / name).read_bytes(), headers=headers)

    page.page.context.route("https://huggingface.co/**", answer)
    page.open(f"{address}?style=me/mosaic")
    page.set("#size", SIZE)
    assert_equal(page.image(), styles["mosaic_sun"])
    assert page.hosts == {address.split("/")[2], "huggingface.co"} and not page.problems
    page.page.click("#keep-panel > summary")
    page.page.fill("#repo", "me/nothing")
    page.page.locator("#hub").evaluate("form => form.requestSubmit()")
    page.wait("document.getElementById('keep-status').textContent.includes('me/nothing')")


def test_the_page_works_without_a_network_after_the_first_visit(page, address, styles):
    page.open(address)
    page.wait("document.body.dataset.offline")
    page.page.context.set_offline(True)
    page.page.reload()
    page.wait("document.body.dataset.ready")
    page.set("#size", SIZE)
    with page.rendering():
        page.page.get_by_text("mosaic sun").first.click()
    assert_equal(page.image(), styles["mosaic_sun"])
    assert not page.problems


def test_the_webcam_is_stylized_live(page, address):
    page.open(address)
    page.page.click("#webcam")
    page.wait("document.getElementById('status').textContent.includes('live')")
    first = page.image()
    assert len(np.unique(np.asarray(first).reshape(-1, 3), axis=0)) > 20
    with page.rendering():
        page.page.click("#webcam")
    assert page.page.get_attribute("#webcam", "aria-pressed") == "false" and not page.problems


def test_a_style_is_pushed_to_the_repo_of_the_visitor_who_signed_in(page, address, base, styles, hub):
    site = "https://huggingface.co"

    def answer(route):
        """What the Hub answers, with the headers that let another site's page read it."""
        request = route.request
        headers = {
            "access-control-allow-origin": "*",
            "access-control-allow-headers": "*",
            "access-control-allow-methods": "*",
            "access-control-expose-headers": "*",
        }
        if request.method == "OPTIONS":
            return route.fulfill(status=204, headers=headers)
        if request.url.startswith(f"{site}/oauth/userinfo"):
            return route.fulfill(json={"sub": "1", "preferred_username": "me", "name": "Me"}, headers=headers)
        if request.url.startswith(f"{site}/oauth/token"):
            token = {"access_token": hub.token, "expires_in": 3600, "scope": "openid profile contribute-repos"}
            return route.fulfill(json=token, headers=headers)
        if request.url.endswith("/.well-known/openid-configuration"):
            paths = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
            endpoints = {f"{name}_endpoint": f"{site}/oauth/{path}" for name, path in paths.items()}
            return route.fulfill(json=endpoints, headers=headers)
        if "/oauth/authorize" in request.url:  # the visitor agrees
            query = parse_qs(urlsplit(request.url).query)
            back = f"{query['redirect_uri'][0]}?code=1&state={quote(query['state'][0])}"
            return route.fulfill(status=302, headers={"location": back})
        target = request.url.replace(f"{site}/storage", hub.storage_url).replace(site, hub.url)
        sent = {k: v for k, v in request.headers.items() if k in ("authorization", "content-type", "accept")}
        found = httpx.request(request.method, target, headers=sent, content=request.post_data_buffer)
        body = found.text.replace(hub.url, site).replace(hub.storage_url, f"{site}/storage")
        kept = {name: value for name, value in found.headers.items() if name != "content-length"}
        return route.fulfill(status=found.status_code, body=body, headers=kept | headers)

    page.page.context.route("https://huggingface.co/**", answer)
    page.page.context.add_init_script("window.huggingface = { variables: { OAUTH_CLIENT_ID: 'test' } }")
    page.open(address)
    page.page.click("#keep-panel > summary")
    page.page.fill("#name", "my glass")
    page.page.click("#push")
    page.wait("/Shared|failed/.test(document.getElementById('keep-status').textContent)")
    assert page.text("#keep-status") == "Shared: https://huggingface.co/me/my-glass"
    pushed = base.load_style("me/my-glass")
    assert pushed == styles["stained_glass"] and pushed.name == "my glass"
    assert "metastyle-style" in hub.repos["me/my-glass"].tags() and not page.problems
