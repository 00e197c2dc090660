"""Which base a style stands on: found where it says, never another one, and never in a circle."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from hub_fixtures import content, files_of, forget, make_style, reference_to
from hub_server import LocalHub

from metastyle_hub import MetaStyle
from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.artifacts.serialization import Artifact, read_artifact
from metastyle_hub.errors import ArtifactError
from metastyle_hub.hub.base_registry import BaseRegistry
from metastyle_hub.hub.download import DownloadOptions, Snapshot
from metastyle_hub.networks.param_groups import TRAINABLE


def style_of(fingerprint: str) -> Artifact:
    """A style of a base that some version of the package shipped."""
    config = ArtifactConfig("style", tiny.NETWORK, library_version="0.0.9", base_model=BaseReference(fingerprint))
    return Artifact(config, {}, origin=Snapshot(Path("starry")))


def test_styles_of_a_base_that_the_package_no_longer_ships_find_it_in_its_repo(hub: LocalHub, base: MetaStyle) -> None:
    commit = base.push_to_hub("me/old-base").oid
    MetaStyle.from_parameters(tiny.parameters(9), tiny.NETWORK).push_to_hub("me/old-base")  # a later commit
    registry = BaseRegistry(former={base.fingerprint: ("me/old-base", commit)})
    found = registry.resolve(style_of(base.fingerprint), DownloadOptions())
    assert found.fingerprint == base.fingerprint and found.origin.commit == commit
    with pytest.raises(ArtifactError) as error:
        registry.resolve(style_of("0" * 64), DownloadOptions())
    assert "0" * 12 in str(error.value) and "0.0.9" in str(error.value)


@pytest.mark.parametrize("parameters", TRAINABLE)
def test_a_style_that_names_itself_as_base_is_refused(base: MetaStyle, parameters: str, tmp_path: Path) -> None:
    style = make_style(base, 1, parameters)
    reference = BaseReference("0" * 64, str(tmp_path / "starry"))
    MetaStyle(replace(style.config, base_model=reference), style.state_dict(), base).save_pretrained(
        tmp_path / "starry"
    )
    with pytest.raises(ArtifactError):
        MetaStyle.from_pretrained(tmp_path / "starry")


def test_two_repos_that_name_each_other_as_base_are_refused(hub: LocalHub, base: MetaStyle) -> None:
    style = make_style(base, 1)
    for repo, other in (("me/a", "me/b"), ("me/b", "me/a")):
        config = replace(style.config, base_model=BaseReference("0" * 64, other, "main"))
        hub.add(repo, files_of(MetaStyle(config, style.state_dict(), base)))
    with pytest.raises(ArtifactError):
        MetaStyle.from_pretrained("me/a")


def test_pushing_a_style_that_nobody_else_can_load_warns(
    hub: LocalHub, base: MetaStyle, caplog: pytest.LogCaptureFixture
) -> None:
    make_style(base, 1, name="Starry").push_to_hub("me/starry")
    assert "Starry" in caplog.text
    caplog.clear()
    base.push_to_hub("me/base")
    make_style(MetaStyle.from_pretrained("me/base"), 1).push_to_hub("me/wave")
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    forget()
    assert MetaStyle.from_pretrained("me/wave").stylize(content()).shape == content().shape


def test_a_style_of_the_package_s_base_names_it_by_fingerprint_alone(tmp_path: Path) -> None:
    base = MetaStyle.from_pretrained()
    config = ArtifactConfig("style", base.config.architecture, base_model=reference_to(base), trainable="norm")
    MetaStyle(config, base.state_dict(), base).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["base_model"] == {
        "fingerprint": base.fingerprint,
        "repo_id": "embedded",
        "revision": None,
    }
    assert torch.equal(
        read_artifact(tmp_path).parameters["encoder.0.norm.weight"], base.state_dict()["encoder.0.norm.weight"]
    )
    assert MetaStyle.from_pretrained(tmp_path).base is base
