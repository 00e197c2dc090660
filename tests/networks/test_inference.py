"""The faster evaluation is the network: exact in float64, up to rounding in float32, on every backend."""

from __future__ import annotations

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.errors import SettingError
from metastyle_hub.networks.backends import (
    BACKENDS,
    convolution,
    differentiable_convolution,
    fast_gradients,
    fastest_backend,
    resolve_backend,
)
from metastyle_hub.networks.inference import (
    infer,
    mirror,
    normalize,
    phased_to_rgb,
    residual_blocks,
    upsampled_convolution,
)
from metastyle_hub.networks.param_groups import Parameters, trainable_parameters
from metastyle_hub.networks.phases import convolve_in_phases, phases
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet, meta_network, transform

DOUBLE, CPU = torch.float64, torch.device("cpu")
DIRECT = convolution("direct")


def available(backend: str) -> str:
    try:
        return resolve_backend(backend, CPU)
    except SettingError:
        pytest.skip(f"this build of torch has no backend {backend}")


@pytest.mark.parametrize("size", [(16, 16), (16, 40), (52, 20), (48, 64)])
@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(8, 2),
        NetworkConfig(16, 1, upsampling="nearest"),
        NetworkConfig(3, 0, logit_skip=False, noise_injection=False),
        NetworkConfig(1, 1),
    ],
    ids=str,
)
def test_it_is_the_function_of_the_network(config: NetworkConfig, size: tuple[int, int]) -> None:
    network, parameters = meta_network(config), tiny.parameters(config=config, dtype=DOUBLE)
    content = torch.cat([tiny.tensor(tiny.content(*size, seed), DOUBLE) for seed in range(2)])
    with torch.no_grad():
        expected = transform(network, parameters, content, DOUBLE)
    assert float(expected.std()) > 0.02
    torch.testing.assert_close(infer(network, parameters, content, "direct", DOUBLE), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("backend", ["auto", "direct", "winograd"])
def test_every_backend_gives_the_image_of_the_reference(backend: str) -> None:
    """120 dB: a float32 sum of 1,152 products errs by some 1e-6 of its size, and a dozen such layers follow another."""
    backend, config = available(backend), NetworkConfig(32, 5)
    network, parameters = meta_network(config), tiny.parameters(config=config)
    content = tiny.tensor(tiny.content(96, 128))
    with torch.no_grad():
        reference = transform(network, {n: p.double() for n, p in parameters.items()}, content.double(), DOUBLE)
    error = (infer(network, parameters, content, backend) - reference).square().mean()
    assert float(-10 * error.log10()) > 120


@pytest.mark.parametrize("backend", ["direct", "winograd"])
def test_a_batch_gives_its_images_bit_for_bit_each_in_its_own_style(backend: str) -> None:
    backend, network, base = (
        available(backend),
        meta_network(NetworkConfig(8, 1)),
        tiny.parameters(0, NetworkConfig(8, 1)),
    )
    other = trainable_parameters(tiny.parameters(1, NetworkConfig(8, 1)), "decoder")
    styles: list[Parameters] = [base, {**base, **other}]
    contents = tiny.contents(2)
    stacked = {**base, **{name: torch.stack([style[name] for style in styles]) for name in other}}
    together = infer(network, stacked, contents, backend)
    alone = [infer(network, p, x[None], backend) for p, x in zip(styles, contents, strict=True)]
    assert torch.equal(together, torch.cat(alone)) and not torch.equal(alone[0], infer(network, base, contents[1:]))


def test_networks_that_clamp_and_half_precision() -> None:
    parameters, content = tiny.parameters(), tiny.contents(1)
    clamped, half = meta_network(tiny.NETWORK, "clamp"), meta_network(tiny.NETWORK, dtype=torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(
            infer(clamped, parameters, content), transform(clamped, parameters, content), rtol=0, atol=1e-4
        )
        assert torch.equal(infer(half, parameters, content), transform(half, parameters, content))


def test_nothing_that_it_is_given_changes() -> None:
    network, parameters, content = meta_network(tiny.NETWORK), tiny.parameters(), tiny.contents(2)
    before, image = {name: p.clone() for name, p in parameters.items()}, content.clone()
    first = infer(network, parameters, content)
    assert torch.equal(first, infer(network, parameters, content))
    assert tiny.same(parameters, before) and torch.equal(content, image)


# --- parts


def spread(x: Tensor) -> Tensor:
    """(2, 2, C, H, W) -> (C, 2 H, 2 W)."""
    whole = x.new_empty(x.shape[2], 2 * x.shape[3], 2 * x.shape[4])
    phases(whole).copy_(x)
    return whole


def test_phases_are_the_samples_of_even_and_odd_rows_and_columns() -> None:
    x = torch.randn(3, 6, 8)
    assert all(torch.equal(phases(x)[i, j], x[:, i::2, j::2]) for i in (0, 1) for j in (0, 1))
    assert torch.equal(spread(phases(x)), x)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_a_convolution_of_phases_is_that_of_the_upsampled_map(mode: str) -> None:
    x, weight, bias = (torch.randn(*shape, dtype=DOUBLE) for shape in ((5, 4, 7), (6, 5, 3, 3), (6,)))
    upsampled = F.pad(F.interpolate(x[None], scale_factor=2, mode=mode), (1,) * 4, mode="reflect")
    expected = F.conv2d(upsampled, weight, bias)[0]
    padded = F.pad(x[None], (1,) * 4, mode="replicate")[0]
    torch.testing.assert_close(spread(upsampled_convolution(padded, weight, bias, mode, DIRECT)), expected)


def test_the_last_convolution_of_phases_is_that_of_the_map() -> None:
    x, weight, bias = (torch.randn(*shape, dtype=DOUBLE) for shape in ((5, 12, 10), (3, 5, 9, 9), (3,)))
    expected = F.conv2d(F.pad(x[None], (4,) * 4, mode="reflect"), weight, bias)[0]
    padded = x.new_full((2, 2, 5, 10, 9), torch.nan)
    padded[..., 2:-2, 2:-2] = phases(x)
    torch.testing.assert_close(phased_to_rgb(padded, weight, bias, DIRECT), expected)


def test_the_last_convolution_has_the_gradients_of_the_9x9_convolution() -> None:
    x, weight, bias = (torch.randn(*s, dtype=DOUBLE, requires_grad=True) for s in ((2, 5, 20, 18), (3, 5, 9, 9), (3,)))
    found, expected = convolve_in_phases(x, weight, bias), F.conv2d(x, weight, bias)
    upstream = torch.randn_like(expected)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(y, (x, weight, bias), upstream) for y in (found, expected)))


@pytest.mark.parametrize(("about", "mode"), [(1, "reflect"), (0, "replicate")])
def test_mirror_is_the_padding_of_torch(about: int, mode: str) -> None:
    x = torch.randn(2, 5, 4)
    padded = x.new_full((2, 7, 6), torch.nan)
    padded[:, 1:-1, 1:-1] = x
    assert torch.equal(mirror(padded, 1, (about,) * 2, (about,) * 2), F.pad(x[None], (1,) * 4, mode=mode)[0])


def test_norms_are_those_of_torch_with_bias_maps_relu_and_addition() -> None:
    x, weight, bias = (torch.randn(*shape, dtype=DOUBLE) for shape in ((3, 6, 4), (3,), (3,)))
    bias_map = torch.randn(1, 2, 6, 4, dtype=DOUBLE)
    whole = torch.cat([bias_map, torch.ones(1, 1, 6, 4, dtype=DOUBLE)], 1)
    plain = F.instance_norm(x[None], weight=weight)[0] + bias[:, None, None] * whole[0]
    phased = torch.empty(2, 2, 3, 3, 2, dtype=DOUBLE)
    normalize(phases(x).clone(), weight, bias, phased, bias_map)
    torch.testing.assert_close(spread(phased), plain.relu())
    added = torch.ones_like(x)
    normalize(x.clone()[None, None], weight, bias, added[None, None], bias_map, relu=False, add=True)
    torch.testing.assert_close(added, 1 + plain)
    variance, mean = torch.var_mean(x, (1, 2), correction=0)
    normalize(x[None, None], weight, bias, x[None, None], bias_map, moments=(mean, variance))  # in place
    torch.testing.assert_close(x, plain.relu())


def test_residual_blocks_are_those_of_the_network() -> None:
    config = NetworkConfig(2, 3)
    network, parameters = TransformerNet(config).double(), tiny.parameters(config=config, dtype=DOUBLE)
    x = torch.randn(8, 6, 7, dtype=DOUBLE)
    with torch.no_grad():
        network.load_state_dict(parameters)
        expected = network.residual_blocks(x[None])[0]
        padded = F.pad(x[None], (1,) * 4, mode="reflect")[0]
        residual_blocks(network, parameters, padded, DIRECT)
    torch.testing.assert_close(padded[:, 1:-1, 1:-1], expected)


# --- backends


@pytest.mark.parametrize("size", [(12, 17), (66, 70)])
@pytest.mark.parametrize("kernel", [3, 5, 9])
def test_fast_gradients_are_those_of_torch_up_to_rounding(kernel: int, size: tuple[int, int]) -> None:
    x, weight, bias = (torch.randn(*s, requires_grad=True) for s in ((4, 8, *size), (6, 8, kernel, kernel), (6,)))
    expected = F.conv2d(x.double(), weight.double(), bias.double())
    upstream = torch.randn_like(expected)
    with fast_gradients():
        found = differentiable_convolution(x, weight, bias)
    assert torch.equal(differentiable_convolution(x, weight, bias), F.conv2d(x, weight, bias))
    made = torch.autograd.grad(found, (x, weight, bias), upstream.float())
    for a, b in zip(
        (found, *made), (expected, *torch.autograd.grad(expected, (x, weight, bias), upstream)), strict=True
    ):
        torch.testing.assert_close(a, b.float(), rtol=0, atol=2e-5 * float(b.detach().abs().max()))


def test_auto_is_one_backend_for_all_of_the_process() -> None:
    assert fastest_backend() in ("direct", "winograd")
    assert resolve_backend("auto", CPU) == fastest_backend() == fastest_backend()


def test_accelerators_and_half_precision_have_the_reference_alone() -> None:
    assert resolve_backend("auto", torch.device("cuda")) == "reference"
    assert resolve_backend("auto", CPU, torch.bfloat16) == "reference"
    assert all(resolve_backend("reference", torch.device(d)) == "reference" for d in ("cpu", "cuda", "mps"))
    for device, dtype in ((torch.device("mps"), torch.float32), (CPU, torch.float16)):
        with pytest.raises(SettingError):
            resolve_backend("direct", device, dtype)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(SettingError) as error:
        infer(meta_network(tiny.NETWORK), tiny.parameters(), tiny.contents(1), "onnx")
    assert "onnx" in str(error.value) and all(name in str(error.value) for name in BACKENDS)


def test_the_environment_replaces_the_measurement() -> None:
    program = "from metastyle_hub.networks.backends import fastest_backend; print(fastest_backend())"
    done = tiny.python("-c", program, METASTYLE_BACKEND="reference")
    assert done.stdout.split() == ["reference"], done.stderr
