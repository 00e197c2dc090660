"""Measures speed: stylising at several sizes, the pieces of an adaptation step, tiles against the whole.

    python scripts/benchmark.py --out runs/benchmark.json        # about two minutes on two cores

Times of different machines say little; every figure also comes as a ratio to another of the same run.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.contents import content_pool
from metastyle_hub.data import CropConfig, random_crops
from metastyle_hub.devices import resolve_device, training_dtype
from metastyle_hub.examples import example
from metastyle_hub.features import load_features
from metastyle_hub.loss import PerceptualLoss
from metastyle_hub.model import MetaStyle
from metastyle_hub.network import ImageTransformationNetwork, transform
from metastyle_hub.tiling import TilingConfig, transform_in_tiles


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """The median time of `work`, after one call that does not count."""
    times = []
    for i in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if i:
            times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    device = resolve_device(args.device)
    config, dtype = AdaptationConfig(), training_dtype(device)
    base = MetaStyle.from_pretrained(device=device)
    network, theta = ImageTransformationNetwork(base.config.architecture), base.parameters
    loss = PerceptualLoss(load_features(config.features, device=device, dtype=dtype), config.weights)
    result: dict[str, float | str] = {
        "machine": platform.processor() or platform.machine(),
        "threads": float(torch.get_num_threads()),
        "torch": torch.__version__,
        "device": str(device),
        "training_dtype": str(dtype),
    }
    photos = {size: torch.rand(1, 3, size, size, device=device) for size in (256, 512, 1024)}
    with torch.no_grad():
        for size, photo in photos.items():
            result[f"stylize_{size}_ms"] = 1e3 * seconds(partial(transform, network, theta, photo), device)
        tiles = TilingConfig(threshold=0, tile=512)
        tiled = 1e3 * seconds(partial(transform_in_tiles, network, theta, photos[1024], tiles), device, 3)
    result["tiles_over_whole_1024"] = tiled / float(result["stylize_1024_ms"])

    pool = content_pool()
    rng = np.random.default_rng(0)
    crops = random_crops(pool, config.batch, CropConfig(config.size), rng).to(device)
    weights = {name: p.clone().requires_grad_() for name, p in theta.items()}
    grams = loss.style_grams(torch.rand(1, 3, config.style_size, config.style_size, device=device))

    def objective() -> torch.Tensor:
        return loss(transform(network, weights, crops, dtype), loss.targets(crops, grams))[0].log().mean()

    pieces: dict[str, Callable[[], object]] = {
        "crops": lambda: random_crops(pool, config.batch, CropConfig(config.size), rng),
        "targets": lambda: loss.targets(crops, grams),
        "forward": lambda: objective().detach(),
        "forward_and_backward": lambda: torch.autograd.grad(objective(), list(weights.values())),
    }
    for name, work in pieces.items():
        result[f"step_{name}_ms"] = 1e3 * seconds(work, device)
    started = time.perf_counter()
    steps = 20
    for _ in base.adapt_iter(example("night_swirls"), steps=steps):
        pass
    result["adaptation_100_steps_s"] = (time.perf_counter() - started) * 100 / steps
    result["adaptation_over_forward_and_backward"] = (
        float(result["adaptation_100_steps_s"]) * 10 / float(result["step_forward_and_backward_ms"])
    )
    for name, value in result.items():
        print(f"{name:40s} {value if isinstance(value, str) else round(value, 2)}")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
