"""Checked configuration: frozen dataclasses whose fields carry help text, range and choices.

A default is written once, here. The command line makes its options from these fields, the app its sliders,
`config.json` its keys.

    @dataclass(frozen=True)
    class AdaptationConfig(Config):
        steps: int = option(100, "gradient steps", low=0, high=1000)
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import logging
import math
import numbers
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from metastyle_hub.errors import SettingError

__all__ = ["Config", "add_arguments", "expanded", "from_arguments", "option"]

log = logging.getLogger(__name__)


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
    multiple: int | None = None,
    advanced: bool = False,
) -> Any:
    """Declare a dataclass field with its meaning and its allowed values.

    Args:
        default: the default value; its type is the type of the option.
        help: unit, meaning and source, as `--help` shows them.
        low: smallest value.
        high: largest value.
        choices: all allowed values.
        multiple: the value must be a multiple of this.
        advanced: whether `--help` leaves the option out and only `--help-all` shows it.
    """
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "multiple": multiple, "advanced": advanced}
    return dataclasses.field(default=default, metadata=metadata)


class Config:
    """Mixin for frozen dataclasses made of `option` fields: checks values, reads and writes JSON."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value, nested = getattr(self, f.name), f.default_factory
            if isinstance(nested, type) and issubclass(nested, Config):
                self._check_nested(f.name, nested, value)
            elif f.metadata:
                object.__setattr__(self, f.name, _checked(f, hints[f.name], value))
            else:
                _check_type(f.name, hints[f.name], value)

    def _check_nested(self, name: str, cls: type[Config], value: object) -> None:
        """Accept a nested config also as the dictionary that `to_dict` and JSON give."""
        if isinstance(value, Mapping):
            object.__setattr__(self, name, cls.from_dict(value))
        elif not isinstance(value, cls):
            raise SettingError(f"{name} must be {cls.__name__}(...) or a dict of its settings, got {value!r}.")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises:
            SettingError: for an unknown field, with the nearest known one, or a value out of range.

        >>> TilingConfig().replace(tile=512).tile
        512
        """
        known = [f.name for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        for name in changes.keys() - set(known):
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise SettingError(f"{type(self).__name__} has no setting {name!r}; {hint}")
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as values that JSON can hold, nested configs included."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the config from JSON values. Unknown keys warn, missing keys take their defaults.

        Raises:
            SettingError: for a value out of range.
        """
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for key in values:
            if key not in known:
                log.warning("%s ignores the unknown setting %r.", cls.__name__, key)
        return cls(**{key: value for key, value in values.items() if key in known})


def _check_type(name: str, hint: Any, value: Any) -> None:
    """Check a field without `option` against its annotation, a class or a union of classes."""
    kinds = [get_origin(kind) or kind for kind in (get_args(hint) if isinstance(hint, UnionType) else (hint,))]
    if not isinstance(value, tuple(kinds)):
        raise SettingError(f"{name} must be {getattr(hint, '__name__', hint)}, got {value!r}.")


def _checked(f: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    """Return the value in the type of the field, or raise a SettingError. None is allowed where it is the default."""
    if value is None and f.default is None:
        return None
    low, high, choices, multiple = (f.metadata[key] for key in ("low", "high", "choices", "multiple"))
    if choices:
        if value not in choices:
            raise SettingError(f"{f.name} must be one of {', '.join(map(str, choices))}, got {value!r}.")
        return value
    if isinstance(f.default, bool):
        if not isinstance(value, bool):
            raise SettingError(f"{f.name} must be true or false, got {value!r}.")
        return value
    if low is None and high is None:
        return value
    whole = hint in (int, int | None)
    # NumPy numbers are numbers; a bool is one to Python only
    number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if number and whole:
        number = float(value).is_integer()
    if not number or (low is not None and value < low) or (high is not None and value > high):
        kind = "a whole number" if whole else "a number"
        bounds = f">= {low:g}" if high is None else f"from {low if low is not None else '-inf'} to {high:g}"
        raise SettingError(f"{f.name} must be {kind} {bounds}, got {value!r}.")
    if multiple and value % multiple:
        raise SettingError(f"{f.name} must be a multiple of {multiple}, got {value!r}.")
    # later code counts and indexes with it, and JSON writes it: 7.0 and NumPy's 7 become 7
    return int(value) if whole else float(value)


def add_arguments(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    cls: type,
    names: Iterable[str] | None = None,
    *,
    advanced: bool = True,
) -> None:
    """Add one `--option` for every field of a config class.

    Args:
        parser: a parser or a group of one.
        cls: the config class.
        names: only these fields; None for all.
        advanced: whether the help shows the advanced options too.
    """
    hints = get_type_hints(cls)
    for f in dataclasses.fields(cls):
        if (names is not None and f.name not in names) or "help" not in f.metadata:
            continue
        flag = "--" + f.name.replace("_", "-")
        low, high, choices = (f.metadata[key] for key in ("low", "high", "choices"))
        bounds = "" if low is None or high is None else f", {low:g} to {high:g}"
        default = "" if f.default is None else f" (default {f.default}{bounds})"
        text = f"{f.metadata['help']}{default}".replace("%", "%%")
        if f.metadata["advanced"] and not advanced:
            text = argparse.SUPPRESS
        if hints[f.name] is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            kind = next((t for t in (int, float, str) if hints[f.name] in (t, t | None)), str)
            metavar = None if choices else {int: "N", float: "X"}.get(kind, "TEXT")
            parser.add_argument(flag, type=kind, default=None, help=text, choices=choices, metavar=metavar)


def from_arguments(cls: type, arguments: argparse.Namespace, preset: Any = None, **overrides: Any) -> Any:
    """Build a config from options that `add_arguments` made.

    Options that were not given keep the values of `preset`, a config of that class, or their defaults.
    """
    given = {
        f.name: value
        for f in dataclasses.fields(cls)
        if (value := getattr(arguments, f.name, None)) is not None and "help" in f.metadata
    }
    return cls(**given | overrides) if preset is None else dataclasses.replace(preset, **given | overrides)


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` and `~user` expanded; a name that starts with ~ and is no user's stays.

    >>> expanded("~/starry") == Path.home() / "starry"
    True
    """
    return Path(os.path.expanduser(os.fsdecode(path)))  # noqa: PTH111  # Path.expanduser raises for unknown users
