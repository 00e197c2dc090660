"""Quality of the systems of Table 1 on the same pairs, by two evaluation networks that no system was trained with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from evaluation.hed import HED, edge_agreement
from evaluation.summaries import Interval, geometric_mean
from metastyle_hub.baselines.system import Baseline
from metastyle_hub.images.grid import image_grid
from metastyle_hub.losses import PerceptualLoss, style_loss

__all__ = ["Quality", "measure_quality", "quality_as_markdown"]


@dataclass(frozen=True)
class Quality:
    """The measures of one system; geometric means over pairs, with intervals over styles."""

    system: str
    total: Interval  # VGG-19: content + 10 style
    content: Interval
    style: Interval
    hed_style: Interval  # relative distance of Gram matrices at HED's conv4_3
    edges: float  # mean correlation of HED's edge maps with the content's
    ratio: Interval  # of the total to the last system's, on the same pairs
    seconds: float  # CPU time of one pair, with its share of the work on the style


def measure_quality(
    systems: Mapping[str, Baseline[Any]],
    contents: Tensor,
    styles: Tensor,
    pairs: Sequence[tuple[int, int]],
    loss: PerceptualLoss,
    hed: HED,
    rows: int = 6,
) -> tuple[list[Quality], Image.Image]:
    """Measure every system on every pair; return the measures, the content image first, and an image grid.

    Args:
        systems: by name; ratios are to the last one.
        contents: (C, 3, H, W) in [0, 1].
        styles: (S, 3, H, W) in [0, 1].
        pairs: (style, content) indices.
        loss: of the first evaluation network.
        hed: the second evaluation network.
        rows: pairs in the grid, of different styles.
    """
    values: dict[str, list[tuple[float, ...]]] = {name: [] for name in ("content image", *systems)}
    seconds = dict.fromkeys(values, 0.0)
    firsts = dict(reversed(pairs))
    shown: dict[tuple[int, int], list[Tensor]] = {pair: [] for pair in list(firsts.items())[-rows:]}
    clusters = sorted(style for style, _ in pairs)
    for style in sorted(set(clusters)):
        own = [content for other, content in pairs if other == style]
        batch, target = contents[own], styles[[style]]
        grams = loss.style_grams(target)
        wanted = [loss.targets(content, grams) for content in batch.split(1)]
        with torch.no_grad():
            hed_style, content_edges = hed(target)[0], hed(batch)[1]
        for name in tqdm(values, f"style {style}", unit="system", leave=False):
            started = time.process_time()
            images = batch
            if name in systems:
                with torch.no_grad():
                    prepared = systems[name].prepare(target)
                images = torch.cat([systems[name].stylize_prepared(one, prepared) for one in batch.split(1)])
            seconds[name] += time.process_time() - started
            with torch.no_grad():
                found_grams, edges = hed(images)
                terms = [t for i, one in enumerate(images.split(1)) for t in zip(*loss(one, wanted[i]), strict=True)]
            distances = style_loss([found_grams], [hed_style])
            agreements = edge_agreement(edges, content_edges)
            values[name] += [
                (*map(float, term), float(d), float(a)) for term, d, a in zip(terms, distances, agreements, strict=True)
            ]
            for index, image in zip(own, images, strict=True):
                if (style, index) in shown:
                    shown[style, index].append(image)
    reference = [v[0] for v in list(values.values())[-1]]
    found = []
    for name, rows_of in values.items():
        columns = [[v[i] for v in rows_of] for i in range(5)]
        ratios = [a / b for a, b in zip(columns[0], reference, strict=True)]
        total, content, style_term, hed_style = (geometric_mean(column, clusters) for column in columns[:4])
        ratio, edges = geometric_mean(ratios, clusters), sum(columns[4]) / len(pairs)
        found.append(Quality(name, total, content, style_term, hed_style, edges, ratio, seconds[name] / len(pairs)))
    tiles = [[images[0], styles[style], *images[1:]] for (style, _), images in sorted(shown.items())]
    return found, image_grid(tiles, ["content", "style", *systems], tile=160)


def quality_as_markdown(found: Sequence[Quality]) -> str:
    """Return a Markdown table of the measures."""
    last = found[-1].system
    lines = [
        f"| system | VGG-19 total (95%) | of {last} | content | style | HED conv4_3 style | HED edges | CPU s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {q.system} | {q.total} | {q.ratio.mean:.2f} ({q.ratio.low:.2f} to {q.ratio.high:.2f}) "
        f"| {q.content.mean:.3f} | {q.style.mean:.4f} | {q.hed_style.mean:.3f} | {q.edges:.3f} | {q.seconds:.2g} |"
        for q in found
    ]
    return "\n".join(lines) + "\n"
