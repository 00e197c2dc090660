r"""Compare variants of meta-training at equal budgets, by adaptations to pairs that no training saw.

    python scripts/evaluation/ablate.py --content P --style A --valid-content VP --valid-style VA \
        --evaluation-network vgg19_relu3_4.safetensors --init runs/first/base --seconds 900 --out runs/ablations \
        --set size=128,weights.content_weight=1 --variant base: --variant T2:inner_steps=2 \
        --variant first_order:second_order=false --variant long:long_horizon --variant short:buffer_size=16,horizon=40

Keys are fields of MetaTrainingConfig; `long_horizon`, or a key that only LongHorizonConfig has, makes a long-horizon
run. `--set` applies to all. With --seconds a variant gets as many steps as fit, estimated from a few, so that its
learning rates decay completely. An interrupted run continues with the same command. Output, in the folder `--out`:
table.md, and a folder for each variant.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from ast import literal_eval
from dataclasses import fields, replace
from pathlib import Path

from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.data.content import content_dataset
from metastyle_hub.data.datasets import open_dataset
from metastyle_hub.devices import resolve_device, training_dtype
from metastyle_hub.errors import MetaStyleError, SettingError
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.feature_extractor import load_feature_extractor
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.long_horizon import LongHorizonConfig, LongHorizonTrainer
from metastyle_hub.training.trainer import MetaTrainer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation.fidelity import fidelity
from evaluation.runner import Evaluation, Method, evaluation_crops, load_evaluation_loss, spread_pairs
from evaluation.summaries import compare, summarize

LONG_HORIZON_KEYS = {f.name for f in fields(LongHorizonConfig)} - {f.name for f in fields(MetaTrainingConfig)}
PROBE_STEPS = 5  # from which the time of a step is estimated


def configure(text: str) -> MetaTrainingConfig:
    """Return the settings "key=value,..." on top of the defaults.

    Raises:
        SettingError: for an unknown key or a wrong value.

    >>> configure("inner_steps=2,weights.style_weight=5").inner_steps
    2
    """
    pairs = [pair.strip().partition("=")[::2] for pair in text.split(",") if pair.strip()]
    long_horizon = any(key == "long_horizon" or key in LONG_HORIZON_KEYS for key, _ in pairs)
    kind = LongHorizonConfig if long_horizon else MetaTrainingConfig
    values = kind().to_dict()
    for key, value in pairs:
        if key == "long_horizon":
            continue
        *outer, last = key.split(".")
        inner = values
        for part in outer:
            inner = inner.get(part, {})
        if last not in inner:
            raise SettingError(f"{kind.__name__} has no setting {key!r}; known are {', '.join(values)}.")
        try:
            inner[last] = literal_eval({"true": "True", "false": "False"}.get(value, value))
        except (ValueError, SyntaxError):
            inner[last] = value
    return kind.from_dict(values)


def train(config: MetaTrainingConfig, args: argparse.Namespace, folder: Path, init: MetaStyle | None) -> MetaTrainer:
    """Train a variant to the end of its budget, from the start or from its checkpoint."""
    datasets = open_dataset(args.content), open_dataset(args.style)
    dtype = training_dtype(resolve_device("auto"))

    def trainer(steps: int, checkpoint: Path | None = None) -> MetaTrainer:
        extractor, own = load_feature_extractor(dtype=dtype), replace(config, steps=steps)
        if isinstance(own, LongHorizonConfig):
            return LongHorizonTrainer(own, extractor, *datasets, init=init, checkpoint=checkpoint)
        return MetaTrainer(own, extractor, *datasets, init=init, checkpoint=checkpoint)

    plan = folder / "plan.json"
    if not plan.exists():
        times = [time.perf_counter() for _ in trainer(PROBE_STEPS + 1).run()]  # the first step is slower
        pace = (times[-1] - times[0]) / PROBE_STEPS
        plan.parent.mkdir(parents=True, exist_ok=True)
        steps = args.steps or max(1, round(args.seconds / pace))
        plan.write_text(json.dumps({"steps": steps, "seconds": pace, "budget": [args.steps, args.seconds]}))
    known = json.loads(plan.read_text())
    if known["budget"] != [args.steps, args.seconds]:
        raise SettingError(f"{folder} is a run of another budget ({known['steps']} steps); use another --out.")
    run = trainer(known["steps"], folder / "checkpoint.pt")
    progress = tqdm(run.run(), folder.name, known["steps"], initial=run.step, unit="step")
    for step in progress:
        progress.set_postfix_str(f"query {step.query:.3f}")
    return run


def ablate(args: argparse.Namespace) -> None:
    """Train and evaluate every variant; write one row of the table for each, against the first."""
    variants = {name: f"{args.set},{rest}" for name, _, rest in (v.partition(":") for v in args.variant)}
    configs = {name: configure(text) for name, text in variants.items()}  # errors before any training
    init = MetaStyle.from_pretrained(args.init) if args.init else None
    if init is not None:  # its network is the one that is trained
        configs = {name: replace(config, network=init.config.architecture) for name, config in configs.items()}
    device = resolve_device("auto")
    contents, styles = (evaluation_crops(f, args.pixels).to(device) for f in (args.valid_content, args.valid_style))
    loss = load_evaluation_loss(args.evaluation_network, device)
    pairs = spread_pairs(len(styles), len(contents), *args.count)
    extractor = load_feature_extractor(device=device, dtype=training_dtype(device))
    lines = [
        "| variant | steps | s a step | step 0, dB | a fifth of adaptation | adapted | against the first (95%) |",
        "|" + " --- |" * 7,
    ]
    rows, marks = [], (0, args.adaptation_steps // 5, args.adaptation_steps)
    adaptation = AdaptationConfig(steps=marks[-1], crop_size=args.pixels)
    for name, config in configs.items():
        run = train(config, args, args.out / name, init)
        evaluation = Evaluation(
            loss, contents, styles, pairs, run.ema, content_dataset(), extractor, args.out / name, config.network,
            predictor=run.ema_predictor or None,
        )  # fmt: skip
        method = Method(name, "base", marks, adaptation)
        units = tqdm(evaluation.run([method]), f"evaluate {name}", evaluation.units([method]))
        rows += [row for unit in units for row in unit]
        totals = {s.step: s.total for s in summarize(rows) if s.method == name}
        ratio = compare(rows, (name, marks[-1]), (next(iter(configs)), marks[-1]))
        step0 = fidelity(run.network, run.ema, contents[:16]).mean
        plan = json.loads((args.out / name / "plan.json").read_text())
        settings = variants[name].strip(",").replace(",", ", ")
        lines.append(
            f"| {name}: {settings} | {plan['steps']} | {plan['seconds']:.2f} | {step0:.1f} | {totals[marks[1]]:.3f} "
            f"| {totals[marks[2]]:.3f} | {ratio} |"
        )
        (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for prefix, use in (("", "training"), ("valid-", "evaluation")):
        for kind in ("content", "style"):
            parser.add_argument(f"--{prefix}{kind}", required=True, help=f"folder of {kind} images for {use}")
    parser.add_argument(
        "--evaluation-network", type=Path, metavar="FILE", help="VGG-19 (Oxford, up to relu3_4) as safetensors"
    )
    parser.add_argument("--init", help="folder of the base to start from (default: random weights)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--seconds", type=float, help="of training, per variant")
    budget.add_argument("--steps", type=int, help="outer steps, per variant")
    parser.add_argument("--set", default="", metavar="KEY=VALUE,...", help="settings of all variants")
    parser.add_argument("--variant", action="append", required=True, metavar="NAME:KEY=VALUE,...")
    parser.add_argument("--count", type=int, nargs=2, default=(6, 2), metavar="N", help="styles, and contents of each")
    parser.add_argument("--pixels", type=int, default=192, help="side of the evaluated crops (default 192)")
    parser.add_argument("--adaptation-steps", type=int, default=100, help="before evaluation (default 100)")
    args = parser.parse_args(arguments)
    try:
        ablate(args)
    except MetaStyleError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
