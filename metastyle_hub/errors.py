"""Every error that input, settings or the machine can cause. Each message is one sentence: value, cause, remedy."""

__all__ = [
    "AdaptationError",
    "AppError",
    "ArtifactError",
    "DeviceError",
    "ExportError",
    "FeatureExtractorError",
    "HubError",
    "ImageError",
    "InterpolationError",
    "MetaStyleError",
    "SessionError",
    "SettingError",
    "VideoError",
    "capitalized",
    "first_line",
]


class MetaStyleError(Exception):
    """Base class of all errors below. Anything else that escapes from the library is a bug."""


class ImageError(MetaStyleError, ValueError):
    """An image, or a tensor that stands for one, cannot be used."""


class SettingError(MetaStyleError, ValueError):
    """A setting or an argument has a wrong value, a wrong type or an unknown name."""


class DeviceError(MetaStyleError, ValueError):
    """The device does not exist, lacks memory or an operation, or the dtype is not supported."""


class FeatureExtractorError(MetaStyleError, ValueError):
    """A feature extractor is unknown, or its weights are not available."""


class AdaptationError(MetaStyleError, ArithmeticError):
    """The loss of an adaptation is not finite."""


class InterpolationError(MetaStyleError, ValueError):
    """The weights are not a valid combination, or the styles do not share a base."""


class ArtifactError(MetaStyleError, ValueError):
    """A folder or repo does not hold a valid base or style."""


class HubError(MetaStyleError, OSError):
    """The Hugging Face Hub, the network or the local cache failed."""


class VideoError(MetaStyleError, ValueError):
    """A video cannot be read or written."""


class ExportError(MetaStyleError, ValueError):
    """A network cannot be written as ONNX, or what was written differs from PyTorch."""


class AppError(MetaStyleError, ValueError):
    """The Gradio app cannot be served."""


class SessionError(MetaStyleError, ValueError):
    """A visitor of the app asked for something that does not exist in the session."""


def first_line(message: object) -> str:
    """Return the first line of a message or an exception, without its full stop.

    An exception without a text gives the name of its class.

    >>> first_line(TimeoutError())
    'TimeoutError'
    """
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    if lines:
        return lines[0].rstrip(".:")
    return type(message).__name__ if isinstance(message, BaseException) else ""


def capitalized(text: str) -> str:
    """Return the text with a capital first letter, the rest unchanged.

    >>> capitalized("the image")
    'The image'
    """
    return text[:1].upper() + text[1:]
