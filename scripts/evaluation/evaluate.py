r"""Evaluate a base against its baselines, by a held-out evaluation network.

    python scripts/evaluation/evaluate.py --content DIR --style DIR --evaluation-network vgg19_relu3_4.safetensors \
        --out runs/evaluation
    python scripts/evaluation/evaluate.py ... --targets           # report what was measured; measure nothing

Without --evaluation-network it is torchvision's VGG-19 (downloaded on first use), whose figures do not compare with
those of docs/results.md. An interrupted run continues with the same command. Output, in the folder `--out`:

    measurements.jsonl         every figure, under a key of base, settings and images
    summary.json, table.md     geometric means with 95% intervals
    targets.json, targets.md   each target: its figure, met or not
    step0.json                 fidelity of the unadapted output
    losses.svg, losses.png     loss against steps and seconds
    grid.png                   content, style, and the images of the methods; it contains the given images

Methods: photo; base (the default settings), base_norm, base_decoder, base_all, base_unpredicted (the first step starts
from theta), base_20 and base_200 (steps=20 and 200); scratch (the paper's network from a random start), scratch_short
(in as many steps as base), scratch_plain (with the paper's two terms of the loss); gatys_adam, gatys_lbfgs.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.baselines.gatys import GatysConfig
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.data.content import content_dataset
from metastyle_hub.devices import resolve_device, training_dtype
from metastyle_hub.errors import MetaStyleError, SettingError
from metastyle_hub.images.io import save_image
from metastyle_hub.losses import LossWeights
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.feature_extractor import load_feature_extractor
from metastyle_hub.networks.param_groups import TRAINABLE
from metastyle_hub.networks.transformer_net import meta_network

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation.fidelity import Fidelity, fidelity
from evaluation.measurements import digest
from evaluation.plots import plot_losses
from evaluation.runner import Evaluation, Method, evaluation_crops, load_evaluation_loss, spread_pairs
from evaluation.summaries import as_markdown, summarize
from evaluation.targets import targets, targets_as_markdown

STEPS = (0, 1, 5, 10, 20, 50, 100, 200, 500, 1000)
ITERATIONS = (1, 5, 10, 20, 25, 50, 100, 200, 500)
GRID = (("base", 0), ("base", 20), ("base", 100), ("scratch", -1), ("gatys_adam", 25), ("gatys_adam", 100))  # -1: last

EVALUATION_NETWORKS = {
    "vgg19_oxford": "VGG-19 with the weights of Simonyan and Zisserman",
    "vgg19": "VGG-19 with torchvision's weights, not the measure of docs/results.md",
}


def methods(adaptation: AdaptationConfig, iterations: int, scratch_steps: int) -> dict[str, Method]:
    """Return every method by the name that --methods takes.

    Args:
        adaptation: settings of the adaptation from the base.
        iterations: of Gatys' method.
        scratch_steps: steps from a random start.
    """

    def network(name: str, kind: str, config: AdaptationConfig) -> Method:
        return Method(name, kind, tuple(sorted({m for m in STEPS if m <= config.steps} | {config.steps})), config)

    def pixels(name: str, optimizer: str) -> Method:
        marks = tuple(sorted({m for m in ITERATIONS if m <= iterations} | {iterations}))
        return Method(name, "gatys", marks, gatys=GatysConfig(optimizer, iterations=iterations))

    # from a random start all parameters are trained, with the paper's learning rate and without warmup
    alone = adaptation.replace(trainable="all", learning_rate=1e-3, warmup_steps=0)
    # the paper's two terms are all that the evaluation measures; the others prevent blobs and checkerboard artifacts
    plain = adaptation.weights.replace(coarse_weight=0, tone_weight=0, checkerboard_weight=0, tv_weight=0)
    two_terms = alone.replace(steps=scratch_steps, outlier_weight=0, weights=plain)
    found = [
        Method("photo", "photo", (0,)),
        network("base", "base", adaptation),
        *(network(f"base_{group}", "base", adaptation.replace(trainable=group)) for group in TRAINABLE),
        network("base_unpredicted", "base", adaptation.replace(use_predictor=False)),
        network("base_20", "base", adaptation.replace(steps=20)),
        network("base_200", "base", adaptation.replace(steps=200)),
        network("scratch", "scratch", alone.replace(steps=scratch_steps)),
        network("scratch_short", "scratch", alone),
        network("scratch_plain", "scratch", two_terms),
        pixels("gatys_adam", "adam"),
        pixels("gatys_lbfgs", "lbfgs"),
    ]
    return {m.name: m for m in found}


def measure_step0(base: MetaStyle, contents: torch.Tensor, file: Path) -> Fidelity:
    """Return the fidelity of the base, read from `file` if that is of this base and these contents (B, 3, H, W)."""
    activation = base.config.output_activation
    key = {"base": base.fingerprint, "output_activation": activation, "contents": digest(contents)}
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        if {name: known.pop(name, None) for name in key} == key:
            return Fidelity(**known)
    found = fidelity(meta_network(base.config.architecture, activation), base.state_dict(), contents)
    write_json(file, asdict(found) | key)
    return found


def write_json(file: Path, value: object) -> None:
    """Write to a temporary file and rename it: a kill leaves the old or the new one whole."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--content", required=True, help="folder of content images to evaluate on")
    parser.add_argument("--style", required=True, help="folder of style images")
    parser.add_argument(
        "--evaluation-network", type=Path, metavar="FILE", help="VGG-19 (Oxford, up to relu3_4) as safetensors"
    )
    parser.add_argument("--large-shapes", action="store_true", help="compare style at half and quarter size as well")
    parser.add_argument("--base", help="folder of the base (default: the one in the package)")
    parser.add_argument("--features-file", type=Path, help="weights of the feature extractor of adaptation")
    parser.add_argument(
        "--adaptation-content", metavar="DIR", help="content images of adaptation (default: the built-in ones)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ... or auto (default cpu)")
    parser.add_argument("--methods", nargs="+", default=["photo", "base", "base_all", "gatys_adam", "scratch"])
    parser.add_argument("--targets", action="store_true", help="measure nothing, report what was measured")
    parser.add_argument("--benchmark", type=Path, help="benchmark.json of benchmark.py, for the targets of time")
    parser.add_argument("--count", type=int, nargs=2, default=(10, 4), metavar="N", help="styles, and contents of each")
    parser.add_argument("--pixels", type=int, default=256, help="side of the evaluated crops (default 256)")
    parser.add_argument("--gatys-iterations", type=int, default=100, help="(default 100)")
    parser.add_argument("--scratch-steps", type=int, default=1000, help="(default 1000)")
    parser.add_argument("--rows", type=int, default=6, help="pairs in the image grid, one of each style (default 6)")
    add_arguments(parser.add_argument_group("adaptation"), AdaptationConfig)
    add_arguments(parser.add_argument_group("weights of the loss"), LossWeights)
    args = parser.parse_args(arguments)
    try:
        config = from_arguments(AdaptationConfig, args, weights=from_arguments(LossWeights, args))
        table = methods(config, args.gatys_iterations, args.scratch_steps)
        if unknown := set(args.methods) - table.keys():
            raise SettingError(f"Unknown method {sorted(unknown)[0]!r}; choose from {', '.join(table)}.")
        evaluate(args, config, table)
    except MetaStyleError as error:
        parser.error(str(error))


def evaluate(args: argparse.Namespace, config: AdaptationConfig, table: dict[str, Method]) -> None:
    """Measure, and write every file."""
    args.out.mkdir(parents=True, exist_ok=True)
    device = resolve_device(args.device)
    contents, styles = (evaluation_crops(folder, args.pixels).to(device) for folder in (args.content, args.style))
    loss = load_evaluation_loss(args.evaluation_network, device, coarse_weight=1.0 if args.large_shapes else 0.0)
    base = MetaStyle.from_pretrained(args.base, device=device)
    dtype = training_dtype(device) if config.precision == "auto" else getattr(torch, config.precision)
    pairs = spread_pairs(len(styles), len(contents), *args.count)
    # one pair of a style, spread over the styles
    firsts = [next(p for p in pairs if p[0] == s) for s in sorted({s for s, _ in pairs})]
    evaluation = Evaluation(
        loss,
        contents,
        styles,
        pairs,
        base.state_dict(),
        content_dataset(args.adaptation_content),
        load_feature_extractor(config.feature_extractor, file=args.features_file, device=device, dtype=dtype),
        folder=args.out,
        architecture=base.config.architecture,
        output_activation=base.config.output_activation,
        predictor=base.predictor,
        predictor_extractor=base.config.feature_extractor,
        grid_pairs=firsts[:: max(1, len(firsts) // max(1, args.rows))][: args.rows],
    )
    if not args.targets:
        chosen = [table[name] for name in args.methods]
        with tqdm(total=evaluation.units(chosen), unit="style") as progress:
            for unit in evaluation.run(chosen):
                last = unit[-1]
                progress.update()
                progress.set_postfix_str(f"{last.method} step {last.step}: {last.total:.2f}")
    rows = evaluation.measured(list(table.values()))
    if not rows:
        raise SettingError(f"{args.out} holds no measurements of these images and settings; leave out --targets once.")
    step0 = measure_step0(base, contents, args.out / "step0.json")
    summaries = summarize(rows)
    speed = {}
    if args.benchmark:
        report = json.loads(args.benchmark.read_text(encoding="utf-8"))
        speed = {} if report["quick"] else {name: f["value"] for name, f in report["figures"].items()}
    found = targets(rows, step0, speed)
    write_json(args.out / "summary.json", [asdict(s) for s in summaries])
    write_json(args.out / "targets.json", [asdict(target) for target in found])
    network = EVALUATION_NETWORKS[loss.feature_extractor.name]
    if args.large_shapes:
        network += ", style summed over three sizes"
    table_text = f"Evaluation network: {network}.\n\n{as_markdown(summaries)}"
    (args.out / "table.md").write_text(table_text, encoding="utf-8")
    (args.out / "targets.md").write_text(targets_as_markdown(found), encoding="utf-8")
    measured = list(dict.fromkeys(s.method for s in summaries))
    wanted = [(table[name], step if step >= 0 else table[name].marks[-1]) for name, step in GRID if name in measured]
    if evaluation.grid_pairs:
        columns = [(method, step) for method, step in wanted if step in method.marks]
        save_image(evaluation.grid(columns), args.out / "grid.png")
    print(table_text)
    print(targets_as_markdown(found))
    lines: dict[tuple[float, ...], str] = {}  # two names of one measurement are one line
    for name in measured:
        lines.setdefault(tuple(s.total for s in summaries if s.method == name), name)
    plot_losses([s for s in summaries if s.method in lines.values()], args.out / "losses")


if __name__ == "__main__":
    main()
