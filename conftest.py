"""What the examples in the docstrings find: images, a video, a Hub with three styles, and tensors of these names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_IMAGES = ("photo.jpg", "starry_night.jpg", "photos/beach.jpg", "photos/old/harbor.png", "a.jpg", "b.jpg")


@dataclass(frozen=True)
class Examples:
    """A folder to be in, a Hub to talk to, and names that examples use without an import."""

    folder: Path
    hub: Any
    names: dict[str, Any]


@pytest.fixture(autouse=True)
def docstring_examples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docstrings alone have the files and names; tests make their own."""
    if isinstance(request.node, pytest.DoctestItem):
        import hub_fixtures

        examples: Examples = request.getfixturevalue("examples")
        monkeypatch.chdir(examples.folder)
        hub_fixtures.use_hub(monkeypatch, examples.hub, examples.folder / "cache")
        request.getfixturevalue("doctest_namespace").update(examples.names)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    """Write the files and fill the Hub, once."""
    import hub_fixtures
    import numpy as np
    import tiny
    import torch
    import videos
    from hub_server import LocalHub
    from PIL import Image

    from metastyle_hub import MetaStyle
    from metastyle_hub.data.content import content_dataset
    from metastyle_hub.networks.feature_extractor import load_feature_extractor
    from metastyle_hub.networks.transformer_net import TransformerNet
    from metastyle_hub.tiling import TilingConfig
    from metastyle_hub.video.reader import open_video

    folder = tmp_path_factory.mktemp("examples")
    for seed, name in enumerate(_IMAGES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tiny.image(tiny.content(48, 64, seed)).save(folder / name, quality=95)
    Image.new("RGBA", (64, 48)).save(folder / "logo.png")
    videos.write_video(folder / "walk.mp4", [tiny.content(48, 64, seed) for seed in range(12)])
    with LocalHub() as hub:
        with pytest.MonkeyPatch.context() as patch:
            hub_fixtures.use_hub(patch, hub, folder / "cache")
            MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, name="tiny base").push_to_hub("me/base")
            base = MetaStyle.from_pretrained("me/base")
            styles = {
                n: hub_fixtures.make_style(base, seed, name=n) for seed, n in enumerate(("starry", "wave", "glass"))
            }
            for name, style in styles.items():
                style.push_to_hub(f"me/{name}")
            styles["starry"].save_pretrained(folder / "starry")
            styles["starry"].push_to_hub("me/starry", revision="v1")
        names = {
            "MetaStyle": MetaStyle, "Path": Path, "Image": Image, "TilingConfig": TilingConfig, "np": np,
            "TransformerNet": TransformerNet, "content_dataset": content_dataset, "open_video": open_video,
            "torch": torch, "load_feature_extractor": load_feature_extractor, "base": base,
            "style": styles["starry"], **styles, "content": tiny.tensor(tiny.content(64, 64)),
            "style_image": tiny.tensor(tiny.style(64, 64)),
            "stylized": tiny.tensor(tiny.style(64, 64, seed=1)), "image": tiny.image(tiny.content()),
        }  # fmt: skip
        yield Examples(folder, hub, names)
