"""Meta-trains a base: the initialisation from which every style is adapted.

    python scripts/meta_train.py --photos photos/ --artworks artworks/ --out runs/base          # start, or go on
    python scripts/meta_train.py ... --init runs/first/base --out runs/base                     # from another base
    python scripts/meta_train.py ... --rolling --out runs/first                                 # docs/decisions.md
    python scripts/meta_train.py --photos me/coco-subset --artworks me/wikiart --out runs/base  # Hub datasets
    accelerate launch scripts/meta_train.py ...                                                 # several GPUs

Kill it at any moment; the same command goes on from the newest checkpoint. In the folder `--out`:

    checkpoint.pt       everything that the next step depends on
    log.jsonl           losses, one line every --log-every steps
    sheet_<step>.png    photos, what theta makes of them, and styles after the inner loop and a short adaptation
    base/               the averaged theta as an artefact: MetaStyle.from_pretrained("runs/base/base")
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig, adapt_parameters
from metastyle_hub.artifacts.config import ArtifactError
from metastyle_hub.artifacts.serialization import read_artifact
from metastyle_hub.data.datasets import ImageDataset, center_crops, next_readable, open_dataset
from metastyle_hub.devices import keep_freed_memory, training_dtype
from metastyle_hub.errors import MetaStyleError
from metastyle_hub.networks.feature_extractor import feature_extractor_names, load_feature_extractor
from metastyle_hub.images.io import save_image
from metastyle_hub.learning import predicted_initialization
from metastyle_hub.losses import LossWeights
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.long_horizon import LongHorizonConfig, LongHorizonTrainer
from metastyle_hub.training.trainer import MetaStep, MetaTrainer
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.transformer_net import NetworkConfig, transform
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.images.grid import image_grid


class Sample:
    """A slice of a pool, for previews. As in training, another picture stands in for one that cannot be read."""

    def __init__(self, pool: ImageDataset, count: int) -> None:
        self.pool, self.indices = pool, [round(i * (len(pool) - 1) / max(1, count - 1)) for i in range(count)]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> torch.Tensor:
        return next_readable(self.pool, self.indices[index])


def preview(trainer: MetaTrainer, path: Path, steps: int = 20) -> None:
    """A sheet: photos, theta's pictures of them, and two photos in each of four styles after a short adaptation."""
    config = trainer.config
    photos = center_crops(Sample(trainer.contents, 4), config.size).to(trainer.device)
    styles = center_crops(Sample(trainer.styles, 4), config.size).to(trainer.device)
    network, theta = trainer.network, trainer.average
    with torch.no_grad():
        rows = [list(photos.cpu()), list(transform(network, theta, photos).cpu()), list(styles.cpu())]
    made = []
    settings = AdaptationConfig(steps=steps, size=max(64, config.size), batch=2, weights=config.weights)
    for style in styles:
        start = None
        if predictor := trainer.ema_predictor:
            start = predicted_initialization(predictor, trainer.loss.features.name, theta, style[None])
        *_, last = adapt_parameters(network, theta, style[None], trainer.contents, trainer.loss, settings, start)
        with torch.no_grad():
            made.append(transform(network, last.parameters, photos[:2]).cpu())
    rows += [[pair[0] for pair in made], [pair[1] for pair in made]]
    save_image(image_grid(rows, labels=["photos", "step 0", "styles", f"step {steps}", f"step {steps}"]), path)


def time_is_up(trainer: MetaTrainer, started: float, seconds: float) -> bool:
    """By the main process's clock: one that stopped by its own would leave the others waiting for its gradients."""
    from accelerate.utils import broadcast

    return bool(broadcast(torch.tensor(time.monotonic() - started > seconds, device=trainer.device).int()))


def facts(trainer: MetaTrainer, last: MetaStep | None) -> dict[str, Any]:
    """How a base was made, for its config.json and its card. Without a last step its loss is left out."""
    settings = trainer.config.to_dict()
    return {
        "method": "rolling trajectories" if isinstance(trainer, LongHorizonTrainer) else "second order, T inner steps",
        "outer_steps": trainer.step,
        "processes": trainer.accelerator.num_processes,
        "photographs": len(trainer.contents),
        "artworks": len(trainer.styles),
        "arithmetic": str(trainer.loss.features.dtype).removeprefix("torch."),
        **({"last_loss": round(last.valid, 4)} if last else {}),
        **{key: value for key, value in settings.items() if key != "network"},
    }


def write_base(trainer: MetaTrainer, last: MetaStep | None, folder: Path) -> None:
    """The averaged theta as an artefact."""
    described = {"features": trainer.loss.features.name, "training": facts(trainer, last)}
    predictor = trainer.ema_predictor or None
    base = MetaStyle.from_parameters(trainer.average, trainer.config.network, predictor=predictor, **described)
    base.save_pretrained(folder)


def has_base(folder: Path, step: int) -> bool:
    """Whether the folder holds a whole base as it was after that many steps: a killed run may have left an older."""
    try:
        training = read_artifact(folder).config.training or {}
    except ArtifactError:
        return False
    return training.get("outer_steps") == step


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, help="folder of photographs, or a Hub dataset of image files")
    parser.add_argument("--artworks", required=True, help="folder of artworks, or a Hub dataset of image files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--init", help="folder of a base to start from, instead of random weights")
    parser.add_argument("--features", choices=feature_extractor_names(), default="compact")
    parser.add_argument("--features-file", type=Path, help="weights of the feature network, instead of the usual ones")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--stop-after", type=float, help="seconds after which to checkpoint and leave")
    parser.add_argument("--checkpoint-every", type=int, default=100, metavar="N", help="steps")
    parser.add_argument("--sheet-every", type=int, default=500, metavar="N", help="steps")
    parser.add_argument("--log-every", type=int, default=20, metavar="N", help="steps")
    parser.add_argument("--rolling", action="store_true", help="long first-order trajectories instead of T steps")
    add_arguments(parser.add_argument_group("the run"), MetaTrainingConfig)
    own = [f.name for f in fields(LongHorizonConfig) if f.name not in {g.name for g in fields(MetaTrainingConfig)}]
    add_arguments(parser.add_argument_group("the run, with --rolling"), LongHorizonConfig, own)
    add_arguments(parser.add_argument_group("weights of the loss"), LossWeights)
    add_arguments(parser.add_argument_group("the network, without --init"), NetworkConfig)
    args = parser.parse_args(arguments)
    if arguments is None:  # the program itself
        keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        train(args)
    except MetaStyleError as error:
        parser.error(str(error))


def train(args: argparse.Namespace) -> None:
    """Train, and write every file."""
    from accelerate import Accelerator

    config_class, trainer_class = (LongHorizonConfig, LongHorizonTrainer) if args.rolling else (MetaTrainingConfig, MetaTrainer)
    start = MetaStyle.from_pretrained(args.init) if args.init else None
    network = start.config.architecture if start else from_arguments(NetworkConfig, args)
    config = from_arguments(config_class, args, weights=from_arguments(LossWeights, args), network=network)
    device = Accelerator().device
    dtype = training_dtype(device) if args.dtype == "auto" else getattr(torch, args.dtype)
    features = load_feature_extractor(args.features, file=args.features_file, dtype=dtype)
    trainer = trainer_class(
        config, features, open_dataset(args.photos), open_dataset(args.artworks),
        init=start, checkpoint=args.out / "checkpoint.pt", checkpoint_every=args.checkpoint_every,
    )  # fmt: skip
    main_process = trainer.accelerator.is_main_process
    args.out.mkdir(parents=True, exist_ok=True)
    started, means = time.monotonic(), dict[str, float]()
    step: MetaStep | None = None
    bar = tqdm(total=config.steps, initial=trainer.step, unit="step", disable=not main_process)
    with bar, (args.out / "log.jsonl").open("a") as log:
        for step in trainer.run():
            bar.update()
            # what a kind of training does not measure is no number, and no JSON
            values = {k: v for k, v in asdict(step).items() if k != "index" and not math.isnan(v)}
            means = {k: 0.95 * means.get(k, v) + 0.05 * v for k, v in values.items()}
            shown = ("valid", "content", "style", "before", "identity", "logits", "outliers")
            bar.set_postfix_str(" ".join(f"{k} {means[k]:.3g}" for k in shown if k in means))
            if main_process and step.index % args.log_every == 0:
                log.write(json.dumps({"step": step.index, "seconds": time.monotonic() - started, **means}) + "\n")
                log.flush()
            if main_process and (step.index % args.sheet_every == 0 or step.index == config.steps):
                write_base(trainer, step, args.out / "base")
                preview(trainer, args.out / f"sheet_{step.index:06d}.png")
            if args.stop_after and time_is_up(trainer, started, args.stop_after):
                break
    trainer.save()
    if main_process and not has_base(args.out / "base", trainer.step):
        write_base(trainer, step, args.out / "base")


if __name__ == "__main__":
    main()
