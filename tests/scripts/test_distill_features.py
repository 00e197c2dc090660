"""Distillation of the feature extractor: dead channels are fitted, a run resumes, figures are printed."""

from __future__ import annotations

from pathlib import Path

import distill_features
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import save_file

from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, load_feature_extractor


def save(state: dict[str, torch.Tensor], path: Path) -> None:
    save_file({name: value.contiguous() for name, value in state.items()}, path)


def test_training_fits_dead_channels_and_a_finished_run_is_not_repeated(
    inputs: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = FeatureExtractor(SPECS["compact"], "compact").state_dict()
    state["heads.relu1_2.weight"][3], state["heads.relu1_2.bias"][3] = 0, -1
    save(state, tmp_path / "dead.safetensors")
    common = [*images, "--teacher", str(inputs / "vgg.safetensors")]
    arguments = ["train", *common, "--out", str(tmp_path / "run"), "--init", str(tmp_path / "dead.safetensors")]
    arguments += ["--steps", "2", "--size", "32", "--batch", "4"]
    distill_features.main(arguments)
    student = tmp_path / "run" / "compact.safetensors"
    maps = load_feature_extractor("compact", file=student)(tiny.contents(3))
    assert float(maps["relu1_2"][:, 3].amax()) > 0
    before = student.read_bytes()
    distill_features.main(arguments)
    assert student.read_bytes() == before
    capsys.readouterr()
    distill_features.main(["errors", *common, "--features", str(student), "--size", "32", "--crops", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["compact.safetensors, content", "compact.safetensors, style"]


def test_an_interrupted_training_continues(inputs: Path, images: list[str], tmp_path: Path) -> None:
    arguments = ["train", *images, "--teacher", str(inputs / "vgg.safetensors"), "--size", "32", "--batch", "4"]
    arguments += ["--steps", "3", "--every", "1", "--out"]
    distill_features.main([*arguments, str(tmp_path / "whole")])
    parts = tmp_path / "parts"
    # as killed after the first step: its checkpoint is that of a run which stops there
    original = torch.save
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:

        def save_and_stop(value: object, path: Path) -> None:
            original(value, path)
            path.replace(path.with_suffix(".pt"))
            raise KeyboardInterrupt

        patch.setattr(torch, "save", save_and_stop)
        distill_features.main([*arguments, str(parts)])
    assert torch.load(parts / "checkpoint.pt", weights_only=True)["step"] == 1
    distill_features.main([*arguments, str(parts)])
    assert (parts / "compact.safetensors").read_bytes() == (tmp_path / "whole" / "compact.safetensors").read_bytes()


def test_evaluation_compares_the_students_with_the_teacher(
    inputs: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(FeatureExtractor(SPECS["compact"], "compact").state_dict(), tmp_path / "student.safetensors")
    arguments = ["evaluate", *images, "--teacher", str(inputs / "vgg.safetensors"), "--pairs", "1", "--size", "16"]
    arguments += ["--features", str(tmp_path / "student.safetensors"), "--grid", str(tmp_path / "grid.png")]
    distill_features.main(arguments)
    printed = capsys.readouterr().out
    assert f"{tmp_path.name}/student" in printed and "teacher " in printed
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > 4 * 16


def test_a_base_without_a_predictor_is_refused(
    inputs: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", *images, "--teacher", str(inputs / "vgg.safetensors"), "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as error:
        distill_features.main([*arguments, "--base", str(inputs / "base_0")])
    assert error.value.code == 2 and "base_0" in capsys.readouterr().err


def test_rank_correlation() -> None:
    assert distill_features.spearman([1.0, 2.0, 30.0, 4.0], [1.0, 2.0, 4.0, 3.0]) == pytest.approx(1)
    assert distill_features.spearman([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == pytest.approx(-1)
