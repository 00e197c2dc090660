"""Evaluation: how good are pictures, by the eyes of a judge that no method was trained with.

For pairs of contents and styles, the judge's loss along four ways to the same picture:

    base      adaptation from a base, after 0, 1, 5 ... steps                    (once per style, every content)
    scratch   the same network from a random start (Johnson et al. 2016)         (once per style, every content)
    gatys     the pixels themselves, optimised (Gatys et al. 2016)               (every pair anew)
    photo     the photo as it is

Work is cut into units of one method and one style. A finished unit is a line of `measurements.jsonl`, under a key
made from all that decides its figures: settings, parameters, features and pictures. So an interrupted evaluation
goes on where it was, and one with another base or other settings measures anew. What the key cannot see is a change
of this library's code: after one, take another folder. `measurements.py` keeps them, `summaries.py` makes tables.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from metastyle_hub.adaptation import AdaptationConfig, AdaptationStep, adapt_parameters
from metastyle_hub.artifacts.serialization import fingerprint
from metastyle_hub.data.datasets import FolderDataset, ImageDataset, center_crops
from metastyle_hub.errors import SettingError
from metastyle_hub.baselines.gatys import GatysConfig, optimize_pixels
from evaluation.measurements import Ledger, Measurement, digest, key_of, loss_key, pool_key
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, load_feature_extractor
from metastyle_hub.images.io import load_image, save_image, to_pil
from metastyle_hub.learning import predicted_initialization
from metastyle_hub.losses import MAX_STYLE_SCALES, LossWeights, PerceptualLoss
from metastyle_hub.networks.transformer_net import TransformerNet, NetworkConfig, transform
from metastyle_hub.networks.param_groups import Parameters
from metastyle_hub.images.grid import image_grid
from metastyle_hub.networks.meta_device import new_skeleton
from metastyle_hub.version import __version__

__all__ = ["Evaluation", "Method", "evaluation_crops", "load_evaluation_loss", "spread_pairs"]


@dataclass(frozen=True)
class Method:
    """A way to stylise, by name; `kind` is "photo", "base", "scratch" or "gatys"."""

    name: str
    kind: str
    marks: tuple[int, ...]  # the steps that are looked at
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    gatys: GatysConfig = field(default_factory=GatysConfig)


def load_evaluation_loss(
    file: Path | None = None, device: torch.device | str = "cpu", coarse_weight: float = 0.0
) -> PerceptualLoss:
    """The measure of docs/quality.md, whatever the loss of training becomes: content + 10 style of VGG-19.

    Args:
        file: the Oxford weights up to relu3_4 as safetensors; None for torchvision's, downloaded on first use. Both
            look at the same taps, but torchvision trained its weights anew: figures of the two do not compare.
        coarse_weight: more than 0 for another measure, which sees large shapes as well; see `LossWeights`.
    """
    features = load_feature_extractor("vgg19_oxford" if file else "vgg19", file=file, device=device)
    features.spec = replace(features.spec, style_taps=SPECS["vgg19_oxford"].style_taps)
    weights = LossWeights(1, 10, tone_weight=0, checkerboard_weight=0, coarse_weight=coarse_weight, style_scales=MAX_STYLE_SCALES)
    return PerceptualLoss(features, weights)


def evaluation_crops(folder: str | os.PathLike[str], pixels: int) -> Tensor:
    """The central squares of a folder's pictures, as the judge sees them: (N, 3, pixels, pixels).

    Raises:
        SettingError: the networks take no pictures of that size.
    """
    if pixels % 4 or pixels < 16:
        raise SettingError(f"pixels must be a multiple of 4, 16 or more, got {pixels}.")
    return center_crops(FolderDataset(folder), pixels)


def spread_pairs(styles: int, contents: int, count: int, each: int) -> list[tuple[int, int]]:
    """`count` of so many styles, spread evenly, with `each` different contents: (style, content) pairs.

    >>> spread_pairs(styles=48, contents=64, count=2, each=2)
    [(0, 0), (0, 7), (47, 14), (47, 21)]
    """
    count, each = min(count, styles), min(each, contents)
    stride = next(s for s in range(7, contents + 8) if math.gcd(s, contents) == 1)  # passes every content once
    chosen = [round(i * (styles - 1) / max(1, count - 1)) for i in range(count)]
    return [(s, (i * each + k) * stride % contents) for i, s in enumerate(chosen) for k in range(each)]


@dataclass
class Evaluation:
    """All that an evaluation needs; `run` yields measurements as they are made and keeps them in `folder`.

    >>> evaluation = Evaluation(load_evaluation_loss(), contents, styles, pairs, base.parameters, content_dataset(), features)
    >>> rows = [row for unit in evaluation.run([Method("base", "base", (0, 20, 100))]) for row in unit]
    """

    judge: PerceptualLoss
    contents: Tensor  # (C, 3, H, W), the pictures that are judged, never learned on
    styles: Tensor  # (S, 3, H, W)
    pairs: Sequence[tuple[int, int]]  # (style, content)
    theta: Parameters
    pool: ImageDataset  # what adaptation learns on
    features: FeatureExtractor  # what adaptation learns with; the weights of its loss are each method's own
    folder: Path | None = None  # of the measurements and of the pictures that are kept
    network: NetworkConfig = field(default_factory=NetworkConfig)
    output: str | None = None  # of the base, as in its config.json
    predictor: Parameters | None = None  # the base's
    predictor_reads: str = "compact"  # the feature network whose Gram matrices it reads
    shown: Sequence[tuple[int, int]] = ()  # the pairs whose pictures are kept, for `sheet`
    _warm: bool = field(default=False, init=False, repr=False)

    def run(self, methods: Sequence[Method]) -> Iterator[list[Measurement]]:
        """One list of measurements per unit (method, style), finished ones first read from `folder`."""
        done = Ledger(self.folder).read() if self.folder else {}
        for method in methods:
            for style in self._styles:
                key = self._key(method, style)
                if key not in done:
                    done[key] = list(self._unit(method, style))
                    if self.folder:
                        Ledger(self.folder).append(key, done[key])
                # the name is no part of the key: two names for the same settings are one measurement
                yield [replace(row, method=method.name) for row in done[key]]

    def measured(self, methods: Sequence[Method]) -> list[Measurement]:
        """The measurements of those methods that have been measured to the end, without measuring anything."""
        done = Ledger(self.folder).read() if self.folder else {}
        whole = [m for m in methods if all(self._key(m, style) in done for style in self._styles)]
        return [replace(r, method=m.name) for m in whole for s in self._styles for r in done[self._key(m, s)]]

    def units(self, methods: Sequence[Method]) -> int:
        """How many lists `run` yields."""
        return len(methods) * len(self._styles)

    def sheet(self, columns: Sequence[tuple[Method, int]], tile: int = 192) -> Image.Image:
        """The pairs in `shown`, a row each: photo, style, and what methods made at steps; else a hole."""
        rows: list[list[Image.Image | Tensor | None]] = []
        for style, content in self.shown:
            made = [self._picture(method, style, content, step) for method, step in columns]
            kept = [load_image(file) if file and file.exists() else None for file in made]
            rows.append([self.contents[content].cpu(), self.styles[style].cpu(), *kept])
        captions = [f"{method.name} {step}" for method, step in columns]
        return image_grid(rows, ["photo", "style", *captions], tile=tile)

    @property
    def _styles(self) -> list[int]:
        return sorted({style for style, _ in self.pairs})

    def _chosen(self, style: int) -> list[int]:
        return [c for s, c in self.pairs if s == style]

    # ---- what has been measured

    def _key(self, method: Method, style: int) -> str:
        chosen = self._chosen(style)
        parts: dict[str, Any] = {
            "version": __version__,
            "device": self.contents.device.type,
            "kind": method.kind,
            "marks": method.marks,
            "style": (style, self._style_digests[style]),
            "contents": [(c, self._content_digests[c]) for c in chosen],
            "judge": self._judge_key,
        }
        if method.kind == "gatys":
            parts["gatys"] = asdict(method.gatys)
        elif method.kind != "photo":
            network = self._architecture(method).to_dict()
            parts |= {"adaptation": method.adaptation.to_dict(), "network": network}
            learning, pool = self._learning_key
            parts["learning"] = learning | {"weights": method.adaptation.weights.to_dict()}, pool
            parts["theta"] = self._theta_key if method.kind == "base" else None
            parts["predictor"] = self._predictor_key if self._predicts(method) else None
        return key_of(parts)

    @cached_property
    def _theta_key(self) -> str:
        return fingerprint(self.theta) + (self.output or "")

    @cached_property
    def _predictor_key(self) -> str:
        eyes = load_feature_extractor(self.predictor_reads)
        return fingerprint(self.predictor or {}) + fingerprint(eyes.state_dict())

    def _predicts(self, method: Method) -> bool:
        return method.kind == "base" and method.adaptation.predict and self.predictor is not None

    @cached_property
    def _style_digests(self) -> list[str]:
        return [digest(picture) for picture in self.styles]

    @cached_property
    def _content_digests(self) -> list[str]:
        return [digest(picture) for picture in self.contents]

    @cached_property
    def _judge_key(self) -> object:
        return loss_key(self.judge)

    @cached_property
    def _learning_key(self) -> tuple[dict[str, Any], object]:
        return loss_key(PerceptualLoss(self.features)), pool_key(self.pool)  # weights apart: hashing features is slow

    def _picture(self, method: Method, style: int, content: int, step: int) -> Path | None:
        return self.folder and self.folder / "pictures" / self._key(method, style) / f"{content:04d}_{step:04d}.png"

    # ---- measuring

    def _unit(self, method: Method, style: int) -> Iterator[Measurement]:
        chosen = self._chosen(style)
        if method.kind == "photo":
            yield from self._judged(method, style, chosen, 0, 0.0, self.contents[chosen])
        elif method.kind == "gatys":
            for c in chosen:
                started, judging = time.perf_counter(), 0.0
                steps = optimize_pixels(
                    self.judge, self.contents[c : c + 1], self.styles[style : style + 1], method.gatys
                )
                for step in steps:
                    if step.index in method.marks:
                        seconds = time.perf_counter() - started - judging
                        yield from self._judged(method, style, [c], step.index, seconds, step.images)
                        judging = time.perf_counter() - started - seconds
        else:
            yield from self._network_unit(method, style, chosen)

    def _architecture(self, method: Method) -> NetworkConfig:
        """The base's own; the rival's is the paper's, without what this project adds to it."""
        if method.kind == "base":
            return self.network
        return replace(self.network, logit_skip=False, noise_injection=False, upsampling="nearest")

    def _network_unit(self, method: Method, style: int, chosen: list[int]) -> Iterator[Measurement]:
        torch.manual_seed(style)  # the random start of "scratch", another for every style
        architecture = self._architecture(method)
        if method.kind == "base":
            network, theta = new_skeleton(architecture, self.output), self.theta
        else:
            network = TransformerNet(architecture).to(self.contents.device)
            theta = network.parameter_dict()

        picture = self.styles[style : style + 1]
        loss = PerceptualLoss(self.features, method.adaptation.weights)

        def steps() -> Iterator[AdaptationStep]:
            start = None
            if self.predictor is not None and self._predicts(method):
                start = predicted_initialization(self.predictor, self.predictor_reads, theta, picture)
            yield from adapt_parameters(network, theta, picture, self.pool, loss, method.adaptation, start)

        if not self._warm:  # the first step of a process takes several times as long as others
            list(islice(steps(), 2))
            self._warm = True
        spent, started = 0.0, time.perf_counter()
        for step in steps():
            if step.index in method.marks:
                spent += time.perf_counter() - started
                with torch.no_grad():
                    pictures = torch.cat([transform(network, step.parameters, self.contents[[c]]) for c in chosen])
                yield from self._judged(method, style, chosen, step.index, spent, pictures)
                started = time.perf_counter()

    @torch.no_grad()
    def _judged(
        self, method: Method, style: int, chosen: list[int], step: int, seconds: float, pictures: Tensor
    ) -> Iterator[Measurement]:
        grams = self.judge.style_grams(self.styles[style : style + 1])
        for picture, c in zip(pictures, chosen, strict=True):
            if (style, c) in self.shown and (file := self._picture(method, style, c, step)):
                save_image(to_pil(picture), file)
            terms = self.judge(picture[None], self.judge.targets(self.contents[c : c + 1], grams))
            total, content, style_term = (float(t) for t in terms)
            yield Measurement(method.name, style, c, step, seconds, total, content, style_term)
