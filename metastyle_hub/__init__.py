"""metastyle_hub: adapt, mix and share artistic styles.

>>> from metastyle_hub import MetaStyle
>>> style = MetaStyle.from_pretrained().adapt("starry_night.jpg", steps=100)
>>> style.stylize("photo.jpg").save("out.png")
"""

from metastyle_hub.adaptation import AdaptationConfig, AdaptationError
from metastyle_hub.artifacts.config import ArtifactError
from metastyle_hub.devices import DeviceError
from metastyle_hub.errors import ImageError, MetaStyleError, SettingError
from metastyle_hub.features import FeaturesError
from metastyle_hub.hub.reading import HubError, HubStyle, list_styles
from metastyle_hub.interpolation import InterpolationError
from metastyle_hub.loss import LossWeights
from metastyle_hub.model import MetaStyle, StyleStep, interpolate
from metastyle_hub.version import __version__
from metastyle_hub.video.painting import VideoConfig
from metastyle_hub.video.reading import VideoError

__all__ = [
    "AdaptationConfig",
    "AdaptationError",
    "ArtifactError",
    "DeviceError",
    "FeaturesError",
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
