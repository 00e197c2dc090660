"""Evaluation: how good are pictures, by the eyes of a judge that no method was trained with.

For pairs of contents and styles, the judge's loss along four ways to the same picture:

    base      adaptation from a base, after 0, 1, 5 ... steps                    (once per style, every content)
    scratch   the same network from a random start (Johnson et al. 2016)         (once per style, every content)
    gatys     the pixels themselves, optimised (Gatys et al. 2016)               (every pair anew)
    photo     the photo as it is

Work is cut into units of one method and one style; finished units are kept in a JSON-lines file and not done
again. Means over pairs are geometric, since losses of styles differ by factors, with 95% intervals over pairs.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from metastyle_hub.adaptation import AdaptationConfig, adapt_parameters
from metastyle_hub.data import ImagePool
from metastyle_hub.gatys import GatysConfig, optimize_pixels
from metastyle_hub.loss import PerceptualLoss
from metastyle_hub.network import ImageTransformationNetwork, NetworkConfig, Parameters, transform

__all__ = ["Evaluation", "Measurement", "Method", "Summary", "as_markdown", "psnr", "summarize"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """The judge's view of one picture."""

    method: str
    style: int  # index of the style
    content: int  # index of the content
    step: int  # gradient steps or iterations so far
    seconds: float  # of work so far, without loading and judging; for `gatys` per pair, else per style
    total: float
    content_loss: float
    style_loss: float


@dataclass(frozen=True)
class Method:
    """A way to stylise, by name; `kind` is "photo", "base", "scratch" or "gatys"."""

    name: str
    kind: str
    marks: tuple[int, ...]  # the steps that are looked at
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    gatys: GatysConfig = field(default_factory=GatysConfig)


@dataclass
class Evaluation:
    """All that an evaluation needs; `run` yields measurements as they are made and appends them to `file`."""

    judge: PerceptualLoss
    contents: Tensor  # (C, 3, H, W), the pictures that are judged, never learned on
    styles: Tensor  # (S, 3, H, W)
    pairs: Sequence[tuple[int, int]]  # (style, content)
    theta: Parameters
    pool: ImagePool  # what adaptation learns on
    loss: PerceptualLoss  # what adaptation learns with
    file: Path | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def run(self, methods: Sequence[Method]) -> Iterator[list[Measurement]]:
        """One list of measurements per unit (method, style), finished ones first read from `file`."""
        done = self._finished()
        styles = sorted({s for s, _ in self.pairs})
        for method in methods:
            for style in styles:
                if (method.name, style) in done:
                    yield done[method.name, style]
                    continue
                rows = list(self._unit(method, style))
                if self.file:
                    with self.file.open("a") as f:
                        f.write(json.dumps([asdict(row) for row in rows]) + "\n")
                yield rows

    def units(self, methods: Sequence[Method]) -> int:
        """How many lists `run` yields."""
        return len(methods) * len({s for s, _ in self.pairs})

    def _finished(self) -> dict[tuple[str, int], list[Measurement]]:
        done: dict[tuple[str, int], list[Measurement]] = {}
        if self.file and self.file.exists():
            for line in self.file.read_text().splitlines():
                try:
                    rows = [Measurement(**row) for row in json.loads(line)]
                except ValueError:  # the line that a killed run was writing
                    log.warning("ignoring a broken line of %s", self.file)
                    continue
                done[rows[0].method, rows[0].style] = rows
        return done

    def _unit(self, method: Method, style: int) -> Iterator[Measurement]:
        chosen = [c for s, c in self.pairs if s == style]
        if method.kind == "photo":
            yield from self._judge(method, style, chosen, 0, 0.0, self.contents[chosen])
        elif method.kind == "gatys":
            for c in chosen:
                started, judging = time.perf_counter(), 0.0
                steps = optimize_pixels(
                    self.judge, self.contents[c : c + 1], self.styles[style : style + 1], method.gatys
                )
                for step in steps:
                    if step.index in method.marks:
                        seconds = time.perf_counter() - started - judging
                        yield from self._judge(method, style, [c], step.index, seconds, step.images)
                        judging = time.perf_counter() - started - seconds
        else:
            yield from self._network_unit(method, style, chosen)

    def _network_unit(self, method: Method, style: int, chosen: list[int]) -> Iterator[Measurement]:
        network: nn.Module
        torch.manual_seed(style)  # the random start of "scratch", another for every style
        # the rival is the paper's network, without what this project adds to it
        own = method.kind == "base"
        network = ImageTransformationNetwork(self.network if own else replace(self.network, photo_channels=False))
        theta = self.theta if own else network.parameters_dict()
        spent, started = 0.0, time.perf_counter()
        for step in adapt_parameters(
            network, theta, self.styles[style : style + 1], self.pool, self.loss, method.adaptation
        ):
            if step.index in method.marks:
                spent += time.perf_counter() - started
                with torch.no_grad():
                    pictures = transform(network, step.parameters, self.contents[chosen])
                yield from self._judge(method, style, chosen, step.index, spent, pictures)
                started = time.perf_counter()

    @torch.no_grad()
    def _judge(
        self, method: Method, style: int, chosen: list[int], step: int, seconds: float, pictures: Tensor
    ) -> Iterator[Measurement]:
        grams = self.judge.style_grams(self.styles[style : style + 1])
        for picture, c in zip(pictures, chosen, strict=True):
            terms = self.judge(picture[None], self.judge.targets(self.contents[c : c + 1], grams))
            total, content, style_term = (float(t) for t in terms)
            yield Measurement(method.name, style, c, step, seconds, total, content, style_term)


@dataclass(frozen=True)
class Summary:
    """Geometric means over pairs of one method at one step."""

    method: str
    step: int
    pairs: int
    total: float
    low: float  # 95% interval of the total's mean
    high: float
    content: float
    style: float
    seconds: float  # arithmetic mean


def summarize(rows: Sequence[Measurement]) -> list[Summary]:
    """The measurements by method and step, in the order in which they first appear."""
    groups: dict[tuple[str, int], list[Measurement]] = {}
    for row in rows:
        groups.setdefault((row.method, row.step), []).append(row)
    result = []
    for (method, step), group in groups.items():
        logs = [math.log(r.total) for r in group]
        mean = sum(logs) / len(logs)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in logs) / max(1, len(logs) - 1))
        half = 1.96 * deviation / math.sqrt(len(logs))
        result.append(
            Summary(
                method=method,
                step=step,
                pairs=len(group),
                total=math.exp(mean),
                low=math.exp(mean - half),
                high=math.exp(mean + half),
                content=_geometric([r.content_loss for r in group]),
                style=_geometric([r.style_loss for r in group]),
                seconds=sum(r.seconds for r in group) / len(group),
            )
        )
    return result


def _geometric(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(max(v, 1e-12)) for v in values) / len(values))


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels, per picture: (B, 3, H, W) twice in [0, 1] -> (B,)."""
    error = (images - reference).square().flatten(1).mean(1)
    return -10 * torch.log10(error.clamp_min(1e-10))


def as_markdown(summaries: Sequence[Summary]) -> str:
    """A table for people."""
    lines = [
        "| method | step | total (95%) | content | style | seconds | pairs |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {s.method} | {s.step} | {s.total:.3f} ({s.low:.3f} to {s.high:.3f}) | {s.content:.3f} | {s.style:.4f} "
        f"| {s.seconds:.1f} | {s.pairs} |"
        for s in summaries
    ]
    return "\n".join(lines) + "\n"
