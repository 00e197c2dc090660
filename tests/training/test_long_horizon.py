"""Long-horizon training: where tasks start, how they advance, and that a resumed run is the same run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import killed_run
import pytest
import tiny
import torch
from torch import Tensor

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.data.datasets import InMemoryDataset
from metastyle_hub.errors import SettingError
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.param_groups import Parameters, is_norm_parameter, trainable_parameters
from metastyle_hub.networks.style_predictor import MAX_STYLE_SCALES, StylePredictor
from metastyle_hub.networks.transformer_net import transform
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.long_horizon import LongHorizonConfig, LongHorizonTrainer

CONFIG = LongHorizonConfig(
    steps=8,
    styles=2,
    buffer_size=4,
    horizon=3,
    size=16,
    style_size=32,
    warmup_steps=2,
    ema_decay=0.9,
    network=tiny.NETWORK,
)


def trainer(
    config: LongHorizonConfig = CONFIG, checkpoint: Path | None = None, **options: object
) -> LongHorizonTrainer:
    contents = InMemoryDataset([tiny.tensor(tiny.content(seed=i))[0] for i in range(5)])
    styles = InMemoryDataset([tiny.tensor(tiny.style(seed=i))[0] for i in range(4)])
    return LongHorizonTrainer(
        config, tiny.features(), contents, styles, checkpoint=checkpoint, checkpoint_every=2, **options
    )


def own(run: LongHorizonTrainer) -> Parameters:
    """What the tasks own, by name: (buffer_size, ...)."""
    buffer = run.state_dict()["buffer"]
    assert isinstance(buffer, Mapping)
    return {name: values.clone() for name, values in buffer["own"].items()}


def theta_of(run: LongHorizonTrainer) -> Parameters:
    return {name: p.detach().clone() for name, p in run.theta.items()}


def loss_of(run: LongHorizonTrainer, weights: Mapping[str, Tensor], style: Tensor) -> float:
    """The log loss of some weights on contents that no run uses."""
    unseen = tiny.contents(3, 32, seed=50)
    targets = run.loss.targets(unseen, run.loss.style_grams(style))
    with torch.no_grad():
        return float(run.loss(transform(run.network, weights, unseen), targets)[0].log().mean())


def test_tasks_take_turns_and_every_trajectory_ends_at_the_horizon() -> None:
    run = trainer()
    turns: dict[int, int] = dict.fromkeys(range(CONFIG.buffer_size), 0)
    starts: dict[int, list[int]] = {k: [] for k in range(CONFIG.buffer_size)}
    for step in range(40):
        batch = run.batches(step)
        assert set(batch.new_styles) <= set(batch.tasks)
        for k in batch.tasks:
            if k in batch.new_styles:
                starts[k].append(turns[k])
            turns[k] += 1
    assert set(turns.values()) == {20}
    for at in starts.values():
        assert at[0] == 0  # a task has a style before its first step
        assert {b - a for a, b in itertools.pairwise(at[1:])} == {CONFIG.horizon}


def test_batches_depend_on_seed_and_step_alone() -> None:
    first, second = trainer(), trainer()
    first.take_step(first.batches(0))
    torch.manual_seed(9)
    a, b, c = first.batches(5), second.batches(5), trainer(replace(CONFIG, seed=1)).batches(5)
    assert torch.equal(a.contents, b.contents) and a.noise_offset == b.noise_offset
    assert a.predictor_styles is not None and b.predictor_styles is not None
    assert torch.equal(a.predictor_styles, b.predictor_styles)
    assert a.contents.shape == (CONFIG.styles + CONFIG.predicted_styles + 1, 3, 16, 16)
    assert a.predictor_styles.shape == (CONFIG.predicted_styles, 3, 32, 32)
    assert not torch.equal(a.contents, c.contents) and a.noise_offset != c.noise_offset


def test_a_new_task_starts_from_theta_and_its_first_step_has_the_length_of_the_learning_rate() -> None:
    run = trainer()
    start = theta_of(run)
    run.take_step(run.batches(0))
    values = own(run)
    assert values.keys() == trainable_parameters(start, "decoder").keys()
    norms = [(p[:2] - start[name]).abs() for name, p in values.items() if is_norm_parameter(name)]
    convolutions = [p[:2].abs() for name, p in values.items() if not is_norm_parameter(name)]
    warm = CONFIG.task_learning_rate / CONFIG.task_warmup_steps
    for moved, rate in ((norms, CONFIG.task_norm_learning_rate), (convolutions, warm)):
        # Adam's first step is sign(gradient) * rate, and less only where the gradient is next to nothing
        assert max(float(m.max()) for m in moved) == pytest.approx(rate, rel=1e-3)
        assert float(torch.cat([m.flatten() for m in moved]).median()) == pytest.approx(rate, rel=1e-2)
    assert not any(p[2:].any() for p in values.values())  # tasks whose turn it was not


def test_a_task_that_restarts_has_forgotten_its_first_style() -> None:
    config = replace(CONFIG, styles=1, buffer_size=1, horizon=4, predicted_styles=0, learning_rate=0.0)
    run = trainer(config)
    step = 0
    while step == 0 or 0 not in run.batches(step).new_styles:
        run.take_step(run.batches(step))
        step += 1
    assert step == 4
    run.take_step(run.batches(step))
    values, theta = own(run), theta_of(run)
    norms = torch.cat([(p[0] - theta[name]).abs() for name, p in values.items() if is_norm_parameter(name)])
    convolutions = torch.cat([p[0].abs().flatten() for name, p in values.items() if not is_norm_parameter(name)])
    # a first step of Adam again, with the learning rates of a first step
    for moved, rate in (
        (norms, config.task_norm_learning_rate),
        (convolutions, config.task_learning_rate / config.task_warmup_steps),
    ):
        assert float(moved.max()) == pytest.approx(rate, rel=1e-3)
        assert float(moved.median()) == pytest.approx(rate, rel=1e-2)


def test_a_task_advances_as_an_adaptation_does(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(
        CONFIG, steps=6, styles=1, buffer_size=1, horizon=6, learning_rate=0.0, task_warmup_steps=3, predicted_styles=0
    )
    run, seen = trainer(config), []
    names, gradient = list(own(run)), torch.autograd.grad

    def recorded(outputs: Tensor, inputs: list[Tensor], **options: object) -> tuple[Tensor, ...]:
        parts = gradient(outputs, inputs, **options)
        seen.append(dict(zip(names, parts, strict=False)))  # those of the task come first
        return parts

    monkeypatch.setattr(torch.autograd, "grad", recorded)
    list(run.run())
    monkeypatch.undo()
    assert len(seen) == 6
    use = AdaptationConfig(steps=6, warmup_steps=3)
    for name, values in own(run).items():
        norm = is_norm_parameter(name)
        p = (run.theta[name].detach() if norm else torch.zeros_like(run.theta[name])).clone()
        adam = torch.optim.Adam([p], betas=(0.9, 0.99))
        for step, gradients in enumerate(seen):
            rate = use.norm_learning_rate if norm else use.learning_rate * use.warmup(step)
            adam.param_groups[0]["lr"] = rate * use.lr_ratio(step)
            assert gradients[name].shape == (1, *p.shape)
            p.grad = gradients[name][0]
            adam.step()
        torch.testing.assert_close(values[0], p, rtol=1e-5, atol=1e-7)


def test_tasks_train_convolutions_but_only_the_identity_trains_the_norms_of_theta() -> None:
    config = replace(
        CONFIG, identity_weight=0.0, identity_content_weight=0.0, identity_detail_weight=0.0, logit_weight=0.0
    )
    run = trainer(config)
    before = theta_of(run)
    run.take_step(run.batches(0))
    changed = tiny.changed(before, theta_of(run))
    assert changed
    assert not any(is_norm_parameter(name) for name in changed)


def test_a_trajectory_lowers_the_loss_of_its_style() -> None:
    config = replace(
        CONFIG, steps=40, styles=1, buffer_size=1, horizon=40, learning_rate=0.0, task_norm_learning_rate=0.05
    )
    losses = [step.style for step in trainer(config).run()]
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])


def test_the_config_of_a_task_is_that_of_an_adaptation() -> None:
    config, use = LongHorizonConfig(), AdaptationConfig()
    assert config.horizon == use.steps and config.task_trainable == use.trainable
    assert config.task_learning_rate == use.learning_rate and config.task_norm_learning_rate == use.norm_learning_rate
    task = replace(config, horizon=50, task_final_lr_ratio=0.2, task_warmup_steps=7).task_adaptation()
    assert (task.steps, task.final_lr_ratio, task.warmup_steps) == (50, 0.2, 7)


# --- the predictor


def test_the_predictor_finds_better_initializations_than_theta() -> None:
    config = replace(CONFIG, steps=80, seed=1, learning_rate=0.0, predictor_learning_rate=1e-2, prediction_weight=0.0)
    run = trainer(config)
    list(run.run())
    gains = []
    for i in range(len(run.styles)):
        style = run.styles[i][None]
        start = run.predictor.initialization(run.theta, run.loss.style_grams(style, MAX_STYLE_SCALES))
        gains.append(loss_of(run, run.theta, style) - loss_of(run, {**run.theta, **start}, style))
    # 0.7 to 1.1 with the instruction sets of different machines, whose roundings 80 steps amplify
    assert sum(gains) / len(gains) > 0.2


def test_a_task_that_restarts_begins_at_its_prediction() -> None:
    run = trainer(replace(CONFIG, task_norm_learning_rate=0.0, task_learning_rate=0.0, predictor_learning_rate=1e-2))
    for step in range(4):
        run.take_step(run.batches(step))
    style = run.styles[2][None]
    start = run.predictor.initialization(run.theta, run.loss.style_grams(style, MAX_STYLE_SCALES))
    batch = replace(run.batches(4), new_styles={0: style})
    before, convolutions = theta_of(run), {name for name in own(run) if not is_norm_parameter(name)}
    assert any(not torch.equal(p, before[name]) for name, p in start.items())
    run.take_step(batch)
    for name, values in own(run).items():
        assert torch.equal(values[0], torch.zeros_like(values[0]) if name in convolutions else start[name])


def test_the_predictor_of_the_initial_base_is_trained_further() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        predictor = StylePredictor(tiny.FEATURES.gram_channels, MAX_STYLE_SCALES, tiny.parameters())
        torch.nn.init.normal_(predictor.out.weight, std=0.1)
    # a base file with the predictor of these features cannot exist, so the object stands in for one
    base = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, feature_extractor="tiny")
    base.predictor = predictor.state_dict()
    run = trainer(CONFIG, init=base)
    assert tiny.same(run.predictor.state_dict(), predictor.state_dict())
    run.take_step(run.batches(0))
    assert not tiny.same(run.predictor.state_dict(), predictor.state_dict())
    other = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, feature_extractor="compact")
    other.predictor = predictor.state_dict()
    assert not trainer(CONFIG, init=other).predictor.out.weight.any(), "of another feature extractor it is a new one"


def test_half_of_the_predictor_s_styles_have_permuted_channels() -> None:
    run = trainer()
    flat = torch.tensor([0.9, 0.5, 0.1])[:, None, None].expand(3, 40, 40)
    run.styles.images[:] = [flat] * 4
    drawn = torch.cat([run.batches(step).predictor_styles for step in range(40)]).mean((2, 3))  # (160, 3)
    orders = drawn.argsort(1, descending=True)
    permuted = float((orders != torch.arange(3)).any(1).float().mean())
    assert 0.25 < permuted < 0.6  # five sixths of a half are not the identity
    assert len({tuple(order) for order in orders.tolist()}) == 6
    styles = [s for step in range(8) for s in run.batches(step).new_styles.values()]
    assert all(bool((s.mean((0, 2, 3)).diff() < 0).all()) for s in styles), "those of tasks keep theirs"


def test_the_predictor_is_trained_by_adam_with_betas_of_0_9_and_0_99() -> None:
    run = trainer(replace(CONFIG, gradient_clip=1e9, predictor_learning_rate=1e-2))
    p = run.predictor.out.weight.detach().clone()
    adam = torch.optim.Adam([p], betas=(0.9, 0.99))
    for step in range(6):
        run.take_step(run.batches(step))
        adam.param_groups[0]["lr"] = 1e-2 * run.config.outer_lr_ratio(step)
        p.grad = run.predictor.out.weight.grad
        adam.step()
        torch.testing.assert_close(run.predictor.out.weight.detach(), p, rtol=1e-5, atol=1e-7)


def test_crops_of_styles_and_contents_are_of_random_size() -> None:
    run = trainer(replace(CONFIG, horizon=1))
    run.styles.images[:] = [torch.linspace(0, 1, 80).expand(3, 80, 80)] * 4
    run.contents.images[:] = [torch.full((3, 80, 80), 0.5)] * 5
    batches = [run.batches(step) for step in range(40)]
    spans = [float(s[0, 0, 8].max() - s[0, 0, 8].min()) for batch in batches for s in batch.new_styles.values()]
    assert 0.55 < min(spans) < 0.7 and 0.9 < max(spans) < 1.02
    levels = torch.cat([batch.contents.mean((1, 2, 3)) for batch in batches])
    assert 0.445 < float(levels.min()) < 0.47 and 0.53 < float(levels.max()) < 0.555


def test_a_new_predictor_is_calibrated_on_the_styles() -> None:
    predictor = trainer().predictor
    assert predictor.mean.any() and not torch.equal(predictor.std, torch.ones_like(predictor.std))


def test_the_prediction_weight_bounds_predicted_offsets() -> None:
    free, bounded = (
        replace(CONFIG, steps=60, learning_rate=0.0, predictor_learning_rate=1e-2, prediction_weight=weight)
        for weight in (0.0, 30.0)
    )
    sizes = []
    for config in (free, bounded):
        run = trainer(config)
        list(run.run())
        with torch.no_grad():
            offsets = run.predictor(run.loss.style_grams(run.styles[0][None], MAX_STYLE_SCALES))
        sizes.append(float(torch.cat(list(offsets.values()), 1).square().mean()))
    assert sizes[1] < 0.2 * sizes[0]


def test_without_predicted_styles_there_is_no_predictor() -> None:
    run = trainer(replace(CONFIG, predicted_styles=0))
    step = run.take_step(run.batches(0))
    assert run.ema_predictor == {} and step.support != step.support


def test_the_ema_predictor_follows_its_formula() -> None:
    run = trainer(replace(CONFIG, predictor_learning_rate=1e-2))
    ema = {name: p.detach().clone() for name, p in run.predictor.state_dict().items()}
    for step in range(1, 8):
        run.take_step(run.batches(step - 1))
        decay = min(0.9, (step + 1) / (step + 10))
        ema = {n: decay * p + (1 - decay) * run.predictor.state_dict()[n].detach() for n, p in ema.items()}
    for name, p in ema.items():
        torch.testing.assert_close(run.ema_predictor[name], p)


# --- the loop


def test_a_resumed_run_is_the_run_that_was_never_stopped(tmp_path: Path) -> None:
    whole = trainer(checkpoint=tmp_path / "whole.pt")
    for _ in whole.run():
        pass
    for step in trainer(checkpoint=tmp_path / "parts.pt").run():
        if step.index == 5:  # a checkpoint is at 4: one step is lost and done again
            break
    resumed = trainer(checkpoint=tmp_path / "parts.pt")
    assert resumed.step == 4
    for _ in resumed.run():
        pass
    assert tiny.same(theta_of(whole), theta_of(resumed)) and tiny.same(whole.ema, resumed.ema)
    states = [run.state_dict() for run in (whole, resumed)]
    for kind, values in states[0]["buffer"].items():  # type: ignore[attr-defined]
        assert tiny.same(values, states[1]["buffer"][kind])  # type: ignore[index]
    assert states[0]["task_steps"] == states[1]["task_steps"]
    assert tiny.same(whole.predictor.state_dict(), resumed.predictor.state_dict())
    assert tiny.same(whole.ema_predictor, resumed.ema_predictor)
    assert whole.ema_predictor["out.bias"].any()


def test_long_horizon_and_bilevel_runs_do_not_continue_each_other(tmp_path: Path) -> None:
    long, bilevel = tmp_path / "long.pt", tmp_path / "bilevel.pt"
    list(trainer(replace(CONFIG, steps=1), long).run())
    values = {name: value for name, value in CONFIG.to_dict().items() if name in MetaTrainingConfig.__annotations__}
    plain = replace(MetaTrainingConfig.from_dict(values), steps=1)
    list(killed_run.trainer(bilevel, plain).run())
    for resume, change in (
        (lambda: killed_run.trainer(long, plain), "LongHorizonTrainer -> MetaTrainer"),
        (lambda: trainer(CONFIG, bilevel), "MetaTrainer -> LongHorizonTrainer"),
    ):
        with pytest.raises(SettingError) as error:
            resume()
        assert f"trainer ({change})" in str(error.value) and "," not in str(error.value)


def test_the_outer_loss_is_that_of_the_tasks_plus_the_regularizers() -> None:
    # limits this low make the penalties on logits and outliers count
    low = {"logit_limit": 0.1, "outlier_limit": 1.0, "identity_detail_weight": 0.0}
    config = replace(
        CONFIG, identity_weight=2.0, identity_content_weight=0.0, logit_weight=4.0, outlier_weight=3.0, **low
    )
    first, second = (trainer(replace(config, identity_content_weight=weight)) for weight in (0.0, 0.5))
    step, stricter = first.take_step(first.batches(0)), second.take_step(second.batches(0))
    assert min(step.identity, step.logits, step.outliers) > 1e-3
    penalties = 2 * step.identity + 4 * step.logits + 3 * step.outliers
    counts = config.styles, config.predicted_styles
    mean = (counts[0] * step.query + counts[1] * step.support) / sum(counts)
    assert step.outer == pytest.approx(mean + penalties, rel=1e-5)
    content = first.batches(0).contents[-1:]
    fresh = trainer(config)  # before its step
    with torch.no_grad():
        grams = fresh.loss.style_grams(content)
        image = transform(fresh.network, fresh.theta, content, noise_offset=first.batches(0).noise_offset)
        kept = float(fresh.loss(image, fresh.loss.targets(content, grams))[1])
    assert step.identity == pytest.approx(float((image - content).abs().mean()), rel=1e-3)
    assert stricter.outer - step.outer == pytest.approx(0.5 * kept, rel=2e-2)


def test_a_buffer_that_is_no_multiple_of_the_styles_is_refused() -> None:
    with pytest.raises(SettingError) as error:
        replace(CONFIG, styles=3)
    assert "buffer_size" in str(error.value) and "3" in str(error.value) and "4" in str(error.value)


def test_crop_scales_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(SettingError) as error:
        replace(CONFIG, min_scale=0.5, max_scale=0.3)
    assert all(part in str(error.value) for part in ("max_scale", "0.5", "0.3"))


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_all_parameters_unchanged() -> None:
    run = trainer()
    run.take_step(run.batches(0))
    theta, tasks, batch = theta_of(run), own(run), run.batches(1)
    with pytest.raises(FloatingPointError) as error:
        run.take_step(replace(batch, contents=batch.contents * float("nan")))
    assert all(part in str(error.value) for part in ("nan", "step 1", "learning_rate (0.001)"))
    assert tiny.same(theta, theta_of(run))
    waiting = sorted(set(range(CONFIG.buffer_size)) - set(batch.tasks))
    assert all(torch.equal(own(run)[name][waiting], values[waiting]) for name, values in tasks.items())
    assert all(bool(values.isfinite().all()) for values in own(run).values())
