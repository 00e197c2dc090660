"""Every failure of the Hub, the network and the disk is one sentence, and nothing is left half written."""

from __future__ import annotations

import textwrap
import time

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
    without_root_permissions,
)
from hub_server import LocalHub
from huggingface_hub import constants

from metastyle_hub import MetaStyle, MetaStyleError
from metastyle_hub.cli import main
from metastyle_hub.errors import ArtifactError, HubError
from metastyle_hub.hub.search import list_styles

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
    with pytest.raises(MetaStyleError) as error:
        MetaStyle.from_pretrained(source)
    assert_sentence(error.value)
    assert all(value in str(error.value) for value in values), str(error.value)
    assert main(["info", source]) == 2
    printed = capsys.readouterr().err
    assert f"metastyle: {error.value}" in printed and "Traceback" not in printed
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
def test_every_failure_of_writing_is_one_sentence_and_leaves_the_repo_unchanged(hub, base, trouble, values, where):
    style = make_style(base, 1)
    repo = hub.add("me/base", files_of(style))
    hub.fail(where, **trouble)
    with pytest.raises(HubError) as error:
        base.push_to_hub("me/base")
    assert all(value in str(error.value) for value in values)
    assert_sentence(error.value)
    assert len(repo.commits) == 1
    hub.troubles.clear()
    base.push_to_hub("me/base")
    assert len(repo.commits) == 2


def test_a_missing_base_is_named_with_its_style(hub, base, tmp_path):
    _, style = published(hub, base)
    style.save_pretrained(tmp_path / "starry")
    del style, _
    forget()
    for source in ("me/starry", tmp_path / "starry"):
        commit = hub.repos["me/base"].refs["main"]
        hub.fail(f"resolve/{commit}", status=404, code="RevisionNotFound", message="gone")
        with pytest.raises(HubError) as error:
            MetaStyle.from_pretrained(source, cache_dir=tmp_path / "other")
        assert "starry" in str(error.value) and "me/base" in str(error.value)
        assert_sentence(error.value)
        hub.troubles.clear()


def test_an_unreachable_hub_is_one_sentence(base, monkeypatch, tmp_path):
    use_endpoint(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(HubError) as error:
        MetaStyle.from_pretrained("me/starry", cache_dir=tmp_path)
    assert "127.0.0.1" in str(error.value) and "9" in str(error.value) and "me/starry" in str(error.value)
    assert_sentence(error.value)
    with pytest.raises(HubError) as error:
        base.push_to_hub("me/starry", token="x")
    assert "me/starry" in str(error.value)
    with pytest.raises(HubError):
        list(list_styles())


def test_an_endpoint_that_is_no_hub_is_one_sentence(hub, base, tmp_path):
    published(hub, base)
    commit = hub.repos["me/base"].refs["main"]
    hub.fail("/resolve/", status=200)
    with pytest.raises(HubError) as error:
        MetaStyle.from_pretrained("me/base", revision=commit, cache_dir=tmp_path / "clean")
    assert "HF_ENDPOINT" in str(error.value)
    assert_sentence(error.value)


def test_a_download_that_breaks_off_is_not_kept(hub, base, tmp_path):
    base.push_to_hub("me/base")
    hub.fail(r"GET .*/model\.safetensors", cut=100, times=2)
    assert torch.equal(MetaStyle.from_pretrained("me/base").stylize(content()), base.stylize(content()))  # resumed
    hub.fail(r"GET .*/model\.safetensors", cut=0)
    forget()
    with pytest.raises(HubError) as error:
        MetaStyle.from_pretrained("me/base", cache_dir=tmp_path / "other")
    assert "me/base" in str(error.value)
    assert_nothing_half_written(tmp_path / "other")
    hub.troubles.clear()
    assert MetaStyle.from_pretrained("me/base", cache_dir=tmp_path / "other").is_base


def test_a_file_damaged_in_the_cache_can_be_downloaded_again(hub, base):
    base.push_to_hub("me/base")
    file = MetaStyle.from_pretrained("me/base").origin.folder / "model.safetensors"
    file.resolve().write_bytes(file.read_bytes()[:500])
    with pytest.raises(ArtifactError) as error:
        MetaStyle.from_pretrained("me/base")
    assert "force_download" in str(error.value)
    assert MetaStyle.from_pretrained("me/base", force_download=True).fingerprint == base.fingerprint
    assert MetaStyle.from_pretrained("me/base").fingerprint == base.fingerprint


def test_a_cache_that_cannot_be_written_is_one_sentence(hub, base, tmp_path):
    base.push_to_hub("me/base")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HubError) as error:
        MetaStyle.from_pretrained("me/base", cache_dir=tmp_path / "file" / "cache")
    assert_sentence(error.value)


def test_read_only_folders_are_one_sentence_and_stay_unchanged(hub, base, tmp_path, capsys):
    shared, style = published(hub, base)
    assert main(["pull", "me/starry", "-o", str(tmp_path / "pulled")]) == 0
    before = {p: p.read_bytes() for p in style.save_pretrained(tmp_path / "mine").iterdir()}
    (tmp_path / "empty").mkdir()
    cache = [p for p in (tmp_path / "cache").rglob("*") if p.is_dir()]
    for folder in (tmp_path / "mine", tmp_path / "empty", tmp_path / "cache", *cache):
        folder.chmod(0o555)
    try:
        with without_root_permissions():
            with pytest.raises(ArtifactError) as error:
                make_style(shared, 2).save_pretrained(tmp_path / "mine")
            assert_sentence(error.value)
            with pytest.raises(HubError) as error:
                MetaStyle.from_pretrained("me/starry", cache_dir=tmp_path / "empty")
            assert_sentence(error.value)
            assert main(["pull", "me/starry", "-o", str(tmp_path / "empty" / "starry")]) == 2
            printed = capsys.readouterr().err
            assert str(tmp_path / "empty") in printed and "Traceback" not in printed
            # a cache that cannot be written can be read
            forget()
            assert torch.equal(MetaStyle.from_pretrained("me/starry").stylize(content()), style.stylize(content()))
    finally:
        for folder in (tmp_path / "mine", tmp_path / "empty", tmp_path / "cache", *cache):
            folder.chmod(0o755)
    assert {p: p.read_bytes() for p in (tmp_path / "mine").iterdir()} == before
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_full_disk_leaves_nothing_half_written(hub, base, tmp_path):
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
    assert_nothing_half_written(tmp_path / "full")
    assert not (tmp_path / "base").exists()
    assert MetaStyle.from_pretrained("me/base", cache_dir=tmp_path / "full").is_base


def silence(hub: LocalHub, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, matching requests get no answer, and the client waits a second for it."""
    hub.fail(where, silent=True)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)


@pytest.mark.parametrize("where", ["GET /api/models/me/starry", r"GET .*/resolve/.*config\.json"])
def test_a_silent_hub_is_a_time_out_while_loading(hub, base, monkeypatch, where, tmp_path):
    published(hub, base)
    silence(hub, where, monkeypatch)
    with pytest.raises(HubError) as error:
        MetaStyle.from_pretrained("me/starry", cache_dir=tmp_path / "clean")
    assert "me/starry" in str(error.value)
    assert_sentence(error.value)
    assert_nothing_half_written(tmp_path / "clean")


def test_a_silent_hub_is_a_time_out_when_a_push_begins(hub, base, monkeypatch):
    hub.add("me/base")
    silence(hub, "GET /api/models/me/base", monkeypatch)
    with pytest.raises(HubError) as error:
        base.push_to_hub("me/base")
    assert "me/base" in str(error.value)
    assert_sentence(error.value)


def test_a_hub_error_is_an_os_error():
    assert issubclass(HubError, OSError)
