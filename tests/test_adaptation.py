"""Adaptation must learn the style, leave the base alone, repeat itself for a seed, and say when it cannot go on."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import tiny
import torch

from metastyle_hub.adaptation import AdaptationConfig, AdaptationError, AdaptationStep, adapt_parameters
from metastyle_hub.data.datasets import InMemoryDataset
from metastyle_hub.errors import MetaStyleError
from metastyle_hub.networks.feature_extractor import load_feature_extractor
from metastyle_hub.losses import LossWeights, PerceptualLoss
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.transformer_net import TransformerNet, outlier_penalty, transform, transform_with_activations
from metastyle_hub.networks.param_groups import TRAINABLE, Parameters, is_decoder_parameter, is_norm_parameter

NETWORK = TransformerNet(tiny.NETWORK)
CONFIG = AdaptationConfig(
    steps=6, size=64, batch=1, trainable="all", learning_rate=5e-3, norm_learning_rate=2e-2, precision="float32"
)


def adapt(
    config: AdaptationConfig = CONFIG,
    theta: Parameters | None = None,
    style: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[AdaptationStep]:
    contents = InMemoryDataset([tiny.tensor(tiny.content(80, 72, seed=i))[0] for i in range(4)])
    loss = PerceptualLoss(tiny.features(dtype=dtype), config.weights)
    style = tiny.tensor(tiny.style(64, 64)) if style is None else style
    return list(adapt_parameters(NETWORK, theta or tiny.parameters(), style, contents, loss, config))


def test_it_learns_the_style():
    theta = tiny.parameters()
    last = adapt(replace(CONFIG, steps=40), theta)[-1].parameters
    loss = PerceptualLoss(tiny.features(), CONFIG.weights)
    unseen = tiny.contents(3, 64, seed=50)  # what counts is the loss on contents of which it has seen none
    targets = loss.targets(unseen, loss.style_grams(tiny.tensor(tiny.style(64, 64))))
    with torch.no_grad():
        before, after = (loss(transform(NETWORK, w, unseen), targets) for w in (theta, last))
    assert bool((after[0] < 0.7 * before[0]).all())
    assert bool((after[2] < 0.7 * before[2]).all())


def test_no_layer_learns_a_spike():
    """A spot where all channels are far out is what becomes a blob; it is asked for by nothing but the penalty."""
    dark = tiny.contents(2, 64, seed=50)
    dark[..., 20:44, 20:44] *= 0.05

    def outliers(config: AdaptationConfig) -> float:
        last = adapt(replace(config, outlier_limit=1.5, steps=40))[-1].parameters
        with torch.no_grad():
            return float(outlier_penalty(transform_with_activations(NETWORK, last, dark).streams, 1.5))

    free, held = outliers(replace(CONFIG, outlier_weight=0.0)), outliers(replace(CONFIG, outlier_weight=20.0))
    assert free > 1e-3
    assert held < 0.5 * free


@pytest.mark.parametrize("parameters", TRAINABLE)
def test_the_base_stays_what_it_was(parameters):
    theta = tiny.parameters()
    before = {name: p.clone() for name, p in theta.items()}
    module = NETWORK.parameter_dict()
    adapt(replace(CONFIG, parameters=parameters), theta)
    assert tiny.same(theta, before) and tiny.same(NETWORK.parameter_dict(), module)
    assert not any(p.requires_grad for p in theta.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_twice_with_one_seed_is_bit_identical(dtype):
    first = adapt(dtype=dtype)
    torch.manual_seed(99)  # the global generator has no say
    second = adapt(dtype=dtype)
    assert [s.loss for s in first] == [s.loss for s in second]
    assert tiny.same(first[-1].parameters, second[-1].parameters)
    other = adapt(replace(CONFIG, seed=1), dtype=dtype)
    assert not tiny.same(first[-1].parameters, other[-1].parameters)


def test_a_longer_run_s_contents_begin_like_a_shorter_one_s():
    short, long = adapt(replace(CONFIG, steps=0)), adapt(replace(CONFIG, steps=3))
    assert short[0].loss == long[0].loss


def test_norm_moves_scales_and_shifts_only():
    theta = tiny.parameters()
    last = adapt(replace(CONFIG, trainable="norm"), theta)[-1].parameters
    for name, p in last.items():
        assert torch.equal(p, theta[name]) != is_norm_parameter(name), name


def test_decoder_moves_norms_everywhere_and_convolutions_behind_the_trunk():
    theta = tiny.parameters()
    last = adapt(replace(CONFIG, trainable="decoder"), theta)[-1].parameters
    moved = {name for name, p in last.items() if not torch.equal(p, theta[name])}
    convolutions = {f"{layer}.{part}" for layer in ("up.0.conv", "up.1.conv", "out") for part in ("weight", "bias")}
    assert moved == convolutions | {name for name in theta if is_norm_parameter(name)}


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_the_last_steps_are_the_decoder_s_alone(share):
    states = [step.parameters for step in adapt(replace(CONFIG, steps=4, trainable="decoder", freeze_encoder_after=share))]
    for index, (before, after) in enumerate(itertools.pairwise(states)):
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        early = {name for name in before if is_norm_parameter(name)} if index < 4 * share else set()
        assert moved == early | {name for name in before if is_decoder_parameter(name)}


def test_the_rate_on_convolutions_rises():
    theta = tiny.parameters()
    # with one step Adam moves by the rate itself
    step = adapt(replace(CONFIG, steps=1, warmup_steps=4), theta)[-1].parameters
    furthest = {
        norm: max(float((p - theta[name]).abs().max()) for name, p in step.items() if is_norm_parameter(name) == norm)
        for norm in (True, False)
    }
    assert furthest[True] == pytest.approx(CONFIG.norm_learning_rate, rel=1e-3)
    assert furthest[False] == pytest.approx(CONFIG.learning_rate / 4, rel=1e-3)


def test_all_moves_everything():
    theta = tiny.parameters()
    last = adapt(theta=theta)[-1].parameters
    still = [name for name, p in last.items() if torch.equal(p, theta[name])]
    assert still == []


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


def test_what_a_step_hands_out_is_no_longer_the_run_s():
    losses = [s.loss for s in adapt()]
    contents = InMemoryDataset([tiny.tensor(tiny.content(80, 72, seed=i))[0] for i in range(4)])
    loss = PerceptualLoss(tiny.features(), CONFIG.weights)
    seen = []
    steps = adapt_parameters(NETWORK, tiny.parameters(), tiny.tensor(tiny.style(64, 64)), contents, loss, CONFIG)
    for step in steps:
        assert not any(p.requires_grad for p in step.parameters.values())
        for p in step.parameters.values():  # while the run waits
            p.zero_()
        seen.append(step.loss)
    assert seen == losses


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_caller_who_turned_gradients_off_gets_the_same_style(context):
    contents = InMemoryDataset([tiny.tensor(tiny.content(80, 72, seed=i))[0] for i in range(2)])

    def last() -> AdaptationStep:
        loss = PerceptualLoss(load_feature_extractor("compact"), CONFIG.weights)
        style = tiny.tensor(tiny.style(64, 64))
        return list(adapt_parameters(NETWORK, tiny.parameters(), style, contents, loss, replace(CONFIG, steps=2)))[-1]

    usual = last()
    with context():
        inside = last()
        assert not torch.is_grad_enabled()
    assert tiny.same(inside.parameters, usual.parameters)
    inside.parameters["out.bias"].requires_grad_()  # an inference tensor would refuse for ever


@pytest.mark.parametrize("inside", [(0, 1), (2, 3), (1, 3)])
def test_steps_may_be_taken_inside_and_outside_of_inference_mode(inside):
    base = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK)
    settings = {"steps": 4, "size": 64, "style_size": 32, "precision": "float32", "parameters": "all"}
    usual = base.adapt(tiny.style(), **settings)
    steps = base.adapt_iter(tiny.style(), **settings)
    for index in range(settings["steps"] + 1):
        with torch.inference_mode(index in inside):
            step = next(steps)
    assert step.index == 4 and step.style_model.fingerprint == usual.fingerprint


def test_stopped_early_it_leaves_a_usable_style():
    contents = InMemoryDataset([tiny.tensor(tiny.content())[0]])
    loss = PerceptualLoss(tiny.features(), CONFIG.weights)
    stream = adapt_parameters(NETWORK, tiny.parameters(), tiny.tensor(tiny.style()), contents, loss, CONFIG)
    for step in stream:
        if step.index == 2:
            break
    stream.close()
    with torch.no_grad():
        picture = transform(NETWORK, step.parameters, tiny.contents(1))
    assert bool(torch.isfinite(picture).all())


def test_every_step_sees_other_contents():
    still = adapt(replace(CONFIG, learning_rate=0, norm_learning_rate=0))
    assert len({s.loss for s in still}) == CONFIG.steps + 1


def test_a_final_rate_of_0_makes_the_last_step_stand_still():
    steps = adapt(replace(CONFIG, steps=3, final_lr_ratio=0))
    assert not tiny.same(steps[1].parameters, steps[2].parameters)
    assert tiny.same(steps[2].parameters, steps[3].parameters)


def test_the_losses_reported_are_those_of_the_step_s_own_parameters():
    step = adapt(replace(CONFIG, steps=2, weights=LossWeights(2, 5, tone_weight=0, checkerboard_weight=0)))[-1]
    assert step.loss == pytest.approx(2 * step.content + 5 * step.style, rel=1e-5)


@pytest.mark.parametrize("cause", ["style", "rate", "theta"])
def test_a_loss_that_is_not_finite_is_named_with_step_and_weights(cause):
    config = replace(CONFIG, steps=3, weights=LossWeights(1.5, 25, tone_weight=0))
    theta, style = tiny.parameters(), tiny.tensor(tiny.style())
    if cause == "style":
        style[0, 0, 0, 0] = torch.nan
    elif cause == "theta":
        theta["out.bias"][0] = torch.nan
    else:
        # scales of 1e20 overflow in the next convolution
        theta = {name: p * 1e20 if name.endswith(".scale") else p for name, p in theta.items()}
        theta["out.weight"] = theta["out.weight"] * 1e20
    with pytest.raises(AdaptationError) as caught:
        adapt(config, theta, style)
    sentence = str(caught.value)
    assert isinstance(caught.value, MetaStyleError) and "\n" not in sentence
    assert "The loss became nan at step 0 (content_weight 1.5, style_weight 25, learning_rate 0.005" in sentence


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_photo_of_one_colour_alone_is_no_obstacle(colour, dtype):
    base, loss = MetaStyle.from_pretrained(), PerceptualLoss(load_feature_extractor("compact", dtype=dtype))
    network, style = TransformerNet(base.config.architecture), tiny.tensor(tiny.style(64, 64))
    flat, config = InMemoryDataset([torch.full((3, 64, 64), colour)]), AdaptationConfig(steps=1, size=64, trainable="all")
    *_, last = adapt_parameters(network, base.state_dict(), style, flat, loss, config)
    assert all(bool(p.isfinite().all()) for p in last.parameters.values())


def test_steps_before_the_failing_one_have_been_handed_out():
    class Failing(InMemoryDataset):
        draws = 0

        def __getitem__(self, index: int) -> torch.Tensor:
            self.draws += 1
            return super().__getitem__(index) * (torch.nan if self.draws > 3 else 1)

    contents = Failing([tiny.tensor(tiny.content())[0]])
    loss, seen = PerceptualLoss(tiny.features(), CONFIG.weights), []
    with pytest.raises(AdaptationError, match="at step 3 "):
        for step in adapt_parameters(NETWORK, tiny.parameters(), tiny.tensor(tiny.style()), contents, loss, CONFIG):
            seen.append(step)
    assert [s.index for s in seen] == [0, 1, 2]
    assert all(bool(torch.isfinite(p).all()) for p in seen[-1].parameters.values())


def test_the_rate_falls_along_a_cosine_to_its_last_share():
    config = AdaptationConfig(steps=101, final_lr_ratio=0.1)
    assert config.rate(0) == 1
    assert config.rate(50) == pytest.approx(0.55)
    assert config.rate(100) == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(config.rate(i) for i in range(101)))
    assert AdaptationConfig(steps=1).rate(0) == 1
    assert math.isfinite(AdaptationConfig(steps=0).rate(0))


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("steps", -1, "steps must be a whole number from 0 to 1000, got -1."),
        ("steps", 1.5, "steps must be a whole number from 0 to 1000, got 1.5."),
        ("steps", True, "steps must be a whole number from 0 to 1000, got True."),
        ("learning_rate", 2, "learning_rate must be a number from 0 to 1, got 2."),
        ("learning_rate", float("nan"), "learning_rate must be a number from 0 to 1, got nan."),
        ("size", 66, "size must be a multiple of 4, got 66."),
        ("size", "big", "size must be a whole number from 64 to 1024, got 'big'."),
        ("batch", 0, "batch must be a whole number from 1 to 16, got 0."),
        ("parameters", "some", "parameters must be one of norm, decoder, all, got 'some'."),
    ],
)
def test_settings_out_of_range_are_refused_in_one_sentence(setting, value, said):
    with pytest.raises(ValueError) as caught:
        AdaptationConfig(**{setting: value})
    assert str(caught.value) == said
