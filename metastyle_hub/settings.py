"""Settings written once: a frozen dataclass field that carries its own help text, range and choices.

The command line makes its options from these fields, the Space its sliders, `config.json` its keys.

    @dataclass(frozen=True)
    class AdaptationConfig(Settings):
        steps: int = setting(100, "gradient steps", low=0, high=1000)
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, Self, get_type_hints

from metastyle_hub.errors import SettingError

__all__ = ["Settings", "add_arguments", "from_arguments", "setting"]

log = logging.getLogger(__name__)


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
    multiple: int | None = None,
) -> Any:
    """A dataclass field with its meaning (unit, source of the default) and the values it may take."""
    values = {"low": low, "high": high, "choices": choices, "multiple": multiple}
    return dataclasses.field(default=default, metadata={"help": help, **values})


class Settings:
    """Mixin of frozen dataclasses whose fields are made by `setting`: checks ranges, reads and writes JSON."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value, meta, nested = getattr(self, f.name), f.metadata, f.default_factory
            if isinstance(nested, type) and issubclass(nested, Settings):
                self._nest(f.name, nested, value)
                continue
            if (choices := meta.get("choices")) and value not in choices:
                raise SettingError(f"{f.name} must be one of {', '.join(map(str, choices))}, got {value!r}.")
            if isinstance(f.default, bool) and not isinstance(value, bool):
                raise SettingError(f"{f.name} must be true or false, got {value!r}.")
            low, high = meta.get("low"), meta.get("high")
            if low is None and high is None:
                continue
            # numpy's numbers are numbers; a bool is one to Python only
            number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
            if isinstance(f.default, int) and number:
                number = float(value).is_integer()
            if not number or (low is not None and value < low) or (high is not None and value > high):
                kind = "a whole number" if isinstance(f.default, int) else "a number"
                bounds = f">= {low:g}" if high is None else f"from {low if low is not None else '-inf'} to {high:g}"
                raise SettingError(f"{f.name} must be {kind} {bounds}, got {value!r}.")
            if (multiple := meta.get("multiple")) and value % multiple:
                raise SettingError(f"{f.name} must be a multiple of {multiple}, got {value!r}.")
            # what follows counts and indexes with it, and JSON writes it: a 7.0 or numpy's 7 becomes 7
            object.__setattr__(self, f.name, int(value) if isinstance(f.default, int) else float(value))

    def _nest(self, name: str, cls: type[Settings], value: object) -> None:
        """Settings within settings: as JSON and `to_dict` have them, a dict, they become what they stand for."""
        if isinstance(value, Mapping):
            object.__setattr__(self, name, cls.from_dict(value))
        elif not isinstance(value, cls):
            raise SettingError(f"{name} must be {cls.__name__}(...) or a dict of its settings, got {value!r}.")

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-able values, nested settings included."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The settings from JSON: unknown keys warn, missing keys take their defaults.

        Raises:
            SettingError: a value out of range.
        """
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for key in values:
            if key not in known:
                log.warning("%s ignores the unknown setting %r.", cls.__name__, key)
        return cls(**{key: value for key, value in values.items() if key in known})


def add_arguments(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, cls: type, names: Iterable[str] | None = None
) -> None:
    """One `--option` for every field of a settings class (or for those named), with its help, type and default."""
    hints = get_type_hints(cls)
    for f in dataclasses.fields(cls):
        if (names is not None and f.name not in names) or "help" not in f.metadata:
            continue
        option = "--" + f.name.replace("_", "-")
        low, high = f.metadata["low"], f.metadata["high"]
        bounds = "" if low is None or high is None else f", {low:g} to {high:g}"
        text = f"{f.metadata['help']} (default {f.default}{bounds})".replace("%", "%%")
        if hints[f.name] is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            kind = next((t for t in (int, float, str) if hints[f.name] in (t, t | None)), str)
            parser.add_argument(
                option, type=kind, default=None, help=text, choices=f.metadata["choices"], metavar=_metavar(f)
            )


def from_arguments(cls: type, arguments: argparse.Namespace, **overrides: Any) -> Any:
    """The settings that options made by `add_arguments` ask for; options not given keep the field's default."""
    given = {
        f.name: value
        for f in dataclasses.fields(cls)
        if (value := getattr(arguments, f.name, None)) is not None and "help" in f.metadata
    }
    return cls(**given | overrides)


def _metavar(f: dataclasses.Field[Any]) -> str | None:
    if f.metadata["choices"]:
        return None
    return "N" if isinstance(f.default, int) else "X" if isinstance(f.default, float) else "TEXT"
