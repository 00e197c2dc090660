"""The network is the paper's, a pure function of its parameters, and treats borders like the rest."""

from __future__ import annotations

import pytest
import tiny
import torch
import torch.nn.functional as F

from metastyle_hub.errors import SettingError
from metastyle_hub.networks.layers import noise_field
from metastyle_hub.networks.param_groups import (
    TRAINABLE,
    is_decoder_parameter,
    is_norm_parameter,
    largest_trainable,
    norm_parameters,
    trainable_parameters,
)
from metastyle_hub.networks.transformer_net import (
    NetworkConfig,
    TransformerNet,
    logits_to_image,
    meta_network,
    thread_network,
    transform,
    transform_with_activations,
)

DOUBLE = torch.float64


@pytest.fixture(scope="module")
def paper() -> TransformerNet:
    torch.manual_seed(0)
    return TransformerNet()


def test_it_has_the_parameters_of_table_1(paper):
    parameters = paper.parameter_dict()
    counts = [sum(p.numel() for p in trainable_parameters(parameters, group).values()) for group in TRAINABLE]
    assert counts == [3_200, 103_235, 1_679_235]


def test_its_layers_are_those_of_johnson_et_al(paper):
    shapes = {name: tuple(p.shape) for name, p in paper.named_parameters() if p.ndim == 4}
    blocks = {
        f"residual_blocks.{i}.{part}.conv.weight": (128, 128, 3, 3) for i in range(5) for part in ("first", "second")
    }
    assert shapes == {
        "encoder.0.conv.weight": (32, 3, 9, 9),
        "encoder.1.conv.weight": (64, 32, 3, 3),
        "encoder.2.conv.weight": (128, 64, 3, 3),
        **blocks,
        "decoder.0.conv.weight": (64, 128, 3, 3),
        "decoder.1.conv.weight": (32, 64, 3, 3),
        "to_rgb.weight": (3, 32, 9, 9),
    }
    strides = [layer.conv.stride for layer in paper.encoder]
    assert strides == [(1, 1), (2, 2), (2, 2)]
    # a weight and a bias for every convolution but the last
    assert sum(map(is_norm_parameter, paper.parameter_dict())) == 2 * (len(shapes) - 1)


def test_the_residual_blocks_work_at_a_quarter_of_the_resolution(paper):
    with torch.no_grad():
        assert paper.encoder(torch.rand(1, 3, 32, 48)).shape == (1, 128, 8, 12)


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (64, 20)])
def test_the_image_has_the_size_of_the_content_and_values_in_0_to_1(size):
    network = TransformerNet(tiny.NETWORK)
    made = transform_with_activations(network, tiny.parameters(), torch.rand(2, 3, *size))
    images, logits = made.images, made.logits
    assert images.shape == logits.shape == (2, 3, *size)
    assert images.dtype == torch.float32
    assert float(images.detach().min()) >= 0 and float(images.detach().max()) <= 1
    assert torch.equal(images, torch.sigmoid(logits))


def test_an_image_does_not_depend_on_its_neighbors_in_the_batch():
    network, parameters, batch = TransformerNet(tiny.NETWORK), tiny.parameters(), tiny.contents(3)
    with torch.no_grad():
        together = transform(network, parameters, batch)
        alone = torch.cat([transform(network, parameters, x[None]) for x in batch])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_transform_is_a_pure_function_of_the_parameters():
    network, parameters, batch = TransformerNet(tiny.NETWORK), tiny.parameters(1), tiny.contents(1)
    before, given = network.parameter_dict(), {name: p.clone() for name, p in parameters.items()}
    with torch.no_grad():
        first = transform(network, parameters, batch)
        other = transform(network, tiny.parameters(2), batch)
        again = transform(network, parameters, batch)
        on_meta = transform(meta_network(tiny.NETWORK), parameters, batch)
    assert torch.equal(first, again) and torch.equal(first, on_meta)
    assert float((first - other).abs().max()) > 1e-3
    assert tiny.same(network.parameter_dict(), before) and tiny.same(parameters, given)


def test_parameter_dict_is_a_copy():
    network = TransformerNet(tiny.NETWORK)
    parameters = network.parameter_dict()
    for p in parameters.values():
        p.add_(1)
    assert not tiny.same(parameters, network.parameter_dict())
    assert not any(p.requires_grad for p in parameters.values())


def test_every_parameter_has_a_gradient():
    network = TransformerNet(tiny.NETWORK)
    parameters = {name: p.requires_grad_() for name, p in tiny.parameters(dtype=DOUBLE).items()}
    images = transform(network, parameters, tiny.contents(1, dtype=DOUBLE), DOUBLE)
    gradients = torch.autograd.grad((images * torch.rand_like(images)).sum(), list(parameters.values()))
    for name, gradient in zip(parameters, gradients, strict=True):
        # an instance norm removes a constant of the channel, unless a ReLU comes before it
        vanishes = name.endswith(("conv.bias", "second.norm.bias"))
        assert (float(gradient.abs().max()) < 1e-9) == vanishes, name


def test_the_logit_skip_adds_no_parameter_and_can_be_left_out():
    plain = TransformerNet(NetworkConfig(logit_skip=False)).parameter_dict()
    assert sum(p.numel() for p in plain.values()) == 1_679_235
    network, x = TransformerNet(NetworkConfig(4, 1, logit_skip=False)), tiny.contents(1)
    with torch.no_grad():
        brighter = transform(network, tiny.parameters(), 0.5 * x + 0.4)
        torch.testing.assert_close(brighter, transform(network, tiny.parameters(), x), rtol=0, atol=2e-3)
        network = TransformerNet(NetworkConfig(8, 1))
        kept, same = (transform(network, network.parameter_dict(), image) for image in (0.5 * x + 0.4, x))
    assert float((kept - same).abs().mean()) > 0.02, "without it brightness and contrast are lost"


def test_the_last_norm_adds_the_logits_of_the_content_image():
    network = TransformerNet(NetworkConfig(8, 1))
    content = tiny.contents(1, dtype=DOUBLE).clamp(0.05, 0.95)
    z = torch.logit(content)
    ones = torch.ones(1, 2, 32, 32, dtype=DOUBLE)
    torch.testing.assert_close(network.logit_bias_map(content), torch.cat([z, -z, ones], 1))
    assert TransformerNet(NetworkConfig(8, 1, logit_skip=False)).logit_bias_map(content) is None
    assert TransformerNet(NetworkConfig(2, 1)).logit_bias_map(content).shape == (1, 2, 32, 32)


def test_the_logits_of_the_content_image_are_clamped_to_those_of_0_05_and_0_95():
    network = TransformerNet(NetworkConfig(8, 1))
    levels = torch.tensor([0, 0.02, 0.05, 0.06, 0.94, 0.95, 0.98, 1], dtype=DOUBLE)
    content = levels.view(1, 1, 1, 8).expand(1, 3, 8, 8)
    z = network.logit_bias_map(content)[0, 0, 0]
    assert bool(z.isfinite().all())
    edge = float(torch.logit(torch.tensor(0.95, dtype=DOUBLE)))
    assert z[[0, 1, 2]].tolist() == pytest.approx([-edge] * 3)
    assert z[[5, 6, 7]].tolist() == pytest.approx([edge] * 3)
    assert -edge < float(z[3]) < float(z[4]) < edge


def test_noise_injection_adds_no_parameter_and_can_be_left_out():
    plain = TransformerNet(NetworkConfig(noise_injection=False))
    assert sum(p.numel() for p in plain.parameters()) == 1_679_235
    assert plain.noise_bias_map(tiny.contents(1), 128, 1) is None
    network, x = TransformerNet(NetworkConfig(8, 1)), tiny.contents(1)
    bias_map = network.noise_bias_map(x, 32, 1, (5, 7))
    assert torch.equal(bias_map[:, :2], noise_field(2, 8, 8, (5, 7)))
    assert torch.equal(bias_map[:, 2:], torch.ones(1, 30, 8, 8))
    assert torch.equal(network.noise_bias_map(x, 16, 2, (5, 7))[:, :1], noise_field(1, 16, 16, (10, 14)))


def test_the_norm_biases_of_a_style_scale_the_noise():
    config = NetworkConfig(8, 1)
    network, x, parameters = TransformerNet(config), tiny.contents(1), tiny.parameters(config=config)
    silent = {name: p.clone() for name, p in parameters.items()}
    silent["encoder.2.norm.bias"][:2] = 0
    silent["decoder.0.norm.bias"][:1] = 0
    with torch.no_grad():
        for given, noisy in ((parameters, True), (silent, False)):
            here, there = (transform(network, given, x, noise_offset=offset) for offset in ((0, 0), (100, 3)))
            assert (float((here - there).abs().max()) > 1e-3) == noisy


def test_an_image_of_one_color_gets_texture_from_noise_alone():
    x = torch.full((1, 3, 64, 64), 0.5)
    inner = (..., slice(24, 40), slice(24, 40))  # away from the borders
    for noisy in (True, False):
        config = NetworkConfig(8, 1, noise_injection=noisy)
        with torch.no_grad():
            stylized = transform(TransformerNet(config), tiny.parameters(config=config), x)
        assert (float(stylized[inner].std((2, 3)).mean()) > 1e-2) == noisy


def test_a_new_network_is_nearly_the_identity():
    torch.manual_seed(0)
    network, content = TransformerNet(), tiny.contents(1)
    with torch.no_grad():
        assert float((transform(network, network.parameter_dict(), content) - content).abs().mean()) < 0.05


def test_a_new_network_is_the_identity_but_for_its_other_channels():
    """Of the last convolution's input, six channels have the logits; the others start small."""
    network = TransformerNet(NetworkConfig(8, 1)).double()
    parameters, content = network.parameter_dict(), tiny.contents(1, dtype=DOUBLE).clamp(0.05, 0.95)
    parameters["to_rgb.weight"][:, 6:] = 0
    with torch.no_grad():
        torch.testing.assert_close(transform(network, parameters, content, DOUBLE), content, rtol=0, atol=1e-9)
    assert bool(network.to_rgb.weight[:, 6:].abs().amin() > 0), "they need a gradient"


def test_activations_are_those_of_the_residual_blocks_and_of_the_decoder_s_convolutions():
    network, content = (
        TransformerNet(NetworkConfig(4, 2, noise_injection=False)).double(),
        tiny.contents(1, dtype=DOUBLE),
    )
    parameters = tiny.parameters(config=network.config, dtype=DOUBLE)
    with torch.no_grad():
        made = transform_with_activations(network, parameters, content, DOUBLE)
        network.load_state_dict(parameters)
        first = network.residual_blocks[0](network.encoder(content))
        second = network.residual_blocks[1](first)
        half = network.decoder[0].conv(network.upsample(second))
        full = network.decoder[1].conv(network.upsample(network.decoder[0].norm(half).relu()))
    assert torch.equal(made.images, transform(network, parameters, content, DOUBLE).detach())
    assert len(made.activations) == 4
    for found, expected in zip(made.activations, (first, second, half, full), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_convolutions_pad_by_reflection():
    network = TransformerNet(tiny.NETWORK)
    x, conv = tiny.contents(1), network.encoder[0].conv
    with torch.no_grad():
        padded = F.conv2d(F.pad(x, (4, 4, 4, 4), mode="reflect"), conv.weight, conv.bias)
        torch.testing.assert_close(conv(x), padded)


def test_borders_are_stylized_like_the_rest():
    # zero padding would put an edge around every image, and darken or brighten its border
    network = TransformerNet(NetworkConfig(4, 1, noise_injection=False))
    flat = torch.full((1, 3, 48, 64), 0.7)
    with torch.no_grad():
        result = transform(network, tiny.parameters(), flat)
    assert float((result - result[..., 24:25, 32:33]).abs().max()) < 1e-3


def test_a_smooth_image_gets_no_checkerboard_artifact():
    """Nearest upsampling turns a slope into stairs of four pixels, which later layers sharpen."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    content = (0.3 + 0.2 * torch.stack([x, y, x * y]))[None]
    artifact = {}
    for upsampling in ("nearest", "bilinear"):
        network = TransformerNet(NetworkConfig(4, 1, logit_skip=False, upsampling=upsampling))
        with torch.no_grad():
            row = transform(network, tiny.parameters(), content)[0, :, 24:40, 16:48].flatten(0, 1)  # (48, 32)
        spectrum = torch.fft.rfft(row - row.mean(1, keepdim=True), dim=1).abs().square().mean(0)
        artifact[upsampling] = float(spectrum[[8, 16]].sum())  # waves of four and of two pixels
    assert artifact["bilinear"] < 0.2 * artifact["nearest"]


def test_bfloat16_gives_nearly_the_same_image():
    network, parameters, batch = TransformerNet(tiny.NETWORK), tiny.parameters(), tiny.contents(1)
    with torch.no_grad():
        exact = transform(network, parameters, batch)
        made = transform_with_activations(network, parameters, batch, torch.bfloat16)
    quick, logits = made.images, made.logits
    assert quick.dtype == logits.dtype == torch.float32
    assert float((exact - quick).abs().mean()) < 0.01


def test_a_network_without_width_is_refused():
    with pytest.raises(SettingError) as error:
        NetworkConfig(width=0)
    assert "width" in str(error.value) and "0" in str(error.value)


def test_the_output_activation_is_a_sigmoid_or_a_clamp():
    logits = torch.tensor([-1.0, 0.25, 2.0])
    assert torch.equal(logits_to_image(TransformerNet(tiny.NETWORK), logits), torch.sigmoid(logits))
    clamped = logits_to_image(TransformerNet(tiny.NETWORK, output_activation="clamp"), logits)
    assert clamped.tolist() == [0, 0.25, 1]


def test_a_thread_has_one_network_of_each_kind():
    kinds = [(tiny.NETWORK,), (tiny.NETWORK, "clamp"), (NetworkConfig(8, 1),), (tiny.NETWORK, None, torch.bfloat16)]
    networks = [thread_network(*kind) for kind in kinds]
    assert len({id(network) for network in networks}) == len(kinds)
    assert all(thread_network(*kind) is network for kind, network in zip(kinds, networks, strict=True))
    assert thread_network(tiny.NETWORK, "sigmoid") is networks[0]
    assert all(p.is_meta for network in networks for p in network.parameters())


def test_half_precision_is_that_of_the_convolutions_alone():
    parameters, content = tiny.parameters(), tiny.contents(1)
    half = meta_network(tiny.NETWORK, dtype=torch.bfloat16)
    with torch.no_grad():
        exact, quick = (transform(network, parameters, content) for network in (meta_network(tiny.NETWORK), half))
        made = transform_with_activations(half, parameters, content)
    assert quick.dtype == made.logits.dtype == torch.float32
    assert made.activations[-1].dtype == torch.bfloat16
    assert 0 < float((exact - quick).abs().mean()) < 0.01


# --- parameter groups


def test_groups_are_nested():
    parameters = tiny.parameters()
    norm, decoder, everything = (set(trainable_parameters(parameters, group)) for group in TRAINABLE)
    assert norm < decoder < everything == set(parameters)
    assert norm == set(norm_parameters(parameters)) == {name for name in parameters if is_norm_parameter(name)}
    assert decoder == norm | {name for name in parameters if is_decoder_parameter(name)}
    assert all(trainable_parameters(parameters, group)[n] is parameters[n] for group in TRAINABLE for n in norm)


def test_the_largest_group_contains_the_others():
    assert largest_trainable([]) == largest_trainable(["norm"]) == "norm"
    assert largest_trainable(["decoder", "norm"]) == largest_trainable(["norm", "decoder"]) == "decoder"
    assert largest_trainable(["all", "norm", "decoder"]) == "all"
