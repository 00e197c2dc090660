"""metastyle_hub: adapt, mix and share artistic styles.

>>> from metastyle_hub import MetaStyle
>>> style = MetaStyle.from_pretrained().adapt("starry_night.jpg", steps=100)
>>> style.stylize("photo.jpg").save("out.png")
"""

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.errors import MetaStyleError
from metastyle_hub.hub import HubError, HubStyle, list_styles
from metastyle_hub.loss import LossWeights
from metastyle_hub.model import MetaStyle, StyleStep, interpolate
from metastyle_hub.version import __version__

__all__ = [
    "AdaptationConfig",
    "HubError",
    "HubStyle",
    "LossWeights",
    "MetaStyle",
    "MetaStyleError",
    "StyleStep",
    "__version__",
    "interpolate",
    "list_styles",
]
