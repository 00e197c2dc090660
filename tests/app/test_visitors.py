"""What visitors must never get, in a real browser: markup that a stranger wrote, and what is another visitor's."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[app]'")

from app_helpers import OTHER_STYLE, STYLE, adapted, opened

from metastyle_hub.app import texts

EVIL = "<img src=evil.example><a href=evil.example>sign in again</a>"


def evil_parts(page) -> int:
    """The number of elements that were made of `EVIL`."""
    return page.locator("[src='evil.example'], [href='evil.example']").count()


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def upload_style(page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(path)


def packed(studio, name: str, style: Path, folder: Path) -> Path:
    """The .zip of a style with any name."""
    adapted(studio, 1, style=style).styles[style.stem].save_pretrained(folder / "style")
    config = json.loads((folder / "style" / "config.json").read_text())
    (folder / "style" / "config.json").write_text(json.dumps(config | {"name": name}))
    return Path(shutil.make_archive(str(folder / "packed"), "zip", folder / "style"))


def test_text_of_a_stranger_is_text_wherever_it_is_shown(browser, url, studio, hub, tmp_path):
    from playwright.sync_api import expect

    studio.push("stained_glass", "good", False, None, "me", hub.token, adapted(studio, 1))
    files = hub.repos["me/good"].files()
    card = re.sub(r"(?m)^model_name: .*$", f"model_name: {json.dumps(EVIL)}", files["README.md"].decode())
    hub.add("me/card", {**files, "README.md": card.encode()})
    config = json.loads(files["config.json"]) | {"trainable": EVIL}
    hub.add("me/config", {**files, "config.json": json.dumps(config).encode()})
    (tmp_path / f"{EVIL.replace('/', '')}.png").write_bytes(b"no image")

    toast = '[data-testid="toast-body"]'
    with opened(browser, f"{url}?style={EVIL}") as page:
        expect(page.locator(toast)).to_contain_text("sign in again")  # in the address
        assert not evil_parts(page)
        page.locator("[data-testid='toast-close']").first.click()
        page.locator("#content button[aria-label^='Remove']").click()
        page.locator("#content input[type=file]").first.set_input_files(next(tmp_path.glob("*.png")))  # name of a file
        expect(page.locator(toast)).to_contain_text("sign in again")
        assert not evil_parts(page)
        page.locator("[data-testid='toast-close']").first.click()
        open_tab(page, texts.TAB_STYLES)
        page.locator("#repo input, #repo textarea").first.fill("me/config")  # in a file of a repo
        page.locator("#add").click()
        expect(page.locator(toast)).to_contain_text("me/config")
        assert not evil_parts(page)
        page.locator("#hub > button").click()
        page.locator("#find").click()
        expect(page.locator("#cards figure").filter(has_text="sign in again")).to_have_count(1)  # on a card
        assert not evil_parts(page)
        upload_style(page, packed(studio, EVIL, STYLE, tmp_path))  # in a file that someone sent
        expect(page.locator("#table tbody tr")).to_contain_text("sign in again")
        open_tab(page, texts.TAB_STYLIZE)
        expect(page.locator("#styles button")).to_have_count(1)
        assert not evil_parts(page)
        # the tests can fail: this is how it looks if text becomes markup
        page.evaluate("(text) => document.querySelector('#table').insertAdjacentHTML('beforeend', text)", EVIL)
        assert evil_parts(page) == 2


def test_two_browsers_share_nothing(browser, url, studio, tmp_path):
    from playwright.sync_api import expect

    for number in (1, 2):
        (tmp_path / f"{number}").mkdir()
    first = packed(studio, "alpha zebra", STYLE, tmp_path / "1")
    second = packed(studio, "beta zebra", OTHER_STYLE, tmp_path / "2")
    with opened(browser, url) as one, opened(browser, url) as two:
        for page, path in ((one, first), (two, second)):
            open_tab(page, texts.TAB_STYLES)
            upload_style(page, path)
        for page, own, other in ((one, "alpha zebra", "beta zebra"), (two, "beta zebra", "alpha zebra")):
            expect(page.locator("#table tbody tr")).to_contain_text(own)
            assert other not in page.content()
        one.reload()
        open_tab(one, texts.TAB_STYLES)
        expect(one.locator("#table tbody tr")).to_contain_text("alpha zebra")  # its own browser keeps it
        assert "beta zebra" not in one.content()
    with opened(browser, url) as three:
        open_tab(three, texts.TAB_STYLES)
        expect(three.locator("#table")).to_contain_text(texts.STYLES_EMPTY)
        assert "alpha zebra" not in three.content() and "beta zebra" not in three.content()
