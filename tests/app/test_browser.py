"""The page in a real browser: one journey through all tabs, and what only a browser shows."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[app]'")

from app_helpers import CONTENT, FRAMES, OTHER_STYLE, ROOT, adapted, served, tiny_studio, upload
from videos import write_video

from metastyle_hub.app import texts
from metastyle_hub.app.app import build
from metastyle_hub.data.examples import example
from metastyle_hub.model import MetaStyle

CHROMIUM = Path("/usr/bin/chromium")
HARMLESS = re.compile(r"ERR_ABORTED|Method not implemented|Vega-Lite|favicon|manifest")


class SlowStyle(MetaStyle):
    """A style on a slow machine, which notes the weights of the mixes that were shown."""

    weights: ClassVar[list[float]] = []

    def stylize(self, content, **options):
        if self.config.mix:
            self.weights.append(self.config.mix[-1]["weight"])
            time.sleep(0.4)
        return super().stylize(content, **options)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    playwright.expect.set_options(timeout=30_000)  # a slow machine is not a broken page
    with playwright.sync_playwright() as driver:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield chromium
        chromium.close()


@contextmanager
def opened(browser, url="about:blank", width=1280, **settings):
    """A page in its own window, closed at the end of the block.

    Without an address it stays blank, for a test that must listen before the first request.
    """
    context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
    try:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(url)
        yield page
    finally:
        context.close()


def set_number(page, label, value):
    box = page.get_by_label(f"number input for {label}", exact=True).first
    box.fill(str(value))
    box.press("Tab")


def open_tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_journey_through_all_tabs(browser, url, tmp_path, width, scheme):
    from playwright.sync_api import expect

    shots = ROOT / "runs" / "space"
    shots.mkdir(parents=True, exist_ok=True)
    with opened(browser, width=width, color_scheme=scheme) as page:
        errors: list[str] = []
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        foreign: list[str] = []
        page.on("request", lambda r: foreign.append(r.url) if not r.url.startswith((url, "data:", "blob:")) else None)

        def shot(name):
            page.screenshot(path=shots / f"{width}-{scheme}-{name}.png", full_page=True)

        page.goto(url)
        status = page.locator("#status")
        expect(status).to_contain_text("Ready")
        expect(page.locator("#content img").first).to_be_visible()
        shot("1-start")

        assert page.locator("#go").bounding_box()["y"] < 800  # in view without scrolling
        set_number(page, texts.STEPS, 12)
        page.get_by_role("button", name=texts.GO, exact=True).click()
        expect(status).to_contain_text("Adapted")
        expect(page.locator("#step-strip figure")).to_have_count(4)
        expect(page.locator("#result img").first).to_be_visible()
        set_number(page, texts.STEP, 5)
        expect(page.locator("#caption")).to_contain_text("step 5 of 12")
        page.locator("#step-strip button").nth(1).click()
        expect(page.locator("#caption")).to_contain_text("step 1 of 12")
        shot("2-adapted")
        page.locator("#save-style").click()
        with page.expect_download() as download:
            page.locator("#saved a").first.click()
        assert download.value.suggested_filename.endswith(".zip")

        set_number(page, texts.STEPS, 200)
        page.get_by_role("button", name=texts.GO, exact=True).click()
        expect(status).to_contain_text(re.compile(r"Step [3-9]\d? of 200"))
        page.get_by_role("button", name=texts.STOP, exact=True).first.click()
        expect(status).to_contain_text("Stopped at step")
        expect(page.get_by_role("button", name=texts.GO, exact=True)).to_be_visible()
        shot("3-stopped")

        open_tab(page, texts.TAB_MIX)
        mix = page.locator("#mix img")
        expect(mix).to_be_visible()
        before = mix.get_attribute("src")
        set_number(page, texts.WEIGHT, 0.8)
        expect(page.locator("#mix-status")).to_contain_text("20%")
        assert mix.get_attribute("src") != before
        page.locator("#make-strip").click()
        expect(page.locator("#mix-strip figure")).to_have_count(7)
        page.locator("#animate").click()
        expect(page.locator("#animation img")).to_be_visible()
        page.locator("#save-mix").click()
        with page.expect_download() as download:
            page.locator("#mix-file a").first.click()
        assert Image.open(download.value.path()).size == Image.open(example("temple")).size
        page.locator("#grid-group > button").click()
        page.locator("#make-grid").click()
        expect(page.locator("#grid img")).to_be_visible()
        shot("4-mix")

        open_tab(page, texts.TAB_COMPARE)
        expect(page.locator("#compared img").first).to_be_visible()
        page.locator("#save-both").click()
        expect(page.locator("#compare-files a")).to_have_count(2)
        page.locator("#pixels-group > button").click()
        expect(page.locator("#optimize")).to_be_visible()
        page.wait_for_timeout(300)  # a panel that has just opened does not listen yet
        set_number(page, texts.PIXELS_ITERATIONS, 10)
        page.locator("#optimize").click()
        expect(page.locator("#pixels-status")).to_contain_text("Iteration 10 of 10")
        expect(page.locator("#optimize")).to_be_visible()
        page.locator("#right input").click()
        name = texts.PIXELS_NAME.format(index=10)
        page.get_by_role("option", name=name).click()
        expect(page.locator("#compare-caption")).to_contain_text(name)
        shot("5-compare")

        open_tab(page, texts.TAB_VIDEO)
        page.locator("#video input[type=file]").set_input_files(write_video(tmp_path / "walk.mp4", FRAMES))
        expect(page.locator("#video video")).to_be_visible()
        page.locator("#video-go").click()
        expect(page.locator("#video-status")).to_contain_text("4 frames")
        expect(page.locator("#video-result video")).to_be_visible()
        expect(page.locator("#video-go")).to_be_visible()
        shot("6-video")

        open_tab(page, texts.TAB_STYLES)
        expect(page.locator("#table tbody tr")).to_have_count(2)
        page.locator("#download").click()
        with page.expect_download() as download:
            page.locator("#style-file a").first.click()
        page.locator("#new-name input, #new-name textarea").first.fill("my own")
        page.locator("#rename").click()
        expect(page.locator("#table")).to_contain_text("my own")
        with page.expect_file_chooser() as chooser:
            page.locator("#upload").click()
        # a browser knows the kind of a file by its name alone
        packed = tmp_path / "packed.zip"
        packed.write_bytes(Path(download.value.path()).read_bytes())
        chooser.value.set_files(packed)
        expect(page.locator("#styles-status")).to_contain_text("Added")
        expect(page.locator("#table tbody tr")).to_have_count(3)
        shot("7-styles")

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        open_tab(page, texts.TAB_ADAPT)
        expect(page.locator("#style-examples").get_by_role("button", name="stained glass")).to_be_visible()
        page.wait_for_timeout(300)
        assert not page.evaluate("[...document.images].filter((i) => !i.alt).map((i) => i.outerHTML)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not [text for text in errors if not HARMLESS.search(text)], errors
        assert not foreign


def test_a_closed_tab_frees_the_worker(browser, url, watch):
    from playwright.sync_api import expect

    with opened(browser, url) as page:
        set_number(page, texts.STEPS, 200)
        page.locator("#go").click()
        expect(page.locator("#status")).to_contain_text("of 200")
        steps, closed = watch.jobs[-1]
        assert not closed.is_set()
    assert closed.wait(60) and steps[-1] < 200


def test_a_dragged_slider_shows_its_last_position_and_skips_others(browser):
    from playwright.sync_api import expect

    studio = tiny_studio()
    styles = adapted(studio, 1).styles | adapted(studio, 1, style=OTHER_STYLE).styles
    studio.gallery = {name: SlowStyle(style.config, style.state_dict(), style.base) for name, style in styles.items()}
    with served(build(studio)) as url, opened(browser, url) as page:
        open_tab(page, texts.TAB_MIX)
        expect(page.locator("#mix-status")).to_contain_text("50%")
        SlowStyle.weights.clear()
        handle = page.get_by_label(f"range slider for {texts.WEIGHT}", exact=True)
        box = handle.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        for i in range(40):
            page.mouse.move(box["x"] + box["width"] * (0.5 + 0.01 * i), box["y"] + box["height"] / 2)
        page.mouse.up()
        shown = len(SlowStyle.weights)
        last = float(handle.input_value())
        assert last > 0.7
        expect(page.locator("#mix-status")).to_contain_text(f"{last:.0%} ")
        page.wait_for_timeout(1000)
        assert SlowStyle.weights[-1] == pytest.approx(last)
        # after the end of the drag: at most one earlier position, and the last
        assert len(SlowStyle.weights) - shown <= 2
        assert len(SlowStyle.weights) < 20


def test_a_shared_style_is_found_and_added(browser, studio, hub):
    from playwright.sync_api import expect

    session = adapted(studio)
    studio.push("stained_glass", "glass", False, upload(CONTENT), "me", hub.token, session)
    with served(build(studio)) as url, opened(browser, url, 390) as page:
        open_tab(page, texts.TAB_STYLES)
        page.locator("#hub > button").click()
        page.locator("#find").click()
        card = page.locator("#cards figure")
        expect(card).to_have_count(1)
        expect(card.locator("img")).to_have_attribute("alt", re.compile("style"))
        card.get_by_role("button").click()
        expect(page.locator("#table")).to_contain_text("me/glass")


def test_a_visitor_signs_in_and_pushes_a_style(browser, studio, hub, monkeypatch):
    from playwright.sync_api import expect

    pytest.importorskip("authlib", reason="gradio[oauth] is not installed: pip install '.[app]'")
    import gradio.oauth

    # the claims of OpenID
    person = {"preferred_username": "me", "name": "Me", "sub": "1", "profile": "", "picture": "", "website": ""}
    login = {"access_token": hub.token, "scope": "openid profile", "userinfo": person}
    monkeypatch.setattr(
        gradio.oauth, "_get_mocked_oauth_info", lambda: {**login, "expires_at": int(time.time()) + 3600}
    )
    monkeypatch.setenv("OAUTH_CLIENT_ID", "mocked")
    with served(build(studio)) as url, opened(browser, url) as page:
        page.locator("#login").click()
        expect(page.locator("#login")).to_contain_text("Logout")
        set_number(page, texts.STEPS, 2)
        page.get_by_role("button", name=texts.GO, exact=True).click()
        expect(page.locator("#status")).to_contain_text("Adapted")
        open_tab(page, texts.TAB_STYLES)
        page.locator("#push-name input, #push-name textarea").first.fill("from the page")
        page.locator("#push").click()
        expect(page.locator("#pushed")).to_contain_text("me/from-the-page")
        assert "model.safetensors" in hub.repos["me/from-the-page"].files()
