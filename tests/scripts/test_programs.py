"""The programs of scripts/evaluation, from the command line to their files, with tiny networks; they resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from evaluation import ablate, benchmark, evaluate, qualitative
from evaluation.fidelity import psnr
from PIL import Image

from metastyle_hub.errors import SettingError
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.transformer_net import NetworkConfig
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.long_horizon import LongHorizonConfig


def network(inputs: Path) -> list[str]:
    return ["--evaluation-network", str(inputs / "vgg.safetensors")]


def base_and_out(inputs: Path, out: Path, base: int = 0) -> list[str]:
    return ["--base", str(inputs / f"base_{base}"), "--out", str(out)]


def refusal(main: Callable[[list[str]], None], arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a program that must refuse; return the last line on stderr."""
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_evaluate_writes_tables_targets_plot_and_image_grid(
    inputs: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*images, *base_and_out(inputs, tmp_path), *network(inputs), "--count", "2", "1"]
    arguments += ["--pixels", "32", "--crop-size", "64", "--steps", "1", "--gatys-iterations", "1"]
    evaluate.main([*arguments, "--methods", "photo", "base", "gatys_adam"])
    printed = capsys.readouterr().out
    assert evaluate.EVALUATION_NETWORKS["vgg19_oxford"] in printed
    assert "| base | 1 |" in printed and "| target | figure |" in printed
    tables = {"summary.json", "table.md", "targets.json", "targets.md", "step0.json"}
    expected = tables | {"measurements.jsonl", "grid.png", "losses.svg", "losses.png"}
    assert expected <= {path.name for path in tmp_path.iterdir()}
    found = {(s["method"], s["step"]) for s in json.loads((tmp_path / "summary.json").read_text())}
    assert {("photo", 0), ("base", 0), ("base", 1), ("base_decoder", 1), ("gatys_adam", 1)} <= found
    assert {"what", "figure", "met"} == json.loads((tmp_path / "targets.json").read_text())[0].keys()
    assert json.loads((tmp_path / "step0.json").read_text())["images"] == 3
    before = (tmp_path / "measurements.jsonl").read_bytes()
    # the targets again: nothing is measured, and nothing of other methods is lost
    evaluate.main([*arguments, "--methods", "scratch", "--targets"])
    assert (tmp_path / "measurements.jsonl").read_bytes() == before
    assert {(s["method"], s["step"]) for s in json.loads((tmp_path / "summary.json").read_text())} == found


def test_a_baseline_has_the_paper_s_setting_or_the_same_loss() -> None:
    table = evaluate.methods(evaluate.AdaptationConfig(), iterations=25, scratch_steps=1000)
    assert {table[f"base_{group}"].adaptation.trainable for group in ("norm", "decoder", "all")} == {
        "norm", "decoder", "all"
    }  # fmt: skip
    assert table["scratch"].adaptation.weights == table["base"].adaptation.weights
    assert table["scratch"].marks[-1] == 1000 and table["scratch"].adaptation.trainable == "all"
    plain = table["scratch_plain"].adaptation
    assert plain.outlier_weight == 0
    assert plain.weights == evaluate.LossWeights.paper()
    assert table["gatys_adam"].gatys.iterations == 25 and table["base_unpredicted"].adaptation.use_predictor is False


def test_evaluate_refuses_an_unknown_method(
    inputs: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "'magic'" in refusal(evaluate.main, [*images, *base_and_out(inputs, tmp_path), "--methods", "magic"], capsys)


def test_step_0_is_that_of_the_given_contents_and_base(tmp_path: Path) -> None:
    file = tmp_path / "step0.json"
    for activation in (None, "clamp"):  # of the same parameters
        base = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, output_activation=activation)
        for contents in (tiny.contents(3), tiny.contents(3, seed=5), tiny.contents(3, size=48)):
            expected = psnr(base.stylize(contents), contents)
            for _ in range(2):  # measured, and read back
                found = evaluate.measure_step0(base, contents, file)
                assert found.mean == pytest.approx(float(expected.mean()), abs=1e-3)
                assert found.least == pytest.approx(float(expected.min()), abs=1e-3)


def test_crops_of_an_impossible_size_are_refused_before_any_training(
    inputs: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pixels in ("46", "12"):
        arguments = [*images, *base_and_out(inputs, tmp_path), *network(inputs), "--pixels", pixels]
        assert pixels in refusal(evaluate.main, arguments, capsys)
    valid = ["--valid-content", str(inputs / "content"), "--valid-style", str(inputs / "style")]
    arguments = [*images, *valid, "--out", str(tmp_path / "ablations"), *network(inputs), "--steps", "1"]
    assert "46" in refusal(ablate.main, [*arguments, "--variant", "base:", "--pixels", "46"], capsys)
    assert not (tmp_path / "ablations").exists()


def test_targets_of_nothing_are_refused(
    inputs: Path, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*images, *base_and_out(inputs, tmp_path), *network(inputs), "--pixels", "32", "--targets"]
    assert str(tmp_path) in refusal(evaluate.main, arguments, capsys)
    assert not list(tmp_path.iterdir())


def test_qualitative_draws_every_style_and_adapts_to_each_once(inputs: Path, images: list[str], tmp_path: Path) -> None:
    options = ["--count", "2", "--pixels", "48", "--per-page", "2", "--steps", "1", "--crop-size", "64"]
    options += ["--style-size", "48", *images]
    arguments = [*base_and_out(inputs, tmp_path), *options]
    qualitative.main(arguments)
    assert sorted(path.name for path in tmp_path.glob("page_*")) == ["page_01.png", "page_02.png"]
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("images/*/*.png")}
    assert len(first) == 3 * 2
    with Image.open(next(iter(first))) as image:
        assert min(image.size) == 48
    lost = next(iter(first))
    lost.unlink()  # as if interrupted here
    qualitative.main(arguments)
    again = {path: path.stat().st_mtime_ns for path in tmp_path.glob("images/*/*.png")}
    assert again.keys() == first.keys()
    assert {p for p in first if again[p] != first[p]} <= set(lost.parent.iterdir())
    qualitative.main([*base_and_out(inputs, tmp_path, base=1), *options])  # another base: none of the old images
    assert len(list(tmp_path.glob("images/*/*.png"))) == 2 * len(first)


def test_ablate_trains_evaluates_and_compares_with_the_first(inputs: Path, images: list[str], tmp_path: Path) -> None:
    arguments = [*images, "--valid-content", str(inputs / "content"), "--valid-style", str(inputs / "style")]
    tiny_run = "size=32,styles=1,support_contents=1,query_contents=1,network.width=4,network.residual_blocks=1"
    arguments += [*network(inputs), "--set", tiny_run, "--count", "1", "1", "--pixels", "64", "--steps", "2"]
    arguments += ["--adaptation-steps", "2", "--variant", "base:", "--variant", "strong:weights.style_weight=20"]
    out = ["--out", str(tmp_path)]
    ablate.main([*arguments, *out])
    table = (tmp_path / "table.md").read_text()
    assert len(table.splitlines()) == 4 and "1.000 (1.000 to 1.000)" in table.splitlines()[2]
    checkpoint = (tmp_path / "strong" / "checkpoint.pt").read_bytes()
    ablate.main([*arguments, *out])  # nothing is left to do
    assert (tmp_path / "table.md").read_text() == table
    assert (tmp_path / "strong" / "checkpoint.pt").read_bytes() == checkpoint
    with pytest.raises(SystemExit):
        ablate.main([*arguments, *out, "--steps", "3"])  # a run of two steps is no run of three
    # from a base: its network is trained, whatever the variants say
    narrow = NetworkConfig(width=2, residual_blocks=2)
    MetaStyle.from_parameters(tiny.parameters(config=narrow), narrow).save_pretrained(tmp_path / "start")
    out = ["--out", str(tmp_path / "from_a_base")]
    ablate.main([*arguments, *out, "--init", str(tmp_path / "start")])
    assert len((tmp_path / "from_a_base" / "table.md").read_text().splitlines()) == 4


def test_a_variant_sets_what_it_names_and_nothing_else() -> None:
    assert ablate.configure("") == MetaTrainingConfig()
    found = ablate.configure(
        "inner_steps=3,second_order=false,learning_rate=1e-4,weights.style_weight=5,optimizer=adam"
    )
    assert type(found) is MetaTrainingConfig
    assert (found.inner_steps, found.second_order, found.learning_rate, found.optimizer) == (3, False, 1e-4, "adam")
    default = MetaTrainingConfig().weights
    assert found.weights.style_weight == 5 and found.weights.content_weight == default.content_weight
    assert ablate.configure("long_horizon") == LongHorizonConfig()
    assert ablate.configure("buffer_size=32") == LongHorizonConfig(buffer_size=32)
    for wrong, value in {
        "inner_step=3": "inner_step",
        "weights.style=5": "weights.style",
        "inner_steps=0": "0",
        "buffer_size=5": "5",
        "optimizer=sgd": "sgd",
    }.items():
        with pytest.raises(SettingError) as error:
            ablate.configure(wrong)
        assert value in str(error.value)


def test_benchmark_reports_the_figures_of_the_targets() -> None:
    assert f"adaptation_{benchmark.Scale().adaptation.steps}_s" == "adaptation_100_s"
    assert benchmark.Scale().adaptation.crop_size == 256
    figures = {"Speed": {"a": benchmark.Figure("a | small one", 0.5, "x"), "b": benchmark.Figure("b", 512.3, "ms")}}
    report: dict[str, object] = {"machine": "a machine", "date": "today", "command": "a command", "quick": True}
    text = benchmark.as_markdown(report, figures)
    assert "0.50 x" in text and "512 ms" in text and "quick" in text
