"""The bars: what was asked of the pictures and of the time, each with its figure, reached or not.

A bar's limit is written here as it was set before anything was measured; nothing is chosen to reach it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.fidelity import Fidelity
from evaluation.measurements import Measurement
from evaluation.summaries import compare

__all__ = ["Bar", "bars", "bars_as_markdown"]

_DEFAULT, _SHORT, _NORM, _ALL = "base", "base_20", "base_norm", "base_all"
_SCRATCH, _PLAIN, _GATYS = "scratch", "scratch_plain", "gatys_adam"


@dataclass(frozen=True)
class Bar:
    """One bar; `reached` is None where it was not measured, or is for the eye."""

    what: str
    figure: str
    reached: bool | None = None


def bars(
    rows: Sequence[Measurement], step0: Fidelity | None = None, speed: Mapping[str, float] | None = None
) -> list[Bar]:
    """Every bar of quality and time.

    Args:
        rows: measurements by the judge of the methods base, base_20, base_norm, base_all, scratch, scratch_plain
            and gatys_adam; what is missing is reported as not measured.
        step0: fidelity of the unadapted output.
        speed: figures of scripts/benchmark.py by name.

    >>> print(bars_as_markdown(bars(rows, step0)))
    """
    pairs = {(r.style, r.content) for r in rows if r.method == _DEFAULT}
    return [
        Bar("at least 40 pairs", f"{len(pairs)} of {len({s for s, _ in pairs})} styles", len(pairs) >= 40),
        _ratio(rows, "100 steps from the base <= Gatys at 25 iterations of Adam", (_DEFAULT, 100), (_GATYS, 25)),
        _ratio(rows, "the goal: <= Gatys at 100 iterations of Adam", (_DEFAULT, 100), (_GATYS, 100)),
        _ratio(rows, "20 steps from the base <= 1,000 from a random start", (_DEFAULT, 20), (_SCRATCH, 1000)),
        _ratio(rows, "the same, with 20 steps asked for, at whose end rates are low", (_SHORT, 20), (_SCRATCH, 1000)),
        _ratio(rows, "20 steps, against 1,000 with the paper's two terms alone", (_DEFAULT, 20), (_PLAIN, 1000)),
        _ratio(rows, "100 steps from the base < 1,000 from a random start", (_DEFAULT, 100), (_SCRATCH, 1000), True),
        _ratio(rows, "norms only within 3% of all parameters at 100 steps", (_NORM, 100), (_ALL, 100), limit=1.03),
        *_fidelity_bars(step0),
        *_speed_bars(speed or {}),
        Bar("no visible style at step 0; no blob on the sheets of all styles", "for the eye: scripts/look.py"),
    ]


def _ratio(
    rows: Sequence[Measurement],
    what: str,
    first: tuple[str, int],
    second: tuple[str, int],
    strict: bool = False,
    *,
    limit: float = 1.0,
) -> Bar:
    ratio = compare(rows, first, second)
    if ratio is None:
        return Bar(what, f"not measured: {first[0]} at {first[1]} and {second[0]} at {second[1]} on the same pairs")
    reached = ratio.mean < limit if strict else ratio.mean <= limit
    return Bar(what, f"{ratio.mean:.3f} times ({ratio.low:.3f} to {ratio.high:.3f}), {ratio.count} pairs", reached)


def _fidelity_bars(step0: Fidelity | None) -> list[Bar]:
    what = ("PSNR of step 0 > 24 dB, mean of the photos", "the same, every photo", "PSNR of step 0 > 20 dB, mean")
    if step0 is None:
        return [Bar(text, "not measured") for text in what]
    share = f"{step0.above_24:.0%} of {step0.photos} photos above 24 dB, {step0.above_20:.0%} above 20 dB"
    return [
        Bar(what[0], f"{step0.mean:.1f} dB", step0.mean > 24),
        Bar(what[1], f"least {step0.least:.1f} dB; {share}", step0.least > 24),
        Bar(what[2], f"{step0.mean:.1f} dB", step0.mean > 20),
    ]


def _speed_bars(speed: Mapping[str, float]) -> list[Bar]:
    limits = (("adaptation_100_s", 30, "s"), ("adaptation_100_s", 60, "s"), ("adaptation_peak_mb", 3000, "MB"))
    made = []
    for name, limit, unit in limits:
        what = "peak memory" if unit == "MB" else "time"
        what = f"{what} of 100 steps at 256 px < {limit} {unit}"
        if name in speed:
            made.append(Bar(what, f"{speed[name]:.0f} {unit}", speed[name] < limit))
        else:
            made.append(Bar(what, "not measured: scripts/benchmark.py"))
    return made


def bars_as_markdown(found: Sequence[Bar]) -> str:
    """A table for people."""
    words = {True: "reached", False: "**not reached**", None: ""}
    lines = ["| bar | figure | |", "| --- | --- | --- |"]
    lines += [f"| {bar.what} | {bar.figure} | {words[bar.reached]} |" for bar in found]
    return "\n".join(lines) + "\n"
