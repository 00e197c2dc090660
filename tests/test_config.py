"""An option is written once: its default, range and help are the same in Python, JSON and on the command line."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import FrozenInstanceError, dataclass, field, fields

import numpy as np
import pytest

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.config import Config, add_arguments, from_arguments, option
from metastyle_hub.data.datasets import CropConfig
from metastyle_hub.errors import MetaStyleError, SettingError
from metastyle_hub.losses import LossWeights
from metastyle_hub.networks.transformer_net import NetworkConfig
from metastyle_hub.tiling import TilingConfig
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.long_horizon import LongHorizonConfig

ALL = [AdaptationConfig, CropConfig, LongHorizonConfig, LossWeights, MetaTrainingConfig, NetworkConfig, TilingConfig]


@dataclass(frozen=True)
class Brush(Config):
    hairs: int = option(100, "how many", low=1, high=1000)
    pressure: float = option(0.5, "100 % is too much", low=0, high=1)
    kind: str = option("round", "shape", choices=("round", "flat"))
    wet: bool = option(True, "in water")
    width: int = option(8, "a multiple of 4", low=4, multiple=4, advanced=True)
    weights: LossWeights = field(default_factory=LossWeights)


def parse(cls: type, *arguments: str, **overrides: object) -> object:
    parser = argparse.ArgumentParser()
    add_arguments(parser, cls)
    return from_arguments(cls, parser.parse_args(arguments), **overrides)


def refused(**values: object) -> str:
    """The message of the refusal, which names the option and the value."""
    with pytest.raises(SettingError) as error:
        Brush(**values)
    sentence = str(error.value)
    ((name, value),) = values.items()
    assert sentence.startswith(f"{name} ") and repr(value) in sentence and "\n" not in sentence
    assert isinstance(error.value, MetaStyleError) and isinstance(error.value, ValueError)
    return sentence


@pytest.mark.parametrize("cls", [*ALL, Brush])
def test_configs_survive_json(cls):
    made = cls()
    assert cls.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize("cls", [*ALL, Brush])
def test_the_command_line_s_defaults_are_the_class_s(cls):
    assert parse(cls) == cls()


@pytest.mark.parametrize("cls", ALL)
def test_every_option_has_a_help_text_and_a_default_in_range(cls):
    for f in fields(cls):
        if isinstance(f.default, int | float | str):
            assert len(f.metadata["help"]) > 10, f.name
    cls()


@pytest.mark.parametrize("cls", [*ALL, Brush])
def test_configs_are_frozen(cls):
    made = cls()
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(cls)[0].name, 1)


def test_arguments_set_options():
    made = parse(Brush, "--hairs", "7", "--pressure", "0.25", "--kind", "flat", "--no-wet")
    assert made == Brush(7, 0.25, "flat", False)
    assert parse(Brush, "--hairs", "7", weights=LossWeights(style_weight=3)) == Brush(
        7, weights=LossWeights(style_weight=3)
    )


def test_an_argument_out_of_range_is_refused_like_a_value_out_of_range():
    sentence = refused(hairs=0)
    assert "1 to 1000" in sentence
    for make in (lambda: parse(Brush, "--hairs", "0"), lambda: Brush.from_dict({"hairs": 0})):
        with pytest.raises(SettingError) as error:
            make()
        assert str(error.value) == sentence


@pytest.mark.parametrize("value", [0, 1001, 2.5, "7", None, True, float("nan"), [7]])
def test_whole_numbers_are_whole_and_in_range(value):
    assert "1 to 1000" in refused(hairs=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.5", None, False, float("nan"), float("inf")])
def test_numbers_are_numbers_and_in_range(value):
    assert "0 to 1" in refused(pressure=value)


@pytest.mark.parametrize("value", [2, 6, 9])
def test_multiples_are_multiples(value):
    assert "4" in refused(width=value)
    assert Brush(width=12).width == 12


@pytest.mark.parametrize("value", [7, 7.0, np.int64(7), np.uint8(7), np.float32(7)])
def test_a_whole_number_of_any_type_becomes_an_int(value):
    made = Brush(hairs=value)
    assert type(made.hairs) is int and made == Brush(hairs=7)
    assert json.loads(json.dumps(made.to_dict()))["hairs"] == 7


def test_a_number_of_any_type_becomes_a_float():
    for value in (1, np.float32(1), np.int64(1)):
        assert type(Brush(pressure=value).pressure) is float


@pytest.mark.parametrize("value", ["false", 0, None])
def test_a_switch_is_true_or_false(value):
    refused(wet=value)


def test_choices_are_listed():
    assert "round, flat" in refused(kind="square")


def test_help_contains_default_and_range(capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser, Brush)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "how many (default 100, 1 to 1000)" in text
    assert "100 % is too much (default 0.5, 0 to 1)" in text
    assert "{round,flat}" in text and "--no-wet" in text and "--width" in text


def test_help_can_leave_out_advanced_options_which_are_accepted_all_the_same(capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser, Brush, advanced=False)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    text = capsys.readouterr().out
    assert "--hairs" in text and "--width" not in text
    assert from_arguments(Brush, parser.parse_args(["--width", "12"])) == Brush(width=12)


def test_arguments_can_be_a_part_of_the_options():
    parser = argparse.ArgumentParser()
    add_arguments(parser, Brush, ("hairs",))
    assert from_arguments(Brush, parser.parse_args(["--hairs", "3"])) == Brush(3)
    with pytest.raises(SystemExit):
        parser.parse_args(["--pressure", "0.1"])


def test_unknown_keys_warn_also_in_nested_configs(caplog):
    with caplog.at_level(logging.WARNING):
        made = Brush.from_dict({"hairs": 5, "color": "red", "weights": {"style_weight": 2, "shine": 1}})
    assert made == Brush(5, weights=LossWeights(style_weight=2))
    assert "'color'" in caplog.text and "'shine'" in caplog.text


def test_a_nested_config_may_be_a_dict():
    made = Brush(weights={"style_weight": 2})
    assert made == Brush(weights=LossWeights(style_weight=2)) == Brush(**made.to_dict())
    assert AdaptationConfig(**AdaptationConfig(steps=3).to_dict()) == AdaptationConfig(steps=3)
    for wrong in (3, None, "strong", NetworkConfig()):
        assert "LossWeights" in refused(weights=wrong)
        with pytest.raises(SettingError) as error:
            Brush.from_dict({"weights": wrong})
        assert "weights" in str(error.value) and "LossWeights" in str(error.value)


def test_replace_changes_a_copy_and_checks_values():
    made = Brush()
    assert made.replace(hairs=3, weights={"style_weight": 2}) == Brush(3, weights=LossWeights(style_weight=2))
    assert made == Brush() and made.replace() == made
    with pytest.raises(SettingError) as error:
        made.replace(hairs=0)
    assert "hairs" in str(error.value)


@pytest.mark.parametrize(("misspelled", "near"), [("hair", "hairs"), ("presure", "pressure"), ("weight", "weights")])
def test_an_unknown_name_is_answered_with_the_nearest_one(misspelled, near):
    with pytest.raises(SettingError) as error:
        Brush().replace(**{misspelled: 1})
    assert repr(misspelled) in str(error.value) and f"{near}?" in str(error.value)


def test_a_name_like_no_other_is_answered_with_all_names():
    with pytest.raises(SettingError) as error:
        Brush().replace(xyzzy=1)
    assert "'xyzzy'" in str(error.value) and all(f.name in str(error.value) for f in fields(Brush))
