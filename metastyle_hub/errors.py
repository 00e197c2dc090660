"""The errors that a user can cause: one sentence each, what was wrong with which value, and the way out."""

__all__ = ["ImageError", "MetaStyleError", "SettingError", "capital", "first_line"]


class MetaStyleError(Exception):
    """Base of every error that comes from the input or the machine of a user, not from a bug."""


class ImageError(MetaStyleError, ValueError):
    """An image, or a tensor standing for one, cannot be used."""


class SettingError(MetaStyleError, ValueError):
    """A setting, an option or an argument has a value that it cannot have."""


def first_line(said: object) -> str:
    """The first line of what an exception or a server said, without its full stop; an exception's name if nothing.

    >>> first_line(TimeoutError())
    'TimeoutError'
    """
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(said).__name__ if isinstance(said, BaseException) else ""


def capital(text: str) -> str:
    """The text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]
