"""The evaluation: losses by a held-out evaluation network, whose features no method was trained with.

For pairs of contents and styles it measures four kinds of methods:

    base      adaptation from a base, after 0, 1, 5 ... steps                    (once per style, for every content)
    scratch   the same network from a random start (Johnson et al. 2016)         (once per style, for every content)
    gatys     optimization of the pixels (Gatys et al. 2016)                     (for every pair)
    photo     the content image itself

Work is divided into units of one method and one style. A finished unit is a line of `measurements.jsonl`, under a key
of everything that decides its figures: settings, parameters, feature extractors and images. So an interrupted
evaluation continues where it was, and one with another base or other settings measures anew. The key does not cover
this library's code: after a change of it, use another folder.
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

from evaluation.measurements import Ledger, Measurement, dataset_key, digest, key_of, loss_key
from metastyle_hub.adaptation import AdaptationConfig, AdaptationStep, adapt_parameters, predicted_initialization
from metastyle_hub.artifacts.serialization import fingerprint
from metastyle_hub.baselines.gatys import GatysConfig, optimize_pixels
from metastyle_hub.data.datasets import FolderDataset, ImageDataset, center_crops
from metastyle_hub.errors import SettingError
from metastyle_hub.images.grid import image_grid
from metastyle_hub.images.io import load_image, save_image, to_pil
from metastyle_hub.losses import MAX_STYLE_SCALES, LossWeights, PerceptualLoss
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, load_feature_extractor
from metastyle_hub.networks.param_groups import Parameters
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet, meta_network, transform
from metastyle_hub.version import __version__

__all__ = ["Evaluation", "Method", "evaluation_crops", "load_evaluation_loss", "spread_pairs"]


@dataclass(frozen=True)
class Method:
    """A way to stylize, by name; `kind` is "photo", "base", "scratch" or "gatys"."""

    name: str
    kind: str
    marks: tuple[int, ...]  # the steps that are measured
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    gatys: GatysConfig = field(default_factory=GatysConfig)


def load_evaluation_loss(
    file: Path | None = None, device: torch.device | str = "cpu", coarse_weight: float = 0.0
) -> PerceptualLoss:
    """Return the measure of docs/results.md, content + 10 style of VGG-19; it does not follow the loss of training.

    Args:
        file: the Oxford weights up to relu3_4 as safetensors; None for torchvision's, downloaded on first use. Both
            have the same taps, but torchvision trained its weights anew: figures of the two do not compare.
        device: of the network.
        coarse_weight: above 0 for another measure, which compares large shapes too; see `LossWeights`.
    """
    extractor = load_feature_extractor("vgg19_oxford" if file else "vgg19", file=file, device=device)
    extractor.spec = replace(extractor.spec, style_taps=SPECS["vgg19_oxford"].style_taps)
    weights = LossWeights(
        1, 10, tv_weight=0, tone_weight=0, checkerboard_weight=0, coarse_weight=coarse_weight,
        style_scales=MAX_STYLE_SCALES,
    )  # fmt: skip
    return PerceptualLoss(extractor, weights)


def evaluation_crops(folder: str | os.PathLike[str], pixels: int) -> Tensor:
    """Return the central squares of a folder's images: (N, 3, pixels, pixels) in [0, 1].

    Raises:
        SettingError: for a size that the networks do not take.
    """
    if pixels % 4 or pixels < 16:
        raise SettingError(f"pixels must be a multiple of 4, at least 16, got {pixels}.")
    return center_crops(FolderDataset(folder), pixels)


def spread_pairs(styles: int, contents: int, count: int, each: int) -> list[tuple[int, int]]:
    """Return (style, content) pairs: `count` styles, evenly spaced, with `each` different contents.

    >>> spread_pairs(styles=48, contents=64, count=2, each=2)
    [(0, 0), (0, 7), (47, 14), (47, 21)]
    """
    count, each = min(count, styles), min(each, contents)
    stride = next(s for s in range(7, contents + 8) if math.gcd(s, contents) == 1)  # visits every content once
    chosen = [round(i * (styles - 1) / max(1, count - 1)) for i in range(count)]
    return [(s, (i * each + k) * stride % contents) for i, s in enumerate(chosen) for k in range(each)]


@dataclass
class Evaluation:
    """Everything that an evaluation needs; `run` yields measurements as they are made and writes them to `folder`.

    Example::

        loss = load_evaluation_loss()
        evaluation = Evaluation(loss, contents, styles, pairs, base.state_dict(), content_dataset(), extractor)
        rows = [row for unit in evaluation.run([Method("base", "base", (0, 20, 100))]) for row in unit]
    """

    loss: PerceptualLoss  # of the evaluation network
    contents: Tensor  # (C, 3, H, W) that are evaluated, never adapted on
    styles: Tensor  # (S, 3, H, W)
    pairs: Sequence[tuple[int, int]]  # (style, content)
    theta: Parameters
    content_dataset: ImageDataset  # that adaptation trains on
    feature_extractor: FeatureExtractor  # of adaptation; the weights of its loss belong to the method
    folder: Path | None = None  # of the measurements, and of images for the grid
    architecture: NetworkConfig = field(default_factory=NetworkConfig)
    output_activation: str | None = None  # of the base, as in its config.json
    predictor: Parameters | None = None  # of the base
    predictor_extractor: str = "compact"  # the feature extractor that the predictor was trained with
    grid_pairs: Sequence[tuple[int, int]] = ()  # whose images are saved, for `grid`
    _warm: bool = field(default=False, init=False, repr=False)

    def run(self, methods: Sequence[Method]) -> Iterator[list[Measurement]]:
        """Yield one list of measurements per unit (method, style); finished units are read from `folder`."""
        done = Ledger(self.folder).read() if self.folder else {}
        for method in methods:
            for style in self._style_indices:
                key = self._key(method, style)
                if key not in done:
                    done[key] = list(self._unit(method, style))
                    if self.folder:
                        Ledger(self.folder).append(key, done[key])
                # the name is no part of the key: two names for the same settings are one measurement
                yield [replace(row, method=method.name) for row in done[key]]

    def measured(self, methods: Sequence[Method]) -> list[Measurement]:
        """Return the measurements of the methods that were measured completely, without measuring anything."""
        done = Ledger(self.folder).read() if self.folder else {}
        complete = [m for m in methods if all(self._key(m, style) in done for style in self._style_indices)]
        return [replace(r, method=m.name) for m in complete for s in self._style_indices for r in done[self._key(m, s)]]

    def units(self, methods: Sequence[Method]) -> int:
        """Return how many lists `run` yields."""
        return len(methods) * len(self._style_indices)

    def grid(self, columns: Sequence[tuple[Method, int]], tile: int = 192) -> Image.Image:
        """Draw `grid_pairs`, a row each: content, style, and the images of methods at steps; empty if not measured."""
        rows: list[list[Image.Image | Tensor | None]] = []
        for style, content in self.grid_pairs:
            files = [self._image_file(method, style, content, step) for method, step in columns]
            images = [load_image(file) if file and file.exists() else None for file in files]
            rows.append([self.contents[content].cpu(), self.styles[style].cpu(), *images])
        captions = [f"{method.name} {step}" for method, step in columns]
        return image_grid(rows, ["content", "style", *captions], tile=tile)

    @property
    def _style_indices(self) -> list[int]:
        return sorted({style for style, _ in self.pairs})

    def _contents_of(self, style: int) -> list[int]:
        return [c for s, c in self.pairs if s == style]

    # ---- what was measured

    def _key(self, method: Method, style: int) -> str:
        parts: dict[str, Any] = {
            "version": __version__,
            "device": self.contents.device.type,
            "kind": method.kind,
            "marks": method.marks,
            "style": (style, self._style_digests[style]),
            "contents": [(c, self._content_digests[c]) for c in self._contents_of(style)],
            "evaluation": self._loss_key,
        }
        if method.kind == "gatys":
            parts["gatys"] = asdict(method.gatys)
        elif method.kind != "photo":
            extractor, dataset = self._adaptation_key
            parts |= {
                "adaptation": method.adaptation.to_dict(),
                "architecture": self._architecture_of(method).to_dict(),
                "loss": extractor | {"weights": method.adaptation.weights.to_dict()},
                "dataset": dataset,
                "theta": self._theta_key if method.kind == "base" else None,
                "predictor": self._predictor_key if self._predicts(method) else None,
            }
        return key_of(parts)

    @cached_property
    def _theta_key(self) -> str:
        return fingerprint(self.theta) + (self.output_activation or "")

    @cached_property
    def _predictor_key(self) -> str:
        extractor = load_feature_extractor(self.predictor_extractor)
        return fingerprint(self.predictor or {}) + fingerprint(extractor.state_dict())

    def _predicts(self, method: Method) -> bool:
        return method.kind == "base" and method.adaptation.use_predictor and self.predictor is not None

    @cached_property
    def _style_digests(self) -> list[str]:
        return [digest(image) for image in self.styles]

    @cached_property
    def _content_digests(self) -> list[str]:
        return [digest(image) for image in self.contents]

    @cached_property
    def _loss_key(self) -> dict[str, Any]:
        return loss_key(self.loss)

    @cached_property
    def _adaptation_key(self) -> tuple[dict[str, Any], list[Any]]:
        # without the loss weights, which differ by method: hashing the extractor is slow
        return loss_key(PerceptualLoss(self.feature_extractor)), dataset_key(self.content_dataset)

    def _image_file(self, method: Method, style: int, content: int, step: int) -> Path | None:
        return self.folder and self.folder / "images" / self._key(method, style) / f"{content:04d}_{step:04d}.png"

    # ---- measure

    def _unit(self, method: Method, style: int) -> Iterator[Measurement]:
        contents = self._contents_of(style)
        if method.kind == "photo":
            yield from self._evaluate(method, style, contents, 0, 0.0, self.contents[contents])
        elif method.kind == "gatys":
            for c in contents:
                yield from self._pixel_unit(method, style, c)
        else:
            yield from self._network_unit(method, style, contents)

    def _pixel_unit(self, method: Method, style: int, content: int) -> Iterator[Measurement]:
        started, evaluation_seconds = time.perf_counter(), 0.0
        images = self.contents[[content]], self.styles[[style]]
        for step in optimize_pixels(self.loss, *images, method.gatys):
            if step.index in method.marks:
                seconds = time.perf_counter() - started - evaluation_seconds
                yield from self._evaluate(method, style, [content], step.index, seconds, step.images)
                evaluation_seconds = time.perf_counter() - started - seconds

    def _architecture_of(self, method: Method) -> NetworkConfig:
        """The base's own; that of the baseline is the paper's, without this project's additions."""
        if method.kind == "base":
            return self.architecture
        return replace(self.architecture, logit_skip=False, noise_injection=False, upsampling="nearest")

    def _network_unit(self, method: Method, style: int, contents: list[int]) -> Iterator[Measurement]:
        torch.manual_seed(style)  # the random start of "scratch", another for every style
        architecture = self._architecture_of(method)
        if method.kind == "base":
            network, theta = meta_network(architecture, self.output_activation), self.theta
        else:
            network = TransformerNet(architecture).to(self.contents.device)
            theta = network.parameter_dict()
        image = self.styles[[style]]
        loss = PerceptualLoss(self.feature_extractor, method.adaptation.weights)

        def steps() -> Iterator[AdaptationStep]:
            initialization = None
            if self.predictor is not None and self._predicts(method):
                initialization = predicted_initialization(self.predictor, self.predictor_extractor, theta, image)
            yield from adapt_parameters(
                network, theta, image, self.content_dataset, loss, method.adaptation, initialization
            )

        if not self._warm:  # the first step of a process takes several times as long as others
            list(islice(steps(), 2))
            self._warm = True
        spent, started = 0.0, time.perf_counter()
        for step in steps():
            if step.index in method.marks:
                spent += time.perf_counter() - started
                with torch.no_grad():
                    parts = [transform(network, step.parameters, self.contents[[c]]) for c in contents]
                yield from self._evaluate(method, style, contents, step.index, spent, torch.cat(parts))
                started = time.perf_counter()

    @torch.no_grad()
    def _evaluate(
        self, method: Method, style: int, contents: list[int], step: int, seconds: float, images: Tensor
    ) -> Iterator[Measurement]:
        grams = self.loss.style_grams(self.styles[[style]])
        for image, c in zip(images, contents, strict=True):
            if (style, c) in self.grid_pairs and (file := self._image_file(method, style, c, step)):
                save_image(to_pil(image), file)
            terms = self.loss(image[None], self.loss.targets(self.contents[[c]], grams))
            total, content, style_term = (float(t) for t in terms)
            yield Measurement(method.name, style, c, step, seconds, total, content, style_term)
