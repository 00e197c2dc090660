"""Loading from the Hub: bit for bit, from one commit, from the cache when the network fails."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from hub_fixtures import content, files_of, forget, make_style, published
from huggingface_hub import HfApi, constants

from metastyle_hub import MetaStyle
from metastyle_hub.errors import ArtifactError, HubError
from metastyle_hub.hub.download import DownloadOptions, load_artifact, locate, read_extra
from metastyle_hub.hub.search import list_styles


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


def test_offline_the_cache_is_read_and_what_is_missing_is_named(hub, base, monkeypatch):
    _, style = published(hub, base)
    MetaStyle.from_pretrained("me/starry")
    forget()
    hub.requests.clear()
    loaded = MetaStyle.from_pretrained("me/starry", local_files_only=True)
    assert torch.equal(loaded.stylize(content()), style.stylize(content()))
    with pytest.raises(HubError) as error:
        MetaStyle.from_pretrained("me/wave", local_files_only=True)
    assert "local_files_only" in str(error.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(MetaStyle.from_pretrained("me/starry").stylize(content()), style.stylize(content()))
    with pytest.raises(HubError) as error:
        MetaStyle.from_pretrained("me/wave")
    assert "HF_HUB_OFFLINE" in str(error.value)
    with pytest.raises(HubError) as error:
        list(list_styles())
    assert "HF_HUB_OFFLINE" in str(error.value)
    with pytest.raises(HubError) as error:
        style.push_to_hub("me/starry")
    assert "HF_HUB_OFFLINE" in str(error.value)
    assert hub.requests == []


def test_the_cache_is_used_when_the_hub_is_down(hub, base):
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


def test_requests_name_the_library(hub, base):
    published(hub, base)
    assert any(agent.startswith("metastyle_hub/") for agent in hub.agents)


def test_a_source_is_a_folder_or_a_repo_with_a_revision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("me/starry") == ("me/starry", None)
    assert locate("me/starry@v1") == ("me/starry", "v1") == locate("me/starry", "v1")
    assert locate("me/starry@refs/pr/1") == ("me/starry", "refs/pr/1")
    (tmp_path / "me" / "starry").mkdir(parents=True)
    assert locate("me/starry") == Path("me/starry")
    assert locate(Path("you/starry")) == Path("you/starry")
    with pytest.raises(ArtifactError) as error:
        locate("me/starry", "v1")
    assert "v1" in str(error.value)
    with pytest.raises(ArtifactError):
        locate("you/starry@v1", "v2")
    for bad in ("starry", "./a/b/c", "a/b/c", "me/starry@", "", "~/starry", "me/ö"):
        with pytest.raises(ArtifactError) as error:
            locate(bad)
        assert "user/name" in str(error.value)


def test_a_name_longer_than_a_path_may_be_is_one_sentence():
    with pytest.raises(ArtifactError):
        MetaStyle.from_pretrained("x" * 5000)


def test_arguments_that_contradict_each_other(hub):
    with pytest.raises(HubError):
        load_artifact("me/x", None, DownloadOptions(local_files_only=True, force_download=True))
    assert hub.requests == []


def test_a_token_is_not_shown():
    assert "hf_secret" not in repr(DownloadOptions(token="hf_secret"))


def test_a_subfolder_of_a_folder_or_repo_is_loaded(hub, base, tmp_path):
    style = make_style(base, 1)
    files = files_of(style)
    hub.add("me/many", {f"wave/{name}": data for name, data in files.items()} | {"README.md": b"# Many"})
    style.save_pretrained(tmp_path / "many" / "wave")
    for source in ("me/many", tmp_path / "many"):
        loaded = base.load_style(source, subfolder="wave")
        assert torch.equal(loaded.stylize(content()), style.stylize(content()))
        with pytest.raises(ArtifactError) as error:
            base.load_style(source, subfolder="glass")
        assert "many" in str(error.value) and "glass" in str(error.value)
    assert read_extra(base.load_style("me/many", subfolder="wave").origin, "README.md") == files["README.md"]


def test_a_config_is_parsed_once(hub, base, caplog):
    files = files_of(make_style(base, 1))
    config = json.loads(files["config.json"]) | {"sparkle": True}
    hub.add("me/starry", files | {"config.json": json.dumps(config).encode()})
    base.load_style("me/starry")
    assert len([record for record in caplog.records if "sparkle" in record.getMessage()]) == 1
