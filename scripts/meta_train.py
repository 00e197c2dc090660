# /// script
# requires-python = ">=3.11"
# dependencies = ["metastyle-hub @ git+https://github.com/metastyle-hub/metastyle_hub"]
# ///
"""Meta-train a base: the initialization from which every style is adapted.

    python scripts/meta_train.py --content photos/ --style artworks/ --out runs/base         # start or continue
    python scripts/meta_train.py ... --init runs/first/base --out runs/base                  # from another base
    python scripts/meta_train.py ... --long-horizon --out runs/long                          # docs/method.md, 4.4
    python scripts/meta_train.py --content me/coco-subset --style me/wikiart --out runs/base # Hub datasets
    accelerate launch scripts/meta_train.py ...                                              # several GPUs
    ACCELERATE_USE_CPU=1 torchrun --nproc_per_node 2 scripts/meta_train.py ...               # several CPU processes
    uv run scripts/meta_train.py ...                                                         # installs what it needs
    hf jobs uv run --flavor a10g-small scripts/meta_train.py ...                             # on a rented GPU

Stop it at any moment; the same command continues from the last checkpoint. Output, in the folder `--out`:

    checkpoint.pt       everything that the next step depends on
    log.jsonl           losses, one line every --log-every steps
    grid_<step>.png     contents, images at theta, styles, and two contents after a short adaptation to each
    base/               the EMA weights as a base: MetaStyle.from_pretrained("runs/base/base")
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig, adapt_parameters, predicted_initialization
from metastyle_hub.artifacts.serialization import read_artifact
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.data.datasets import ImageDataset, center_crops, next_readable, open_dataset
from metastyle_hub.devices import keep_freed_memory, training_dtype
from metastyle_hub.errors import ArtifactError, MetaStyleError, SettingError
from metastyle_hub.images.grid import image_grid
from metastyle_hub.images.io import save_image
from metastyle_hub.losses import LossWeights
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.feature_extractor import SPECS, load_feature_extractor
from metastyle_hub.networks.transformer_net import NetworkConfig, transform
from metastyle_hub.signals import exit_status, interruptible
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.long_horizon import LongHorizonConfig, LongHorizonTrainer
from metastyle_hub.training.trainer import MetaStep, MetaTrainer

GRID_STEPS = 20  # of the adaptations in the image grid
LOGGED_SHARE = 0.05  # of a step in the running means of the log
SHOWN = ("query", "content", "style", "support", "identity", "logits", "outliers")


class EvenSample:
    """Evenly spaced images of a dataset. As in training, another image replaces one that cannot be read."""

    def __init__(self, dataset: ImageDataset, count: int) -> None:
        self.dataset = dataset
        self.indices = [round(i * (len(dataset) - 1) / max(1, count - 1)) for i in range(count)]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> torch.Tensor:
        return next_readable(self.dataset, self.indices[index])


def draw_grid(trainer: MetaTrainer, path: Path, steps: int = GRID_STEPS) -> None:
    """Draw contents, images at theta, and two contents in each of four styles after a short adaptation."""
    config, network, theta = trainer.config, trainer.network, trainer.ema
    contents = center_crops(EvenSample(trainer.contents, 4), config.size).to(trainer.device)  # (4, 3, size, size)
    styles = center_crops(EvenSample(trainer.styles, 4), config.size).to(trainer.device)
    with torch.no_grad():
        rows = [list(contents.cpu()), list(transform(network, theta, contents).cpu()), list(styles.cpu())]
    adaptation = AdaptationConfig(steps=steps, crop_size=max(64, config.size), batch_size=2, weights=config.weights)
    columns = []
    for style in styles.split(1):
        initialization = None
        if predictor := trainer.ema_predictor:
            initialization = predicted_initialization(predictor, trainer.loss.feature_extractor.name, theta, style)
        *_, last = adapt_parameters(network, theta, style, trainer.contents, trainer.loss, adaptation, initialization)
        with torch.no_grad():
            columns.append(transform(network, last.parameters, contents[:2]).cpu())
    rows += [[pair[0] for pair in columns], [pair[1] for pair in columns]]
    labels = ["content", "step 0", "style", f"step {steps}", f"step {steps}"]
    save_image(image_grid(rows, labels=labels), path)


def time_is_up(trainer: MetaTrainer, started: float, seconds: float) -> bool:
    """Return whether the main process has run so long; all processes get its answer and so stop together."""
    from accelerate.utils import broadcast

    return bool(broadcast(torch.tensor(time.monotonic() - started > seconds, device=trainer.device).int()))


def continued_log(path: Path, step: int) -> tuple[float, dict[str, float]]:
    """Drop the lines of a log beyond a step, which are taken again, and what a kill left of a line.

    Returns:
        the seconds and the running means of its last line.
    """
    kept: list[dict[str, float]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("step", step + 1) <= step:
                kept.append(entry)
    if path.exists():
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
        temporary.replace(path)
    means = dict(kept[-1]) if kept else {}
    means.pop("step", None)
    return means.pop("seconds", 0.0), means


def training_facts(trainer: MetaTrainer, last: MetaStep | None) -> dict[str, Any]:
    """Return how a base was made, for its config.json and model card; without a last step the loss is left out."""
    long_horizon = isinstance(trainer, LongHorizonTrainer)
    return {
        "method": "long horizon, first order" if long_horizon else "bilevel, T inner steps",
        "outer_steps": trainer.step,
        "processes": trainer.accelerator.num_processes,
        "content_images": len(trainer.contents),
        "style_images": len(trainer.styles),
        "dtype": str(trainer.loss.dtype).removeprefix("torch."),
        **({"last_loss": round(last.query, 4)} if last else {}),
        **{key: value for key, value in trainer.config.to_dict().items() if key != "network"},
    }


def write_base(trainer: MetaTrainer, last: MetaStep | None, folder: Path) -> None:
    """Write the EMA weights as a base."""
    base = MetaStyle.from_parameters(
        trainer.ema,
        trainer.config.network,
        predictor=trainer.ema_predictor or None,
        feature_extractor=trainer.loss.feature_extractor.name,
        training=training_facts(trainer, last),
    )
    base.save_pretrained(folder)


def has_base(folder: Path, step: int) -> bool:
    """Return whether the folder holds a whole base of that step; a killed run may have left an older one."""
    try:
        training = read_artifact(folder).config.training or {}
    except ArtifactError:
        return False
    return training.get("outer_steps") == step


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--content", required=True, help="folder of content images, or a Hub dataset of image files")
    parser.add_argument("--style", required=True, help="folder of style images, or a Hub dataset of image files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--init", help="folder of a base to start from, instead of random weights")
    parser.add_argument("--feature-extractor", choices=tuple(SPECS), default="compact", help="(default compact)")
    parser.add_argument("--features-file", type=Path, help="weights of the feature extractor (default: its own)")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of the arithmetic")
    parser.add_argument("--stop-after", type=float, metavar="X", help="seconds after which to checkpoint and stop")
    parser.add_argument("--checkpoint-every", type=int, default=100, metavar="N", help="steps (default 100)")
    parser.add_argument("--grid-every", type=int, default=500, metavar="N", help="steps (default 500)")
    parser.add_argument("--log-every", type=int, default=20, metavar="N", help="steps (default 20)")
    parser.add_argument("--long-horizon", action="store_true", help="long first-order inner trajectories")
    add_arguments(parser.add_argument_group("the run"), MetaTrainingConfig)
    own = [f.name for f in fields(LongHorizonConfig) if f.name not in {g.name for g in fields(MetaTrainingConfig)}]
    add_arguments(parser.add_argument_group("the run, with --long-horizon"), LongHorizonConfig, own)
    add_arguments(parser.add_argument_group("weights of the loss"), LossWeights)
    add_arguments(parser.add_argument_group("the network, without --init"), NetworkConfig)
    args = parser.parse_args(arguments)
    if arguments is None:  # the program itself
        keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        with interruptible():
            train(args)
    except (MetaStyleError, FloatingPointError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt as interrupt:
        parser.exit(exit_status(interrupt), "stopped; the same command continues from the last checkpoint\n")


def make_trainer(args: argparse.Namespace) -> MetaTrainer:
    """Return the trainer, resumed from the checkpoint of its folder if there is one."""
    from accelerate import Accelerator

    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(
            f"--out {args.out} is no folder to write to ({error.strerror}); name another one."
        ) from error
    init = MetaStyle.from_pretrained(args.init) if args.init else None
    nested = {
        "weights": from_arguments(LossWeights, args),
        "network": init.config.architecture if init else from_arguments(NetworkConfig, args),
    }
    device = Accelerator().device
    dtype = training_dtype(device) if args.dtype == "auto" else getattr(torch, args.dtype)
    extractor = load_feature_extractor(args.feature_extractor, file=args.features_file, dtype=dtype)
    data = open_dataset(args.content), open_dataset(args.style)
    run: dict[str, Any] = {
        "init": init, "checkpoint": args.out / "checkpoint.pt", "checkpoint_every": args.checkpoint_every
    }  # fmt: skip
    if args.long_horizon:
        return LongHorizonTrainer(from_arguments(LongHorizonConfig, args, **nested), extractor, *data, **run)
    return MetaTrainer(from_arguments(MetaTrainingConfig, args, **nested), extractor, *data, **run)


def train(args: argparse.Namespace) -> None:
    """Train, and write every file."""
    trainer = make_trainer(args)
    total, main_process = trainer.config.steps, trainer.accelerator.is_main_process
    seconds, means = continued_log(args.out / "log.jsonl", trainer.step) if main_process else (0.0, dict[str, float]())
    started = time.monotonic()
    step: MetaStep | None = None
    progress = tqdm(total=total, initial=trainer.step, unit="step", disable=not main_process)
    with progress, (args.out / "log.jsonl").open("a", encoding="utf-8") as log:
        for step in trainer.run():
            progress.update()
            # NaN stands for what a kind of training does not measure; JSON has none
            values = {k: v for k, v in asdict(step).items() if k != "index" and not math.isnan(v)}
            means = {k: (1 - LOGGED_SHARE) * means.get(k, v) + LOGGED_SHARE * v for k, v in values.items()}
            progress.set_postfix_str(" ".join(f"{k} {means[k]:.3g}" for k in SHOWN if k in means))
            if main_process and step.index % args.log_every == 0:
                log.write(
                    json.dumps({"step": step.index, "seconds": seconds + time.monotonic() - started, **means}) + "\n"
                )
                log.flush()
            if main_process and (step.index % args.grid_every == 0 or step.index == total):
                write_base(trainer, step, args.out / "base")
                draw_grid(trainer, args.out / f"grid_{step.index:06d}.png")
            if args.stop_after and time_is_up(trainer, started, args.stop_after):
                break
    trainer.save()
    if main_process and not has_base(args.out / "base", trainer.step):
        write_base(trainer, step, args.out / "base")


if __name__ == "__main__":
    main()
