"""Gatys' method lowers the loss, starts from the content image, and reports the losses of its own images."""

import itertools

import pytest
import tiny
import torch

from metastyle_hub.baselines.gatys import GatysConfig, optimize_pixels
from metastyle_hub.errors import SettingError
from metastyle_hub.losses import LossWeights, PerceptualLoss

STYLE = tiny.tensor(tiny.style(40, 40))


def loss() -> PerceptualLoss:
    return PerceptualLoss(tiny.features(), LossWeights(1, 10))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_loss_falls(optimizer):
    steps = list(optimize_pixels(loss(), tiny.contents(1), STYLE, GatysConfig(optimizer, iterations=30)))
    assert steps[-1].loss < 0.3 * steps[0].loss
    assert [s.index for s in steps] == list(range(31))
    if optimizer == "lbfgs":  # its line search never takes a step upwards
        assert all(b.loss <= a.loss * (1 + 1e-4) for a, b in itertools.pairwise(steps))


def test_a_line_search_shortens_a_step_that_is_too_long():
    """On a flat image the second step overshoots by far; with one trial a search the image would not change."""
    gray = 0.5 + 0.01 * torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    steep = PerceptualLoss(tiny.features(), LossWeights(1, 1000))
    steps = list(optimize_pixels(steep, gray, STYLE, GatysConfig("lbfgs", iterations=30)))
    assert steps[-1].loss < 0.1 * steps[0].loss


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_it_starts_from_the_content_and_stays_in_range(optimizer):
    contents = tiny.contents(2)
    before = contents.clone()
    steps = list(optimize_pixels(loss(), contents, STYLE, GatysConfig(optimizer, iterations=4)))
    assert torch.equal(steps[0].images, contents) and torch.equal(contents, before)
    for step in steps:
        assert step.images.shape == contents.shape
        assert float(step.images.min()) >= 0 and float(step.images.max()) <= 1
        assert not step.images.requires_grad


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_reported_losses_are_those_of_the_step_s_own_images(optimizer):
    contents = tiny.contents(2)
    measure = loss()
    targets = measure.targets(contents, measure.style_grams(STYLE))
    for step in optimize_pixels(measure, contents, STYLE, GatysConfig(optimizer, iterations=3)):
        total, content, style = (float(t.mean()) for t in measure(step.images, targets))
        assert (step.loss, step.content, step.style) == pytest.approx((total, content, style), rel=1e-4, abs=1e-9)


def test_images_of_a_batch_are_independent():
    contents = tiny.contents(2)
    config = GatysConfig("adam", iterations=5)
    *_, together = optimize_pixels(loss(), contents, STYLE, config)
    for i in range(2):
        *_, alone = optimize_pixels(loss(), contents[i : i + 1], STYLE, config)
        torch.testing.assert_close(together.images[i : i + 1], alone.images, rtol=0, atol=1e-3)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(SettingError) as error:
        GatysConfig("sgd")
    assert "'sgd'" in str(error.value)
