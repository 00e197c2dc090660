"""`metastyle export STYLE -o style.onnx`: an image-to-image model that equals PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install '.[export]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[export]'")

from command_line import refused

from metastyle_hub import MetaStyle
from metastyle_hub.cli import main
from metastyle_hub.export.check import run_graph
from metastyle_hub.export.half import half_precision
from metastyle_hub.networks.transformer_net import NetworkConfig


@pytest.fixture(scope="module")
def style(tmp_path_factory) -> Path:
    config = NetworkConfig(width=16, residual_blocks=1)
    model = MetaStyle.from_parameters(tiny.parameters(config=config), config, output_activation="clamp", name="tiny")
    return model.save_pretrained(tmp_path_factory.mktemp("style") / "tiny")


def test_the_file_stylizes_images_of_any_size(style, tmp_path):
    file = tmp_path / "style.onnx"
    assert main(["export", str(style), "-o", str(file)]) == 0
    half = half_precision(onnx.load(file)).SerializeToString()
    assert len(half) < 0.6 * file.stat().st_size
    for height, width in ((32, 32), (36, 1100)):  # wider than a period of the noise
        image = torch.from_numpy(tiny.content(height, width)).permute(2, 0, 1)[None] / 255
        expected = MetaStyle.from_pretrained(style).stylize(image)
        for graph, tolerance in ((file, 1e-4), (half, 2 / 255)):
            found = run_graph(graph, {"image": image})["stylized"]
            torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_mistakes_give_one_sentence(style, tmp_path, capsys):
    assert ".onnx" in refused(capsys, "export", style, "-o", tmp_path / "style.pt", device=False)
    assert "2" in refused(capsys, "export", style, style, "-o", tmp_path / "style.onnx", device=False)
    assert "nowhere" in refused(capsys, "export", "./nowhere", "-o", tmp_path / "style.onnx", device=False)
    twice = refused(capsys, "export", "--browser", style, style, "-o", tmp_path / "page", device=False)
    assert "same name" in twice and "tiny" in twice
    assert "predictor" in refused(capsys, "export", "--browser", "--base", style, "-o", tmp_path / "page", device=False)
    assert not list(tmp_path.iterdir())
