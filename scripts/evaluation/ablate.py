"""Ablations of meta-training: variants of equal budget from one start, judged on pairs that no training saw.

    python scripts/ablate.py --photos P --artworks A --valid-photos VP --valid-artworks VA --judge vgg19.safetensors \\
        --init runs/first/base --seconds 900 --out runs/ablations --set size=128,weights.content_weight=1 \\
        --variant base: --variant T2:inner_steps=2 --variant first_order:second_order=false \\
        --variant rolling:rolling --variant short:slots=16,trajectory=40

Keys are fields of MetaTrainingConfig; `rolling`, or a key that only LongHorizonConfig has, makes a rolling run. `--set`
applies to all. With --seconds a variant gets as many steps as fit, by the time of a few, so that its rates are annealed
to the end. Interrupt it whenever you like; the same command goes on. Writes table.md.
"""

from __future__ import annotations

import argparse
import json
import time
from ast import literal_eval
from dataclasses import fields, replace
from pathlib import Path

from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.data.content import content_dataset
from metastyle_hub.data.datasets import open_dataset
from metastyle_hub.devices import resolve_device, training_dtype
from metastyle_hub.errors import MetaStyleError
from evaluation.fidelity import fidelity
from evaluation.runner import Evaluation, Method, evaluation_crops, load_evaluation_loss, spread_pairs
from evaluation.summaries import compare, summarize
from metastyle_hub.networks.feature_extractor import load_feature_extractor
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.long_horizon import LongHorizonConfig, LongHorizonTrainer
from metastyle_hub.training.trainer import MetaTrainer
from metastyle_hub.model import MetaStyle

ROLLING_ONLY = {"rolling"} | {f.name for f in fields(LongHorizonConfig)} - {f.name for f in fields(MetaTrainingConfig)}
PROBE = 5  # steps that tell how long one takes


def configure(text: str) -> MetaTrainingConfig:
    """The settings "key=value,..." on top of the defaults; an unknown key or a bad value is a ValueError."""
    pairs = [pair.strip().partition("=")[::2] for pair in text.split(",") if pair.strip()]
    kind = LongHorizonConfig if ROLLING_ONLY & {key for key, _ in pairs} else MetaTrainingConfig
    values = kind().to_dict()
    for key, value in pairs:
        *outer, last = key.split(".")
        inner = values
        for part in outer:
            inner = inner.get(part, {})
        if key != "rolling" and last not in inner:
            raise ValueError(f"{kind.__name__} has no setting {key!r}; it has {', '.join(values)}.")
        try:
            inner[last] = literal_eval({"true": "True", "false": "False"}.get(value, value))
        except (ValueError, SyntaxError):
            inner[last] = value
    values.pop("rolling", None)
    return kind.from_dict(values)


def train(config: MetaTrainingConfig, args: argparse.Namespace, folder: Path, init: MetaStyle | None) -> MetaTrainer:
    """A variant, trained to the end of its budget, or on from where it was."""
    pools, dtype = (open_dataset(args.photos), open_dataset(args.artworks)), training_dtype(resolve_device("auto"))

    def trainer(steps: int, checkpoint: Path | None = None) -> MetaTrainer:
        kind = LongHorizonTrainer if isinstance(config, LongHorizonConfig) else MetaTrainer
        own = replace(config, steps=steps)
        return kind(own, load_feature_extractor(dtype=dtype), *pools, init=init, checkpoint=checkpoint)  # type: ignore[arg-type]

    plan = folder / "plan.json"
    if not plan.exists():
        times = [time.perf_counter() for _ in trainer(PROBE + 1).run()]  # the first step warms up
        pace = (times[-1] - times[0]) / PROBE
        plan.parent.mkdir(parents=True, exist_ok=True)
        steps = args.steps or max(1, round(args.seconds / pace))
        plan.write_text(json.dumps({"steps": steps, "seconds": pace, "budget": [args.steps, args.seconds]}))
    known = json.loads(plan.read_text())
    if known["budget"] != [args.steps, args.seconds]:
        raise ValueError(f"{folder} is a run of another budget ({known['steps']} steps); use another --out.")
    run, steps = trainer(known["steps"], folder / "checkpoint.pt"), known["steps"]
    for step in (bar := tqdm(run.run(), folder.name, steps, initial=run.step, unit="step")):
        bar.set_postfix_str(f"valid {step.valid:.3f}")
    return run


def ablate(args: argparse.Namespace) -> None:
    """Train and judge every variant; one row of the table each, against the first."""
    variants = {name: f"{args.set},{rest}" for name, _, rest in (v.partition(":") for v in args.variant)}
    configs = {name: configure(text) for name, text in variants.items()}  # errors before any training
    init = MetaStyle.from_pretrained(args.init) if args.init else None
    if init is not None:  # its network is the one that is trained
        configs = {name: replace(config, network=init.config.architecture) for name, config in configs.items()}
    device, method = resolve_device("auto"), AdaptationConfig()
    contents, styles = (evaluation_crops(f, args.pixels).to(device) for f in (args.valid_photos, args.valid_artworks))
    judge = load_evaluation_loss(args.judge, device)
    pairs = spread_pairs(len(styles), len(contents), *args.count)
    features = load_feature_extractor(device=device, dtype=training_dtype(device))
    lines = [
        "| variant | steps | s a step | step 0, dB | a fifth of adaptation | adapted | against the first (95%) |",
        "|" + " --- |" * 7,
    ]
    rows, marks = [], (0, args.adaptation_steps // 5, args.adaptation_steps)
    for name, config in configs.items():
        run = train(config, args, args.out / name, init)
        evaluation = Evaluation(
            judge, contents, styles, pairs, run.average, content_dataset(), features, args.out / name, config.network,
            predictor=run.ema_predictor or None,
        )  # fmt: skip
        units = evaluation.run([Method(name, "base", marks, replace(method, steps=marks[-1], size=args.pixels))])
        rows += [row for unit in tqdm(units, f"judging {name}", len({s for s, _ in pairs})) for row in unit]
        totals = {s.step: s.total for s in summarize(rows) if s.method == name}
        ratio = compare(rows, (name, marks[-1]), (next(iter(configs)), marks[-1]))
        step0 = fidelity(run.network, run.average, contents[:16]).mean
        plan = json.loads((args.out / name / "plan.json").read_text())
        what = variants[name].strip(",").replace(",", ", ")
        lines.append(
            f"| {name}: {what} | {plan['steps']} | {plan['seconds']:.2f} | {step0:.1f} | {totals[marks[1]]:.3f} "
            f"| {totals[marks[2]]:.3f} | {ratio} |"
        )
        (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("photos", "artworks", "valid-photos", "valid-artworks"):
        parser.add_argument(f"--{name}", required=True, help="folder")
    parser.add_argument("--judge", type=Path, help="VGG-19 weights (Oxford) as safetensors")
    parser.add_argument("--init", help="folder of the base to start from (default: random weights)")
    parser.add_argument("--out", type=Path, required=True)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--seconds", type=float, help="of training, per variant")
    budget.add_argument("--steps", type=int, help="outer steps, per variant")
    parser.add_argument("--set", default="", metavar="KEY=VALUE,...", help="settings of all variants")
    parser.add_argument("--variant", action="append", required=True, metavar="NAME:KEY=VALUE,...")
    parser.add_argument("--count", type=int, nargs=2, default=(6, 2), metavar="N", help="styles, and contents of each")
    parser.add_argument("--pixels", type=int, default=192, help="side of the judged crops (default 192)")
    parser.add_argument("--adaptation-steps", type=int, default=100, help="before judging (default 100)")
    args = parser.parse_args(arguments)
    try:
        ablate(args)
    except (MetaStyleError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
