"""The yardstick must measure: optimising pixels lowers the loss that networks are judged by."""

import itertools

import pytest
import tiny
import torch

from metastyle_hub.baselines.gatys import GatysConfig, optimize_pixels
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
    """On a flat photo the second step overshoots by far; one trial a search would leave the picture where it is."""
    grey = 0.5 + 0.01 * torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    steep = PerceptualLoss(tiny.features(), LossWeights(1, 1000))
    steps = list(optimize_pixels(steep, grey, STYLE, GatysConfig("lbfgs", iterations=30)))
    assert steps[-1].loss < 0.1 * steps[0].loss


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_it_starts_from_the_photo_and_stays_a_picture(optimizer):
    photo = tiny.contents(2)
    before = photo.clone()
    steps = list(optimize_pixels(loss(), photo, STYLE, GatysConfig(optimizer, iterations=4)))
    assert torch.equal(steps[0].images, photo) and torch.equal(photo, before)
    for step in steps:
        assert step.images.shape == photo.shape
        assert float(step.images.min()) >= 0 and float(step.images.max()) <= 1
        assert not step.images.requires_grad


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_losses_reported_are_those_of_the_step_s_own_picture(optimizer):
    photo = tiny.contents(2)
    measure = loss()
    targets = measure.targets(photo, measure.style_grams(STYLE))
    for step in optimize_pixels(measure, photo, STYLE, GatysConfig(optimizer, iterations=3)):
        total, content, style = (float(t.mean()) for t in measure(step.images, targets))
        assert (step.loss, step.content, step.style) == pytest.approx((total, content, style), rel=1e-4, abs=1e-9)


def test_pictures_of_a_batch_do_not_disturb_each_other():
    photos = tiny.contents(2)
    config = GatysConfig("adam", iterations=5)
    *_, together = optimize_pixels(loss(), photos, STYLE, config)
    for i in range(2):
        *_, alone = optimize_pixels(loss(), photos[i : i + 1], STYLE, config)
        torch.testing.assert_close(together.images[i : i + 1], alone.images, rtol=0, atol=1e-3)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match=r"optimizer must be 'adam' or 'lbfgs', got 'sgd'\."):
        next(optimize_pixels(loss(), tiny.contents(1), STYLE, GatysConfig("sgd")))
