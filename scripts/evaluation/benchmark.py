"""Measure speed and memory: stylization, the parts of an adaptation step, tiles against the whole image, loading.

    python scripts/evaluation/benchmark.py --out runs/benchmark       # some minutes on two cores
    python scripts/evaluation/benchmark.py --quick --out runs/quick   # a test of the script; its figures mean nothing

Run it on an idle machine. Times of different machines do not compare; ratios are of one run. Peak memory is that of a
process of its own (resident set, with Python and torch; on a GPU the allocator's). Output, in the folder `--out`:
benchmark.json and benchmark.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from metastyle_hub.adaptation import AdaptationConfig, adapt_parameters
from metastyle_hub.data.content import content_dataset
from metastyle_hub.data.datasets import CropConfig, center_crops, random_crops
from metastyle_hub.data.examples import example
from metastyle_hub.devices import resolve_device, training_dtype
from metastyle_hub.errors import SettingError
from metastyle_hub.losses import PerceptualLoss, outlier_penalty
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.backends import BACKENDS, resolve_backend
from metastyle_hub.networks.feature_extractor import load_feature_extractor
from metastyle_hub.networks.inference import infer
from metastyle_hub.networks.param_groups import TRAINABLE, trainable_parameters
from metastyle_hub.networks.transformer_net import meta_network, transform, transform_with_activations
from metastyle_hub.stylization import stylize_tensor
from metastyle_hub.tiling import TilingConfig

STYLE = "night_swirls"


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    what: str
    value: float
    unit: str  # "ms", "s", "MB", or "x" for a ratio


@dataclass(frozen=True)
class Scale:
    """Sizes of the work."""

    sides: tuple[int, ...] = (256, 512, 1024)
    adaptation: AdaptationConfig = AdaptationConfig(steps=100, crop_size=256, batch_size=1)  # noqa: RUF009, of the target
    timed_steps: int = 20
    large: tuple[int, int] = (2160, 3840)
    repeats: int = 5


QUICK = Scale((64, 96, 128), AdaptationConfig(steps=4, crop_size=64, style_size=64, batch_size=1), 2, (256, 384), 1)


# ---- memory, in processes of their own


def adaptation_peak(device: str, config: AdaptationConfig) -> tuple[float, float]:
    """Return seconds and peak MB of one adaptation, from an image file to a style."""
    base = MetaStyle.from_pretrained(device=device)
    started = time.perf_counter()
    base.adapt(example(STYLE), config=config, progress=False)
    return time.perf_counter() - started, peak_mb(device)


def stylization_peak(device: str, size: tuple[int, int], threshold: int) -> tuple[float, float]:
    """Return seconds and peak MB of the stylization of one large image, in tiles above `threshold` pixels."""
    base = MetaStyle.from_pretrained(device=device)
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)
    network = meta_network(base.config.architecture, base.config.output_activation)
    started = time.perf_counter()
    stylize_tensor(network, base.state_dict(), image, TilingConfig(threshold=threshold)).sum().item()
    return time.perf_counter() - started, peak_mb(device)


def baseline_peak(device: str) -> tuple[float, float]:
    """Return the seconds to load the base, and the peak MB of a process that does no more."""
    started = time.perf_counter()
    MetaStyle.from_pretrained(device=device)
    return time.perf_counter() - started, peak_mb(device)


def peak_mb(device: str) -> float:
    """Return the peak memory of this process so far."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    # a new process starts with its parent's peak, so the parent measures memory before anything else
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def alone(work: Callable[..., tuple[float, float]], *arguments: object) -> tuple[float, float]:
    """Return the result of `work` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def memory(device: str, scale: Scale) -> dict[str, Figure]:
    """Measure the peak memory of loading, of an adaptation and of a large image, with the time of each."""
    height, width = scale.large
    c = scale.adaptation
    load_s, load_mb = alone(baseline_peak, device)
    adapt_s, adapt_mb = alone(adaptation_peak, device, c)
    tiled_s, tiled_mb = alone(stylization_peak, device, scale.large, 0)
    work = f"adaptation, {c.steps} steps at {c.crop_size} px, batch {c.batch_size}, {c.trainable}"
    return {
        "load_ms": Figure("load the base, package imported", 1e3 * load_s, "ms"),
        "load_peak_mb": Figure("peak memory of a process that loads it", load_mb, "MB"),
        f"adaptation_{c.steps}_s": Figure(f"{work}: all of it", adapt_s, "s"),
        "adaptation_peak_mb": Figure(f"{work}: peak memory", adapt_mb, "MB"),
        "large_s": Figure(f"stylize {width} x {height} in tiles", tiled_s, "s"),
        "large_peak_mb": Figure(f"stylize {width} x {height} in tiles: peak memory", tiled_mb, "MB"),
    }


# ---- time


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the median time of `work`, after one call that does not count."""
    times = []
    for i in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if i:
            times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def stylization(base: MetaStyle, scale: Scale) -> dict[str, Figure]:
    """Measure milliseconds per image, tiles against the whole, and a batch in which every image has its own style."""
    device, found = base.device, dict[str, Figure]()

    def ms(work: Callable[[], object]) -> float:
        return 1e3 * seconds(work, device, scale.repeats)

    images = {side: torch.rand(1, 3, side, side, device=device) for side in scale.sides}
    for side, image in images.items():
        found[f"stylize_{side}_ms"] = Figure(f"stylize {side} x {side}", ms(partial(base.stylize, image)), "ms")
    network, theta = meta_network(base.config.architecture, base.config.output_activation), base.state_dict()
    side = scale.sides[-1]
    whole = ms(lambda: stylize_tensor(network, theta, images[side], TilingConfig(threshold=10**9)))
    tiles = ms(lambda: stylize_tensor(network, theta, images[side], TilingConfig(0, tile=side // 2)))
    found["tiles_over_whole"] = Figure(f"{side} x {side} in four tiles, over the whole", tiles / whole, "x")
    side, count = scale.sides[0], 4
    own = trainable_parameters(theta, scale.adaptation.trainable)
    styles = [{**theta, **{n: p * (1 + i / 100) for n, p in own.items()}} for i in range(count)]
    batch = torch.rand(count, 3, side, side, device=device)
    one = ms(lambda: [stylize_tensor(network, s, x[None]) for s, x in zip(styles, batch, strict=True)])
    together = ms(lambda: stylize_tensor(network, styles, batch))
    what = f"{count} images of {side} px, each with its own style, in one pass, over one by one"
    found["own_styles_over_one_by_one"] = Figure(what, together / one, "x")
    return found


def plain_network() -> nn.Module:
    """Return the network of Johnson et al. 2016 as one would write it: torch's modules, eager, channels-first."""

    def layer(channels: int, width: int, kernel: int, stride: int = 1, *, relu: bool = True) -> list[nn.Module]:
        pad, conv = nn.ReflectionPad2d(kernel // 2), nn.Conv2d(channels, width, kernel, stride)
        return [pad, conv, nn.InstanceNorm2d(width, affine=True), *[nn.ReLU()] * relu]

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*layer(128, 128, 3), *layer(128, 128, 3, relu=False))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x) + x

    down = [*layer(3, 32, 9), *layer(32, 64, 3, 2), *layer(64, 128, 3, 2)]
    up = [nn.Upsample(scale_factor=2), *layer(128, 64, 3), nn.Upsample(scale_factor=2), *layer(64, 32, 3)]
    residual = [Residual() for _ in range(5)]
    return nn.Sequential(*down, *residual, *up, nn.ReflectionPad2d(4), nn.Conv2d(32, 3, 9)).eval()


@torch.no_grad()
def backends(base: MetaStyle, scale: Scale) -> dict[str, Figure]:
    """Measure the processor time of every backend against `plain_network`, by turns: other load meets all of them."""
    plain, found = plain_network().to(base.device), dict[str, Figure]()
    network, theta = meta_network(base.config.architecture, base.config.output_activation), base.state_dict()
    for side in scale.sides:
        image = torch.rand(1, 3, side, side, device=base.device)
        work: dict[str, Callable[[], object]] = {"plain": partial(plain, image)}
        for backend in BACKENDS:
            with contextlib.suppress(SettingError):
                if resolve_backend(backend, base.device) == backend:
                    work[backend] = partial(infer, network, theta, image, backend)
        times: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(scale.repeats + 1):
            for name, call in work.items():
                started = time.process_time()
                call()
                times[name].append(time.process_time() - started)
        medians = {name: sorted(t[1:])[len(t[1:]) // 2] for name, t in times.items()}
        found[f"plain_{side}_ms"] = Figure(
            f"{side} x {side}, plain eager network, processor", 1e3 * medians["plain"], "ms"
        )
        for name in list(work)[1:]:
            ratio = medians["plain"] / medians[name]
            found[f"{name}_{side}_over_plain"] = Figure(f"{side} x {side}, speed of {name} over plain", ratio, "x")
    return found


def adaptation(base: MetaStyle, scale: Scale) -> dict[str, Figure]:
    """Measure the parts of an adaptation step, whole steps, and the gain of norms only and of bfloat16."""
    config, device, found = scale.adaptation, base.device, dict[str, Figure]()
    network, theta = meta_network(base.config.architecture, base.config.output_activation), base.state_dict()
    dataset = content_dataset()
    dtype, rng = training_dtype(device), np.random.default_rng(0)
    crop = CropConfig(config.crop_size)
    batch = random_crops(dataset, config.batch_size, crop, rng).to(device)
    style = center_crops([dataset[0]], config.style_size).to(device)  # type: ignore[arg-type]

    def ms(name: str, what: str, work: Callable[[], object]) -> float:
        found[name] = Figure(what, 1e3 * seconds(work, device, scale.repeats), "ms")
        return found[name].value

    def objective(loss: PerceptualLoss, weights: dict[str, Tensor]) -> Tensor:
        output = transform_with_activations(network, weights, batch, loss.dtype)
        outliers = config.outlier_weight * outlier_penalty(output.activations, config.outlier_limit)
        return loss(output.images, loss.targets(batch, grams))[0].log().mean() + outliers

    def gradients(loss: PerceptualLoss, group: str) -> tuple[Tensor, ...]:
        weights = {name: p.clone() for name, p in theta.items()}
        trainable = list(trainable_parameters(weights, group).values())
        for p in trainable:
            p.requires_grad_()
        return torch.autograd.grad(objective(loss, weights), trainable)

    losses = {
        d: PerceptualLoss(load_feature_extractor(device=device, dtype=d), config.weights)
        for d in (dtype, torch.float32)
    }
    loss = losses[dtype]
    grams = loss.style_grams(style)
    stylized = batch.clone().requires_grad_()
    targets = loss.targets(batch, grams)
    ms("style_grams_ms", "once: Gram matrices of the style", lambda: loss.style_grams(style))
    ms("crops_ms", "content crops", lambda: random_crops(dataset, config.batch_size, crop, rng))
    ms("targets_ms", "targets: features of the contents", lambda: loss.targets(batch, grams))
    with torch.no_grad():
        ms("network_forward_ms", "network, forward", lambda: transform(network, theta, batch, dtype))
        ms("loss_forward_ms", "features and loss, forward", lambda: loss(batch, targets))
    ms(
        "loss_both_ms", "features and loss, forward and backward",
        lambda: torch.autograd.grad(loss(stylized, targets)[0].log().mean(), stylized),
    )  # fmt: skip
    for group in TRAINABLE:
        both = ms(
            f"gradient_{group}_ms",
            f"all of the above, outliers, and backward, {group}",
            partial(gradients, loss, group),
        )
        variables = [p.clone().requires_grad_() for p in trainable_parameters(theta, group).values()]
        for p in variables:
            p.grad = torch.zeros_like(p)
        adam = torch.optim.Adam(variables, lr=1e-3)
        ms(f"optimizer_{group}_ms", f"Adam, {group}", adam.step)
        found[f"step_{group}_ms"] = Figure(f"**a whole step, {group}**", step_ms(base, style, loss, scale, group), "ms")
        if group == config.trainable and dtype != torch.float32:
            grams = losses[torch.float32].style_grams(style)
            slow = 1e3 * seconds(partial(gradients, losses[torch.float32], group), device, scale.repeats)
            grams = loss.style_grams(style)
            found["bf16_over_fp32"] = Figure(f"gradient in bfloat16 over float32, {group}", both / slow, "x")
    ratio = found["step_norm_ms"].value / found["step_all_ms"].value
    found["norm_over_all"] = Figure("a step of norms only over one of all parameters", ratio, "x")
    return found


def step_ms(base: MetaStyle, style: Tensor, loss: PerceptualLoss, scale: Scale, group: str) -> float:
    """Return the milliseconds of a step of a real adaptation, without the first."""
    config = scale.adaptation.replace(steps=scale.timed_steps + 1, trainable=group)
    network = meta_network(base.config.architecture, base.config.output_activation)
    dataset, times = content_dataset(), []
    for _ in adapt_parameters(network, base.state_dict(), style, dataset, loss, config):
        times.append(time.perf_counter())
    return 1e3 * (times[-2] - times[0]) / scale.timed_steps  # the last one has no gradient


# ---- the report


def machine(device: torch.device) -> str:
    """Return a description of the machine."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = (line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line)
        model = next(names, model)
    threads, dtype = torch.get_num_threads(), str(training_dtype(device)).removeprefix("torch.")
    return f"{model}, {threads} of {os.cpu_count()} hardware threads, {dtype}, torch {torch.__version__}"


def import_ms() -> float:
    """Return the milliseconds of `import metastyle_hub` in a new Python."""
    probe = "import time; t = time.perf_counter(); import metastyle_hub; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return 1e3 * float(done.stdout)


def as_markdown(report: dict[str, object], sections: dict[str, dict[str, Figure]]) -> str:
    """Return the report for docs/performance.md."""
    lines = [f"Machine: {report['machine']}; {report['date']}.", "", f"    {report['command']}", ""]
    if report["quick"]:
        lines += ["**A quick run, a test of the script: its figures mean nothing.**", ""]
    for title, figures in sections.items():
        lines += [f"## {title}", "", "| what | figure |", "| --- | ---: |"]
        for f in figures.values():
            lines.append(f"| {f.what} | {f.value:.{0 if f.value >= 100 else 1 if f.value >= 10 else 2}f} {f.unit} |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="cpu, cuda ... (default auto)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to test the script")
    parser.add_argument("--out", type=Path, help="folder for benchmark.json and benchmark.md")
    args = parser.parse_args(arguments)
    scale = QUICK if args.quick else Scale()
    device = resolve_device(args.device)
    sections = {"Memory and long runs": memory(str(device), scale)}  # first: see peak_mb
    sections["Memory and long runs"]["import_ms"] = Figure("import metastyle_hub", import_ms(), "ms")
    base = MetaStyle.from_pretrained(device=device)
    sections["Stylization"] = stylization(base, scale)
    sections["Backends, interleaved"] = backends(base, scale)
    c = scale.adaptation
    sections[f"A step of adaptation, {c.crop_size} px, batch {c.batch_size}"] = adaptation(base, scale)
    report: dict[str, object] = {
        "machine": machine(device),
        "date": f"{datetime.now(UTC):%d %B %Y}",
        "command": " ".join(
            ["python scripts/evaluation/benchmark.py", f"--device {args.device}", *["--quick"] * args.quick]
        ),
        "quick": args.quick,
        "figures": {name: asdict(f) for figures in sections.values() for name, f in figures.items()},
    }
    text = as_markdown(report, sections)
    print(text)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "benchmark.json").write_text(json.dumps(report, indent=2) + "\n")
        (args.out / "benchmark.md").write_text(text)


if __name__ == "__main__":
    main()
