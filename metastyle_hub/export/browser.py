"""The folder that the browser page loads: graphs, base, feature extractor, content images, styles, and a manifest.

docs/browser.md, section "Files and graphs", specifies it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import save
from torch import Tensor

from metastyle_hub.adaptation import ADAM_BETAS, AdaptationConfig
from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.artifacts.serialization import Artifact, artifact_files, write_files
from metastyle_hub.data.content import CONTENT_SIZE
from metastyle_hub.data.examples import example_contents
from metastyle_hub.errors import ArtifactError
from metastyle_hub.export.external_data import TensorFile, make_external
from metastyle_hub.export.graphs import grams_graph, predict_graph, stylize_graph
from metastyle_hub.export.layout import GROUP, ParameterLayout
from metastyle_hub.export.plain import NoiseInput, noise_inputs
from metastyle_hub.export.step import AdaptationGraphStep
from metastyle_hub.export.translator import translate
from metastyle_hub.networks.feature_extractor import FeatureExtractor, FeatureSpec, load_feature_extractor
from metastyle_hub.networks.layers import NOISE_PERIOD, noise_field
from metastyle_hub.version import __version__

__all__ = ["FORMAT_VERSION", "MANIFEST", "RECIPES", "export_browser"]

FORMAT_VERSION = 1
MANIFEST = "browser.json"
_BASE, _FEATURES = "base/model.safetensors", "compact.safetensors"

RECIPES = {
    "small": AdaptationConfig(steps=20, crop_size=96, batch_size=2, precision="float32"),  # WebAssembly
    "full": AdaptationConfig(precision="float32"),  # WebGPU
}
"""How the page adapts: each has graphs of its own, since crops have a fixed size in a graph."""


def export_browser(
    base: Artifact,
    styles: Mapping[str, Artifact],
    folder: str | os.PathLike[str],
    *,
    reference: BaseReference | None = None,
    recipes: Mapping[str, AdaptationConfig] | None = None,
    steps: Sequence[int] = (20, 50, 100),
    extractor: FeatureExtractor | None = None,
) -> Path:
    """Write everything that the browser page needs into a folder, about 15 MB for the base that ships.

    Args:
        base: with a style predictor.
        styles: of this base, by the names of their folders.
        folder: it is created if it does not exist.
        reference: how styles that the page saves name their base; None for the base in the package.
        recipes: default `RECIPES`.
        steps: numbers of steps to write a schedule for, in addition to each recipe's own.
        extractor: the feature extractor, default that of the predictor.

    Raises:
        ExportError: if the extra `export` is not installed, or a graph differs from PyTorch.
        ArtifactError: for a base without a predictor, a style of another base, or a folder that cannot be written.

    >>> export_browser(load_artifact(EMBEDDED), {"starry": load_artifact("starry")}, "space/browser/model")
    PosixPath('space/browser/model')
    """
    folder = Path(folder)
    if base.predictor is None:
        raise ArtifactError(f"{base.config.name or 'The base'} has no style predictor; the page needs one.")
    for name, style in styles.items():
        if style.config.base_model is None or style.config.base_model.fingerprint != base.fingerprint:
            raise ArtifactError(f"{name} is no style of this base; export the base that it was adapted from.")
    extractor = extractor or load_feature_extractor(base.config.feature_extractor)
    recipes = recipes or RECIPES
    write_files(folder / "base", artifact_files(base))
    features = {name: p.half().contiguous() for name, p in extractor.state_dict().items()}
    contents = {path.name: path.read_bytes() for path in example_contents().values()}
    write_files(folder, {_FEATURES: save(features, metadata={"format": "pt"})})
    write_files(folder / "contents", contents)
    for name, style in styles.items():
        write_files(folder / "styles" / name, artifact_files(style))
    graphs = _forward_graphs(base, extractor.spec, features)
    for name, config in recipes.items():
        graphs |= _adaptation_graphs(name, config, base, extractor.spec, features)
    files = [TensorFile.read(folder / path, path) for path in (_BASE, _FEATURES)]
    for name, graph in graphs.items():
        make_external(graph, files)
        write_files(folder, {f"{name}.onnx": graph.SerializeToString()})
    manifest = {
        "format_version": FORMAT_VERSION,
        "library_version": __version__,
        "base": {"config": "base/config.json", "weights": _BASE, "fingerprint": base.fingerprint},
        "parameter_count": ParameterLayout.of(base.parameters).count,
        "parameters": ParameterLayout.of(base.parameters).to_json(),
        "graphs": {name: _describe(name, graph) for name, graph in graphs.items()},
        "noise": {noise.name: _noise_entry(noise) for noise in noise_inputs(base.config.architecture)},
        "recipes": {name: _recipe_entry(name, config, steps) for name, config in recipes.items()},
        "padding": {"multiple": 4, "minimum": 32},
        "style_size": AdaptationConfig().style_size,
        "content_size": CONTENT_SIZE,
        "style_config": _style_config(base, reference),
        "contents": [f"contents/{name}" for name in contents],
        "styles": [
            {"name": name, "config": f"styles/{name}/config.json", "weights": f"styles/{name}/model.safetensors"}
            for name in styles
        ],
    }
    manifest["files"] = [_file_entry(folder, path) for path in sorted(_paths(manifest))]
    return write_files(folder, {MANIFEST: (json.dumps(manifest) + "\n").encode()})


def _forward_graphs(base: Artifact, spec: FeatureSpec, features: Mapping[str, Tensor]) -> dict[str, onnx.ModelProto]:
    architecture, parameters = base.config.architecture, base.parameters
    assert base.predictor is not None
    return {
        "stylize": stylize_graph(architecture, parameters),
        "stylize_fp16": stylize_graph(architecture, parameters, torch.float16),
        "grams": grams_graph(spec, features),
        "predict": predict_graph(spec, base.predictor, parameters),
    }


def _adaptation_graphs(
    name: str, config: AdaptationConfig, base: Artifact, spec: FeatureSpec, features: Mapping[str, Tensor]
) -> dict[str, onnx.ModelProto]:
    layout = ParameterLayout.of(base.parameters)
    frozen = {name: p for name, p in base.parameters.items() if name not in layout.shapes}
    graphs = {}
    for decoder_only, graph in enumerate(_graph_names(name)):
        step = AdaptationGraphStep(base.config.architecture, spec, config, layout, bool(decoder_only))
        graphs[graph] = translate(step, step.inputs(), frozen | features)
    return graphs


def _graph_names(recipe: str) -> list[str]:
    return [f"adapt_{recipe}", f"adapt_{recipe}_decoder"]


def _describe(name: str, graph: onnx.ModelProto) -> dict[str, Any]:
    def ports(values: Iterable[onnx.ValueInfoProto]) -> list[dict[str, Any]]:
        shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        return [{"name": name, "shape": shape} for name, shape in shapes.items()]

    paths = {e.value for t in graph.graph.initializer for e in t.external_data if e.key == "location"}
    return {
        "file": f"{name}.onnx",
        "inputs": ports(graph.graph.input),
        "outputs": ports(graph.graph.output),
        "external_data": sorted(paths),
    }


def _noise_entry(noise: NoiseInput) -> dict[str, Any]:
    state = np.random.PCG64(noise.channels).state["state"]
    return {
        "channels": noise.channels,
        "pixels_per_sample": noise.pixels,
        "period": NOISE_PERIOD,
        "pcg64": {"state": f"{state['state']:032x}", "increment": f"{state['inc']:032x}"},
        "first": noise_field(noise.channels, 1, 4)[0, 0, 0].tolist(),
    }


def _recipe_entry(name: str, config: AdaptationConfig, steps: Iterable[int]) -> dict[str, Any]:
    counts = sorted({config.steps, *steps})
    return {
        "config": config.to_dict(),
        "graphs": _graph_names(name),
        "schedules": {str(count): _schedule(config.replace(steps=count)) for count in counts},
    }


def _schedule(config: AdaptationConfig) -> list[dict[str, Any]]:
    """For each step, the graph (1 if the norms before the decoder are frozen) and its input `rates`."""
    entries = []
    for t in range(config.steps):
        ratio = config.lr_ratio(t)
        rates = [ratio * config.norm_learning_rate, ratio * config.warmup(t) * config.learning_rate]
        rates += [1 - beta ** (t + 1) for beta in ADAM_BETAS]
        entries.append({"graph": 0 if config.is_trained("encoder", t) else 1, "rates": rates})
    return entries


def _style_config(base: Artifact, reference: BaseReference | None) -> dict[str, Any]:
    config = ArtifactConfig(
        kind="style",
        architecture=base.config.architecture,
        trainable=GROUP,
        base_model=reference or BaseReference(base.fingerprint),
        feature_extractor=base.config.feature_extractor,
        output_activation=base.config.output_activation,
    )
    return json.loads(config.to_json())


def _paths(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The paths of all files that a manifest names."""
    yield from (manifest["base"]["config"], manifest["base"]["weights"], _FEATURES, *manifest["contents"])
    yield from (graph["file"] for graph in manifest["graphs"].values())
    for style in manifest["styles"]:
        yield from (style["config"], style["weights"])


def _file_entry(folder: Path, path: str) -> dict[str, Any]:
    data = (folder / path).read_bytes()
    return {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
