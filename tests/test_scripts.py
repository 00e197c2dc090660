"""The evaluation's scripts, from the command line to their files, with tiny networks; and that they resume."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from PIL import Image
from safetensors.torch import save_file

from metastyle_hub.features import SPECS, FeatureNetwork
from metastyle_hub.images import save_image
from metastyle_hub.meta_training import MetaTrainingConfig
from metastyle_hub.model import MetaStyle
from metastyle_hub.rolling_training import RollingConfig

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(SCRIPTS / f"{name}.py"))


def main(name: str) -> Callable[[list[str]], None]:
    found: Callable[[list[str]], None] = script(name)["main"]
    return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of photos and artworks, a tiny base and another, and a judge of random weights."""
    folder = tmp_path_factory.mktemp("house")
    for i in range(3):
        save_image(tiny.image(tiny.photo(72, 96, i)), folder / "photos" / f"photo_{i}.png")
        save_image(tiny.image(tiny.painting(96, 72, i)), folder / "artworks" / f"art_{i}.png")
    for seed in (0, 1):
        MetaStyle.from_parameters(tiny.parameters(seed), tiny.NETWORK).save_pretrained(folder / f"base_{seed}")
    weights = FeatureNetwork(SPECS["vgg19_oxford"]).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "judge.safetensors")
    return folder


def folders(house: Path, out: Path, base: int = 0) -> list[str]:
    given = {"photos": house / "photos", "artworks": house / "artworks", "base": house / f"base_{base}", "out": out}
    return [text for name, path in given.items() for text in (f"--{name}", str(path))]


def test_evaluate_writes_tables_bars_plot_and_sheet(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*folders(house, tmp_path), "--judge", str(house / "judge.safetensors"), "--count", "2", "1"]
    arguments += ["--pixels", "32", "--size", "64", "--steps", "1", "--gatys-iterations", "1"]
    evaluate = main("evaluate")
    evaluate([*arguments, "--methods", "photo", "base", "gatys_adam"])
    printed = capsys.readouterr().out
    assert "| base | 1 |" in printed and "| bar | figure |" in printed
    written = {"measurements.jsonl", "summary.json", "table.md", "bars.json", "bars.md", "step0.json", "sheet.png"}
    assert written | {"losses.svg", "losses.png"} <= {path.name for path in tmp_path.iterdir()}
    found = {(s["method"], s["step"]) for s in json.loads((tmp_path / "summary.json").read_text())}
    assert {("photo", 0), ("base", 0), ("base", 1), ("base_norm", 1), ("gatys_adam", 1)} <= found
    assert json.loads((tmp_path / "step0.json").read_text())["photos"] == 3
    before = (tmp_path / "measurements.jsonl").read_bytes()
    # the bars again: nothing is measured, and nothing of what other methods have measured is lost
    evaluate([*arguments, "--methods", "scratch", "--bars"])
    assert (tmp_path / "measurements.jsonl").read_bytes() == before
    assert {(s["method"], s["step"]) for s in json.loads((tmp_path / "summary.json").read_text())} == found


def test_evaluate_refuses_what_it_does_not_know(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main("evaluate")([*folders(house, tmp_path), "--methods", "magic"])
    assert caught.value.code == 2 and "unknown method 'magic'" in capsys.readouterr().err


def test_look_pages_every_style_and_makes_each_once(house: Path, tmp_path: Path) -> None:
    look = main("look")
    arguments = [*folders(house, tmp_path), "--count", "2", "--pixels", "48", "--per-page", "2"]
    arguments += ["--steps", "1", "--size", "64", "--style-size", "48"]
    look(arguments)
    assert sorted(path.name for path in tmp_path.glob("page_*")) == ["page_01.png", "page_02.png"]
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("pictures/*/*.png")}
    assert len(made) == 3 * 2
    with Image.open(next(iter(made))) as picture:
        assert min(picture.size) == 48
    lost = next(iter(made))
    lost.unlink()  # as if interrupted here
    look(arguments)
    again = {path: path.stat().st_mtime_ns for path in tmp_path.glob("pictures/*/*.png")}
    assert again.keys() == made.keys()
    assert {p for p in made if again[p] != made[p]} <= set(lost.parent.iterdir())
    look([*folders(house, tmp_path, base=1), *arguments[8:]])  # another base: other pictures, none of the old
    assert len(list(tmp_path.glob("pictures/*/*.png"))) == 2 * len(made)


def test_ablate_trains_judges_and_compares_with_the_first(house: Path, tmp_path: Path) -> None:
    ablate = main("ablate")
    arguments = ["--out", str(tmp_path), "--judge", str(house / "judge.safetensors"), "--steps", "2"]
    for name, folder in (("photos", "photos"), ("artworks", "artworks")):
        arguments += [f"--{name}", str(house / folder), f"--valid-{name}", str(house / folder)]
    tiny_run = "size=32,styles=1,train_contents=1,valid_contents=1,network.width=4,network.residual_blocks=1"
    arguments += ["--set", tiny_run, "--count", "1", "1", "--pixels", "64", "--adaptation-steps", "2"]
    arguments += ["--variant", "base:", "--variant", "strong:weights.style_weight=20"]
    ablate(arguments)
    table = (tmp_path / "table.md").read_text()
    assert len(table.splitlines()) == 4 and "1.000 (1.000 to 1.000)" in table.splitlines()[2]
    assert "weights.style_weight=20" in table.splitlines()[3]
    ablate(arguments)  # nothing is left to do
    assert (tmp_path / "table.md").read_text() == table
    with pytest.raises(SystemExit):
        ablate([*arguments, "--steps", "3"])  # a run of two steps is no run of three


def test_a_variant_sets_what_it_names_and_nothing_else() -> None:
    configure = script("ablate")["configure"]
    assert configure("") == MetaTrainingConfig()
    found = configure("inner_steps=3,second_order=false,learning_rate=1e-4,weights.style_weight=5,optimizer=adam")
    assert type(found) is MetaTrainingConfig
    assert (found.inner_steps, found.second_order, found.learning_rate, found.optimizer) == (3, False, 1e-4, "adam")
    assert (
        found.weights.style_weight == 5 and found.weights.content_weight == MetaTrainingConfig().weights.content_weight
    )
    assert configure("rolling") == RollingConfig() and configure("slots=32") == RollingConfig(slots=32)
    for wrong in ("inner_step=3", "weights.style=5", "inner_steps=0", "slots=5", "optimizer=sgd"):
        with pytest.raises(ValueError, match=r"has no setting|must be"):
            configure(wrong)


def test_benchmark_reports_what_the_bars_read() -> None:
    benchmark = script("benchmark")
    assert f"adaptation_{benchmark['Scale']().adaptation.steps}_s" == "adaptation_100_s"
    assert benchmark["Scale"]().adaptation.size == 256
    figures = {
        "Speed": {"a": benchmark["Figure"]("a | small one", 0.5, "x"), "b": benchmark["Figure"]("b", 512.3, "ms")}
    }
    report = {"machine": "a machine", "date": "today", "command": "python scripts/benchmark.py", "quick": True}
    text = benchmark["as_markdown"](report, figures)
    assert "0.50 x" in text and "512 ms" in text and "the figures say nothing" in text
