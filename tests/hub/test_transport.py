"""Transfers of files: parts, redirects, storage at another address, Xet; and a silent Hub."""

from __future__ import annotations

import pytest
import tiny
import torch
from hub_fixtures import assert_nothing_half_written, assert_sentence, content, forget, make_style, published
from huggingface_hub import constants

from metastyle_hub import MetaStyle
from metastyle_hub.errors import HubError

IMAGES = {"style_image": tiny.style(), "preview": tiny.content()}


# ---- large files


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(hub, base):
    hub.part_size = 1000
    base.push_to_hub("me/base")
    size = len(hub.repos["me/base"].files()["model.safetensors"])
    assert hub.count("^PUT /lfs/.*/[0-9]+$") == -(-size // 1000) > 5
    assert hub.count("^POST /lfs/complete") == hub.count("^POST /lfs/verify") == 1
    assert torch.equal(MetaStyle.from_pretrained("me/base").stylize(content()), base.stylize(content()))


def test_several_large_files_go_up_in_parts(hub, base):
    hub.part_size = 1000
    base.push_to_hub("me/base", **IMAGES)
    assert hub.count("^POST /lfs/complete") == 3
    assert {"style.jpg", "preview.jpg", "model.safetensors"} < hub.repos["me/base"].files().keys()


@pytest.mark.parametrize("where", ["^PUT /lfs/.*/2$", "^POST /lfs/complete"])
def test_a_part_that_fails_leaves_the_repo_unchanged(hub, base, where):
    hub.part_size = 1000
    repo = hub.add("me/base")
    hub.fail(where, status=500)
    with pytest.raises(HubError) as error:
        base.push_to_hub("me/base")
    assert "500" in str(error.value) and "me/base" in str(error.value)
    assert_sentence(error.value)
    assert len(repo.commits) == 1
    hub.troubles.clear()
    hub.fail(where, status=500, times=1)  # the client tries again by itself
    base.push_to_hub("me/base")
    assert "model.safetensors" in repo.files()


def test_weights_come_from_the_storage_which_receives_no_token(hub, base, tmp_path):
    hub.linked = True
    shared, style = published(hub, base)
    forget()
    loaded = MetaStyle.from_pretrained("me/starry", cache_dir=tmp_path / "clean")
    assert torch.equal(loaded.stylize(content()), style.stylize(content()))
    oid = next(sha for sha, data in hub.stored.items() if data == hub.repos["me/starry"].files()["model.safetensors"])
    assert hub.count(f"^GET /lfs/{oid}") == 1 and hub.told == []
    # X-Linked-Etag names the blob in the cache, not the ETag of the redirect
    assert (tmp_path / "clean" / "models--me--starry" / "blobs" / oid).is_file()
    hub.add("me/big", hub.repos["me/starry"].files() | {"model.safetensors": bytes(3_000_000)})
    with pytest.raises(ValueError) as error:
        shared.load_style("me/big")  # by X-Linked-Size alone
    assert "3.0" in str(error.value) and "config.json" in str(error.value)


@pytest.mark.parametrize(
    ("trouble", "values"),
    [
        ({"status": 403}, []),
        ({"status": 503}, ["me/base"]),
        ({"cut": 0}, ["me/base"]),
        ({"cut": 50}, ["me/base"]),
        ({"silent": True}, ["me/base"]),
    ],
)
def test_a_storage_that_fails_is_one_sentence(hub, base, trouble, values, monkeypatch, tmp_path):
    hub.linked = True
    base.push_to_hub("me/base")
    hub.fail("^GET /lfs/", **trouble)
    with monkeypatch.context() as patch, pytest.raises(HubError) as error:
        patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
        MetaStyle.from_pretrained("me/base")
    assert all(value in str(error.value) for value in values)
    assert_sentence(error.value)
    assert_nothing_half_written(tmp_path / "cache")
    hub.troubles.clear()
    assert MetaStyle.from_pretrained("me/base").fingerprint == base.fingerprint


# ---- renamed repos


def test_the_old_name_of_a_repo_leads_to_the_new_one(hub, base, tmp_path):
    _, style = published(hub, base)
    hub.repos["me/night"] = hub.repos.pop("me/starry")
    hub.repos["me/night"].id = "me/night"
    hub.renamed["me/starry"] = "me/night"
    forget()
    loaded = MetaStyle.from_pretrained("me/starry", cache_dir=tmp_path / "clean")
    assert torch.equal(loaded.stylize(content()), style.stylize(content()))
    hub.linked = True
    again = MetaStyle.from_pretrained("me/starry", cache_dir=tmp_path / "cleaner")
    assert torch.equal(again.stylize(content()), style.stylize(content())) and hub.told == []
    info = make_style(loaded.base, 2).push_to_hub("me/starry")
    assert hub.repos["me/night"].refs["main"] == info.oid and "me/starry" not in hub.repos


def test_names_that_form_a_circle_are_one_sentence(hub, base):
    hub.add("me/a")
    hub.renamed |= {"me/a": "me/b", "me/b": "me/a"}
    with pytest.raises(HubError) as error:
        MetaStyle.from_pretrained("me/a")
    assert "me/a" in str(error.value)
    assert_sentence(error.value)


# ---- Xet


def test_a_hub_that_offers_no_xet_needs_none(hub, base, monkeypatch):
    pytest.importorskip("hf_xet")
    base.push_to_hub("me/base")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert torch.equal(MetaStyle.from_pretrained("me/base").stylize(content()), base.stylize(content()))


def test_files_stored_by_xet_are_downloaded_over_http_without_it(hub, base):
    hub.xet = True
    base.push_to_hub("me/base")
    assert torch.equal(MetaStyle.from_pretrained("me/base").stylize(content()), base.stylize(content()))
    assert hub.count("/xet-read-token/") == 0


def test_a_failure_of_xet_is_one_sentence_with_the_remedy(hub, base, monkeypatch, tmp_path):
    pytest.importorskip("hf_xet")
    hub.xet = True
    base.push_to_hub("me/base")
    repo = hub.repos["me/base"]
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(HubError) as error:
        MetaStyle.from_pretrained("me/base")
    assert "1" in str(error.value) and "HF_HUB_DISABLE_XET" in str(error.value) and "me/base" in str(error.value)
    assert_sentence(error.value)
    assert_nothing_half_written(tmp_path / "cache")
    with pytest.raises(HubError) as error:
        make_style(base, 1).push_to_hub("me/base")
    assert "1" in str(error.value) and "HF_HUB_DISABLE_XET" in str(error.value) and "me/base" in str(error.value)
    assert_sentence(error.value)
    assert len(repo.commits) == 2


# ---- a Hub that accepts connections and stays silent


def test_the_cache_is_used_when_the_hub_is_silent(hub, base, monkeypatch):
    _, style = published(hub, base)
    MetaStyle.from_pretrained("me/starry")
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    hub.fail(".", silent=True)
    for revision in (None, hub.repos["me/starry"].refs["main"]):
        forget()
        loaded = MetaStyle.from_pretrained("me/starry", revision=revision)
        assert torch.equal(loaded.stylize(content()), style.stylize(content()))
