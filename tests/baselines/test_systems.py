"""Every system keeps an image's size and range; training lowers the loss, and continues where it was interrupted."""

from __future__ import annotations

from itertools import islice

import pytest
import tiny
import tiny_baselines as systems
import torch

from metastyle_hub.baselines.compact import COMPACT_SYSTEMS
from metastyle_hub.baselines.gatys import Gatys, GatysConfig, optimize_pixels_coarse_to_fine
from metastyle_hub.baselines.johnson import Johnson
from metastyle_hub.baselines.training import train
from metastyle_hub.errors import SettingError
from metastyle_hub.losses import LossWeights, PerceptualLoss

ALL = ["gatys", "gatys_multi", "johnson", "wct", "adain", "meta_networks", "avatar_net", "style_swap"]
STYLE = tiny.tensor(tiny.style(40, 44))


@pytest.mark.parametrize("name", ALL)
def test_an_image_keeps_its_size_and_range(name):
    system = systems.system(name)
    content = tiny.tensor(tiny.content(37, 50))
    prepared = system.prepare(STYLE)
    stylized = system.stylize_prepared(content, prepared)
    assert stylized.shape == content.shape and not stylized.requires_grad
    assert float(stylized.min()) >= 0 and float(stylized.max()) <= 1
    assert torch.isfinite(stylized).all()


@pytest.mark.parametrize("name", ["wct", "adain", "avatar_net", "style_swap"])
def test_images_of_a_batch_are_independent(name):
    system, contents = systems.system(name), tiny.contents(2)
    together = system.stylize(contents, STYLE)
    alone = torch.cat([system.stylize(content, STYLE) for content in contents.split(1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["johnson", "wct", "adain", "meta_networks", "avatar_net", "style_swap"])
def test_training_lowers_the_loss_and_leaves_encoders_alone(name):
    system = systems.system(name)
    if isinstance(system, Johnson):
        system.set_style(STYLE)
    before = {key: value.clone() for key, value in system.state_dict().items()}
    batch = tiny.contents(2), torch.cat([tiny.tensor(tiny.style(32, 32, s)) for s in (0, 1)])
    with torch.no_grad():
        start = float(system.training_loss(*batch))
    steps = list(train(system, systems.contents(), systems.styles(), systems.CONFIG.replace(steps=8)))
    assert [step.index for step in steps] == list(range(1, 9))
    with torch.no_grad():
        assert float(system.training_loss(*batch)) < start
    changed = tiny.changed(before, system.state_dict())
    assert changed and changed <= system.trained_state().keys()


def test_an_interrupted_training_continues(tmp_path):
    whole, killed, resumed = (systems.system("adain") for _ in range(3))
    data = systems.contents(), systems.styles()
    config = systems.CONFIG.replace(steps=4)
    list(train(whole, *data, config))
    file = tmp_path / "run" / "adain.pt"
    list(islice(train(killed, *data, config, file, checkpoint_every=2), 3))
    assert [step.index for step in train(resumed, *data, config, file)] == [3, 4]
    assert tiny.same(resumed.trained_state(), whole.trained_state())
    with pytest.raises(SettingError) as error:
        list(train(resumed, *data, config.replace(crop_size=48), file))
    assert "48" in str(error.value) and str(file) in str(error.value)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(SettingError) as error:
        list(train(resumed, *data, config, file))
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_trained_tensors_are_loaded_all_or_none():
    first, second = systems.system("adain"), systems.system("adain")
    list(train(first, systems.contents(), systems.styles(), systems.CONFIG))
    state = first.trained_state()
    second.load_trained_state(state)
    assert tiny.same(second.trained_state(), state)
    with pytest.raises(KeyError):
        second.load_trained_state(dict(list(state.items())[1:]))
    with pytest.raises(RuntimeError):
        second.load_trained_state({**state, "decoder.9.weight": torch.zeros(1)})


def test_johnson_s_network_belongs_to_its_style():
    system = systems.system("johnson")
    first = system.prepare(STYLE)
    assert tiny.same(first, system.network.parameter_dict())
    second = system.prepare(tiny.tensor(tiny.style(40, 40, 1)))
    assert not tiny.same(first, second)
    content = tiny.contents(1)
    assert not torch.equal(system.stylize_prepared(content, first), system.stylize_prepared(content, second))


def test_coarse_to_fine_ends_at_full_size_with_a_lower_loss():
    loss, contents = PerceptualLoss(tiny.features(), LossWeights(1, 10)), tiny.contents(1, 48)
    steps = list(optimize_pixels_coarse_to_fine(loss, contents, STYLE, GatysConfig(iterations=31), scales=2))
    assert [step.images.shape[-1] for step in steps] == [24] * 16 + [48] * 17
    assert [step.index for step in steps] == [*range(16), *range(15, 32)]
    targets = loss.targets(contents, loss.style_grams(STYLE))
    assert steps[-1].loss < 0.5 * float(loss(contents, targets)[0])
    one = list(optimize_pixels_coarse_to_fine(loss, contents, STYLE, GatysConfig(iterations=2), scales=1))
    assert len(one) == 3 and torch.equal(one[0].images, contents)


def test_nothing_of_gatys_is_trained():
    assert systems.system("gatys").trained_state() == {}
    with pytest.raises(NotImplementedError) as error:
        systems.system("gatys").training_loss(tiny.contents(1), STYLE)
    assert Gatys.__name__ in str(error.value)


@pytest.mark.parametrize("name", COMPACT_SYSTEMS)
def test_systems_on_compact_features_train_what_is_their_own(name):
    system = COMPACT_SYSTEMS[name]()
    trained = sum(p.numel() for p in system.trained_state().values())
    expected = {"adain": 555_075, "wct": 1_731 + 112_451 + 555_075, "avatar_net": 555_075 - 1_731 + 36_928 + 9_411}
    expected |= {"style_swap": 555_075, "johnson": 1_679_235}
    assert trained == expected.get(name, trained)
    assert not any("features." in key for key in system.trained_state())
