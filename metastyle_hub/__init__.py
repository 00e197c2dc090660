"""metastyle_hub: adapt, interpolate and share artistic styles.

    from metastyle_hub import MetaStyle, interpolate

    style = MetaStyle.from_pretrained().adapt("starry_night.jpg", steps=100)
    style.stylize("photo.jpg").save("out.png")

The package, bottom up:

    errors, config, devices    error classes, checked dataclasses, placement
    images/                    files and PIL images to tensors and back
    networks/                  the image transformation network, feature extractors, the style predictor
    losses, data/              the perceptual loss; datasets and crops
    adaptation                 the inner loop: gradient steps to one style
    stylization, tiling        images through the network, of any size
    interpolation              convex combinations of styles
    artifacts/, hub/           config.json + model.safetensors; the Hugging Face Hub
    video/                     videos and animations
    model                      MetaStyle, which joins all of the above
    training/                  the outer loop: meta-training of a base
    export/                    ONNX graphs, for the browser and other runtimes
    baselines/                 other methods of the paper's Table 1
    cli/, app/                 the `metastyle` command; the Gradio app
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from metastyle_hub.version import __version__

if TYPE_CHECKING:
    from metastyle_hub.adaptation import AdaptationConfig
    from metastyle_hub.errors import (
        AdaptationError,
        ArtifactError,
        DeviceError,
        ExportError,
        FeatureExtractorError,
        HubError,
        ImageError,
        InterpolationError,
        MetaStyleError,
        SettingError,
        VideoError,
    )
    from metastyle_hub.hub.search import HubStyle, list_styles
    from metastyle_hub.losses import LossWeights
    from metastyle_hub.model import MetaStyle, StyleStep, interpolate
    from metastyle_hub.video.stylize import VideoConfig

__all__ = [
    "AdaptationConfig",
    "AdaptationError",
    "ArtifactError",
    "DeviceError",
    "ExportError",
    "FeatureExtractorError",
    "HubError",
    "HubStyle",
    "ImageError",
    "InterpolationError",
    "LossWeights",
    "MetaStyle",
    "MetaStyleError",
    "SettingError",
    "StyleStep",
    "VideoConfig",
    "VideoError",
    "__version__",
    "interpolate",
    "list_styles",
]

_MODULES = {
    "AdaptationConfig": "adaptation",
    "HubStyle": "hub.search",
    "LossWeights": "losses",
    "MetaStyle": "model",
    "StyleStep": "model",
    "VideoConfig": "video.stylize",
    "interpolate": "model",
    "list_styles": "hub.search",
}


def __getattr__(name: str) -> Any:
    # names are imported on first use: `metastyle --version` does not need torch
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
