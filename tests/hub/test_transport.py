"""The ways that files take: parts, redirects, a storage elsewhere, Xet; and a Hub that says nothing."""

from __future__ import annotations

import threading

import pytest
import tiny
import torch
from hub_fixtures import assert_nothing_half_written, assert_sentence, forget, make_style, photo, published
from huggingface_hub import HfApi, constants, file_download, get_session

from metastyle_hub import MetaStyle, list_styles
from metastyle_hub.hub import limits
from metastyle_hub.hub.client import asking
from metastyle_hub.hub.download import HubError

PICTURES = {"style_image": tiny.style(), "preview": tiny.content()}


# ---- large files


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(hub, base):
    hub.part_size = 1000
    base.push_to_hub("me/base")
    size = len(hub.repos["me/base"].files()["model.safetensors"])
    assert hub.count("^PUT /lfs/.*/[0-9]+$") == -(-size // 1000) > 5
    assert hub.count("^POST /lfs/complete") == hub.count("^POST /lfs/verify") == 1
    assert torch.equal(MetaStyle.from_pretrained("me/base").stylize(photo()), base.stylize(photo()))


def test_several_large_files_go_up_in_parts(hub, base):
    hub.part_size = 1000
    base.push_to_hub("me/base", **PICTURES)
    assert hub.count("^POST /lfs/complete") == 3
    assert {"style.jpg", "preview.jpg", "model.safetensors"} < hub.repos["me/base"].files().keys()


@pytest.mark.parametrize("where", ["^PUT /lfs/.*/2$", "^POST /lfs/complete"])
def test_a_part_that_fails_leaves_the_repo_alone(hub, base, where):
    hub.part_size = 1000
    repo = hub.add("me/base")
    hub.fail(where, status=500)
    with pytest.raises(HubError, match=r"The Hub failed at pushing to me/base \(HTTP 500") as caught:
        base.push_to_hub("me/base")
    assert_sentence(caught.value)
    assert len(repo.commits) == 1
    hub.troubles.clear()
    hub.fail(where, status=500, times=1)  # the client tries again by itself
    base.push_to_hub("me/base")
    assert "model.safetensors" in repo.files()


def test_weights_come_from_the_storage_which_sees_no_token(hub, base, tmp_path):
    hub.linked = True
    shared, style = published(hub, base)
    forget()
    loaded = MetaStyle.from_pretrained("me/starry", cache_dir=tmp_path / "clean")
    assert torch.equal(loaded.stylize(photo()), style.stylize(photo()))
    oid = next(sha for sha, data in hub.stored.items() if data == hub.repos["me/starry"].files()["model.safetensors"])
    assert hub.count(f"^GET /lfs/{oid}") == 1 and hub.told == []
    # X-Linked-Etag names the blob in the cache, not the ETag of the redirect
    assert (tmp_path / "clean" / "models--me--starry" / "blobs" / oid).is_file()
    hub.add("me/big", hub.repos["me/starry"].files() | {"model.safetensors": bytes(3_000_000)})
    with pytest.raises(ValueError, match=r"has 3\.0 MB where its config\.json calls for .* it was not downloaded"):
        shared.load_style("me/big")  # by X-Linked-Size alone


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ({"status": 403}, r"Your token may not do this|403"),
        ({"status": 503}, "The Hub failed at loading me/base"),
        ({"cut": 0}, "broke off during loading me/base"),
        ({"cut": 50}, "broke off during loading me/base"),
        ({"silent": True}, "did not answer in time during loading me/base"),
    ],
)
def test_a_storage_that_fails_is_one_sentence(hub, base, trouble, says, monkeypatch, tmp_path):
    hub.linked = True
    base.push_to_hub("me/base")
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    hub.fail("^GET /lfs/", **trouble)
    with pytest.raises(HubError, match=says) as caught:
        MetaStyle.from_pretrained("me/base")
    assert_sentence(caught.value)
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
    assert torch.equal(loaded.stylize(photo()), style.stylize(photo()))
    hub.linked = True
    again = MetaStyle.from_pretrained("me/starry", cache_dir=tmp_path / "cleaner")
    assert torch.equal(again.stylize(photo()), style.stylize(photo())) and hub.told == []
    info = make_style(loaded.base, 2).push_to_hub("me/starry")
    assert hub.repos["me/night"].refs["main"] == info.oid and "me/starry" not in hub.repos


def test_names_that_lead_in_a_circle_are_one_sentence(hub, base):
    hub.add("me/a")
    hub.renamed |= {"me/a": "me/b", "me/b": "me/a"}
    with pytest.raises(HubError, match="loading me/a") as caught:
        MetaStyle.from_pretrained("me/a")
    assert_sentence(caught.value)


# ---- Xet


def test_a_hub_that_offers_no_xet_needs_none(hub, base, monkeypatch):
    pytest.importorskip("hf_xet")
    base.push_to_hub("me/base")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert torch.equal(MetaStyle.from_pretrained("me/base").stylize(photo()), base.stylize(photo()))


def test_what_is_offered_by_xet_comes_over_http_without_it(hub, base):
    hub.xet = True
    base.push_to_hub("me/base")
    assert torch.equal(MetaStyle.from_pretrained("me/base").stylize(photo()), base.stylize(photo()))
    assert hub.count("/xet-read-token/") == 0


def test_a_xet_that_does_not_answer_is_one_sentence_with_the_way_round_it(hub, base, monkeypatch, tmp_path):
    pytest.importorskip("hf_xet")
    hub.xet = True
    base.push_to_hub("me/base")
    repo = hub.repos["me/base"]
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(HubError, match=r"Loading me/base by Xet failed .*HF_HUB_DISABLE_XET=1") as caught:
        MetaStyle.from_pretrained("me/base")
    assert_sentence(caught.value)
    assert_nothing_half_written(tmp_path / "cache")
    with pytest.raises(HubError, match=r"Pushing to me/base by Xet failed .*HF_HUB_DISABLE_XET=1") as caught:
        make_style(base, 1).push_to_hub("me/base")
    assert_sentence(caught.value)
    assert len(repo.commits) == 2


# ---- a Hub that takes the connection and says nothing


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for a tenth of a second, and for half a second in all."""
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    monkeypatch.setattr(file_download, "_ETAG_RETRY_TIMEOUT", 0.1)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    monkeypatch.setattr(limits, "WORK_SECONDS", 0.1)
    monkeypatch.setattr(limits, "RETRY_SECONDS", 0.25)


def test_listing_from_a_silent_hub_is_a_time_out(hub, base, impatient):
    published(hub, base)
    for i in range(4):
        hub.add(f"me/{i}", hub.repos["me/starry"].files())
    hub.page_size = 2
    found = list_styles()
    first = next(found)
    hub.fail("/api/models", silent=True)
    assert next(found).repo_id != first.repo_id  # of the page that is here
    with pytest.raises(HubError, match="did not answer in time during listing styles; check the connection") as caught:
        list(found)
    assert_sentence(caught.value)
    assert hub.count("GET /api/models.*cursor=2") < 6, "retries end as well"


@pytest.mark.parametrize(
    "where",
    [
        "^GET /api/models/me/base$",
        "^POST /api/models/me/base/branch/",
        "^GET /me/base/resolve/|^HEAD /me/base/resolve/",
        "^POST /api/validate-yaml",
        "^POST .*/preupload/",
        "^POST .*/objects/batch",
        "^PUT /lfs/",
        "^POST /lfs/complete",
        "^POST /lfs/verify",
        "^POST .*/commit/",
    ],
)
@pytest.mark.parametrize("files", ["one", "several"])
def test_a_hub_that_falls_silent_at_any_point_of_a_push_is_a_time_out(hub, base, impatient, where, files):
    hub.add("me/base", base._files())
    hub.part_size = 2000
    trouble = hub.fail(where, silent=True)
    with pytest.raises(HubError, match="did not answer in time during pushing to me/base") as caught:
        make_style(base, 1, "all").push_to_hub("me/base", revision="dev", **(PICTURES if files == "several" else {}))
    assert_sentence(caught.value)
    assert trouble.times < 1_000_000 and len(hub.repos["me/base"].commits) == 1
    hub.troubles.clear()
    make_style(base, 1, "all").push_to_hub("me/base", revision="dev")
    assert len(hub.repos["me/base"].commits) == 2


def test_a_hub_that_is_silent_when_a_repo_is_made_is_a_time_out(hub, base, impatient):
    hub.fail("^POST /api/repos/create", silent=True)
    with pytest.raises(HubError, match="did not answer in time during pushing to me/base"):
        base.push_to_hub("me/base")


def test_a_silent_hub_is_no_matter_for_what_is_cached(hub, base, impatient):
    _, style = published(hub, base)
    MetaStyle.from_pretrained("me/starry")
    forget()
    hub.fail(".", silent=True)
    assert torch.equal(MetaStyle.from_pretrained("me/starry").stylize(photo()), style.stylize(photo()))


def test_others_who_share_the_client_keep_their_time(hub, base, impatient):
    """A request of somebody else, made while we ask, waits as long as it would without us."""
    hub.add("me/base")
    HfApi().repo_info("me/base")
    before = list(get_session().event_hooks["request"])
    seen: list[float | None] = []
    with asking("loading me/base", "me/base"), asking("loading me/other", "me/other"):
        get_session().event_hooks["request"].append(lambda request: seen.append(request.extensions["timeout"]["read"]))
        HfApi().repo_info("me/base")
        other = threading.Thread(target=HfApi().repo_info, args=("me/base",))
        other.start()
        other.join()
    HfApi().repo_info("me/base")
    assert seen == [0.1, None, None]
    assert get_session().event_hooks["request"][:-1] == before
    get_session().event_hooks["request"].pop()
