"""Summaries, targets and the plot: correct intervals, ratios on the same pairs, and limits as they were set."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation.fidelity import Fidelity
from evaluation.measurements import Measurement
from evaluation.plots import plot_losses
from evaluation.summaries import as_markdown, compare, geometric_mean, summarize
from evaluation.targets import Target, targets, targets_as_markdown
from PIL import Image

from metastyle_hub.errors import MetaStyleError


def rows(method: str, step: int, totals: dict[tuple[int, int], float]) -> list[Measurement]:
    return [Measurement(method, s, c, step, 2.0 * step, total, 1.0, 1.0) for (s, c), total in totals.items()]


def grid(styles: int, contents: int, total: float) -> dict[tuple[int, int], float]:
    return {(s, c): total * 1.1**s for s in range(styles) for c in range(contents)}


def test_means_are_geometric_with_students_interval_in_logarithms() -> None:
    (summary,) = summarize(rows("m", 5, {(0, 0): 1.0, (1, 0): 4.0, (2, 0): 16.0}))
    assert summary.total == pytest.approx(4.0)
    assert math.log(summary.high / 4) == pytest.approx(math.log(4 / summary.low))
    assert math.log(summary.high / 4) == pytest.approx(4.303 * math.log(4) / math.sqrt(3), rel=1e-3)
    assert summary.seconds == 10.0
    assert "| m | 5 | 4.000" in as_markdown([summary])


def test_more_contents_of_the_same_styles_do_not_narrow_the_interval() -> None:
    few, many = (summarize(rows("m", 0, grid(4, contents, 2.0)))[0] for contents in (1, 8))
    assert many.low == pytest.approx(few.low) and many.high == pytest.approx(few.high)
    more_styles = geometric_mean(list(grid(16, 1, 2.0).values()) + list(grid(16, 1, 2.0).values()), [*range(32)])
    assert more_styles.high / more_styles.low < geometric_mean(list(grid(16, 1, 2.0).values())).high


def test_the_interval_holds_the_truth_in_95_of_100_draws() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        styles = rng.normal(0, 0.5, 6)
        values = np.exp(styles[:, None] + rng.normal(0, 0.2, (6, 4)))
        found = geometric_mean(values.ravel().tolist(), np.repeat(np.arange(6), 4).tolist())
        hits += found.low <= 1 <= found.high
    assert 0.92 < hits / 400 < 0.98


def test_one_value_has_no_interval() -> None:
    found = geometric_mean([3.0])
    assert (found.mean, found.low, found.high, found.count) == (pytest.approx(3), pytest.approx(3), pytest.approx(3), 1)


def test_methods_are_compared_on_the_pairs_that_both_have() -> None:
    found = rows("a", 100, {(0, 0): 1.0, (1, 0): 6.0, (2, 0): 1000.0}) + rows("b", 25, {(0, 0): 2.0, (1, 0): 12.0})
    ratio = compare(found, ("a", 100), ("b", 25))
    assert ratio is not None and ratio.count == 2
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))  # styles differ, the ratio does not
    assert compare(found, ("a", 100), ("b", 50)) is None


def evaluated(base: float, gatys: float, scratch: float, norm: float = 1.0, pairs: int = 40) -> dict[str, Target]:
    totals = [("base", 20, base), ("base", 100, base), ("gatys_adam", 25, gatys), ("gatys_adam", 100, gatys / 2)]
    totals += [("scratch", 1000, scratch), ("base_norm", 100, norm), ("base_all", 100, 1.0)]
    totals += [("scratch_plain", 1000, 0.9 * scratch)]
    found = [row for method, step, total in totals for row in rows(method, step, grid(pairs // 4, 4, total))]
    return {t.what: t for t in targets(found, Fidelity(64, 24.5, 20.5, 1.0, 0.75), {"adaptation_100_s": 36.6})}


def test_targets_are_met_exactly_where_their_limit_says() -> None:
    found = evaluated(base=1.0, gatys=1.0, scratch=1.0, norm=1.029)
    assert found["100 steps from the base <= Gatys at 25 iterations of Adam"].met is True
    assert found["beyond: <= Gatys at 100 iterations of Adam"].met is False
    assert found["20 steps from the base <= 1,000 from a random start"].met is True
    assert found["20 steps, against 1,000 with the paper's two terms alone"].met is False
    assert found["100 steps from the base < 1,000 from a random start"].met is False  # equal is not lower
    assert found["norms only within 3% of all parameters at 100 steps"].met is True
    assert evaluated(1, 1, 1, norm=1.031)["norms only within 3% of all parameters at 100 steps"].met is False
    assert found["at least 40 pairs"].met and not evaluated(1, 1, 1, pairs=36)["at least 40 pairs"].met
    assert found["PSNR of step 0 > 24 dB, mean of the images"].met is True
    assert found["the same, every image"].met is False and "75% of 64" in found["the same, every image"].figure
    assert found["time of 100 steps at 256 px < 30 s"].met is False
    assert found["time of 100 steps at 256 px < 60 s"].met is True
    text = targets_as_markdown(list(found.values()))
    assert "2.000 times" in text and "**not met**" in text


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    found = targets(rows("base", 100, grid(10, 4, 1.0)))
    assert [target.what for target in found if target.met is not None] == ["at least 40 pairs"]
    assert sum("not measured" in target.figure for target in found) == len(found) - 2


def measurements() -> list[Measurement]:
    found = rows("photo", 0, grid(3, 2, 7.0))
    for step in (0, 1, 10, 100):
        found += rows("base", step, grid(3, 2, 5.0 / (1 + step) ** 0.2))
    for step in (10, 25, 100):
        found += rows("gatys_adam", step, grid(3, 2, 9.0 / (1 + step) ** 0.5))
    return found


def test_the_plot_has_a_line_and_a_band_for_every_method(tmp_path: Path) -> None:
    svg, png = plot_losses(summarize(measurements()), tmp_path / "losses")
    text = svg.read_text()
    for color in ("#0072b2", "#d55e00"):  # of the first and the second method: line, band, key
        assert text.lower().count(color) >= 2 * 3
    with Image.open(png) as image:
        assert image.width > 1200 and image.width > 1.5 * image.height
        colors = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    for color in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(colors - color).max(1) < 12).sum() > 200
    first = svg.read_bytes()
    assert plot_losses(summarize(measurements()), tmp_path / "again")[0].read_bytes() == first


@pytest.mark.parametrize("library", ["matplotlib", "scipy"])
def test_a_missing_library_is_one_sentence_with_the_extra(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summaries = summarize(measurements())
    for name in [n for n in sys.modules if n.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MetaStyleError) as error:
        plot_losses(summaries, tmp_path / "losses") if library == "matplotlib" else summarize(measurements())
    assert library in str(error.value) and "metastyle-hub[evaluation]" in str(error.value)
    assert not list(tmp_path.iterdir())
