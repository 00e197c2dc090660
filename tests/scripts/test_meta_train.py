"""The meta-training script: it writes a base, a log of JSON and image grids, and resumes from any stop."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import meta_train
import pytest
import tiny
import torch

from metastyle_hub.model import MetaStyle

NETWORK = ["--width", "4", "--residual-blocks", "1"]
RUN = ["--size", "32", "--styles", "1", "--support-contents", "1", "--query-contents", "1", "--steps", "2"]
SCRIPT = Path(meta_train.__file__)


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the script with arguments that it must refuse; return the last line on stderr."""
    with pytest.raises(SystemExit) as error:
        meta_train.main(arguments)
    assert error.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_the_base_records_how_it_was_made(images: list[str], tmp_path: Path) -> None:
    meta_train.main([*images, "--out", str(tmp_path), *NETWORK, *RUN, "--seed", "3", "--style-weight", "7"])
    base = MetaStyle.from_pretrained(tmp_path / "base")
    assert base.config.architecture == tiny.NETWORK and base.config.feature_extractor == "compact"
    facts = base.config.training
    assert facts is not None
    assert (facts["outer_steps"], facts["content_images"], facts["style_images"], facts["seed"]) == (2, 3, 3, 3)
    assert facts["weights"]["style_weight"] == 7
    assert "| outer steps | 2 |" in (tmp_path / "base" / "README.md").read_text()
    # and from there, further: the network is that of the base
    meta_train.main([*images, "--out", str(tmp_path / "b"), "--init", str(tmp_path / "base"), *RUN])
    assert MetaStyle.from_pretrained(tmp_path / "b" / "base").config.architecture == tiny.NETWORK


def test_the_log_is_json_and_a_broken_image_does_not_end_a_run(
    inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "style").mkdir()
    for i, file in enumerate(sorted((inputs / "style").iterdir())):
        (tmp_path / "style" / file.name).write_bytes(file.read_bytes() if i == 0 else b"broken")
    arguments = ["--content", str(inputs / "content"), "--style", str(tmp_path / "style"), "--out", str(tmp_path)]
    arguments += ["--long-horizon", "--buffer-size", "4", "--predicted-styles", "0", "--log-every", "1"]
    arguments += [*NETWORK, *RUN, "--steps", "4", "--grid-every", "100"]  # every task takes a style once
    meta_train.main(arguments)
    assert "style_1.png" in caplog.text
    assert (tmp_path / "grid_000004.png").exists()  # of every image, or one that replaces it
    assert MetaStyle.from_pretrained(tmp_path / "base").config.architecture == tiny.NETWORK

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4] and "support" not in lines[0]


def test_a_long_horizon_run_makes_a_base_with_a_predictor_and_the_next_one_starts_from_both(
    images: list[str], tmp_path: Path
) -> None:
    arguments = [*images, "--long-horizon", "--buffer-size", "4", *NETWORK, *RUN]
    meta_train.main([*arguments, "--steps", "2", "--out", str(tmp_path / "first")])
    first = MetaStyle.from_pretrained(tmp_path / "first" / "base")
    assert first.predictor is not None and first.predictor["out.bias"].any()
    further = ["--init", str(tmp_path / "first" / "base"), "--steps", "1", "--learning-rate", "0"]
    meta_train.main([*arguments, *further, "--predictor-learning-rate", "0", "--out", str(tmp_path / "second")])
    second = MetaStyle.from_pretrained(tmp_path / "second" / "base")
    assert second.predictor is not None and tiny.same(second.predictor, first.predictor)
    assert tiny.same(second.state_dict(), first.state_dict())


def test_a_run_ends_with_its_base_however_it_was_stopped(
    images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*images, "--out", str(tmp_path), *NETWORK, *RUN, "--grid-every", "100"]
    base = tmp_path / "base"

    def steps() -> int:
        training = MetaStyle.from_pretrained(base).config.training
        assert training is not None
        return int(training["outer_steps"])

    meta_train.main([*arguments, "--stop-after", "1e-9"])
    assert steps() == 1
    shutil.copytree(base, tmp_path / "older")
    grid = tmp_path / "grid_000002.png"
    grid.mkdir()  # so that the last image grid fails, as if killed there
    assert "grid_000002.png" in refusal(arguments, capsys)
    assert steps() == 2
    written = MetaStyle.from_pretrained(base).fingerprint
    grid.rmdir()
    shutil.rmtree(base)  # as if killed before
    meta_train.main(arguments)
    assert MetaStyle.from_pretrained(base).fingerprint == written and steps() == 2
    shutil.rmtree(base)
    (tmp_path / "older").rename(base)  # the same, in a run that wrote an earlier one
    meta_train.main(arguments)
    assert MetaStyle.from_pretrained(base).fingerprint == written and steps() == 2


def test_a_run_continues_as_what_it_was_and_starts_from_no_converted_base(
    images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*images, "--out", str(tmp_path / "run"), *NETWORK, *RUN]
    meta_train.main([*arguments, "--long-horizon", "--buffer-size", "1"])
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    assert "LongHorizonTrainer -> MetaTrainer" in refusal([*arguments, "--steps", "3"], capsys)
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before
    converted = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, output_activation="clamp")
    converted.save_pretrained(tmp_path / "theirs")
    other = [*images, "--out", str(tmp_path / "b"), "--init", str(tmp_path / "theirs"), *RUN]
    assert "clamp" in refusal(other, capsys)


def test_processes_stop_together_and_long_horizon_training_refuses_several(images: list[str], tmp_path: Path) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import meta_train
try:
    meta_train.main([*sys.argv[2:], "--long-horizon"])
except SystemExit as stopped:
    assert stopped.code == 2
else:
    raise AssertionError("not refused")
meta_train.main(sys.argv[2:])
"""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    arguments = [*images, "--out", str(tmp_path), "--grid-every", "100", *NETWORK, *RUN, "--stop-after"]

    def process(rank: int) -> subprocess.CompletedProcess[str]:
        group = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
        # the time of the second is up after one step, that of the first never
        return tiny.python("-c", code, str(SCRIPT.parent), *arguments, ("1e6", "1e-6")[rank], **group)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(process, range(2)))
    for one in done:
        assert one.returncode == 0, one.stderr
        assert "got 2" in one.stderr  # processes
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
