"""The outer gradient must be the derivative of the bilevel problem, and a run must survive being killed."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import killed_run
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.data.datasets import InMemoryDataset
from metastyle_hub.errors import SettingError
from metastyle_hub.losses import LossWeights, PerceptualLoss, Targets
from metastyle_hub.training.bilevel import MetaBatch, MetaTrainingConfig, inner_loop, meta_loss
from metastyle_hub.training.trainer import MetaTrainer
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.transformer_net import TransformerNet, NetworkConfig, outlier_penalty, transform, transform_with_activations
from metastyle_hub.networks.param_groups import Parameters, is_norm_parameter, norm_parameters

# --- the mathematics, in float64

NARROW = NetworkConfig(width=2, residual_blocks=1)
DOUBLE = torch.float64
NETWORK = TransformerNet(NARROW).double()
LOSS = PerceptualLoss(tiny.features(dtype=DOUBLE), LossWeights(1, 10, 0.1))
BATCH = MetaBatch(
    tiny.tensor(tiny.style(24, 24), DOUBLE),
    tiny.contents(2, 24, seed=0, dtype=DOUBLE),
    tiny.contents(2, 24, seed=10, dtype=DOUBLE),
)


def config(steps: int, second_order: bool = True, **settings: float) -> MetaTrainingConfig:
    # limits this low make the penalties on logits and outliers count
    values = {
        "logit_limit": 0.2,
        "outlier_limit": 1.0,
        "identity_weight": 3.0,
        "identity_content_weight": 0.3,
        "identity_detail_weight": 2.0,
        **settings,
    }
    return MetaTrainingConfig(
        inner_steps=steps, second_order=second_order, network=NARROW, weights=LOSS.weights, **values
    )


def theta_and_log_rates() -> tuple[Parameters, Parameters]:
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
    theta, rates = theta_and_log_rates()
    leaves = [p.requires_grad_() for p in (*theta.values(), *rates.values())]
    parts = torch.autograd.grad(outer(theta, rates, settings), leaves, allow_unused=True)
    parts = [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, parts, strict=True)]
    return dict(zip(theta, parts, strict=False)), dict(zip(rates, parts[len(theta) :], strict=True))


def slope(settings: MetaTrainingConfig, direction: Parameters, rate_direction: Parameters, step: float = 1e-7) -> float:
    """The derivative of the outer loss along a direction, by central differences."""

    def value(h: float) -> float:
        theta, rates = theta_and_log_rates()
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
def test_the_outer_gradient_runs_through_the_inner_steps(steps, part):
    theta, _ = theta_and_log_rates()
    chosen = {n: p for n, p in theta.items() if part == "all" or is_norm_parameter(n) == (part == "norm")}
    by_theta, _ = gradient(config(steps))
    for seed in range(3):
        direction = random_direction(chosen, seed)
        expected = slope(config(steps), direction, {})
        assert along(by_theta, direction) == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_outer_gradient_of_every_inner_rate(steps):
    _, rates = theta_and_log_rates()
    _, by_rate = gradient(config(steps))
    for name in rates:
        one = {name: torch.ones((), dtype=DOUBLE)}
        assert along(by_rate, one) == pytest.approx(slope(config(steps), {}, one), rel=1e-4, abs=1e-8), name
    assert max(float(g.abs()) for g in by_rate.values()) > 1e-4


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_first_order_gradient_is_another_one_and_not_the_derivative(steps):
    theta, _ = theta_and_log_rates()
    exact, _ = gradient(config(steps))
    approximate, _ = gradient(config(steps, second_order=False))
    difference = math.sqrt(sum(float((exact[n] - approximate[n]).square().sum()) for n in theta))
    length = math.sqrt(sum(float(exact[n].square().sum()) for n in theta))
    assert difference > 0.01 * length
    # along the difference itself the two disagree, and finite differences side with the second order
    direction = {n: (exact[n] - approximate[n]) / difference for n in theta}
    truth = slope(config(steps), direction, {})
    assert along(exact, direction) == pytest.approx(truth, rel=1e-4)
    assert abs(along(approximate, direction) - truth) > 0.5 * difference


def test_both_orders_have_the_same_losses():
    theta, rates = theta_and_log_rates()
    for p in theta.values():
        p.requires_grad_()
    first, second = (outer(theta, rates, config(2, order)) for order in (False, True))
    torch.testing.assert_close(first, second)


def test_an_inner_step_is_gradient_descent_on_scales_and_shifts_alone():
    theta, log_inner_lr = theta_and_log_rates()
    rates = {name: r.exp() for name, r in log_inner_lr.items()}
    for p in theta.values():
        p.requires_grad_()
    grams = LOSS.style_grams(BATCH.style)
    targets = LOSS.targets(BATCH.support_contents, grams)
    w = dict(theta)
    for _ in range(2):
        norms = norm_parameters(w)
        images = transform(NETWORK, w, BATCH.support_contents, DOUBLE)
        value = LOSS(images, targets)[0].log().mean()
        for name, g in zip(norms, torch.autograd.grad(value, list(norms.values())), strict=True):
            w[name] = (w[name] - rates[name] * g).detach().requires_grad_()
    adapted, before, made = inner_loop(
        NETWORK, theta, rates, BATCH.support_contents, grams, LOSS, steps=2, second_order=False
    )
    for name, p in adapted.items():
        torch.testing.assert_close(p, w[name])
        idle = name.endswith("second.norm.shift")  # which the next instance norm takes away, see test_network.py
        assert torch.allclose(p, theta[name], rtol=0, atol=1e-12) == (not is_norm_parameter(name) or idle), name
        assert is_norm_parameter(name) or p is theta[name]
    at_theta = transform_with_activations(NETWORK, theta, BATCH.support_contents, DOUBLE)
    torch.testing.assert_close(vars(made), vars(at_theta))
    torch.testing.assert_close(before, LOSS(at_theta.images, targets)[0].log().mean())


def test_inner_steps_lower_the_loss_of_the_training_contents():
    theta, log_inner_lr = theta_and_log_rates()
    for p in theta.values():
        p.requires_grad_()
    rates = {name: r.exp() for name, r in log_inner_lr.items()}
    grams = LOSS.style_grams(BATCH.style)
    losses = []
    for steps in (1, 2, 4):
        w, before, *_ = inner_loop(NETWORK, theta, rates, BATCH.support_contents, grams, LOSS, steps=steps)
        images = transform(NETWORK, w, BATCH.support_contents, DOUBLE)
        after = LOSS(images, LOSS.targets(BATCH.support_contents, grams))[0].log().mean()
        losses.append(float(after.detach()))
    assert float(before.detach()) > losses[0] > losses[1] > losses[2]


def test_the_outer_loss_is_validation_loss_plus_identity_plus_penalty():
    theta, log_inner_lr = theta_and_log_rates()
    for p in theta.values():
        p.requires_grad_()
    rates = {name: r.exp() for name, r in log_inner_lr.items()}
    identities = {"identity_weight": 2.0, "identity_content_weight": 0.5, "identity_detail_weight": 6.0}
    settings = config(1, **identities, logit_weight=4.0, outlier_weight=3.0)
    losses = meta_loss(NETWORK, theta, rates, BATCH, LOSS, settings)
    grams = LOSS.style_grams(BATCH.style)
    w, *_ = inner_loop(NETWORK, theta, rates, BATCH.support_contents, grams, LOSS, steps=1)
    made = transform_with_activations(NETWORK, theta, BATCH.support_contents, DOUBLE)
    adapted = transform_with_activations(NETWORK, w, BATCH.query_contents, DOUBLE)
    valid = LOSS(adapted.images, LOSS.targets(BATCH.query_contents, grams))[0].log().mean()
    identity = (made.images - BATCH.support_contents).abs().mean()
    kept = LOSS(made.images, LOSS.targets(BATCH.support_contents, grams))[1].mean()
    error = F.pad(made.images - BATCH.support_contents, (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1)
    around = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=DOUBLE) / 16
    detail = (error[..., 1, 1] - (error * around).sum((-2, -1))).abs().mean()
    penalty = sum((z.abs() - 0.2).relu().square().mean() for z in (made.logits, adapted.logits)) / 2
    outliers = sum(outlier_penalty(each.streams, 1.0) for each in (made, adapted)) / 2
    assert min(float(t.detach()) for t in (valid.abs(), identity, kept, detail, penalty, outliers)) > 1e-3, (
        "all take part"
    )
    held = 2 * identity + 0.5 * kept + 6 * detail + 4 * penalty + 3 * outliers
    torch.testing.assert_close(losses.outer, valid + held)
    torch.testing.assert_close((losses.valid, losses.identity), (valid, identity))


def test_identity_steps_know_no_style():
    theta, log_inner_lr = theta_and_log_rates()
    rates = {name: r.exp() for name, r in log_inner_lr.items()}
    other = replace(BATCH, style=tiny.tensor(tiny.style(24, 24, seed=7), DOUBLE))
    values = [
        float(meta_loss(NETWORK, theta, rates, batch, LOSS, config(1), identity_only=True).outer)
        for batch in (BATCH, other)
    ]
    assert values[0] == values[1] > 0


# --- the loop


def trainer(tmp_path: Path, **settings: object) -> MetaTrainer:
    return killed_run.trainer(tmp_path / "checkpoint.pt", replace(killed_run.CONFIG, **settings))


def test_the_outer_rate_rises_and_falls():
    settings = MetaTrainingConfig(steps=1000, warmup_steps=100)
    rates = [settings.outer_lr_ratio(step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01, rel=1e-3)
    assert rates[49] == pytest.approx(0.5, rel=0.01)
    assert max(rates) <= 1 and 95 <= rates.index(max(rates)) <= 105
    assert rates[500] == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(rates[100:]))
    assert rates[1000] == pytest.approx(0, abs=1e-12)
    assert MetaTrainingConfig(steps=10, warmup_steps=0).outer_lr_ratio(0) == 1


def test_training_lowers_the_outer_loss(tmp_path):
    run = trainer(tmp_path, steps=1000, warmup_steps=1, identity_steps=0)
    batches = run.batches(0)
    steps = [run.take_step(batches) for _ in range(25)]
    assert steps[-1].outer < 0.8 * steps[0].outer
    assert [step.index for step in steps] == list(range(1, 26))


def test_a_step_s_data_depend_on_seed_and_step_alone(tmp_path):
    first, second = trainer(tmp_path), trainer(tmp_path)
    list(zip(range(3), second.run(), strict=False))  # has drawn other steps before
    torch.manual_seed(123)

    def pictures(run: MetaTrainer, step: int) -> list[Tensor]:
        return [t for b in run.batches(step) for t in (b.style, b.support_contents, b.query_contents)]

    assert all(torch.equal(a, b) for a, b in zip(pictures(first, 7), pictures(second, 7), strict=True))
    assert not torch.equal(pictures(first, 7)[1], pictures(first, 8)[1])
    other = trainer(tmp_path / "other", seed=1)
    assert not torch.equal(pictures(first, 7)[1], pictures(other, 7)[1])


def test_validation_contents_are_other_photos_than_training_contents(tmp_path):
    run = trainer(tmp_path, styles=2, support_contents=2, query_contents=3)
    flat = [torch.full((3, 20, 20), value) for value in (0.1, 0.2, 0.35, 0.6, 1.0)]  # far apart, as light jitters
    run.contents.pictures[:] = flat
    for batch in run.batches(0):
        assert batch.style.shape == (1, 3, 16, 16)
        assert batch.support_contents.shape == (2, 3, 16, 16) and batch.query_contents.shape == (3, 3, 16, 16)
        brightness = torch.cat([batch.support_contents, batch.query_contents]).mean((1, 2, 3))
        nearest = {int(torch.stack(flat).mean((1, 2, 3)).sub(b).abs().argmin()) for b in brightness}
        assert len(nearest) == 5


def test_the_average_of_theta_follows_its_formula(tmp_path):
    run = trainer(tmp_path)
    average = {name: p.detach().clone() for name, p in run.theta.items()}
    for step in range(1, 15):
        run.take_step(run.batches(step - 1))
        decay = min(0.9, (step + 1) / (step + 10))
        average = {name: decay * a + (1 - decay) * run.theta[name].detach() for name, a in average.items()}
    for name, a in average.items():
        torch.testing.assert_close(run.average[name], a)
    assert not tiny.same(run.average, {name: p.detach() for name, p in run.theta.items()})


def test_inner_rates_are_learned_only_when_asked(tmp_path):
    for learned in (True, False):
        run = trainer(tmp_path / str(learned), learn_inner_lr=learned, identity_steps=0)
        before = {name: r.detach().clone() for name, r in run.log_inner_lr.items()}
        run.take_step(run.batches(0))
        assert tiny.same(before, {name: r.detach() for name, r in run.log_inner_lr.items()}) != learned


def test_a_loss_that_is_not_finite_stops_the_run_before_it_spoils_theta(tmp_path):
    run = trainer(tmp_path, inner_learning_rate=1e30, identity_steps=0)
    before = {name: p.detach().clone() for name, p in run.theta.items()}
    with pytest.raises(FloatingPointError, match=r"at step 0; lower learning_rate \(0\.001\) or inner_learning_rate"):
        run.take_step(run.batches(0))
    assert tiny.same(before, {name: p.detach() for name, p in run.theta.items()})


class SteepLoss(PerceptualLoss):
    """A loss of finite value and infinite slope: sqrt at 0."""

    def __call__(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        total, content, style = super().__call__(images, targets)
        return total, content + self._step(images), style

    def content(self, images: Tensor, contents: Tensor) -> Tensor:
        return super().content(images, contents) + self._step(images)

    def _step(self, images: Tensor) -> Tensor:
        return (images - images.detach()).square().sum().sqrt()


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_spoils_theta(tmp_path):
    run = trainer(tmp_path, identity_steps=1)
    before = {name: p.detach().clone() for name, p in run.theta.items()}
    run.loss = SteepLoss(run.loss.features, run.loss.weights)
    with pytest.raises(FloatingPointError, match=r"The outer loss is -?\d.* norm nan at step 0; lower learning_rate"):
        run.take_step(run.batches(0))
    assert tiny.same(before, {name: p.detach() for name, p in run.theta.items()})
    assert all(p.grad is None for p in run.theta.values()) and run.step == 0


# --- stopping and going on


def test_a_run_killed_at_random_moments_ends_bit_identical_to_one_that_was_not(tmp_path):
    kills = 4
    done = tiny.python(killed_run.__file__, str(tmp_path), str(kills), "0")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["starts"]) == kills + 1 and report["starts"][0] == 0
    assert 0 < report["starts"][-1] < report["last"] == killed_run.CONFIG.steps
    assert report["whole"] > 0
    straight, broken = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("straight", "broken")
    )
    for part in ("theta", "average", "log_inner_lr"):
        assert tiny.same(straight[part], broken[part]), part
    for whole, parts in zip(straight["optimizers"], broken["optimizers"], strict=True):
        for index, moments in whole["state"].items():
            assert tiny.same(moments, parts["state"][index])
    assert straight["step"] == broken["step"] == killed_run.CONFIG.steps


def test_a_half_written_checkpoint_beside_the_whole_one_is_ignored(tmp_path):
    run = trainer(tmp_path, steps=2)
    list(run.run())
    (tmp_path / "checkpoint.tmp").write_bytes(b"half a checkpo")
    again = trainer(tmp_path, steps=2)
    assert again.step == 2 and tiny.same(again.average, run.average)
    assert list(again.run()) == []


def test_a_checkpoint_is_never_open_for_writing_under_its_own_name(tmp_path, monkeypatch):
    run = trainer(tmp_path, steps=4)
    run.take_step(run.batches(0))
    run.save()
    whole = (tmp_path / "checkpoint.pt").read_bytes()

    def disk_full(state: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    run.take_step(run.batches(1))
    with pytest.raises(OSError):
        run.save()
    assert (tmp_path / "checkpoint.pt").read_bytes() == whole


def test_more_steps_may_be_asked_for_later(tmp_path):
    list(trainer(tmp_path, steps=2).run())
    assert [step.index for step in trainer(tmp_path, steps=4).run()] == [3, 4]


@pytest.mark.parametrize("setting", ["gradient_clip", "inner_learning_rate"])
def test_a_rate_or_bound_of_0_that_would_stop_all_learning_is_refused(setting):
    with pytest.raises(ValueError, match=f"{setting} must be a number >= "):
        MetaTrainingConfig(**{setting: 0})


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("size", 20, "size (16 -> 20)"),
        ("seed", 5, "seed (0 -> 5)"),
        ("weights", LossWeights(style_weight=3), "weights ("),
        ("network", NetworkConfig(width=3, residual_blocks=1), "network ("),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, setting, value, said):
    list(trainer(tmp_path, steps=1).run())
    with pytest.raises(ValueError) as caught:
        trainer(tmp_path, **{setting: value})
    sentence = str(caught.value)
    assert "another run" in sentence and said in sentence and "\n" not in sentence
    assert sum(sentence.count(f"{f} (") for f in MetaTrainingConfig.__dataclass_fields__) == 1, "and nothing else"


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (lambda: tiny.features(seed=1), "in float32 -> tiny "),
        (lambda: tiny.features(dtype=torch.bfloat16), "in bfloat16) changed"),
    ],
)
def test_a_run_does_not_go_on_with_other_features_or_in_another_dtype(tmp_path, features, said):
    list(trainer(tmp_path, steps=1).run())
    with pytest.raises(SettingError) as caught:
        killed_run.trainer(tmp_path / "checkpoint.pt", replace(killed_run.CONFIG, steps=2), features())
    sentence = str(caught.value)
    assert sentence.startswith("The checkpoint is of another run: features (tiny ") and said in sentence
    assert "," not in sentence, "and nothing else"


def test_a_checkpoint_that_does_not_say_of_which_run_it_is_is_refused_in_one_sentence(tmp_path):
    list(trainer(tmp_path, steps=1).run())
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["config"] = {"steps": 1, **state.pop("run")}  # as checkpoints were once written
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(SettingError, match=r"^The checkpoint does not say of which run it is.*; use another folder\.$"):
        trainer(tmp_path, steps=1)


def test_a_run_starts_from_the_base_that_it_is_given_unless_that_is_a_converted_one(tmp_path):
    photos = InMemoryDataset(list(tiny.contents(3)))
    base, converted = (MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, output=o) for o in (None, "clamp"))
    run = MetaTrainer(killed_run.CONFIG, tiny.features(), photos, photos, init=base)
    assert tiny.same({name: p.detach() for name, p in run.theta.items()}, dict(base.state_dict()))
    with pytest.raises(SettingError, match="A converted base, whose output is clamped, cannot be trained further; "):
        MetaTrainer(killed_run.CONFIG, tiny.features(), photos, photos, init=converted)


def test_sizes_that_the_network_cannot_take_are_refused():
    with pytest.raises(ValueError, match=r"size must be a multiple of 4, got 30\."):
        MetaTrainingConfig(size=30)
