"""A setting is written once: its default, range and help must be the same in Python, JSON and on the command line."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import FrozenInstanceError, dataclass, field, fields

import numpy as np
import pytest

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.errors import MetaStyleError
from metastyle_hub.losses import LossWeights
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.networks.transformer_net import NetworkConfig
from metastyle_hub.config import Config, add_arguments, from_arguments, setting

ALL = [AdaptationConfig, LossWeights, MetaTrainingConfig, NetworkConfig]


@dataclass(frozen=True)
class Brush(Config):
    hairs: int = setting(100, "how many", low=1, high=1000)
    pressure: float = setting(0.5, "100 % is too much", low=0, high=1)
    kind: str = setting("round", "shape", choices=("round", "flat"))
    wet: bool = setting(True, "in water")
    weights: LossWeights = field(default_factory=LossWeights)


def parse(cls: type, *arguments: str, **overrides: object) -> object:
    parser = argparse.ArgumentParser()
    add_arguments(parser, cls)
    return from_arguments(cls, parser.parse_args(arguments), **overrides)


@pytest.mark.parametrize("cls", [*ALL, Brush])
def test_settings_survive_json(cls):
    made = cls()
    assert cls.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize("cls", [*ALL, Brush])
def test_the_command_line_s_defaults_are_the_class_s(cls):
    assert parse(cls) == cls()


@pytest.mark.parametrize("cls", ALL)
def test_every_setting_says_what_it_means_and_its_default_is_in_range(cls):
    for f in fields(cls):
        if isinstance(f.default, int | float | str):
            assert len(f.metadata["help"]) > 10, f.name
    cls()


@pytest.mark.parametrize("cls", [*ALL, Brush])
def test_settings_are_frozen(cls):
    made = cls()
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(cls)[0].name, 1)


def test_options_set_settings():
    made = parse(Brush, "--hairs", "7", "--pressure", "0.25", "--kind", "flat", "--no-wet")
    assert made == Brush(7, 0.25, "flat", False)
    assert parse(Brush, "--hairs", "7", weights=LossWeights(style_weight=3)) == Brush(
        7, weights=LossWeights(style_weight=3)
    )


def test_an_option_out_of_range_is_refused_like_a_value_out_of_range():
    with pytest.raises(ValueError, match=r"^hairs must be a whole number from 1 to 1000, got 0\.$"):
        parse(Brush, "--hairs", "0")
    with pytest.raises(ValueError, match=r"^hairs must be a whole number from 1 to 1000, got 0\.$"):
        Brush(hairs=0)
    with pytest.raises(ValueError, match=r"^hairs must be a whole number from 1 to 1000, got 0\.$"):
        Brush.from_dict({"hairs": 0})


@pytest.mark.parametrize("value", [0, 1001, 2.5, "7", None, True, float("nan"), [7]])
def test_whole_numbers_are_whole_and_in_range(value):
    with pytest.raises(ValueError, match=r"^hairs must be a whole number from 1 to 1000, got "):
        Brush(hairs=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.5", None, False, float("nan"), float("inf")])
def test_numbers_are_numbers_and_in_range(value):
    with pytest.raises(ValueError, match=r"^pressure must be a number from 0 to 1, got "):
        Brush(pressure=value)


@pytest.mark.parametrize("value", [7, 7.0, np.int64(7), np.uint8(7), np.float32(7)])
def test_a_whole_number_in_any_form_is_an_int_afterwards(value):
    made = Brush(hairs=value)
    assert type(made.hairs) is int and made == Brush(hairs=7)
    assert json.loads(json.dumps(made.to_dict()))["hairs"] == 7


def test_a_number_in_any_form_is_a_float_afterwards():
    for value in (1, np.float32(1), np.int64(1)):
        assert type(Brush(pressure=value).pressure) is float


@pytest.mark.parametrize("value", ["false", 0, None])
def test_a_switch_is_on_or_off(value):
    with pytest.raises(ValueError, match=r"^wet must be true or false, got "):
        Brush(wet=value)


def test_a_wrong_setting_is_an_error_of_the_user():
    for wrong in ({"hairs": 0}, {"kind": "square"}, {"wet": "no"}):
        with pytest.raises(MetaStyleError):
            Brush(**wrong)


def test_choices_are_listed():
    with pytest.raises(ValueError, match=r"^kind must be one of round, flat, got 'square'\.$"):
        Brush(kind="square")


def test_help_tells_default_and_range(capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser, Brush)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "how many (default 100, 1 to 1000)" in text
    assert "100 % is too much (default 0.5, 0 to 1)" in text
    assert "{round,flat}" in text and "--no-wet" in text


def test_options_can_be_a_part_of_the_settings():
    parser = argparse.ArgumentParser()
    add_arguments(parser, Brush, ("hairs",))
    assert from_arguments(Brush, parser.parse_args(["--hairs", "3"])) == Brush(3)
    with pytest.raises(SystemExit):
        parser.parse_args(["--pressure", "0.1"])


def test_unknown_keys_warn_also_inside(caplog):
    with caplog.at_level(logging.WARNING):
        made = Brush.from_dict({"hairs": 5, "colour": "red", "weights": {"style_weight": 2, "shine": 1}})
    assert made == Brush(5, weights=LossWeights(style_weight=2))
    assert "'colour'" in caplog.text and "'shine'" in caplog.text


def test_settings_within_settings_may_be_a_dict():
    made = Brush(weights={"style_weight": 2})
    assert made == Brush(weights=LossWeights(style_weight=2)) == Brush(**made.to_dict())
    assert AdaptationConfig(**AdaptationConfig(steps=3).to_dict()) == AdaptationConfig(steps=3)
    for wrong in (3, None, "strong", NetworkConfig()):
        with pytest.raises(
            MetaStyleError, match=r"^weights must be LossWeights\(\.\.\.\) or a dict of its settings, got "
        ):
            Brush(weights=wrong)
        with pytest.raises(MetaStyleError, match=r"^weights must be LossWeights"):
            Brush.from_dict({"weights": wrong})
