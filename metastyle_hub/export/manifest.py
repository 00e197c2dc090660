"""`browser.json`: what a page must know of the exported files, so that it holds no copy of a default.

docs/browser.md, section "browser.json", specifies it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx

from metastyle_hub.adaptation import ADAM_BETAS, AdaptationConfig
from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.artifacts.serialization import Artifact
from metastyle_hub.data.content import CONTENT_SIZE
from metastyle_hub.export.layout import GROUP, ParameterLayout
from metastyle_hub.export.plain import NoiseInput, noise_inputs
from metastyle_hub.images.transforms import MIN_SIDE, SIDE_MULTIPLE
from metastyle_hub.networks.layers import NOISE_PERIOD, noise_field
from metastyle_hub.version import __version__

__all__ = ["FORMAT_VERSION", "graph_names", "manifest", "schedule"]

FORMAT_VERSION = 1


def manifest(
    base: Artifact,
    reference: BaseReference | None,
    graphs: Mapping[str, onnx.ModelProto],
    recipes: Mapping[str, AdaptationConfig],
    steps: Iterable[int],
) -> dict[str, Any]:
    """Return the manifest, but for the lists of files.

    Args:
        base: the base.
        reference: how styles of this base name it; None for the base in the package.
        graphs: by name.
        recipes: by name.
        steps: numbers of steps to give a schedule for, in addition to each recipe's own.
    """
    layout, counts = ParameterLayout.of(base.parameters), set(steps)
    return {
        "format_version": FORMAT_VERSION,
        "library_version": __version__,
        "parameter_count": layout.count,
        "parameters": layout.to_json(),
        "graphs": {name: _graph(name, graph) for name, graph in graphs.items()},
        "noise": {noise.name: _noise(noise) for noise in noise_inputs(base.config.architecture)},
        "recipes": {name: _recipe(name, config, counts) for name, config in recipes.items()},
        "padding": {"multiple": SIDE_MULTIPLE, "minimum": MIN_SIDE},
        "style_size": AdaptationConfig().style_size,
        "content_size": CONTENT_SIZE,
        "style_config": _style_config(base, reference),
    }


def graph_names(recipe: str) -> tuple[str, str]:
    """Return the names of a recipe's graphs: all norms and the decoder, and the decoder alone."""
    return f"adapt_{recipe}", f"adapt_{recipe}_decoder"


def _graph(name: str, graph: onnx.ModelProto) -> dict[str, Any]:
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


def _noise(noise: NoiseInput) -> dict[str, Any]:
    state = np.random.PCG64(noise.channels).state["state"]
    return {
        "channels": noise.channels,
        "pixels_per_sample": noise.pixels,
        "period": NOISE_PERIOD,
        "pcg64": {"state": f"{state['state']:032x}", "increment": f"{state['inc']:032x}"},
        "first": noise_field(noise.channels, 1, 4)[0, 0, 0].tolist(),
    }


def _recipe(name: str, config: AdaptationConfig, steps: set[int]) -> dict[str, Any]:
    counts = sorted({config.steps} | steps)
    return {
        "config": config.to_dict(),
        "graphs": list(graph_names(name)),
        "schedules": {str(count): schedule(config.replace(steps=count)) for count in counts},
    }


def schedule(config: AdaptationConfig) -> list[dict[str, Any]]:
    """Return, for each step, the graph (1 if the norms before the decoder are frozen) and its input `rates`."""
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
