"""Styles of one base interpolate to a style of that base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch

from metastyle_hub import MetaStyle, MetaStyleError, interpolate
from metastyle_hub.artifacts.config import BaseReference
from metastyle_hub.errors import ArtifactError, InterpolationError
from metastyle_hub.networks.param_groups import trainable_parameters


def test_interpolation_is_that_of_the_parameters(base, style, norm_style):
    mix = interpolate([style, norm_style, base], [0.5, 0.3, 0.2])
    for name, p in mix.state_dict().items():
        expected = 0.5 * style.state_dict()[name] + 0.3 * norm_style.state_dict()[name] + 0.2 * base.state_dict()[name]
        torch.testing.assert_close(p, expected)
    assert mix.base.fingerprint == base.fingerprint
    assert [part["weight"] for part in mix.config.mix] == [0.5, 0.3, 0.2]
    assert [part["name"] for part in mix.config.mix] == ["style", "style", "tiny"]
    assert mix.config.steps is None


def test_weights_1_and_0_give_the_first_style_bit_for_bit(style, norm_style):
    contents = tiny.contents(1)
    assert torch.equal(interpolate([style, norm_style], [1, 0]).stylize(contents), style.stylize(contents))
    assert torch.equal(interpolate([style, norm_style], [0, 1]).stylize(contents), norm_style.stylize(contents))
    assert interpolate([style, norm_style], [1, 0]) == style


def test_without_weights_all_styles_count_alike(base, style, norm_style):
    assert interpolate([style, norm_style]) == interpolate([style, norm_style], [0.5, 0.5])
    thirds = interpolate((style, norm_style, base))
    assert [part["weight"] for part in thirds.config.mix] == [1 / 3] * 3
    assert interpolate([style]) == style


def test_styles_may_be_given_by_their_folder(base, style, norm_style, tmp_path):
    loaded = MetaStyle.from_pretrained(base.save_pretrained(tmp_path / "base"))
    first, second = (loaded.load_style(made.save_pretrained(tmp_path / "made")) for made in (style, norm_style))
    folders = [first.save_pretrained(tmp_path / "first"), second.save_pretrained(tmp_path / "second")]
    expected = interpolate([style, norm_style], [0.3, 0.7])
    for styles in (folders, [str(folder) for folder in folders], [first, folders[1]], [folders[0], second]):
        assert interpolate(styles, [0.3, 0.7]) == expected
    with pytest.raises(ArtifactError) as error:
        interpolate([style, tmp_path / "none"])
    assert "none" in str(error.value)


def test_an_interpolation_owns_what_the_largest_of_its_styles_owns(base, norm_style, decoder_style, style):
    for styles, group in (([norm_style, decoder_style], "decoder"), ([decoder_style, style], "all")):
        mix = interpolate([*styles, base], [0.4, 0.4, 0.2])
        assert mix.config.trainable == group
        own = trainable_parameters(base.state_dict(), group)
        assert mix.num_parameters(only_own=True) == sum(p.numel() for p in own.values())
        assert all((p is base.state_dict()[name]) == (name not in own) for name, p in mix.state_dict().items())


def test_an_interpolation_of_norm_styles_is_a_norm_style(base, norm_style, tmp_path):
    other = base.adapt(tiny.style(seed=4), config=tiny.QUICK, trainable="norm", progress=False)
    mix = interpolate([norm_style, other, base], [0.4, 0.4, 0.2])
    assert mix.config.trainable == "norm"
    mix.save_pretrained(tmp_path)
    assert tiny.same(base.load_style(tmp_path).state_dict(), mix.state_dict())


def test_an_interpolation_can_be_adapted_and_interpolated_further(base, style, norm_style):
    mix = interpolate([style, norm_style])
    assert interpolate([mix, base], [1, 0]) == mix
    further = mix.adapt(tiny.style(), config=tiny.QUICK, progress=False)
    assert further.config.steps == 2 and further.base is base


def test_an_interpolation_records_base_and_feature_extractor_if_one_of_its_styles_does(base, norm_style):
    known = replace(
        norm_style.config, feature_extractor="vgg16", base_model=BaseReference(base.fingerprint, "me/base", "abc")
    )
    shared = MetaStyle(known, norm_style.state_dict(), base)
    for styles in ([base, shared], [shared, base]):  # the base was made here and has no origin
        mix = interpolate(styles, [0.5, 0.5])
        assert mix.config.base_model == known.base_model and mix.config.feature_extractor == "vgg16"


def test_the_name_of_an_interpolation_of_interpolations_stays_short(style, norm_style):
    mix = interpolate([style, norm_style], [0.5, 0.5])
    assert mix.name == "50% style + 50% style"
    for _ in range(22):
        mix = interpolate([mix, interpolate([mix, style], [0.5, 0.5])], [0.5, 0.5])
    assert len(mix.name) <= 80 and mix.name.startswith("50% 50% ") and mix.name.endswith("…")
    assert len(mix.config.to_json()) < 5000


def test_styles_of_different_bases_are_refused(style):
    other = MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK)
    with pytest.raises(InterpolationError) as error:
        interpolate([style, other.adapt(tiny.style(), config=tiny.QUICK, steps=0, progress=False)], [0.5, 0.5])
    assert style.base.fingerprint[:12] in str(error.value) and other.fingerprint[:12] in str(error.value)


@pytest.mark.parametrize("weights", [[0.5, 0.6], [1], [-1, 2], 0.5, "ab", ["a", "b"], [float("nan"), 1]])
def test_weights_that_are_not_convex_are_refused(style, weights):
    with pytest.raises(MetaStyleError) as error:
        interpolate([style, style], weights)
    assert isinstance(error.value, InterpolationError) and "\n" not in str(error.value)


@pytest.mark.parametrize("styles", [[], (), "me/wave", Path("wave")])
def test_no_list_of_styles_is_refused(styles):
    with pytest.raises(InterpolationError):
        interpolate(styles)


def test_one_style_alone_is_no_list(style):
    with pytest.raises(InterpolationError):
        interpolate(style)
