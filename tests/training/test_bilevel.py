"""The outer gradient is the derivative of the bilevel problem; the mathematics in float64."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.errors import SettingError
from metastyle_hub.losses import LossWeights, PerceptualLoss, outlier_penalty
from metastyle_hub.networks.param_groups import Parameters, is_norm_parameter, norm_parameters
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet, transform, transform_with_activations
from metastyle_hub.training.bilevel import MetaBatch, MetaTrainingConfig, inner_loop, meta_loss

NARROW = NetworkConfig(width=2, residual_blocks=1)
DOUBLE = torch.float64
NETWORK = TransformerNet(NARROW).double()
LOSS = PerceptualLoss(tiny.features(dtype=DOUBLE), LossWeights(1, 10, 0.1))
BATCH = MetaBatch(
    tiny.tensor(tiny.style(24, 24), DOUBLE),
    tiny.contents(2, 24, seed=0, dtype=DOUBLE),
    tiny.contents(2, 24, seed=10, dtype=DOUBLE),
)


def config(steps: int, second_order: bool = True, **options: float) -> MetaTrainingConfig:
    # limits this low make the penalties on logits and outliers count
    values = {
        "logit_limit": 0.2,
        "outlier_limit": 1.0,
        "identity_weight": 3.0,
        "identity_content_weight": 0.3,
        "identity_detail_weight": 2.0,
        **options,
    }
    return MetaTrainingConfig(
        inner_steps=steps, second_order=second_order, network=NARROW, weights=LOSS.weights, **values
    )


def theta_and_log_inner_lr() -> tuple[Parameters, Parameters]:
    theta = tiny.parameters(3, NARROW, DOUBLE)
    generator = torch.Generator().manual_seed(4)
    rates = {
        name: math.log(0.05) + 0.3 * torch.randn((), generator=generator, dtype=DOUBLE)
        for name in norm_parameters(theta)
    }
    return theta, rates


def outer(theta: Parameters, log_inner_lr: Parameters, settings: MetaTrainingConfig) -> Tensor:
    rates = {name: r.exp() for name, r in log_inner_lr.items()}
    return meta_loss(NETWORK, theta, rates, BATCH, LOSS, settings).outer


def gradient(settings: MetaTrainingConfig) -> tuple[Parameters, Parameters]:
    """d outer / d theta and d outer / d log rates, as meta-training computes them."""
    theta, rates = theta_and_log_inner_lr()
    leaves = [p.requires_grad_() for p in (*theta.values(), *rates.values())]
    parts = torch.autograd.grad(outer(theta, rates, settings), leaves, allow_unused=True)
    parts = [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, parts, strict=True)]
    return dict(zip(theta, parts, strict=False)), dict(zip(rates, parts[len(theta) :], strict=True))


def slope(settings: MetaTrainingConfig, direction: Parameters, rate_direction: Parameters, step: float = 1e-7) -> float:
    """The derivative of the outer loss along a direction, by central differences."""

    def value(h: float) -> float:
        theta, rates = theta_and_log_inner_lr()
        moved = {name: p + h * direction[name] if name in direction else p for name, p in theta.items()}
        moved = {name: p.requires_grad_() for name, p in moved.items()}  # the inner loop differentiates
        faster = {name: r + h * rate_direction[name] if name in rate_direction else r for name, r in rates.items()}
        return float(outer(moved, faster, settings).detach())

    return (value(step) - value(-step)) / (2 * step)


def random_direction(like: Parameters, seed: int) -> Parameters:
    generator = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(p.shape, generator=generator, dtype=DOUBLE) for name, p in like.items()}
    length = math.sqrt(sum(float(v.square().sum()) for v in values.values()))
    return {name: v / length for name, v in values.items()}


def along(gradients: Parameters, direction: Parameters) -> float:
    return sum(float((gradients[name] * v).sum()) for name, v in direction.items())


@pytest.mark.parametrize("part", ["norm", "convolutions", "all"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_outer_gradient_includes_the_derivatives_of_the_inner_steps(steps, part):
    theta, _ = theta_and_log_inner_lr()
    chosen = {n: p for n, p in theta.items() if part == "all" or is_norm_parameter(n) == (part == "norm")}
    by_theta, _ = gradient(config(steps))
    for seed in range(3):
        direction = random_direction(chosen, seed)
        expected = slope(config(steps), direction, {})
        assert along(by_theta, direction) == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_outer_gradient_of_every_inner_learning_rate(steps):
    _, rates = theta_and_log_inner_lr()
    _, by_rate = gradient(config(steps))
    for name in rates:
        one = {name: torch.ones((), dtype=DOUBLE)}
        assert along(by_rate, one) == pytest.approx(slope(config(steps), {}, one), rel=1e-4, abs=1e-8), name
    assert max(float(g.abs()) for g in by_rate.values()) > 1e-4


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_first_order_gradient_is_another_one_and_not_the_derivative(steps):
    theta, _ = theta_and_log_inner_lr()
    exact, _ = gradient(config(steps))
    approximate, _ = gradient(config(steps, second_order=False))
    difference = math.sqrt(sum(float((exact[n] - approximate[n]).square().sum()) for n in theta))
    length = math.sqrt(sum(float(exact[n].square().sum()) for n in theta))
    assert difference > 0.01 * length
    # in the direction of their difference the two disagree, and finite differences agree with the second order
    direction = {n: (exact[n] - approximate[n]) / difference for n in theta}
    truth = slope(config(steps), direction, {})
    assert along(exact, direction) == pytest.approx(truth, rel=1e-4)
    assert abs(along(approximate, direction) - truth) > 0.5 * difference


def test_both_orders_have_the_same_losses():
    theta, rates = theta_and_log_inner_lr()
    for p in theta.values():
        p.requires_grad_()
    first, second = (outer(theta, rates, config(2, order)) for order in (False, True))
    torch.testing.assert_close(first, second)


def test_an_inner_step_is_gradient_descent_on_norm_parameters_alone():
    theta, log_inner_lr = theta_and_log_inner_lr()
    rates = {name: r.exp() for name, r in log_inner_lr.items()}
    for p in theta.values():
        p.requires_grad_()
    grams = LOSS.style_grams(BATCH.style)
    targets = LOSS.targets(BATCH.support, grams)
    w = dict(theta)
    for _ in range(2):
        norms = norm_parameters(w)
        images = transform(NETWORK, w, BATCH.support, DOUBLE)
        value = LOSS(images, targets)[0].log().mean()
        for name, g in zip(norms, torch.autograd.grad(value, list(norms.values())), strict=True):
            w[name] = (w[name] - rates[name] * g).detach().requires_grad_()
    adapted, before, made = inner_loop(NETWORK, theta, rates, BATCH.support, grams, LOSS, steps=2, second_order=False)
    for name, p in adapted.items():
        torch.testing.assert_close(p, w[name])
        idle = name.endswith("second.norm.bias")  # which the next instance norm removes, see test_transformer_net.py
        assert torch.allclose(p, theta[name], rtol=0, atol=1e-12) == (not is_norm_parameter(name) or idle), name
        assert is_norm_parameter(name) or p is theta[name]
    at_theta = transform_with_activations(NETWORK, theta, BATCH.support, DOUBLE)
    torch.testing.assert_close(vars(made), vars(at_theta))
    torch.testing.assert_close(before, LOSS(at_theta.images, targets)[0].log().mean())


def test_inner_steps_lower_the_loss_on_support_contents():
    theta, log_inner_lr = theta_and_log_inner_lr()
    for p in theta.values():
        p.requires_grad_()
    rates = {name: r.exp() for name, r in log_inner_lr.items()}
    grams = LOSS.style_grams(BATCH.style)
    losses = []
    for steps in (1, 2, 4):
        w, before, *_ = inner_loop(NETWORK, theta, rates, BATCH.support, grams, LOSS, steps=steps)
        images = transform(NETWORK, w, BATCH.support, DOUBLE)
        after = LOSS(images, LOSS.targets(BATCH.support, grams))[0].log().mean()
        losses.append(float(after.detach()))
    assert float(before.detach()) > losses[0] > losses[1] > losses[2]


def test_the_outer_loss_is_the_query_loss_plus_identity_plus_penalties():
    theta, log_inner_lr = theta_and_log_inner_lr()
    for p in theta.values():
        p.requires_grad_()
    rates = {name: r.exp() for name, r in log_inner_lr.items()}
    identities = {"identity_weight": 2.0, "identity_content_weight": 0.5, "identity_detail_weight": 6.0}
    settings = config(1, **identities, logit_weight=4.0, outlier_weight=3.0)
    losses = meta_loss(NETWORK, theta, rates, BATCH, LOSS, settings)
    grams = LOSS.style_grams(BATCH.style)
    w, *_ = inner_loop(NETWORK, theta, rates, BATCH.support, grams, LOSS, steps=1)
    made = transform_with_activations(NETWORK, theta, BATCH.support, DOUBLE)
    adapted = transform_with_activations(NETWORK, w, BATCH.query, DOUBLE)
    query = LOSS(adapted.images, LOSS.targets(BATCH.query, grams))[0].log().mean()
    identity = (made.images - BATCH.support).abs().mean()
    kept = LOSS(made.images, LOSS.targets(BATCH.support, grams))[1].mean()
    error = F.pad(made.images - BATCH.support, (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1)
    around = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=DOUBLE) / 16
    detail = (error[..., 1, 1] - (error * around).sum((-2, -1))).abs().mean()
    penalty = sum((z.abs() - 0.2).relu().square().mean() for z in (made.logits, adapted.logits)) / 2
    outliers = sum(outlier_penalty(each.activations, 1.0) for each in (made, adapted)) / 2
    assert min(float(t.detach()) for t in (query.abs(), identity, kept, detail, penalty, outliers)) > 1e-3, (
        "all take part"
    )
    regularizer = 2 * identity + 0.5 * kept + 6 * detail + 4 * penalty + 3 * outliers
    torch.testing.assert_close(losses.outer, query + regularizer)
    torch.testing.assert_close((losses.query, losses.identity), (query, identity))
    torch.testing.assert_close((losses.logits, losses.outliers), (penalty, outliers))
    support = LOSS(made.images, LOSS.targets(BATCH.support, grams))[0].log().mean()
    torch.testing.assert_close(losses.support, support)
    terms = LOSS(adapted.images, LOSS.targets(BATCH.query, grams))
    torch.testing.assert_close((losses.content, losses.style), (terms[1].mean(), terms[2].mean()))


def test_identity_steps_do_not_depend_on_the_style():
    theta, log_inner_lr = theta_and_log_inner_lr()
    rates = {name: r.exp() for name, r in log_inner_lr.items()}
    other = replace(BATCH, style=tiny.tensor(tiny.style(24, 24, seed=7), DOUBLE))
    values = [
        float(meta_loss(NETWORK, theta, rates, batch, LOSS, config(1), identity_only=True).outer)
        for batch in (BATCH, other)
    ]
    assert values[0] == values[1] > 0


def test_all_contents_of_a_batch_have_its_noise_offset():
    noisy = NetworkConfig(width=4, residual_blocks=1)
    network, theta = TransformerNet(noisy).double(), tiny.parameters(3, noisy, DOUBLE)
    inner_lr = {name: torch.tensor(0.05, dtype=DOUBLE) for name in norm_parameters(theta)}
    assert network.noise_bias_map(BATCH.support, 16, 1) is not None
    for p in theta.values():
        p.requires_grad_()
    grams, found = LOSS.style_grams(BATCH.style), []
    for offset in ((0, 0), (100, 3)):
        losses = meta_loss(network, theta, inner_lr, replace(BATCH, noise_offset=offset), LOSS, config(1))
        images = transform(network, theta, BATCH.support, DOUBLE, offset)
        support = LOSS(images, LOSS.targets(BATCH.support, grams))[0].log().mean()
        parts = torch.autograd.grad(support, [theta[name] for name in inner_lr])
        w = {**theta, **{name: theta[name] - 0.05 * g for name, g in zip(inner_lr, parts, strict=True)}}
        images = transform(network, w, BATCH.query, DOUBLE, offset)
        query = LOSS(images, LOSS.targets(BATCH.query, grams))[0].log().mean()
        torch.testing.assert_close((losses.support, losses.query), (support, query))
        found.append(float(losses.query))
    assert found[0] != found[1]


# --- the config


def test_the_outer_learning_rate_has_a_warmup_and_a_cosine_decay():
    options = MetaTrainingConfig(steps=1000, warmup_steps=100)
    ratios = [options.outer_lr_ratio(step) for step in range(1001)]
    assert ratios[0] == pytest.approx(0.01, rel=1e-3)
    assert ratios[49] == pytest.approx(0.5, rel=0.01)
    assert max(ratios) <= 1 and 95 <= ratios.index(max(ratios)) <= 105
    assert ratios[500] == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(ratios[100:]))
    assert ratios[1000] == pytest.approx(0, abs=1e-12)
    assert MetaTrainingConfig(steps=10, warmup_steps=0).outer_lr_ratio(0) == 1


@pytest.mark.parametrize("name", ["gradient_clip", "inner_learning_rate"])
def test_a_learning_rate_or_bound_of_0_that_would_stop_training_is_refused(name):
    with pytest.raises(SettingError) as error:
        MetaTrainingConfig(**{name: 0})
    assert name in str(error.value) and "0" in str(error.value)


def test_sizes_that_the_network_cannot_process_are_refused():
    with pytest.raises(SettingError) as error:
        MetaTrainingConfig(size=30)
    assert "size" in str(error.value) and "30" in str(error.value) and "4" in str(error.value)
