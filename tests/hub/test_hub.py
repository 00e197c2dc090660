"""Over real HTTP against a local Hub: what was pushed comes back bit for bit, and every failure is one sentence."""

from __future__ import annotations

import copy
import json
import pickle
import re
import runpy
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from hub_fixtures import (
    assert_nothing_half_written,
    assert_sentence,
    content,
    files_of,
    forget,
    make_style,
    published,
    use_endpoint,
    without_the_rights_of_root,
)
from hub_server import LocalHub
from huggingface_hub import HfApi, constants
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from metastyle_hub import MetaStyle, MetaStyleError, interpolate
from metastyle_hub.artifacts.config import BaseReference
from metastyle_hub.cli import main
from metastyle_hub.errors import ArtifactError, HubError
from metastyle_hub.hub.download import DownloadOptions, load_artifact, locate
from metastyle_hub.hub.search import list_styles
from metastyle_hub.hub.upload import push
from metastyle_hub.networks.param_groups import TRAINABLE, is_norm_parameter

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "docs" / "hub.md"


# ---- there and back


def test_what_was_pushed_comes_back_bit_for_bit(hub, base, tmp_path):
    base.push_to_hub("me/base")
    shared = MetaStyle.from_pretrained("me/base")
    styles = {"me/starry": make_style(shared, 1), "me/wave": make_style(shared, 2, "all")}
    before = {repo: style.stylize(content()) for repo, style in styles.items()}
    commits = {repo: style.push_to_hub(repo).oid for repo, style in styles.items()}
    make_style(shared, 3).push_to_hub("me/starry", revision="softer")
    HfApi().create_tag("me/starry", tag="v1", revision="main")
    assert {style.repo_id for style in list_styles()} == set(styles)
    assert {style.repo_id for style in list_styles(base="me/base")} == set(styles)

    forget()
    for repo, expected in before.items():
        for source, revision in ((repo, None), (repo, "main"), (f"{repo}@{commits[repo]}", None)):
            cache = tmp_path / f"clean{len(list(tmp_path.iterdir()))}"
            loaded = MetaStyle.from_pretrained(source, revision=revision, cache_dir=cache)
            assert torch.equal(loaded.stylize(content()), expected)
            assert (loaded.origin.repo_id, loaded.origin.commit) == (repo, commits[repo])
            assert loaded.base.fingerprint == base.fingerprint
            forget()
    tagged = MetaStyle.from_pretrained("me/starry@v1")
    assert torch.equal(tagged.stylize(content()), before["me/starry"])
    softer = MetaStyle.from_pretrained("me/starry", revision="softer")
    assert not torch.equal(softer.stylize(content()), before["me/starry"])


def test_a_style_names_the_repo_and_the_commit_of_its_base(hub, base):
    shared, style = published(hub, base)
    config = json.loads(hub.repos["me/starry"].files()["config.json"])
    commit = hub.repos["me/base"].refs["main"]
    assert config["base_model"] == {"repo_id": "me/base", "revision": commit, "fingerprint": base.fingerprint}
    # the base moves on; the style stays with the commit that it was made on
    other = MetaStyle.from_parameters(tiny.parameters(9), tiny.NETWORK)
    other.push_to_hub("me/base")
    forget()
    del shared
    loaded = MetaStyle.from_pretrained("me/starry")
    assert torch.equal(loaded.stylize(content()), style.stylize(content()))
    assert loaded.base.origin.commit == commit


def test_the_path_of_a_local_base_stays_on_this_machine(hub, base, tmp_path):
    base.save_pretrained(tmp_path / "secret" / "base")
    style = make_style(MetaStyle.from_pretrained(tmp_path / "secret" / "base"), 1)
    style.save_pretrained(tmp_path / "starry")
    forget()
    again = MetaStyle.from_pretrained(tmp_path / "starry")
    assert torch.equal(again.stylize(content()), style.stylize(content()))
    again.push_to_hub("me/starry")
    files = hub.repos["me/starry"].files()
    assert not any(b"secret" in data for data in files.values())
    assert json.loads(files["config.json"])["base_model"]["repo_id"] == "unshared"
    assert "base_model" not in hub.repos["me/starry"].card()
    # those who have the base can still load it
    mine = MetaStyle.from_pretrained(tmp_path / "secret" / "base")
    assert torch.equal(mine.load_style("me/starry").stylize(content()), style.stylize(content()))
    del mine, again, style
    forget()
    with pytest.raises(ArtifactError):
        MetaStyle.from_pretrained("me/starry")


def test_a_repo_has_no_say_in_which_folders_are_read(hub, base, tmp_path):
    base.save_pretrained(tmp_path / "base")
    style = make_style(base, 1)
    config = replace(style.config, base_model=BaseReference(base.fingerprint, str(tmp_path / "base")))
    style = MetaStyle(config, style.state_dict(), base)
    hub.add("me/nosy", files_of(style))
    with pytest.raises(ArtifactError):
        MetaStyle.from_pretrained("me/nosy")


def test_a_moved_branch_cannot_mix_commits(hub, base):
    old, new = make_style(base, 1, "all"), make_style(base, 2, "all")
    repo = hub.add("me/starry", files_of(old))
    # between the reading of config.json and of the weights, the author pushes other ones
    later = MetaStyle(replace(new.config, steps=7), new.state_dict(), base)
    moved = files_of(later)
    hub.fail(r"HEAD .*/model\.safetensors", call=lambda: repo.commit(moved), times=1)
    loaded = base.load_style("me/starry")
    assert len(repo.commits) == 2
    assert loaded.config.steps == 100 and torch.equal(loaded.stylize(content()), old.stylize(content()))
    assert base.load_style("me/starry").config.steps == 7


def test_a_known_commit_needs_no_network(hub, base):
    published(hub, base)
    commit = hub.repos["me/starry"].refs["main"]
    MetaStyle.from_pretrained("me/starry", revision=commit)
    forget()
    hub.requests.clear()
    MetaStyle.from_pretrained("me/starry", revision=commit)
    assert hub.requests == []


def test_a_branch_costs_one_request_once_its_files_are_here(hub, base):
    published(hub, base)
    MetaStyle.from_pretrained("me/starry")
    hub.requests.clear()
    MetaStyle.from_pretrained("me/starry")
    assert len(hub.requests) == 1


def test_offline_reads_the_cache_and_says_when_it_cannot(hub, base, monkeypatch):
    _, style = published(hub, base)
    MetaStyle.from_pretrained("me/starry")
    forget()
    hub.requests.clear()
    loaded = MetaStyle.from_pretrained("me/starry", local_files_only=True)
    assert torch.equal(loaded.stylize(content()), style.stylize(content()))
    with pytest.raises(HubError) as caught:
        MetaStyle.from_pretrained("me/wave", local_files_only=True)
    assert "local_files_only" in str(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(MetaStyle.from_pretrained("me/starry").stylize(content()), style.stylize(content()))
    with pytest.raises(HubError) as caught:
        MetaStyle.from_pretrained("me/wave")
    assert "HF_HUB_OFFLINE" in str(caught.value)
    with pytest.raises(HubError) as caught:
        list(list_styles())
    assert "HF_HUB_OFFLINE" in str(caught.value)
    with pytest.raises(HubError) as caught:
        style.push_to_hub("me/starry")
    assert "HF_HUB_OFFLINE" in str(caught.value)
    assert hub.requests == []


def test_a_hub_that_is_down_is_no_matter_for_what_is_cached(hub, base):
    _, style = published(hub, base)
    MetaStyle.from_pretrained("me/starry")
    forget()
    hub.fail(".", status=503)
    assert torch.equal(MetaStyle.from_pretrained("me/starry").stylize(content()), style.stylize(content()))


def test_force_download_fetches_again(hub, base):
    published(hub, base)
    MetaStyle.from_pretrained("me/starry")
    hub.requests.clear()
    MetaStyle.from_pretrained("me/starry", force_download=True)
    assert hub.count(r"GET .*/model\.safetensors") == 1


def test_the_library_names_itself(hub, base):
    published(hub, base)
    assert any(agent.startswith("metastyle_hub/") for agent in hub.agents)


# ---- pushing


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
def test_pushes_that_make_no_sense_never_reach_the_network(hub, base, repo, arguments, values):
    with pytest.raises(HubError) as caught:
        base.push_to_hub(repo, **arguments)
    assert all(value in str(caught.value) for value in values)
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


def test_pictures_go_along_only_on_request(hub, base):
    _, style = published(hub, base)
    assert set(hub.repos["me/starry"].files()) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    image = tiny.image(tiny.style())
    style.push_to_hub("me/starry", style_image=image, preview=tiny.image(tiny.content()))
    files = hub.repos["me/starry"].files()
    assert files["style.jpg"][:2] == files["preview.jpg"][:2] == b"\xff\xd8"
    (found,) = list_styles()
    assert found.preview == f"{hub.url}/me/starry/resolve/{hub.repos['me/starry'].refs['main']}/preview.jpg"


def test_pictures_of_another_style_go_with_it(hub, base, tmp_path):
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


def test_a_push_that_meets_another_one_is_a_conflict_not_a_loss(hub, base):
    published(hub, base)
    repo = hub.repos["me/base"]
    hub.fail("POST .*/preupload/", call=lambda: repo.commit({**repo.files(), "note.txt": b"x"}), times=1)
    with pytest.raises(HubError) as caught:
        base.push_to_hub("me/base", license="mit")
    assert "me/base" in str(caught.value)
    assert "note.txt" in repo.files()


# ---- finding


def test_listing_filters_sorts_and_reads_page_by_page(hub, base):
    shared, _ = published(hub, base)
    other = MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK)
    for i in range(7):
        on = shared if i % 2 else other
        wave = make_style(on, i, name=f"Wave {i}")
        hub.add(f"me/wave{i}", files_of(wave), likes=i)
    hub.page_size = 3
    hub.requests.clear()
    found = list_styles("wave")
    assert hub.requests == []
    first = next(found)
    assert (first.repo_id, first.author, first.name, first.likes) == ("me/wave6", "me", "Wave 6", 6)
    assert first.preview is None and first.base is None and first.commit == hub.repos["me/wave6"].refs["main"]
    assert hub.count("GET /api/models") == 1
    assert [s.likes for s in found] == [5, 4, 3, 2, 1, 0]
    assert hub.count("GET /api/models") == 3
    assert len(list(list_styles())) == 8
    assert {s.repo_id for s in list_styles("wave", base="me/base")} == {"me/wave1", "me/wave3", "me/wave5"}
    assert {s.repo_id for s in list_styles(base=other.fingerprint)} == {f"me/wave{i}" for i in (0, 2, 4, 6)}
    assert len(list(list_styles(limit=4))) == 4 and list(list_styles(author="nobody")) == []
    with pytest.raises(HubError):
        list_styles(sort="beauty")
    with pytest.raises(HubError) as caught:
        list_styles(limit=0)
    assert "0" in str(caught.value) and "1" in str(caught.value)
    hub.fail("GET /api/models", status=500)
    with pytest.raises(HubError):
        list(list_styles())


# ---- many styles on one base


def test_ten_styles_share_one_base(hub, base, tmp_path):
    base.push_to_hub("me/base")
    shared = MetaStyle.from_pretrained("me/base")
    for i in range(10):
        make_style(shared, i).save_pretrained(tmp_path / str(i))
    styles = [shared.load_style(tmp_path / str(i)) for i in range(5)]
    styles += [MetaStyle.from_pretrained(tmp_path / str(i)) for i in range(5, 10)]
    for style in styles:
        assert style.base is shared
        for name, p in style.state_dict().items():
            assert is_norm_parameter(name) or p is shared.state_dict()[name]
    mixed = interpolate(styles[:2], [0.5, 0.5])
    assert mixed.state_dict()["to_rgb.weight"] is shared.state_dict()["to_rgb.weight"]
    assert shared.load_style(styles[3]).base is shared
    with pytest.raises(ArtifactError):
        MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK).load_style(tmp_path / "0")


@pytest.mark.parametrize("trainable", TRAINABLE)
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_every_image_of_a_batch_has_its_own_style(base, trainable, strength):
    styles = [make_style(base, i, trainable) for i in range(3)]
    batch = torch.cat([content(i) for i in range(3)])
    alone = torch.cat([s.stylize(x[None], strength=strength) for s, x in zip(styles, batch, strict=True)])
    together = base.stylize(batch, styles=styles, strength=strength)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_photos_of_several_sizes_and_kinds_in_several_styles(base):
    styles = [make_style(base, i) for i in range(3)] + [base]
    photos = [tiny.image(tiny.content(40, 52)), tiny.image(tiny.content(32, 32)), tiny.image(tiny.content(40, 52, 2))]
    photos += [tiny.image(tiny.content(33, 47)).convert("RGBA")]
    together = base.stylize(photos, styles=styles, preserve_color=True, size=32)
    for result, image, style in zip(together, photos, styles, strict=True):
        alone = style.stylize(image, preserve_color=True, size=32)
        assert result.size == alone.size and result.mode == alone.mode
        assert max(abs(a - b) for a, b in zip(result.tobytes(), alone.tobytes(), strict=True)) <= 1


def test_styles_that_do_not_fit_a_batch_are_refused(base):
    style, stranger = make_style(base, 1), MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK)
    with pytest.raises(ValueError) as caught:
        base.stylize(torch.cat([content(), content()]), styles=[style])
    assert "1" in str(caught.value) and "2" in str(caught.value)
    with pytest.raises(ValueError):
        base.stylize([content(), content()], styles=[style, stranger])


# ---- trust


def hostile(hub: LocalHub, base: MetaStyle, **changes: object) -> None:
    """A repo me/bad whose files were changed after the fact; None takes a file away."""
    style = make_style(base, 1)
    files = {**files_of(style), **changes}
    hub.add("me/bad", {k.replace("__", "."): v for k, v in files.items() if v is not None})


def tensors_of(hub: LocalHub) -> dict[str, Tensor]:
    return load_tensors(hub.repos["me/bad"].files()["model.safetensors"])


def with_config(base: MetaStyle, **values: object) -> bytes:
    config = json.loads(make_style(base, 1).config.to_json())
    return json.dumps({**config, **values}).encode()


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (b"{", []),
        (b"[]", []),
        (b'{"model_type": "bert"}', []),
        ({"format_version": 99}, ["1"]),
        ({"format_version": "1"}, ["1", "format_version"]),
        ({"parameters": "some"}, []),
        ({"base_model": {"repo_id": 3}}, []),
        ({"base_model": {"fingerprint": 3}}, []),
        ({"base_model": None}, ["base_model"]),
        ({"architecture": {"width": 10**9}}, ["1", "512"]),
        ({"architecture": "big"}, []),
        ({"name": ["x"]}, []),
        ({"output": "exec"}, []),
    ],
)
def test_a_configuration_that_makes_no_sense_is_one_sentence(hub, base, config, values):
    hostile(hub, base, config__json=None)
    data = config if isinstance(config, bytes) else with_config(base, **config)
    hub.repos["me/bad"].commit({**hub.repos["me/bad"].files(), "config.json": data})
    with pytest.raises(ArtifactError) as caught:
        MetaStyle.from_pretrained("me/bad")
    assert all(value in str(caught.value) for value in values)
    assert_sentence(caught.value)


def change(name: str) -> bytes:
    style = make_style(MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK), 1)
    data = files_of(style)["model.safetensors"]
    tensors = load_tensors(data)
    first = next(iter(tensors))
    match name:
        case "truncated":
            return data[: len(data) // 2]
        case "empty":
            return b""
        case "header":
            return b"\xff" * 8 + data[8:]
        case "shape":
            tensors[first] = tensors[first][:-1].clone()
        case "extra":
            tensors["surplus"] = torch.zeros(1)
        case "missing":
            del tensors[first]
        case "nan":
            tensors[first][0] = float("nan")
        case "integers":
            tensors[first] = tensors[first].int()
        case "html":
            return b"<html>Please log in</html>"
    return save_tensors(tensors)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("truncated", []),
        ("empty", []),
        ("header", []),
        ("html", []),
        ("shape", []),
        ("extra", []),
        ("missing", ["1"]),
        ("nan", []),
        ("integers", []),
    ],
)
def test_weights_that_were_tampered_with_are_one_sentence(hub, base, name, values):
    hostile(hub, base, model__safetensors=None)
    repo = hub.repos["me/bad"]
    whole = files_of(make_style(base, 1))
    repo.commit({**whole, "model.safetensors": change(name)})
    with pytest.raises(ArtifactError) as caught:
        base.load_style("me/bad")
    assert all(value in str(caught.value) for value in values)
    assert_sentence(caught.value)
    assert "me/bad@" in str(caught.value)
    # the author repairs it, and the same cache serves the good files
    repo.commit(whole)
    assert torch.equal(base.load_style("me/bad").stylize(content()), make_style(base, 1).stylize(content()))


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.safetensors"])
def test_nothing_is_ever_unpickled(hub, base, tmp_path, name):
    bomb = pickle.dumps(Bomb(tmp_path / "boom"))
    files = files_of(make_style(base, 1))
    for config in (files["config.json"], None):
        content = {name: bomb, **({"config.json": config} if config else {})}
        hub.add("me/bad", content)
        with pytest.raises(ArtifactError) as caught:
            MetaStyle.from_pretrained("me/bad")
        assert_sentence(caught.value)
        if name != "model.safetensors":
            assert f"{name} is not read, since pickled files can run code" in str(caught.value)
            assert hub.count(f"/resolve/.*{name}") == 0
    assert not (tmp_path / "boom").exists()


def test_a_large_file_of_someone_else_is_not_downloaded(hub, base):
    config = files_of(make_style(base, 1))["config.json"]
    hub.add("me/big", {"config.json": config, "model.safetensors": bytes(3_000_000)})
    with pytest.raises(ArtifactError) as caught:
        MetaStyle.from_pretrained("me/big")
    assert "0.1" in str(caught.value) and "3.0" in str(caught.value) and "config.json" in str(caught.value)
    assert hub.count(r"GET .*/model\.safetensors") == 0
    hub.add("me/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": bytes(100)})
    with pytest.raises(ArtifactError) as caught:
        MetaStyle.from_pretrained("me/bert")
    assert "metastyle_hub" in str(caught.value)
    assert hub.count(r"me/bert.*/model\.safetensors") == 0


def test_another_base_is_refused(hub, base):
    published(hub, base)
    forget()
    repo = hub.repos["me/starry"]
    config = json.loads(repo.files()["config.json"])
    config["base_model"]["fingerprint"] = "0" * 64
    repo.commit({**repo.files(), "config.json": json.dumps(config).encode()})
    with pytest.raises(ArtifactError) as caught:
        MetaStyle.from_pretrained("me/starry")
    assert "000000000000" in str(caught.value) and "me/base" in str(caught.value)


# ---- every failure is one sentence


FAILURES = [
    # what happens, what is asked for, what the sentence names
    ({}, "me/none", ["me/none", "HF_TOKEN"]),
    ({}, "me/base@v9", ["me/base", "v9"]),
    ({}, "you/private", ["you/private", "HF_TOKEN"]),
    ({}, "you/gated", ["/you/gated", "HF_TOKEN"]),
    ({}, "me/empty", ["me/empty", "config.json", "model.safetensors"]),
    ({}, "me/half", ["me/half", "model.safetensors"]),
    ({"status": 401}, "me/base", ["me/base", "HF_TOKEN"]),
    ({"status": 403, "message": "nope"}, "me/base", ["me/base", "nope"]),
    ({"status": 404}, "me/base", ["me/base", "HF_ENDPOINT"]),
    ({"status": 409}, "me/base", ["me/base"]),
    ({"status": 429, "headers": {"Retry-After": "7"}}, "me/base", ["7 seconds"]),
    ({"status": 429}, "me/base", ["minutes"]),
    ({"status": 500, "message": "oops"}, "me/base", ["me/base", "500", "req-1", "oops"]),
    ({"status": 418}, "me/base", ["418"]),
    ({"cut": 0}, "me/base", ["me/base"]),
]


@pytest.mark.parametrize(("trouble", "source", "values"), FAILURES)
@pytest.mark.parametrize("where", ["/api/models/", "/resolve/"])
def test_every_failure_of_reading_is_one_sentence(hub, base, trouble, source, values, where, tmp_path, capsys):
    files = files_of(base)
    hub.add("me/base", files)
    hub.add("you/private", files, private=True)
    hub.add("you/gated", files, gated=True)
    hub.add("me/empty")
    hub.add("me/half", {"config.json": files["config.json"]})
    if trouble:
        how = "GET" if "cut" in trouble else "."
        hub.fail(f"{how}.*{where}", **trouble)
    with pytest.raises(MetaStyleError) as caught:
        MetaStyle.from_pretrained(source)
    assert_sentence(caught.value)
    assert all(value in str(caught.value) for value in values), str(caught.value)
    assert main(["info", source]) == 2
    error = capsys.readouterr().err
    assert f"metastyle: {caught.value}" in error and "Traceback" not in error
    assert_nothing_half_written(tmp_path / "cache")
    hub.troubles.clear()
    assert torch.equal(MetaStyle.from_pretrained("me/base").stylize(content()), base.stylize(content()))


@pytest.mark.parametrize(
    ("trouble", "values"),
    [
        ({"status": 401}, ["me/base"]),
        ({"status": 403, "message": "read only token"}, ["me/base"]),
        ({"status": 404}, []),
        ({"status": 409}, []),
        ({"status": 429}, []),
        ({"status": 500}, ["500", "me/base"]),
        ({"cut": 0}, ["me/base"]),
    ],
)
@pytest.mark.parametrize("where", ["preupload", "^PUT /lfs", "/commit/"])
def test_every_failure_of_writing_is_one_sentence_and_leaves_the_repo_alone(hub, base, trouble, values, where):
    style = make_style(base, 1)
    repo = hub.add("me/base", files_of(style))
    hub.fail(where, **trouble)
    with pytest.raises(HubError) as caught:
        base.push_to_hub("me/base")
    assert all(value in str(caught.value) for value in values)
    assert_sentence(caught.value)
    assert len(repo.commits) == 1
    hub.troubles.clear()
    base.push_to_hub("me/base")
    assert len(repo.commits) == 2


@pytest.mark.parametrize(
    ("trouble", "values"),
    [
        ({"status": 401}, []),
        ({"status": 403}, []),
        ({"status": 404}, []),
        ({"status": 429, "headers": {"Retry-After": "7"}}, ["7"]),
        ({"status": 500}, ["500"]),
        ({"cut": 0}, []),
        ({"cut": 20}, []),
    ],
)
def test_every_failure_of_listing_is_one_sentence(hub, base, trouble, values, capsys):
    published(hub, base)
    hub.fail("GET /api/models", **trouble)
    with pytest.raises(HubError) as caught:
        list(list_styles())
    assert all(value in str(caught.value) for value in values)
    assert_sentence(caught.value)
    assert main(["list"]) == 2
    assert f"metastyle: {caught.value}\n" in capsys.readouterr().err
    hub.troubles.clear()
    assert [style.repo_id for style in list_styles()] == ["me/starry"]


def test_pushing_without_a_token_and_into_other_peoples_names(hub, base, monkeypatch):
    with pytest.raises(HubError):
        base.push_to_hub("you/base")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError) as caught:
        base.push_to_hub("me/base")
    assert "me/base" in str(caught.value)
    assert hub.repos == {}


def test_a_card_that_the_hub_refuses_is_said_before_anything_is_uploaded(hub, base):
    with pytest.raises(HubError) as caught:
        push("me/base", {"README.md": b"---\ntags: [1, 2]\n---\n", "model.safetensors": b"x"})
    assert_sentence(caught.value)
    assert hub.count("^PUT|/commit/") == 0
    published(hub, base)
    repo = hub.repos["me/base"]
    repo.commit({**repo.files(), "README.md": b"---\ntags: [a\n---\n# Mine\n"})
    with pytest.raises(ArtifactError) as caught:
        base.push_to_hub("me/base", license="mit")
    assert "README.md" in str(caught.value) and "me/base" in str(caught.value)


def test_a_silent_hub_is_a_time_out_when_pushing(hub, base, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    hub.fail("/api/", silent=True)
    with pytest.raises(HubError) as caught:
        base.push_to_hub("me/base")
    assert "me/base" in str(caught.value)


def test_a_base_that_cannot_be_had_is_named_with_its_style(hub, base, tmp_path):
    _, style = published(hub, base)
    style.save_pretrained(tmp_path / "starry")
    del style, _
    forget()
    for source in ("me/starry", tmp_path / "starry"):
        commit = hub.repos["me/base"].refs["main"]
        hub.fail(f"resolve/{commit}", status=404, code="RevisionNotFound", message="gone")
        with pytest.raises(HubError) as caught:
            MetaStyle.from_pretrained(source, cache_dir=tmp_path / "other")
        assert "starry" in str(caught.value) and "me/base" in str(caught.value)
        assert_sentence(caught.value)
        hub.troubles.clear()


def test_a_style_is_no_base(hub, base):
    _, style = published(hub, base)
    config = replace(style.config, base_model=BaseReference("0" * 64, "me/starry", hub.repos["me/starry"].refs["main"]))
    hub.add("me/lost", files_of(MetaStyle(config, style.state_dict(), base)))
    with pytest.raises(ArtifactError) as caught:
        MetaStyle.from_pretrained("me/lost")
    assert "0000" in str(caught.value) and "me/lost" in str(caught.value) and "me/starry" in str(caught.value)
    assert_sentence(caught.value)
    with pytest.raises(ArtifactError) as caught:
        MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK).load_style("me/base")
    assert "me/base" in str(caught.value)


def test_a_copy_of_a_style_is_a_style(base):
    style = make_style(base, 1)
    for again in (copy.deepcopy(style), pickle.loads(pickle.dumps(style))):
        assert torch.equal(again.stylize(content()), style.stylize(content()))


def test_a_token_is_not_shown():
    assert "hf_secret" not in repr(DownloadOptions(token="hf_secret"))


def test_nobody_there(base, monkeypatch, tmp_path):
    use_endpoint(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(HubError) as caught:
        MetaStyle.from_pretrained("me/starry", cache_dir=tmp_path)
    assert "127.0.0.1" in str(caught.value) and "9" in str(caught.value) and "me/starry" in str(caught.value)
    assert_sentence(caught.value)
    with pytest.raises(HubError) as caught:
        base.push_to_hub("me/starry", token="x")
    assert "me/starry" in str(caught.value)
    with pytest.raises(HubError):
        list(list_styles())


def test_an_endpoint_that_is_no_hub(hub, base, tmp_path):
    published(hub, base)
    commit = hub.repos["me/base"].refs["main"]
    hub.fail("/resolve/", status=200)
    with pytest.raises(HubError) as caught:
        MetaStyle.from_pretrained("me/base", revision=commit, cache_dir=tmp_path / "clean")
    assert "HF_ENDPOINT" in str(caught.value)
    assert_sentence(caught.value)


def test_a_download_that_breaks_off_is_not_kept(hub, base, tmp_path):
    base.push_to_hub("me/base")
    hub.fail(r"GET .*/model\.safetensors", cut=100, times=2)
    assert torch.equal(MetaStyle.from_pretrained("me/base").stylize(content()), base.stylize(content()))  # resumed
    hub.fail(r"GET .*/model\.safetensors", cut=0)
    forget()
    with pytest.raises(HubError) as caught:
        MetaStyle.from_pretrained("me/base", cache_dir=tmp_path / "other")
    assert "me/base" in str(caught.value)
    assert_nothing_half_written(tmp_path / "other")
    hub.troubles.clear()
    assert MetaStyle.from_pretrained("me/base", cache_dir=tmp_path / "other").is_base


def test_a_file_that_was_damaged_in_the_cache_can_be_had_again(hub, base):
    base.push_to_hub("me/base")
    file = MetaStyle.from_pretrained("me/base").origin.folder / "model.safetensors"
    file.resolve().write_bytes(file.read_bytes()[:500])
    with pytest.raises(ArtifactError) as caught:
        MetaStyle.from_pretrained("me/base")
    assert "force_download" in str(caught.value)
    assert MetaStyle.from_pretrained("me/base", force_download=True).fingerprint == base.fingerprint
    assert MetaStyle.from_pretrained("me/base").fingerprint == base.fingerprint


def test_a_cache_that_cannot_be_written(hub, base, tmp_path):
    base.push_to_hub("me/base")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HubError) as caught:
        MetaStyle.from_pretrained("me/base", cache_dir=tmp_path / "file" / "cache")
    assert_sentence(caught.value)


def test_read_only_folders(hub, base, tmp_path, capsys):
    shared, style = published(hub, base)
    assert main(["pull", "me/starry", "-o", str(tmp_path / "pulled")]) == 0
    before = {p: p.read_bytes() for p in style.save_pretrained(tmp_path / "mine").iterdir()}
    (tmp_path / "empty").mkdir()
    cache = [p for p in (tmp_path / "cache").rglob("*") if p.is_dir()]
    for folder in (tmp_path / "mine", tmp_path / "empty", tmp_path / "cache", *cache):
        folder.chmod(0o555)
    try:
        with without_the_rights_of_root():
            with pytest.raises(ArtifactError) as caught:
                make_style(shared, 2).save_pretrained(tmp_path / "mine")
            assert_sentence(caught.value)
            with pytest.raises(HubError) as caught:
                MetaStyle.from_pretrained("me/starry", cache_dir=tmp_path / "empty")
            assert_sentence(caught.value)
            assert main(["pull", "me/starry", "-o", str(tmp_path / "empty" / "starry")]) == 2
            error = capsys.readouterr().err
            assert "cannot be written: Permission denied" in error and "Traceback" not in error
            # what is in a cache that cannot be written serves all the same
            forget()
            assert torch.equal(MetaStyle.from_pretrained("me/starry").stylize(content()), style.stylize(content()))
    finally:
        for folder in (tmp_path / "mine", tmp_path / "empty", tmp_path / "cache", *cache):
            folder.chmod(0o755)
    assert {p: p.read_bytes() for p in (tmp_path / "mine").iterdir()} == before
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_full_disk(hub, base, tmp_path):
    base.push_to_hub("me/base")
    code = f"""
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        from metastyle_hub.cli import main
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
        sys.exit(main(["pull", "me/base", "-o", {str(tmp_path / "base")!r}]))
    """
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "full"), "HF_HUB_DISABLE_XET": "1"}
    done = tiny.python("-c", textwrap.dedent(code), **environment)
    assert done.returncode == 2, done.stderr
    assert "metastyle: " in done.stderr and str(tmp_path / "full") in done.stderr and "Traceback" not in done.stderr
    assert "Traceback" not in done.stderr
    assert_nothing_half_written(tmp_path / "full")
    assert not (tmp_path / "base").exists()
    assert MetaStyle.from_pretrained("me/base", cache_dir=tmp_path / "full").is_base


# ---- what is asked for


def test_sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("me/starry") == ("me/starry", None)
    assert locate("me/starry@v1") == ("me/starry", "v1") == locate("me/starry", "v1")
    assert locate("me/starry@refs/pr/1") == ("me/starry", "refs/pr/1")
    (tmp_path / "me" / "starry").mkdir(parents=True)
    assert locate("me/starry") == Path("me/starry")
    assert locate(Path("you/starry")) == Path("you/starry")
    with pytest.raises(ArtifactError) as caught:
        locate("me/starry", "v1")
    assert "v1" in str(caught.value)
    with pytest.raises(ArtifactError):
        locate("you/starry@v1", "v2")
    for bad in ("starry", "./a/b/c", "a/b/c", "me/starry@", "", "~/starry", "me/ö"):
        with pytest.raises(ArtifactError) as caught:
            locate(bad)
        assert "user/name" in str(caught.value)


def test_arguments_that_contradict_each_other(hub):
    with pytest.raises(HubError):
        load_artifact("me/x", None, DownloadOptions(local_files_only=True, force_download=True))
    assert hub.requests == []


# ---- the command line, and what is published with it


def test_push_list_pull_and_use_from_the_command_line(hub, base, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base.push_to_hub("me/base")
    style = make_style(MetaStyle.from_pretrained("me/base"), 1, name="Starry")
    style.save_pretrained("starry")
    tiny.image(tiny.content()).save("photo.png")
    assert main(["push", "starry", "me/starry-night", "--preview", "photo.png", "--message", "Mine"]) == 0
    repo = hub.repos["me/starry-night"]
    assert repo.log[-1] == "main: Mine" and "preview.jpg" in repo.files()
    assert repo.refs["main"] in capsys.readouterr().out
    assert main(["push", "starry", "me/starry-night", "--revision", "dev", "--license", "mit", "--private"]) == 0
    assert main(["push", "starry", "me/starry-night", "--create-pr", "--license", "mit"]) == 0
    assert "/discussions/1" in capsys.readouterr().out

    assert main(["list", "starry", "--base", "me/base", "--sort", "downloads"]) == 0
    out = capsys.readouterr().out
    assert "me/starry-night" in out and "Starry" in out
    assert main(["list", "--json", "--limit", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["preview"].endswith("/preview.jpg")
    assert main(["list", "nothing-of-that-name"]) == 0
    assert capsys.readouterr().out == "No styles found.\n"

    assert main(["info", "me/starry-night@dev"]) == 0
    assert f"me/starry-night@{repo.refs['dev'][:12]}" in capsys.readouterr().out
    assert main(["pull", "me/starry-night"]) == 0
    assert {p.name for p in Path("starry-night").iterdir()} == set(repo.files()) - {".gitattributes"}
    for name in ("README.md", "model.safetensors", "config.json", "preview.jpg"):
        assert (Path("starry-night") / name).read_bytes() == repo.files()[name]
    forget()
    assert torch.equal(MetaStyle.from_pretrained("starry-night").stylize(content()), style.stylize(content()))
    assert main(["stylize", "photo.png", "-s", "me/starry-night", "-o", "out.png", "--device", "cpu"]) == 0
    assert Path("out.png").is_file()


def test_mistakes_on_the_command_line(hub, base, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base.save_pretrained("base")
    base.push_to_hub("me/base")
    Path("full").mkdir()
    (Path("full") / "mine.txt").write_text("x")
    for arguments, value in (
        (["pull", "base"], "base"),
        (["pull", "me/base", "-o", "full"], "full"),
        (["pull", "me/none"], "me/none"),
        (["push", "none", "me/x"], "none"),
        (["push", "base", "me/x", "--create-pr", "--revision", "dev"], "create_pr"),
        (["push", "base", "me/x", "--preview", "none.jpg"], "none.jpg"),
        (["list", "--limit", "0"], "limit"),
        (["convert", "none.pth", "-o", "x"], "none.pth"),
    ):
        assert main(arguments) == 2, arguments
        error = capsys.readouterr().err
        assert error.startswith("metastyle: ") and value in error and "Traceback" not in error, error
    assert main(["pull", "me/base", "-o", "full", "--force"]) == 0
    assert {p.name for p in Path("full").iterdir()} > {"mine.txt", "config.json"}


def test_a_card_edited_in_the_folder_is_what_is_pushed(hub, base, tmp_path):
    folder = base.save_pretrained(tmp_path / "base")
    card = folder / "README.md"
    assert 'from_pretrained("base")' in card.read_text()
    card.write_text(card.read_text().replace("## Limits", "## By me"))
    base.save_pretrained(folder)
    assert "## By me" in card.read_text()
    MetaStyle.from_pretrained(folder).push_to_hub("me/base")
    assert b"## By me" in hub.repos["me/base"].files()["README.md"]


def run_script(command: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", command)
    return int(runpy.run_path(command[0])["main"]())


def test_publishing_is_planned_first_and_can_be_repeated(hub, base, tmp_path, capsys, monkeypatch):
    base.save_pretrained(tmp_path / "base")
    space = tmp_path / "space"
    (space / "__pycache__").mkdir(parents=True)
    (space / "__pycache__" / "app.pyc").write_bytes(b"x")
    (space / "app.py").write_text("print('hello')\n")
    (space / "README.md").write_text("---\nsdk: gradio\n---\n")
    script = ROOT / "scripts" / "publish.py"
    command = [str(script), "--namespace", "me", "--base", str(tmp_path / "base"), "--styles", "mosaic_sun"]
    command += ["--space", str(space), "--work", str(tmp_path / "work"), "--steps", "1", "--crop-size", "64"]
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "pub"), "HF_HUB_DISABLE_XET": "1"}
    assert run_script(command, monkeypatch) == 0
    out = capsys.readouterr().out
    assert out.count("would push") == 3 and "Nothing was sent" in out and hub.repos == {} and hub.requests == []
    done = tiny.python(*command, "--no-dry-run", **environment)
    assert done.returncode == 0, done.stderr
    assert set(hub.repos) == {"me/metastyle-base", "me/metastyle-mosaic-sun", "me/metastyle"}
    assert set(hub.repos["me/metastyle"].files()) == {".gitattributes", "README.md", "app.py"}
    assert "compact.safetensors" in hub.repos["me/metastyle-base"].files()
    assert {"style.jpg", "preview.jpg"} < hub.repos["me/metastyle-mosaic-sun"].files().keys()
    (found,) = list_styles(base="me/metastyle-base")
    assert MetaStyle.from_pretrained(found.repo_id).name == "mosaic_sun"
    commits = {name: len(repo.commits) for name, repo in hub.repos.items()}
    assert run_script([*command, "--no-dry-run"], monkeypatch) == 0
    assert {name: len(repo.commits) for name, repo in hub.repos.items()} == commits
    # a style with other settings is adapted again, and a file that is gone is deleted from the Space
    (space / "app.py").rename(space / "page.py")
    assert run_script([*command, "--no-dry-run", "--seed", "1"], monkeypatch) == 0
    assert set(hub.repos["me/metastyle"].files()) == {".gitattributes", "README.md", "page.py"}
    changed = {name: len(repo.commits) - commits[name] for name, repo in hub.repos.items()}
    assert changed == {"me/metastyle-base": 0, "me/metastyle-mosaic-sun": 1, "me/metastyle": 1}
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert run_script([*command, "--no-dry-run"], monkeypatch) == 2
    assert "HF_TOKEN" in capsys.readouterr().err


def test_the_example_in_the_documentation_runs(hub, base, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    base.push_to_hub("me/base")
    make_style(MetaStyle.from_pretrained("me/base"), 1).save_pretrained("starry")
    tiny.image(tiny.content()).save("photo.jpg")
    tiny.image(tiny.style()).save("starry_night.jpg")
    forget()
    exec(compile(code.replace("steps=100", "steps=2"), str(README), "exec"), {})
    assert Path("out.png").is_file() and "preview.jpg" in hub.repos["me/starry-night"].files()


def test_a_config_of_no_reasonable_size_is_not_downloaded(hub, base):
    files = files_of(make_style(base, 1))
    hub.add("me/huge", {**files, "config.json": files["config.json"] + b" " * 1_000_001})
    with pytest.raises(ArtifactError) as caught:
        base.load_style("me/huge")
    assert "1.0" in str(caught.value) and "config.json" in str(caught.value) and "me/huge" in str(caught.value)
    assert_sentence(caught.value)


def test_a_name_longer_than_a_path_may_be_is_one_sentence():
    with pytest.raises(ArtifactError):
        MetaStyle.from_pretrained("x" * 5000)
