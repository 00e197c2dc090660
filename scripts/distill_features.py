"""Trains `compact`, the feature network that ships with the package, from larger teachers.

    python scripts/distill_features.py train --photos DIR --artworks DIR --teachers DIR --out runs/compact
    python scripts/distill_features.py judge --photos DIR --artworks DIR --teachers DIR --features FILE [FILE ...]

A 1x1 head on each of the student's taps regresses a teacher's channel-normalised features; the heads on VGG-19's
taps also have to bring out its Gram matrices, since those are what style losses read.

    teacher                        tap            student's tap
    vgg19_relu3_4                  relu1_2        relu1_2
                                   relu2_2        relu2_2
                                   relu3_4        relu3_3
    vgg19_small16x_relu5_1         relu4_1        relu4_1
                                   relu5_1        relu4_3, pooled

`judge` makes Gatys' pictures with the student and with the teacher, one sheet for the eye and two figures: the
teacher's loss of both, and how well the student's loss ranks pictures as the teacher's does (Spearman).
The training resumes from its newest checkpoint when it is started again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from metastyle_hub.data import CropConfig, FolderPool, center_crops, random_crops
from metastyle_hub.features import SPECS, FeatureNetwork, load_features
from metastyle_hub.gatys import GatysConfig, optimize_pixels
from metastyle_hub.images import save_image, to_pil
from metastyle_hub.loss import LossWeights, PerceptualLoss, gram_matrix

MEASURE = LossWeights(content_weight=1, style_weight=10, tone_weight=0)  # by which pictures are judged
# student tap -> teacher tap of VGG-19; the first three carry Gram matching too
VGG_PAIRS = {"relu1_2": "relu1_2", "relu2_2": "relu2_2", "relu3_3": "relu3_4"}
SMALL_PAIRS = {"relu4_1": "relu4_1", "relu4_3": "relu5_1"}


def load_vgg19(teachers: Path) -> FeatureNetwork:
    """The ImageNet VGG-19 up to relu3_4."""
    return load_features("vgg19_oxford", file=teachers / "vgg19_relu3_4.safetensors")


_SMALL_LAYERS = ("11", "12", "21", "22", "31", "32", "33", "34", "41", "42", "43", "44", "51")


class SmallVGG(nn.Module):
    """The sixteenth-size VGG-19: pictures in [0, 1] -> its estimates of the normalised relu4_1 and relu5_1."""

    def __init__(self, teachers: Path) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {k.replace(".", "_"): v for k, v in load_file(teachers / "vgg19_small16x_relu5_1.safetensors").items()}
        ).requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        w = self.weights
        x = F.conv2d(images.to(w["conv0_weight"].dtype), w["conv0_weight"], w["conv0_bias"])
        out = {}
        for name in _SMALL_LAYERS:
            if name in ("21", "31", "41", "51"):
                x = F.max_pool2d(x, 2)
            x = F.pad(x, (1, 1, 1, 1), mode="reflect")
            x = F.relu(F.conv2d(x, w[f"conv{name}_weight"], w[f"conv{name}_bias"]))
            if name in ("41", "51"):
                out[f"relu{name[0]}_1"] = F.relu(F.conv2d(x, w[f"conv{name}_aux_weight"], w[f"conv{name}_aux_bias"]))
        return out


class Distillation(nn.Module):
    """The student, its heads, and the loss against the teachers."""

    def __init__(self, student: FeatureNetwork, teachers: Path, dtype: torch.dtype) -> None:
        super().__init__()
        self.student = student.requires_grad_(True)
        self.vgg, self.small = load_vgg19(teachers).to(dtype), SmallVGG(teachers).to(dtype)
        channels = {"relu1_2": 64, "relu2_2": 128, "relu3_3": 256, "relu4_1": 512, "relu4_3": 512}
        widths = {f"relu{s}_{c}": w for s, st in enumerate(student.spec.stages, 1) for c, w in enumerate(st, 1)}
        self.heads = nn.ModuleDict({tap: nn.Conv2d(widths[tap], n, 1) for tap, n in channels.items()})
        self.dtype = dtype
        self.scales: dict[str, Tensor] = {}
        self.variances: dict[str, float] = {}

    @torch.no_grad()
    def targets(self, images: Tensor) -> dict[str, Tensor]:
        vgg = self.vgg(images)
        out = {tap: vgg[teacher].float() for tap, teacher in VGG_PAIRS.items()}
        small = self.small(images)
        return out | {tap: small[teacher].float() for tap, teacher in SMALL_PAIRS.items()}

    def calibrate(self, images: Tensor) -> None:
        """Each teacher channel's root mean square, by which targets are divided, and each tap's variance after that."""
        for tap, target in self.targets(images).items():
            rms = target.square().mean((0, 2, 3), keepdim=True).sqrt()
            self.scales[tap] = rms.clamp_min(0.05 * rms.mean())
            normalised = target / self.scales[tap]
            self.variances[tap] = float((normalised - normalised.mean((0, 2, 3), keepdim=True)).square().mean())

    def forward(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Normalised regression errors and relative Gram errors, by tap."""
        targets = self.targets(images)
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            maps = self.student(images, tuple(self.heads))
            maps["relu4_3"] = F.avg_pool2d(maps["relu4_3"], 2)
            read = {tap: F.relu(head(maps[tap])).float() for tap, head in self.heads.items()}
        errors = {
            tap: (read[tap] - targets[tap] / self.scales[tap]).square().mean() / self.variances[tap] for tap in read
        }
        grams = {}
        for tap in VGG_PAIRS:
            ours, theirs = gram_matrix(read[tap] * self.scales[tap]), gram_matrix(targets[tap])
            grams[tap] = ((ours - theirs).square().sum((1, 2)) / theirs.square().sum((1, 2))).mean()
        return errors, grams


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if args.bf16 else torch.float32
    photos, artworks = FolderPool(args.photos), FolderPool(args.artworks)
    crop = CropConfig(size=args.size, min_scale=0.25, jitter=0.2)

    def batch(step: int) -> Tensor:
        rng = np.random.default_rng((args.seed, step))
        half = args.batch // 2
        return torch.cat([random_crops(photos, half, crop, rng), random_crops(artworks, half, crop, rng)]).to(device)

    student = FeatureNetwork(replace(SPECS["compact"], heads=()), "compact")
    if args.init:
        state = {f"features.{k.removeprefix('features.')}": v.float() for k, v in load_file(args.init).items()}
        student.load_state_dict(state, strict=True)
    problem = Distillation(student, args.teachers, dtype).to(device)
    problem.calibrate(torch.cat([batch(-1 - i + 2**31) for i in range(4)]))
    groups = [
        {"params": list(problem.student.parameters()), "lr": args.lr},
        {"params": list(problem.heads.parameters()), "lr": args.lr_heads},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [args.lr, args.lr_heads], total_steps=args.steps, pct_start=0.1
    )
    first, checkpoint = 0, args.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        problem.load_state_dict(state["problem"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    averages: dict[str, float] = {}
    with (
        (args.out / "log.jsonl").open("a") as log,
        tqdm(range(first, args.steps), initial=first, total=args.steps) as bar,
    ):
        for step in bar:
            errors, grams = problem(batch(step))
            loss = torch.stack([*errors.values(), *(args.gram_weight * g for g in grams.values())]).sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(problem.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            values = {tap: float(e) for tap, e in errors.items()} | {f"gram_{t}": float(g) for t, g in grams.items()}
            for key, value in values.items():
                averages[key] = averages.get(key, value) * 0.98 + value * 0.02
            bar.set_postfix_str(" ".join(f"{v:.3f}" for v in averages.values()))
            if (step + 1) % args.every == 0 or step + 1 == args.steps:
                log.write(json.dumps({"step": step + 1, **averages}) + "\n")
                log.flush()
                saved = {
                    "problem": problem.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "step": step + 1,
                }
                torch.save(saved, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
                export(problem, args.out / "compact.safetensors")


def export(problem: Distillation, path: Path) -> None:
    """The student in float16; with the heads that read out VGG-19's own features, in a file beside it."""
    body = {k: v.detach().half().contiguous() for k, v in problem.student.state_dict().items()}
    save_file(body, path, metadata={"format": "pt"})
    heads = {}
    for tap in VGG_PAIRS:  # a positive scale passes through the ReLU, so the head can undo the normalisation
        head = problem.heads[tap]
        assert isinstance(head, nn.Conv2d) and head.bias is not None
        scale = problem.scales[tap].flatten()
        unit = scale.mean()  # keeps float16 in range; Gram losses are relative
        heads[f"heads.{tap}.weight"] = (head.weight * (scale / unit)[:, None, None, None]).detach().half()
        heads[f"heads.{tap}.bias"] = (head.bias * scale / unit).detach().half()
    save_file(body | heads, path.with_name("compact_with_heads.safetensors"), metadata={"format": "pt"})


def with_heads(file: Path) -> FeatureNetwork:
    """A compact network whose three shallow taps read out VGG-19's features."""
    heads = (("relu1_2", 64), ("relu2_2", 128), ("relu3_3", 256))
    network = FeatureNetwork(replace(SPECS["compact"], heads=heads), "compact with heads")
    network.load_state_dict({k: v.float() for k, v in load_file(file).items()}, strict=True)
    return network


def judge(args: argparse.Namespace) -> None:
    teacher = PerceptualLoss(load_vgg19(args.teachers), MEASURE)
    students = {}
    for file in args.features:
        net = with_heads(file) if "heads" in file.name else load_features("compact", file=file)
        students[f"{file.parent.name}/{file.stem}"] = PerceptualLoss(net, MEASURE)
        if "heads" in file.name:  # the same three taps as the teacher: without the deep one
            shallow = with_heads(file)
            shallow.spec = replace(shallow.spec, style_taps=("relu1_2", "relu2_2", "relu3_3"))
            students[f"{file.parent.name}/{file.stem}, 3 taps"] = PerceptualLoss(shallow, MEASURE)
    size, marks = args.size, (0, 10, 25, 50, 100)
    contents, styles = center_crops(FolderPool(args.photos), size), center_crops(FolderPool(args.artworks), size)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("train", train), ("judge", judge)):
        p = commands.add_parser(name)
        p.set_defaults(run=run)
        p.add_argument("--photos", type=Path, required=True, help="folder of photographs")
        p.add_argument("--artworks", type=Path, required=True, help="folder of artworks")
        p.add_argument("--teachers", type=Path, required=True, help="folder with the two teachers' weights")
        p.add_argument("--seed", type=int, default=0)
        if run is train:
            p.add_argument("--out", type=Path, required=True)
            p.add_argument("--init", type=Path, help="safetensors to start from, instead of random weights")
            p.add_argument("--steps", type=int, default=4000)
            p.add_argument("--batch", type=int, default=8)
            p.add_argument("--size", type=int, default=128, help="crop size in pixels")
            p.add_argument("--lr", type=float, default=2e-3, help="peak of the one-cycle schedule, student")
            p.add_argument("--lr-heads", type=float, default=4e-3, help="the same, heads")
            p.add_argument("--gram-weight", type=float, default=1.0)
            p.add_argument("--every", type=int, default=200, help="steps between checkpoints")
            p.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
        else:
            p.add_argument("--features", type=Path, nargs="+", required=True)
            p.add_argument("--pairs", type=int, default=6)
            p.add_argument("--size", type=int, default=192)
            p.add_argument("--sheet", type=Path, default=Path("runs/gatys.png"))
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
