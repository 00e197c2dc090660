"""The Space: what it does without a page, its endpoints over HTTP, and one journey through it in a real browser."""
# ruff: noqa: E402 - nothing of the Space can be imported before it is known that gradio is there

import json
import pickle
import re
import struct
import sys
import threading
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import tiny
from PIL import Image

pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[space]'")

ROOT = Path(__file__).resolve().parent.parent
SPACE = ROOT / "space"
sys.path.insert(0, str(SPACE))

import actions
import app
import filming
import fragments
import mixing
import photos
import pictures
import texts
import visits
from videos import write_video
from gradio_client import Client, handle_file
from hub_fixtures import use_endpoint
from hub_server import LocalHub
from huggingface_hub import constants

from metastyle_hub import AdaptationConfig, MetaStyle, MetaStyleError
from metastyle_hub.data.examples import example

CHROMIUM = Path("/usr/bin/chromium")
FRAMES = [tiny.content(seed=i) for i in range(4)]
PHOTO, STYLE, OTHER = (example(name) for name in ("cat", "stained_glass", "night_swirls"))


class Watch:
    """Stands around the work where a lent GPU would: sees every step, and that the work is let go."""

    def __init__(self) -> None:
        self.works: list[tuple[list[int], threading.Event]] = []  # the steps of each, and whether it was let go

    def __call__(self, learn: actions.Learn) -> actions.Learn:
        def watched(*arguments):
            steps, freed = [], threading.Event()
            self.works.append((steps, freed))
            try:
                with closing(learn(*arguments)) as moments:
                    for moment in moments:
                        steps.append(moment.index)
                        yield moment
            finally:
                freed.set()

        return watched


class SlowStudio(actions.Studio):
    """A studio on a slow machine, that remembers which blends it was asked to paint."""

    def __init__(self, *arguments, **settings) -> None:
        super().__init__(*arguments, **settings)
        self.shares: list[float] = []

    def stylized(self, style, picture, *settings):
        if style.config.mix:
            self.shares.append(style.config.mix[-1]["weight"])
            time.sleep(0.4)
        return super().stylized(style, picture, *settings)


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def studio(watch) -> actions.Studio:
    """A studio whose network and pictures are small enough to learn in a second."""
    base = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK)
    config = AdaptationConfig(size=64, style_size=64, batch=1, precision="float32")
    return actions.Studio(base, config, worker=watch, device="cpu")


@contextmanager
def served(page):
    """The address of a page, which is served until the end of the block."""
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    try:
        yield url
    finally:
        page.close()


@pytest.fixture(scope="module")
def url(studio):
    with served(app.build(studio)) as url:
        yield url


@pytest.fixture
def client(url):
    return Client(url, verbose=False)


def learn(studio, steps=3, trainable="norm", picture=STYLE, visit=None):
    """A visit in which a style was learned."""
    visit = visit or visits.Session()
    style = photos.Photo(picture, picture.stem)
    run = studio.start(photos.Photo(PHOTO, "cat"), style, steps, visit)
    for _ in studio.adapt(run, style, parameters, visit):
        pass
    return visit


def adapt(client, steps=3, trainable="norm", style=STYLE):
    return client.predict(
        photo=handle_file(PHOTO), style=handle_file(style), steps=steps, parameters=parameters, api_name="/adapt"
    )


# ---- without a page


def test_the_larger_a_style_the_fewer_steps_of_it_are_kept(studio):
    norms = learn(studio, 7, "norm").run
    assert sorted(norms.kept) == list(range(8))
    decoder = learn(studio, 12, "decoder").run
    assert sorted(decoder.kept) == [0, 1, 5, 10, 12] and sorted(decoder.film) == [0, 1, 5, 12]
    whole = learn(studio, 7, "all").run
    assert sorted(whole.kept) == [0, 1, 5, 7] == sorted(whole.film)
    assert whole.nearest(3) in (1, 5) and whole.nearest(6.5) == 7


def test_a_run_can_be_scrubbed_and_faded(studio):
    visit = learn(studio)
    _, first, before = studio.at_step(0, 1, False, visit)
    _, last, after = studio.at_step(3, 1, False, visit)
    _, _, faded = studio.at_step(3, 0, False, visit)
    assert (first, last) == (0, 3)
    assert np.asarray(before).tolist() != np.asarray(after).tolist()
    assert np.asarray(before).tolist() == np.asarray(faded).tolist()


def test_visitors_at_the_same_time_get_their_own_styles(studio):
    visits = [learn(studio, 2, "all"), learn(studio, 2, "norm", OTHER)]
    alone = [studio.at_step(2, 1, False, visit)[2] for visit in visits]
    with ThreadPoolExecutor(4) as pool:
        learning = pool.submit(learn, studio, 10, "all")
        both = [list(pool.map(lambda v: studio.at_step(2, 1, False, v)[2], visits)) for _ in range(4)]
    assert learning.result().run.last.index == 10
    for painted in both:
        assert [np.asarray(p).tolist() for p in painted] == [np.asarray(p).tolist() for p in alone]


def test_a_stopped_run_is_kept_as_it_was(studio):
    visit, style = visits.Session(), photos.Photo(STYLE, "glass")
    run = studio.start(photos.Photo(PHOTO, "cat"), style, 50, visit)
    for moment in studio.adapt(run, style, "all", visit):
        run.stopped = moment.index == 3
    assert run.last.index == 3 and list(visit.styles) == ["glass"]
    assert visit.styles["glass"].config.steps == 3


def test_names_stay_apart_and_the_oldest_style_makes_room(studio):
    visit = learn(studio)
    learn(studio, visit=visit)
    assert list(visit.styles) == ["stained_glass", "stained_glass 2"]
    with pytest.raises(MetaStyleError, match="already"):
        studio.rename("stained_glass 2", "fresh", visit)
        visit.keep("blue", visit.run.kept[3])
        studio.rename("fresh", "<blue>", visit)
    with pytest.raises(MetaStyleError, match="Choose"):
        studio.rename("of somebody else", "mine", visit)
    for i in range(visits.MAX_STYLES):
        visit.keep(f"style {i}", visit.run.kept[3])
    assert len(visit.styles) == visits.MAX_STYLES and "stained_glass" not in visit.styles


def test_a_packed_style_comes_back_bit_for_bit(studio):
    visit = learn(studio, 3, "all")
    path = studio.pack(visit.styles["stained_glass"], "stained_glass")
    assert {Path(n).name for n in zipfile.ZipFile(path).namelist()} >= {"config.json", "model.safetensors"}
    other = visits.Session()
    name = studio.upload(path, other)
    assert tiny.same(other.styles[name].parameters, visit.styles["stained_glass"].parameters)


@pytest.mark.parametrize("kind", ["no zip", "empty", "huge", "damaged"])
def test_a_bad_zip_is_refused_in_a_sentence_without_a_path(studio, tmp_path, kind):
    path = tmp_path / "evil.zip"
    if kind == "no zip":
        path.write_bytes(b"PK no")
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            if kind != "empty":
                file.writestr("../../config.json", "0" * 50_000_000 if kind == "huge" else "{}")
                file.writestr("x/model.safetensors", b"")
    with pytest.raises(MetaStyleError) as caught:
        studio.upload(path, visits.Session())
    assert (
        "evil.zip" in str(caught.value) and "/tmp" not in str(caught.value) and str(tmp_path) not in str(caught.value)
    )


@pytest.mark.parametrize("name", ["/etc", "../secret", "metastyle_hub/pretrained", "metastyle_hub/pictures", "no one"])
def test_no_folder_of_the_server_is_read_for_a_visitor(studio, monkeypatch, name):
    monkeypatch.chdir(ROOT)
    with pytest.raises(visits.SessionError, match="no style"):
        studio.style(name, visits.Session())


def test_pixel_optimisation_streams_and_stays_to_be_compared(studio):
    visit = visits.Session()
    photo, style = photos.Photo(PHOTO, "cat"), photos.Photo(STYLE, "glass")
    *_, last = studio.classic(photo, style, 4, visit)
    assert last[0] == 4
    name = studio.entries(visit)[-1]
    assert studio.entry(name, photo, visit).size == photo.view().size


def test_a_picture_shown_again_is_not_written_again(tmp_path):
    picture = Image.fromarray(tiny.content())
    file = Path(pictures.whole(picture, str(tmp_path), "jpeg"))
    assert Image.open(file).size == picture.size and [p.name for p in file.parent.iterdir()] == ["picture.jpeg"]
    file.write_bytes(b"a browser is reading this")
    assert pictures.whole(picture.copy(), str(tmp_path), "jpeg") == str(file)
    assert file.read_bytes() == b"a browser is reading this"
    shown = pictures.ShownPair(format="jpeg").postprocess((picture, None))
    assert Image.open(shown.root[0].path).size == picture.size and shown.root[1] is None


def test_words_from_outside_are_escaped():
    evil = "<script>"
    assert evil not in fragments.table([(evil, evil, evil)])
    assert evil not in fragments.strip([fragments.Frame(Image.new("RGB", (4, 4)), evil, evil)], evil, "")
    assert photos.plain_name("<img src=x>_y") == "img src x y"


def test_the_front_matter_is_what_the_hub_reads():
    from huggingface_hub import SpaceCard

    card = SpaceCard.load(SPACE / "README.md").data
    assert card.sdk == "gradio" and card.app_file == "app.py" and (SPACE / card.app_file).is_file()
    assert card.title and card.license == "apache-2.0" and len(card.short_description) <= 60
    assert "metastyle-hub[video] @ git+https" in (SPACE / "requirements.txt").read_text()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub on this machine, an empty cache, and nobody signed in."""
    with LocalHub() as server:
        use_endpoint(monkeypatch, server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server


def test_a_style_is_shared_found_and_fetched(studio, hub):
    visit = learn(studio)
    repo, _ = studio.push("stained_glass", "My glass!", False, None, "me", hub.token, visit)
    assert repo == "me/My-glass" and "preview.jpg" not in hub.repos[repo].files()
    studio.push("stained_glass", "shown", False, photos.Photo(PHOTO, "cat"), "me", hub.token, visit)
    assert "preview.jpg" in hub.repos["me/shown"].files()
    cards = studio.on_the_hub("")
    assert repo in cards and "me/shown" in cards
    other = visits.Session()
    assert tiny.same(studio.style(repo, other).parameters, visit.styles["stained_glass"].parameters)
    assert list(other.styles) == [repo]


# ---- over HTTP


def test_adaptation_streams_and_what_it_learned_can_be_used(client):
    job = client.submit(
        photo=handle_file(PHOTO), style=handle_file(STYLE), steps=3, trainable="all", api_name="/adapt"
    )
    outputs = list(job)
    assert len(outputs) >= 4  # the start and steps 0, 1 and 3, which have pictures
    preview, _, curve, film = job.result()[:4]
    assert Image.open(preview).size[0] > 64
    assert "<svg" in curve and film.count("<figure>") == 3
    pair, caption = client.predict(step=1, strength=0.5, preserve_color=True, api_name="/look")
    assert len(pair) == 2 and "step 1 of 3" in caption
    assert zipfile.is_zipfile(file_of(client.predict(step=3, api_name="/style_zip")))
    picture = file_of(
        client.predict(photo=handle_file(PHOTO), step=3, strength=1, preserve_color=False, api_name="/picture")
    )
    assert Image.open(picture).size == Image.open(PHOTO).size


def file_of(output):
    return output["value"] if isinstance(output, dict) else output


def test_styles_are_mixed(client):
    adapt(client)
    adapt(client, style=OTHER)
    pair = {"photo": handle_file(PHOTO), "first": "stained glass", "second": "night swirls"}
    picture, text = client.predict(**pair, share=0.25, api_name="/mix")[:2]
    assert Image.open(picture).size == Image.open(PHOTO).size and "75% stained glass" in text
    strip = client.predict(**pair, api_name="/blends")
    assert str(strip).count("<figure>") == mixing.BLENDS
    sweep = Image.open(file_of(client.predict(**pair, api_name="/sweep")))
    assert sweep.format == "WEBP" and sweep.n_frames > 1  # equal neighbours become one
    grid = client.predict(
        photo=pair["photo"], a="stained glass", b="night swirls", c="night swirls", d="stained glass", api_name="/grid"
    )
    assert Image.open(grid).width > 4 * visits.SMALL
    assert "Kept" in client.predict(first="stained glass", second="night swirls", share=0.5, api_name="/keep_mix")


def test_a_film_is_painted_with_its_sound(client, tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
    adapt(client, 2)
    film = handle_file(write_video(tmp_path / "walk.mp4", FRAMES))
    job = client.submit(video=film, style="stained glass", size=180, strength=1, api_name="/video")
    job.result(timeout=60)
    said = [status for _, status, *_ in job.outputs()]
    assert "Frame 4 of 4" in " ".join(said) and "Painted** 4 frames" in said[-1]
    with av.open(file_of(job.outputs()[-1][2])) as painted:
        assert painted.streams.video[0].height == 180 and painted.streams.audio
        assert sum(1 for _ in painted.decode(video=0)) == 4


@pytest.mark.parametrize("name", ["text.mp4", "nothing.mp4"])
def test_a_bad_film_gets_a_sentence_without_a_path(client, tmp_path, name):
    adapt(client, 1)
    (tmp_path / name).write_bytes(b"no film" if name == "text.mp4" else b"")
    with pytest.raises(Exception, match=rf"^{name} is no film") as caught:
        client.predict(
            video=handle_file(tmp_path / name), style="stained glass", size=180, strength=1, api_name="/video"
        )
    assert "/" not in str(caught.value).split("convert")[0]


def test_a_visitor_who_stops_keeps_the_frames_so_far(studio, tmp_path):
    visit, shown = learn(studio), []
    film, (name, style) = write_video(tmp_path / "walk.mp4", FRAMES), next(iter(visit.styles.items()))
    for index, count, _, _, file in filming.shoot(studio, str(film), style, name, 1.0, 48, visit):
        shown.append((index, count, file))
        visit.shooting.stopped = index == 2
    assert [(index, count) for index, count, _ in shown] == [(1, 4), (2, 4), (2, 4)]
    assert shown[-1][2].stat().st_size > 0 and shown[0][2] is None


def test_two_visitors_do_not_mix(url):
    mine, theirs = Client(url, verbose=False), Client(url, verbose=False)
    adapt(mine)
    assert zipfile.is_zipfile(file_of(mine.predict(name="stained glass", api_name="/download")))
    for call in ({"name": "stained glass", "api_name": "/download"}, {"step": 1, "api_name": "/style_zip"}):
        with pytest.raises(Exception, match=r"no style|Learn a style first"):
            theirs.predict(**call)


def test_stopping_frees_the_worker_for_the_next_in_the_queue(url, watch):
    first, second = Client(url, verbose=False), Client(url, verbose=False)
    job = first.submit(
        photo=handle_file(PHOTO), style=handle_file(STYLE), steps=200, trainable="all", api_name="/adapt"
    )
    while len(job.outputs()) < 3:
        time.sleep(0.02)
    other = second.submit(
        photo=handle_file(PHOTO), style=handle_file(STYLE), steps=1, trainable="norm", api_name="/adapt"
    )
    time.sleep(0.3)
    assert not other.outputs()
    steps, freed = watch.works[-1]
    job.cancel()
    assert freed.wait(60) and steps[-1] < 200
    assert other.result(timeout=60)
    assert watch.works[-1][0] == [0, 1]


def bad_pictures(folder):
    """Files that are no picture to work with, by what is wrong with them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0))
    bomb += chunk(b"IDAT", zlib.compress(bytes(1_000_000))) + chunk(b"IEND", b"")
    files = {
        "words.png": b"these are words",
        "empty.jpg": b"",
        "cut.jpg": PHOTO.read_bytes()[:3000],
        "bomb.png": bomb,
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def test_bad_pictures_get_a_friendly_sentence(client, tmp_path):
    for path in bad_pictures(tmp_path):
        with pytest.raises(Exception) as caught:
            client.predict(
                photo=handle_file(path), style=handle_file(STYLE), steps=1, trainable="norm", api_name="/adapt"
            )
        sentence = str(caught.value)
        assert path.name in sentence and sentence.endswith("."), (path.name, sentence)
        assert "/" not in sentence.replace("8/16", "") and "Traceback" not in sentence, sentence


def test_uncommon_pictures_are_welcome(client, tmp_path):
    grey16 = Image.fromarray((np.linspace(0, 60000, 64 * 48).reshape(48, 64)).astype(np.uint16))
    grey16.save(tmp_path / "grey16.png")
    clear = Image.fromarray(np.dstack([tiny.content(), np.full((48, 64), 90, np.uint8)]), "RGBA")
    clear.save(tmp_path / "clear.png")
    frames = [Image.fromarray(tiny.content(seed=i)) for i in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    turned = Image.fromarray(tiny.content())
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    for path in sorted(tmp_path.iterdir()):
        result = client.predict(
            photo=handle_file(path),
            style=handle_file(STYLE),
            steps=1,
            trainable="norm",
            strength=1,
            preserve_color=False,
            api_name="/stylize",
        )
        assert Image.open(result).size == ((48, 64) if path.name == "turned.jpg" else (64, 48)), path.name


def test_every_public_endpoint_is_documented(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {"/adapt", "/look", "/compare", "/classic", "/mix", "/blends", "/sweep", "/grid", "/stylize"} <= set(
        endpoints
    )
    assert not [name for name in endpoints if "lambda" in name or "unnamed" in name]


def test_the_examples_in_the_docs_run(url, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "space.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for name, picture in (("photo.jpg", PHOTO), ("wave.jpg", STYLE), ("glass.jpg", OTHER)):
        (tmp_path / name).write_bytes(picture.read_bytes())
    write_video(tmp_path / "walk.mp4", FRAMES)
    names: dict = {}
    for block in blocks:
        exec(compile(block.replace("http://127.0.0.1:7860", url), "docs/space.md", "exec"), names)
    assert Image.open(names["result"]).size == Image.open(PHOTO).size
    assert zipfile.is_zipfile(file_of(names["style"]))


def test_the_docs_name_every_endpoint_and_its_parameters(client):
    text = (ROOT / "docs" / "space.md").read_text()
    for name, endpoint in client.view_api(return_format="dict", print_info=False)["named_endpoints"].items():
        row = next((line for line in text.splitlines() if line.startswith(f"| `{name}`")), None)
        assert row is not None, f"{name} is missing in docs/space.md"
        for parameter in endpoint["parameters"]:
            assert f"`{parameter['parameter_name']}`" in row, (name, parameter["parameter_name"])


def test_agents_find_the_action_without_a_session(url):
    pytest.importorskip("mcp", reason="the MCP server needs gradio[mcp]")
    with urlopen(url + "gradio_api/mcp/schema") as answer:
        tools = {tool["name"]: tool for tool in json.load(answer)}
    stylize = next(tool for name, tool in tools.items() if name.endswith("stylize"))
    assert stylize["description"]
    assert {"photo", "style", "steps"} <= set(stylize["inputSchema"]["properties"])


def test_a_lent_gpu_is_asked_for_by_the_length_of_the_work(monkeypatch):
    asked = []

    class Spaces:
        """The two lines of the `spaces` package that the page relies on."""

        @staticmethod
        def GPU(duration):
            def decorate(function):
                def lent(*arguments):
                    asked.append(duration(*arguments))
                    yield from function(*arguments)

                return lent

            return decorate

    base = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK)
    config = AdaptationConfig(size=64, style_size=64, batch=1, precision="float32")
    monkeypatch.setattr(app, "spaces", Spaces)
    lent = actions.Studio(base, config, worker=app.gpu, device="cpu")
    assert learn(lent, 2).run.last.index == 2
    assert asked == [app._gpu_seconds(None, None, 2, "norm")]
    # everything crosses into a process of its own and back
    moments = list(lent._learn(Image.open(STYLE), Image.open(PHOTO), 1, "norm"))
    assert [m.index for m in pickle.loads(pickle.dumps(moments))] == [0, 1]


def test_a_visit_is_forgotten_when_its_page_is_gone(studio):
    page = app.build(studio, forget_after=0)
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


# ---- in a browser

NOISE = re.compile(r"ERR_ABORTED|Method not implemented|Vega-Lite|favicon|manifest")


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
    """A page in a window of its own, which is closed at the end of the block. Without an address it stays blank, for
    a test that has to listen before the first request."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
    try:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(url)
        yield page
    finally:
        context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_journey_through_the_page(browser, url, tmp_path, width, scheme):
    from playwright.sync_api import expect

    shots = ROOT / "runs" / "space"
    shots.mkdir(parents=True, exist_ok=True)
    with opened(browser, width=width, color_scheme=scheme) as page:
        noise: list[str] = []
        page.on("console", lambda m: noise.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: noise.append(str(e)))
        foreign: list[str] = []
        page.on("request", lambda r: foreign.append(r.url) if not r.url.startswith((url, "data:", "blob:")) else None)

        def shot(name):
            page.screenshot(path=shots / f"{width}-{scheme}-{name}.png", full_page=True)

        def number(label, value):
            box = page.get_by_label(f"number input for {label}", exact=True).first
            box.fill(str(value))
            box.press("Tab")

        page.goto(url)
        status = page.locator("#status")
        expect(status).to_contain_text("Ready")
        expect(page.locator("#photo img").first).to_be_visible()
        shot("1-start")

        assert page.locator("#go").bounding_box()["y"] < 800, "the button that everything begins with is in sight"
        number("Steps", 12)
        page.get_by_role("button", name=texts.GO, exact=True).click()
        expect(status).to_contain_text("Learned")
        expect(page.locator("#film figure")).to_have_count(4)
        expect(page.locator("#result img").first).to_be_visible()
        number("Step", 5)
        expect(page.locator("#caption")).to_contain_text("step 5 of 12")
        page.locator("#film button").nth(1).click()
        expect(page.locator("#caption")).to_contain_text("step 1 of 12")
        shot("2-learned")
        page.locator("#save-style").click()
        with page.expect_download() as download:
            page.locator("#saved a").first.click()
        assert download.value.suggested_filename.endswith(".zip")

        number("Steps", 200)
        page.get_by_role("button", name=texts.GO, exact=True).click()
        expect(status).to_contain_text(re.compile(r"Step [3-9]\d? of 200"))
        page.get_by_role("button", name=texts.STOP, exact=True).first.click()
        expect(status).to_contain_text("Stopped at step")
        expect(page.get_by_role("button", name=texts.GO, exact=True)).to_be_visible()
        shot("3-stopped")

        page.get_by_role("tab", name=texts.TAB_MIX, exact=True).click()
        mixed = page.locator("#mixed img")
        expect(mixed).to_be_visible()
        before = mixed.get_attribute("src")
        number("Blend", 0.8)
        expect(page.locator("#mix-status")).to_contain_text("20%")
        assert mixed.get_attribute("src") != before
        page.locator("#make-strip").click()
        expect(page.locator("#blends figure")).to_have_count(7)
        page.locator("#make-sweep").click()
        expect(page.locator("#sweep img")).to_be_visible()
        page.locator("#save-mix").click()
        with page.expect_download() as download:
            page.locator("#mix-file a").first.click()
        assert Image.open(download.value.path()).size == Image.open(example("temple")).size
        page.locator("#grid-group > button").click()
        page.locator("#make-grid").click()
        expect(page.locator("#grid img")).to_be_visible()
        shot("4-mix")

        page.get_by_role("tab", name=texts.TAB_COMPARE, exact=True).click()
        expect(page.locator("#compared img").first).to_be_visible()
        page.locator("#save-both").click()
        expect(page.locator("#compare-files a")).to_have_count(2)
        page.locator("#classic > button").click()
        expect(page.locator("#optimise")).to_be_visible()
        page.wait_for_timeout(300)  # no hand is faster, and a panel that has just opened does not listen yet
        number("Iterations", 10)
        page.locator("#optimise").click()
        expect(page.locator("#classic-status")).to_contain_text("Iteration 10 of 10")
        expect(page.locator("#optimise")).to_be_visible()
        page.locator("#right input").click()
        page.get_by_role("option", name=texts.CLASSIC_NAME.format(index=10)).click()
        expect(page.locator("#compare-caption")).to_contain_text("Pixel optimisation")
        shot("5-compare")

        page.get_by_role("tab", name=texts.TAB_VIDEO, exact=True).click()
        page.locator("#video input[type=file]").set_input_files(write_video(tmp_path / "walk.mp4", FRAMES))
        expect(page.locator("#video video")).to_be_visible()
        page.locator("#video-go").click()
        expect(page.locator("#video-status")).to_contain_text("Painted 4 frames")
        expect(page.locator("#painted video")).to_be_visible()
        expect(page.locator("#video-go")).to_be_visible()
        shot("6-video")

        page.get_by_role("tab", name=texts.TAB_STYLES, exact=True).click()
        expect(page.locator("#table tbody tr")).to_have_count(2)
        page.locator("#download").click()
        with page.expect_download() as download:
            page.locator("#style-file a").first.click()
        page.locator("#new-name input, #new-name textarea").first.fill("my own")
        page.locator("#rename").click()
        expect(page.locator("#table")).to_contain_text("my own")
        with page.expect_file_chooser() as chooser:
            page.locator("#upload").click()
        # a browser knows a file by its name alone
        packed = tmp_path / "packed.zip"
        packed.write_bytes(Path(download.value.path()).read_bytes())
        chooser.value.set_files(packed)
        expect(page.locator("#styles-status")).to_contain_text("Added")
        expect(page.locator("#table tbody tr")).to_have_count(3)
        shot("7-styles")

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("tab", name=texts.TAB_ADAPT, exact=True).click()
        expect(page.locator("#style-examples").get_by_role("button", name="stained glass")).to_be_visible()
        page.wait_for_timeout(300)
        assert not page.evaluate("[...document.images].filter((i) => !i.alt).map((i) => i.outerHTML)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not [text for text in noise if not NOISE.search(text)], noise
        assert not foreign


def test_closing_the_tab_frees_the_worker(browser, url, watch):
    from playwright.sync_api import expect

    with opened(browser, url) as page:
        steps = page.get_by_label("number input for Steps", exact=True).first
        steps.fill("200")
        steps.press("Tab")
        page.locator("#go").click()
        expect(page.locator("#status")).to_contain_text("of 200")
        steps, freed = watch.works[-1]
        assert not freed.is_set()
    assert freed.wait(60) and steps[-1] < 200


def test_a_dragged_slider_shows_its_last_position_and_skips_what_was_passed(browser, studio):
    from playwright.sync_api import expect

    slow = SlowStudio(studio.base, studio.config, device="cpu")
    slow.gallery = dict(learn(slow, 1).styles) | dict(learn(slow, 1, picture=OTHER).styles)
    with served(app.build(slow)) as url, opened(browser, url) as page:
        page.get_by_role("tab", name=texts.TAB_MIX, exact=True).click()
        expect(page.locator("#mix-status")).to_contain_text("50%")
        slow.shares.clear()
        handle = page.get_by_label("range slider for Blend", exact=True)
        box = handle.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        for i in range(40):
            page.mouse.move(box["x"] + box["width"] * (0.5 + 0.01 * i), box["y"] + box["height"] / 2)
        page.mouse.up()
        painted = len(slow.shares)
        last = float(handle.input_value())
        assert last > 0.7
        expect(page.locator("#mix-status")).to_contain_text(f"{last:.0%} ")
        page.wait_for_timeout(1000)
        assert slow.shares[-1] == pytest.approx(last)
        # after the hand has come to rest: at most one that was passed, and where it is
        assert len(slow.shares) - painted <= 2
        assert len(slow.shares) < 20


def test_what_others_shared_is_found_and_added(browser, studio, hub):
    from playwright.sync_api import expect

    visit = learn(studio)
    studio.push("stained_glass", "glass", False, photos.Photo(PHOTO, "cat"), "me", hub.token, visit)
    with served(app.build(studio)) as url, opened(browser, url, 390) as page:
        page.get_by_role("tab", name=texts.TAB_STYLES, exact=True).click()
        page.locator("#hub > button").click()
        page.locator("#find").click()
        card = page.locator("#cards figure")
        expect(card).to_have_count(1)
        expect(card.locator("img")).to_have_attribute("alt", re.compile("style"))
        card.get_by_role("button").click()
        expect(page.locator("#table")).to_contain_text("me/glass")


def test_a_visitor_signs_in_and_shares_a_style(browser, studio, hub, monkeypatch):
    from playwright.sync_api import expect

    pytest.importorskip("authlib", reason="gradio[oauth] is not installed: pip install '.[space]'")
    import gradio.oauth

    person = {"preferred_username": "me", "name": "Me", "sub": "1", "profile": "", "picture": "", "website": ""}
    login = {"access_token": hub.token, "scope": "openid profile", "userinfo": person}
    monkeypatch.setattr(
        gradio.oauth, "_get_mocked_oauth_info", lambda: {**login, "expires_at": int(time.time()) + 3600}
    )
    monkeypatch.setenv("OAUTH_CLIENT_ID", "mocked")
    with served(app.build(studio)) as url, opened(browser, url) as page:
        page.locator("#login").click()
        expect(page.locator("#login")).to_contain_text("Logout")
        steps = page.get_by_label("number input for Steps", exact=True).first
        steps.fill("2")
        steps.press("Tab")
        page.get_by_role("button", name=texts.GO, exact=True).click()
        expect(page.locator("#status")).to_contain_text("Learned")
        page.get_by_role("tab", name=texts.TAB_STYLES, exact=True).click()
        page.locator("#push-name input, #push-name textarea").first.fill("from the page")
        page.locator("#push").click()
        expect(page.locator("#pushed")).to_contain_text("me/from-the-page")
        assert "model.safetensors" in hub.repos["me/from-the-page"].files()
