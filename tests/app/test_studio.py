"""What the app does without the page: adaptations, styles, files, names."""

from __future__ import annotations

import json
import os
import pickle
import runpy
import shutil
import sys
import tempfile
import time
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from packaging.requirements import Requirement
from PIL import Image

pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[app]'")

from app_helpers import CONTENT, FRAMES, OTHER_STYLE, ROOT, STYLE, adapted, tiny_studio, upload
from huggingface_hub import SpaceCard
from videos import write_video

import metastyle_hub.app
from metastyle_hub.app import html, texts
from metastyle_hub.app.app import STYLE_FILE, build, gpu_seconds, on_lent_gpu
from metastyle_hub.app.components import ImagePairOutput, cached_file
from metastyle_hub.app.files import Downloads, ServerFolder, plain_name
from metastyle_hub.app.gallery import CHECKOUT_STYLES, Gallery
from metastyle_hub.app.session import MAX_STYLE_BYTES, Session, style_bytes
from metastyle_hub.app.studio import Look
from metastyle_hub.app.tabs.compare import entries, entry, pixel_optimization
from metastyle_hub.app.tabs.styles import hub_cards
from metastyle_hub.app.tabs.video import frame_events
from metastyle_hub.data.examples import example, example_styles
from metastyle_hub.errors import SessionError
from metastyle_hub.model import MetaStyle

# ---- adapt


def at_step(studio, step: int, session: Session, strength: float = 1) -> Image.Image:
    """The content image of the job in its style at a step."""
    job = studio.job(session)
    return job.style_at(step).stylize(job.content, strength=strength)


def test_of_a_larger_style_fewer_steps_are_kept(studio):
    norm = adapted(studio, 7, "norm").job
    assert sorted(norm.styles) == list(range(8))
    decoder = adapted(studio, 12, "decoder").job
    assert sorted(decoder.styles) == [0, 1, 5, 10, 12] and sorted(decoder.thumbnails) == [0, 1, 5, 12]
    whole = adapted(studio, 7, "all").job
    assert sorted(whole.styles) == [0, 1, 5, 7] == sorted(whole.thumbnails)
    assert whole.nearest_step(3) in (1, 5) and whole.nearest_step(6.5) == 7


def test_a_job_can_be_shown_at_any_step_and_strength(studio):
    session = adapted(studio)
    before, after, weak = at_step(studio, 0, session), at_step(studio, 3, session), at_step(studio, 3, session, 0)
    assert [session.job.nearest_step(step) for step in (0, 3)] == [0, 3]
    assert np.asarray(before).tolist() != np.asarray(after).tolist()
    assert np.asarray(before).tolist() == np.asarray(weak).tolist()


def test_visitors_at_the_same_time_get_their_own_styles(studio):
    sessions = [adapted(studio, 2, "all"), adapted(studio, 2, "norm", OTHER_STYLE)]
    alone = [at_step(studio, 2, session) for session in sessions]
    with ThreadPoolExecutor(4) as pool:
        adaptation = pool.submit(adapted, studio, 10, "all")
        both = [list(pool.map(lambda s: at_step(studio, 2, s), sessions)) for _ in range(4)]
    assert adaptation.result().job.last.index == 10
    for stylized in both:
        assert [np.asarray(image).tolist() for image in stylized] == [np.asarray(image).tolist() for image in alone]


def test_a_stopped_job_is_kept_as_it_was(studio):
    session, style = Session(), upload(STYLE, "glass")
    job = studio.start(upload(CONTENT), style, 50, "all", session)
    for event in studio.adapt(job, style, session):
        job.stopped = event.index == 3
    assert job.last.index == 3 and list(session.styles) == ["glass"]
    assert session.styles["glass"].config.steps == 3


def test_a_lent_gpu_is_requested_for_the_time_that_was_measured(monkeypatch):
    requested = []

    def gpu(duration):
        """The decorator of the `spaces` package."""

        def decorate(function):
            def lent(*arguments):
                requested.append(duration(*arguments))
                yield from function(*arguments)

            return lent

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    studio = tiny_studio(worker=on_lent_gpu)
    assert adapted(studio, 2).job.last.index == 2
    assert studio.estimate(200, "norm") > studio.estimate(2, "norm") > 0
    measured = studio.estimate(2, "norm")
    assert adapted(studio, 2).job.last.index == 2
    assert requested == [gpu_seconds(None), gpu_seconds(measured)] and measured < requested[1] < requested[0]


def test_events_can_be_sent_from_another_process(studio):
    session, style = Session(), upload(STYLE)
    job = studio.start(upload(CONTENT), style, 1, "norm", session)
    events = pickle.loads(pickle.dumps(list(studio.adapt(job, style, session))))
    assert [event.index for event in events] == [0, 1]
    assert tiny.same(events[1].step.parameters, {n: job.styles[1].state_dict()[n] for n in events[1].step.parameters})
    assert len(pickle.dumps(events[1].step.parameters)) < 100_000  # the style's own, not those of the base


# ---- styles


def test_names_are_unique(studio):
    session = adapted(studio)
    adapted(studio, session=session)
    assert list(session.styles) == ["stained_glass", "stained_glass 2"]
    assert studio.rename("stained_glass 2", "fresh", session) == "fresh"
    assert session.styles["fresh"].name == "fresh"
    session.add("blue", session.job.styles[3])
    with pytest.raises(SessionError) as error:
        studio.rename("fresh", "<blue>", session)
    assert "blue" in str(error.value) and list(session.styles) == ["stained_glass", "fresh", "blue"]
    with pytest.raises(SessionError):
        studio.rename("of somebody else", "mine", session)


def test_no_style_takes_a_name_that_the_page_uses(studio, tmp_path):
    session = adapted(studio, 2)
    session.styles["stained_glass"].renamed(texts.CONTENT).save_pretrained(tmp_path / "style")
    archive = shutil.make_archive(str(tmp_path / "style"), "zip", tmp_path / "style")
    name = studio.upload(Path(archive), session)
    assert texts.CONTENT not in session.styles and name in session.styles
    with pytest.raises(SessionError):
        studio.rename(name, texts.CONTENT, session)
    step = next(name for name in entries(studio, session) if name not in [*session.styles, texts.CONTENT])
    assert studio.rename(name, step, session) != step


def test_the_styles_of_a_session_are_bounded_in_bytes_whatever_way_they_come(studio, hub, tmp_path, monkeypatch):
    session = adapted(studio, 1, "all")
    style = session.styles["stained_glass"]
    monkeypatch.setattr("metastyle_hub.app.session.MAX_STYLE_BYTES", 2 * style_bytes(style) + 100)
    session.add("second", style)
    style.push_to_hub("me/glass", token=hub.token)
    archive = studio.downloads.save_style(style, "glass")
    content, image = upload(CONTENT), upload(STYLE)
    for come in (
        lambda: session.add("third", style),
        lambda: studio.style("me/glass", session),
        lambda: studio.upload(archive, session),
        lambda: studio.start(content, image, 1, "all", session),
    ):
        with pytest.raises(SessionError):
            come()
        assert list(session.styles) == ["stained_glass", "second"]
    session.remove("second")
    job = studio.start(content, image, 1, "all", session)
    with pytest.raises(SessionError):
        studio.style("me/glass", session)  # the job has the last place
    list(studio.adapt(job, image, session))
    assert len(session.styles) == 2 and session.used_bytes == 2 * style_bytes(style)
    assert 8 * 4 * MetaStyle.from_pretrained().num_parameters() < MAX_STYLE_BYTES


def test_a_downloaded_style_comes_back_bit_for_bit(studio):
    session = adapted(studio, 3, "all")
    path = studio.downloads.save_style(session.styles["stained_glass"], "stained_glass")
    assert {Path(n).name for n in zipfile.ZipFile(path).namelist()} >= {"config.json", "model.safetensors"}
    other = Session()
    name = studio.upload(path, other)
    assert tiny.same(other.styles[name].state_dict(), session.styles["stained_glass"].state_dict())


def test_a_zip_of_powershell_is_a_style(studio, tmp_path):
    session = adapted(studio, 1)
    session.styles["stained_glass"].save_pretrained(tmp_path / "style")
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as file:
        for path in (tmp_path / "style").iterdir():
            info = zipfile.ZipInfo("style/" + path.name)
            info.filename = "style\\" + path.name
            file.writestr(info, path.read_bytes())
    assert tiny.same(studio.unpack(tmp_path / "windows.zip").state_dict(), session.styles["stained_glass"].state_dict())


@pytest.mark.parametrize("kind", ["no zip", "empty", "huge", "no style", "damaged"])
def test_a_bad_zip_is_refused_without_a_path(studio, tmp_path, kind):
    path = tmp_path / "evil.zip"
    if kind == "no zip":
        path.write_bytes(b"PK no")
    elif kind == "damaged":
        whole = bytearray(studio.downloads.save_style(adapted(studio, 1).styles["stained_glass"], "glass").read_bytes())
        whole[len(whole) // 2 : len(whole) // 2 + 100] = bytes(100)
        path.write_bytes(whole)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            if kind != "empty":
                file.writestr("../../config.json", "0" * 50_000_000 if kind == "huge" else "{}")
                file.writestr("x/model.safetensors", b"")
    with pytest.raises(SessionError) as error:
        studio.upload(path, Session())
    message = str(error.value)
    assert "evil.zip" in message and "/tmp" not in message and str(tmp_path) not in message


@pytest.mark.parametrize(
    "name", ["/etc", "../secret", "metastyle_hub/pretrained", "metastyle_hub/example_images", "no one"]
)
def test_no_folder_of_the_server_is_read_for_a_visitor(studio, monkeypatch, name):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SessionError) as error:
        studio.style(name, Session())
    assert plain_name(name) in str(error.value)


def test_a_style_is_pushed_found_and_loaded(studio, hub):
    session = adapted(studio)
    repo, _ = studio.push("stained_glass", "My -- glass..!", False, None, "me", hub.token, session)
    assert repo == "me/My-glass" and "preview.jpg" not in hub.repos[repo].files()
    studio.push("stained_glass", "shown", False, upload(CONTENT), "me", hub.token, session)
    assert "preview.jpg" in hub.repos["me/shown"].files()
    cards = hub_cards(studio, "")
    assert repo in cards and "me/shown" in cards
    other = Session()
    assert tiny.same(studio.style(repo, other).state_dict(), session.styles["stained_glass"].state_dict())
    assert list(other.styles) == [repo]


def test_a_visitor_reads_no_private_repo_of_the_owner_of_the_server(studio, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.token)
    style = adapted(studio, 1).styles["stained_glass"]
    style.push_to_hub("me/secret", private=True)
    assert studio.base.load_style("me/secret") == style  # the owner, who also has it in the cache now
    with pytest.raises(SessionError):
        studio.style("me/secret", Session())
    assert not studio.hub_styles("secret", 5)


@pytest.mark.parametrize("change", ["other", "markup", "gone"])
def test_what_a_repo_says_of_itself_is_not_in_the_message(studio, hub, change):
    studio.push("stained_glass", "glass", False, None, "me", hub.token, adapted(studio, 1))
    files = hub.repos["me/glass"].files()
    config = json.loads(files["config.json"])
    if change == "markup":
        config["trainable"] = "<img src=https://evil.example/a><a href=https://evil.example>Sign in again</a>"
    elif change == "other":
        config["base_model"] |= {"fingerprint": "0" * 64, "repo_id": "evil/sign-in-at-evil.example"}
    hub.add("me/changed", {**files, "config.json": json.dumps(config).encode()})
    name = "me/nothing" if change == "gone" else "me/changed"
    with pytest.raises(SessionError) as error:
        studio.style(name, Session())
    assert name in str(error.value) and "evil" not in str(error.value) and "HF_" not in str(error.value)


def test_the_gallery_of_a_checkout_has_a_style_for_every_example_image():
    base = MetaStyle.from_pretrained()
    gallery = Gallery.open(base)
    assert list(gallery) == [plain_name(name) for name in example_styles()]
    assert gallery["mosaic sun"] == base.load_style(CHECKOUT_STYLES / "mosaic_sun")
    assert gallery["mosaic sun"].name == "mosaic sun" and gallery["mosaic sun"].config.steps == 100


def test_the_gallery_of_an_installed_package_is_predicted_from_the_example_images(tmp_path):
    base = MetaStyle.from_pretrained()
    gallery = Gallery.open(base, tmp_path / "missing")
    assert list(gallery) == [plain_name(name) for name in example_styles()]
    assert gallery["mosaic sun"] == base.predict_style(example("mosaic_sun"))
    assert "mosaic sun" in gallery and "missing" not in gallery


def test_a_style_of_another_base_is_left_out_of_the_gallery(base, tmp_path, caplog):
    MetaStyle.from_pretrained().load_style(CHECKOUT_STYLES / "mosaic_sun").save_pretrained(tmp_path / "mosaic_sun")
    assert list(Gallery.open(base, tmp_path)) == []
    assert "mosaic_sun" in caplog.text
    assert list(Gallery.from_examples(base)) == []  # it has no predictor


# ---- compare and video


def test_the_result_of_pixel_optimization_can_be_compared(studio):
    session, content = Session(), upload(CONTENT)
    *_, last = pixel_optimization(studio, content, upload(STYLE), 4, session)
    assert last.index == 4
    name = entries(studio, session, content)[-1]
    assert entry(studio, name, content, session, Look()).size == content.view().size


def test_a_visitor_who_stops_a_video_keeps_the_frames_so_far(studio, tmp_path):
    session, events = adapted(studio), []
    source, (name, style) = write_video(tmp_path / "walk.mp4", FRAMES), next(iter(session.styles.items()))
    for event in frame_events(studio, source, style, name, 1.0, 48, session):
        events.append(event)
        session.stopped = event.index == 2
    assert [(event.index, event.count) for event in events] == [(1, 4), (2, 4), (2, 4)]
    assert events[-1].file.stat().st_size > 0 and events[0].file is None


class FullDisk(Downloads):
    """A folder for downloads in which no file can be written."""

    def new_file(self, name: str, suffix: str) -> Path:
        path = super().new_file(name, suffix)
        path.mkdir()
        return path


def test_a_video_that_cannot_be_written_is_no_path_in_a_message(tmp_path):
    studio = tiny_studio()
    studio.downloads = FullDisk()
    source, style = write_video(tmp_path / "walk.mp4", FRAMES), adapted(studio, 1).styles["stained_glass"]
    with pytest.raises(SessionError) as error:
        list(frame_events(studio, source, style, "glass", 1.0, 48, Session()))
    assert "/" not in str(error.value) and "glass" not in str(error.value)


# ---- page and Space


def test_a_server_removes_the_folders_of_dead_servers_alone(tmp_path, monkeypatch):
    dead, other = tmp_path / "metastyle-space-dead", tmp_path / "metastyle-other"
    for folder in (dead, other):
        folder.mkdir()
        (folder / "server.lock").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ServerFolder() as first:
        assert tempfile.gettempdir() == str(first) and not dead.exists()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with ServerFolder() as second:
            assert first.is_dir() and second.is_dir()
        assert first.is_dir() and not second.exists()
    assert sorted(tmp_path.iterdir()) == [other]


def test_a_download_is_kept_as_long_as_it_is_written():
    downloads = Downloads()
    path = downloads.new_file("long", ".zip")
    path.write_bytes(b"so far")
    long_ago = time.time() - 3600
    os.utime(path.parent, (long_ago, long_ago))
    downloads.delete_old()
    assert path.read_bytes() == b"so far"
    for old in (path, path.parent):
        os.utime(old, (long_ago, long_ago))
    downloads.delete_old()
    assert not path.parent.exists()


def test_an_image_shown_again_is_not_written_again(tmp_path):
    image = Image.fromarray(tiny.content())
    file = Path(cached_file(image, str(tmp_path), "jpeg"))
    assert Image.open(file).size == image.size and [p.name for p in file.parent.iterdir()] == ["image.jpeg"]
    file.write_bytes(b"a browser reads this")
    assert cached_file(image.copy(), str(tmp_path), "jpeg") == str(file)
    assert file.read_bytes() == b"a browser reads this"
    shown = ImagePairOutput(format="jpeg").postprocess((image, None))
    assert Image.open(shown.root[0].path).size == image.size and shown.root[1] is None


def test_text_from_outside_is_escaped():
    evil = "<script>"
    assert evil not in html.table([(evil, evil, evil)])
    assert evil not in html.strip([html.StripImage(Image.new("RGB", (4, 4)), evil, evil)], evil, "")
    assert plain_name("<img src=x>_y") == "img src x y"


def test_the_front_matter_is_what_the_hub_reads():
    space = ROOT / "space"
    card = SpaceCard.load(space / "README.md").data
    assert card.sdk == "gradio" and card.app_file == "app.py" and (space / card.app_file).is_file()
    assert card.title and card.license == "apache-2.0" and len(card.short_description) <= 60
    assert card.thumbnail.startswith("https://") and (ROOT / "docs" / Path(card.thumbnail).name).is_file()
    lines = [line for line in (space / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    requirements = {r.name: r.specifier for r in map(Requirement, lines)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for wanted in map(Requirement, project["dependencies"]):
        for pinned in requirements.get(wanted.name, ()):
            assert wanted.specifier.contains(pinned.version), wanted
    assert {"metastyle-hub", "spaces", "torch", "torchvision"} == set(requirements)


def test_the_space_serves_the_app_of_the_package():
    assert runpy.run_path(str(ROOT / "space" / "app.py"))["main"] is metastyle_hub.app.main
    assert STYLE_FILE.is_file()


def test_on_a_space_a_tab_leads_to_the_page_that_needs_no_server(studio, monkeypatch):
    def links():
        values = (part["props"].get("value") for part in build(studio).get_config_file()["components"])
        return [value for value in values if "spaces/me/metastyle-browser" in str(value)]

    monkeypatch.delenv("SPACE_ID", raising=False)
    assert not links()
    monkeypatch.setenv("SPACE_ID", "me/metastyle")
    assert len(links()) == 1
