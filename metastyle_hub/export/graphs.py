"""The forward graphs, written by `torch.onnx.export`: stylize, Gram matrices, predictor, one fixed style.

Inputs and outputs are listed in docs/browser.md. Constants of a graph have the names of the tensors in their file.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from metastyle_hub.export.builder import OPSET
from metastyle_hub.export.layout import ParameterLayout
from metastyle_hub.export.plain import PlainExtractor, noise_inputs, plain_logits
from metastyle_hub.losses import PerceptualLoss
from metastyle_hub.networks.feature_extractor import FeatureSpec
from metastyle_hub.networks.layers import NOISE_PERIOD, noise_field
from metastyle_hub.networks.style_predictor import MAX_STYLE_SCALES, StylePredictor
from metastyle_hub.networks.transformer_net import NetworkConfig

__all__ = ["fixed_style_graph", "grams_graph", "predict_graph", "stylize_graph"]

_MAX_SIDE = 2**14  # pixels; the exporter wants a bound
_DOT = "/"  # in the names of a module's constants
_SIDES = {"4*h": "H", "4*w": "W", "h": "H/4", "w": "W/4", "2*h": "H/2", "2*w": "W/2"}


class _Constants(nn.Module):
    """A module whose constants keep the names of a dictionary (a module's own have no dots) and are used in float32."""

    def __init__(self, constants: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in constants.items():
            self.register_buffer(name.replace(".", _DOT), value)

    def constants(self) -> dict[str, Tensor]:
        return {name.replace(_DOT, "."): value.float() for name, value in self.named_buffers(recurse=False)}


class _Stylize(_Constants):
    def __init__(self, config: NetworkConfig, parameters: Mapping[str, Tensor]) -> None:
        layout = ParameterLayout.of(parameters)
        super().__init__({name: p for name, p in parameters.items() if name not in layout.shapes})
        self.config, self.layout = config, layout

    def forward(self, image: Tensor, parameters: Tensor, *windows: Tensor) -> Tensor:
        weights = self.constants() | self.layout.unflatten(parameters)
        noise = {n.name: window for n, window in zip(noise_inputs(self.config), windows, strict=True)}
        return torch.sigmoid(plain_logits(self.config, weights, image, noise))


class _FixedStyle(_Constants):
    """One style; its noise comes from the whole period of the fields, 3 MB."""

    def __init__(self, config: NetworkConfig, parameters: Mapping[str, Tensor], activation: str | None) -> None:
        noise = {n.name: noise_field(n.channels, NOISE_PERIOD, NOISE_PERIOD) for n in noise_inputs(config)}
        super().__init__({**parameters, **noise})
        self.config, self.activation = config, activation

    def forward(self, image: Tensor) -> Tensor:
        weights, noise = self.constants(), {}
        for n in noise_inputs(self.config):
            rows, columns = (torch.arange(side // n.pixels) % NOISE_PERIOD for side in image.shape[-2:])
            noise[n.name] = weights[n.name].index_select(2, rows).index_select(3, columns)
        logits = plain_logits(self.config, weights, image, noise)
        return logits.clamp(0, 1) if self.activation == "clamp" else torch.sigmoid(logits)


class _Grams(_Constants):
    def __init__(self, spec: FeatureSpec, weights: Mapping[str, Tensor], scales: int) -> None:
        super().__init__(weights)
        self.spec, self.scales = spec, scales

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        loss = PerceptualLoss(PlainExtractor(self.spec, self.constants()))  # type: ignore[arg-type]
        return loss.style_grams(image, self.scales)


class _Predict(_Constants):
    def __init__(
        self, spec: FeatureSpec, predictor: Mapping[str, Tensor], parameters: Mapping[str, Tensor], scales: int
    ) -> None:
        layout = ParameterLayout.of(parameters)
        super().__init__({name: parameters[name] for name in layout.shapes})
        self.layout = layout
        with torch.device("meta"):
            self.predictor = StylePredictor(spec.gram_channels, scales, parameters)
        self.predictor.load_state_dict(predictor, assign=True)

    def forward(self, *grams: Tensor) -> Tensor:
        weights = self.constants()
        state = {name: p.float() for name, p in self.predictor.state_dict(keep_vars=True).items()}
        for name, offset in torch.func.functional_call(self.predictor, state, (grams,)).items():
            weights[name] = weights[name] + offset[0]
        return self.layout.flatten(weights)


def stylize_graph(config: NetworkConfig, parameters: Mapping[str, Tensor]) -> onnx.ModelProto:
    """Return the graph (image, parameters, noise windows) -> stylized image, of any sides that are multiples of 4.

    Args:
        config: the architecture.
        parameters: of the whole network; those of `ParameterLayout` become an input, others may be float16.
    """
    module = _Stylize(config, parameters)
    noise = noise_inputs(config)
    height, width = (torch.export.Dim(name, min=4, max=_MAX_SIDE // 4) for name in ("h", "w"))
    windows = [torch.zeros(1, n.channels, 64 // n.pixels, 96 // n.pixels) for n in noise]
    sides = [{2: 4 // n.pixels * height, 3: 4 // n.pixels * width} for n in noise]
    return _export(
        module,
        (torch.zeros(1, 3, 64, 96), torch.zeros(module.layout.count), *windows),
        ["image", "parameters", *(n.name for n in noise)],
        ["stylized"],
        ({2: 4 * height, 3: 4 * width}, None, tuple(sides)),
    )


def fixed_style_graph(
    config: NetworkConfig, parameters: Mapping[str, Tensor], output_activation: str | None = None
) -> onnx.ModelProto:
    """Return the graph image -> stylized image of one style, of any sides that are multiples of 4.

    Args:
        config: the architecture.
        parameters: of the whole network, adapted.
        output_activation: as in `config.json`; None for a sigmoid.
    """
    height, width = (torch.export.Dim(name, min=4, max=_MAX_SIDE // 4) for name in ("h", "w"))
    module = _FixedStyle(config, parameters, output_activation)
    sides = {2: 4 * height, 3: 4 * width}
    return _export(module, (torch.zeros(1, 3, 64, 96),), ["image"], ["stylized"], (sides,))


def grams_graph(spec: FeatureSpec, weights: Mapping[str, Tensor], scales: int = MAX_STYLE_SCALES) -> onnx.ModelProto:
    """Return the graph image -> Gram matrices (1, C, C) by style tap, the largest scale first.

    Args:
        spec: the architecture of the feature extractor.
        weights: its `state_dict`, in float32 or float16; the arithmetic is float32.
        scales: how many, each half the one before.
    """
    sides = {2: torch.export.Dim("H", min=32, max=_MAX_SIDE), 3: torch.export.Dim("W", min=32, max=_MAX_SIDE)}
    names = [f"gram_{i}" for i in range(scales * len(spec.style_taps))]
    return _export(_Grams(spec, weights, scales), (torch.zeros(1, 3, 72, 90),), ["image"], names, (sides,))


def predict_graph(
    spec: FeatureSpec, predictor: Mapping[str, Tensor], parameters: Mapping[str, Tensor], scales: int = MAX_STYLE_SCALES
) -> onnx.ModelProto:
    """Return the graph Gram matrices -> flat parameters with the predicted norms.

    Args:
        spec: of the feature extractor.
        predictor: the `state_dict` of the base's `StylePredictor`.
        parameters: of the base.
        scales: of the Gram matrices.
    """
    grams = tuple(torch.zeros(1, c, c) for c in scales * spec.gram_channels)
    names = [f"gram_{i}" for i in range(len(grams))]
    return _export(_Predict(spec, predictor, parameters, scales), grams, names, ["parameters"], None)


def _export(
    module: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str], outputs: Sequence[str], shapes: Any
) -> onnx.ModelProto:
    """Return the graph of a module, without the notes of the exporter."""
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they concern unused options of the exporter
        program = torch.onnx.export(
            module.eval(), inputs, dynamo=True, opset_version=OPSET, input_names=names, output_names=outputs,
            dynamic_shapes=shapes, external_data=False, verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    graph = model.graph
    del graph.value_info[:]
    for entry in (model, graph, *graph.node, *graph.input, *graph.output):
        entry.ClearField("metadata_props")
    for value in (*graph.input, *graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = _SIDES.get(side.dim_param, side.dim_param)
    names_of = {tensor.name: tensor.name.replace(_DOT, ".") for tensor in graph.initializer}
    for tensor in graph.initializer:
        tensor.name = names_of[tensor.name]
    for node in graph.node:
        node.ClearField("doc_string")
        node.input[:] = [names_of.get(name, name) for name in node.input]
    return model
