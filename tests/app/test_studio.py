"""What the app does without the page: adaptations, styles, files, names."""

from __future__ import annotations

import pickle
import runpy
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from PIL import Image

pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[app]'")

from app_helpers import CONTENT, FRAMES, OTHER_STYLE, ROOT, STYLE, adapted, tiny_studio, upload
from huggingface_hub import SpaceCard
from videos import write_video

import metastyle_hub.app
from metastyle_hub.app import html
from metastyle_hub.app.app import STYLE_FILE, gpu_seconds, on_lent_gpu
from metastyle_hub.app.components import ImagePairOutput, cached_file
from metastyle_hub.app.files import plain_name
from metastyle_hub.app.gallery import CHECKOUT_STYLES, Gallery
from metastyle_hub.app.session import MAX_STYLES, Session
from metastyle_hub.app.tabs.compare import entries, entry, pixel_optimization
from metastyle_hub.app.tabs.styles import hub_cards
from metastyle_hub.app.tabs.video import frame_events
from metastyle_hub.data.examples import example, example_styles
from metastyle_hub.errors import SessionError
from metastyle_hub.model import MetaStyle

# ---- adapt


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
    _, first, before = studio.at_step(0, 1, False, session)
    _, last, after = studio.at_step(3, 1, False, session)
    _, _, weak = studio.at_step(3, 0, False, session)
    assert (first, last) == (0, 3)
    assert np.asarray(before).tolist() != np.asarray(after).tolist()
    assert np.asarray(before).tolist() == np.asarray(weak).tolist()


def test_visitors_at_the_same_time_get_their_own_styles(studio):
    sessions = [adapted(studio, 2, "all"), adapted(studio, 2, "norm", OTHER_STYLE)]
    alone = [studio.at_step(2, 1, False, session)[2] for session in sessions]
    with ThreadPoolExecutor(4) as pool:
        adaptation = pool.submit(adapted, studio, 10, "all")
        both = [list(pool.map(lambda s: studio.at_step(2, 1, False, s)[2], sessions)) for _ in range(4)]
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


def test_a_lent_gpu_is_requested_for_the_length_of_the_job(monkeypatch):
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
    assert requested == [gpu_seconds(None, None, 2, "norm")]


def test_events_can_be_sent_from_another_process(studio):
    session, style = Session(), upload(STYLE)
    job = studio.start(upload(CONTENT), style, 1, "norm", session)
    events = pickle.loads(pickle.dumps(list(studio.adapt(job, style, session))))
    assert [event.index for event in events] == [0, 1]
    assert tiny.same(events[1].step.parameters, {n: job.styles[1].state_dict()[n] for n in events[1].step.parameters})
    assert len(pickle.dumps(events[1].step.parameters)) < 100_000  # the style's own, not those of the base


# ---- styles


def test_names_are_unique_and_the_oldest_style_is_dropped(studio):
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
    for i in range(MAX_STYLES):
        session.add(f"style {i}", session.job.styles[3])
    assert len(session.styles) == MAX_STYLES and "stained_glass" not in session.styles


def test_a_downloaded_style_comes_back_bit_for_bit(studio):
    session = adapted(studio, 3, "all")
    path = studio.downloads.save_style(session.styles["stained_glass"], "stained_glass")
    assert {Path(n).name for n in zipfile.ZipFile(path).namelist()} >= {"config.json", "model.safetensors"}
    other = Session()
    name = studio.upload(path, other)
    assert tiny.same(other.styles[name].state_dict(), session.styles["stained_glass"].state_dict())


@pytest.mark.parametrize("kind", ["no zip", "empty", "huge", "damaged"])
def test_a_bad_zip_is_refused_without_a_path(studio, tmp_path, kind):
    path = tmp_path / "evil.zip"
    if kind == "no zip":
        path.write_bytes(b"PK no")
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
    repo, _ = studio.push("stained_glass", "My glass!", False, None, "me", hub.token, session)
    assert repo == "me/My-glass" and "preview.jpg" not in hub.repos[repo].files()
    studio.push("stained_glass", "shown", False, upload(CONTENT), "me", hub.token, session)
    assert "preview.jpg" in hub.repos["me/shown"].files()
    cards = hub_cards(studio, "")
    assert repo in cards and "me/shown" in cards
    other = Session()
    assert tiny.same(studio.style(repo, other).state_dict(), session.styles["stained_glass"].state_dict())
    assert list(other.styles) == [repo]


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
    assert last[0] == 4
    name = entries(studio, session)[-1]
    assert entry(studio, name, content, session).size == content.view().size


def test_a_visitor_who_stops_a_video_keeps_the_frames_so_far(studio, tmp_path):
    session, events = adapted(studio), []
    source, (name, style) = write_video(tmp_path / "walk.mp4", FRAMES), next(iter(session.styles.items()))
    for event in frame_events(studio, source, style, name, 1.0, 48, session):
        events.append(event)
        session.video_job.stopped = event.index == 2
    assert [(event.index, event.count) for event in events] == [(1, 4), (2, 4), (2, 4)]
    assert events[-1].file.stat().st_size > 0 and events[0].file is None


# ---- page and Space


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
    assert "metastyle-hub[app,video] @ git+https" in (space / "requirements.txt").read_text()


def test_the_space_serves_the_app_of_the_package():
    assert runpy.run_path(str(ROOT / "space" / "app.py"))["main"] is metastyle_hub.app.main
    assert STYLE_FILE.is_file()
