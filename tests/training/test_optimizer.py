"""Muon: steps of equal length in every direction, whatever the gradient's."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch

from metastyle_hub.training.optimizer import KernelMuon, is_kernel


@pytest.mark.parametrize("shape", [(16, 16), (16, 200), (200, 16)])
def test_a_step_has_the_singular_vectors_of_the_gradient_and_nearly_equal_singular_values(shape):
    generator = torch.Generator().manual_seed(0)
    rank = min(shape)
    u = torch.linalg.qr(torch.randn(shape[0], rank, generator=generator))[0]
    v = torch.linalg.qr(torch.randn(shape[1], rank, generator=generator))[0]
    p = torch.nn.Parameter(torch.zeros(shape))
    p.grad = u @ torch.diag(torch.logspace(0, -2, rank)) @ v.T  # values from 1 to 0.01
    KernelMuon([p], lr=1.0).step()
    # a step has the RMS of one of Adam, 0.2, whatever the shape
    result = u.T @ -p.detach() @ v / (0.2 * max(shape) ** 0.5)
    assert float(result.diagonal().min()) > 0.1 and float(result.diagonal().max()) < 1.3
    assert float(result.diagonal()[: rank // 2].min()) > 0.6
    # the iteration runs in bfloat16
    torch.testing.assert_close(result, torch.diag(result.diagonal()), rtol=0, atol=0.03)


def test_a_step_has_the_size_of_one_of_adam_whatever_the_scale_of_the_gradient():
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(32, 16, 3, 3, generator=generator)
    lengths = []
    for scale in (1e-6, 1.0, 1e6):
        p = torch.nn.Parameter(torch.zeros_like(gradient))
        p.grad = scale * gradient
        KernelMuon([p], lr=0.01).step()
        lengths.append(float(p.detach().square().mean().sqrt()))
    # bfloat16 rounds gradients of another scale differently
    assert lengths == pytest.approx([lengths[1]] * 3, rel=0.1)
    assert 0.6 * 0.2 * 0.01 < lengths[1] < 1.2 * 0.2 * 0.01


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_kernel_is_stepped_like_the_matrix_of_its_rows(layout):
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(16, 8, 3, 3, generator=generator), torch.randn(3, 16, 8, 3, 3, generator=generator)
    kernel = torch.nn.Parameter(start.contiguous(memory_format=layout))
    matrix = torch.nn.Parameter(start.permute(0, 2, 3, 1).flatten(1).contiguous())
    if layout == torch.contiguous_format:
        matrix = torch.nn.Parameter(start.flatten(1).clone())
    ours = KernelMuon([kernel], lr=0.1)
    theirs = torch.optim.Muon([matrix], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for g in gradients:
        kernel.grad = g.contiguous(memory_format=layout)
        matrix.grad = g.permute(0, 2, 3, 1).flatten(1) if layout == torch.channels_last else g.flatten(1)
        ours.step()
        theirs.step()
    flat = kernel.detach().permute(0, 2, 3, 1) if layout == torch.channels_last else kernel.detach()
    torch.testing.assert_close(flat.flatten(1), matrix.detach())


def test_directions_of_small_gradients_are_trained_as_well():
    """Least squares on inputs of very different strength: the gradient of what few inputs need is small."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(16, 16, generator=generator) / 4
    strength = torch.logspace(0, -4, 16)
    missing = {}
    for kind in ("muon", "sgd"):
        w = torch.nn.Parameter(torch.zeros(16, 16))
        optimizer = KernelMuon([w]) if kind == "muon" else torch.optim.SGD([w], lr=1.0)  # 2 would diverge
        for step in range(100):
            if kind == "muon":
                optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 100)
            w.grad = (w.detach() - target) * strength
            optimizer.step()
        missing[kind] = float((w.detach() - target).square().mean() / target.square().mean())
    assert missing["muon"] < 0.1 < 0.3 < missing["sgd"]


def test_a_copy_with_its_state_continues_as_the_original():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(4, 16, 16, generator=generator)
    weights = [torch.nn.Parameter(torch.zeros(16, 16)) for _ in range(2)]
    optimizers = [KernelMuon([w]) for w in weights]
    for i, g in enumerate(gradients):
        if i == 2:
            optimizers[1] = KernelMuon([weights[1]])
            optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
        for w, optimizer in zip(weights, optimizers, strict=True):
            w.grad = g.clone()
            optimizer.step()
    assert torch.equal(*weights)


def test_kernels_without_a_gradient_stay_unchanged():
    first, second = (torch.nn.Parameter(torch.ones(16, 16)) for _ in range(2))
    optimizer = KernelMuon([first, second])
    for trained in (first, second):
        first.grad = second.grad = None
        trained.grad = torch.eye(16)
        before = [p.detach().clone() for p in (first, second)]
        optimizer.step()
        changed = [not torch.equal(p, q) for p, q in zip((first, second), before, strict=True)]
        assert changed == [trained is first, trained is second]


def test_there_is_no_weight_decay_and_a_closure_is_evaluated():
    p = torch.nn.Parameter(torch.ones(16, 16))
    p.grad = torch.zeros(16, 16)
    assert KernelMuon([p], lr=0.1).step(lambda: 3.0) == 3.0
    assert torch.equal(p.detach(), torch.ones(16, 16))


def test_kernels_are_convolutions_between_many_channels_and_norms_are_refused():
    names = {name for name, p in tiny.parameters().items() if is_kernel(p)}
    assert "residual_blocks.0.first.conv.weight" in names
    assert not names & {"to_rgb.weight", "to_rgb.bias", "encoder.0.norm.weight", "encoder.0.conv.weight"}
    with pytest.raises(ValueError) as error:
        KernelMuon([torch.nn.Parameter(torch.zeros(4))])
    assert "(4,)" in str(error.value)
