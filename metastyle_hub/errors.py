"""The errors that a user can cause: one sentence each, what was wrong with which value, and the way out."""


class MetaStyleError(Exception):
    """Base of every error that comes from the input or the machine of a user, not from a bug."""


class ImageError(MetaStyleError, ValueError):
    """An image, or a tensor standing for one, cannot be used."""
