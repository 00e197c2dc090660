"""Repos of others: damaged, hostile or huge files are refused in one sentence."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from hub_fixtures import assert_sentence, content, files_of, forget, make_style, published
from hub_server import LocalHub
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from metastyle_hub import MetaStyle
from metastyle_hub.artifacts.config import BaseReference
from metastyle_hub.errors import ArtifactError


def test_a_repo_cannot_name_local_folders_to_read(hub, base, tmp_path):
    base.save_pretrained(tmp_path / "base")
    style = make_style(base, 1)
    config = replace(style.config, base_model=BaseReference(base.fingerprint, str(tmp_path / "base")))
    style = MetaStyle(config, style.state_dict(), base)
    hub.add("me/nosy", files_of(style))
    with pytest.raises(ArtifactError):
        MetaStyle.from_pretrained("me/nosy")


def hostile(hub: LocalHub, base: MetaStyle, **changes: object) -> None:
    """A repo me/bad whose files were changed after the fact; None takes a file away."""
    style = make_style(base, 1)
    files = {**files_of(style), **changes}
    hub.add("me/bad", {k.replace("__", "."): v for k, v in files.items() if v is not None})


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
def test_an_invalid_config_is_one_sentence(hub, base, config, values):
    hostile(hub, base, config__json=None)
    data = config if isinstance(config, bytes) else with_config(base, **config)
    hub.repos["me/bad"].commit({**hub.repos["me/bad"].files(), "config.json": data})
    with pytest.raises(ArtifactError) as error:
        MetaStyle.from_pretrained("me/bad")
    assert all(value in str(error.value) for value in values)
    assert_sentence(error.value)


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
        ("missing", ["absent"]),
        ("nan", []),
        ("integers", []),
    ],
)
def test_damaged_weights_are_one_sentence(hub, base, name, values):
    hostile(hub, base, model__safetensors=None)
    repo = hub.repos["me/bad"]
    whole = files_of(make_style(base, 1))
    repo.commit({**whole, "model.safetensors": change(name)})
    with pytest.raises(ArtifactError) as error:
        base.load_style("me/bad")
    assert all(value in str(error.value) for value in values)
    assert_sentence(error.value)
    assert "me/bad@" in str(error.value)
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
        with pytest.raises(ArtifactError) as error:
            MetaStyle.from_pretrained("me/bad")
        assert_sentence(error.value)
        if name != "model.safetensors":
            assert f"{name} is not read, since pickled files can run code" in str(error.value)
            assert hub.count(f"/resolve/.*{name}") == 0
    assert not (tmp_path / "boom").exists()


def test_large_weights_of_another_library_are_not_downloaded(hub, base):
    config = files_of(make_style(base, 1))["config.json"]
    hub.add("me/big", {"config.json": config, "model.safetensors": bytes(3_000_000)})
    with pytest.raises(ArtifactError) as error:
        MetaStyle.from_pretrained("me/big")
    assert "0.1" in str(error.value) and "3.0" in str(error.value) and "config.json" in str(error.value)
    assert hub.count(r"GET .*/model\.safetensors") == 0
    hub.add("me/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": bytes(100)})
    with pytest.raises(ArtifactError) as error:
        MetaStyle.from_pretrained("me/bert")
    assert "metastyle_hub" in str(error.value)
    assert hub.count(r"me/bert.*/model\.safetensors") == 0


def test_a_huge_config_is_not_downloaded(hub, base):
    files = files_of(make_style(base, 1))
    hub.add("me/huge", {**files, "config.json": files["config.json"] + b" " * 1_000_001})
    with pytest.raises(ArtifactError) as error:
        base.load_style("me/huge")
    assert "1.0" in str(error.value) and "config.json" in str(error.value) and "me/huge" in str(error.value)
    assert_sentence(error.value)


def test_another_base_is_refused(hub, base):
    published(hub, base)
    forget()
    repo = hub.repos["me/starry"]
    config = json.loads(repo.files()["config.json"])
    config["base_model"]["fingerprint"] = "0" * 64
    repo.commit({**repo.files(), "config.json": json.dumps(config).encode()})
    with pytest.raises(ArtifactError) as error:
        MetaStyle.from_pretrained("me/starry")
    assert "000000000000" in str(error.value) and "me/base" in str(error.value)


def test_a_style_is_no_base(hub, base):
    _, style = published(hub, base)
    config = replace(style.config, base_model=BaseReference("0" * 64, "me/starry", hub.repos["me/starry"].refs["main"]))
    hub.add("me/lost", files_of(MetaStyle(config, style.state_dict(), base)))
    with pytest.raises(ArtifactError) as error:
        MetaStyle.from_pretrained("me/lost")
    assert "0000" in str(error.value) and "me/lost" in str(error.value) and "me/starry" in str(error.value)
    assert_sentence(error.value)
    with pytest.raises(ArtifactError) as error:
        MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK).load_style("me/base")
    assert "me/base" in str(error.value)
