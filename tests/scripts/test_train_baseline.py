"""Training of baselines from the command line: it resumes, and starts from another decoder."""

from __future__ import annotations

import json
from pathlib import Path

import tiny
import torch
import train_baseline
from safetensors.torch import load_file

from metastyle_hub.baselines.compact import COMPACT_SYSTEMS

SMALL = ["--steps", "2", "--crop-size", "32", "--batch-size", "1", "--device", "cpu", "--every", "1"]


def test_a_finished_run_is_not_repeated_and_a_longer_one_continues(images: list[str], tmp_path: Path) -> None:
    arguments = ["adain", *images, "--out", str(tmp_path), *SMALL]
    train_baseline.main(arguments)
    first = load_file(tmp_path / "adain.safetensors")
    assert first.keys() == COMPACT_SYSTEMS["adain"]().trained_state().keys()
    train_baseline.main(arguments)
    assert tiny.same(load_file(tmp_path / "adain.safetensors"), first)
    train_baseline.main([*arguments, "--steps", "3"])
    assert not tiny.same(load_file(tmp_path / "adain.safetensors"), first)
    log = [json.loads(line) for line in (tmp_path / "adain.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3]
    assert all(line["loss"] > 0 and line["cpu_seconds"] > 0 for line in log)


def test_avatar_net_starts_from_the_decoder_of_wct(images: list[str], tmp_path: Path) -> None:
    train_baseline.main(["wct", *images, "--out", str(tmp_path), *SMALL])
    init = ["--init", str(tmp_path / "wct.safetensors")]
    train_baseline.main(["avatar_net", *images, "--out", str(tmp_path), *SMALL, *init, "--steps", "0"])
    decoder, start = (load_file(tmp_path / f"{name}.safetensors") for name in ("avatar_net", "wct"))
    assert torch.equal(decoder["decoder.0.0.weight"], start["decoders.2.0.0.weight"])
    assert decoder["decoder.4.0.weight"].shape != start["decoders.2.4.0.weight"].shape  # Avatar-Net's own


def test_johnson_takes_one_style(inputs: Path, images: list[str], tmp_path: Path) -> None:
    arguments = ["johnson", *images[:2], "--style", str(inputs / "style" / "style_0.png"), "--out", str(tmp_path)]
    train_baseline.main([*arguments, *SMALL])
    assert len(load_file(tmp_path / "johnson.safetensors")) == len(COMPACT_SYSTEMS["johnson"]().trained_state())
