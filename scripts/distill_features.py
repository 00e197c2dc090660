"""Train `compact`, the feature extractor that ships with the package, from VGG-19 (distillation, Hinton et al. 2015).

    python scripts/distill_features.py train    --content DIR --style DIR --teacher FILE --out runs/compact
    python scripts/distill_features.py evaluate --content DIR --style DIR --teacher FILE --features FILE [FILE ...]
    python scripts/distill_features.py errors   --content DIR --style DIR --teacher FILE --features FILE [FILE ...]

A 1x1 head on each tap of the student regresses VGG-19's relu1_2, relu2_2 and relu3_4, normalized per channel, and their
Gram matrices, which style losses compare. With `--base`, half of the content images are stylized by the predicted
initialization of that base, each to one of the style images: student and teacher have to agree on such images too.

`train` writes compact.safetensors, checkpoint.pt and log.jsonl; the same command continues from the checkpoint.
`evaluate` optimizes pixels (Gatys) with the student and with the teacher. It writes one image grid and prints the
teacher's loss of both, and Spearman's correlation of the two losses over all images.
`errors` prints the relative squared error of the student's features and Gram matrices, tap by tap.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from metastyle_hub.baselines.gatys import GatysConfig, optimize_pixels
from metastyle_hub.data.datasets import CropConfig, FolderDataset, center_crops, random_crops
from metastyle_hub.errors import MetaStyleError, SettingError
from metastyle_hub.images.grid import image_grid
from metastyle_hub.images.io import save_image
from metastyle_hub.losses import MAX_STYLE_SCALES, LossWeights, PerceptualLoss, gram_matrix
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.checkpoints import read_checkpoint, write_checkpoint
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, load_feature_extractor
from metastyle_hub.networks.layers import random_noise_offset
from metastyle_hub.networks.style_predictor import StylePredictor
from metastyle_hub.networks.transformer_net import meta_network, transform
from metastyle_hub.training.optimizer import KernelMuon, is_kernel

EVALUATION_WEIGHTS = LossWeights(1, 10, tone_weight=0, checkerboard_weight=0, coarse_weight=0)
TAPS = {"relu1_2": "relu1_2", "relu2_2": "relu2_2", "relu3_3": "relu3_4"}  # of the student -> of the teacher
MARKS = (0, 10, 25, 50, 100)  # evaluated iterations of Gatys' method
LOGGED_SHARE = 0.02  # of a step in the running means of the log


def load_teacher(file: Path) -> FeatureExtractor:
    """Load the ImageNet VGG-19 up to relu3_4."""
    return load_feature_extractor("vgg19_oxford", file=file)


def with_reflection(vgg: FeatureExtractor) -> FeatureExtractor:
    """Return the same weights with the student's padding, so that it does not fit the effect of zeros at borders."""
    network = FeatureExtractor(replace(vgg.spec, padding="reflect"), vgg.name)
    network.load_state_dict(vgg.state_dict())
    return network


class Distillation(nn.Module):
    """The student with its heads, the teacher, and the normalization of the teacher's features."""

    def __init__(self, student: FeatureExtractor, teacher: FeatureExtractor, dtype: torch.dtype) -> None:
        super().__init__()
        self.student, self.dtype = student.requires_grad_(True), dtype
        self.teacher = with_reflection(teacher).to(dtype)
        self.scales: dict[str, Tensor] = {}  # (1, C, 1, 1), RMS of the teacher's channels
        self.variances: dict[str, float] = {}  # of the normalized features

    @torch.no_grad()
    def targets(self, images: Tensor) -> dict[str, Tensor]:
        """Return the teacher's features by the student's tap: (B, C, H, W) each."""
        maps = self.teacher(images)
        return {tap: maps[teacher].float() for tap, teacher in TAPS.items()}

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Measure scale and variance of the teacher's features, and scale the heads to match.

            scale_c = RMS of channel c,     variance = Var(features / scale)

        Heads of a trained student may have features in another unit. A channel that is 0 everywhere has no gradient,
        so it is fitted by least squares.
        """
        body = FeatureExtractor(replace(self.student.spec, heads=()), "body").to(images.device)
        body.load_state_dict({k: v for k, v in self.student.state_dict().items() if k.startswith("features.")})
        maps = body(images, tuple(TAPS))
        for tap, target in self.targets(images).items():
            rms = target.square().mean((0, 2, 3), keepdim=True).sqrt()
            self.scales[tap] = rms.clamp_min(0.05 * rms.mean())
            normalized = target / self.scales[tap]
            self.variances[tap] = float((normalized - normalized.mean((0, 2, 3), keepdim=True)).square().mean())
            head = self.student.heads[tap]
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            output = F.relu(head(maps[tap]))
            unit = target.mean() / output.mean() / self.scales[tap].flatten()
            head.weight.mul_(unit[:, None, None, None])
            head.bias.mul_(unit)
            if len(dead := (output.amax((0, 2, 3)) == 0).nonzero().flatten()):
                inputs = maps[tap].movedim(1, -1).flatten(0, 2)  # (N, C)
                inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)  # (N, C + 1)
                wanted = normalized[:, dead].movedim(1, -1).flatten(0, 2)  # (N, dead)
                fit = torch.linalg.lstsq(inputs, wanted).solution.T  # (dead, C + 1)
                head.weight[dead] = fit[:, :-1, None, None]
                head.bias[dead] = fit[:, -1]

    def forward(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the normalized regression errors and the relative Gram errors by tap, for (B, 3, H, W) in [0, 1]."""
        targets = self.targets(images)
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            maps = {tap: values.float() for tap, values in self.student(images, tuple(TAPS)).items()}
        errors = {
            tap: (maps[tap] - targets[tap] / self.scales[tap]).square().mean() / self.variances[tap] for tap in maps
        }
        grams = {tap: gram_error(maps[tap] * self.scales[tap], targets[tap]) for tap in TAPS}
        return errors, grams


def gram_error(features: Tensor, target: Tensor) -> Tensor:
    """Return |G(f) - G(t)|^2 / |G(t)|^2, mean over images: (B, C, H, W) twice -> ()."""
    ours, theirs = gram_matrix(features), gram_matrix(target)
    return ((ours - theirs).square().sum((1, 2)) / theirs.square().sum((1, 2))).mean()


class PredictedStyles:
    """Stylizes by the predicted initialization of a base, without gradient steps.

    Raises:
        SettingError: for a base without a predictor.
    """

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        base = MetaStyle.from_pretrained(folder, device=device)
        if not base.predictor:
            raise SettingError(f"The base in {folder} has no predictor; use one that has, or leave out --base.")
        self.theta, self.dtype = base.state_dict(), dtype
        self.network = meta_network(base.config.architecture, base.config.output_activation)
        extractor = load_feature_extractor(base.config.feature_extractor, device=device, dtype=dtype)
        self.loss = PerceptualLoss(extractor)
        self.predictor = StylePredictor(extractor.spec.gram_channels, MAX_STYLE_SCALES, self.theta).to(device)
        self.predictor.load_state_dict(base.predictor)

    @torch.no_grad()
    def __call__(self, contents: Tensor, styles: Tensor, rng: np.random.Generator) -> Tensor:
        """Stylize (B, 3, H, W) in [0, 1], each to its style, with strengths of 0.6 to 1.2."""
        weights = dict(self.theta)
        strength = torch.from_numpy(rng.uniform(0.6, 1.2, (len(contents), 1)).astype(np.float32)).to(contents.device)
        for name, offset in self.predictor(self.loss.style_grams(styles, MAX_STYLE_SCALES)).items():
            weights[name] = self.theta[name] + strength * offset  # (B, C)
        return transform(self.network, weights, contents, self.dtype, random_noise_offset(rng)).to(contents.dtype)


def train(args: argparse.Namespace) -> None:
    """Train the student, or continue."""
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if args.bf16 else torch.float32
    contents, styles = FolderDataset(args.content), FolderDataset(args.style)
    crop = CropConfig(size=args.size, min_scale=0.25, jitter=0.2)
    predicted = PredictedStyles(args.base, dtype, device) if args.base else None

    def batch(step: int) -> Tensor:
        """Half content, half style images: (batch, 3, size, size)."""
        rng = np.random.default_rng((args.seed, step))
        half = args.batch // 2
        content = random_crops(contents, half, crop, rng).to(device)
        style = random_crops(styles, half, crop, rng).to(device)
        if predicted:
            content[half // 2 :] = predicted(content[half // 2 :], style[half // 2 :], rng)
        return torch.cat([content, style])

    student = FeatureExtractor(SPECS["compact"], "compact")
    if args.init:
        student.load_state_dict({key: value.float() for key, value in load_file(args.init).items()})
    problem = Distillation(student, load_teacher(args.teacher), dtype).to(device)
    problem.calibrate(torch.cat([batch(-1 - i + 2**31) for i in range(4)]))
    trainable = [p for p in problem.parameters() if p.requires_grad]
    optimizers: list[torch.optim.Optimizer] = [
        KernelMuon([p for p in trainable if is_kernel(p)], lr=args.lr),
        torch.optim.Adam([p for p in trainable if not is_kernel(p)], lr=args.lr),
    ]
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(o, args.lr, total_steps=args.steps, pct_start=0.1, cycle_momentum=False)
        for o in optimizers
    ]
    stateful: list[Any] = [*optimizers, *schedules]
    start, checkpoint = 0, args.out / "checkpoint.pt"
    if (state := read_checkpoint(checkpoint, device)) is not None:
        problem.load_state_dict(state["problem"])
        for each, saved in zip(stateful, state["optimizers"], strict=True):
            each.load_state_dict(saved)
        start = state["step"]
    means: dict[str, float] = {}
    progress = tqdm(range(start, args.steps), initial=start, total=args.steps)
    with (args.out / "log.jsonl").open("a", encoding="utf-8") as log:
        for step in progress:
            errors, grams = problem(batch(step))
            loss = torch.stack([*errors.values(), *(args.gram_weight * g for g in grams.values())]).sum()
            problem.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trainable, 5.0)
            for each in stateful:
                each.step()
            for key, value in (errors | {f"gram_{tap}": g for tap, g in grams.items()}).items():
                number = float(value.detach())
                means[key] = (1 - LOGGED_SHARE) * means.get(key, number) + LOGGED_SHARE * number
            progress.set_postfix_str(" ".join(f"{v:.3f}" for v in means.values()))
            if (step + 1) % args.every == 0 or step + 1 == args.steps:
                log.write(json.dumps({"step": step + 1, **means}) + "\n")
                log.flush()
                state = {"problem": problem.state_dict(), "optimizers": [each.state_dict() for each in stateful]}
                write_checkpoint(checkpoint, state | {"step": step + 1})
                export(problem, args.out / "compact.safetensors")


def export(problem: Distillation, path: Path) -> None:
    """Write the student in float16, with heads whose features have the proportions of the teacher's."""
    state = {k: v.detach().clone() for k, v in problem.student.state_dict().items()}
    for tap in TAPS:  # a positive scale passes through the ReLU, so the head can undo the normalization
        scale = problem.scales[tap].flatten()
        scale = scale / scale.mean()  # keeps float16 in range; Gram losses are relative
        state[f"heads.{tap}.weight"] *= scale[:, None, None, None]
        state[f"heads.{tap}.bias"] *= scale
    save_file({k: v.half().contiguous() for k, v in state.items()}, path, metadata={"format": "pt"})


@torch.no_grad()
def errors(args: argparse.Namespace) -> None:
    """Print the relative errors of features and Gram matrices."""
    teacher = load_teacher(args.teacher)
    rng = np.random.default_rng(args.seed)
    contents = random_crops(FolderDataset(args.content), args.crops, CropConfig(args.size, 0.3, 0.8), rng)
    styles = random_crops(FolderDataset(args.style), args.crops, CropConfig(args.size, 0.5, 1.0), rng)
    kinds = {"content": contents, "style": styles}
    if args.base:
        kinds["stylized"] = PredictedStyles(args.base, torch.float32, torch.device("cpu"))(contents, styles, rng)
    for file in args.features:
        student = load_feature_extractor("compact", file=file)
        for kind, images in kinds.items():
            ours, theirs, figures = student(images), teacher(images), []
            for tap, of_teacher in TAPS.items():
                a, b = ours[tap], theirs[of_teacher]
                a = a * (a * b).sum() / a.square().sum()  # relative losses have no unit
                share = float((a - b).square().sum() / b.square().sum())
                figures.append(f"{of_teacher} {share:.3f}, {float(gram_error(a, b)):.3f}")
            print(f"{file.name}, {kind}: {'; '.join(figures)}")


def evaluate(args: argparse.Namespace) -> None:
    """Optimize pixels with every student and the teacher; print the teacher's losses and rank correlations."""
    teacher = PerceptualLoss(load_teacher(args.teacher), EVALUATION_WEIGHTS)
    students = {
        f"{file.parent.name}/{file.stem}": PerceptualLoss(
            load_feature_extractor("compact", file=file), EVALUATION_WEIGHTS
        )
        for file in args.features
    }
    contents = center_crops(FolderDataset(args.content), args.size)
    styles = center_crops(FolderDataset(args.style), args.size)
    rng = np.random.default_rng(args.seed)
    count = min(args.pairs, len(contents), len(styles))
    chosen = zip(
        contents[rng.choice(len(contents), count, replace=False)].split(1),
        styles[rng.choice(len(styles), count, replace=False)].split(1),
        strict=True,
    )
    losses: dict[str, list[list[float]]] = {}  # of the teacher, at the marks, by extractor and pair
    correlations: dict[str, list[float]] = {}
    rows: list[list[Tensor]] = []
    for content, style in tqdm(chosen, total=count, unit="pair"):
        images: list[Tensor] = []
        rows.append([content[0], style[0]])
        for name, loss in {"teacher": teacher, **students}.items():
            steps = optimize_pixels(loss, content, style, GatysConfig(iterations=MARKS[-1]))
            made = [step.images for step in steps if step.index in MARKS]
            losses.setdefault(name, []).append(totals(teacher, content, style, made))
            images += made
            rows[-1].append(made[-1][0])
        theirs = totals(teacher, content, style, images)
        for name, loss in students.items():
            correlations.setdefault(name, []).append(spearman(totals(loss, content, style, images), theirs))
    print("teacher's loss, geometric mean over pairs, at iterations", MARKS)
    for name, values in losses.items():
        print(f"{name:40s}", np.exp(np.log(values).mean(0)).round(3))
    for name, found in correlations.items():
        print(f"{name:40s} Spearman's correlation with the teacher: {np.mean(found):.3f} (least {np.min(found):.3f})")
    save_image(image_grid(rows, ["content", "style", *losses], tile=args.size), args.grid)
    print("image grid:", args.grid)


@torch.no_grad()
def totals(loss: PerceptualLoss, content: Tensor, style: Tensor, images: Sequence[Tensor]) -> list[float]:
    """Return the total loss of every image, (1, 3, H, W) each."""
    targets = loss.targets(content, loss.style_grams(style))
    return [float(loss(image, targets)[0]) for image in images]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the rank correlation of two lists of values."""
    from scipy import stats

    return float(stats.spearmanr(first, second).statistic)


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, text in (
        (train, "train the student"),
        (evaluate, "optimize pixels with student and teacher"),
        (errors, "errors of features and Gram matrices"),
    ):
        p = commands.add_parser(run.__name__, help=text)
        p.set_defaults(run=run)
        p.add_argument("--content", type=Path, required=True, help="folder of content images")
        p.add_argument("--style", type=Path, required=True, help="folder of style images")
        p.add_argument("--teacher", type=Path, required=True, metavar="FILE", help="VGG-19 (Oxford, up to relu3_4)")
        p.add_argument("--seed", type=int, default=0)
        if run is not evaluate:
            p.add_argument("--base", type=Path, help="folder of a base whose predictor stylizes some of the images")
            p.add_argument("--size", type=int, default=128, help="crop size in pixels (default 128)")
        if run is train:
            p.add_argument("--out", type=Path, required=True, help="folder of the run")
            p.add_argument("--init", type=Path, help="safetensors to start from, instead of random weights")
            p.add_argument("--steps", type=int, default=4000, help="(default 4000)")
            p.add_argument("--batch", type=int, default=8, help="images per step (default 8)")
            p.add_argument("--lr", type=float, default=1e-3, help="peak of the one-cycle schedule (default 1e-3)")
            p.add_argument("--gram-weight", type=float, default=1.0, help="weight of Gram errors (default 1)")
            p.add_argument("--every", type=int, default=200, help="steps between checkpoints (default 200)")
            p.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True, help="(default yes)")
        else:
            p.add_argument("--features", type=Path, nargs="+", required=True, metavar="FILE", help="students")
        if run is errors:
            p.add_argument("--crops", type=int, default=24, help="content images, and as many styles (default 24)")
        if run is evaluate:
            p.add_argument("--pairs", type=int, default=6, help="(default 6)")
            p.add_argument("--size", type=int, default=192, help="pixels a side (default 192)")
            p.add_argument("--grid", type=Path, default=Path("runs/gatys.png"), help="(default %(default)s)")
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except MetaStyleError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
