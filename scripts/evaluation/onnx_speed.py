"""Measure the graphs of the browser page in onnxruntime against PyTorch, on the CPU, in one process and interleaved.

    metastyle export --browser -o runs/model
    python scripts/evaluation/onnx_speed.py runs/model                # two minutes

Figures are CPU seconds of one thread, medians; on a busy machine only their ratios mean something. PyTorch is the
library as users call it: `stylize_tensor`, and the steps of `adapt_parameters`, in float32 and in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from metastyle_hub.adaptation import AdaptationConfig, AdaptationTask, adapt_parameters
from metastyle_hub.data.examples import example
from metastyle_hub.export.layout import ParameterLayout
from metastyle_hub.export.plain import noise_inputs
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.layers import noise_field
from metastyle_hub.networks.transformer_net import meta_network
from metastyle_hub.stylization import stylize_tensor


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder that metastyle export --browser wrote")
    parser.add_argument("--sides", type=int, nargs="+", default=(256, 512), help="pixels of square images")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    base = MetaStyle.from_pretrained(args.model / "base")
    print(
        f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}), onnxruntime {onnxruntime.__version__}"
    )
    for side in args.sides:
        report(f"stylize {side} x {side}", stylization(args.model, base, side), args.repeats)
    recipes = json.loads((args.model / "browser.json").read_text())["recipes"]
    for name, recipe in recipes.items():
        config = AdaptationConfig.from_dict(recipe["config"]).replace(freeze_encoder_after=1.0)
        for graph, what in zip(recipe["graphs"], ("all norms and decoder", "decoder alone"), strict=True):
            if what == "decoder alone":
                config = config.replace(freeze_encoder_after=0.0)
            report(f"step {name}, {what}", step(args.model, base, config, graph), args.repeats)


def report(what: str, functions: dict[str, Callable[[], object]], repeats: int) -> None:
    """Print the medians of functions that are called in turn, after a call each that does not count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for i in range(repeats + 1):
        for name, function in functions.items():
            started = time.process_time()
            function()
            if i:
                times[name].append(time.process_time() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = medians["onnxruntime"]
    print(f"{what}: " + ", ".join(f"{name} {value:.3f} s ({value / first:.2f})" for name, value in medians.items()))


def session(file: Path) -> onnxruntime.InferenceSession:
    """Return a session with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def stylization(model: Path, base: MetaStyle, side: int) -> dict[str, Callable[[], object]]:
    """Return both ways to stylize a square image."""
    config, parameters = base.config.architecture, base.state_dict()
    image = resize_short_side(to_tensor(load_image(example("temple"))), side)[..., :side].contiguous()
    inputs = {"image": image, "parameters": ParameterLayout.of(parameters).flatten(parameters)}
    inputs |= {n.name: noise_field(n.channels, side // n.pixels, side // n.pixels) for n in noise_inputs(config)}
    graph, arrays = session(model / "stylize.onnx"), {name: value.numpy() for name, value in inputs.items()}
    network = meta_network(config)
    return {
        "onnxruntime": lambda: graph.run(None, arrays),
        "PyTorch": lambda: stylize_tensor(network, parameters, image),
    }


def step(model: Path, base: MetaStyle, config: AdaptationConfig, graph: str) -> dict[str, Callable[[], object]]:
    """Return the ways to make one step of an adaptation; those of PyTorch also draw crops."""
    running = session(model / f"{graph}.onnx")
    torch.manual_seed(0)
    parameters = base.state_dict()
    inputs: dict[str, Tensor] = {i.name: torch.rand(i.shape) for i in running.get_inputs()}
    inputs["parameters"] = ParameterLayout.of(parameters).flatten(parameters)
    arrays = {name: value.numpy() for name, value in inputs.items()}

    def steps(precision: str) -> Iterator[object]:
        task = AdaptationTask.load(
            example("night_swirls"), None, replace(config, steps=1000, precision=precision), torch.device("cpu")
        )
        yield from adapt_parameters(
            meta_network(base.config.architecture), parameters, task.style, task.contents, task.loss, task.config
        )

    streams = {precision: steps(precision) for precision in ("float32", "bfloat16")}
    for stream in streams.values():
        next(stream)  # the state before the first step
    return {
        "onnxruntime": lambda: running.run(None, arrays),
        "PyTorch float32": lambda: next(streams["float32"]),
        "PyTorch bfloat16": lambda: next(streams["bfloat16"]),
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
