"""Muon: steps of equal length in every direction, whatever the gradient's."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch

from metastyle_hub.training.muon import Muon, has_directions, orthogonal


@pytest.mark.parametrize("shape", [(16, 16), (16, 200), (200, 16)])
def test_orthogonal_keeps_the_singular_vectors_and_levels_the_values(shape):
    generator = torch.Generator().manual_seed(0)
    rank = min(shape)
    u = torch.linalg.qr(torch.randn(shape[0], rank, generator=generator))[0]
    v = torch.linalg.qr(torch.randn(shape[1], rank, generator=generator))[0]
    matrix = u @ torch.diag(torch.logspace(0, -2, rank)) @ v.T  # values from 1 to 0.01
    result = u.T @ orthogonal(matrix) @ v
    assert float(result.diagonal().min()) > 0.1 and float(result.diagonal().max()) < 1.3
    assert float(result.diagonal()[: rank // 2].min()) > 0.6
    torch.testing.assert_close(result, torch.diag(result.diagonal()), rtol=0, atol=1e-4)


def test_a_step_has_the_size_of_one_of_adam_whatever_the_scale_of_the_gradient():
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(32, 16, 3, 3, generator=generator)
    lengths = []
    for scale in (1e-6, 1.0, 1e6):
        p = torch.nn.Parameter(torch.zeros_like(gradient))
        p.grad = scale * gradient
        Muon([p], lr=0.01).step()
        lengths.append(float(p.detach().square().mean().sqrt()))
    assert lengths == pytest.approx([lengths[1]] * 3, rel=1e-2)
    assert 0.6 * 0.2 * 0.01 < lengths[1] < 1.2 * 0.2 * 0.01


def test_it_moves_along_directions_that_plain_descent_leaves_waiting():
    """Least squares on inputs of very different strength: the gradient of what few inputs need is small."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(16, 16, generator=generator) / 4
    strength = torch.logspace(0, -4, 16)
    missing = {}
    for kind in ("muon", "sgd"):
        w = torch.nn.Parameter(torch.zeros(16, 16))
        optimizer = Muon([w]) if kind == "muon" else torch.optim.SGD([w], lr=1.0)  # 2 would diverge
        for step in range(100):
            if kind == "muon":
                optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 100)
            w.grad = (w.detach() - target) * strength
            optimizer.step()
        missing[kind] = float((w.detach() - target).square().mean() / target.square().mean())
    assert missing["muon"] < 0.1 < 0.3 < missing["sgd"]


def test_a_copy_with_its_state_goes_on_as_it_would_have():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(4, 16, 16, generator=generator)
    weights = [torch.nn.Parameter(torch.zeros(16, 16)) for _ in range(2)]
    optimizers = [Muon([w]) for w in weights]
    for i, g in enumerate(gradients):
        if i == 2:
            optimizers[1] = Muon([weights[1]])
            optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
        for w, optimizer in zip(weights, optimizers, strict=True):
            w.grad = g.clone()
            optimizer.step()
    assert torch.equal(*weights)


def test_it_is_offered_convolutions_between_many_channels_and_refuses_norms():
    names = {name for name, p in tiny.parameters().items() if has_directions(p)}
    assert "trunk.0.first.conv.weight" in names
    assert not names & {"out.weight", "out.bias", "down.0.norm.scale", "down.0.conv.weight"}
    with pytest.raises(ValueError, match=r"not a parameter of shape \(4,\); use Adam there\."):
        Muon([torch.nn.Parameter(torch.zeros(4))])
