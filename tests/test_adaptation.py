"""Adaptation approaches the style, leaves the base alone, repeats itself for a seed, and reports where it fails."""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import tiny
import torch

from metastyle_hub.adaptation import (
    AdaptationConfig,
    AdaptationOptions,
    AdaptationStep,
    adapt_parameters,
    load_style_images,
    mean_style_grams,
    style_tensor,
)
from metastyle_hub.data.datasets import CropConfig, InMemoryDataset, random_crops
from metastyle_hub.errors import AdaptationError, ImageError, MetaStyleError, SettingError
from metastyle_hub.images.io import image_sha256, to_tensor
from metastyle_hub.losses import LossWeights, PerceptualLoss, outlier_penalty
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.feature_extractor import load_feature_extractor
from metastyle_hub.networks.layers import random_noise_offset
from metastyle_hub.networks.param_groups import (
    TRAINABLE,
    Parameters,
    is_decoder_parameter,
    is_norm_parameter,
    norm_parameters,
    trainable_parameters,
)
from metastyle_hub.networks.transformer_net import TransformerNet, transform, transform_with_activations

DOUBLE = torch.float64
NETWORK = TransformerNet(tiny.NETWORK)
CONFIG = AdaptationConfig(
    steps=6,
    ema_decay=0,
    crop_size=64,
    batch_size=1,
    trainable="all",
    learning_rate=5e-3,
    norm_learning_rate=2e-2,
    precision="float32",
)


def contents(count: int = 4, dtype: torch.dtype = torch.float32) -> InMemoryDataset:
    return InMemoryDataset([tiny.tensor(tiny.content(80, 72, seed=i), dtype)[0] for i in range(count)])


def adapt(
    config: AdaptationConfig = CONFIG,
    theta: Parameters | None = None,
    style: torch.Tensor | list[torch.Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    initialization: Parameters | None = None,
) -> list[AdaptationStep]:
    loss = PerceptualLoss(tiny.features(dtype=dtype), config.weights)
    style = tiny.tensor(tiny.style(64, 64)) if style is None else style
    theta = theta or tiny.parameters()
    return list(adapt_parameters(NETWORK, theta, style, contents(), loss, config, initialization))


def test_adaptation_approaches_the_style():
    theta = tiny.parameters()
    last = adapt(replace(CONFIG, steps=40), theta)[-1].parameters
    loss = PerceptualLoss(tiny.features(), CONFIG.weights)
    unseen = tiny.contents(3, 64, seed=50)  # contents that the adaptation did not use
    targets = loss.targets(unseen, loss.style_grams(tiny.tensor(tiny.style(64, 64))))
    with torch.no_grad():
        before, after = (loss(transform(NETWORK, w, unseen), targets) for w in (theta, last))
    assert bool((after[0] < 0.7 * before[0]).all())
    assert bool((after[2] < 0.7 * before[2]).all())


def test_the_penalty_prevents_activation_outliers():
    dark = tiny.contents(2, 64, seed=50)
    dark[..., 20:44, 20:44] *= 0.05

    def outliers(config: AdaptationConfig) -> float:
        last = adapt(replace(config, outlier_limit=1.5, steps=40))[-1].parameters
        with torch.no_grad():
            return float(outlier_penalty(transform_with_activations(NETWORK, last, dark).activations, 1.5))

    free = outliers(replace(CONFIG, outlier_weight=0.0))
    penalized = outliers(replace(CONFIG, outlier_weight=20.0))
    assert free > 1e-3
    assert penalized < 0.5 * free


def objective(
    weights: Parameters, config: AdaptationConfig, loss: PerceptualLoss, style: torch.Tensor, index: int
) -> tuple[torch.Tensor, list[float]]:
    """What step `index` descends, written out from public parts, and the means of total, content and style loss."""
    rng = np.random.default_rng((config.seed, index))
    crops = CropConfig(config.crop_size, config.min_scale, config.max_scale)
    batch = random_crops(contents(dtype=DOUBLE), config.batch_size, crops, rng)
    output = transform_with_activations(NETWORK, weights, batch, DOUBLE, random_noise_offset(rng))
    terms = loss(output.images, loss.targets(batch, loss.style_grams(style)))
    outliers = outlier_penalty(output.activations, config.outlier_limit)
    return terms[0].log().mean() + config.outlier_weight * outliers, [float(t.detach().mean()) for t in terms]


@pytest.mark.parametrize("trainable", TRAINABLE)
def test_steps_are_those_of_adam_with_betas_of_0_9_and_0_99(trainable):
    config = replace(
        CONFIG,
        steps=8,
        batch_size=2,
        trainable=trainable,
        seed=3,
        warmup_steps=3,
        freeze_encoder_after=0.5,
        outlier_limit=0.8,
        outlier_weight=0.3,
        min_scale=0.5,
        max_scale=0.9,
    )
    loss, style = PerceptualLoss(tiny.features(dtype=DOUBLE), config.weights), tiny.tensor(tiny.style(64, 64), DOUBLE)
    theta = tiny.parameters(dtype=DOUBLE)
    steps = list(adapt_parameters(NETWORK, theta, style, contents(dtype=DOUBLE), loss, config))
    mean, square, count = (dict.fromkeys(theta, 0.0) for _ in range(3))
    assert steps[0].parameters.keys() == theta.keys()
    for index, (before, after) in enumerate(itertools.pairwise(step.parameters for step in steps)):
        weights = {name: p.clone().requires_grad_() for name, p in before.items()}
        value, means = objective(weights, config, loss, style, index)
        assert [steps[index].loss, steps[index].content, steps[index].style] == pytest.approx(means)
        gradients = dict(zip(weights, torch.autograd.grad(value, list(weights.values())), strict=True))
        cosine = 0.1 + 0.9 * (1 + math.cos(math.pi * index / 7)) / 2
        for name, g in gradients.items():
            trained = name in trainable_parameters(theta, trainable)
            if not trained or (trainable == "decoder" and index >= 4 and not is_decoder_parameter(name)):
                assert torch.equal(after[name], before[name]), name
                continue
            count[name] += 1
            mean[name] = 0.9 * mean[name] + 0.1 * g
            square[name] = 0.99 * square[name] + 0.01 * g * g
            direction = mean[name] / (1 - 0.9 ** count[name])
            size = (square[name] / (1 - 0.99 ** count[name])).sqrt() + 1e-8
            rate = 2e-2 if is_norm_parameter(name) else 5e-3 * min(1, (index + 1) / 3)
            expected = before[name] - cosine * rate * direction / size
            # bias gradients that the next norm cancels are rounding noise, of which Adam makes whole steps
            if float(g.abs().max()) > 1e-10:
                torch.testing.assert_close(after[name], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("trainable", TRAINABLE)
def test_the_base_stays_unchanged(trainable):
    theta = tiny.parameters()
    before = {name: p.clone() for name, p in theta.items()}
    module = NETWORK.parameter_dict()
    adapt(replace(CONFIG, trainable=trainable), theta)
    assert tiny.same(theta, before) and tiny.same(NETWORK.parameter_dict(), module)
    assert not any(p.requires_grad for p in theta.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_runs_with_one_seed_are_bit_identical(dtype):
    first = adapt(dtype=dtype)
    torch.manual_seed(99)  # the global generator does not matter
    second = adapt(dtype=dtype)
    assert [s.loss for s in first] == [s.loss for s in second]
    assert tiny.same(first[-1].parameters, second[-1].parameters)
    other = adapt(replace(CONFIG, seed=1), dtype=dtype)
    assert not tiny.same(first[-1].parameters, other[-1].parameters)


def test_a_longer_run_starts_with_the_contents_of_a_shorter_one():
    short, long = adapt(replace(CONFIG, steps=0)), adapt(replace(CONFIG, steps=3))
    assert short[0].loss == long[0].loss


def test_norm_trains_weights_and_biases_of_norms_only():
    theta = tiny.parameters()
    last = adapt(replace(CONFIG, trainable="norm"), theta)[-1].parameters
    assert tiny.changed(theta, last) == {name for name in theta if is_norm_parameter(name)}


def test_decoder_trains_all_norms_and_the_convolutions_of_the_decoder():
    theta = tiny.parameters()
    last = adapt(replace(CONFIG, trainable="decoder"), theta)[-1].parameters
    layers = ("decoder.0.conv", "decoder.1.conv", "to_rgb")
    convolutions = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert tiny.changed(theta, last) == convolutions | {name for name in theta if is_norm_parameter(name)}


def test_every_step_but_the_last_shows_the_moving_average_of_the_parameters():
    plain, averaged = (adapt(replace(CONFIG, ema_decay=decay)) for decay in (0, 0.9))
    assert [step.loss for step in plain] == [step.loss for step in averaged]
    assert all(tiny.same(plain[i].parameters, averaged[i].parameters) for i in (0, -1))
    expected = plain[1].parameters
    for index in range(1, 6):
        decay = min(0.9, index / (index + 9), (6 - index) / (7 - index))
        expected = {name: decay * p + (1 - decay) * plain[index].parameters[name] for name, p in expected.items()}
        torch.testing.assert_close(averaged[index].parameters, expected, rtol=1e-5, atol=1e-6)


def test_an_adaptation_does_not_import_a_compiler():
    """It takes longer than the first steps and as much memory."""
    program = """
import sys, tiny
from metastyle_hub.adaptation import adapt_parameters
from metastyle_hub.data.datasets import InMemoryDataset
from metastyle_hub.losses import PerceptualLoss
from metastyle_hub.networks.transformer_net import TransformerNet
dataset = InMemoryDataset([tiny.tensor(tiny.content(96, 96))[0]])
loss = PerceptualLoss(tiny.features(), tiny.QUICK.weights)
network = TransformerNet(tiny.NETWORK)
for step in adapt_parameters(network, tiny.parameters(), tiny.tensor(tiny.style()), dataset, loss, tiny.QUICK):
    pass
print(step.index, "torch._dynamo" in sys.modules)
"""
    tests = Path(tiny.__file__).resolve().parent
    done = tiny.python("-c", program, PYTHONPATH=os.pathsep.join([str(tests.parent), str(tests)]))
    assert done.stdout.split() == ["2", "False"], done.stderr


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_the_last_steps_train_the_decoder_alone(share):
    config = replace(CONFIG, steps=4, trainable="decoder", freeze_encoder_after=share)
    states = [step.parameters for step in adapt(config)]
    for index, (before, after) in enumerate(itertools.pairwise(states)):
        early = {name for name in before if is_norm_parameter(name)} if index < 4 * share else set()
        assert tiny.changed(before, after) == early | {name for name in before if is_decoder_parameter(name)}


def test_only_a_decoder_adaptation_freezes_the_encoder():
    for trainable in ("norm", "all"):
        states = [s.parameters for s in adapt(replace(CONFIG, steps=2, trainable=trainable, freeze_encoder_after=0))]
        assert "encoder.0.norm.weight" in tiny.changed(states[1], states[2])


def test_the_learning_rate_on_convolutions_has_a_warmup():
    theta = tiny.parameters()
    # Adam's first step has the length of the learning rate
    step = adapt(replace(CONFIG, steps=1, warmup_steps=4), theta)[-1].parameters
    furthest = {
        norm: max(float((p - theta[name]).abs().max()) for name, p in step.items() if is_norm_parameter(name) == norm)
        for norm in (True, False)
    }
    assert furthest[True] == pytest.approx(CONFIG.norm_learning_rate, rel=1e-3)
    assert furthest[False] == pytest.approx(CONFIG.learning_rate / 4, rel=1e-3)


def test_the_warmup_is_linear_and_ends_at_1():
    config = AdaptationConfig(warmup_steps=4)
    assert [config.warmup(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert AdaptationConfig(warmup_steps=0).warmup(0) == 1


def test_all_trains_every_parameter():
    theta = tiny.parameters()
    last = adapt(theta=theta)[-1].parameters
    assert tiny.changed(theta, last) == set(theta)


def test_no_steps_give_the_base_itself():
    theta = tiny.parameters()
    (only,) = adapt(replace(CONFIG, steps=0), theta)
    assert only.index == 0 and tiny.same(only.parameters, theta)


def test_there_is_one_yield_more_than_steps_and_the_first_is_the_base():
    theta = tiny.parameters()
    steps = adapt(theta=theta)
    assert [s.index for s in steps] == list(range(CONFIG.steps + 1))
    assert tiny.same(steps[0].parameters, theta)
    assert not any(tiny.same(a.parameters, b.parameters) for a, b in itertools.pairwise(steps))


def test_the_first_step_starts_from_the_initialization_and_the_first_yield_shows_theta():
    theta = tiny.parameters()
    initialization = {name: p + 0.5 for name, p in norm_parameters(theta).items()}
    given = {name: p.clone() for name, p in initialization.items()}
    start, first, *_ = adapt(replace(CONFIG, steps=2, warmup_steps=4), theta, initialization=initialization)
    assert tiny.same(start.parameters, theta) and tiny.same(initialization, given)
    for name, p in first.parameters.items():
        norm = is_norm_parameter(name)
        moved = (p - initialization[name] if norm else p - theta[name]).abs()
        assert 0 < float(moved.max()) <= (CONFIG.norm_learning_rate if norm else CONFIG.learning_rate / 4) * 1.001
    # the gradient is that at the initialization: the same step from there as theta
    direct = adapt(replace(CONFIG, steps=2, warmup_steps=4), {**theta, **initialization})
    assert tiny.same(direct[1].parameters, first.parameters)
    (only,) = adapt(replace(CONFIG, steps=0), theta, initialization=initialization)
    assert tiny.same(only.parameters, theta)


def test_a_caller_may_modify_what_a_step_returns():
    losses = [s.loss for s in adapt()]
    loss = PerceptualLoss(tiny.features(), CONFIG.weights)
    seen = []
    steps = adapt_parameters(NETWORK, tiny.parameters(), tiny.tensor(tiny.style(64, 64)), contents(), loss, CONFIG)
    for step in steps:
        assert not any(p.requires_grad for p in step.parameters.values())
        for p in step.parameters.values():  # while the run waits
            p.zero_()
        seen.append(step.loss)
    assert seen == losses


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_caller_who_turned_gradients_off_gets_the_same_style(context):
    def last() -> AdaptationStep:
        loss = PerceptualLoss(load_feature_extractor("compact"), CONFIG.weights)
        style, config = tiny.tensor(tiny.style(64, 64)), replace(CONFIG, steps=2)
        return list(adapt_parameters(NETWORK, tiny.parameters(), style, contents(2), loss, config))[-1]

    usual = last()
    with context():
        inside = last()
        assert not torch.is_grad_enabled()
    assert tiny.same(inside.parameters, usual.parameters)
    inside.parameters["to_rgb.bias"].requires_grad_()  # an inference tensor would refuse


@pytest.mark.parametrize("inside", [(0, 1), (2, 3), (1, 3)])
def test_steps_may_be_taken_inside_and_outside_of_inference_mode(inside):
    base = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK)
    options = {"steps": 4, "crop_size": 64, "style_size": 32, "precision": "float32", "trainable": "all"}
    usual = base.adapt(tiny.style(), progress=False, **options)
    steps = base.adapt_iter(tiny.style(), **options)
    for index in range(options["steps"] + 1):
        with torch.inference_mode(index in inside):
            step = next(steps)
    assert step.index == 4 and step.style_model.fingerprint == usual.fingerprint


def test_steps_share_the_parameters_that_are_not_trained():
    steps = adapt(replace(CONFIG, steps=2, trainable="norm"))
    for name, p in steps[0].parameters.items():
        shared = all(step.parameters[name].data_ptr() == p.data_ptr() for step in steps)
        assert shared != is_norm_parameter(name), name


def test_a_run_that_is_stopped_early_leaves_a_usable_style():
    loss = PerceptualLoss(tiny.features(), CONFIG.weights)
    stream = adapt_parameters(NETWORK, tiny.parameters(), tiny.tensor(tiny.style()), contents(1), loss, CONFIG)
    for step in stream:
        if step.index == 2:
            break
    stream.close()
    with torch.no_grad():
        stylized = transform(NETWORK, step.parameters, tiny.contents(1))
    assert bool(torch.isfinite(stylized).all())


def test_every_step_has_other_contents():
    unchanged = adapt(replace(CONFIG, learning_rate=0, norm_learning_rate=0))
    assert len({s.loss for s in unchanged}) == CONFIG.steps + 1


def test_a_final_learning_rate_ratio_of_0_leaves_the_last_step_without_effect():
    steps = adapt(replace(CONFIG, steps=3, final_lr_ratio=0))
    assert not tiny.same(steps[1].parameters, steps[2].parameters)
    assert tiny.same(steps[2].parameters, steps[3].parameters)


def test_the_losses_of_a_step_are_those_of_its_own_parameters():
    step = adapt(replace(CONFIG, steps=2, weights=LossWeights(2, 5, tone_weight=0, checkerboard_weight=0)))[-1]
    assert step.loss == pytest.approx(2 * step.content + 5 * step.style, rel=1e-5)


# --- failures


@pytest.mark.parametrize("cause", ["style", "rate", "theta"])
def test_a_loss_that_is_not_finite_is_reported_with_step_and_weights(cause):
    config = replace(CONFIG, steps=3, weights=LossWeights(1.5, 25, tone_weight=0))
    theta, style = tiny.parameters(), tiny.tensor(tiny.style())
    if cause == "style":
        style[0, 0, 0, 0] = torch.nan
    elif cause == "theta":
        theta["to_rgb.bias"][0] = torch.nan
    else:
        # norm weights of 1e20 overflow in the next convolution; when the loss shows it depends on the convolution
        theta = {name: p * 1e20 if name.endswith("norm.weight") else p for name, p in theta.items()}
        theta["to_rgb.weight"] = theta["to_rgb.weight"] * 1e20
    with pytest.raises(AdaptationError) as error:
        adapt(config, theta, style)
    sentence = str(error.value)
    assert isinstance(error.value, MetaStyleError) and "\n" not in sentence
    for value in (
        "nan",
        "step" if cause == "rate" else "step 0",
        "content_weight 1.5",
        "style_weight 25",
        "learning_rate 0.005",
    ):
        assert value in sentence


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_contents_of_one_color_have_finite_gradients(level, dtype):
    base, loss = MetaStyle.from_pretrained(), PerceptualLoss(load_feature_extractor("compact", dtype=dtype))
    network, style = TransformerNet(base.config.architecture), tiny.tensor(tiny.style(64, 64))
    flat = InMemoryDataset([torch.full((3, 64, 64), level)])
    config = AdaptationConfig(steps=1, crop_size=64, trainable="all")
    *_, last = adapt_parameters(network, base.state_dict(), style, flat, loss, config)
    assert all(bool(p.isfinite().all()) for p in last.parameters.values())


def test_the_steps_before_a_failing_one_have_been_returned():
    class Failing(InMemoryDataset):
        draws = 0

        def __getitem__(self, index: int) -> torch.Tensor:
            self.draws += 1
            return super().__getitem__(index) * (torch.nan if self.draws > 3 else 1)

    failing = Failing([tiny.tensor(tiny.content())[0]])
    loss, seen = PerceptualLoss(tiny.features(), CONFIG.weights), []
    with pytest.raises(AdaptationError) as error:
        for step in adapt_parameters(NETWORK, tiny.parameters(), tiny.tensor(tiny.style()), failing, loss, CONFIG):
            seen.append(step)
    assert "step 3 " in str(error.value)
    assert [s.index for s in seen] == [0, 1, 2]
    assert all(bool(torch.isfinite(p).all()) for p in seen[-1].parameters.values())


# --- style images


def test_the_gram_matrices_of_several_images_are_averaged():
    loss, styles = PerceptualLoss(tiny.features()), [tiny.tensor(tiny.style(64, 64 + 8 * i, seed=i)) for i in range(3)]
    device = torch.device("cpu")
    each = [loss.style_grams(style) for style in styles]
    averaged = mean_style_grams(loss, styles, device)
    assert len(averaged) == len(each[0])
    for mean, *parts in zip(averaged, *each, strict=True):
        assert mean.shape == parts[0].shape
        torch.testing.assert_close(mean, (parts[0] + parts[1] + parts[2]) / 3)
    for one in (styles[0], styles[:1]):
        assert all(torch.equal(a, b) for a, b in zip(mean_style_grams(loss, one, device), each[0], strict=True))
    assert len(mean_style_grams(loss, styles, device, 3)) == 3 * len(loss.feature_extractor.spec.style_taps)


def test_an_adaptation_to_several_images_is_one_to_their_mean_gram_matrices():
    styles = [tiny.tensor(tiny.style(64, 64, seed=i)) for i in range(2)]
    both, first = adapt(style=styles), adapt(style=styles[0])
    assert tiny.same(adapt(style=styles[::-1])[-1].parameters, both[-1].parameters)
    assert not tiny.same(both[-1].parameters, first[-1].parameters)
    assert tiny.same(adapt(style=styles[:1])[-1].parameters, first[-1].parameters)


def test_style_images_have_a_short_side_of_style_size_and_a_bounded_aspect():
    assert style_tensor(tiny.image(tiny.style(40, 60)), 80).shape == (1, 3, 80, 120)
    assert style_tensor(tiny.image(tiny.style(60, 40)), 20).shape == (1, 3, 30, 20)
    long = tiny.style(10, 100)
    for pixels, shape in ((long, (1, 3, 32, 128)), (long.transpose(1, 0, 2), (1, 3, 128, 32))):
        assert style_tensor(tiny.image(np.ascontiguousarray(pixels)), 32).shape == shape
    center = style_tensor(tiny.image(np.ascontiguousarray(long[:, 30:70])), 10)
    assert torch.equal(style_tensor(tiny.image(long), 10), center)
    assert torch.equal(center, to_tensor(tiny.image(np.ascontiguousarray(long[:, 30:70]))))


def test_style_images_come_with_the_hash_of_all_and_the_name_of_the_first(tmp_path: Path):
    paths = [tmp_path / "wave.png", tmp_path / "sun.png"]
    for i, path in enumerate(paths):
        tiny.image(tiny.style(40, 60, seed=i)).save(path)
    images, sha256, name = load_style_images(paths[0], 32)
    assert [image.shape for image in images] == [(1, 3, 32, 48)]
    assert (sha256, name) == (image_sha256(paths[0]), "wave")
    images, both, name = load_style_images(paths, 32)
    assert len(images) == 2 and name == "wave"
    assert len({both, sha256, load_style_images(paths[::-1], 32)[1]}) == 3
    assert load_style_images([tiny.style()], 32)[2] is None
    with pytest.raises(SettingError):
        load_style_images([], 32)
    with pytest.raises(ImageError) as error:
        load_style_images([paths[0], tmp_path / "none.png"], 32)
    assert "none.png" in str(error.value)


# --- the config


def test_the_learning_rate_follows_a_cosine_to_its_final_ratio():
    config = AdaptationConfig(steps=101, final_lr_ratio=0.1)
    assert config.lr_ratio(0) == 1
    assert config.lr_ratio(50) == pytest.approx(0.55)
    assert config.lr_ratio(100) == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(config.lr_ratio(i) for i in range(101)))
    assert AdaptationConfig(steps=1).lr_ratio(0) == 1
    assert math.isfinite(AdaptationConfig(steps=0).lr_ratio(0))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("steps", -1, "0 to 1000"),
        ("steps", 1.5, "0 to 1000"),
        ("steps", True, "0 to 1000"),
        ("learning_rate", 2, "0 to 1"),
        ("learning_rate", float("nan"), "0 to 1"),
        ("crop_size", 66, "multiple of 4"),
        ("crop_size", "big", "64 to 1024"),
        ("batch_size", 0, "1 to 16"),
        ("trainable", "some", "norm, decoder, all"),
    ],
)
def test_values_out_of_range_are_refused(name, value, allowed):
    with pytest.raises(SettingError) as error:
        AdaptationConfig(**{name: value})
    sentence = str(error.value)
    assert sentence.startswith(name) and repr(value) in sentence and allowed in sentence and "\n" not in sentence


def test_crop_scales_in_the_wrong_order_are_refused():
    with pytest.raises(SettingError) as error:
        AdaptationConfig(min_scale=0.5, max_scale=0.4)
    assert "max_scale" in str(error.value) and "0.4" in str(error.value) and "0.5" in str(error.value)


def test_options_are_exactly_the_fields_of_the_config():
    hints = get_type_hints(AdaptationConfig)
    assert get_type_hints(AdaptationOptions) == {f.name: hints[f.name] for f in fields(AdaptationConfig)}
    assert not AdaptationOptions.__required_keys__


def test_the_paper_s_setting_is_plain_adam_on_all_parameters_with_two_loss_terms():
    paper = AdaptationConfig.paper()
    assert (paper.trainable, paper.feature_extractor, paper.crop_size) == ("all", "vgg16", 256)
    assert paper.learning_rate == paper.norm_learning_rate == 1e-3
    assert not paper.use_predictor and not paper.outlier_weight
    assert {paper.lr_ratio(i) for i in range(paper.steps)} == {paper.warmup(i) for i in range(paper.steps)} == {1.0}
    assert all(paper.is_trained(name, paper.steps - 1) for name in tiny.parameters())
    w = paper.weights
    assert w.content_weight > 0 and w.style_weight > 0
    assert w.tv_weight == w.tone_weight == w.checkerboard_weight == w.coarse_weight == 0
    assert AdaptationConfig.from_dict(paper.to_dict()) == paper
