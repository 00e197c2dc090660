"""The targets: what was asked of quality and time, each with its figure, met or not.

A limit is written here as it was set before anything was measured, and is not changed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.fidelity import Fidelity
from evaluation.measurements import Measurement
from evaluation.summaries import compare

__all__ = ["Target", "targets", "targets_as_markdown"]

_DEFAULT, _SHORT, _NORM, _ALL = "base", "base_20", "base_norm", "base_all"
_SCRATCH, _PLAIN, _GATYS = "scratch", "scratch_plain", "gatys_adam"


@dataclass(frozen=True)
class Target:
    """One target; `met` is None if it was not measured, or is to be seen in images."""

    what: str
    figure: str
    met: bool | None = None


def targets(
    rows: Sequence[Measurement], step0: Fidelity | None = None, speed: Mapping[str, float] | None = None
) -> list[Target]:
    """Return every target of quality and time with its figure.

    Args:
        rows: measurements of the methods base, base_20, base_norm, base_all, scratch, scratch_plain and gatys_adam;
            a missing one is reported as not measured.
        step0: fidelity of the unadapted output.
        speed: figures of benchmark.py by name.

    Example::

        print(targets_as_markdown(targets(rows, step0)))
    """
    pairs = {(r.style, r.content) for r in rows if r.method == _DEFAULT}
    return [
        Target("at least 40 pairs", f"{len(pairs)} of {len({s for s, _ in pairs})} styles", len(pairs) >= 40),
        _ratio(rows, "100 steps from the base <= Gatys at 25 iterations of Adam", (_DEFAULT, 100), (_GATYS, 25)),
        _ratio(rows, "beyond: <= Gatys at 100 iterations of Adam", (_DEFAULT, 100), (_GATYS, 100)),
        _ratio(rows, "20 steps from the base <= 1,000 from a random start", (_DEFAULT, 20), (_SCRATCH, 1000)),
        _ratio(rows, "the same, with steps=20, so that learning rates decay within 20", (_SHORT, 20), (_SCRATCH, 1000)),
        _ratio(rows, "20 steps, against 1,000 with the paper's two terms alone", (_DEFAULT, 20), (_PLAIN, 1000)),
        _ratio(rows, "100 steps from the base < 1,000 from a random start", (_DEFAULT, 100), (_SCRATCH, 1000), True),
        _ratio(rows, "norms only within 3% of all parameters at 100 steps", (_NORM, 100), (_ALL, 100), limit=1.03),
        *_fidelity_targets(step0),
        *_speed_targets(speed or {}),
        Target("no visible style at step 0; no blob in any style", "see the image grids of qualitative.py"),
    ]


def _ratio(
    rows: Sequence[Measurement],
    what: str,
    first: tuple[str, int],
    second: tuple[str, int],
    strict: bool = False,
    *,
    limit: float = 1.0,
) -> Target:
    ratio = compare(rows, first, second)
    if ratio is None:
        return Target(what, f"not measured: {first[0]} at {first[1]} and {second[0]} at {second[1]} on the same pairs")
    met = ratio.mean < limit if strict else ratio.mean <= limit
    return Target(what, f"{ratio.mean:.3f} times ({ratio.low:.3f} to {ratio.high:.3f}), {ratio.count} pairs", met)


def _fidelity_targets(step0: Fidelity | None) -> list[Target]:
    what = ("PSNR of step 0 > 24 dB, mean of the images", "the same, every image", "PSNR of step 0 > 20 dB, mean")
    if step0 is None:
        return [Target(text, "not measured") for text in what]
    share = f"{step0.above_24:.0%} of {step0.images} images above 24 dB, {step0.above_20:.0%} above 20 dB"
    return [
        Target(what[0], f"{step0.mean:.1f} dB", step0.mean > 24),
        Target(what[1], f"least {step0.least:.1f} dB; {share}", step0.least > 24),
        Target(what[2], f"{step0.mean:.1f} dB", step0.mean > 20),
    ]


def _speed_targets(speed: Mapping[str, float]) -> list[Target]:
    limits = (("adaptation_100_s", 30, "s"), ("adaptation_100_s", 60, "s"), ("adaptation_peak_mb", 3000, "MB"))
    found = []
    for name, limit, unit in limits:
        what = f"{'peak memory' if unit == 'MB' else 'time'} of 100 steps at 256 px < {limit} {unit}"
        if name in speed:
            found.append(Target(what, f"{speed[name]:.0f} {unit}", speed[name] < limit))
        else:
            found.append(Target(what, "not measured: benchmark.py"))
    return found


def targets_as_markdown(found: Sequence[Target]) -> str:
    """Return a Markdown table of the targets."""
    words = {True: "met", False: "**not met**", None: ""}
    lines = ["| target | figure | |", "| --- | --- | --- |"]
    lines += [f"| {target.what} | {target.figure} | {words[target.met]} |" for target in found]
    return "\n".join(lines) + "\n"
