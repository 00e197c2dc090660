"""What the tests of the scripts share: folders of tiny images, two tiny bases, VGG-19 with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from safetensors.torch import save_file

from metastyle_hub.images.io import save_image
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with content/, style/, base_0/, base_1/ and vgg.safetensors."""
    folder = tmp_path_factory.mktemp("inputs")
    for i in range(3):
        save_image(tiny.image(tiny.content(72, 96, i)), folder / "content" / f"content_{i}.png")
        save_image(tiny.image(tiny.style(96, 72, i)), folder / "style" / f"style_{i}.png")
    for seed in (0, 1):
        MetaStyle.from_parameters(tiny.parameters(seed), tiny.NETWORK).save_pretrained(folder / f"base_{seed}")
    weights = FeatureExtractor(SPECS["vgg19_oxford"]).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "vgg.safetensors")
    return folder


@pytest.fixture(scope="session")
def images(inputs: Path) -> list[str]:
    """The options that name the folders of images."""
    return ["--content", str(inputs / "content"), "--style", str(inputs / "style")]
