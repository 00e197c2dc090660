"""The minimal script: its bilevel gradient is the derivative, both of its loops lower the loss, images are images."""

from __future__ import annotations

from pathlib import Path

import minimal_metastyle as minimal
import pytest
import tiny
import torch
from PIL import Image

from metastyle_hub.networks.param_groups import Parameters
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet

DOUBLE = torch.float64
NET = TransformerNet(NetworkConfig(width=2, residual_blocks=1)).double()
PHI = tiny.features(dtype=DOUBLE)
SUPPORT, QUERY = tiny.contents(2, 24, dtype=DOUBLE), tiny.contents(2, 24, seed=10, dtype=DOUBLE)
STYLE = tiny.tensor(tiny.style(24, 24), DOUBLE)


def theta() -> Parameters:
    return {name: p.requires_grad_() for name, p in tiny.parameters(3, NET.config, DOUBLE).items()}


def outer(w: Parameters) -> torch.Tensor:
    return minimal.meta_loss(NET, w, PHI, SUPPORT, QUERY, STYLE)


def assert_norms_alone(changed: set[str], start: Parameters) -> None:
    norms = minimal.norms_of(start).keys()
    # the next norm removes the bias of the last residual block
    assert changed <= norms and {name for name in norms if name.endswith("weight")} <= changed


@pytest.mark.parametrize("steps", [1, 2])
def test_the_bilevel_gradient_is_that_of_finite_differences(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimal, "INNER_STEPS", steps)
    start = theta()
    gradients = dict(zip(start, torch.autograd.grad(outer(start), list(start.values())), strict=True))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = {name: torch.randn(p.shape, generator=generator, dtype=DOUBLE) for name, p in start.items()}
        h = 1e-7 / sum(float(d.square().sum()) for d in direction.values()) ** 0.5

        def value(sign: int, direction: Parameters = direction, h: float = h) -> float:
            moved = {name: (p.detach() + sign * h * direction[name]).requires_grad_() for name, p in theta().items()}
            return float(outer(moved).detach())

        slope = (value(1) - value(-1)) / (2 * h)
        expected = sum(float((gradients[name] * d).sum()) for name, d in direction.items())
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_the_inner_loop_changes_the_norms_alone_and_lowers_the_support_loss() -> None:
    start = theta()
    w = minimal.inner_loop(NET, start, PHI, SUPPORT, STYLE)
    assert_norms_alone(tiny.changed(w, start), start)
    losses = [minimal.perceptual_loss(PHI, minimal.stylize(NET, p, SUPPORT), SUPPORT, STYLE) for p in (start, w)]
    assert losses[1] < losses[0]


def test_a_style_that_is_the_image_has_no_style_loss() -> None:
    contents = tiny.contents(1, 24, dtype=DOUBLE)
    other = minimal.perceptual_loss(PHI, contents, SUPPORT[1:], contents)
    content = torch.log(minimal.relative_distance(*(PHI(x)[PHI.spec.content_tap] for x in (contents, SUPPORT[1:]))))
    assert float(other) == pytest.approx(float(content))


def test_gram_matrices_are_means_of_products() -> None:
    features = torch.rand(2, 3, 4, 5, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    expected = torch.einsum("bihw,bjhw->bij", features, features) / (3 * 4 * 5)
    torch.testing.assert_close(minimal.gram(features), expected)


def test_adaptation_lowers_the_loss_and_leaves_theta_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimal, "SIZE", 24)
    torch.manual_seed(0)
    start = theta()
    before = {name: p.detach().clone() for name, p in start.items()}
    w, losses = minimal.adapt(NET, start, PHI, [tiny.contents(1, 24, dtype=DOUBLE)[0]], STYLE, steps=30)
    assert losses[-1] < losses[0] - 0.2
    assert tiny.same({name: p.detach() for name, p in start.items()}, before)
    assert_norms_alone(tiny.changed(w, before), before)


def test_meta_training_lowers_the_query_loss_and_trains_all_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimal, "SIZE", 24)
    monkeypatch.setattr(minimal, "OUTER_LR", 1e-2)
    torch.manual_seed(0)
    net = TransformerNet(NetworkConfig(width=4, residual_blocks=1)).double()
    before = net.parameter_dict()
    losses = minimal.meta_train(net, PHI, list(SUPPORT), [STYLE[0]], steps=20)
    assert sum(losses[-3:]) < sum(losses[:3])
    changed = tiny.changed(net.parameter_dict(), before)
    assert {name for name in before if name.endswith("weight")} <= changed


@pytest.mark.parametrize("size", [(24, 24), (32, 48)])
def test_stylized_images_have_the_size_of_the_content_and_are_in_range(size: tuple[int, int]) -> None:
    with torch.no_grad():
        stylized = minimal.stylize(NET, theta(), tiny.tensor(tiny.content(*size), DOUBLE))
    assert stylized.shape == (1, 3, *size) and stylized.dtype == DOUBLE
    assert 0 <= float(stylized.min()) < float(stylized.max()) <= 1


def test_the_program_prints_losses_and_writes_an_image_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"SIZE": 16, "IMAGE_SIZE": 32, "OUTER_STEPS": 10, "ADAPTATION_STEPS": 10, "BATCH": 1}.items():
        monkeypatch.setattr(minimal, name, value)
    minimal.main()
    printed = capsys.readouterr().out
    assert printed.count("loss") == 2 and minimal.FILE in printed
    with Image.open(tmp_path / minimal.FILE) as grid:
        assert grid.width >= 4 * 32 and grid.height >= 6 * 32
