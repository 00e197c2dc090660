"""Train a system of Table 1 on `compact` features.

    python scripts/train_baseline.py adain --content PHOTOS --style ARTWORKS --out runs/table1

    python scripts/train_baseline.py avatar_net --init runs/table1/wct.safetensors ...    # starts from WCT's decoder
    python scripts/train_baseline.py johnson --style starry_night.jpg ...                 # one style

Output, in the folder `--out`: NAME.safetensors with the trained tensors, NAME.pt with the checkpoint from which the
same command continues, NAME.jsonl with the mean loss, the steps and the seconds of CPU time.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from metastyle_hub.baselines.compact import COMPACT_SYSTEMS
from metastyle_hub.baselines.johnson import Johnson
from metastyle_hub.baselines.training import BaselineTrainingConfig, train
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.data.datasets import FolderDataset, ImageDataset, InMemoryDataset
from metastyle_hub.devices import resolve_device
from metastyle_hub.errors import MetaStyleError
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.images.transforms import resize_short_side

STYLE_SIZE = 256  # pixels of the short side of Johnson's one style


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=COMPACT_SYSTEMS)
    parser.add_argument("--content", required=True, help="folder of content images")
    parser.add_argument("--style", required=True, help="folder of style images, or one image for johnson")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--init", type=Path, help="safetensors whose tensors of the same name and shape are the start")
    parser.add_argument("--device", default="auto", help="cpu, cuda ... (default auto)")
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints (default 100)")
    add_arguments(parser, BaselineTrainingConfig)
    args = parser.parse_args(arguments)
    try:
        run(args, from_arguments(BaselineTrainingConfig, args))
    except (MetaStyleError, OSError) as error:
        parser.error(str(error))


def style_images(source: str) -> ImageDataset:
    """Open a folder or a single image."""
    return FolderDataset(source) if Path(source).is_dir() else InMemoryDataset([to_tensor(load_image(source))[0]])


def run(args: argparse.Namespace, config: BaselineTrainingConfig) -> None:
    """Train, and write every file."""
    torch.manual_seed(config.seed)
    device = resolve_device(args.device)
    system = COMPACT_SYSTEMS[args.system]().to(device)
    if args.init:
        own = system.trained_state()
        start = {name.replace("decoders.2.", "decoder."): p for name, p in load_file(args.init).items()}
        system.load_trained_state(own | {n: p for n, p in start.items() if n in own and p.shape == own[n].shape})
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / f"{args.system}.safetensors"
    contents, styles = FolderDataset(args.content), style_images(args.style)
    if isinstance(system, Johnson):
        system.set_style(resize_short_side(styles[0][None], STYLE_SIZE).to(device))
    losses: list[float] = []
    with tqdm(total=config.steps, unit="step", mininterval=10) as progress:
        for step in train(system, contents, styles, config, file.with_suffix(".pt"), args.every):
            losses.append(step.loss)
            progress.n = step.index
            progress.set_postfix_str(f"loss {step.loss:.3f}", refresh=False)
            progress.update(0)
            if step.index % args.every == 0 or step.index == config.steps:
                line = {"step": step.index, "loss": sum(losses) / len(losses), "cpu_seconds": time.process_time()}
                with file.with_suffix(".jsonl").open("a", encoding="utf-8") as log:
                    log.write(json.dumps(line) + "\n")
                losses.clear()
    save_file({name: p.cpu().contiguous() for name, p in system.trained_state().items()}, file)


if __name__ == "__main__":
    main()
