"""Evaluation: the judge's figures are what they claim to be, and an interrupted run goes on where it was."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.data import TensorPool
from metastyle_hub.evaluation import Evaluation, Measurement, Method, as_markdown, psnr, summarize
from metastyle_hub.features import FeatureNetwork, FeatureSpec
from metastyle_hub.gatys import GatysConfig
from metastyle_hub.loss import LossWeights, PerceptualLoss
from metastyle_hub.network import ImageTransformationNetwork, NetworkConfig

ARCHITECTURE = NetworkConfig(width=4, residual_blocks=1)
ADAPTATION = AdaptationConfig(steps=3, size=64, batch=1)
METHODS = (
    Method("photo", "photo", (0,)),
    Method("base", "base", (0, 3), ADAPTATION),
    Method("scratch", "scratch", (0, 3), ADAPTATION),
    Method("gatys", "gatys", (0, 2), gatys=GatysConfig(iterations=2)),
)


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    torch.manual_seed(0)
    spec = FeatureSpec(stages=((4, 4), (8, 8)), content_tap="relu2_2", style_taps=("relu1_2", "relu2_2"))
    loss = PerceptualLoss(FeatureNetwork(spec, "tiny"), LossWeights(tone_weight=0))
    theta = ImageTransformationNetwork(ARCHITECTURE).parameters_dict()
    contents, styles = torch.rand(3, 3, 64, 64), torch.rand(2, 3, 64, 64)
    pairs = [(0, 0), (0, 1), (1, 2)]
    pool = TensorPool(list(torch.rand(2, 3, 80, 80)))
    return Evaluation(loss, contents, styles, pairs, theta, pool, loss, tmp_path / "rows.jsonl", ARCHITECTURE)


def test_every_pair_is_measured_at_every_mark(evaluation: Evaluation) -> None:
    rows = [row for unit in evaluation.run(METHODS) for row in unit]
    for method in METHODS:
        found = {(r.style, r.content, r.step) for r in rows if r.method == method.name}
        assert found == {(s, c, mark) for s, c in evaluation.pairs for mark in method.marks}
    for r in rows:
        weights = evaluation.judge.weights
        expected = weights.content_weight * r.content_loss + weights.style_weight * r.style_loss
        assert r.total == pytest.approx(expected, rel=1e-5)


def test_the_photo_has_no_content_loss_and_gatys_starts_from_it(evaluation: Evaluation) -> None:
    rows = [row for unit in evaluation.run(METHODS) for row in unit]
    photo = {(r.style, r.content): r.total for r in rows if r.method == "photo"}
    start = {(r.style, r.content): r.total for r in rows if r.method == "gatys" and r.step == 0}
    assert photo == pytest.approx(start)
    assert all(r.content_loss == pytest.approx(0, abs=1e-9) for r in rows if r.method == "photo")


def test_an_interrupted_run_goes_on_without_measuring_twice(evaluation: Evaluation) -> None:
    whole = [row for unit in evaluation.run(METHODS[:3]) for row in unit]
    assert evaluation.file is not None
    lines = evaluation.file.read_text().splitlines(keepends=True)
    evaluation.file.write_text("".join(lines[:3]) + lines[3][: len(lines[3]) // 2])  # killed while writing the fourth
    again = [row for unit in evaluation.run(METHODS[:3]) for row in unit]
    assert [replace(r, seconds=0) for r in again] == [replace(r, seconds=0) for r in whole]
    assert [r.seconds for r in again[:4]] == [r.seconds for r in whole[:4]]  # read back, not measured again


def test_means_are_geometric_with_a_symmetric_interval_in_logarithms() -> None:
    rows = [Measurement("m", 0, i, 5, 1.0, total, 1.0, 1.0) for i, total in enumerate((1.0, 4.0, 16.0))]
    (summary,) = summarize(rows)
    assert summary.total == pytest.approx(4.0)
    assert math.log(summary.high / summary.total) == pytest.approx(math.log(summary.total / summary.low))
    assert math.log(summary.high / 4) == pytest.approx(1.96 * math.log(4) / math.sqrt(3))
    assert "| m | 5 | 4.000" in as_markdown([summary])


def test_psnr_of_a_known_error() -> None:
    reference = torch.full((2, 3, 8, 8), 0.5)
    images = reference + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)
    assert psnr(images, reference).tolist() == pytest.approx([20.0, 40.0], abs=1e-3)
