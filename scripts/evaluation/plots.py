"""The plot of an evaluation: the loss of the evaluation network against steps and against seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.summaries import Summary
from metastyle_hub.errors import MetaStyleError

__all__ = ["plot_losses"]

# Okabe and Ito 2008, distinguishable with color blindness; strongest contrast first, without the yellow
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_INK, _GRID = "#2d2d30", "#dcdcd8"
_NAMES = {
    "base": "from the base",
    "base_norm": "from the base, norms only",
    "base_decoder": "from the base, norms and decoder",
    "base_all": "from the base, all parameters",
    "base_20": "from the base, 20 steps",
    "base_200": "from the base, 200 steps",
    "scratch": "from a random start",
    "scratch_short": "from a random start, same budget",
    "scratch_plain": "from a random start, two terms",
    "gatys_adam": "pixels, Adam",
    "gatys_lbfgs": "pixels, L-BFGS",
}


def plot_losses(summaries: Sequence[Summary], file: str | Path) -> list[Path]:
    """Plot two panels, one line per method with its 95% band; the loss of the content image is a dotted line.

    Args:
        summaries: of `summarize`; the method "photo" gives the dotted line.
        file: path without a suffix; it is written as .svg and as .png.

    Returns:
        the two files.

    Raises:
        MetaStyleError: if matplotlib is not installed.

    Example::

        plot_losses(summarize(rows), "runs/evaluation/losses")
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, SymmetricalLogLocator
    except ImportError as error:
        raise MetaStyleError(
            "A plot needs matplotlib, which is not installed; pip install 'metastyle-hub[evaluation]'."
        ) from error
    lines: dict[str, list[Summary]] = {}
    for s in summaries:
        lines.setdefault(s.method, []).append(s)
    content = lines.pop("photo", None)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    style: Any = {
        "font.size": 10.5, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "text.color": _INK, "xtick.color": _INK,
        "ytick.color": _INK, "svg.hashsalt": "metastyle_hub", "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    with rc_context(style):
        figure = Figure(figsize=(10.5, 4.9), layout=ConstrainedLayoutEngine(wspace=0.06))
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, column in ((left, "step"), (right, "seconds")):
            for i, (method, points) in enumerate(lines.items()):
                x = [float(getattr(p, column)) for p in points]
                color = _COLORS[i % len(_COLORS)]
                axes.fill_between(
                    x, [p.low for p in points], [p.high for p in points], color=color, alpha=0.13, linewidth=0
                )
                axes.plot(
                    x, [p.total for p in points], color=color, marker=_MARKERS[i % len(_MARKERS)],
                    markersize=4.5, linewidth=1.8, clip_on=False, zorder=3, label=_NAMES.get(method, method),
                )  # fmt: skip
            if content:
                axes.axhline(content[0].total, color=_INK, linestyle=":", linewidth=1.2, label="the content image")
            # symlog shows zero, and gives the first ten steps as much room as the next hundred
            axes.set_xscale("symlog", linthresh=1, linscale=0.4)
            axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1))
            axes.xaxis.set_major_formatter(plain)
            axes.set_xlim(0, 1.3 * max([1.0, *(getattr(p, column) for points in lines.values() for p in points)]))
            axes.set_yscale("log")
            totals = [p.total for points in lines.values() for p in points] or [1.0]
            axes.set_ylim(  # wide bands of few pairs would flatten the lines
                max(min(totals) / 2, min(s.low for s in summaries) / 1.1),
                min(max(totals) * 2, max(s.high for s in summaries) * 1.1),
            )
            axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
            axes.yaxis.set_major_formatter(plain)
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.grid(True, which="major", color=_GRID, linewidth=0.7)
            axes.set_axisbelow(True)
        left.set_xlabel("gradient steps")
        right.set_xlabel("seconds: per style; for pixels, per image")
        left.set_ylabel("evaluation network: content + 10 style")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(3, max(1, len(labels))), frameon=False)
        files = [Path(file).with_name(f"{Path(file).name}.{suffix}") for suffix in ("svg", "png")]
        files[0].parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(files[0], metadata={"Date": None})  # the same figures give the same file
        figure.savefig(files[1], dpi=160)
    return files
