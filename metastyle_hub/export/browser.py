"""The folder that the browser page loads: graphs, base, feature extractor, content images, styles, and a manifest.

docs/browser.md, section "Files and graphs", specifies it.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from safetensors.torch import save
from torch import Tensor

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, BaseReference
from metastyle_hub.artifacts.serialization import Artifact, artifact_files
from metastyle_hub.artifacts.storage import write_files
from metastyle_hub.data.examples import example_contents
from metastyle_hub.errors import ArtifactError, ExportError, first_line
from metastyle_hub.export.check import check_graph
from metastyle_hub.export.external_data import TensorFile, make_external
from metastyle_hub.export.graphs import grams_graph, predict_graph, stylize_graph
from metastyle_hub.export.half import half_precision
from metastyle_hub.export.layout import GROUP, ParameterLayout
from metastyle_hub.export.manifest import graph_names, manifest
from metastyle_hub.export.plain import noise_inputs
from metastyle_hub.export.step import AdaptationGraphStep
from metastyle_hub.export.translator import translate
from metastyle_hub.export.webgpu import slice_wide_splits
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.images.transforms import center_crop
from metastyle_hub.losses import PerceptualLoss
from metastyle_hub.networks.feature_extractor import FeatureExtractor, load_feature_extractor
from metastyle_hub.networks.layers import noise_field
from metastyle_hub.networks.param_groups import trainable_parameters
from metastyle_hub.networks.style_predictor import MAX_STYLE_SCALES, StylePredictor
from metastyle_hub.networks.transformer_net import meta_network, transform

__all__ = ["DEFAULT_STEPS", "MANIFEST", "RECIPES", "export_browser"]

MANIFEST = "browser.json"
_BASE, _FEATURES = "base/model.safetensors", "compact.safetensors"
_PIXEL, _RELATIVE = 1 / 255, 1e-3  # tolerances: of images; of Gram matrices, parameters and gradients

DEFAULT_STEPS = (20, 50, 100)
"""Lengths of an adaptation that a page can offer."""

RECIPES = {
    "small": AdaptationConfig(steps=20, crop_size=96, batch_size=2, precision="float32"),  # for WebAssembly
    "full": AdaptationConfig(precision="float32"),  # for WebGPU
}
"""How the page adapts. Each recipe has graphs of its own, since in a graph crops have a fixed size."""


def export_browser(
    base: Artifact,
    styles: Mapping[str, Artifact],
    folder: str | os.PathLike[str],
    *,
    reference: BaseReference | None = None,
    recipes: Mapping[str, AdaptationConfig] | None = None,
    steps: Iterable[int] = DEFAULT_STEPS,
    half: bool = False,
    extractor: FeatureExtractor | None = None,
) -> Path:
    """Write everything that the browser page needs into a folder: 13 MB and 0.4 MB a style, for the base that ships.

    Every graph is run and compared with PyTorch. The manifest is written last.

    Args:
        base: with a style predictor.
        styles: of this base, by the names of their folders.
        folder: it is created if it does not exist.
        reference: how styles that the page saves name their base; None for the base in the package.
        recipes: default `RECIPES`.
        steps: numbers of steps to write a schedule for, in addition to each recipe's own.
        half: store what no adaptation trains in float16 and so save 5 MB; images are off by a quarter of an 8-bit
            level (at least 83 dB, four styles). The arithmetic is float32 all the same.
        extractor: the feature extractor, default that of the predictor.

    Raises:
        ExportError: if a graph differs from PyTorch, or the feature extractor has an operation without a translation.
        SettingError: for a number of steps that `AdaptationConfig` refuses.
        ArtifactError: for a base without a predictor, a style of another base, or a folder that cannot be written.

    Example::

        export_browser(load_artifact(EMBEDDED), {"starry": load_artifact("starry")}, "space/browser/model")
    """
    if base.predictor is None:
        raise ArtifactError(f"{base.config.name or 'The base'} has no style predictor, which the page needs.")
    for name, style in styles.items():
        if style.config.base_model is None or style.config.base_model.fingerprint != base.fingerprint:
            raise ArtifactError(f"{name} is no style of this base; export the base that it was adapted from.")
    recipes, steps = RECIPES if recipes is None else recipes, set(steps)
    for config, count in itertools.product(recipes.values(), steps):
        config.replace(steps=count)  # refuses a wrong number before the work
    exporter = _Exporter(base, extractor or load_feature_extractor(base.config.feature_extractor), Path(folder), half)
    exporter.write_data(styles)
    exporter.write_forward_graphs()
    for name, config in recipes.items():
        exporter.write_recipe(name, config)
    description = manifest(base, reference, exporter.graphs, recipes, steps) | {
        "base": {"config": "base/config.json", "weights": _BASE, "fingerprint": base.fingerprint},
        "contents": [path for path in exporter.files if path.startswith("contents/")],
        "styles": [
            {"name": name, "config": f"styles/{name}/config.json", "weights": f"styles/{name}/model.safetensors"}
            for name in styles
        ],
        "files": [exporter.files[path] for path in sorted(exporter.files)],
    }
    return write_files(folder, {MANIFEST: (json.dumps(description) + "\n").encode()})


class _Exporter:
    """Writes files and graphs, and remembers them."""

    def __init__(self, base: Artifact, extractor: FeatureExtractor, folder: Path, half: bool) -> None:
        assert base.predictor is not None
        self.base, self.folder, self.spec = base, folder, extractor.spec
        kept = trainable_parameters(base.parameters, GROUP)
        self.parameters = {n: p.half() if half and n not in kept else p for n, p in base.parameters.items()}
        self.predictor = {n: p.half() if half else p for n, p in base.predictor.items()}
        self.features = {name: p.half().contiguous() for name, p in extractor.state_dict().items()}
        self.extractor = copy.deepcopy(extractor)  # with the values that are stored
        self.extractor.load_state_dict(self.features)
        self.layout = ParameterLayout.of(base.parameters)
        self.graphs: dict[str, onnx.ModelProto] = {}
        self.files: dict[str, dict[str, Any]] = {}  # entries of the manifest by path
        self.photo = center_crop(to_tensor(load_image(next(iter(example_contents().values())))), (192, 256))

    def write_data(self, styles: Mapping[str, Artifact]) -> None:
        self._write("base", self._base_files())
        self._write("", {_FEATURES: save(self.features, metadata={"format": "pt"})})
        self._write("contents", {path.name: path.read_bytes() for path in example_contents().values()})
        for name, style in styles.items():
            self._write(f"styles/{name}", artifact_files(style))
        self.external = [TensorFile.read(self.folder / path, path) for path in (_BASE, _FEATURES)]

    def _base_files(self) -> dict[str, bytes]:
        tensors = self.parameters | {f"predictor.{name}": p for name, p in self.predictor.items()}
        weights = save({name: p.contiguous() for name, p in tensors.items()}, metadata={"format": "pt"})
        config = replace(self.base.config, weights_sha256=hashlib.sha256(weights).hexdigest())
        return {WEIGHTS_FILE: weights, CONFIG_FILE: config.to_json().encode()}

    def write_forward_graphs(self) -> None:
        config, parameters = self.base.config.architecture, self.base.parameters
        assert self.base.predictor is not None
        inputs = {"image": self.photo, "parameters": self.layout.flatten(parameters), **self._noise(192, 256)}
        with torch.no_grad():
            stylized = {"stylized": transform(meta_network(config), parameters, self.photo)}
            style_grams = PerceptualLoss(self.extractor).style_grams(self.photo, MAX_STYLE_SCALES)
            grams = {f"gram_{i}": gram for i, gram in enumerate(style_grams)}
            with torch.device("meta"):
                predictor = StylePredictor(self.spec.gram_channels, MAX_STYLE_SCALES, parameters)
            predictor.load_state_dict(self.base.predictor, assign=True)
            initial = self.layout.flatten(parameters | predictor.initialization(parameters, list(grams.values())))
        self._write_graph("stylize", stylize_graph(config, self.parameters), inputs, stylized, _PIXEL)
        self._write_graph("stylize_fp16", half_precision(self.graphs["stylize"]), inputs, stylized, _PIXEL)
        self._write_graph("grams", grams_graph(self.spec, self.features), {"image": self.photo}, grams, _RELATIVE)
        predict = predict_graph(self.spec, self.predictor, self.parameters)
        self._write_graph("predict", predict, grams, {"parameters": initial}, _RELATIVE)

    def write_recipe(self, name: str, config: AdaptationConfig) -> None:
        size = config.crop_size
        constants = {n: p for n, p in self.parameters.items() if n not in self.layout.shapes} | self.features
        crops = self.photo[..., :size, :size].expand(config.batch_size, -1, -1, -1)
        grams = PerceptualLoss(self.extractor, config.weights).style_grams(self.photo.flip(1))
        zeros = torch.zeros(self.layout.count)
        inputs = {"parameters": self.layout.flatten(self.parameters), "m": zeros, "v": zeros, "crops": crops}
        inputs |= {"rates": torch.full((4,), 1e-3), **self._noise(size, size)}
        inputs |= {f"gram_{i}": gram for i, gram in enumerate(grams)}
        for decoder_only, graph in zip((False, True), graph_names(name), strict=True):
            step = AdaptationGraphStep(self.base.config.architecture, self.spec, config, self.layout, decoder_only)
            ordered = {key: inputs[key].contiguous() for key in step.inputs()}
            expected = step(ordered, {key: p.float() for key, p in constants.items()})
            checked = {key: expected[key] for key in ("m_out", "losses")}  # m is a tenth of the gradient
            try:
                translated = translate(step, step.inputs(), constants)
            except NotImplementedError as error:
                features = self.base.config.feature_extractor
                raise ExportError(
                    f"Steps with {features} cannot be exported ({first_line(error)}); use a base with 'compact'."
                ) from error
            self._write_graph(graph, translated, ordered, checked, _RELATIVE)

    def _noise(self, height: int, width: int) -> dict[str, Tensor]:
        inputs = noise_inputs(self.base.config.architecture)
        return {n.name: noise_field(n.channels, height // n.pixels, width // n.pixels) for n in inputs}

    def _write(self, subfolder: str, files: Mapping[str, bytes]) -> None:
        write_files(self.folder / subfolder, files)
        for name, data in files.items():
            path = f"{subfolder}/{name}" if subfolder else name
            self.files[path] = {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def _write_graph(
        self,
        name: str,
        graph: onnx.ModelProto,
        inputs: Mapping[str, Tensor],
        expected: Mapping[str, Tensor],
        tolerance: float,
    ) -> None:
        slice_wide_splits(graph)
        make_external(graph, self.external)
        file = f"{name}.onnx"
        self._write("", {file: graph.SerializeToString()})
        check_graph(file, self.folder / file, inputs, expected, tolerance)
        self.graphs[name] = graph
