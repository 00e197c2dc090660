"""The graph of a step is a step of `adapt_parameters`: losses, gradient, frozen parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

pytest.importorskip("onnxruntime", reason="onnx is not installed: pip install '.[export]'")

from metastyle_hub.adaptation import AdaptationConfig, adapt_parameters, mean_style_grams
from metastyle_hub.data.datasets import CropConfig, InMemoryDataset, random_crops
from metastyle_hub.export.check import run_graph
from metastyle_hub.export.layout import ParameterLayout
from metastyle_hub.export.manifest import schedule
from metastyle_hub.export.plain import noise_inputs
from metastyle_hub.export.step import AdaptationGraphStep
from metastyle_hub.export.translator import translate
from metastyle_hub.losses import LossWeights, PerceptualLoss, outlier_penalty
from metastyle_hub.networks.layers import noise_field, random_noise_offset
from metastyle_hub.networks.transformer_net import NetworkConfig, meta_network, transform, transform_with_activations

NETWORK = NetworkConfig(width=8, residual_blocks=1)
CONFIG = AdaptationConfig(
    steps=6, crop_size=64, batch_size=2, precision="float32", outlier_limit=1.0, weights=LossWeights(tv_weight=0.1)
)
EXTRACTOR = tiny.features()
PARAMETERS = tiny.parameters(config=NETWORK)
LAYOUT = ParameterLayout.of(PARAMETERS)
CONTENTS = InMemoryDataset([torch.from_numpy(tiny.content(80, 96, i)).permute(2, 0, 1) / 255 for i in range(3)])
STYLE = torch.from_numpy(tiny.content(64, 64, 9)).permute(2, 0, 1)[None] / 255


def drawn(index: int) -> tuple[Tensor, tuple[int, int]]:
    """The crops and the position of the noise of a step, as `adapt_parameters` draws them."""
    rng = np.random.default_rng((CONFIG.seed, index))
    crops = random_crops(
        CONTENTS, CONFIG.batch_size, CropConfig(CONFIG.crop_size, CONFIG.min_scale, CONFIG.max_scale), rng
    )
    return crops, random_noise_offset(rng)


def inputs_of(index: int, rates: list[float], parameters: Tensor, m: Tensor, v: Tensor) -> dict[str, Tensor]:
    crops, (top, left) = drawn(index)
    inputs = {"parameters": parameters, "m": m, "v": v, "rates": torch.tensor(rates), "crops": crops}
    for noise in noise_inputs(NETWORK):
        side, scale = CONFIG.crop_size // noise.pixels, 4 // noise.pixels
        inputs[noise.name] = noise_field(noise.channels, side, side, (top * scale, left * scale))
    loss = PerceptualLoss(EXTRACTOR, CONFIG.weights)
    return inputs | {f"gram_{i}": gram for i, gram in enumerate(mean_style_grams(loss, STYLE, torch.device("cpu")))}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> list[Path]:
    """The files of the two steps: norms and decoder, decoder alone."""
    constants = {name: p for name, p in PARAMETERS.items() if name not in LAYOUT.shapes} | EXTRACTOR.state_dict()
    folder, files = tmp_path_factory.mktemp("graphs"), []
    for decoder_only in (False, True):
        step = AdaptationGraphStep(NETWORK, EXTRACTOR.spec, CONFIG, LAYOUT, decoder_only)
        files.append(folder / f"{decoder_only}.onnx")
        files[-1].write_bytes(translate(step, step.inputs(), constants).SerializeToString())
    return files


def test_steps_are_those_of_the_library(graphs):
    loss = PerceptualLoss(EXTRACTOR, CONFIG.weights)
    steps = list(adapt_parameters(meta_network(NETWORK), PARAMETERS, STYLE, CONTENTS, loss, CONFIG))
    vector, m, v = LAYOUT.flatten(PARAMETERS), torch.zeros(LAYOUT.count), torch.zeros(LAYOUT.count)
    rows = schedule(CONFIG)
    assert [row["graph"] for row in rows] == [0, 0, 0, 1, 1, 1]
    for t, row in enumerate(rows):
        found = run_graph(graphs[row["graph"]], inputs_of(t, row["rates"], vector, m, v))
        expected = torch.tensor([steps[t].loss, steps[t].content, steps[t].style])
        torch.testing.assert_close(found["losses"], expected, rtol=1e-2, atol=1e-6)
        vector, m, v = found["parameters_out"], found["m_out"], found["v_out"]
    # a bias before a norm has no gradient, and Adam makes steps of its noise: images must agree, not parameters
    network, content = meta_network(NETWORK), CONTENTS[0][None]
    found_image = transform(network, PARAMETERS | LAYOUT.unflatten(vector), content)
    image, before = (transform(network, step.parameters, content) for step in (steps[-1], steps[0]))
    assert (image - before).abs().mean() > 4 / 255
    assert (found_image - image).abs().max() < 1 / 255


@pytest.mark.parametrize("decoder_only", [False, True])
def test_gradient(graphs, decoder_only):
    zeros = torch.zeros(LAYOUT.count)
    inputs = inputs_of(0, [0.0, 0.0, 0.1, 0.01], LAYOUT.flatten(PARAMETERS), zeros, zeros)
    found = run_graph(graphs[decoder_only], inputs)
    vector = LAYOUT.flatten(PARAMETERS).requires_grad_()
    crops, offset = drawn(0)
    network, loss = meta_network(NETWORK), PerceptualLoss(EXTRACTOR, CONFIG.weights)
    output = transform_with_activations(network, PARAMETERS | LAYOUT.unflatten(vector), crops, noise_offset=offset)
    grams = [value for name, value in inputs.items() if name.startswith("gram_")]
    terms = loss(output.images, loss.targets(crops, grams))
    penalty = outlier_penalty(output.activations, CONFIG.outlier_limit)
    assert penalty > 0.01
    (gradient,) = torch.autograd.grad(terms[0].log().mean() + CONFIG.outlier_weight * penalty, vector)
    if decoder_only:
        frozen = {name: not name.startswith(("decoder.", "to_rgb.")) for name in LAYOUT.shapes}
        gradient = LAYOUT.flatten(
            {name: 0 * g if frozen[name] else g for name, g in LAYOUT.unflatten(gradient).items()}
        )
    assert (found["m_out"] / 0.1 - gradient).norm() < 1e-3 * gradient.norm()
    torch.testing.assert_close(found["v_out"], 0.01 * gradient.square(), rtol=2e-2, atol=1e-6 * float(gradient.norm()))
    assert torch.equal(found["parameters_out"], LAYOUT.flatten(PARAMETERS))  # the rates are 0


def test_frozen_parameters_and_their_moments_stay(graphs):
    torch.manual_seed(0)
    m, v = torch.randn(LAYOUT.count), torch.rand(LAYOUT.count)
    inputs = inputs_of(0, [0.1, 0.1, 0.5, 0.5], LAYOUT.flatten(PARAMETERS), m, v)
    found = run_graph(graphs[1], inputs)
    for key in ("parameters", "m", "v"):
        before, after = LAYOUT.unflatten(inputs[key]), LAYOUT.unflatten(found[f"{key}_out"])
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == {name for name in before if name.startswith(("decoder.", "to_rgb."))}
