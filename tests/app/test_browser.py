"""The page in a real browser: one journey through all tabs, and what only a browser shows."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[app]'")

from app_helpers import CONTENT, FRAMES, OTHER_STYLE, STYLE, adapted, opened, served, tiny_studio, upload
from videos import write_video

from metastyle_hub.app import texts
from metastyle_hub.app.app import build
from metastyle_hub.app.studio import Studio
from metastyle_hub.data.examples import example
from metastyle_hub.model import MetaStyle

HARMLESS = re.compile(r"ERR_ABORTED|Method not implemented|Vega-Lite|favicon|manifest")


class SlowStyle(MetaStyle):
    """A style on a slow machine, which notes the weights of the mixes that were shown."""

    weights: ClassVar[list[float]] = []

    def stylize(self, content, **options):
        if self.config.mix:
            self.weights.append(self.config.mix[-1]["weight"])
            time.sleep(0.4)
        return super().stylize(content, **options)


def set_number(page, label, value):
    box = page.get_by_label(f"number input for {label}", exact=True).first
    box.fill(str(value))
    box.press("Tab")


def open_tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def button(page, name):
    return page.get_by_role("button", name=name, exact=True).first


def choose(page, elem_id, name):
    page.locator(f"#{elem_id}").get_by_role("button", name=name, exact=True).click()


def add(page, elem_id, path):
    """Upload an image, in place of the one that is there."""
    remove = page.locator(f"#{elem_id} button[aria-label^='Remove']")
    if remove.count():
        remove.click()
    page.locator(f"#{elem_id} input[type=file]").first.set_input_files(path)


def violations(page, *rules):
    """What axe-core calls serious or critical (WCAG 2.2 AA)."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe is not installed: pip install '.[test]'")
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    only = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": tags}
    found = page.evaluate("(only) => axe.run(document, {runOnly: only})", only)["violations"]
    return [
        (each["id"], node["html"][:160], node["failureSummary"][:160])
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def accessible(page):
    """No violation, in the colors of the page and in the others."""
    found = violations(page)
    page.evaluate("document.body.classList.toggle('dark')")
    page.wait_for_timeout(400)  # colors change gradually
    found += violations(page, "color-contrast")
    page.evaluate("document.body.classList.toggle('dark')")
    assert not found, found


@pytest.fixture(scope="module")
def galleried(watch):
    """A studio with two built-in styles."""
    studio = tiny_studio(worker=watch)
    styles = adapted(studio, 1).styles | adapted(studio, 1, style=OTHER_STYLE).styles
    studio.gallery = {name.replace("_", " "): style for name, style in styles.items()}
    return studio


@pytest.fixture(scope="module")
def address(galleried):
    with served(build(galleried)) as url:
        yield url


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_journey_through_all_tabs(browser, address, tmp_path, width, scheme):
    from playwright.sync_api import expect

    with opened(browser, width=width, color_scheme=scheme) as page:
        errors: list[str] = []
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        foreign: list[str] = []
        page.on(
            "request", lambda r: foreign.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None
        )

        def done():
            accessible(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width

        def save(elem_id):
            with page.expect_download() as download:
                page.locator(f"#{elem_id}").click()
            return download.value

        page.goto(address)
        described = page.locator("meta[property='og:description']").last
        assert described.get_attribute("content") == texts.DESCRIPTION
        status = page.locator("#status")
        expect(page.locator("#result img")).to_have_count(2)  # the first view is a stylized image
        expect(status).to_contain_text("on temple")
        assert page.locator("#result").bounding_box()["y"] < 400
        assert width < 600 or page.locator("#go").bounding_box()["y"] < 800  # in view without scrolling
        page.keyboard.press("Tab")
        keys = 1
        while page.evaluate("document.activeElement.id") != "go" and keys < 40:
            page.keyboard.press("Tab")
            keys += 1
        assert keys <= 20
        before = page.locator("#result img").last.get_attribute("src")
        choose(page, "styles", "stained glass")
        expect(status).to_contain_text("stained glass on temple")
        assert page.locator("#result img").last.get_attribute("src") != before
        choose(page, "photos", "cat")
        expect(status).to_contain_text("stained glass on cat")
        saved = save("save-image")
        assert saved.suggested_filename == "cat-in-stained-glass.jpg"
        assert Image.open(saved.path()).size == Image.open(CONTENT).size
        done()

        add(page, "style", STYLE)
        set_number(page, texts.STEPS, 12)
        button(page, texts.GO).click()
        expect(status).to_contain_text("Adapted")
        expect(page.locator("#step-strip figure")).to_have_count(4)
        set_number(page, texts.STEP, 5)
        expect(status).to_contain_text("after step 5 of 12")
        page.locator("#step-strip button").nth(1).click()
        expect(status).to_contain_text("after step 1 of 12")
        assert save("save-style").suggested_filename.endswith(".zip")
        # a new photo is shown in the style that was adapted
        choose(page, "photos", "coffee")
        expect(status).to_contain_text("my stained glass on coffee, after step 1 of 12")
        done()

        set_number(page, texts.STEPS, 200)
        button(page, texts.GO).click()
        expect(status).to_contain_text(re.compile(r"Step [3-9]\d? of 200"))
        assert page.evaluate("document.activeElement.id") == "stop"
        page.locator("#stop").click()
        expect(status).to_contain_text("Stopped at step")
        expect(page.locator("#go")).to_be_focused()
        assert "Stopped at step" in page.locator("#live").inner_text()

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
        assert Image.open(save("save-mix").path()).size == Image.open(example("coffee")).size
        page.locator("#grid-group > button").click()
        page.locator("#make-grid").click()
        expect(page.locator("#grid img")).to_be_visible()
        done()

        open_tab(page, texts.TAB_COMPARE)
        expect(page.locator("#compared img")).to_have_count(2)
        sources = page.locator("#compared img").evaluate_all("(images) => images.map((i) => i.src)")
        assert sources[0] != sources[1]
        assert save("save-side-by-side").suggested_filename.startswith("coffee-")
        page.locator("#pixels-group > button").click()
        expect(page.locator("#optimize")).to_be_visible()
        page.wait_for_timeout(300)  # a panel that has just opened does not listen yet
        set_number(page, texts.PIXELS_ITERATIONS, 10)
        page.locator("#optimize").click()
        name = texts.PIXELS_NAME.format(content="coffee", style="stained glass", index=10)
        expect(page.locator("#compare-status")).to_contain_text(name)
        expect(page.locator("#right input")).to_have_value(name)
        done()

        open_tab(page, texts.TAB_VIDEO)
        page.locator("#video input[type=file]").set_input_files(write_video(tmp_path / "walk.mp4", FRAMES))
        expect(page.locator("#video video")).to_be_visible()
        page.locator("#video-go").click()
        expect(page.locator("#video-status")).to_contain_text("4 frames")
        expect(page.locator("#video-result video")).to_be_visible()
        expect(page.locator("#video-go")).to_be_visible()
        assert save("save-video").suggested_filename == "walk-in-my-stained-glass.mp4"
        done()

        open_tab(page, texts.TAB_STYLES)
        expect(page.locator("#table tbody tr")).to_have_count(2)
        packed = tmp_path / "packed.zip"  # a browser knows the kind of a file by its name alone
        packed.write_bytes(Path(save("download").path()).read_bytes())
        page.locator("#new-name input, #new-name textarea").first.fill("my own")
        page.locator("#rename").click()
        expect(page.locator("#table")).to_contain_text("my own")
        with page.expect_file_chooser() as chooser:
            page.locator("#upload").click()
        chooser.value.set_files(packed)
        expect(page.locator("#styles-status")).to_contain_text("Added")
        expect(page.locator("#table tbody tr")).to_have_count(3)
        page.locator("#delete").click()
        expect(page.locator("#table tbody tr")).to_have_count(2)
        done()

        assert not page.evaluate("[...document.images].filter((i) => !i.alt).map((i) => i.outerHTML)")
        assert not [text for text in errors if not HARMLESS.search(text)], errors
        assert not foreign


def test_after_a_refusal_the_next_correct_action_works(browser, address, galleried, tmp_path):
    from playwright.sync_api import expect

    bad = tmp_path / "words.png"
    bad.write_bytes(b"these are words")
    with opened(browser, address) as page:
        status, refused = page.locator("#status"), page.locator("#status .failed")
        page.locator("#go").click()
        expect(refused).to_contain_text(texts.NO_STYLE)
        expect(page.locator("#go")).to_be_visible()
        add(page, "style", bad)
        expect(refused).to_contain_text("words")
        page.locator("#go").click()
        expect(refused).to_contain_text("words")
        add(page, "style", STYLE)
        add(page, "content", bad)
        expect(refused).to_contain_text("words")
        page.locator("#save-image").click()
        expect(refused).to_contain_text("words")
        page.locator("#save-full").click()
        expect(refused).to_contain_text("words")
        expect(page.locator("#stop")).to_be_hidden()
        choose(page, "photos", "cat")
        expect(status).to_contain_text("on cat")
        set_number(page, texts.STEPS, 2)

        # a full queue refuses an adaptation, and nothing else
        with galleried.queue.ticket(20), galleried.queue.ticket(20):
            with ExitStack() as others:
                for _ in range(19):
                    others.enter_context(galleried.queue.ticket(1))
                page.locator("#go").click()
                expect(refused).to_contain_text("waiting already")
                choose(page, "styles", "night swirls")
                expect(status).to_contain_text("night swirls on cat")
            page.locator("#go").click()
            expect(status).to_contain_text(re.compile("2 before you in the queue, about (40|3\\d) s"))
            page.locator("#stop").click()
            expect(status).to_contain_text("Nothing is kept")
            page.locator("#go").click()
            expect(status).to_contain_text("2 before you")
        expect(status).to_contain_text("Adapted")
        with page.expect_download() as download:
            page.locator("#save-full").click()
        assert download.value.suggested_filename == "cat-in-my-stained-glass.jpg"

        open_tab(page, texts.TAB_VIDEO)
        page.locator("#video-go").click()
        expect(page.locator("#video-status .failed")).to_contain_text(texts.NO_VIDEO)
        page.locator("#video input[type=file]").set_input_files(write_video(tmp_path / "walk.mp4", FRAMES))
        expect(page.locator("#video video")).to_be_visible()
        page.locator("#video-go").click()
        expect(page.locator("#video-status")).to_contain_text("4 frames")

        open_tab(page, texts.TAB_COMPARE)
        expect(page.locator("#compared img")).to_have_count(2)
        open_tab(page, texts.TAB_STYLIZE)
        page.locator("#style button[aria-label^='Remove']").click()
        open_tab(page, texts.TAB_COMPARE)
        page.locator("#pixels-group > button").click()
        page.locator("#optimize").click()
        expect(page.locator("#compare-status .failed")).to_contain_text(texts.NO_STYLE)
        page.locator("#left input").fill("/etc/passwd")
        page.locator("#left input").press("Enter")
        expect(page.locator("#compare-status .failed")).to_contain_text("There is no style")
        page.locator("#left input").fill("night swirls")
        page.locator("#left input").press("Enter")
        expect(page.locator("#compare-status")).to_contain_text("Left: night swirls")

        open_tab(page, texts.TAB_STYLES)
        page.locator("#repo input, #repo textarea").first.fill("<img src=x>")
        page.locator("#add").click()
        expect(page.locator("#styles-status .failed")).to_contain_text("There is no style")
        page.locator("#download").click()
        expect(page.locator("#styles-status")).to_contain_text("Saved")


def test_styles_survive_a_reload_and_tabs_have_addresses(browser, address):
    from playwright.sync_api import expect

    with opened(browser, address) as page:
        add(page, "style", STYLE)
        set_number(page, texts.STEPS, 2)
        page.locator("#go").click()
        expect(page.locator("#status")).to_contain_text("Adapted")
        expect(page.locator("#styles").get_by_role("button", name="my stained glass", exact=True)).to_be_visible()
        stored = (
            "new Promise((r) => { const q = indexedDB.open('metastyle'); q.onsuccess = () => { q.result.transaction("
        )
        stored += (
            "'styles').objectStore('styles').count().onsuccess = (e) => { r(e.target.result); q.result.close() } } })"
        )
        while page.evaluate(stored) != 1:
            page.wait_for_timeout(50)
        page.get_by_role("tab", name=texts.TAB_STYLIZE, exact=True).focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#mix img")).to_be_visible()
        assert page.url.endswith("#mix")
        page.go_back()
        expect(page.locator("#compared img")).to_have_count(2)
        page.reload()
        expect(page.locator("#compared img")).to_have_count(2)  # the tab of the address
        open_tab(page, texts.TAB_STYLES)
        expect(page.locator("#table")).to_contain_text("my stained glass")
        page.locator("#use").click()
        expect(page.locator("#status")).to_contain_text("my stained glass on temple")


def test_a_style_image_gives_a_style_at_once(browser, tmp_path):
    from playwright.sync_api import expect

    Image.open(CONTENT).resize((96, 64)).save(tmp_path / "kitten.png")
    with served(build(Studio(MetaStyle.from_pretrained()))) as url, opened(browser, url) as page:
        add(page, "content", tmp_path / "kitten.png")
        add(page, "style", STYLE)
        expect(page.locator("#status")).to_contain_text("stained glass on kitten, predicted from your image")
        expect(page.locator("#result img")).to_have_count(2)


def test_a_closed_tab_frees_the_worker(browser, address, watch):
    from playwright.sync_api import expect

    with opened(browser, address) as page:
        add(page, "style", STYLE)
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
        page.goto(f"{url}?style=me/glass")
        expect(page.locator("#status")).to_contain_text("me/glass on temple")


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
        add(page, "style", STYLE)
        set_number(page, texts.STEPS, 2)
        page.locator("#go").click()
        expect(page.locator("#status")).to_contain_text("Adapted")
        open_tab(page, texts.TAB_STYLES)
        page.locator("#push-name input, #push-name textarea").first.fill("from the page")
        page.locator("#push").click()
        expect(page.locator("#pushed")).to_contain_text("me/from-the-page")
        assert "model.safetensors" in hub.repos["me/from-the-page"].files()
