"""What each system computes, against its definition, in float64."""

from __future__ import annotations

import pytest
import tiny
import tiny_baselines as systems
import torch
from torch import Tensor

from metastyle_hub.baselines.adain import adain, statistics
from metastyle_hub.baselines.avatar_net import AvatarStyle, decorate
from metastyle_hub.baselines.meta_networks import MetaNetwork
from metastyle_hub.baselines.style_swap import patches_of, swap
from metastyle_hub.baselines.wct import color, covariance, whiten


def features(channels: int = 6, height: int = 12, width: int = 9, seed: int = 0, batch: int = 1) -> Tensor:
    """Correlated features whose channels differ in mean and deviation."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    noise = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    return torch.einsum("ij,bjhw->bihw", mixing, noise) + 3 * mixing[:, 0].view(1, -1, 1, 1)


def covariance_matrix(x: Tensor) -> Tensor:
    return torch.cov(x[0].flatten(1))


def test_adain_gives_the_style_s_mean_and_deviation_per_image():
    style = statistics(features(seed=1, batch=2) * 3)
    changed = adain(features(seed=2, batch=2), style)
    torch.testing.assert_close(changed.mean((2, 3), keepdim=True), style[0], rtol=0, atol=1e-12)
    # the 1e-5 inside the root is all that is left of the content's deviation
    torch.testing.assert_close(changed.std((2, 3), correction=0, keepdim=True), style[1], rtol=1e-4, atol=0)


def test_adain_with_its_own_statistics_is_the_identity():
    x = features()
    torch.testing.assert_close(adain(x, statistics(x)), x, rtol=0, atol=1e-12)


def test_whitened_features_have_covariance_1_and_mean_0():
    whitened = whiten(features())
    torch.testing.assert_close(covariance_matrix(whitened), torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-10)
    assert float(whitened.mean((2, 3)).abs().max()) < 1e-10


def test_colored_features_have_the_covariance_and_mean_of_the_style():
    style = features(height=7, width=15, seed=1)
    colored = color(whiten(features()), covariance(style))
    torch.testing.assert_close(covariance_matrix(colored), covariance_matrix(style), rtol=0, atol=1e-9)
    torch.testing.assert_close(colored.mean((2, 3)), style.mean((2, 3)), rtol=0, atol=1e-10)


def test_whitening_keeps_to_the_space_that_features_span():
    x = features()
    x[:, 2], x[:, 4] = 1.5, x[:, 0]  # a constant channel, and a copy
    found = covariance_matrix(whiten(x))
    torch.testing.assert_close(found @ found, found, rtol=0, atol=1e-9)  # a projection
    assert float(found.trace()) == pytest.approx(4, abs=1e-9)
    torch.testing.assert_close(color(whiten(x), covariance(x)), x, rtol=0, atol=1e-9)


def test_swap_is_the_brute_force_search():
    content, style, size = features(4, 6, 7), features(4, 5, 8, seed=1), 3
    total, covers = torch.zeros_like(content), torch.zeros(6, 7, dtype=torch.float64)
    for y in range(6 - size + 1):
        for x in range(7 - size + 1):
            query = content[0, :, y : y + size, x : x + size]
            found = [style[0, :, v : v + size, u : u + size] for v in range(5 - size + 1) for u in range(8 - size + 1)]
            best = max(found, key=lambda patch: float((query * patch).sum() / patch.norm()))
            total[0, :, y : y + size, x : x + size] += best
            covers[y : y + size, x : x + size] += 1
    torch.testing.assert_close(swap(content, patches_of(style, size)), total / covers, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [3, 5])
def test_swap_with_its_own_patches_is_the_identity(size):
    x = features()
    torch.testing.assert_close(swap(x, patches_of(x, size)), x, rtol=0, atol=1e-12)


def prepared(style: Tensor) -> AvatarStyle:
    return AvatarStyle(covariance(style), patches_of(whiten(style), 5), [])


def test_the_decorator_at_strength_0_returns_the_content():
    content, style = features(), features(seed=1)
    torch.testing.assert_close(decorate(content, prepared(content), 0.0), content, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        decorate(content, prepared(style), 0.0), color(whiten(content), covariance(style)), rtol=0, atol=0
    )


def test_the_decorator_at_strength_1_returns_the_style_for_the_style():
    style = features()
    torch.testing.assert_close(decorate(style, prepared(style), 1.0), style, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["adain", "wct"])
def test_strength_0_is_the_reconstruction_of_the_content(name):
    system, content = systems.system(name), tiny.contents(1)
    plain = [system.transfer(content, system.prepare(tiny.contents(1, seed=s)), strength=0.0) for s in (1, 2)]
    assert torch.equal(*plain)
    assert not torch.equal(*(system.transfer(content, system.prepare(tiny.contents(1, seed=s))) for s in (1, 2)))


def test_generated_weights_reach_every_layer():
    system = systems.system("meta_networks")
    assert isinstance(system, MetaNetwork)
    first, second = (system.prepare(tiny.tensor(tiny.style(32, 32, seed))) for seed in (0, 1))
    changed = tiny.changed(first, second)
    assert changed == {f"{name}.{key}" for name in system.generated for key in ("weight", "bias")}
    loss = system.training_loss(tiny.contents(2), torch.cat([tiny.tensor(tiny.style(32, 32, s)) for s in (0, 1)]))
    loss.backward()
    for layer in (*system.heads, system.hidden, system.first, system.last):
        assert float(layer.weight.grad.abs().max()) > 0


def test_a_batch_of_styles_gives_each_image_its_own_network():
    system = systems.system("meta_networks")
    styles = torch.cat([tiny.tensor(tiny.style(32, 32, seed)) for seed in (0, 1)])
    contents = tiny.contents(2)
    together = system.transfer(contents, system.prepare(styles))
    alone = [system.transfer(c, system.prepare(s)) for c, s in zip(contents.split(1), styles.split(1), strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
