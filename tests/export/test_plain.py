"""The networks in plain operations are those of `networks`, in float64, and so are the layout and the penalty."""

from __future__ import annotations

import pytest
import tiny
import torch

from metastyle_hub.export.layout import ParameterLayout
from metastyle_hub.export.plain import PlainExtractor, noise_inputs, plain_logits, plain_outlier_penalty
from metastyle_hub.losses import outlier_penalty
from metastyle_hub.networks.feature_extractor import SPECS, FeatureSpec
from metastyle_hub.networks.layers import noise_field
from metastyle_hub.networks.transformer_net import NetworkConfig, meta_network, transform_with_activations

EXACT = {"rtol": 1e-9, "atol": 1e-9}
ARCHITECTURES = {
    "default": NetworkConfig(width=16, residual_blocks=2),
    "narrow": tiny.NETWORK,
    "paper": NetworkConfig(width=8, residual_blocks=1, logit_skip=False, upsampling="nearest", noise_injection=False),
    "without blocks": NetworkConfig(width=8, residual_blocks=0),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_network(name):
    config = ARCHITECTURES[name]
    parameters = tiny.parameters(config=config, dtype=torch.float64)
    images = torch.rand(2, 3, 24, 36, dtype=torch.float64)
    noise = {
        n.name: noise_field(n.channels, 24 // n.pixels, 36 // n.pixels, (12 // n.pixels, 20 // n.pixels)).double()
        for n in noise_inputs(config)
    }
    activations: list[torch.Tensor] = []
    logits = plain_logits(config, parameters, images, noise, activations)
    # the offset of the windows is (3, 5) in units of 4 pixels
    expected = transform_with_activations(meta_network(config), parameters, images, torch.float64, (3, 5))
    torch.testing.assert_close(logits, expected.logits, **EXACT)
    assert len(activations) == len(expected.activations)
    for found, activation in zip(activations, expected.activations, strict=True):
        torch.testing.assert_close(found, activation, **EXACT)
    limit = 1.0
    torch.testing.assert_close(
        plain_outlier_penalty(activations, limit), outlier_penalty(expected.activations, limit), **EXACT
    )


@pytest.mark.parametrize(
    "spec",
    [
        tiny.FEATURES,
        FeatureSpec(stages=((4,), (6, 6)), content_tap="relu1_1", style_taps=("relu2_1", "relu2_2")),
        FeatureSpec(SPECS["compact"].stages[:2], "relu2_2", ("relu1_2",), heads=(("relu1_2", 5),), padding="reflect"),
    ],
    ids=["reflection, average", "zeros, maximum", "head"],
)
def test_feature_extractor(spec):
    extractor = tiny.features(spec=spec, dtype=torch.float64)
    plain = PlainExtractor(spec, extractor.state_dict())
    images = torch.rand(2, 3, 20, 24, dtype=torch.float64)
    for taps in (None, [spec.content_tap], spec.style_taps):
        found, expected = plain(images, taps), extractor(images, taps)
        assert found.keys() == expected.keys()
        for tap in expected:
            torch.testing.assert_close(found[tap], expected[tap], **EXACT)


def test_the_flat_vector_holds_norms_and_decoder_in_the_order_of_the_file():
    parameters = tiny.parameters()
    layout = ParameterLayout.of(parameters)
    vector = layout.flatten(parameters)
    assert vector.shape == (layout.count,) and list(layout.shapes) == sorted(layout.shapes)
    found = layout.unflatten(vector)
    assert all(torch.equal(value, parameters[name]) for name, value in found.items())
    assert {name for name in parameters if ".norm." in name or name.startswith(("decoder", "to_rgb"))} == found.keys()
    for entry in layout.to_json():
        values = vector[entry["offset"] :][: parameters[entry["name"]].numel()]
        assert torch.equal(values.view(entry["shape"]), parameters[entry["name"]])
