"""The network must be the paper's, a pure function of its parameters, and treat borders like the rest."""

import pytest
import tiny
import torch
import torch.nn.functional as F

import metastyle_hub.networks.transformer_net as network_module
from metastyle_hub.networks.transformer_net import (
    TransformerNet,
    InstanceNorm,
    NetworkConfig,
    outlier_penalty,
    transform,
    transform_with_activations,
)
from metastyle_hub.networks.noise import noise_field
from metastyle_hub.networks.param_groups import TRAINABLE, is_norm_parameter, trainable_parameters


@pytest.fixture(scope="module")
def paper() -> TransformerNet:
    torch.manual_seed(0)
    return TransformerNet()


def test_it_has_the_parameters_of_table_1(paper):
    parameters = paper.parameter_dict()
    counts = [sum(p.numel() for p in trainable_parameters(parameters, moves).values()) for moves in TRAINABLE]
    assert counts == [3_200, 103_235, 1_679_235]


def test_its_layers_are_those_of_johnson_et_al(paper):
    shapes = {name: tuple(p.shape) for name, p in paper.named_parameters() if name.endswith("weight")}
    trunk = {f"trunk.{i}.{part}.conv.weight": (128, 128, 3, 3) for i in range(5) for part in ("first", "second")}
    assert shapes == {
        "down.0.conv.weight": (32, 3, 9, 9),
        "down.1.conv.weight": (64, 32, 3, 3),
        "down.2.conv.weight": (128, 64, 3, 3),
        **trunk,
        "up.0.conv.weight": (64, 128, 3, 3),
        "up.1.conv.weight": (32, 64, 3, 3),
        "out.weight": (3, 32, 9, 9),
    }
    strides = [layer.conv.stride for layer in paper.down]
    assert strides == [(1, 1), (2, 2), (2, 2)]
    # a scale and a shift for every convolution but the last
    assert sum(map(is_norm_parameter, paper.parameter_dict())) == 2 * (len(shapes) - 1)


def test_the_trunk_works_at_a_quarter_of_the_resolution(paper):
    with torch.no_grad():
        assert paper.down(torch.rand(1, 3, 32, 48)).shape == (1, 128, 8, 12)


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (64, 20)])
def test_the_picture_has_the_size_of_the_content_and_lies_between_0_and_1(size):
    network = TransformerNet(tiny.NETWORK)
    made = transform_with_activations(network, tiny.parameters(), torch.rand(2, 3, *size))
    images, logits = made.images, made.logits
    assert images.shape == logits.shape == (2, 3, *size)
    assert images.dtype == torch.float32
    assert float(images.detach().min()) >= 0 and float(images.detach().max()) <= 1
    assert torch.equal(images, torch.sigmoid(logits))


def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch():
    network, parameters, batch = TransformerNet(tiny.NETWORK), tiny.parameters(), tiny.contents(3)
    with torch.no_grad():
        together = transform(network, parameters, batch)
        alone = torch.cat([transform(network, parameters, x[None]) for x in batch])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_transform_reads_the_parameters_it_is_given_and_changes_nothing():
    network, parameters, batch = TransformerNet(tiny.NETWORK), tiny.parameters(1), tiny.contents(1)
    before, given = network.parameter_dict(), {name: p.clone() for name, p in parameters.items()}
    with torch.no_grad():
        first = transform(network, parameters, batch)
        other = transform(network, tiny.parameters(2), batch)
        again = transform(network, parameters, batch)
        with torch.device("meta"):
            skeleton = TransformerNet(tiny.NETWORK)
        without_numbers = transform(skeleton, parameters, batch)
    assert torch.equal(first, again) and torch.equal(first, without_numbers)
    assert float((first - other).abs().max()) > 1e-3
    assert tiny.same(network.parameter_dict(), before) and tiny.same(parameters, given)


def test_parameters_dict_is_a_value_of_its_own():
    network = TransformerNet(tiny.NETWORK)
    parameters = network.parameter_dict()
    for p in parameters.values():
        p.add_(1)
    assert not tiny.same(parameters, network.parameter_dict())
    assert not any(p.requires_grad for p in parameters.values())


def test_gradients_reach_every_parameter():
    network = TransformerNet(tiny.NETWORK)
    parameters = {name: p.requires_grad_() for name, p in tiny.parameters().items()}
    images = transform(network, parameters, tiny.contents(1))
    gradients = torch.autograd.grad((images * torch.rand_like(images)).sum(), list(parameters.values()))
    for name, gradient in zip(parameters, gradients, strict=True):
        # a constant of the channel, with no ReLU before the next instance norm, is taken away by that norm
        vanishes = name.endswith(("conv.bias", "second.norm.shift"))
        assert (float(gradient.abs().max()) < 1e-2) == vanishes, name


def test_the_photo_s_channels_cost_no_parameter_and_can_be_left_out():
    plain = TransformerNet(NetworkConfig(logit_skip=False)).parameter_dict()
    assert sum(p.numel() for p in plain.values()) == 1_679_235
    network, x = TransformerNet(NetworkConfig(4, 1, logit_skip=False)), tiny.contents(1)
    with torch.no_grad():
        brighter = transform(network, tiny.parameters(), 0.5 * x + 0.4)
        torch.testing.assert_close(brighter, transform(network, tiny.parameters(), x), rtol=0, atol=2e-3)
        network = TransformerNet(NetworkConfig(8, 1))
        bias_map, same = (transform(network, network.parameter_dict(), photo) for photo in (0.5 * x + 0.4, x))
    assert float((bias_map - same).abs().mean()) > 0.02, "without them brightness and contrast are lost"


def test_the_last_norm_carries_the_photo_s_logits():
    norm, x, bias_map = InstanceNorm(4), torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    with torch.no_grad():
        norm.scale.copy_(torch.tensor([1.0, 0, -2, 3]))
        norm.shift.copy_(torch.tensor([0.0, 1, 2, -1]))
        by_hand = norm.scale.view(1, 4, 1, 1) * F.instance_norm(x) + norm.shift.view(1, 4, 1, 1) * bias_map
        torch.testing.assert_close(norm(x, bias_map), by_hand)
        torch.testing.assert_close(norm(x, torch.ones_like(x)), norm(x))
    network, photo = TransformerNet(NetworkConfig(8, 1)), tiny.contents(1).clamp(0.05, 0.95)
    z = torch.logit(photo)
    torch.testing.assert_close(network.logit_bias_map(photo), torch.cat([z, -z, torch.ones(1, 2, 32, 32)], 1))


def test_the_noise_s_channels_cost_no_parameter_and_can_be_left_out():
    plain = TransformerNet(NetworkConfig(noise_injection=False))
    assert sum(p.numel() for p in plain.parameters()) == 1_679_235
    assert plain.noise_bias_map(tiny.contents(1), 128, 1) is None
    network, x = TransformerNet(NetworkConfig(8, 1)), tiny.contents(1)
    bias_map = network.noise_bias_map(x, 32, 1, (5, 7))
    assert torch.equal(bias_map[:, :2], noise_field(2, 8, 8, (5, 7)))
    assert torch.equal(bias_map[:, 2:], torch.ones(1, 30, 8, 8))
    assert torch.equal(network.noise_bias_map(x, 16, 2, (5, 7))[:, :1], noise_field(1, 16, 16, (10, 14)))


def test_a_style_decides_by_its_shifts_how_much_noise_there_is():
    config = NetworkConfig(8, 1)
    network, x, parameters = TransformerNet(config), tiny.contents(1), tiny.parameters(config=config)
    silent = {name: p.clone() for name, p in parameters.items()}
    silent["down.2.norm.shift"][:2] = 0
    silent["up.0.norm.shift"][:1] = 0
    with torch.no_grad():
        for given, moves in ((parameters, True), (silent, False)):
            here, there = (transform(network, given, x, corner=corner) for corner in ((0, 0), (100, 3)))
            assert (float((here - there).abs().max()) > 1e-3) == moves


def test_a_picture_of_one_colour_becomes_texture_by_noise_alone():
    x = torch.full((1, 3, 64, 64), 0.5)
    inner = (..., slice(24, 40), slice(24, 40))  # away from the borders
    for noisy in (True, False):
        config = NetworkConfig(8, 1, noise_injection=noisy)
        with torch.no_grad():
            picture = transform(TransformerNet(config), tiny.parameters(config=config), x)
        assert (float(picture[inner].std((2, 3)).mean()) > 1e-2) == noisy


def test_a_new_network_is_nearly_the_identity():
    torch.manual_seed(0)
    network, photo = TransformerNet(), tiny.contents(1)
    with torch.no_grad():
        assert float((transform(network, network.parameter_dict(), photo) - photo).abs().mean()) < 0.05


def test_instance_norm_is_its_formula():
    norm = InstanceNorm(5)
    with torch.no_grad():
        norm.scale.copy_(torch.linspace(-1, 2, 5))
        norm.shift.copy_(torch.linspace(3, -3, 5))
    x = torch.randn(2, 5, 7, 9) * 3 + 1
    mean = x.mean((2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((2, 3), keepdim=True)
    scale, shift = norm.scale.view(1, 5, 1, 1), norm.shift.view(1, 5, 1, 1)
    torch.testing.assert_close(norm(x), scale * (x - mean) / (variance + 1e-5).sqrt() + shift)
    norm.eval()
    torch.testing.assert_close(norm(x), scale * (x - mean) / (variance + 1e-5).sqrt() + shift)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("own", [False, True], ids=["one style", "a style each"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_small_and_large_pictures_are_normalised_alike(batch, own, layout, monkeypatch):
    """Two ways of computing one thing: values, and gradients of the picture, the scales and the shifts."""
    x = (2 * torch.randn(batch, 4, 24, 20) + 10).contiguous(memory_format=layout)
    values = [x, *(torch.randn((batch, 4) if own else (4,)) for _ in range(2))]
    upstream, found = torch.randn_like(x), []
    for small in (2**17, 0):
        monkeypatch.setattr(network_module, "_SMALL", small)
        norm, inputs = InstanceNorm(4), [v.clone().requires_grad_() for v in values]
        lent = {"scale": inputs[1], "shift": inputs[2]}
        result = torch.func.functional_call(norm, lent, (inputs[0],))
        carrying = torch.func.functional_call(norm, lent, (inputs[0], torch.ones_like(x)))
        torch.testing.assert_close(carrying, result)
        found.append([result, *torch.autograd.grad(result, inputs, upstream)])
    for quick, exact in zip(*found, strict=True):
        torch.testing.assert_close(quick, exact, rtol=1e-4, atol=1e-4)


def test_a_spike_is_where_all_channels_are_far_out():
    x = torch.randn(2, 8, 16, 16, dtype=torch.float64).clamp(-2, 2)
    assert float(outlier_penalty([x, 100 * x + 7], limit=2.5)) == 0, "whatever the channel's scale"
    one, all_of_them = x.clone(), x.clone()
    one[0, 1, 5, 7] = 20
    all_of_them[0, :, 5, 7] = 20 * x[0, :, 5, 7].sign()
    z = (all_of_them - all_of_them.mean((2, 3), keepdim=True)) / (
        all_of_them.var((2, 3), correction=0, keepdim=True) + 1e-5
    ).sqrt()
    by_hand = (z.square().mean(1).sqrt() - 2.5).relu().square().sum() / (2 * 16 * 16)
    assert float(by_hand) > 0.1
    torch.testing.assert_close(outlier_penalty([all_of_them], limit=2.5), by_hand)
    torch.testing.assert_close(outlier_penalty([all_of_them, x], limit=2.5), by_hand / 2)
    assert float(outlier_penalty([one], limit=2.5)) < 0.2 * float(by_hand), "a rare feature is no spike"


def test_streams_are_those_behind_the_residual_blocks_and_before_the_decoder_s_norms():
    network, photo = TransformerNet(NetworkConfig(4, 2, noise_injection=False)), tiny.contents(1)
    parameters = tiny.parameters(config=network.config)
    with torch.no_grad():
        made = transform_with_activations(network, parameters, photo)
        network.load_state_dict(parameters)
        first = network.trunk[0](network.down(photo))
        second = network.trunk[1](first)
        wider = network.up[0].conv(network.upsample(second))
        largest_trainable = network.up[1].conv(network.upsample(network.up[0].norm(wider).relu()))
    assert torch.equal(made.images, transform(network, parameters, photo).detach())
    torch.testing.assert_close(made.streams, (first, second, wider, largest_trainable))


def test_convolutions_pad_by_reflection():
    network = TransformerNet(tiny.NETWORK)
    x, conv = tiny.contents(1), network.down[0].conv
    with torch.no_grad():
        padded = F.conv2d(F.pad(x, (4, 4, 4, 4), mode="reflect"), conv.weight, conv.bias)
        torch.testing.assert_close(conv(x), padded)


def test_borders_are_painted_like_the_rest():
    # zero padding would see an edge around every picture, and darken or brighten its frame
    network = TransformerNet(NetworkConfig(4, 1, noise_injection=False))
    flat = torch.full((1, 3, 48, 64), 0.7)
    with torch.no_grad():
        result = transform(network, tiny.parameters(), flat)
    assert float((result - result[..., 24:25, 32:33]).abs().max()) < 1e-3


def test_a_smooth_photo_gets_no_grid():
    """Nearest upsampling makes stairs of four pixels out of a slope, which the layers behind it sharpen into a grid."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    photo = (0.3 + 0.2 * torch.stack([x, y, x * y]))[None]
    grid = {}
    for upsampling in ("nearest", "bilinear"):
        network = TransformerNet(NetworkConfig(4, 1, logit_skip=False, upsampling=upsampling))
        with torch.no_grad():
            row = transform(network, tiny.parameters(), photo)[0, :, 24:40, 16:48].flatten(0, 1)  # (48, 32)
        spectrum = torch.fft.rfft(row - row.mean(1, keepdim=True), dim=1).abs().square().mean(0)
        grid[upsampling] = float(spectrum[[8, 16]].sum())  # waves of four and of two pixels
    assert grid["bilinear"] < 0.2 * grid["nearest"]


def test_bfloat16_paints_nearly_the_same_picture():
    network, parameters, batch = TransformerNet(tiny.NETWORK), tiny.parameters(), tiny.contents(1)
    with torch.no_grad():
        exact = transform(network, parameters, batch)
        made = transform_with_activations(network, parameters, batch, torch.bfloat16)
    quick, logits = made.images, made.logits
    assert quick.dtype == logits.dtype == torch.float32
    assert float((exact - quick).abs().mean()) < 0.01


def test_a_network_without_width_is_refused():
    with pytest.raises(ValueError, match=r"width must be a whole number from 1 to 512, got 0\."):
        NetworkConfig(width=0)
