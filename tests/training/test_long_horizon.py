"""Rolling trajectories: where they start, how they advance, and that a resumed run is the same run."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import killed_run
import pytest
import tiny
import torch

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.data.datasets import InMemoryDataset
from metastyle_hub.errors import SettingError
from metastyle_hub.losses import MAX_STYLE_SCALES
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.long_horizon import LongHorizonConfig, LongHorizonTrainer
from metastyle_hub.networks.transformer_net import transform
from metastyle_hub.networks.param_groups import is_norm_parameter, trainable_parameters

CONFIG = LongHorizonConfig(
    steps=8, styles=2, slots=4, trajectory=3, size=16, style_size=32, warmup_steps=2, ema=0.9, network=tiny.NETWORK
)


def trainer(config: LongHorizonConfig = CONFIG, checkpoint: Path | None = None) -> LongHorizonTrainer:
    photos = InMemoryDataset([tiny.tensor(tiny.content(seed=i))[0] for i in range(5)])
    paintings = InMemoryDataset([tiny.tensor(tiny.style(seed=i))[0] for i in range(4)])
    return LongHorizonTrainer(config, tiny.features(), photos, paintings, checkpoint=checkpoint, checkpoint_every=2)


def test_slots_take_turns_and_every_trajectory_ends() -> None:
    run = trainer()
    visits: dict[int, int] = dict.fromkeys(range(CONFIG.slots), 0)
    starts: dict[int, list[int]] = {k: [] for k in range(CONFIG.slots)}
    for step in range(40):
        batch = run.batches(step)
        assert set(batch.fresh) <= set(batch.rows)
        for k in batch.rows:
            if k in batch.fresh:
                starts[k].append(visits[k])
            visits[k] += 1
    assert set(visits.values()) == {20}
    for at in starts.values():
        assert at[0] == 0  # a slot has a style before its first step
        assert {b - a for a, b in itertools.pairwise(at[1:])} == {CONFIG.trajectory}


def test_a_fresh_slot_starts_from_theta_and_its_first_step_has_the_length_of_the_rate() -> None:
    run = trainer()
    start = {name: p.detach().clone() for name, p in run.theta.items()}
    run.take_step(run.batches(0))
    own = run._slots["own"]
    assert own.keys() == trainable_parameters(start, "decoder").keys()
    norms = [(values[:2] - start[name]).abs() for name, values in own.items() if is_norm_parameter(name)]
    convolutions = [values[:2].abs() for name, values in own.items() if not is_norm_parameter(name)]
    for moved, rate in ((norms, CONFIG.task_norm_learning_rate), (convolutions, CONFIG.task_learning_rate / CONFIG.task_warmup_steps)):
        # Adam's first step is sign(gradient) * rate, and less only where the gradient is next to nothing
        assert max(float(m.max()) for m in moved) == pytest.approx(rate, rel=1e-3)
        assert float(torch.cat([m.flatten() for m in moved]).median()) == pytest.approx(rate, rel=1e-2)
    assert not any(values[2:].any() for values in own.values())  # slots whose turn it was not


def test_a_slot_walks_as_adaptation_does(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, steps=6, styles=1, slots=1, trajectory=6, learning_rate=0.0, task_warmup_steps=3)
    run, seen = trainer(config), []
    advance = LongHorizonTrainer._advance
    monkeypatch.setattr(LongHorizonTrainer, "_advance", lambda self, rows, g: (seen.append(g), advance(self, rows, g)))
    list(run.run())
    use = AdaptationConfig(steps=6, warmup_steps=3)
    for name, values in run._slots["own"].items():
        norm = is_norm_parameter(name)
        p = (run.theta[name].detach() if norm else torch.zeros_like(run.theta[name])).clone()
        adam = torch.optim.Adam([p], betas=(0.9, 0.99))
        for step, gradients in enumerate(seen):
            rate = use.norm_learning_rate if norm else use.learning_rate * use.rise(step)
            adam.param_groups[0]["lr"] = rate * use.rate(step)
            p.grad = gradients[name][0]
            adam.step()
        torch.testing.assert_close(values[0], p, rtol=1e-5, atol=1e-7)


def test_convolutions_learn_from_the_slots_but_the_norms_of_theta_only_from_the_identity() -> None:
    config = replace(
        CONFIG, identity_weight=0.0, identity_content_weight=0.0, identity_detail_weight=0.0, logit_weight=0.0
    )
    run = trainer(config)
    before = {name: p.detach().clone() for name, p in run.theta.items()}
    run.take_step(run.batches(0))
    changed = {name for name, p in run.theta.items() if not torch.equal(p, before[name])}
    assert changed
    assert not any(is_norm_parameter(name) for name in changed)


def test_a_trajectory_lowers_the_loss_of_its_style() -> None:
    config = replace(CONFIG, steps=40, styles=1, slots=1, trajectory=40, learning_rate=0.0, task_norm_learning_rate=0.05)
    losses = [step.style for step in trainer(config).run()]
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])


def test_the_predictor_learns_where_a_style_begins() -> None:
    config = replace(CONFIG, steps=80, predicted=4, learning_rate=0.0, predictor_learning_rate=1e-2, prediction_weight=0.0)
    run = trainer(config)
    list(run.run())
    style, unseen = run.styles[0][None], tiny.contents(3, 32, seed=50)
    grams = run.loss.style_grams(style, MAX_STYLE_SCALES)
    start = run.predictor.start(run.theta, grams)
    targets = run.loss.targets(unseen, grams)
    with torch.no_grad():
        base, guess = (
            run.loss(transform(run.network, weights, unseen), targets)[0].log().mean()
            for weights in (run.theta, {**run.theta, **start})
        )
    assert float(guess) < float(base) - 0.1
    run._begin(3, style)  # a slot that takes this style starts there
    for name, values in run._slots["own"].items():
        assert torch.equal(values[3], start[name] if is_norm_parameter(name) else torch.zeros_like(values[3]))


def test_guesses_are_held_within_reach() -> None:
    free, held = (
        replace(CONFIG, steps=60, learning_rate=0.0, predictor_learning_rate=1e-2, prediction_weight=weight)
        for weight in (0.0, 30.0)
    )
    sizes = []
    for config in (free, held):
        run = trainer(config)
        list(run.run())
        with torch.no_grad():
            guess = run.predictor(run.loss.style_grams(run.styles[0][None], MAX_STYLE_SCALES))
        sizes.append(float(torch.cat(list(guess.values()), 1).square().mean()))
    assert sizes[1] < 0.2 * sizes[0]


def test_without_predicted_styles_there_is_no_predictor() -> None:
    run = trainer(replace(CONFIG, predicted=0))
    step = run.take_step(run.batches(0))
    assert run.ema_predictor == {} and step.before != step.before


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
    for name in whole.theta:
        assert torch.equal(whole.theta[name], resumed.theta[name])
        assert torch.equal(whole.average[name], resumed.average[name])
    for kind, values in whole._slots.items():
        for name in values:
            assert torch.equal(values[name], resumed._slots[kind][name])
    assert tiny.same(whole.predictor.state_dict(), resumed.predictor.state_dict())
    assert tiny.same(whole.ema_predictor, resumed.ema_predictor)
    assert whole.ema_predictor["out.bias"].any()


def test_a_rolling_run_does_not_go_on_as_a_bilevel_one_nor_the_other_way_round(tmp_path: Path) -> None:
    rolling, bilevel = tmp_path / "rolling.pt", tmp_path / "bilevel.pt"
    list(trainer(replace(CONFIG, steps=1), rolling).run())
    values = {name: value for name, value in CONFIG.to_dict().items() if name in MetaTrainingConfig.__annotations__}
    plain = replace(MetaTrainingConfig.from_dict(values), steps=1)
    list(killed_run.trainer(bilevel, plain).run())
    with pytest.raises(SettingError) as caught:
        killed_run.trainer(rolling, plain)
    assert str(caught.value) == (
        "The checkpoint is of another run: trainer (LongHorizonTrainer -> MetaTrainer) changed; "
        "use another folder or the same settings."
    )
    with pytest.raises(SettingError, match=r"trainer \(MetaTrainer -> LongHorizonTrainer\) changed;"):
        trainer(CONFIG, bilevel)


def test_the_outer_loss_is_that_of_the_slots_plus_what_holds_theta() -> None:
    # limits this low make the penalties on logits and outliers count
    low = {"logit_limit": 0.1, "outlier_limit": 1.0, "identity_detail_weight": 0.0}
    config = replace(
        CONFIG, identity_weight=2.0, identity_content_weight=0.0, logit_weight=4.0, outlier_weight=3.0, **low
    )
    first, second = (trainer(replace(config, identity_content_weight=weight)) for weight in (0.0, 0.5))
    step, stricter = first.take_step(first.batches(0)), second.take_step(second.batches(0))
    assert min(step.identity, step.logits, step.outliers) > 1e-3
    held = 2 * step.identity + 4 * step.logits + 3 * step.outliers
    counts = config.styles, config.predicted
    mean = (counts[0] * step.valid + counts[1] * step.before) / sum(counts)
    assert step.outer == pytest.approx(mean + held, rel=1e-5)
    photo = first.batches(0).contents[-1:]
    theta = trainer(config)  # before its step
    with torch.no_grad():
        grams = theta.loss.style_grams(photo)
        image = transform(theta.network, theta.theta, photo)
        kept = float(theta.loss(image, theta.loss.targets(photo, grams))[1])
    assert stricter.outer - step.outer == pytest.approx(0.5 * kept, rel=1e-3)


def test_slots_that_cannot_take_turns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"slots must be a multiple of styles \(3\), got 4\."):
        replace(CONFIG, styles=3)


def test_scales_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_scale must be at least min_scale \(0\.5\), got 0\.3\."):
        replace(CONFIG, min_scale=0.5, max_scale=0.3)


def test_a_loss_that_is_not_finite_stops_the_run_before_it_spoils_anything() -> None:
    run = trainer()
    run.take_step(run.batches(0))
    theta = {name: p.detach().clone() for name, p in run.theta.items()}
    slots = {name: values.clone() for name, values in run._slots["own"].items()}
    batch = run.batches(1)
    with pytest.raises(FloatingPointError, match=r"The outer loss is nan .* at step 1; lower learning_rate \(0\.001\)"):
        run.take_step(replace(batch, contents=batch.contents * float("nan")))
    assert tiny.same(theta, {name: p.detach() for name, p in run.theta.items()})
    waiting = sorted(set(range(CONFIG.slots)) - set(batch.rows))
    assert all(torch.equal(run._slots["own"][name][waiting], values[waiting]) for name, values in slots.items())
    assert all(bool(values.isfinite().all()) for values in run._slots["own"].values())
