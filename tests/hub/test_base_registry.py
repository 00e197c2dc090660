"""Which base a style stands on: found where it says, never another one, and never in a circle."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from hub_fixtures import forget, make_style, photo
from hub_server import LocalHub

from metastyle_hub import MetaStyle
from metastyle_hub.artifacts.config import ArtifactConfig, ArtifactError, BaseReference
from metastyle_hub.artifacts.serialization import read_artifact
from metastyle_hub.hub.download import DownloadOptions, Snapshot
from metastyle_hub.hub.base_registry import Bases
from metastyle_hub.networks.param_groups import TRAINABLE


def embedded(fingerprint: str) -> ArtifactConfig:
    """The configuration of a style of a base that some version of the package shipped."""
    return ArtifactConfig("style", tiny.NETWORK, library_version="0.0.9", base_model=BaseReference(fingerprint))


def test_styles_of_a_base_that_the_package_no_longer_ships_find_it_in_its_repo(hub: LocalHub, base: MetaStyle) -> None:
    commit = base.push_to_hub("me/old-base").oid
    MetaStyle.from_parameters(tiny.parameters(9), tiny.NETWORK).push_to_hub("me/old-base")  # the repo moves on
    bases: Bases[MetaStyle] = Bases(
        lambda artifact, origin: MetaStyle(artifact.config, artifact.parameters, None, origin),
        former={base.fingerprint: ("me/old-base", commit)},
    )
    found = bases.of_style(embedded(base.fingerprint), Snapshot(Path("starry")), DownloadOptions())
    assert found.fingerprint == base.fingerprint and found.origin is not None and found.origin.commit == commit
    with pytest.raises(ArtifactError, match=r"needs the base 0{12} of another version of metastyle_hub \(0\.0\.9\)"):
        bases.of_style(embedded("0" * 64), Snapshot(Path("starry")), DownloadOptions())


@pytest.mark.parametrize("parameters", TRAINABLE)
def test_a_style_that_calls_itself_its_base_is_refused(base: MetaStyle, parameters: str, tmp_path: Path) -> None:
    style = make_style(base, 1, parameters)
    reference = BaseReference("0" * 64, str(tmp_path / "starry"))
    MetaStyle(replace(style.config, base_model=reference), style.state_dict(), base).save_pretrained(tmp_path / "starry")
    with pytest.raises(ArtifactError, match="is a style; load the base first"):
        MetaStyle.from_pretrained(tmp_path / "starry")


def test_two_repos_that_call_each_other_their_base_are_refused(hub: LocalHub, base: MetaStyle) -> None:
    style = make_style(base, 1)
    for repo, other in (("me/a", "me/b"), ("me/b", "me/a")):
        config = replace(style.config, base_model=BaseReference("0" * 64, other, "main"))
        hub.add(repo, MetaStyle(config, style.state_dict(), base)._files())
    with pytest.raises(ArtifactError, match="is a style; load the base first"):
        MetaStyle.from_pretrained("me/a")


def test_pushing_a_style_that_nobody_else_can_load_warns(
    hub: LocalHub, base: MetaStyle, caplog: pytest.LogCaptureFixture
) -> None:
    make_style(base, 1, name="Starry").push_to_hub("me/starry")
    assert "The base of Starry is not on the Hub" in caplog.text and "push the base first" in caplog.text
    caplog.clear()
    base.push_to_hub("me/base")
    make_style(MetaStyle.from_pretrained("me/base"), 1).push_to_hub("me/wave")
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    forget()
    assert MetaStyle.from_pretrained("me/wave").stylize(photo()).shape == photo().shape


def test_a_style_of_the_package_s_base_names_it_by_fingerprint_alone(tmp_path: Path) -> None:
    base = MetaStyle.from_pretrained()
    config = ArtifactConfig("style", base.config.architecture, base_model=base._reference, trainable="norm")
    MetaStyle(config, base.state_dict(), base).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["base_model"] == {
        "fingerprint": base.fingerprint,
        "repo_id": "embedded",
        "revision": None,
    }
    assert torch.equal(read_artifact(tmp_path).parameters["down.0.norm.scale"], base.state_dict()["down.0.norm.scale"])
    assert MetaStyle.from_pretrained(tmp_path).base is base
