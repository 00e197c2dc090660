"""Summaries of an evaluation: means over pairs, and the ratio of two methods on the same pairs.

Means are geometric, since losses of styles differ by factors. Pairs of one style are not independent, so the 95%
intervals count styles, not pairs, as draws: cluster-robust variance (Liang and Zeger 1986), Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.measurements import Measurement
from metastyle_hub.errors import MetaStyleError

__all__ = ["Interval", "Summary", "as_markdown", "compare", "geometric_mean", "summarize"]


@dataclass(frozen=True)
class Interval:
    """A geometric mean with its 95% interval."""

    mean: float
    low: float
    high: float
    count: int  # of the values, not of the clusters

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Summary:
    """Means over the pairs of one method at one step."""

    method: str
    step: int
    pairs: int
    total: float
    low: float  # 95% interval of the total's mean
    high: float
    content: float
    style: float
    seconds: float  # arithmetic mean


def geometric_mean(values: Sequence[float], clusters: Sequence[int] | None = None) -> Interval:
    """Return the geometric mean of positive values with its interval.

    A single value has no interval: both ends are the value.

    Args:
        values: one per pair.
        clusters: of every value; values of one cluster may depend on each other. None: each is its own.

    Raises:
        MetaStyleError: if scipy is not installed.

    >>> str(geometric_mean([1.0, 4.0, 16.0]))
    '4.000 (0.128 to 125.216)'
    """
    if clusters is None or len(set(clusters)) == 1:  # of one style, the interval can only be over its contents
        clusters = range(len(values))
    logs = [math.log(max(v, 1e-12)) for v in values]
    mean = sum(logs) / len(logs)
    sums: dict[int, float] = {}
    for cluster, x in zip(clusters, logs, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + x - mean
    freedom = len(sums) - 1
    if freedom == 0:
        return Interval(math.exp(mean), math.exp(mean), math.exp(mean), 1)
    deviation = math.sqrt(sum(s * s for s in sums.values()) * len(sums) / freedom) / len(logs)
    half = _student_quantile(freedom) * deviation
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs))


def _student_quantile(freedom: int) -> float:
    """The 97.5% quantile of Student's t."""
    try:
        from scipy import stats
    except ImportError as error:
        raise MetaStyleError(
            "An interval needs scipy, which is not installed; pip install 'metastyle-hub[evaluation]'."
        ) from error
    return float(stats.t.ppf(0.975, freedom))


def summarize(rows: Sequence[Measurement]) -> list[Summary]:
    """Return the means by method and step, in the order in which they first appear."""
    groups: dict[tuple[str, int], list[Measurement]] = {}
    for row in rows:
        groups.setdefault((row.method, row.step), []).append(row)
    result = []
    for (method, step), group in groups.items():
        total = geometric_mean([r.total for r in group], [r.style for r in group])
        result.append(
            Summary(
                method=method,
                step=step,
                pairs=len(group),
                total=total.mean,
                low=total.low,
                high=total.high,
                content=geometric_mean([r.content_loss for r in group]).mean,
                style=geometric_mean([r.style_loss for r in group]).mean,
                seconds=sum(r.seconds for r in group) / len(group),
            )
        )
    return result


def compare(rows: Sequence[Measurement], first: tuple[str, int], second: tuple[str, int]) -> Interval | None:
    """Return the ratio of the totals of two (method, step) over the pairs of both; None if they share none.

    Example::

        compare(rows, ("base", 100), ("gatys_adam", 25))        # below 1: the base is better
    """
    totals = {(r.method, r.step, r.style, r.content): r.total for r in rows}
    pairs = sorted({key[2:] for key in totals if key[:2] == first} & {key[2:] for key in totals if key[:2] == second})
    if not pairs:
        return None
    ratios = [totals[(*first, *pair)] / totals[(*second, *pair)] for pair in pairs]
    return geometric_mean(ratios, [style for style, _ in pairs])


def as_markdown(summaries: Sequence[Summary]) -> str:
    """Return a Markdown table of the summaries."""
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
