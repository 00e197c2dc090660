"""Adaptation as users call it: images and options in, a new style out; the base stays unchanged."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import tiny
import torch

from metastyle_hub import AdaptationConfig, LossWeights, MetaStyle
from metastyle_hub.devices import training_dtype
from metastyle_hub.errors import FeatureExtractorError, ImageError, SettingError
from metastyle_hub.images.io import combined_sha256, image_sha256
from metastyle_hub.networks.param_groups import TRAINABLE

QUICK = tiny.QUICK


def adapt(base: MetaStyle, style_image: object = None, **options: object) -> MetaStyle:
    """A quick adaptation without a progress bar."""
    image = tiny.style() if style_image is None else style_image
    return base.adapt(image, **{"config": QUICK, "progress": False, **options})


def test_adaptation_gives_a_new_style_and_leaves_the_base_unchanged(base):
    before = {name: p.clone() for name, p in base.state_dict().items()}
    style = adapt(base)
    assert style is not base and style.base is base and not style.is_base and base.is_base
    assert tiny.same(base.state_dict(), before) and not tiny.same(style.state_dict(), before)
    assert style.config.steps == 2 and style.config.base_model.fingerprint == base.fingerprint
    assert style.config.adaptation == QUICK.to_dict()


def test_a_style_records_where_it_came_from(base, tmp_path):
    path = tmp_path / "great_wave.png"
    tiny.image(tiny.style()).save(path)
    from_file, from_array = adapt(base, path, steps=0), adapt(base, steps=0)
    assert from_file.name == "great_wave" and from_array.name == "style"
    assert from_file.config.style_sha256 == image_sha256(path)
    assert from_array.config.style_sha256 == image_sha256(tiny.style())
    other = adapt(base, tiny.style(seed=3), steps=0)
    assert other.config.style_sha256 != from_array.config.style_sha256


def test_a_name_may_be_given(base, tmp_path):
    path = tmp_path / "great_wave.png"
    tiny.image(tiny.style()).save(path)
    assert adapt(base, path, steps=0, name="Hokusai").name == "Hokusai"
    *_, last = base.adapt_iter(path, config=QUICK, name="Hokusai")
    assert last.style_model.name == last.style_model.config.name == "Hokusai"


def test_the_same_seed_gives_the_same_style(base, style):
    again = adapt(base)
    assert tiny.same(again.state_dict(), style.state_dict()) and again.fingerprint == style.fingerprint
    assert adapt(base, seed=1).fingerprint != style.fingerprint


def test_every_step_is_a_style(base, style):
    steps = list(base.adapt_iter(tiny.style(), config=QUICK))
    assert [s.index for s in steps] == [0, 1, 2] == [s.style_model.config.steps for s in steps]
    assert tiny.same(steps[0].style_model.state_dict(), base.state_dict())
    assert tiny.same(steps[-1].style_model.state_dict(), style.state_dict())
    assert all(tiny.same(s.parameters, s.style_model.state_dict()) for s in steps)
    images = [s.style_model.stylize(tiny.contents(1)) for s in steps]
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(images))
    w = QUICK.weights  # the total contains the tone and checkerboard losses as well, which lie in [0, 1]
    parts = [w.content_weight * s.content + w.style_weight * s.style for s in steps]
    more = w.tone_weight + w.checkerboard_weight
    assert all(p * 0.999 <= s.loss <= p * 1.001 + more for p, s in zip(parts, steps, strict=True))


def test_a_style_can_be_adapted_further_and_stays_a_style_of_the_base(base, style, norm_style):
    further = adapt(style, tiny.style(seed=2), steps=1)
    assert further.base is base and further.config.steps == 3
    assert further.config.trainable == "all"
    still_norm = adapt(norm_style, tiny.style(seed=2), trainable="norm")
    assert still_norm.config.trainable == "norm" and still_norm.config.base_model.fingerprint == base.fingerprint
    mixed = adapt(style, tiny.style(seed=2), trainable="norm")
    assert mixed.config.trainable == "all", "its convolutions are not the base's"
    assert adapt(norm_style, trainable="decoder").config.trainable == "decoder"


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (400, 8), (8, 400)])
def test_tiny_and_narrow_style_images_can_be_used(base, size):
    style = adapt(base, tiny.style(*size), steps=1)
    assert all(bool(torch.isfinite(p).all()) for p in style.state_dict().values())


def test_content_images_change_the_style(base, style):
    other = adapt(base, content_images=[tiny.content(100, 100, seed=5)])
    assert other.fingerprint != style.fingerprint


def test_weights_of_the_loss_change_the_style(base, style):
    heavy = adapt(base, weights=LossWeights(content_weight=50))
    assert heavy.fingerprint != style.fingerprint
    assert heavy.config.adaptation["weights"]["content_weight"] == 50


@pytest.mark.parametrize("trainable", TRAINABLE)
def test_trainable_names_the_parameters_that_a_style_owns(base, trainable):
    style = adapt(base, trainable=trainable)
    assert style.config.trainable == trainable
    changed = tiny.changed(style.state_dict(), base.state_dict())
    shared = {name for name, p in style.state_dict().items() if p is base.state_dict()[name]}
    assert changed == base.state_dict().keys() - shared


# --- several style images


def test_several_style_images_count_by_their_mean_gram_matrices(base, style):
    images = [tiny.style(seed=0), tiny.style(seed=4)]
    both = adapt(base, images)
    assert both.fingerprint == adapt(base, tuple(images)).fingerprint == adapt(base, images[::-1]).fingerprint
    assert both.fingerprint not in (style.fingerprint, adapt(base, images[1]).fingerprint)
    # the mean of a matrix with itself is the matrix
    assert adapt(base, [images[0]] * 2).fingerprint == style.fingerprint
    assert adapt(base, images[:1]) == style


def test_several_style_images_are_recorded_and_named_by_the_first(base, tmp_path):
    paths = [tmp_path / "wave.png", tmp_path / "sun.png"]
    for i, path in enumerate(paths):
        tiny.image(tiny.style(seed=i)).save(path)
    style = adapt(base, paths, steps=0)
    assert style.name == "wave"
    assert style.config.style_sha256 == combined_sha256([image_sha256(path) for path in paths])


# --- progress


def test_a_progress_bar_goes_to_stderr_and_can_be_turned_off(base, capsys):
    base.adapt(tiny.style(), config=QUICK, name="Starry")
    shown = capsys.readouterr()
    assert shown.out == "" and "Starry" in shown.err and "2/2" in shown.err and "loss" in shown.err
    base.adapt(tiny.style(), config=QUICK, progress=False)
    assert capsys.readouterr() == ("", "")
    list(base.adapt_iter(tiny.style(), config=QUICK))
    assert capsys.readouterr() == ("", "")


# --- options


def test_options_override_the_config(base):
    style = adapt(base, config=QUICK.replace(steps=1, seed=3), seed=4)
    assert style.config.adaptation == QUICK.replace(steps=1, seed=4).to_dict()


def test_the_recorded_precision_is_that_of_the_arithmetic(base):
    made = adapt(base, precision="auto", steps=1)
    used = str(training_dtype(base.device)).removeprefix("torch.")
    assert made.config.adaptation["precision"] == used
    again = adapt(base, config=AdaptationConfig.from_dict(made.config.adaptation))
    assert tiny.same(again.state_dict(), made.state_dict())


def test_the_settings_of_one_style_adapt_another(base, style):
    again = base.adapt(tiny.style(), progress=False, **style.config.adaptation)
    assert again.fingerprint == style.fingerprint and again.config == style.config
    assert AdaptationConfig(**style.config.adaptation) == QUICK


def test_options_are_checked_before_anything_is_read(base):
    with pytest.raises(SettingError) as error:
        base.adapt("missing.jpg", steps=-1)
    assert "steps" in str(error.value) and "-1" in str(error.value)
    with pytest.raises(ImageError) as error:
        base.adapt("missing.jpg", steps=1)
    assert "missing.jpg" in str(error.value)


@pytest.mark.parametrize(
    ("misspelled", "near"), [("stepps", "steps"), ("trainble", "trainable"), ("batch", "batch_size")]
)
def test_a_misspelled_option_is_answered_with_the_near_name(base, misspelled, near):
    for call in (base.adapt, base.adapt_iter):
        with pytest.raises(SettingError) as error:
            call(tiny.style(), **{misspelled: 1})
        assert repr(misspelled) in str(error.value) and near in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("config", ["x", 3, {"steps": 2}, LossWeights()])
def test_a_config_of_another_type_is_refused(base, config):
    for call in (base.adapt, base.adapt_iter):
        with pytest.raises(SettingError) as error:
            call(tiny.style(), config=config)
        assert "AdaptationConfig" in str(error.value) and repr(config) in str(error.value)


def test_weights_of_another_type_or_value_are_refused(base):
    for wrong in (3, "strong", None, [1]):
        with pytest.raises(SettingError) as error:
            base.adapt(tiny.style(), weights=wrong)
        assert "weights" in str(error.value) and "LossWeights" in str(error.value)
    with pytest.raises(SettingError) as error:
        base.adapt(tiny.style(), weights={"style_weight": -1})
    assert "style_weight" in str(error.value)


def test_no_style_image_is_refused(base):
    for empty in ([], ()):
        with pytest.raises(SettingError):
            base.adapt(empty)


def test_a_missing_feature_extractor_is_reported_before_the_first_step(base, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = Path(torch.hub.get_dir()) / "metastyle_hub" / "vgg16_features.safetensors"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"broken")
    for options in ({"config": QUICK, "feature_extractor": "vgg16"}, {"config": AdaptationConfig.paper()}):
        with pytest.raises(FeatureExtractorError) as error:
            base.adapt_iter(tiny.style(), **options)
        assert "vgg16" in str(error.value) and str(cached) in str(error.value)
