"""Trains `compact`, the feature network that ships with the package, from VGG-19.

    python scripts/distill_features.py train --photos DIR --artworks DIR --teacher FILE --out runs/compact
    python scripts/distill_features.py judge --photos DIR --artworks DIR --teacher FILE --features FILE [FILE ...]
    python scripts/distill_features.py errors --photos DIR --artworks DIR --teacher FILE --features FILE [FILE ...]

A 1x1 head on each of the student's taps regresses VGG-19's channel-normalised relu1_2, relu2_2 and relu3_4, and has to
bring out its Gram matrices, since those are what style losses read. With `--base`, half of the photos are stylised by
it, each as one of the artworks, as far as its predictor goes: student and teacher have to agree about pictures such as
adaptation makes.

`judge` makes Gatys' pictures with the student and with the teacher, one sheet for the eye and two figures: the
teacher's loss of both, and how well the student's loss ranks pictures as the teacher's does (Spearman).
`errors` prints the share of the teacher's energy that is wrong in features and Gram matrices, tap by tap.
The training resumes from its newest checkpoint when it is started again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from metastyle_hub.data.datasets import CropConfig, FolderDataset, center_crops, random_crops
from metastyle_hub.baselines.gatys import GatysConfig, optimize_pixels
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, load_feature_extractor
from metastyle_hub.images.io import save_image, to_pil
from metastyle_hub.losses import MAX_STYLE_SCALES, LossWeights, PerceptualLoss, gram_matrix
from metastyle_hub.training.muon import Muon, has_directions
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.transformer_net import transform
from metastyle_hub.networks.noise import random_noise_offset
from metastyle_hub.networks.style_predictor import StylePredictor, gram_channels
from metastyle_hub.networks.meta_device import new_skeleton

MEASURE = LossWeights(content_weight=1, style_weight=10, tone_weight=0, checkerboard_weight=0, coarse_weight=0)  # the judge
PAIRS = {"relu1_2": "relu1_2", "relu2_2": "relu2_2", "relu3_3": "relu3_4"}  # student's tap -> teacher's


def load_teacher(file: Path) -> FeatureExtractor:
    """The ImageNet VGG-19 up to relu3_4."""
    return load_feature_extractor("vgg19_oxford", file=file)


def reflecting(vgg: FeatureExtractor) -> FeatureExtractor:
    """The same weights with the student's padding, so that the student need not learn what zeros do to a border."""
    network = FeatureExtractor(replace(vgg.spec, padding="reflect"), vgg.name)
    network.load_state_dict(vgg.state_dict())
    return network


class Distillation(nn.Module):
    """The student with its heads, the teacher, and what is between them."""

    def __init__(self, student: FeatureExtractor, teacher: FeatureExtractor, dtype: torch.dtype) -> None:
        super().__init__()
        self.student, self.teacher, self.dtype = student.requires_grad_(True), reflecting(teacher).to(dtype), dtype
        self.scales: dict[str, Tensor] = {}
        self.variances: dict[str, float] = {}

    @torch.no_grad()
    def targets(self, images: Tensor) -> dict[str, Tensor]:
        seen = self.teacher(images)
        return {tap: seen[teacher].float() for tap, teacher in PAIRS.items()}

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Each teacher channel's root mean square, by which targets are divided, and each tap's variance after that.

        Heads of a student that has been trained before gave features in a unit of their own, which is put right; a
        channel that they leave at 0 everywhere, where no gradient would ever wake it, is fitted anew.
        """
        plain = replace(self.student.spec, heads=())
        body = FeatureExtractor(plain, "body").to(images.device)
        body.load_state_dict({k: v for k, v in self.student.state_dict().items() if k.startswith("features.")})
        maps = body(images, tuple(PAIRS))
        for tap, target in self.targets(images).items():
            rms = target.square().mean((0, 2, 3), keepdim=True).sqrt()
            self.scales[tap] = rms.clamp_min(0.05 * rms.mean())
            normalised = target / self.scales[tap]
            self.variances[tap] = float((normalised - normalised.mean((0, 2, 3), keepdim=True)).square().mean())
            head = self.student.heads[tap]
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            read = F.relu(head(maps[tap]))
            unit = target.mean() / read.mean() / self.scales[tap].flatten()
            head.weight.mul_(unit[:, None, None, None])
            head.bias.mul_(unit)
            if len(dead := (read.amax((0, 2, 3)) == 0).nonzero().flatten()):
                seen = maps[tap].movedim(1, -1).flatten(0, 2)  # (N, C)
                seen = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
                wanted = normalised[:, dead].movedim(1, -1).flatten(0, 2)  # (N, dead)
                fit = torch.linalg.lstsq(seen, wanted).solution.T  # (dead, C + 1)
                head.weight[dead] = fit[:, :-1, None, None]
                head.bias[dead] = fit[:, -1]

    def forward(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Normalised regression errors and relative Gram errors, by tap."""
        targets = self.targets(images)
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            read = {tap: values.float() for tap, values in self.student(images, tuple(PAIRS)).items()}
        errors = {
            tap: (read[tap] - targets[tap] / self.scales[tap]).square().mean() / self.variances[tap] for tap in read
        }
        grams = {}
        for tap in PAIRS:
            ours, theirs = gram_matrix(read[tap] * self.scales[tap]), gram_matrix(targets[tap])
            grams[tap] = ((ours - theirs).square().sum((1, 2)) / theirs.square().sum((1, 2))).mean()
        return errors, grams


class Stylist:
    """A base that stylises at once, as far as its predictor goes."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        base = MetaStyle.from_pretrained(folder)
        if not base.predictor:
            raise SystemExit(f"The base in {folder} has no predictor; name one that has, or leave out --base.")
        self.theta = {name: p.to(device) for name, p in base.parameters.items()}
        self.network = new_skeleton(base.config.architecture, base.config.output or "sigmoid")
        self.eyes = PerceptualLoss(load_feature_extractor(base.config.features, device=device, dtype=dtype), LossWeights())
        self.predictor = StylePredictor(gram_channels(self.eyes.features.spec), self.theta).to(device)
        self.predictor.load_state_dict(base.predictor)
        self.dtype = dtype

    @torch.no_grad()
    def __call__(self, photos: Tensor, artworks: Tensor, rng: np.random.Generator) -> Tensor:
        """(B, 3, H, W) in [0, 1] each -> the photos in these styles, some more, some less."""
        weights = dict(self.theta)
        share = torch.from_numpy(rng.uniform(0.6, 1.2, (len(photos), 1)).astype(np.float32)).to(photos.device)
        for name, added in self.predictor(self.eyes.style_grams(artworks, MAX_STYLE_SCALES)).items():
            weights[name] = self.theta[name] + share * added  # (B, C)
        return transform(self.network, weights, photos, self.dtype, random_noise_offset(rng)).to(photos.dtype)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if args.bf16 else torch.float32
    photos, artworks = FolderDataset(args.photos), FolderDataset(args.artworks)
    crop = CropConfig(size=args.size, min_scale=0.25, jitter=0.2)

    stylist = Stylist(args.base, dtype, device) if args.base else None

    def batch(step: int) -> Tensor:
        rng = np.random.default_rng((args.seed, step))
        half = args.batch // 2
        seen, art = random_crops(photos, half, crop, rng).to(device), random_crops(artworks, half, crop, rng).to(device)
        if stylist:
            seen[half // 2 :] = stylist(seen[half // 2 :], art[half // 2 :], rng)
        return torch.cat([seen, art])

    student = FeatureExtractor(SPECS["compact"], "compact")
    if args.init:
        student.load_state_dict({key: value.float() for key, value in load_file(args.init).items()})
    problem = Distillation(student, load_teacher(args.teacher), dtype).to(device)
    problem.calibrate(torch.cat([batch(-1 - i + 2**31) for i in range(4)]))
    matrices = [p for p in problem.parameters() if p.requires_grad and has_directions(p)]
    rest = [p for p in problem.parameters() if p.requires_grad and not has_directions(p)]
    optimizers: list[torch.optim.Optimizer] = [Muon(matrices, lr=args.lr), torch.optim.Adam(rest, lr=args.lr)]
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            each, args.lr, total_steps=args.steps, pct_start=0.1, cycle_momentum=False
        )
        for each in optimizers
    ]  # fmt: skip
    descent: list[Any] = [*optimizers, *schedules]
    first, checkpoint = 0, args.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        problem.load_state_dict(state["problem"])
        for each, kept in zip(descent, state["descent"], strict=True):
            each.load_state_dict(kept)
        first = state["step"]
    averages: dict[str, float] = {}
    with (
        (args.out / "log.jsonl").open("a") as log,
        tqdm(range(first, args.steps), initial=first, total=args.steps) as bar,
    ):
        for step in bar:
            errors, grams = problem(batch(step))
            loss = torch.stack([*errors.values(), *(args.gram_weight * g for g in grams.values())]).sum()
            problem.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(problem.parameters(), 5.0)
            for each in descent:
                each.step()
            values = {t: float(e.detach()) for t, e in (errors | {f"gram_{t}": g for t, g in grams.items()}).items()}
            for key, value in values.items():
                averages[key] = averages.get(key, value) * 0.98 + value * 0.02
            bar.set_postfix_str(" ".join(f"{v:.3f}" for v in averages.values()))
            if (step + 1) % args.every == 0 or step + 1 == args.steps:
                log.write(json.dumps({"step": step + 1, **averages}) + "\n")
                log.flush()
                saved = {
                    "problem": problem.state_dict(),
                    "descent": [each.state_dict() for each in descent],
                    "step": step + 1,
                }
                torch.save(saved, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
                export(problem, args.out / "compact.safetensors")


def export(problem: Distillation, path: Path) -> None:
    """The student in float16, with heads that read out VGG-19's features in their own proportions."""
    state = {k: v.detach().clone() for k, v in problem.student.state_dict().items()}
    for tap in PAIRS:  # a positive scale passes through the ReLU, so the head can undo the normalisation
        scale = problem.scales[tap].flatten()
        scale = scale / scale.mean()  # keeps float16 in range; Gram losses are relative
        state[f"heads.{tap}.weight"] *= scale[:, None, None, None]
        state[f"heads.{tap}.bias"] *= scale
    save_file({k: v.half().contiguous() for k, v in state.items()}, path, metadata={"format": "pt"})


@torch.no_grad()
def errors(args: argparse.Namespace) -> None:
    teacher = load_teacher(args.teacher)
    rng = np.random.default_rng(args.seed)
    photos = random_crops(FolderDataset(args.photos), args.crops, CropConfig(args.size, 0.3, 0.8), rng)
    artworks = random_crops(FolderDataset(args.artworks), args.crops, CropConfig(args.size, 0.5, 1.0), rng)
    kinds = {"photos": photos, "artworks": artworks}
    if args.base:
        kinds["stylised photos"] = Stylist(args.base, torch.float32, torch.device("cpu"))(photos, artworks, rng)
    for file in args.features:
        student = load_feature_extractor("compact", file=file)
        for kind, images in kinds.items():
            ours, theirs, shown = student(images), teacher(images), []
            for tap, of_teacher in PAIRS.items():
                a, b = ours[tap], theirs[of_teacher]
                a = a * (a * b).sum() / a.square().sum()  # a loss of relative terms knows no unit
                g, h = gram_matrix(a), gram_matrix(b)
                wrong = ((g - h).square().sum((1, 2)) / h.square().sum((1, 2))).mean()
                share = float((a - b).square().sum() / b.square().sum())
                shown.append(f"{of_teacher} {share:.3f}, {float(wrong):.3f}")
            print(f"{file.name}, {kind}: {'; '.join(shown)}")


def judge(args: argparse.Namespace) -> None:
    teacher = PerceptualLoss(load_teacher(args.teacher), MEASURE)
    students = {
        f"{file.parent.name}/{file.stem}": PerceptualLoss(load_feature_extractor("compact", file=file), MEASURE)
        for file in args.features
    }
    size, marks = args.size, (0, 10, 25, 50, 100)
    contents, styles = center_crops(FolderDataset(args.photos), size), center_crops(FolderDataset(args.artworks), size)
    rng = np.random.default_rng(args.seed)
    cs, ss = rng.choice(len(contents), args.pairs, replace=False), rng.choice(len(styles), args.pairs, replace=False)
    columns: dict[str, list[Tensor]] = {"photo": [], "style": []}
    pictures: list[tuple[Tensor, Tensor, Tensor]] = []
    logs: dict[str, list[list[float]]] = {}
    for c, s in zip(cs, ss, strict=True):
        content, style = contents[c : c + 1], styles[s : s + 1]
        columns["photo"].append(content[0])
        columns["style"].append(style[0])
        judged = teacher.targets(content, teacher.style_grams(style))
        for name, loss in {"teacher": teacher, **students}.items():
            row = []
            for step in optimize_pixels(loss, content, style, GatysConfig(iterations=marks[-1])):
                if step.index in marks:
                    with torch.no_grad():
                        row.append(float(np.log(float(teacher(step.images, judged)[0]))))
                    pictures.append((content, style, step.images))
            logs.setdefault(name, []).append(row)
            columns.setdefault(name, []).append(step.images[0])
    print("teacher's loss, geometric mean over pairs, at iterations", marks)
    for name, rows in logs.items():
        print(f"{name:40s}", np.exp(np.mean(rows, 0)).round(3))
    per_pair = len(pictures) // args.pairs
    for name, loss in students.items():
        rhos = []
        for p in range(args.pairs):
            mine: list[float] = []
            theirs: list[float] = []
            for content, style, image in pictures[p * per_pair : (p + 1) * per_pair]:
                for values, judge_loss in ((mine, loss), (theirs, teacher)):
                    with torch.no_grad():
                        t = judge_loss.targets(content, judge_loss.style_grams(style))
                        values.append(float(judge_loss(image, t)[0]))
            ranks = [np.argsort(np.argsort(v)).astype(float) for v in (mine, theirs)]
            rhos.append(float(np.corrcoef(ranks[0], ranks[1])[0, 1]))
        print(f"{name:40s} Spearman with the teacher's ranking: {np.mean(rhos):.3f} (least {np.min(rhos):.3f})")
    sheet = torch.cat([torch.cat(column, 1) for column in columns.values()], 2)
    save_image(to_pil(sheet), args.sheet)
    print("columns:", ", ".join(columns), "->", args.sheet)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("train", train), ("judge", judge), ("errors", errors)):
        p = commands.add_parser(name)
        p.set_defaults(run=run)
        p.add_argument("--photos", type=Path, required=True, help="folder of photographs")
        p.add_argument("--artworks", type=Path, required=True, help="folder of artworks")
        p.add_argument("--teacher", type=Path, required=True, help="VGG-19 weights (Oxford, up to relu3_4)")
        p.add_argument("--seed", type=int, default=0)
        if run is not judge:
            p.add_argument("--base", type=Path, help="folder of a base with a predictor, which stylises some photos")
            p.add_argument("--size", type=int, default=128, help="crop size in pixels")
        if run is train:
            p.add_argument("--out", type=Path, required=True)
            p.add_argument("--init", type=Path, help="safetensors to start from, instead of random weights")
            p.add_argument("--steps", type=int, default=4000)
            p.add_argument("--batch", type=int, default=8)
            p.add_argument("--lr", type=float, default=1e-3, help="peak of the one-cycle schedule")
            p.add_argument("--gram-weight", type=float, default=1.0)
            p.add_argument("--every", type=int, default=200, help="steps between checkpoints")
            p.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
        else:
            p.add_argument("--features", type=Path, nargs="+", required=True)
        if run is errors:
            p.add_argument("--crops", type=int, default=24, help="of photos, and as many of artworks")
        if run is judge:
            p.add_argument("--pairs", type=int, default=6)
            p.add_argument("--size", type=int, default=192)
            p.add_argument("--sheet", type=Path, default=Path("runs/gatys.png"))
    args = parser.parse_args(arguments)
    args.run(args)


if __name__ == "__main__":
    main()
