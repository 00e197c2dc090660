"""The evaluation's scripts, from the command line to their files, with tiny networks; and that they resume."""

from __future__ import annotations

import json
import runpy
import shutil
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import save_file

from evaluation.fidelity import psnr
from metastyle_hub.data.examples import example_styles
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, load_feature_extractor
from metastyle_hub.images.io import save_image
from metastyle_hub.training.bilevel import MetaTrainingConfig
from metastyle_hub.training.long_horizon import LongHorizonConfig
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.transformer_net import NetworkConfig

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
        save_image(tiny.image(tiny.content(72, 96, i)), folder / "photos" / f"photo_{i}.png")
        save_image(tiny.image(tiny.style(96, 72, i)), folder / "artworks" / f"art_{i}.png")
    for seed in (0, 1):
        MetaStyle.from_parameters(tiny.parameters(seed), tiny.NETWORK).save_pretrained(folder / f"base_{seed}")
    weights = FeatureExtractor(SPECS["vgg19_oxford"]).state_dict()
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
    assert "Judge: VGG-19 with the weights of Simonyan and Zisserman." in printed
    assert "| base | 1 |" in printed and "| bar | figure |" in printed
    written = {"measurements.jsonl", "summary.json", "table.md", "bars.json", "bars.md", "step0.json", "sheet.png"}
    assert written | {"losses.svg", "losses.png"} <= {path.name for path in tmp_path.iterdir()}
    found = {(s["method"], s["step"]) for s in json.loads((tmp_path / "summary.json").read_text())}
    assert {("photo", 0), ("base", 0), ("base", 1), ("base_decoder", 1), ("gatys_adam", 1)} <= found
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


def test_step_0_is_that_of_the_photos_and_the_base_at_hand(tmp_path: Path) -> None:
    measure = script("evaluate")["measure_step0"]
    sigmoid, clamp = (MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, output=o) for o in (None, "clamp"))
    for base in (sigmoid, clamp):  # of the same parameters
        for photos in (tiny.contents(3), tiny.contents(3, seed=5), tiny.contents(3, size=48)):  # as many, or larger
            expected = psnr(base.stylize(photos), photos)
            for _ in range(2):  # measured, and read back
                found = measure(base, photos, tmp_path / "step0.json")
                assert found.mean == pytest.approx(float(expected.mean()), abs=1e-3)
                assert found.least == pytest.approx(float(expected.min()), abs=1e-3)


def refusal(name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a script says when it refuses."""
    with pytest.raises(SystemExit) as caught:
        main(name)(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_crops_that_no_network_takes_are_refused(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = ["--judge", str(house / "judge.safetensors")]
    said = "error: pixels must be a multiple of 4, 16 or more, got {}."
    for pixels in ("46", "12"):
        arguments = [*folders(house, tmp_path), *judge, "--pixels", pixels]
        assert refusal("evaluate", arguments, capsys).endswith(said.format(pixels))
    arguments = [*pictures(house), "--valid-photos", str(house / "photos"), "--valid-artworks", str(house / "artworks")]
    arguments += ["--out", str(tmp_path / "ablations"), *judge, "--steps", "1", "--variant", "base:", "--pixels", "46"]
    assert refusal("ablate", arguments, capsys).endswith(said.format(46))
    assert not (tmp_path / "ablations").exists()  # before any training


def test_bars_of_nothing_are_refused(house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*folders(house, tmp_path), "--judge", str(house / "judge.safetensors"), "--pixels", "32", "--bars"]
    said = refusal("evaluate", arguments, capsys)
    assert said.endswith(f"{tmp_path} holds no measurements of these pictures and settings; leave out --bars once.")
    assert not list(tmp_path.iterdir())


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
    tiny_run = "size=32,styles=1,support_contents=1,query_contents=1,network.width=4,network.residual_blocks=1"
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
    # from a base, whose network is the one that is trained, whatever the variants say
    narrow = NetworkConfig(width=2, residual_blocks=2)
    MetaStyle.from_parameters(tiny.parameters(config=narrow), narrow).save_pretrained(tmp_path / "start")
    arguments[1] = str(tmp_path / "from_a_base")
    ablate([*arguments, "--init", str(tmp_path / "start")])
    assert len((tmp_path / "from_a_base" / "table.md").read_text().splitlines()) == 4


def test_a_variant_sets_what_it_names_and_nothing_else() -> None:
    configure = script("ablate")["configure"]
    assert configure("") == MetaTrainingConfig()
    found = configure("inner_steps=3,second_order=false,learning_rate=1e-4,weights.style_weight=5,optimizer=adam")
    assert type(found) is MetaTrainingConfig
    assert (found.inner_steps, found.second_order, found.learning_rate, found.optimizer) == (3, False, 1e-4, "adam")
    assert (
        found.weights.style_weight == 5 and found.weights.content_weight == MetaTrainingConfig().weights.content_weight
    )
    assert configure("rolling") == LongHorizonConfig() and configure("slots=32") == LongHorizonConfig(slots=32)
    for wrong in ("inner_step=3", "weights.style=5", "inner_steps=0", "slots=5", "optimizer=sgd"):
        with pytest.raises(ValueError, match=r"has no setting|must be"):
            configure(wrong)


TINY_NETWORK = ["--width", "4", "--residual-blocks", "1"]
TINY_RUN = ["--size", "32", "--styles", "1", "--train-contents", "1", "--valid-contents", "1", "--steps", "2"]


def pictures(house: Path) -> list[str]:
    return ["--photos", str(house / "photos"), "--artworks", str(house / "artworks")]


def test_meta_train_says_in_the_base_how_it_was_made(house: Path, tmp_path: Path) -> None:
    train = main("meta_train")
    train([*pictures(house), "--out", str(tmp_path), *TINY_NETWORK, *TINY_RUN, "--seed", "3", "--style-weight", "7"])
    base = MetaStyle.from_pretrained(tmp_path / "base")
    assert base.config.architecture == tiny.NETWORK and base.config.features == "compact"
    facts = base.config.training
    assert facts is not None
    assert (facts["outer_steps"], facts["photographs"], facts["artworks"], facts["seed"]) == (2, 3, 3, 3)
    assert facts["weights"]["style_weight"] == 7
    assert "| outer steps | 2 |" in (tmp_path / "base" / "README.md").read_text()
    # and from there, further: the network is that of the base
    train([*pictures(house), "--out", str(tmp_path / "b"), "--init", str(tmp_path / "base"), *TINY_RUN])
    assert MetaStyle.from_pretrained(tmp_path / "b" / "base").config.architecture == tiny.NETWORK


def test_a_log_is_json_and_a_broken_picture_does_not_end_a_run(
    house: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i, file in enumerate(sorted((house / "artworks").iterdir())):
        (tmp_path / "artworks").mkdir(exist_ok=True)
        (tmp_path / "artworks" / file.name).write_bytes(file.read_bytes() if i == 0 else b"broken")
    arguments = ["--photos", str(house / "photos"), "--artworks", str(tmp_path / "artworks"), "--out", str(tmp_path)]
    arguments += ["--rolling", "--slots", "4", "--predicted", "0", "--log-every", "1", "--sheet-every", "100"]
    arguments += [*TINY_NETWORK, *TINY_RUN, "--steps", "4"]  # every slot takes a style once
    main("meta_train")(arguments)
    assert "art_1.png" in caplog.text
    assert (tmp_path / "sheet_000004.png").exists()  # it shows every picture, or one that stands in for it
    assert MetaStyle.from_pretrained(tmp_path / "base").config.architecture == tiny.NETWORK

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4] and "before" not in lines[0]


def test_a_rolling_run_makes_a_base_with_a_predictor_and_the_next_one_goes_on_with_both(
    house: Path, tmp_path: Path
) -> None:
    arguments = [*pictures(house), "--rolling", "--slots", "4", *TINY_NETWORK, *TINY_RUN]
    main("meta_train")([*arguments, "--steps", "2", "--out", str(tmp_path / "first")])
    first = MetaStyle.from_pretrained(tmp_path / "first" / "base")
    assert first.predictor is not None and first.predictor["out.bias"].any()
    further = ["--init", str(tmp_path / "first" / "base"), "--steps", "1", "--learning-rate", "0"]
    main("meta_train")([*arguments, *further, "--predictor-learning-rate", "0", "--out", str(tmp_path / "second")])
    second = MetaStyle.from_pretrained(tmp_path / "second" / "base")
    assert second.predictor is not None and tiny.same(second.predictor, first.predictor)
    assert tiny.same(second.state_dict(), first.state_dict())


def test_a_run_ends_with_its_base_however_it_was_stopped(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*pictures(house), "--out", str(tmp_path), *TINY_NETWORK, *TINY_RUN, "--sheet-every", "100"]
    train, base = main("meta_train"), tmp_path / "base"

    def steps() -> int:
        training = MetaStyle.from_pretrained(base).config.training
        assert training is not None
        return int(training["outer_steps"])

    train([*arguments, "--stop-after", "1e-9"])
    assert steps() == 1
    shutil.copytree(base, tmp_path / "older")
    sheet = tmp_path / "sheet_000002.png"
    sheet.mkdir()  # so that the last preview fails, as if killed there
    assert "sheet_000002.png' cannot be written" in refusal("meta_train", arguments, capsys)
    assert steps() == 2
    written = MetaStyle.from_pretrained(base).fingerprint
    sheet.rmdir()
    shutil.rmtree(base)  # as if killed before
    train(arguments)
    assert MetaStyle.from_pretrained(base).fingerprint == written and steps() == 2
    shutil.rmtree(base)
    (tmp_path / "older").rename(base)  # the same, in a run that had written one on the way
    train(arguments)
    assert MetaStyle.from_pretrained(base).fingerprint == written and steps() == 2


def test_a_run_goes_on_as_what_it_was_and_from_no_converted_base(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*pictures(house), "--out", str(tmp_path / "run"), *TINY_NETWORK, *TINY_RUN]
    main("meta_train")([*arguments, "--rolling", "--slots", "1"])
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    said = refusal("meta_train", [*arguments, "--steps", "3"], capsys)
    assert "trainer (LongHorizonTrainer -> MetaTrainer) changed; use another folder or the same settings." in said
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before
    MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, output="clamp").save_pretrained(tmp_path / "theirs")
    converted = [*pictures(house), "--out", str(tmp_path / "b"), "--init", str(tmp_path / "theirs"), *TINY_RUN]
    assert "A converted base, whose output is clamped, cannot be trained further" in refusal(
        "meta_train", converted, capsys
    )


def test_processes_stop_together_and_rolling_refuses_to_be_several(house: Path, tmp_path: Path) -> None:
    code = """
import runpy, sys
main = runpy.run_path(sys.argv[1])["main"]
try:
    main([*sys.argv[2:], "--rolling"])
except SystemExit as stopped:
    assert stopped.code == 2
main(sys.argv[2:])
"""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    arguments = [*pictures(house), "--out", str(tmp_path), "--sheet-every", "100", *TINY_NETWORK, *TINY_RUN]
    arguments.append("--stop-after")

    def process(rank: int) -> subprocess.CompletedProcess[str]:
        group = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
        # the clock of the second has run out after one step, that of the first never does
        return tiny.python("-c", code, str(SCRIPTS / "meta_train.py"), *arguments, ("1e6", "1e-6")[rank], **group)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(process, range(2)))
    for one in done:
        assert one.returncode == 0, one.stderr
        assert "Rolling training runs on one process, not on 2; leave out the launcher." in one.stderr
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2


def test_distillation_wakes_dead_channels_and_does_nothing_twice(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = FeatureExtractor(SPECS["compact"], "compact").state_dict()
    state["heads.relu1_2.weight"][3], state["heads.relu1_2.bias"][3] = 0, -1
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "dead.safetensors")
    arguments = ["train", *folders(house, tmp_path / "run"), "--teacher", str(house / "judge.safetensors")]
    arguments = [a for a in arguments if a not in ("--base", str(house / "base_0"))]
    arguments += ["--init", str(tmp_path / "dead.safetensors"), "--steps", "2", "--size", "32", "--batch", "4"]
    main("distill_features")(arguments)
    made = tmp_path / "run" / "compact.safetensors"
    seen = load_feature_extractor("compact", file=made)(tiny.contents(3))
    assert float(seen["relu1_2"][:, 3].amax()) > 0
    before = made.read_bytes()
    main("distill_features")(arguments)
    assert made.read_bytes() == before
    judged = ["errors", *arguments[1:5], "--teacher", str(house / "judge.safetensors"), "--features", str(made)]
    capsys.readouterr()
    main("distill_features")([*judged, "--size", "32", "--crops", "2"])
    told = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in told] == ["compact.safetensors, photos", "compact.safetensors, artworks"]


def test_publishing_takes_the_space_s_styles_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So they are of the base that ships, and of the default settings, and nothing is learned twice."""
    publish = main("publish")
    monkeypatch.setattr("sys.argv", ["publish.py", "--namespace", "me"])
    publish()  # type: ignore[call-arg]
    plan = capsys.readouterr().out
    for name in example_styles():
        place = SCRIPTS.parent / "space" / "styles" / name
        assert f"would push me/metastyle-{name.replace('_', '-')}: style {name}, from {place}\n" in plan
    monkeypatch.setattr("sys.argv", ["publish.py", "--namespace", "me", "--steps", "99"])
    publish()  # type: ignore[call-arg]
    assert "to learn in 99 steps" in (plan := capsys.readouterr().out) and ", from " not in plan


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
