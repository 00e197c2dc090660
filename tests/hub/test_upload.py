"""Pushing to the Hub: one commit or none, edited cards keep their text, conflicts lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from hub_fixtures import assert_sentence, make_style, published

from metastyle_hub import MetaStyle
from metastyle_hub.cli import main
from metastyle_hub.errors import ArtifactError, HubError
from metastyle_hub.hub.search import list_styles
from metastyle_hub.hub.upload import push

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_is_uploaded_twice(hub, base):
    _, style = published(hub, base)
    repo = hub.repos["me/starry"]
    commits, head = len(repo.commits), repo.refs["main"]
    hub.requests.clear()
    info = style.push_to_hub("me/starry", style_image=None)
    assert info.oid == head and len(repo.commits) == commits
    assert hub.count("/commit/|^PUT ") == 0
    MetaStyle.from_pretrained("me/starry").push_to_hub("me/starry")
    assert len(repo.commits) == commits


def test_message_description_branch_and_pull_request(hub, base):
    info = base.push_to_hub("me/base", private=True, commit_message="First", commit_description="of many")
    repo = hub.repos["me/base"]
    assert repo.private and repo.log[-1] == "main: First | of many" and info.oid == repo.refs["main"]
    base.push_to_hub("me/base", revision="try/out", license="mit")
    assert repo.refs["try/out"] != repo.refs["main"] and repo.card("try/out")["license"] == "mit"
    proposal = make_style(base, 1).push_to_hub("me/base", create_pr=True)
    assert proposal.pr_url.endswith("/me/base/discussions/1")
    assert MetaStyle.from_pretrained("me/base", revision="main").is_base
    assert not base.load_style("me/base@refs/pr/1").is_base


@pytest.mark.parametrize(
    ("repo", "arguments", "values"),
    [
        ("me/x", {"create_pr": True, "revision": "dev"}, ["create_pr"]),
        ("me/x", {"revision": "a" * 40}, []),
        ("me/x/y", {}, ["user/name"]),
        ("", {}, ["user/name"]),
    ],
)
def test_contradictory_pushes_send_no_request(hub, base, repo, arguments, values):
    with pytest.raises(HubError) as error:
        base.push_to_hub(repo, **arguments)
    assert all(value in str(error.value) for value in values)
    assert hub.requests == []


def test_the_server_fills_in_the_namespace(hub, base):
    assert "/me/base/" in str(base.push_to_hub("base"))
    assert b'from_pretrained("me/base")' in hub.repos["me/base"].files()["README.md"]


def test_a_hand_written_card_keeps_its_text(hub, base):
    shared, _ = published(hub, base)
    repo = hub.repos["me/starry"]
    mine = "---\nlicense: cc-by-4.0\ntags:\n- night\nlanguage: fr\n---\n# Mine\r\n\nAll by hand, été.\n"
    repo.commit({**repo.files(), "README.md": mine.encode()})
    make_style(shared, 2).push_to_hub("me/starry", preview=tiny.image(tiny.content()))
    text = repo.files()["README.md"].decode()
    assert text.endswith("# Mine\r\n\nAll by hand, été.\n")
    card = repo.card()
    assert card["license"] == "cc-by-4.0" and card["language"] == "fr" and card["tags"][0] == "night"
    assert card["library_name"] == "metastyle_hub" and card["base_model"] == "me/base"
    assert card["widget"][0]["output"]["url"] == "preview.jpg"


def test_a_card_edited_in_the_folder_is_what_is_pushed(hub, base, tmp_path):
    folder = base.save_pretrained(tmp_path / "base")
    card = folder / "README.md"
    assert 'from_pretrained("base")' in card.read_text()
    card.write_text(card.read_text().replace("## Limits", "## By me"))
    base.save_pretrained(folder)
    assert "## By me" in card.read_text()
    MetaStyle.from_pretrained(folder).push_to_hub("me/base")
    repo = hub.repos["me/base"]
    assert b"## By me" in repo.files()["README.md"]
    # a text edited on the Hub takes precedence over that of the folder
    theirs = repo.files()["README.md"].replace(b"## By me", b"## By us")
    repo.commit({**repo.files(), "README.md": theirs})
    MetaStyle.from_pretrained(folder).push_to_hub("me/base", license="mit")
    assert b"## By us" in repo.files()["README.md"] and repo.card()["license"] == "mit"


def test_a_push_asks_once_for_the_state_of_the_repo(hub, base):
    published(hub, base)
    hub.requests.clear()
    base.push_to_hub("me/base", license="mit")
    assert hub.count("GET /api/models/me/base") == 1


def test_images_are_uploaded_only_on_request(hub, base):
    _, style = published(hub, base)
    assert set(hub.repos["me/starry"].files()) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    image = tiny.image(tiny.style())
    style.push_to_hub("me/starry", style_image=image, preview=tiny.image(tiny.content()))
    files = hub.repos["me/starry"].files()
    assert files["style.jpg"][:2] == files["preview.jpg"][:2] == b"\xff\xd8"
    (found,) = list_styles()
    assert found.preview == f"{hub.url}/me/starry/resolve/{hub.repos['me/starry'].refs['main']}/preview.jpg"


def test_images_of_another_style_are_deleted(hub, base, tmp_path):
    shared, style = published(hub, base)
    repo = hub.repos["me/starry"]
    style.push_to_hub("me/starry", style_image=tiny.style(), preview=tiny.image(tiny.content()))
    assert main(["pull", "me/starry", "-o", str(tmp_path / "pulled")]) == 0
    style.push_to_hub("me/starry", license="mit")  # the same style: its images stays own
    assert {"preview.jpg", "style.jpg"} < repo.files().keys()
    repo.commit({**repo.files(), "notes.txt": b"mine"})
    make_style(shared, 2).push_to_hub("me/starry", preview=tiny.image(tiny.content()))
    assert "preview.jpg" in repo.files() and "style.jpg" not in repo.files()
    style.push_to_hub("me/starry")
    assert "preview.jpg" not in repo.files() and repo.files()["notes.txt"] == b"mine"
    make_style(shared, 3).push_to_hub("me/starry")
    assert main(["pull", "me/starry", "-o", str(tmp_path / "pulled"), "--force"]) == 0
    assert {p.name for p in (tmp_path / "pulled").iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_concurrent_pushes_are_a_conflict(hub, base):
    published(hub, base)
    repo = hub.repos["me/base"]
    hub.fail("POST .*/preupload/", call=lambda: repo.commit({**repo.files(), "note.txt": b"x"}), times=1)
    with pytest.raises(HubError) as error:
        base.push_to_hub("me/base", license="mit")
    assert "me/base" in str(error.value)
    assert "note.txt" in repo.files()


def test_pushing_needs_a_token_for_the_namespace(hub, base, monkeypatch):
    with pytest.raises(HubError):
        base.push_to_hub("you/base")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError) as error:
        base.push_to_hub("me/base")
    assert "me/base" in str(error.value)
    assert hub.repos == {}


def test_a_card_that_the_hub_refuses_stops_the_push_before_any_upload(hub, base):
    with pytest.raises(HubError) as error:
        push("me/base", {"README.md": b"---\ntags: [1, 2]\n---\n", "model.safetensors": b"x"})
    assert_sentence(error.value)
    assert hub.count("^PUT|/commit/") == 0
    published(hub, base)
    repo = hub.repos["me/base"]
    repo.commit({**repo.files(), "README.md": b"---\ntags: [a\n---\n# Mine\n"})
    with pytest.raises(ArtifactError) as error:
        base.push_to_hub("me/base", license="mit")
    assert "README.md" in str(error.value) and "me/base" in str(error.value)
