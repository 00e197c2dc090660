"""Measures a base against its rivals, by the eyes of a judge: see metastyle_hub/evaluation.

    python scripts/evaluate.py --photos DIR --artworks DIR --judge vgg19_relu3_4.safetensors --out runs/evaluation
    python scripts/evaluate.py ... --bars                 # the bars and tables of what is measured; measures nothing

Without --judge the judge is torchvision's VGG-19 (downloaded on first use), whose figures do not compare with those of
docs/quality.md. Interrupt it whenever you like: the same command goes on. In the folder `--out`:

    measurements.jsonl   every figure, under a key of base, settings and pictures
    summary.json         geometric means with 95% intervals        table.md   the same for people
    bars.json, bars.md   each bar: its figure, reached or not
    step0.json           fidelity of the unadapted output
    losses.svg, .png     loss against steps and seconds (needs the extra `evaluation`)
    sheet.png            photo, style and what the methods made of them; it shows the pictures that were given

The methods: photo; base (the default settings), base_norm, base_decoder, base_all, base_unpredicted (the first step is
from theta), base_20 and base_200 (so many steps asked for); scratch (the paper's network from a random start),
scratch_short (in as many steps as base), scratch_plain (with the paper's two terms of the loss alone);
gatys_adam, gatys_lbfgs.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.data.content import content_dataset
from metastyle_hub.devices import resolve_device, training_dtype
from metastyle_hub.errors import MetaStyleError, SettingError
from evaluation.targets import bars, bars_as_markdown
from evaluation.fidelity import Fidelity, fidelity
from metastyle_hub.baselines.gatys import GatysConfig
from evaluation.runner import Evaluation, Method, evaluation_crops, load_evaluation_loss, spread_pairs
from evaluation.measurements import digest
from evaluation.plots import plot_losses
from evaluation.summaries import as_markdown, summarize
from metastyle_hub.networks.feature_extractor import load_feature_extractor
from metastyle_hub.images.io import save_image
from metastyle_hub.losses import LossWeights
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.param_groups import TRAINABLE
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.networks.meta_device import new_skeleton

STEPS = (0, 1, 5, 10, 20, 50, 100, 200, 500, 1000)
ITERATIONS = (1, 5, 10, 20, 25, 50, 100, 200, 500)
SHEET = (("base", 0), ("base", 20), ("base", 100), ("scratch", -1), ("gatys_adam", 25), ("gatys_adam", 100))  # -1: last

JUDGES = {
    "vgg19_oxford": "VGG-19 with the weights of Simonyan and Zisserman",
    "vgg19": "VGG-19 with torchvision's weights, not the measure of docs/quality.md",
}


def methods(adaptation: AdaptationConfig, gatys: int, scratch: int) -> dict[str, Method]:
    """Every method by the name that --methods takes."""

    def network(name: str, kind: str, config: AdaptationConfig) -> Method:
        return Method(name, kind, tuple(sorted({m for m in STEPS if m <= config.steps} | {config.steps})), config)

    def pixels(name: str, optimizer: str) -> Method:
        marks = tuple(sorted({m for m in ITERATIONS if m <= gatys} | {gatys}))
        return Method(name, "gatys", marks, gatys=GatysConfig(optimizer, iterations=gatys))

    # a random start has nothing to lose in its first steps, and wants the paper's rate
    alone = replace(adaptation, parameters="all", learning_rate=1e-3, warmup_steps=0)
    # the paper's two terms: all that a judge sees, and nothing that keeps pictures free of blobs and grain
    plain = replace(adaptation.weights, coarse_weight=0.0, tone_weight=0.0, checkerboard_weight=0.0, tv_weight=0.0)
    two_terms = replace(alone, steps=scratch, outlier_weight=0.0, weights=plain)
    found = [
        Method("photo", "photo", (0,)),
        network("base", "base", adaptation),
        *(network(f"base_{moves}", "base", replace(adaptation, parameters=moves)) for moves in TRAINABLE),
        network("base_unpredicted", "base", replace(adaptation, predict=False)),
        network("base_20", "base", replace(adaptation, steps=20)),
        network("base_200", "base", replace(adaptation, steps=200)),
        network("scratch", "scratch", replace(alone, steps=scratch)),
        network("scratch_short", "scratch", alone),
        network("scratch_plain", "scratch", two_terms),
        pixels("gatys_adam", "adam"),
        pixels("gatys_lbfgs", "lbfgs"),
    ]
    return {m.name: m for m in found}


def measure_step0(base: MetaStyle, contents: torch.Tensor, file: Path) -> Fidelity:
    """The fidelity of the base, read from `file` if that is of this base and these photos."""
    key = {"base": base.fingerprint, "output": base.config.output, "contents": digest(contents)}
    if file.exists():
        known = json.loads(file.read_text())
        if {name: known.pop(name, None) for name in key} == key:
            return Fidelity(**known)
    network = new_skeleton(base.config.architecture, base.config.output)
    found = fidelity(network, base.parameters, contents)
    write_json(file, asdict(found) | key)
    return found


def write_json(file: Path, value: object) -> None:
    """Written aside and renamed, so that a killed run leaves no half a file."""
    aside = file.with_suffix(".tmp")
    aside.write_text(json.dumps(value, indent=2) + "\n")
    aside.replace(file)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, help="folder of contents to judge on")
    parser.add_argument("--artworks", required=True, help="folder of styles")
    parser.add_argument("--judge", type=Path, help="VGG-19 weights (Oxford, up to relu3_4) as safetensors")
    parser.add_argument(
        "--large-shapes", action="store_true", help="the judge compares style at half and quarter size as well"
    )
    parser.add_argument("--base", help="folder of the base (default: the one in the package)")
    parser.add_argument("--features-file", type=Path, help="weights of the feature network adaptation learns with")
    parser.add_argument("--contents", help="what adaptation learns on (default: the built-in pictures)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu", help="cpu, cuda ... or auto (default cpu)")
    parser.add_argument("--methods", nargs="+", default=["photo", "base", "base_all", "gatys_adam", "scratch"])
    parser.add_argument("--bars", action="store_true", help="measure nothing, report what has been measured")
    parser.add_argument("--benchmark", type=Path, help="JSON of scripts/benchmark.py, for the bars of time")
    parser.add_argument("--count", type=int, nargs=2, default=(10, 4), metavar="N", help="styles, and contents of each")
    parser.add_argument("--pixels", type=int, default=256, help="side of the crops that are judged")
    parser.add_argument("--gatys-iterations", type=int, default=100)
    parser.add_argument("--scratch-steps", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=6, help="pairs on the contact sheet, one of each style")
    add_arguments(parser.add_argument_group("adaptation"), AdaptationConfig)
    add_arguments(parser.add_argument_group("weights of the loss"), LossWeights)
    args = parser.parse_args(arguments)
    try:
        config = from_arguments(AdaptationConfig, args, weights=from_arguments(LossWeights, args))
        table = methods(config, args.gatys_iterations, args.scratch_steps)
        if unknown := set(args.methods) - table.keys():
            raise SettingError(f"unknown method {sorted(unknown)[0]!r}; choose from {', '.join(table)}.")
        evaluate(args, config, table)
    except MetaStyleError as error:
        parser.error(str(error))


def evaluate(args: argparse.Namespace, config: AdaptationConfig, table: dict[str, Method]) -> None:
    """Measure, and write every file."""
    args.out.mkdir(parents=True, exist_ok=True)
    device = resolve_device(args.device)
    contents, styles = (evaluation_crops(folder, args.pixels).to(device) for folder in (args.photos, args.artworks))
    judge = load_evaluation_loss(args.judge, device, coarse_weight=1.0 if args.large_shapes else 0.0)
    base = MetaStyle.from_pretrained(args.base, device=device)
    dtype = training_dtype(device) if config.precision == "auto" else getattr(torch, config.precision)
    features = load_feature_extractor(config.features, file=args.features_file, device=device, dtype=dtype)
    pairs = spread_pairs(len(styles), len(contents), *args.count)
    # one pair of a style, spread over the styles
    firsts = [next(p for p in pairs if p[0] == s) for s in sorted({s for s, _ in pairs})]
    shown = firsts[:: max(1, len(firsts) // max(1, args.rows))][: args.rows]
    evaluation = Evaluation(
        judge, contents, styles, pairs, base.parameters, content_dataset(args.contents),
        features, args.out, base.config.architecture, base.config.output,
        base.predictor, base.config.features, shown,
    )  # fmt: skip
    if not args.bars:
        chosen = [table[name] for name in args.methods]
        with tqdm(total=evaluation.units(chosen), unit="style") as bar:
            for made in evaluation.run(chosen):
                last = made[-1]
                bar.update()
                bar.set_postfix_str(f"{last.method} step {last.step}: {last.total:.2f}")
    rows = evaluation.measured(list(table.values()))
    if not rows:
        raise SettingError(f"{args.out} holds no measurements of these pictures and settings; leave out --bars once.")
    step0 = measure_step0(base, contents, args.out / "step0.json")
    summaries = summarize(rows)
    speed = {}
    if args.benchmark:
        report = json.loads(args.benchmark.read_text())
        speed = {} if report["quick"] else {name: f["value"] for name, f in report["figures"].items()}
    found = bars(rows, step0, speed)
    write_json(args.out / "summary.json", [asdict(s) for s in summaries])
    write_json(args.out / "bars.json", [asdict(b) for b in found])
    eyes = JUDGES[judge.features.name] + (", style summed over three sizes" if args.large_shapes else "")
    table_text = f"Judge: {eyes}.\n\n{as_markdown(summaries)}"
    (args.out / "table.md").write_text(table_text)
    (args.out / "bars.md").write_text(bars_as_markdown(found))
    measured = list(dict.fromkeys(s.method for s in summaries))
    wanted = [(table[name], step if step >= 0 else table[name].marks[-1]) for name, step in SHEET if name in measured]
    columns = [(method, step) for method, step in wanted if step in method.marks]
    if shown:
        save_image(evaluation.sheet(columns), args.out / "sheet.png")
    print(table_text)
    print(bars_as_markdown(found))
    lines: dict[tuple[float, ...], str] = {}  # two names of one measurement would be two lines one upon the other
    for name in measured:
        lines.setdefault(tuple(s.total for s in summaries if s.method == name), name)
    drawn = [s for s in summaries if s.method in lines.values()]
    plot_losses(drawn, args.out / "losses")


if __name__ == "__main__":
    main()
