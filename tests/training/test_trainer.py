"""The training loop: what a step is, and that a run survives being killed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import killed_run
import pytest
import tiny
import torch
from torch import Tensor

from metastyle_hub.data.datasets import InMemoryDataset
from metastyle_hub.errors import SettingError
from metastyle_hub.losses import LossTargets, LossWeights, PerceptualLoss
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.param_groups import Parameters
from metastyle_hub.networks.transformer_net import NetworkConfig
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.trainer import MetaTrainer


def trainer(tmp_path: Path, **options: object) -> MetaTrainer:
    return killed_run.trainer(tmp_path / "checkpoint.pt", replace(killed_run.CONFIG, **options))


def theta_of(run: MetaTrainer) -> Parameters:
    return {name: p.detach().clone() for name, p in run.theta.items()}


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

    def images(run: MetaTrainer, step: int) -> list[Tensor]:
        return [t for b in run.batches(step) for t in (b.style, b.support, b.query)]

    assert all(torch.equal(a, b) for a, b in zip(images(first, 7), images(second, 7), strict=True))
    assert not torch.equal(images(first, 7)[1], images(first, 8)[1])
    other = trainer(tmp_path / "other", seed=1)
    assert not torch.equal(images(first, 7)[1], images(other, 7)[1])


def test_query_contents_are_other_images_than_support_contents(tmp_path):
    run = trainer(tmp_path, styles=2, support_contents=2, query_contents=3)
    flat = [torch.full((3, 20, 20), value) for value in (0.1, 0.2, 0.35, 0.6, 1.0)]  # far apart, as brightness jitters
    run.contents.images[:] = flat
    for batch in run.batches(0):
        assert batch.style.shape == (1, 3, 16, 16)
        assert batch.support.shape == (2, 3, 16, 16) and batch.query.shape == (3, 3, 16, 16)
        brightness = torch.cat([batch.support, batch.query]).mean((1, 2, 3))
        nearest = {int(torch.stack(flat).mean((1, 2, 3)).sub(b).abs().argmin()) for b in brightness}
        assert len(nearest) == 5


def test_the_ema_weights_follow_their_formula(tmp_path):
    run = trainer(tmp_path)
    ema = theta_of(run)
    for step in range(1, 15):
        run.take_step(run.batches(step - 1))
        decay = min(0.9, (step + 1) / (step + 10))
        ema = {name: decay * p + (1 - decay) * run.theta[name].detach() for name, p in ema.items()}
    for name, p in ema.items():
        torch.testing.assert_close(run.ema[name], p)
    assert not tiny.same(run.ema, theta_of(run))


def test_inner_learning_rates_are_trained_only_if_asked_for(tmp_path):
    for learned in (True, False):
        run = trainer(tmp_path / str(learned), learn_inner_lr=learned, identity_steps=0)
        before = {name: r.detach().clone() for name, r in run.log_inner_lr.items()}
        run.take_step(run.batches(0))
        assert tiny.same(before, {name: r.detach() for name, r in run.log_inner_lr.items()}) != learned


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_theta_unchanged(tmp_path):
    run = trainer(tmp_path, inner_learning_rate=1e30, identity_steps=0)
    before = theta_of(run)
    with pytest.raises(FloatingPointError) as error:
        run.take_step(run.batches(0))
    assert all(part in str(error.value) for part in ("step 0", "learning_rate (0.001)", "inner_learning_rate (1e+30)"))
    assert tiny.same(before, theta_of(run))


def gradients_of(run: MetaTrainer) -> list[Tensor]:
    """Those that the last step descended; it leaves them on the parameters."""
    variables = [*run.theta.values(), *run.log_inner_lr.values()]
    return [torch.zeros_like(v) if v.grad is None else v.grad.clone() for v in variables]


def test_a_step_descends_the_mean_gradient_of_its_styles(tmp_path):
    options = {"styles": 2, "identity_steps": 0, "gradient_clip": 1e9}
    both, first, second = (trainer(tmp_path / str(i), **options) for i in range(3))
    batches = both.batches(0)
    steps = [both.take_step(batches), first.take_step(batches[:1]), second.take_step(batches[1:])]
    assert steps[0].outer == pytest.approx((steps[1].outer + steps[2].outer) / 2, rel=1e-5)
    assert steps[1].outer != steps[2].outer
    for mean, *parts in zip(*(gradients_of(run) for run in (both, first, second)), strict=True):
        torch.testing.assert_close(mean, (parts[0] + parts[1]) / 2, rtol=1e-3, atol=1e-5)


def test_gradients_are_clipped_and_their_norm_is_reported(tmp_path):
    free, clipped = (trainer(tmp_path / str(c), identity_steps=0, gradient_clip=c) for c in (1e9, 0.5))
    batches = free.batches(0)
    norms = [run.take_step(batches).gradient_norm for run in (free, clipped)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5) and norms[0] > 0.6
    lengths = [float(torch.cat([g.flatten() for g in gradients_of(run)]).norm()) for run in (free, clipped)]
    assert lengths == pytest.approx([norms[0], 0.5], rel=1e-3)


def test_the_first_steps_train_the_regularizers_alone(tmp_path):
    run = trainer(tmp_path, identity_steps=2)
    steps = [run.take_step(run.batches(i)) for i in range(3)]
    assert [step.query == step.support == step.style == 0 for step in steps] == [True, True, False]
    assert all(step.identity > 0 for step in steps)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_step_has_the_length_of_the_learning_rate_of_that_step(tmp_path, optimizer):
    run = trainer(tmp_path, optimizer=optimizer, warmup_steps=4, identity_steps=0, gradient_clip=1e9)
    before, rates = theta_of(run), {n: r.detach().clone() for n, r in run.log_inner_lr.items()}
    run.take_step(run.batches(0))
    length = {name: (run.theta[name].detach() - p).abs() for name, p in before.items()}
    # Adam's first step is sign(gradient) * rate; the warmup is at a quarter of the peak
    assert float(length["to_rgb.weight"].max()) == pytest.approx(0.25e-3, rel=1e-3)
    inner = max(float((run.log_inner_lr[name].detach() - r).abs()) for name, r in rates.items())
    assert inner == pytest.approx(0.25 * run.config.inner_lr_learning_rate, rel=1e-3)
    kernel = length["residual_blocks.0.first.conv.weight"]
    equal = float(kernel.quantile(0.1)) > 0.99 * float(kernel.max())
    assert equal == (optimizer == "adam")
    # Muon's step has the RMS of a usual step of Adam, a fifth of its first one
    rms = float(kernel.square().mean().sqrt())
    assert rms == pytest.approx(0.25e-3, rel=1e-2) if optimizer == "adam" else 0.6 < rms / 0.05e-3 < 1.2


def test_crops_are_of_random_size_and_those_of_contents_have_jitter(tmp_path):
    run = trainer(tmp_path, support_contents=2, query_contents=2)
    ramp = torch.linspace(0, 1, 80).expand(3, 80, 80)
    run.styles.images[:] = [ramp] * 4
    run.contents.images[:] = [torch.full((3, 80, 80), 0.5)] * 5
    batches = [batch for step in range(60) for batch in run.batches(step)]
    spans = [float(b.style[0, 0, 8].max() - b.style[0, 0, 8].min()) * 16 / 15 for b in batches]
    assert 0.35 < min(spans) < 0.5 and 0.9 < max(spans) < 1.1
    levels = torch.cat([torch.cat([b.support, b.query]).mean((1, 2, 3)) for b in batches])
    assert 0.42 < float(levels.min()) < 0.45 and 0.55 < float(levels.max()) < 0.58


def test_every_task_has_its_own_noise_offset(tmp_path):
    run = trainer(tmp_path, styles=2)
    offsets = [batch.noise_offset for step in range(6) for batch in run.batches(step)]
    assert len(set(offsets)) == 12
    assert [batch.noise_offset for batch in run.batches(3)] == offsets[6:8]


class SteepLoss(PerceptualLoss):
    """A loss of finite value and infinite slope: sqrt at 0."""

    def __call__(self, images: Tensor, targets: LossTargets) -> tuple[Tensor, Tensor, Tensor]:
        total, content, style = super().__call__(images, targets)
        return total, content + self._step(images), style

    def content(self, images: Tensor, contents: Tensor) -> Tensor:
        return super().content(images, contents) + self._step(images)

    def _step(self, images: Tensor) -> Tensor:
        return (images - images.detach()).square().sum().sqrt()


def test_a_gradient_that_is_not_finite_stops_the_run_and_leaves_theta_unchanged(tmp_path):
    run = trainer(tmp_path, identity_steps=1)
    before = theta_of(run)
    run.loss = SteepLoss(run.loss.feature_extractor, run.loss.weights)
    with pytest.raises(FloatingPointError) as error:
        run.take_step(run.batches(0))
    assert all(part in str(error.value) for part in ("norm nan", "step 0", "learning_rate"))
    assert "loss is nan" not in str(error.value)
    assert tiny.same(before, theta_of(run))
    assert all(p.grad is None for p in run.theta.values()) and run.step == 0


# --- checkpoints


def test_a_run_killed_at_random_times_ends_bit_identical_to_one_that_was_not(tmp_path):
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
    for part in ("theta", "ema", "log_inner_lr"):
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
    assert again.step == 2 and tiny.same(again.ema, run.ema)
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


def test_a_run_may_get_more_steps_later(tmp_path):
    list(trainer(tmp_path, steps=2).run())
    assert [step.index for step in trainer(tmp_path, steps=4).run()] == [3, 4]


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("size", 20, "size (16 -> 20)"),
        ("seed", 5, "seed (0 -> 5)"),
        ("weights", LossWeights(style_weight=3), "weights ("),
        ("network", NetworkConfig(width=3, residual_blocks=1), "network ("),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, name, value, named):
    list(trainer(tmp_path, steps=1).run())
    with pytest.raises(SettingError) as error:
        trainer(tmp_path, **{name: value})
    sentence = str(error.value)
    assert named in sentence and "\n" not in sentence and isinstance(error.value, ValueError)
    assert sum(sentence.count(f"{f} (") for f in MetaTrainingConfig.__dataclass_fields__) == 1, "and nothing else"


@pytest.mark.parametrize(
    ("features", "named"),
    [
        (lambda: tiny.features(seed=1), "in float32 -> tiny "),
        (lambda: tiny.features(dtype=torch.bfloat16), "in bfloat16)"),
    ],
)
def test_a_run_does_not_continue_with_another_feature_extractor_or_dtype(tmp_path, features, named):
    list(trainer(tmp_path, steps=1).run())
    with pytest.raises(SettingError) as error:
        killed_run.trainer(tmp_path / "checkpoint.pt", replace(killed_run.CONFIG, steps=2), features())
    sentence = str(error.value)
    assert "feature_extractor (tiny " in sentence and named in sentence
    assert "," not in sentence, "and nothing else"


def test_a_checkpoint_without_its_settings_is_refused(tmp_path):
    list(trainer(tmp_path, steps=1).run())
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["config"] = {"steps": 1, **state.pop("run")}  # as checkpoints were once written
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(SettingError) as error:
        trainer(tmp_path, steps=1)
    assert "checkpoint" in str(error.value) and "\n" not in str(error.value)


def test_a_run_can_start_from_a_base_but_not_from_a_converted_network():
    images = InMemoryDataset(list(tiny.contents(3)))
    base, converted = (
        MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, output_activation=o) for o in (None, "clamp")
    )
    run = MetaTrainer(killed_run.CONFIG, tiny.features(), images, images, init=base)
    assert tiny.same(theta_of(run), base.state_dict())
    run.take_step(run.batches(0))
    assert tiny.same(base.state_dict(), tiny.parameters()), "the base stays unchanged"
    with pytest.raises(SettingError) as error:
        MetaTrainer(killed_run.CONFIG, tiny.features(), images, images, init=converted)
    assert "output_activation" in str(error.value)
