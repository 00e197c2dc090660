"""Measures a base against its rivals, by the eyes of a judge: see metastyle_hub/evaluation.py.

    python scripts/evaluate.py --photos DIR --artworks DIR --judge vgg19_relu3_4.safetensors --out runs/evaluation

Without --judge the judge is torchvision's VGG-19 (downloaded on first use). Writes measurements.jsonl (an interrupted
run goes on from it), summary.json, table.md and step0.json (fidelity of the unadapted output).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.contents import content_pool
from metastyle_hub.data import FolderPool, center_crops
from metastyle_hub.devices import training_dtype
from metastyle_hub.evaluation import Evaluation, Measurement, Method, as_markdown, psnr, summarize
from metastyle_hub.features import load_features
from metastyle_hub.gatys import GatysConfig
from metastyle_hub.loss import LossWeights, PerceptualLoss
from metastyle_hub.model import MetaStyle
from metastyle_hub.network import ImageTransformationNetwork, transform
from metastyle_hub.settings import add_arguments, from_arguments

STEPS = (0, 1, 5, 10, 20, 50, 100, 200)
ITERATIONS = (10, 20, 25, 50, 100, 200, 500)


def methods(adaptation: AdaptationConfig, gatys: int, scratch: int) -> dict[str, Method]:
    """Every method by the name that --methods takes."""
    up_to = tuple(m for m in STEPS if m <= adaptation.steps)
    long = tuple(m for m in (20, 50, 100, 200, 500, 1000, 2000) if m <= scratch)
    marks = tuple(m for m in ITERATIONS if m <= gatys)
    found = [
        Method("photo", "photo", (0,)),
        Method("base", "base", up_to, replace(adaptation)),
        Method("base_norm", "base", up_to, replace(adaptation, parameters="norm")),
        Method("scratch", "scratch", long, replace(adaptation, parameters="all", steps=scratch)),
        Method("gatys_adam", "gatys", marks, gatys=GatysConfig("adam", iterations=gatys)),
        Method("gatys_lbfgs", "gatys", marks, gatys=GatysConfig("lbfgs", iterations=gatys)),
    ]
    return {m.name: m for m in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, help="folder of contents to judge on")
    parser.add_argument("--artworks", required=True, help="folder of styles")
    parser.add_argument("--judge", type=Path, help="VGG-19 weights (Oxford, up to relu3_4) as safetensors")
    parser.add_argument("--base", help="folder of the base (default: the one in the package)")
    parser.add_argument("--features-file", type=Path, help="weights of the feature network adaptation learns with")
    parser.add_argument("--contents", help="what adaptation learns on (default: the built-in pictures)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["photo", "base", "scratch", "gatys_adam"])
    parser.add_argument("--count", type=int, nargs=2, default=(10, 4), metavar="N", help="styles, and contents of each")
    parser.add_argument("--pixels", type=int, default=256, help="side of the crops that are judged")
    parser.add_argument("--gatys-iterations", type=int, default=100)
    parser.add_argument("--scratch-steps", type=int, default=1000)
    add_arguments(parser.add_argument_group("adaptation"), AdaptationConfig)
    add_arguments(parser.add_argument_group("weights of the loss"), LossWeights)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    config = from_arguments(AdaptationConfig, args, weights=from_arguments(LossWeights, args))
    judged = LossWeights(content_weight=1, style_weight=10, tone_weight=0)  # the measure, whatever the loss becomes
    judge = PerceptualLoss(load_features("vgg19_oxford" if args.judge else "vgg19", file=args.judge), judged)
    base = MetaStyle.from_pretrained(args.base)
    dtype = training_dtype(torch.device("cpu")) if config.precision == "auto" else getattr(torch, config.precision)
    loss = PerceptualLoss(load_features(config.features, file=args.features_file, dtype=dtype), config.weights)
    contents, styles = (center_crops(FolderPool(f), args.pixels) for f in (args.photos, args.artworks))
    s_count, c_count = min(args.count[0], len(styles)), args.count[1]
    pairs = [  # styles spread over the folder, and every style with other contents
        (round(i * (len(styles) - 1) / max(1, s_count - 1)), (i * c_count + k) * 7 % len(contents))
        for i in range(s_count)
        for k in range(c_count)
    ]
    evaluation = Evaluation(
        judge, contents, styles, pairs, base.parameters, content_pool(args.contents), loss,
        args.out / "measurements.jsonl", base.config.architecture,
    )  # fmt: skip
    network = ImageTransformationNetwork(base.config.architecture)
    with torch.no_grad():
        fidelity = torch.cat([psnr(transform(network, base.parameters, c[None]), c[None]) for c in contents])
    step0 = {"psnr_mean": float(fidelity.mean()), "psnr_least": float(fidelity.min()), "photos": len(contents)}
    (args.out / "step0.json").write_text(json.dumps(step0, indent=2))
    table = methods(config, args.gatys_iterations, args.scratch_steps)
    chosen = [table[name] for name in args.methods]
    rows: list[Measurement] = []
    with tqdm(total=evaluation.units(chosen), unit="style") as bar:
        for made in evaluation.run(chosen):
            rows += made
            last = made[-1]
            bar.update()
            bar.set_postfix_str(f"{last.method} step {last.step}: {last.total:.2f}")
    summaries = summarize(rows)
    (args.out / "summary.json").write_text(json.dumps([asdict(s) for s in summaries], indent=2))
    (args.out / "table.md").write_text(as_markdown(summaries))
    print(f"step 0: {step0}")
    print(as_markdown(summaries))


if __name__ == "__main__":
    main()
